//! What became of requests for children, and of the children: what the record keeps of both.

use serde::{Deserialize, Serialize};

use crate::domain::{Operation, Outcome, Refusal, State, Uid};

/// What became of a request for a child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spawned {
    /// It was accepted, as the operation of this number.
    Child(Uid),
    /// It was refused.
    Refused(Refusal),
    /// It was not asked for, because another one was refused and they stop at the first error.
    Withdrawn,
}

/// How a child stands that has come to an end or an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// Its number.
    pub uid: Uid,
    /// `DONE`, `ERROR` or `CANCEL`.
    pub state: State,
    /// What it is about: `disk/3 'data'`, or its kind where it is about no resource.
    pub about: String,
    /// Why it failed, or what else should be known.
    #[serde(default)]
    pub comment: Option<String>,
    /// What it returned.
    #[serde(default)]
    pub outcome: Option<Outcome>,
}

impl From<&Operation> for Child {
    fn from(operation: &Operation) -> Self {
        let Operation { uid, state, comment, outcome, .. } = operation.clone();
        let about = match (operation.resource, &operation.resource_name) {
            (Some(id), Some(name)) => format!("{id} '{name}'"),
            (Some(id), None) => id.to_string(),
            (None, Some(name)) => format!("{} '{name}'", operation.kind),
            (None, None) => operation.kind.clone(),
        };
        Self { uid, state, about, comment, outcome }
    }
}

/// What is to be said of those that were refused, where there are any: `2 of 8 refused: …`, with
/// the first reason.
#[must_use]
pub fn refused(spawned: &[Spawned]) -> Option<String> {
    let mut refusals = spawned.iter().filter_map(|spawned| match spawned {
        Spawned::Refused(refusal) => Some(refusal),
        _ => None,
    });
    let first = refusals.next()?;
    let (refused, all) = (refusals.count() + 1, spawned.len());
    Some(format!("{refused} of {all} refused: {}", first.message))
}
