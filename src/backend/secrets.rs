//! Secrets as they may be seen: not at all.
//!
//! They are stored as `{"hashed": …}`, at any depth of an operation's or a task's parameters.

use crate::domain::{Operation, Params, Resource, Task};

/// Parameters with every secret replaced by [`Operation::HIDDEN`].
#[must_use]
pub fn hidden(params: &Params) -> Params {
    fn hide(value: &serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(object) if object.contains_key("hashed") => {
                Operation::HIDDEN.into()
            }
            serde_json::Value::Object(object) => {
                object.iter().map(|(name, value)| (name.clone(), hide(value))).collect()
            }
            serde_json::Value::Array(values) => values.iter().map(hide).collect(),
            other => other.clone(),
        }
    }
    params.iter().map(|(name, value)| (name.clone(), hide(value))).collect()
}

/// A resource as it may be seen: the secrets in a task's parameters hidden.
#[must_use]
pub(super) fn shown(resource: Resource) -> Resource {
    match resource {
        Resource::Task(task) => {
            let params = hidden(&task.params);
            Resource::Task(Task { params, ..task })
        }
        other => other,
    }
}
