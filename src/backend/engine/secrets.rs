//! Secrets as they may be seen: not at all.
//!
//! They are stored as `{"hashed": …}`, at any depth of an operation's or a task's parameters.

use std::sync::Arc;

use crate::domain::{Operation, Params, Resource, Task};

/// Parameters with every secret replaced by [`Operation::HIDDEN`]: the same ones where there is none.
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
fn hide(params: &Params) -> Params {
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

/// A resource as it may be seen: the secrets in a task's parameters hidden.
#[must_use]
pub(in crate::backend) fn shown(resource: Resource) -> Resource {
    match resource {
        Resource::Task(task) => {
            let params = hide(&task.params);
            Resource::Task(Task { params, ..task })
        }
        other => other,
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
