//! Secrets as they are stored, and as they may be seen: not at all.
//!
//! They are stored as `{"hashed": …}`, at any depth of an operation's parameters.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{Operation, Params};

/// Parameters with every secret replaced by [`Operation::HIDDEN`]: the same ones where there is
/// none.
#[must_use]
pub fn hidden(params: &Arc<Params>) -> Arc<Params> {
    if params.values().any(holds_secret) { Arc::new(hide(params)) } else { params.clone() }
}

/// Whether a value is a secret or holds one.
fn holds_secret(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Object(object) => {
            object.contains_key("hashed") || object.values().any(holds_secret)
        }
        serde_json::Value::Array(values) => values.iter().any(holds_secret),
        _ => false,
    }
}

/// The same for parameters that stand in something else.
#[must_use]
pub fn hide(params: &Params) -> Params {
    fn hidden_in(value: &serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(object) if object.contains_key("hashed") => {
                Operation::HIDDEN.into()
            }
            serde_json::Value::Object(object) => {
                object.iter().map(|(name, value)| (name.clone(), hidden_in(value))).collect()
            }
            serde_json::Value::Array(values) => values.iter().map(hidden_in).collect(),
            other => other.clone(),
        }
    }
    params.iter().map(|(name, value)| (name.clone(), hidden_in(value))).collect()
}

/// A secret as it is stored: hashed. A preview is made before anything is hashed; what was typed is
/// dropped then, and the hash is empty.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "SealedForm")]
pub struct Sealed {
    /// The hash, as `crypt(3)` writes it.
    pub hashed: String,
}

/// What may stand for a [`Sealed`] in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum SealedForm {
    Hashed { hashed: String },
    Typed(#[allow(dead_code, reason = "it is read to be dropped")] String),
}

impl From<SealedForm> for Sealed {
    fn from(given: SealedForm) -> Self {
        match given {
            SealedForm::Hashed { hashed } => Self { hashed },
            SealedForm::Typed(_) => Self { hashed: String::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(params: &serde_json::Value) -> Arc<Params> {
        Arc::new(params.as_object().unwrap().clone())
    }

    #[test]
    fn parameters_without_a_secret_are_kept_once() {
        let open = given(&json!({ "source": "/srv/a.mov", "output": null }));
        assert!(Arc::ptr_eq(&hidden(&open), &open));
        let sealed = given(&json!({ "params": { "password": { "hashed": "$6$x" } } }));
        let hidden = hidden(&sealed);
        assert_eq!(hidden["params"]["password"], Operation::HIDDEN);
    }
}
