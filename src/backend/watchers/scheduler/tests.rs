//! The schedule against a walk over every minute, and firings against crashes and clocks.

use jiff::civil::DateTime;
use proptest::prelude::*;
use serde_json::json;

use crate::backend::testing::trial::{Trial, until};
use crate::domain::{Backend, Every, Fact, Repeat, Task};

use super::*;

/// How far the walk goes.
const HORIZON: i64 = 34 * 24 * 60;

fn is(every: Every, value: i8) -> bool {
    match every {
        Every::Any => true,
        Every::At(at) => i64::from(at) == i64::from(value),
    }
}

fn matches(repeat: &Repeat, at: DateTime) -> bool {
    is(repeat.minute, at.minute())
        && is(repeat.hour, at.hour())
        && is(repeat.day, at.day())
        && is(repeat.week, (at.day() - 1) / 7 + 1)
        && is(repeat.weekday, at.weekday().to_sunday_zero_offset())
        && repeat.start.is_none_or(|start| at.date() >= start)
        && repeat.end.is_none_or(|end| at.date() <= end)
}

/// [`next`], minute by minute, as the head of the file says.
fn walk(repeat: &Repeat, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let minute = SignedDuration::from_mins(1);
    let once = repeat.minute != Every::Any && repeat.hour != Every::Any;
    let mut at = Timestamp::from_second(after.as_second().div_euclid(60) * 60).unwrap();
    for _ in 0..HORIZON {
        let before = zone.to_datetime(at);
        at += minute;
        let local = zone.to_datetime(at);
        let repeats = zone.to_ambiguous_timestamp(local).earlier().unwrap() < at;
        let mut swallowed = before.checked_add(minute).unwrap();
        let mut fires = matches(repeat, local) && !(once && repeats);
        while once && swallowed < local {
            fires |= matches(repeat, swallowed);
            swallowed = swallowed.checked_add(minute).unwrap();
        }
        if fires {
            return Some(at);
        }
    }
    None
}

fn every(min: u8, max: u8) -> impl Strategy<Value = Every> {
    prop_oneof![2 => Just(Every::Any), 3 => (min..=max).prop_map(Every::At)]
}

prop_compose! {
    fn repeats()(
        minute in prop_oneof![
            Just(Every::Any),
            Just(Every::At(0)),
            Just(Every::At(30)),
            every(0, 59)
        ],
        hour in prop_oneof![every(0, 3), every(0, 23)],
        day in prop_oneof![3 => Just(Every::Any), 1 => every(1, 31)],
        week in prop_oneof![3 => Just(Every::Any), 1 => every(1, 5)],
        weekday in prop_oneof![2 => Just(Every::Any), 1 => every(0, 6)],
        start in proptest::option::weighted(0.2, 0i64..60),
        end in proptest::option::weighted(0.2, 0i64..60),
    ) -> (Repeat, Option<i64>, Option<i64>) {
        (Repeat { minute, hour, day, week, weekday, start: None, end: None }, start, end)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_next_firing_is_the_first_minute_that_matches(
        (repeat, start, end) in repeats(),
        // Days on which clocks change somewhere, and how many seconds from their noon.
        day in prop::sample::select(vec![
            "2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04",
            "2026-09-06", "2026-04-04", "2028-02-28", "2027-12-31",
        ]),
        off in -200_000i64..200_000,
        zone in prop::sample::select(vec![
            "UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "America/Santiago",
            "Asia/Kathmandu",
        ]),
    ) {
        let zone = TimeZone::get(zone).unwrap();
        let noon: Timestamp = format!("{day}T12:00:00Z").parse().unwrap();
        let after = noon + SignedDuration::from_secs(off);
        let day = |days: i64| {
            (after + SignedDuration::from_hours(24 * (days - 10))).to_zoned(zone.clone()).date()
        };
        let repeat = Repeat { start: start.map(day), end: end.map(day), ..repeat };
        let found = next(&repeat, after, &zone);
        match walk(&repeat, after, &zone) {
            Some(walked) => prop_assert_eq!(found, Some(walked)),
            None => prop_assert!(
                found.is_none_or(|at| at > after + SignedDuration::from_mins(HORIZON - 1)),
                "{:?}", found
            ),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn firings_are_counted_as_if_one_by_one(
        (repeat, start, end) in repeats(),
        day in prop::sample::select(vec!["2026-03-29", "2026-10-25", "2026-04-05", "2026-06-01"]),
        off in -200_000i64..200_000,
        span in 0i64..300_000,
        zone in prop::sample::select(vec!["UTC", "Europe/Paris", "Australia/Lord_Howe"]),
    ) {
        let zone = TimeZone::get(zone).unwrap();
        let noon: Timestamp = format!("{day}T12:00:00Z").parse().unwrap();
        let after = noon + SignedDuration::from_secs(off);
        let until = after + SignedDuration::from_secs(span);
        let day = |days: i64| {
            (after + SignedDuration::from_hours(24 * (days - 10))).to_zoned(zone.clone()).date()
        };
        let repeat = Repeat { start: start.map(day), end: end.map(day), ..repeat };
        let found = Pattern::of(&repeat)
            .and_then(|pattern| firings(&repeat, &pattern, after, until, &zone));
        let each: Vec<_> = successors(next(&repeat, after, &zone), |at| next(&repeat, *at, &zone))
            .take_while(|at| *at <= until)
            .collect();
        prop_assert_eq!(found, each.last().map(|last| (each.len() as u64, *last)));
    }
}

#[test]
fn five_million_firings_are_not_looked_at_one_by_one() {
    let task = planned(1, Repeat::default());
    let now = at("2036-01-01T00:00:00Z");
    let owed = owed(&task, now, &TimeZone::UTC);
    assert_eq!(owed.due, Some(now));
    assert_eq!(owed.missed, Some((3652 * 24 * 60 - 1, at("2035-12-31T23:59:00Z"))));
}

#[test]
fn a_day_outside_its_week_never_fires() {
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    let repeat = Repeat { day: Every::At(31), week: Every::At(1), ..Repeat::default() };
    assert_eq!(next(&repeat, now, &TimeZone::UTC), None);
}

async fn task(trial: &Trial, id: u64) -> Task {
    match trial.resource(Task::KIND, id).await {
        Some(Resource::Task(task)) => task,
        other => panic!("{other:?}"),
    }
}

/// Waits until a task is as wanted, and gives it.
async fn task_when(trial: &Trial, id: u64, wanted: impl Fn(&Task) -> bool) -> Task {
    let events = trial.backend().subscribe();
    let is = |it: &Resource| matches!(it, Resource::Task(task) if task.id == id && wanted(task));
    if !is(&Resource::Task(task(trial, id).await)) {
        until(events, |fact| matches!(fact, Fact::Resource(it) if is(it))).await;
    }
    task(trial, id).await
}

/// A task that encodes at five past every hour.
async fn hourly(trial: &Trial) -> Task {
    let source = trial.file("talk.mov", "x");
    let params = json!({
        "name": "hourly", "kind": "encode", "params": { "source": source }, "minute": 5,
    });
    let detail = trial.done("task_create", params).await;
    assert_eq!(detail.operation.comment, None);
    task(trial, 1).await
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_task_fires_when_it_is_due_and_records_it() {
    let trial = Trial::new();
    let task = hourly(&trial).await;
    assert_eq!(task.next, Some(at("2026-03-01T12:05:00Z")));
    trial.clock.set("2026-03-01T12:05:00Z");
    let task = task_when(&trial, 1, |task| !task.runs.is_empty()).await;
    let RunOutcome::Queued { uid } = task.runs[0].outcome else { panic!("{task:?}") };
    assert_eq!(task.next, Some(at("2026-03-01T13:05:00Z")));
    let operation = trial.operation(uid).await.operation;
    assert_eq!((&*operation.kind, &*operation.actor), ("encode", "task/1"));
}

#[tokio::test]
async fn a_refusal_is_recorded() {
    let trial = Trial::new();
    hourly(&trial).await;
    trial.file("talk.mp4", "in the way");
    trial.clock.set("2026-03-01T12:05:00Z");
    let task = task_when(&trial, 1, |task| !task.runs.is_empty()).await;
    let RunOutcome::Refused { why } = &task.runs[0].outcome else { panic!("{task:?}") };
    assert!(why.contains("exists already"), "{why}");
}

#[tokio::test]
async fn what_a_task_did_not_do_is_counted_until_it_does_it() {
    let mut trial = Trial::new();
    hourly(&trial).await;
    let output = trial.file("talk.mp4", "in the way");
    trial.clock.set("2026-03-01T12:05:00Z");
    task_when(&trial, 1, |task| task.refused == 1).await;
    trial.clock.set("2026-03-01T13:05:00Z");
    let refused = task_when(&trial, 1, |task| task.refused == 2).await;
    let problem = refused.problem.clone().unwrap();
    assert!(problem.starts_with("refused twice, last for 2026-03-01 at 13:05 UTC: "), "{problem}");
    assert!(problem.contains("exists already"), "{problem}");
    assert_eq!(Resource::Task(refused).problem(), Some(&*problem));
    trial.crash().await;
    trial.clock.set("2026-03-01T15:30:00Z");
    trial.start();
    let missed = task_when(&trial, 1, |task| task.missed == 2).await;
    let problem = missed.problem.unwrap();
    let begin = "missed twice, last on 2026-03-01 at 15:05 UTC";
    assert!(problem.starts_with(begin) && problem.ends_with("also refused twice"), "{problem}");
    // Somebody saw to it.
    trial.done("task_update", json!({ "task": 1, "minute": 6 })).await;
    assert_eq!(task(&trial, 1).await.problem, None);
    trial.clock.set("2026-03-01T16:06:00Z");
    task_when(&trial, 1, |task| task.refused == 1).await;
    std::fs::remove_file(output).unwrap();
    trial.clock.set("2026-03-01T17:06:00Z");
    let well = task_when(&trial, 1, |task| task.next == Some(at("2026-03-01T18:06:00Z"))).await;
    assert!(matches!(well.runs[0].outcome, RunOutcome::Queued { .. }), "{well:?}");
    assert_eq!((well.missed, well.refused, well.problem), (0, 0, None));
}

#[tokio::test]
async fn firings_while_hostler_was_away_are_missed_but_for_the_last_minute() {
    let mut trial = Trial::new();
    hourly(&trial).await;
    trial.crash().await;
    trial.clock.set("2026-03-01T15:05:40Z");
    trial.start();
    let task = task_when(&trial, 1, |task| task.runs.len() == 2).await;
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
    let mut trial = Trial::new();
    hourly(&trial).await;
    trial.clock.set("2026-03-01T12:05:00Z");
    task_when(&trial, 1, |task| !task.runs.is_empty()).await;
    trial.clock.set("2026-03-01T12:00:00Z");
    trial.crash().await;
    trial.start();
    trial.clock.set("2026-03-01T12:05:30Z");
    trial.clock.set("2026-03-01T13:05:00Z");
    let task = task_when(&trial, 1, |task| task.runs.len() > 1).await;
    let due: Vec<_> = task.runs.iter().map(|run| run.due).collect();
    assert_eq!(due, [at("2026-03-01T13:05:00Z"), at("2026-03-01T12:05:00Z")]);
}

#[tokio::test]
async fn a_clock_that_is_ten_years_ahead_for_a_minute_leaves_no_trace() {
    let trial = Trial::new();
    hourly(&trial).await;
    trial.clock.set("2026-03-01T12:05:00Z");
    task_when(&trial, 1, |task| !task.runs.is_empty()).await;
    let events = trial.backend().subscribe();
    trial.clock.jump("2036-03-01T12:06:00Z");
    let ahead = |fact: &Fact| {
        let begin = "the clock was set ahead from 2026-03-01";
        matches!(fact, Fact::Notice { message } if message.starts_with(begin))
    };
    until(events, ahead).await;
    let ahead = task_when(&trial, 1, |task| task.next == Some(at("2036-03-01T13:05:00Z"))).await;
    assert_eq!((ahead.missed, ahead.runs.len()), (0, 1));
    trial.clock.jump("2026-03-01T12:07:00Z");
    task_when(&trial, 1, |task| task.next == Some(at("2026-03-01T13:05:00Z"))).await;
    trial.clock.set("2026-03-01T13:05:00Z");
    let task = task_when(&trial, 1, |task| task.runs.len() == 2).await;
    assert_eq!(task.missed, 0);
    assert_eq!(task.runs[0].due, at("2026-03-01T13:05:00Z"));
}

#[tokio::test]
async fn a_clock_that_is_set_between_two_lives_is_noticed() {
    let mut trial = Trial::new();
    hourly(&trial).await;
    trial.crash().await;
    trial.clock.jump("2036-03-01T12:06:00Z");
    trial.start();
    let ahead = task_when(&trial, 1, |task| task.next == Some(at("2036-03-01T13:05:00Z"))).await;
    assert_eq!((ahead.missed, ahead.runs), (0, vec![]));
    trial.crash().await;
    trial.clock.jump("2026-03-01T12:01:00Z");
    trial.start();
    task_when(&trial, 1, |task| task.next == Some(at("2026-03-01T12:05:00Z"))).await;
}

#[tokio::test]
async fn what_fired_on_a_clock_that_was_ahead_does_not_fire_again() {
    let trial = Trial::new();
    hourly(&trial).await;
    trial.clock.jump("2026-03-01T13:04:00Z");
    task_when(&trial, 1, |task| task.next == Some(at("2026-03-01T13:05:00Z"))).await;
    trial.clock.set("2026-03-01T13:05:00Z");
    task_when(&trial, 1, |task| task.runs.len() == 1).await;
    trial.clock.jump("2026-03-01T12:02:00Z");
    // The hour that was skipped comes after all, and the one that came does not come twice.
    task_when(&trial, 1, |task| task.next == Some(at("2026-03-01T12:05:00Z"))).await;
    trial.clock.set("2026-03-01T12:05:00Z");
    let task = task_when(&trial, 1, |task| task.runs.len() == 2).await;
    assert_eq!(task.next, Some(at("2026-03-01T14:05:00Z")));
    assert_eq!(task.missed, 0);
}

#[test]
fn a_task_that_fires_often_stays_where_it_was_when_the_clock_is_set_back() {
    let now = at("2026-03-01T12:00:00Z");
    let run = |minute: i64| Run {
        due: now + SignedDuration::from_mins(minute),
        outcome: RunOutcome::Refused { why: "it is there".to_owned() },
        by_hand: false,
    };
    let task = |newest: i64| Task {
        settled: now + SignedDuration::from_mins(newest),
        runs: (0..Task::RUNS_KEPT as i64).map(|ago| run(newest - ago)).collect(),
        ..planned(1, Repeat::default())
    };
    assert_eq!(settled(&task(59), now), now + SignedDuration::from_mins(59));
    assert_eq!(settled(&task(10), now), now, "those that fired are listed");
    assert_eq!(settled(&task(60 * 24 * 3650), now), now, "that clock was wrong");
    assert_eq!(settled(&task(-5), now), now - SignedDuration::from_mins(5));
}

#[tokio::test]
async fn a_disabled_task_is_owed_nothing() {
    let trial = Trial::new();
    hourly(&trial).await;
    trial.done("task_disable", json!({ "task": "hourly" })).await;
    assert_eq!(task(&trial, 1).await.next, None);
    trial.clock.set("2026-03-01T14:05:30Z");
    trial.done("task_enable", json!({ "task": 1 })).await;
    let task = task(&trial, 1).await;
    assert_eq!((task.missed, task.runs.len()), (0, 0));
    assert_eq!(task.next, Some(at("2026-03-01T15:05:00Z")));
}

fn planned(id: u64, repeat: Repeat) -> Task {
    let then = at("2026-01-01T00:00:00Z");
    Task {
        id,
        name: format!("task-{id}"),
        active: true,
        kind: "vm_stop".to_owned(),
        params: crate::domain::Params::new(),
        repeat,
        next: None,
        runs: Vec::new(),
        missed: 0,
        refused: 0,
        problem: None,
        settled: then,
        created: then,
    }
}

#[test]
fn a_day_ahead_holds_every_firing_of_active_tasks() {
    use Every::At;
    let now = at("2026-03-01T12:00:30Z");
    let every_minute = planned(1, Repeat::default());
    let noon = planned(2, Repeat { hour: At(12), minute: At(0), ..Repeat::default() });
    let hourly = planned(3, Repeat { minute: At(59), ..Repeat::default() });
    let next_week = Repeat { day: At(9), ..Repeat::default() };
    let off = Task { active: false, ..every_minute.clone() };
    // A clock that was set back: what was dealt with is not to come again.
    let settled = Task { id: 5, settled: at("2026-03-01T20:30:00Z"), ..hourly.clone() };
    let tasks = [every_minute, noon, hourly, planned(4, next_week), off, settled];
    let found = timeline(&tasks, now, &TimeZone::UTC);
    assert_eq!(found.from, at("2026-03-01T12:00:00Z"));
    let minutes = |task| &found.tasks.iter().find(|it| it.task == task).unwrap().minutes;
    assert_eq!(found.tasks.iter().map(|it| it.task).collect::<Vec<_>>(), [1, 2, 3, 5]);
    assert_eq!(*minutes(1), (1..=1440).collect::<Vec<u16>>());
    assert_eq!(*minutes(2), [1440]);
    assert_eq!(*minutes(3), (0..24).map(|hour| hour * 60 + 59).collect::<Vec<u16>>());
    assert_eq!(minutes(5)[0], 8 * 60 + 59);
}

#[test]
fn a_day_ahead_goes_by_the_clock_on_the_wall() {
    use Every::At;
    let paris = TimeZone::get("Europe/Paris").unwrap();
    let repeat = Repeat { hour: At(2), ..Repeat::default() };
    let minutes = |now| {
        let found = timeline(&[planned(1, repeat.clone())], at(now), &paris);
        found.tasks.first().map_or(0, |it| it.minutes.len())
    };
    assert_eq!(minutes("2026-03-27T12:00:00Z"), 60);
    assert_eq!(minutes("2026-03-28T12:00:00Z"), 0, "that hour is left out");
    assert_eq!(minutes("2026-10-24T12:00:00Z"), 120, "that hour comes twice");
}
