//! What is checked of a request because of where it comes from: its size, and that its secrets are
//! not hashed yet.

use serde_json::Value as Json;

use super::{HASHED, short};
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
    /// The names that lead to the first hash in a value, the last one first.
    fn hash_in(value: &Json) -> Option<Vec<String>> {
        let (name, mut names) = match value {
            Json::Object(values) if values.contains_key(HASHED) => return Some(Vec::new()),
            Json::Object(values) => {
                values.iter().find_map(|(name, value)| Some((short(name), hash_in(value)?)))?
            }
            Json::Array(values) => {
                let mut items = values.iter().enumerate();
                items.find_map(|(number, value)| Some((number.to_string(), hash_in(value)?)))?
            }
            _ => return None,
        };
        names.push(name);
        Some(names)
    }
    let all: usize = params.iter().map(|(name, value)| name.len() + size(value)).sum();
    if all > LARGEST {
        let message = format!("the request has {all} bytes; at most {LARGEST} are allowed");
        return Err(Refusal::new(Reason::Value, message));
    }
    let hash = params.iter().find_map(|(name, value)| match name.as_str() {
        HASHED => Some(vec![name.clone()]),
        _ => hash_in(value).map(|names| [names, vec![short(name)]].concat()),
    });
    match hash {
        Some(names) => {
            let path: Vec<_> = names.iter().rev().map(String::as_str).collect();
            let path = path.join(".");
            let message = format!("{path} must be given as a text; it is hashed here");
            Err(Refusal::field(Reason::Type, path, "(hidden)", message))
        }
        None => Ok(()),
    }
}
