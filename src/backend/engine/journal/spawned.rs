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

impl Spawned {
    /// Its number, where it was accepted.
    #[must_use]
    pub const fn child(&self) -> Option<Uid> {
        match self {
            Self::Child(uid) => Some(*uid),
            Self::Refused(_) | Self::Withdrawn => None,
        }
    }

    /// Why it was refused, where it was.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Child(_) | Self::Withdrawn => None,
        }
    }
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

impl Child {
    /// Why it is not done.
    #[must_use]
    pub fn why(&self) -> &str {
        self.comment.as_deref().unwrap_or("no reason was given")
    }
}

impl From<&Operation> for Child {
    fn from(operation: &Operation) -> Self {
        let Operation { uid, state, comment, outcome, .. } = operation;
        let about = match (operation.resource, &operation.resource_name) {
            (Some(id), Some(name)) => format!("{id} '{name}'"),
            (Some(id), None) => id.to_string(),
            (None, Some(name)) => format!("{} '{name}'", operation.kind),
            (None, None) => operation.kind.clone(),
        };
        Self { uid: *uid, state: *state, about, comment: comment.clone(), outcome: outcome.clone() }
    }
}

/// What is to be said of those that were refused, where there are any: `2 of 8 refused: …`, with
/// the first reason.
#[must_use]
pub fn refused(spawned: &[Spawned]) -> Option<String> {
    let mut refusals = spawned.iter().filter_map(Spawned::refusal);
    let first = refusals.next()?;
    let (refused, all) = (refusals.count() + 1, spawned.len());
    Some(format!("{refused} of {all} refused: {}", first.message))
}
