//! Firings against crashes, refusals and clocks.

use jiff::Timestamp;
use serde_json::json;

use crate::backend::testing::test_backend::{TestBackend, until};
use crate::domain::{Backend, Fact, Resource, RunOutcome, Task};

async fn task(tested: &TestBackend, id: u64) -> Task {
    match tested.resource(Task::KIND, id).await {
        Some(Resource::Task(task)) => task,
        other => panic!("{other:?}"),
    }
}

/// Waits until a task is as wanted, and gives it.
async fn task_when(tested: &TestBackend, id: u64, wanted: impl Fn(&Task) -> bool) -> Task {
    let events = tested.backend().subscribe();
    let is = |it: &Resource| matches!(it, Resource::Task(task) if task.id == id && wanted(task));
    if !is(&Resource::Task(task(tested, id).await)) {
        until(events, |fact| matches!(fact, Fact::Resource(it) if is(it))).await;
    }
    task(tested, id).await
}

/// A task that encodes at five past every hour.
async fn hourly(tested: &TestBackend) -> Task {
    let source = tested.file("talk.mov", "x");
    let params = json!({
        "name": "hourly", "kind": "encode", "params": { "source": source }, "minute": 5,
    });
    let detail = tested.done("task_create", params).await;
    assert_eq!(detail.operation.comment, None);
    task(tested, 1).await
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_task_fires_when_it_is_due_and_records_it() {
    let tested = TestBackend::new();
    let task = hourly(&tested).await;
    assert_eq!(task.next, Some(at("2026-03-01T12:05:00Z")));
    tested.clock.set("2026-03-01T12:05:00Z");
    let task = task_when(&tested, 1, |task| !task.runs.is_empty()).await;
    let RunOutcome::Queued { uid } = task.runs[0].outcome else { panic!("{task:?}") };
    assert_eq!(task.next, Some(at("2026-03-01T13:05:00Z")));
    let operation = tested.operation(uid).await.operation;
    assert_eq!((&*operation.kind, &*operation.actor), ("encode", "task/1"));
}

#[tokio::test]
async fn a_refusal_is_recorded() {
    let tested = TestBackend::new();
    hourly(&tested).await;
    tested.file("talk.mp4", "in the way");
    tested.clock.set("2026-03-01T12:05:00Z");
    let task = task_when(&tested, 1, |task| !task.runs.is_empty()).await;
    let RunOutcome::Refused { why } = &task.runs[0].outcome else { panic!("{task:?}") };
    assert!(why.contains("exists already"), "{why}");
}

#[tokio::test]
async fn what_a_task_did_not_do_is_counted_until_it_does_it() {
    let mut tested = TestBackend::new();
    hourly(&tested).await;
    let output = tested.file("talk.mp4", "in the way");
    tested.clock.set("2026-03-01T12:05:00Z");
    task_when(&tested, 1, |task| task.refused == 1).await;
    tested.clock.set("2026-03-01T13:05:00Z");
    let refused = task_when(&tested, 1, |task| task.refused == 2).await;
    let problem = refused.problem.clone().unwrap();
    assert!(problem.starts_with("refused twice, last for 2026-03-01 at 13:05 UTC: "), "{problem}");
    assert!(problem.contains("exists already"), "{problem}");
    assert_eq!(Resource::Task(refused).problem(), Some(&*problem));
    tested.crash().await;
    tested.clock.set("2026-03-01T15:30:00Z");
    tested.start();
    let missed = task_when(&tested, 1, |task| task.missed == 2).await;
    let problem = missed.problem.unwrap();
    let begin = "missed twice, last on 2026-03-01 at 15:05 UTC";
    assert!(problem.starts_with(begin) && problem.ends_with("also refused twice"), "{problem}");
    // Somebody saw to it.
    tested.done("task_update", json!({ "task": 1, "minute": 6 })).await;
    assert_eq!(task(&tested, 1).await.problem, None);
    tested.clock.set("2026-03-01T16:06:00Z");
    task_when(&tested, 1, |task| task.refused == 1).await;
    std::fs::remove_file(output).unwrap();
    tested.clock.set("2026-03-01T17:06:00Z");
    let well = task_when(&tested, 1, |task| task.next == Some(at("2026-03-01T18:06:00Z"))).await;
    assert!(matches!(well.runs[0].outcome, RunOutcome::Queued { .. }), "{well:?}");
    assert_eq!((well.missed, well.refused, well.problem), (0, 0, None));
}

#[tokio::test]
async fn firings_while_hostler_was_away_are_missed_but_for_the_last_minute() {
    let mut tested = TestBackend::new();
    hourly(&tested).await;
    tested.crash().await;
    tested.clock.set("2026-03-01T15:05:40Z");
    tested.start();
    let task = task_when(&tested, 1, |task| task.runs.len() == 2).await;
    // They were missed, and what came next was not.
    assert_eq!((task.missed, task.problem), (0, None));
    assert_eq!(task.runs[1].outcome, RunOutcome::Missed);
    assert_eq!(task.runs[1].due, at("2026-03-01T14:05:00Z"));
    assert_eq!(task.runs[0].due, at("2026-03-01T15:05:00Z"));
    assert!(matches!(task.runs[0].outcome, RunOutcome::Queued { .. }));
    assert_eq!(task.next, Some(at("2026-03-01T16:05:00Z")));
}

#[tokio::test]
async fn nothing_fires_twice_when_the_clock_goes_back_or_hostler_starts_again() {
    let mut tested = TestBackend::new();
    hourly(&tested).await;
    tested.clock.set("2026-03-01T12:05:00Z");
    task_when(&tested, 1, |task| !task.runs.is_empty()).await;
    tested.clock.set("2026-03-01T12:00:00Z");
    tested.crash().await;
    tested.start();
    tested.clock.set("2026-03-01T12:05:30Z");
    tested.clock.set("2026-03-01T13:05:00Z");
    let task = task_when(&tested, 1, |task| task.runs.len() > 1).await;
    let due: Vec<_> = task.runs.iter().map(|run| run.due).collect();
    assert_eq!(due, [at("2026-03-01T13:05:00Z"), at("2026-03-01T12:05:00Z")]);
}

#[tokio::test]
async fn a_clock_that_is_ten_years_ahead_for_a_minute_leaves_no_trace() {
    let tested = TestBackend::new();
    hourly(&tested).await;
    tested.clock.set("2026-03-01T12:05:00Z");
    task_when(&tested, 1, |task| !task.runs.is_empty()).await;
    let events = tested.backend().subscribe();
    tested.clock.jump("2036-03-01T12:06:00Z");
    let ahead = |fact: &Fact| {
        let begin = "the clock was set ahead from 2026-03-01";
        matches!(fact, Fact::Notice { message } if message.starts_with(begin))
    };
    until(events, ahead).await;
    let ahead = task_when(&tested, 1, |task| task.next == Some(at("2036-03-01T13:05:00Z"))).await;
    assert_eq!((ahead.missed, ahead.runs.len()), (0, 1));
    tested.clock.jump("2026-03-01T12:07:00Z");
    task_when(&tested, 1, |task| task.next == Some(at("2026-03-01T13:05:00Z"))).await;
    tested.clock.set("2026-03-01T13:05:00Z");
    let task = task_when(&tested, 1, |task| task.runs.len() == 2).await;
    assert_eq!(task.missed, 0);
    assert_eq!(task.runs[0].due, at("2026-03-01T13:05:00Z"));
}

#[tokio::test]
async fn a_clock_that_is_set_between_two_lives_is_noticed() {
    let mut tested = TestBackend::new();
    hourly(&tested).await;
    tested.crash().await;
    tested.clock.jump("2036-03-01T12:06:00Z");
    tested.start();
    let ahead = task_when(&tested, 1, |task| task.next == Some(at("2036-03-01T13:05:00Z"))).await;
    assert_eq!((ahead.missed, ahead.runs), (0, vec![]));
    tested.crash().await;
    tested.clock.jump("2026-03-01T12:01:00Z");
    tested.start();
    task_when(&tested, 1, |task| task.next == Some(at("2026-03-01T12:05:00Z"))).await;
}

#[tokio::test]
async fn what_fired_on_a_clock_that_was_ahead_does_not_fire_again() {
    let tested = TestBackend::new();
    hourly(&tested).await;
    tested.clock.jump("2026-03-01T13:04:00Z");
    task_when(&tested, 1, |task| task.next == Some(at("2026-03-01T13:05:00Z"))).await;
    tested.clock.set("2026-03-01T13:05:00Z");
    task_when(&tested, 1, |task| task.runs.len() == 1).await;
    tested.clock.jump("2026-03-01T12:02:00Z");
    // The hour that was skipped comes after all, and the one that came does not come twice.
    task_when(&tested, 1, |task| task.next == Some(at("2026-03-01T12:05:00Z"))).await;
    tested.clock.set("2026-03-01T12:05:00Z");
    let task = task_when(&tested, 1, |task| task.runs.len() == 2).await;
    assert_eq!(task.next, Some(at("2026-03-01T14:05:00Z")));
    assert_eq!(task.missed, 0);
}

#[tokio::test]
async fn a_disabled_task_is_owed_nothing() {
    let tested = TestBackend::new();
    hourly(&tested).await;
    tested.done("task_disable", json!({ "task": "hourly" })).await;
    assert_eq!(task(&tested, 1).await.next, None);
    tested.clock.set("2026-03-01T14:05:30Z");
    tested.done("task_enable", json!({ "task": 1 })).await;
    let task = task(&tested, 1).await;
    assert_eq!((task.missed, task.runs.len()), (0, 0));
    assert_eq!(task.next, Some(at("2026-03-01T15:05:00Z")));
}
