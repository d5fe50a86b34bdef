//! What is checked of a request because of where it comes from: its size, and that its secrets are
//! not hashed yet.

use serde_json::Value as Json;

use super::{HASHED, short};
use crate::domain::arguments::below;
use crate::domain::{Params, Reason, Refusal};

/// The most bytes a request's parameters come to, names and values together.
const LARGEST: usize = 256 * 1024;

/// Checks what is the concern of whoever lets requests in: that they are of a sane size, and hold
/// no hash in a secret's place. Hashes are made here, see [`super::seal`]; one from elsewhere could
/// be anything. Requests that are stored, as a task's are, have been let in before.
///
/// # Errors
/// The field at fault.
pub fn from_outside(params: &Params) -> Result<(), Refusal> {
    fn size(value: &Json) -> usize {
        match value {
            Json::String(text) => text.len(),
            Json::Array(values) => values.iter().map(size).sum(),
            Json::Object(values) => values.iter().map(|(name, it)| name.len() + size(it)).sum(),
            _ => size_of::<Json>(),
        }
    }
    /// The path of the first hash in a value at `path`.
    fn hash_in(value: &Json, path: &str) -> Option<String> {
        match value {
            Json::Array(values) => values
                .iter()
                .enumerate()
                .find_map(|(number, value)| hash_in(value, &below(path, &number.to_string()))),
            Json::Object(values) if values.contains_key(HASHED) => Some(path.to_owned()),
            Json::Object(values) => {
                values.iter().find_map(|(name, value)| hash_in(value, &below(path, &short(name))))
            }
            _ => None,
        }
    }
    let all: usize = params.iter().map(|(name, value)| name.len() + size(value)).sum();
    if all > LARGEST {
        let message = format!("the request has {all} bytes; at most {LARGEST} are allowed");
        return Err(Refusal::new(Reason::Value, message));
    }
    let hash = params.iter().find_map(|(name, value)| {
        if name == HASHED { Some(name.clone()) } else { hash_in(value, &short(name)) }
    });
    match hash {
        Some(path) => {
            let message = format!("{path} must be given as a text; it is hashed here");
            Err(Refusal::field(Reason::Type, path, "(hidden)", message))
        }
        None => Ok(()),
    }
}
