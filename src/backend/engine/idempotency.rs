//! Asking once: a request that comes again with its idempotency key gets the answer it got before.
//!
//! ```text
//!  key ─▶ nobody else asks with it? ─▶ known? ─┬─ no ──▶ queued, the key in the same row
//!                                              ├─ as before ──────▶ the same answer
//!                                              └─ another request ▶ refused
//! ```
//!
//! The key is looked for before anything is checked: what was asked for may be done by now, and
//! would be refused. It is compared with what was asked for, not with what became of it; what was
//! left out counts as its default, as that is now.

use std::sync::Arc;

use serde_json::Value as Json;

use super::admission;
use super::completion::run_to_completion;
use super::core::Engine;
use super::storage::Keyed;
use crate::domain::{Accepted, BackendError, Operation, Params, Reason, Refusal, State, Submit};

/// The longest key.
const LONGEST_KEY: usize = 64;

impl Engine {
    /// Queues an operation that somebody outside asks for with a key, or finds that done.
    ///
    /// # Errors
    /// When it is refused, the key came with another request before, or it cannot be written.
    pub(super) async fn submit_once(
        self: &Arc<Self>,
        key: String,
        submit: Submit,
    ) -> Result<Accepted, BackendError> {
        let engine = self.clone();
        // The key is held until the answer is on disk, also when nobody waits for that.
        run_to_completion(async move {
            let _turn = engine.asking.enter(&key).await;
            match engine.answered(&key, &submit).await? {
                Some(accepted) => Ok(accepted),
                None => engine.submit_with(submit, |_, _| Ok(Vec::new())).await,
            }
        })
        .await
    }

    /// The answer that a request with this key got before; `None`: none came with it.
    ///
    /// # Errors
    /// When it is no key, it came with another request, or the store cannot be read.
    pub(super) async fn answered(
        &self,
        key: &str,
        submit: &Submit,
    ) -> Result<Option<Accepted>, BackendError> {
        check(key)?;
        let Some((operation, before)) = self.storage.keyed(key).await? else { return Ok(None) };
        let normal = |params: Params| match self.kinds.get(&operation.kind) {
            Some(kind) => admission::with_defaults(kind.spec(), params, self.catalogue()),
            None => params,
        };
        let (asked, before) = (normal(submit.params.clone()), normal(before));
        again(key, &operation, before, &submit.kind, asked).await.map(Some)
    }
}

/// Looks whether a text can be a key.
fn check(key: &str) -> Result<(), Refusal> {
    let length = key.chars().count();
    let printable = key.chars().all(|c| !c.is_control());
    if printable && (1..=LONGEST_KEY).contains(&length) {
        return Ok(());
    }
    let shown: String = key.chars().filter(|c| !c.is_control()).take(LONGEST_KEY).collect();
    let message = format!("key must be 1 to {LONGEST_KEY} printable characters, not {length}");
    let message = if printable { message } else { "key has a character without a face".to_owned() };
    Err(Refusal::field(Reason::Syntax, "key", shown, message))
}

/// What is kept with a key: the parameters as they were asked for, but secrets as they are stored.
pub(super) fn keyed(key: String, asked: &Params, stored: &Params) -> Keyed {
    let kept = asked.iter().map(|(name, value)| {
        let value = stored.get(name).map_or_else(|| value.clone(), |stored| kept(value, stored));
        (name.clone(), value)
    });
    Keyed { key, request: kept.collect() }
}

fn kept(asked: &Json, stored: &Json) -> Json {
    match (asked, stored) {
        (_, Json::Object(sealed)) if admission::is_sealed(sealed) => stored.clone(),
        (Json::Object(asked), Json::Object(stored)) => {
            Json::Object(keyed(String::new(), asked, stored).request)
        }
        (Json::Array(asked), Json::Array(stored)) if asked.len() == stored.len() => {
            asked.iter().zip(stored).map(|(asked, stored)| kept(asked, stored)).collect()
        }
        _ => asked.clone(),
    }
}

/// The answer to a request whose key is known.
async fn again(
    key: &str,
    operation: &Operation,
    before: Params,
    kind: &str,
    asked: Params,
) -> Result<Accepted, BackendError> {
    let same = if before.values().any(has_sealed) {
        // Comparing with a hash takes as long as making one.
        let same = tokio::task::spawn_blocking(move || is_same(&asked, &before));
        same.await.map_err(|error| {
            BackendError::failed(format!("a request could not be compared with its key's: {error}"))
        })?
    } else {
        is_same(&asked, &before)
    };
    if kind == operation.kind && same {
        let Operation { uid, resource, state, .. } = operation;
        let warnings = match state {
            State::Error | State::Cancel => {
                vec![format!("key '{key}' was used for this before: {uid} is {state}")]
            }
            _ => Vec::new(),
        };
        return Ok(Accepted { uid: *uid, resource: *resource, warnings });
    }
    let what = if kind == operation.kind { "other parameters" } else { "another kind" };
    Err(Refusal::field(
        Reason::Existence,
        "key",
        key,
        format!(
            "key '{key}' was used for {} {} with {what}; take another key for another request",
            operation.uid, operation.kind
        ),
    )
    .into())
}

/// Whether a secret is in a value.
fn has_sealed(value: &Json) -> bool {
    match value {
        Json::Object(object) => admission::is_sealed(object) || object.values().any(has_sealed),
        Json::Array(items) => items.iter().any(has_sealed),
        _ => false,
    }
}

/// Whether the same is asked for as was before.
fn is_same(asked: &Params, before: &Params) -> bool {
    fn same(asked: &Json, before: &Json) -> bool {
        match (asked, before) {
            (_, Json::Object(sealed)) if admission::is_sealed(sealed) => {
                admission::opens(asked, sealed)
            }
            (Json::Object(asked), Json::Object(before)) => is_same(asked, before),
            (Json::Array(asked), Json::Array(before)) => {
                asked.len() == before.len()
                    && asked.iter().zip(before).all(|(asked, before)| same(asked, before))
            }
            _ => asked == before,
        }
    }
    asked.len() == before.len()
        && asked
            .iter()
            .all(|(name, value)| before.get(name).is_some_and(|before| same(value, before)))
}
