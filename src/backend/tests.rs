//! Memory and disk tell the same story when writes fail and callers go.

mod faults;
mod gone;
mod room;

use futures_util::FutureExt;
use serde_json::json;

use super::engine::store::FILE;
use crate::backend::testing::fake::CallFault;
use crate::backend::testing::fake_encoder::EncodeScript;
use crate::backend::testing::harness::{Harness, params};
use crate::backend::testing::test_backend::{TestBackend, until};
use crate::domain::{
    Answer, Backend, Control, Fact, LaneChange, LaneState, Params, Query, State, Submit, Vm, Wait,
};

#[tokio::test]
async fn of_many_children_the_first_are_shown_and_the_others_counted() {
    let mut harness = Harness::open();
    harness.control(Control::Lane { name: "disk".to_owned(), change: LaneChange::Pause }).await;
    let disk = |number: u32| Submit {
        kind: "disk_create".to_owned(),
        params: params(json!({ "name": format!("disk-{number}"), "size_mb": 1, "fstype": "none" })),
        ..Submit::default()
    };
    let batch = Submit::batch((0..1003).map(disk).collect(), true, None);
    let uid = harness.submit("batch", batch.params.into()).await.unwrap().uid;
    let mut detail = harness.detail(uid).await;
    while detail.children.len() as u64 + detail.more_children < 1003 {
        harness.hears(|fact| matches!(fact, Fact::Operation(_)).then_some(())).await;
        detail = harness.detail(uid).await;
    }
    assert_eq!((detail.children.len(), detail.more_children), (1000, 3));
    assert!(detail.children.is_sorted_by_key(|child| child.uid));
}

fn encode(tested: &TestBackend) -> Submit {
    let source = tested.file("talk.mov", "x");
    let params = [("source".to_owned(), json!(source))].into_iter().collect();
    Submit { kind: "encode".into(), params, ..Submit::default() }
}

/// Lets the store refuse what the trigger says, or not any more.
fn trigger(tested: &TestBackend, sql: &str) {
    let path = tested.path("state").join(FILE);
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_request_that_cannot_be_written_leaves_nothing() {
    let tested = TestBackend::new();
    trigger(
        &tested,
        "CREATE TRIGGER no BEFORE INSERT ON operation BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    tested.backend().submit(encode(&tested)).await.unwrap_err();
    assert!(tested.resource(crate::domain::Encoding::KIND, 1).await.is_none());
    trigger(&tested, "DROP TRIGGER no");
    let accepted = tested.backend().submit(encode(&tested)).await.unwrap();
    assert_eq!(accepted.uid.0, 1, "numbers have no gaps");
    let events = tested.backend().subscribe();
    assert_eq!(tested.rest(events, accepted.uid).await.operation.state, State::Done);
}

#[tokio::test]
async fn a_relaunch_that_cannot_be_written_can_be_tried_again() {
    let tested = TestBackend::new();
    tested.encoder.media.lock().unwrap().video = false;
    let accepted = tested.backend().submit(encode(&tested)).await.unwrap();
    let uid = accepted.uid;
    let events = tested.backend().subscribe();
    assert_eq!(tested.rest(events, uid).await.operation.state, State::Error);
    trigger(
        &tested,
        "CREATE TRIGGER no BEFORE UPDATE OF attempt ON operation \
         BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    let relaunch = || tested.backend().control(Control::Relaunch { uid, params: Params::new() });
    relaunch().await.unwrap_err();
    assert_eq!(tested.operation(uid).await.operation.state, State::Error);
    trigger(&tested, "DROP TRIGGER no");
    tested.encoder.media.lock().unwrap().video = true;
    let events = tested.backend().subscribe();
    relaunch().await.unwrap();
    assert_eq!(tested.rest(events, uid).await.operation.state, State::Done);
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_keep_its_operation_from_starting() {
    let tested = TestBackend::new();
    let events = tested.backend().subscribe();
    assert!(tested.backend().submit(encode(&tested)).now_or_never().is_none());
    until(events, |fact| matches!(fact, Fact::Operation(it) if it.state == State::Done)).await;
}

#[tokio::test]
async fn a_lane_that_has_drained_is_told() {
    let mut harness = Harness::open();
    harness.fake.trouble(0, CallFault::Hang);
    let given = json!({ "name": "data", "size_mb": 1, "fstype": "none" });
    let last = harness.submit("disk_create", given).await.unwrap();
    harness.fake.hung().await;
    harness.control(Control::Lane { name: "disk".into(), change: LaneChange::Drain }).await;
    harness.control(Control::Cancel { uid: last.uid }).await;
    let told = |fact: &Fact| match fact {
        Fact::Lane(lane) if lane.state != LaneState::Draining => Some(lane.clone()),
        _ => None,
    };
    let lane = harness.hears(told).await;
    assert_eq!((lane.name.as_str(), lane.state, lane.running), ("disk", LaneState::Paused, 0));
}

#[tokio::test]
async fn an_end_that_cannot_be_written_is_waited_for_and_told() {
    let tested = TestBackend::new();
    trigger(
        &tested,
        "CREATE TRIGGER no BEFORE UPDATE OF state ON operation WHEN NEW.state = 2 \
         BEGIN SELECT RAISE(ABORT, 'no room'); END",
    );
    let events = tested.backend().subscribe();
    let uid = tested.backend().submit(encode(&tested)).await.unwrap().uid;
    let waits = |wait: &Option<Wait>| match wait {
        Some(Wait::Retry { why, .. }) => why.contains("no room"),
        _ => false,
    };
    until(
        events,
        |fact| matches!(fact, Fact::Operation(it) if it.state == State::Run && waits(&it.wait)),
    )
    .await;
    trigger(&tested, "DROP TRIGGER no");
    let events = tested.backend().subscribe();
    tested.clock.set("2026-03-01T12:01:00Z");
    assert_eq!(tested.rest(events, uid).await.operation.state, State::Done);
}

#[tokio::test]
async fn a_cancellation_that_cannot_be_written_changes_nothing() {
    let tested = TestBackend::new();
    let lane = |change| Control::Lane { name: "encode".into(), change };
    tested.backend().control(lane(LaneChange::Pause)).await.unwrap();
    let uid = tested.backend().submit(encode(&tested)).await.unwrap().uid;
    trigger(
        &tested,
        "CREATE TRIGGER no BEFORE UPDATE OF state ON operation WHEN NEW.state = 4 \
         BEGIN SELECT RAISE(ABORT, 'no room'); END",
    );
    tested.backend().control(Control::Cancel { uid }).await.unwrap_err();
    let operation = tested.operation(uid).await.operation;
    assert_eq!((operation.state, operation.cancelling), (State::Pending, false));
    let events = tested.backend().subscribe();
    tested.backend().control(lane(LaneChange::Resume)).await.unwrap();
    assert_eq!(tested.rest(events, uid).await.operation.state, State::Done);
}

#[tokio::test]
async fn a_lane_or_a_priority_that_cannot_be_written_stays_as_it_was() {
    let tested = TestBackend::new();
    let lane = |change| Control::Lane { name: "encode".into(), change };
    tested.backend().control(lane(LaneChange::Width(3))).await.unwrap();
    trigger(
        &tested,
        "CREATE TRIGGER no BEFORE INSERT ON lane BEGIN SELECT RAISE(ABORT, 'no room'); END; \
         CREATE TRIGGER nor BEFORE UPDATE OF priority ON operation \
         BEGIN SELECT RAISE(ABORT, 'no room'); END",
    );
    for change in [LaneChange::Pause, LaneChange::Drain, LaneChange::Width(5)] {
        tested.backend().control(lane(change)).await.unwrap_err();
        let Answer::Lanes(lanes) = tested.backend().query(Query::Lanes).await.unwrap() else {
            panic!("lanes were asked for");
        };
        let is = lanes.iter().find(|lane| lane.name == "encode").unwrap();
        assert_eq!((is.width, is.state), (3, LaneState::Open), "after {change:?}");
    }
    trigger(&tested, "DROP TRIGGER no");
    tested.backend().control(lane(LaneChange::Pause)).await.unwrap();
    let uid = tested.backend().submit(encode(&tested)).await.unwrap().uid;
    tested.backend().control(Control::Priority { uid, priority: 7 }).await.unwrap_err();
    assert_eq!(tested.operation(uid).await.operation.priority, 0);
}

#[tokio::test]
async fn that_an_operation_runs_is_written_with_its_first_step_at_the_latest() {
    let tested = TestBackend::new();
    *tested.encoder.next.lock().unwrap() = EncodeScript::Hangs;
    // What is noted at the beginning of the first step is lost.
    trigger(
        &tested,
        "CREATE TRIGGER no BEFORE INSERT ON step WHEN NEW.number = 1 AND NEW.state = 0 \
         BEGIN SELECT RAISE(ABORT, 'no room'); END",
    );
    let uid = tested.backend().submit(encode(&tested)).await.unwrap().uid;
    tested.encoder.hanging.notified().await;
    let state: i64 = rusqlite::Connection::open(tested.path("state").join(FILE))
        .unwrap()
        .query_row("SELECT state FROM operation WHERE uid = ?1", [uid.0], |row| row.get(0))
        .unwrap();
    assert_eq!(state, 1, "the store knows that it runs");
}

#[tokio::test]
async fn a_relaunch_of_something_else_says_what_it_is_about() {
    let mut harness = Harness::open();
    let one = harness.some_vm().await;
    let two = json!({ "hostname": "web-2", "password": "correct horse", "os": "tiny" });
    let two = harness.done("vm_create", two).await;
    harness.fake.trouble(0, CallFault::Before);
    let (uid, _) = harness.fails("vm_stop", json!({ "vm": one, "force": true })).await;
    let params = Params::from_iter([("vm".to_owned(), json!(two))]);
    harness.control(Control::Relaunch { uid, params }).await;
    assert_eq!(harness.ends(uid).await.state, State::Done);
    for _ in 0..2 {
        let about = harness.detail(uid).await.operation;
        let id = crate::domain::ResourceId::new(Vm::KIND, two);
        assert_eq!((about.resource, about.resource_name.as_deref()), (Some(id), Some("web-2")));
        harness = harness.restart().await;
    }
}

#[tokio::test]
async fn secrets_of_a_request_with_a_key_are_compared_and_kept_hashed() {
    let mut harness = Harness::open();
    harness.some_image().await;
    let vm = |password: &str| Submit {
        kind: "vm_create".into(),
        params: params(json!({ "hostname": "web-9", "password": password, "os": "tiny" })),
        key: Some("vm".into()),
        ..Submit::default()
    };
    let first = harness.backend.submit(vm("correct horse")).await.unwrap();
    assert_eq!(harness.backend.submit(vm("correct horse")).await.unwrap(), first);
    let refused = harness.backend.submit(vm("battery staple")).await.unwrap_err();
    assert!(refused.to_string().contains("other parameters"), "{refused}");
    harness
        .restart_after(|dir| {
            let kept = std::fs::read(dir.join(FILE)).unwrap();
            let shows = |word: &str| kept.windows(word.len()).any(|it| it == word.as_bytes());
            assert!(shows("web-9") && !shows("correct horse"));
        })
        .await;
}
