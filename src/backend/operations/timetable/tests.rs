//! What the kinds about tasks promise.

use serde_json::json;

use crate::backend::testing::harness::Harness;
use crate::backend::testing::test_backend::TestBackend;
use crate::domain::{Every, Preview, Reason, Resource, RunOutcome, State, Task};

async fn task(tested: &TestBackend, id: u64) -> Task {
    match tested.resource(Task::KIND, id).await {
        Some(Resource::Task(task)) => task,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let good = json!({ "name": "nightly", "kind": "encode", "params": { "source": source } });
    tested.done("task_create", good.clone()).await;
    for (change, reason, field) in [
        (json!({}), Reason::Existence, Some("name")),
        (json!({ "name": "b", "params": {} }), Reason::Type, Some("params.source")),
        (
            json!({ "name": "b", "kind": "task_run", "params": { "task": 1 } }),
            Reason::Value,
            Some("kind"),
        ),
        // What asks for others could ask for a task.
        (
            json!({ "name": "b", "kind": "batch", "params": {
                "operations": [{ "kind": "task_run", "params": { "task": 1 } }],
            } }),
            Reason::Value,
            Some("kind"),
        ),
        (json!({ "name": "b", "kind": "dance" }), Reason::Value, Some("kind")),
        // What is wrong in what it asks for, and always will be.
        (
            json!({ "name": "b", "kind": "disk_create", "params": {
                "name": "d", "size_mb": 20, "fstype": "xfs",
            } }),
            Reason::Value,
            Some("params.size_mb"),
        ),
        (
            json!({ "name": "b", "minute": 60, "params": { "source": source, "output": source } }),
            Reason::Value,
            Some("minute"),
        ),
        (
            json!({ "name": "b", "params": { "source": source, "output": source } }),
            Reason::Value,
            Some("params.output"),
        ),
        (json!({ "name": "b", "start": "March" }), Reason::Syntax, Some("start")),
        (json!({ "name": "b", "end": "2020-01-01" }), Reason::Value, None),
        (json!({ "name": "b", "week": 1, "day": 31 }), Reason::Value, None),
        (json!({ "name": "b", "minute": 60 }), Reason::Value, Some("minute")),
    ] {
        let mut params = good.clone();
        for (name, value) in change.as_object().unwrap() {
            params[name] = value.clone();
        }
        let refusal = tested.submit("task_create", params).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.field.as_deref()), (reason, field), "{change}");
    }
}

#[tokio::test]
async fn what_a_task_asks_for_need_not_work_yet() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    // The output is there now, and may be gone by then.
    let params = json!({ "source": source, "output": tested.file("talk.mp4", "x") });
    let create = json!({ "name": "nightly", "kind": "encode", "params": params });
    tested.done("task_create", create).await;
    let change = json!({ "task": 1, "kind": "encode", "params": {
        "source": source, "output": source,
    } });
    let refusal = tested.submit("task_update", change).await.unwrap_err();
    assert_eq!(refusal.field.as_deref(), Some("params.output"), "{refusal}");
    assert!(refusal.message.contains("encode would always be refused"), "{refusal}");
}

#[tokio::test]
async fn a_change_leaves_the_rest_as_it_was() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let params = json!({
        "name": "nightly", "kind": "encode", "params": { "source": source },
        "hour": 3, "end": "2026-12-31",
    });
    tested.done("task_create", params).await;
    tested.done("task_update", json!({ "task": 1, "minute": 30, "end": "*" })).await;
    let changed = task(&tested, 1).await;
    assert_eq!((changed.repeat.minute, changed.repeat.hour), (Every::At(30), Every::At(3)));
    assert_eq!(changed.repeat.end, None);
    assert_eq!(changed.name, "nightly");
    assert_eq!(changed.next, Some("2026-03-02T03:30:00Z".parse().unwrap()));
    let refusal =
        tested.submit("task_update", json!({ "task": 1, "params": {} })).await.unwrap_err();
    assert_eq!(refusal.field.as_deref(), Some("kind"));
}

#[tokio::test]
async fn a_task_can_be_run_by_hand() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let params = json!({ "name": "nightly", "kind": "encode", "params": { "source": source } });
    tested.done("task_create", params).await;
    let detail = tested.done("task_run", json!({ "task": 1 })).await;
    assert_eq!(detail.operation.state, State::Done);
    let fired = task(&tested, 1).await;
    assert!(fired.runs[0].by_hand);
    let RunOutcome::Queued { uid } = fired.runs[0].outcome else { panic!("{fired:?}") };
    assert_eq!(tested.operation(uid).await.operation.actor, "task/1 by hand");
    let outcome = detail.operation.outcome.unwrap();
    let said = outcome.message.strip_prefix(&format!("asked for encode as {uid}: made "));
    assert!(said.is_some(), "{outcome:?}");
    assert_eq!(outcome.data["uid"], json!(uid));
    assert_eq!(outcome.data["kind"], "encode");
    assert_eq!(outcome.data["state"], "DONE");
    assert_eq!(outcome.data["data"]["encoding"], 1);
    assert_eq!(fired.next, Some("2026-03-01T13:00:00Z".parse().unwrap()));
}

#[tokio::test]
async fn running_a_task_is_refused_where_what_it_asks_for_is() {
    let mut harness = Harness::open();
    harness.some_halted_vm().await;
    let start = json!({
        "name": "up", "kind": "vm_start", "params": { "vm": "web-1" }, "start": "2099-01-01",
    });
    harness.done("task_create", start).await;
    harness.done("vm_start", json!({ "vm": 1 })).await;
    let told = harness.preview("task_run", json!({ "task": 1 })).await;
    let refusal = harness.submit("task_run", json!({ "task": 1 })).await.unwrap_err();
    let why = "it asks for vm_start, which is refused: ";
    assert!(refusal.to_string().contains(why), "{refusal}");
    assert!(told.refusal.is_some_and(|it| it.message.contains(why)));
    harness.done("vm_stop", json!({ "vm": 1, "force": true })).await;
    harness.done("task_run", json!({ "task": 1 })).await;
}

#[tokio::test]
async fn a_deleted_task_is_gone() {
    let tested = TestBackend::new();
    let source = tested.file("talk.mov", "x");
    let params = json!({ "name": "nightly", "kind": "encode", "params": { "source": source } });
    tested.done("task_create", params).await;
    tested.done("task_delete", json!({ "task": 1 })).await;
    assert!(tested.resource(Task::KIND, 1).await.is_none());
}

#[tokio::test]
async fn what_a_task_would_do_names_what_it_is_done_to_and_when() {
    let mut harness = Harness::open();
    harness.some_halted_vm().await;
    let asks = "Asks for vm_delete vm/1 'web-1'.";
    let create =
        json!({ "name": "wipe", "kind": "vm_delete", "params": { "vm": "web-1" }, "hour": 3 });
    let about = |preview: Preview| preview.effects;
    let told = about(harness.preview("task_create", create.clone()).await);
    assert!(told[0].starts_with("Fires next on ") && told[0].contains("at 03:00"), "{told:?}");
    assert_eq!(told[1], asks);
    assert!(told[2].starts_with("VM 'web-1' and its root disk of "), "{told:?}");
    harness.done("task_create", create).await;
    let same = json!({ "task": 1 });
    for kind in ["task_update", "task_run"] {
        let told = about(harness.preview(kind, same.clone()).await);
        assert!(told.contains(&asks.to_owned()), "{kind}: {told:?}");
        assert!(
            told.iter().any(|it| it.starts_with("VM 'web-1' and its root disk of ")),
            "{told:?}"
        );
    }
    harness.done("task_disable", same.clone()).await;
    let told = about(harness.preview("task_enable", same).await);
    assert!(told[0].starts_with("Fires next on ") && told[1] == asks, "{told:?}");
}
