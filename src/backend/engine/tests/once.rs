//! What asks again with its idempotency key is answered as it was before, and nothing is done twice.

use serde_json::json;

use super::encode;
use crate::backend::testing::harness::{Harness, params};
use crate::backend::testing::trial::Trial;
use crate::domain::{Accepted, Backend, BackendError, Reason, Refusal, State, Submit};

fn keyed(submit: Submit, key: &str) -> Submit {
    Submit { key: Some(key.to_owned()), ..submit }
}

fn vm(password: &str) -> Submit {
    let params = params(json!({ "hostname": "web-9", "password": password, "os": "tiny" }));
    keyed(Submit { kind: "vm_create".into(), params, ..Submit::default() }, "vm")
}

async fn refused(backend: &impl Backend, submit: Submit) -> Refusal {
    match backend.submit(submit).await {
        Err(BackendError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_same_with_the_same_key_is_done_once_also_in_another_life() {
    let mut trial = Trial::new();
    let submit = keyed(encode(&trial), "nightly 7");
    let (one, other) = tokio::join!(
        trial.backend().submit(submit.clone()),
        trial.backend().submit(submit.clone())
    );
    let accepted = one.unwrap();
    assert_eq!(other.unwrap(), accepted, "two at once");
    let events = trial.backend().subscribe();
    assert_eq!(trial.rest(events, accepted.uid).await.operation.state, State::Done);
    // Its output is there now: without its key the same is refused.
    assert_eq!(trial.backend().submit(submit.clone()).await.unwrap(), accepted, "done already");
    refused(trial.backend(), encode(&trial)).await;
    trial.crash().await;
    trial.start();
    assert_eq!(trial.backend().submit(submit.clone()).await.unwrap(), accepted, "in another life");

    let mut changed = submit.clone();
    changed.params.insert("preset".to_owned(), json!("webm"));
    let other_kind = Submit { kind: "task_run".into(), ..submit };
    for (asked, with) in [(changed, "other parameters"), (other_kind, "another kind")] {
        let refusal = refused(trial.backend(), asked).await;
        assert_eq!(refusal.field.as_deref(), Some("key"));
        let says = format!("key 'nightly 7' was used for {} encode with {with}", accepted.uid);
        assert!(refusal.message.starts_with(&says), "{refusal}");
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_and_asks_again_gets_the_first_answer() {
    let trial = Trial::new();
    let submit = keyed(encode(&trial), "k");
    let mut first = Box::pin(trial.backend().submit(submit.clone()));
    // It has begun, and nobody knows how far it comes.
    assert!(futures_util::poll!(&mut first).is_pending());
    drop(first);
    let accepted = trial.backend().submit(submit.clone()).await.unwrap();
    assert_eq!(accepted.uid.0, 1);
    assert_eq!(trial.backend().submit(submit).await.unwrap(), accepted);
}

#[tokio::test]
async fn secrets_are_compared_and_kept_hashed() {
    let mut harness = Harness::open();
    harness.some_image().await;
    let first: Accepted = harness.backend.submit(vm("correct horse")).await.unwrap();
    assert_eq!(harness.backend.submit(vm("correct horse")).await.unwrap(), first);
    let refusal = refused(&harness.backend, vm("battery staple")).await;
    assert!(refusal.message.contains("other parameters"), "{refusal}");
    let dir = harness.dir().to_owned();
    harness
        .restart_after(|_| {
            let kept = std::fs::read(dir.join(super::FILE)).unwrap();
            let shows = |word: &str| kept.windows(word.len()).any(|it| it == word.as_bytes());
            assert!(shows("web-9") && !shows("correct horse"));
        })
        .await;
}

#[tokio::test]
async fn a_key_is_a_short_printable_text() {
    let trial = Trial::new();
    for key in ["", "a\nb", &"x".repeat(65)] {
        let refusal = refused(trial.backend(), keyed(encode(&trial), key)).await;
        assert_eq!((refusal.reason, refusal.field.as_deref()), (Reason::Syntax, Some("key")));
    }
    trial.backend().submit(keyed(encode(&trial), &"ü".repeat(64))).await.unwrap();
}
