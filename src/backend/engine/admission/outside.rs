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
    fn holds_hash(value: &Json) -> bool {
        match value {
            Json::Array(values) => values.iter().any(holds_hash),
            Json::Object(values) => values.contains_key(HASHED) || values.values().any(holds_hash),
            _ => false,
        }
    }
    let all: usize = params.iter().map(|(name, value)| name.len() + size(value)).sum();
    if all > LARGEST {
        let message = format!("the request has {all} bytes; at most {LARGEST} are allowed");
        return Err(Refusal::new(Reason::Value, message));
    }
    match params.iter().find(|(name, value)| *name == HASHED || holds_hash(value)) {
        Some((name, _)) => Err(Refusal::field(
            Reason::Type,
            short(name),
            "(hidden)",
            format!("{} must be given as a text; it is hashed here", short(name)),
        )),
        None => Ok(()),
    }
}
