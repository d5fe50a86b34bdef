//! What asks again with its idempotency key is answered as it was before, and nothing is done
//! twice.

use serde_json::json;

use super::world::World;
use crate::backend::engine::core::Committing;
use crate::backend::engine::storage::Changed;
use crate::domain::{Accepted, BackendError, Control, Reason, Refusal, State};

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
async fn one_that_was_cancelled_is_told_with_the_answer() {
    let world = World::new();
    let uid = {
        world.script.stop_next_at("make");
        let asked = world.submit_once("k", "make", json!({ "name": "one" })).await.unwrap();
        assert_eq!(asked.warnings, [""; 0]);
        world.script.stopped().await;
        asked.uid
    };
    world.engine.control(Control::Cancel { uid }).await.unwrap();
    assert_eq!(world.rest(uid).await.operation.state, State::Cancel);
    let again = world.submit_once("k", "make", json!({ "name": "one" })).await.unwrap();
    assert_eq!(again.warnings, [format!("key 'k' was used for this before: {uid} is CANCEL")]);
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
async fn a_default_counts_the_same_whether_it_is_given_or_left_out() {
    let world = World::new();
    let ask = |key: &'static str, params| world.submit_once(key, "make", params);
    let out = ask("k", json!({ "name": "one" })).await.unwrap();
    let given = json!({ "name": "one", "count": 1 });
    assert_eq!(ask("k", given.clone()).await.unwrap(), out);
    let given = ask("l", given).await.unwrap();
    assert_eq!(ask("l", json!({ "name": "one", "count": null })).await.unwrap(), given);
    let other = refusal(ask("l", json!({ "name": "one", "count": 2 })).await);
    assert_eq!(other.field.as_deref(), Some("key"));
}

#[tokio::test]
async fn a_dry_run_says_of_a_key_what_the_request_would_hear() {
    let world = World::new();
    let accepted = world.submit_once("k", "make", json!({ "name": "one" })).await.unwrap();
    for (key, params, heard) in [
        ("", json!({ "nam": 1 }), Err("key")),
        ("k", json!({ "name": "two" }), Err("key")),
        ("k", json!({ "name": "one" }), Ok(1)),
        ("new", json!({ "name": "one" }), Ok(0)),
        ("new", json!({ "nam": 1 }), Err("nam")),
    ] {
        let what = format!("{key} {params}");
        let preview = world.preview_once(key, "make", params.clone()).await;
        let field = preview.refusal.as_ref().and_then(|it| it.field.as_deref());
        match heard {
            Err(at) => {
                assert_eq!(field, Some(at), "{what}");
                let real = refusal(world.submit_once(key, "make", params).await);
                assert_eq!(preview.refusal, Some(real), "{what}");
            }
            Ok(effects) => {
                assert_eq!(preview.refusal, None, "{what}");
                assert_eq!(preview.effects.len(), effects, "{what}");
                let names = |effect: &String| effect.contains(&accepted.uid.to_string());
                assert!(preview.effects.iter().all(names), "{preview:?}");
            }
        }
    }
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
