//! The schedule against a walk over every minute, and against clocks that are set.

use jiff::civil::DateTime;
use proptest::prelude::*;

use crate::domain::{Every, Repeat};

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

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
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
