//! What asks again with its idempotency key is answered as it was before, and nothing is done
//! twice.

use serde_json::json;

use super::world::World;
use crate::backend::engine::core::Committing;
use crate::backend::engine::storage::Changed;
use crate::domain::{Accepted, BackendError, Reason, Refusal, State};

fn refusal(answer: Result<Accepted, BackendError>) -> Refusal {
    match answer {
        Err(BackendError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_same_with_the_same_key_is_done_once_also_in_another_life() {
    let mut world = World::new();
    let one = json!({ "name": "one" });
    let ask = || world.submit_once("nightly 7", "make", one.clone());
    let (accepted, other) = tokio::join!(ask(), ask());
    let accepted = accepted.unwrap();
    assert_eq!(other.unwrap(), accepted, "two at once");
    assert_eq!(world.rest(accepted.uid).await.operation.state, State::Done);
    assert_eq!(ask().await.unwrap(), accepted, "done already");
    world.crash(|_| {}).await;
    let again = world.submit_once("nightly 7", "make", one.clone()).await;
    assert_eq!(again.unwrap(), accepted, "in another life");
    assert_eq!(world.script.log(), ["made 1"]);

    for (kind, params, with) in [
        ("make", json!({ "name": "two" }), "other parameters"),
        ("make", json!({ "name": "one", "more": 1 }), "other parameters"),
        ("use", json!({ "thing": 1 }), "another kind"),
    ] {
        let refusal = refusal(world.submit_once("nightly 7", kind, params).await);
        assert_eq!(refusal.field.as_deref(), Some("key"));
        let says = format!("key 'nightly 7' was used for {} make with {with}", accepted.uid);
        assert!(refusal.message.starts_with(&says), "{refusal}");
    }
}

#[tokio::test]
async fn what_was_asked_for_counts_and_not_what_became_of_it() {
    let world = World::new();
    let made = world.submit("make", json!({ "name": "one" })).await.unwrap();
    let using = world.submit_once("k", "use", json!({ "thing": "one" })).await.unwrap();
    world.rest(using.uid).await;
    // What it names is gone by now: asked for anew, it would be refused.
    let gone = Changed::Remove(made.resource.unwrap());
    let transaction = Committing { changed: vec![gone], runs: None, makes: None };
    world.engine.transact(|live| transaction.stage(live, Vec::new())).await.unwrap();
    let params = json!({ "thing": "one" });
    assert_eq!(world.submit_once("k", "use", params.clone()).await.unwrap(), using);
    assert_eq!(refusal(world.submit("use", params).await).reason, Reason::Existence);
}

#[tokio::test]
async fn a_caller_that_hangs_up_and_asks_again_gets_the_first_answer() {
    let world = World::new();
    let ask = || world.submit_once("k", "make", json!({ "name": "one" }));
    // It has begun, and nobody knows how far it comes.
    assert!(futures_util::poll!(Box::pin(ask())).is_pending());
    let accepted = ask().await.unwrap();
    assert_eq!(ask().await.unwrap(), accepted);
    world.rest(accepted.uid).await;
    assert_eq!(world.script.log(), ["made 1"]);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let world = World::new();
    world.submit_once("k", "make", json!({})).await.unwrap_err();
    world.submit_once("k", "make", json!({ "name": "one" })).await.unwrap();
}

#[tokio::test]
async fn a_key_is_a_short_printable_text() {
    let world = World::new();
    for key in ["", "a\nb", &"x".repeat(65)] {
        let refusal = refusal(world.submit_once(key, "make", json!({ "name": "one" })).await);
        assert_eq!((refusal.reason, refusal.field.as_deref()), (Reason::Syntax, Some("key")));
    }
    let longest = "ü".repeat(64);
    world.submit_once(&longest, "make", json!({ "name": "one" })).await.unwrap();
}
