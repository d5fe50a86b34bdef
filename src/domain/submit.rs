//! Requests for operations: one, or several that are asked for as one.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::json::Params;
use super::operation::Uid;
use super::resource::ResourceId;

/// A request for an operation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Submit {
    /// A kind from the catalogue.
    pub kind: String,
    /// Its parameters; fields left out take their defaults.
    #[serde(default, deserialize_with = "super::json::params")]
    pub params: Params,
    /// Who asks, such as `console:root`.
    #[serde(default)]
    pub actor: String,
    /// Higher runs sooner.
    #[serde(default)]
    pub priority: i32,
    /// An idempotency key: what asks again with the same key for the same gets the same answer, and
    /// nothing is queued twice. 1 to 64 printable characters of the caller's choice. Kept for as
    /// long as the operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Submit {
    /// The kind that asks for several operations as one.
    pub const BATCH: &str = "batch";

    /// The most operations that are asked for as one.
    pub const MOST_PARTS: u32 = 10_000;

    /// Asks for several operations as one, from 1 to [`Submit::MOST_PARTS`], in this order. When
    /// one fails, the others go on if `go_on` says so, and none is started any more otherwise. At
    /// most `at_once` of them are under way at once, if that is given. The actor and the priority
    /// are those of the first part; the batch has no key.
    #[must_use]
    pub fn batch(parts: Vec<Self>, go_on: bool, at_once: Option<u32>) -> Self {
        let (actor, priority) = match parts.first() {
            Some(first) => (first.actor.clone(), first.priority),
            None => Default::default(),
        };
        let operations: Vec<Json> = parts
            .into_iter()
            .map(|part| serde_json::json!({ "kind": part.kind, "params": part.params }))
            .collect();
        let mut params = Params::new();
        params.insert("operations".to_owned(), operations.into());
        params.insert("on_error".to_owned(), if go_on { "continue" } else { "stop" }.into());
        if let Some(at_once) = at_once {
            params.insert("at_once".to_owned(), at_once.into());
        }
        Self { kind: Self::BATCH.to_owned(), params, actor, priority, key: None }
    }

    /// Returns the operations that a batch asks for, in its order and with its actor and priority.
    /// `None` where this is no batch, or where one of them says no kind.
    #[must_use]
    pub fn parts(&self) -> Option<Vec<Self>> {
        if self.kind != Self::BATCH {
            return None;
        }
        let part = |part: &Json| {
            let kind = part.get("kind")?.as_str()?.to_owned();
            let params = part.get("params").and_then(Json::as_object).cloned().unwrap_or_default();
            Some(Self {
                kind,
                params,
                actor: self.actor.clone(),
                priority: self.priority,
                key: None,
            })
        };
        self.params.get("operations")?.as_array()?.iter().map(part).collect()
    }
}

/// The answer to a request that was queued. By the time it is given, the operation is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Accepted {
    /// The operation's number.
    pub uid: Uid,
    /// The resource it acts on or makes.
    pub resource: Option<ResourceId>,
    /// What may go wrong although it was accepted, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(kind: &str, params: &Json) -> Submit {
        let params = params.as_object().cloned().unwrap_or_default();
        Submit {
            kind: kind.to_owned(),
            params,
            actor: "cli:root".to_owned(),
            priority: 3,
            key: None,
        }
    }

    #[test]
    fn a_batch_says_what_it_was_made_of() {
        let parts =
            vec![part("vm_stop", &json!({ "vm": 1 })), part("vm_start", &json!({ "vm": 2 }))];
        let batch = Submit::batch(parts.clone(), true, Some(2));
        let asked = json!({
            "operations": [
                { "kind": "vm_stop", "params": { "vm": 1 } },
                { "kind": "vm_start", "params": { "vm": 2 } },
            ],
            "on_error": "continue",
            "at_once": 2,
        });
        assert_eq!(Json::Object(batch.params.clone()), asked);
        assert_eq!((&*batch.kind, &*batch.actor, batch.priority), ("batch", "cli:root", 3));
        assert_eq!(batch.parts(), Some(parts.clone()));
        let stops = Submit::batch(parts, false, None);
        assert_eq!(
            (&stops.params["on_error"], stops.params.get("at_once")),
            (&"stop".into(), None)
        );
    }

    #[test]
    fn only_a_batch_has_parts() {
        let operations = json!({ "operations": [{ "kind": "vm_stop" }] });
        assert_eq!(part("vm_stop", &operations).parts(), None);
        let batch = part(Submit::BATCH, &operations);
        assert_eq!(batch.parts(), Some(vec![part("vm_stop", &json!({}))]));
        for odd in [json!({}), json!({ "operations": [{ "kind": 1 }] }), json!({ "operations": 1 })]
        {
            assert_eq!(part(Submit::BATCH, &odd).parts(), None, "{odd}");
        }
    }
}
