//! The schedule: when a task fires, what it is owed, and what a day will bring. Pure: it asks no
//! clock.
//!
//! ```text
//!            settled            now
//!  ─────┬───────┼────┬─────┬─────┼──────┬────▶
//!     dealt          └ missed ┘  ▲      next: the scheduler sleeps until then
//!     with                       └ due at most a minute ago: fires
//! ```
//!
//! A firing that is more than [`MAX_LATENESS`] late, because hostler was not running or the box
//! slept, is missed and not made up for.
//!
//! Clock changes: local times count. A task with a fixed hour and minute fires once on every day
//! that matches: in the first of two hours that repeat, and at the end of a gap that swallows its
//! time. Any other fires in every minute that matches as it comes: in both of two hours that
//! repeat, and not within a gap.

mod pattern;

use std::iter::successors;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{Firings, Run, RunOutcome, Task, Timeline};

pub use pattern::next;
use pattern::{A_DAY, Pattern, firings};

/// How late a firing may be and still happen.
pub const MAX_LATENESS: SignedDuration = SignedDuration::from_secs(60);

/// The minutes of a day.
const DAY: u16 = 24 * 60;

/// When active tasks fire within a day from now.
#[must_use]
pub fn timeline(tasks: &[Task], now: Timestamp, zone: &TimeZone) -> Timeline {
    let from = now - SignedDuration::from_secs(now.as_second().rem_euclid(60));
    let minute = |at: Timestamp| u16::try_from((at.as_second() - from.as_second()) / 60).ok();
    let firings = |task: &Task| {
        let pattern = Pattern::of(&task.repeat)?;
        let first = pattern.next(task.settled.max(now), zone);
        let minutes: Vec<u16> = successors(first, |at| pattern.next(*at, zone))
            .map_while(|at| minute(at).filter(|minute| *minute <= DAY))
            .collect();
        (!minutes.is_empty()).then_some(Firings { task: task.id, minutes })
    };
    let tasks = tasks.iter().filter(|task| task.active).filter_map(firings).collect();
    Timeline { from, tasks }
}

/// The first minute after `after` in which a task fires that it did not fire for already: with a
/// clock that has been set back since.
#[must_use]
pub fn upcoming(task: &Task, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let pattern = Pattern::of(&task.repeat)?;
    successors(pattern.next(after, zone), |at| pattern.next(*at, zone))
        .find(|at| !fired(task).any(|due| due == *at))
}

/// The firings that are known to have happened.
fn fired(task: &Task) -> impl Iterator<Item = Timestamp> {
    let by_clock = |run: &&Run| !run.by_hand && run.outcome != RunOutcome::Missed;
    task.runs.iter().filter(by_clock).map(|run| run.due)
}

/// Until when the firings of a task have been dealt with, on a clock that shows `now`.
#[must_use]
pub fn settled(task: &Task, now: Timestamp) -> Timestamp {
    if task.settled <= now {
        return task.settled;
    }
    // The clock was set back. What lies further ahead than a day was fired, if at all, on a clock
    // that was wrong.
    let is_kept = |due: &Timestamp| (now..now + A_DAY).contains(due);
    let all_to_come = task.runs.iter().all(|run| run.due > now);
    if task.runs.len() == Task::RUNS_KEPT && all_to_come {
        // Earlier ones are not listed any more.
        return fired(task).filter(is_kept).max().unwrap_or(now);
    }
    now
}

/// The firings of a task between when it was last dealt with and now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// How many come too late, and the latest of them.
    pub missed: Option<(u64, Timestamp)>,
    /// The one that is to fire now.
    pub due: Option<Timestamp>,
}

/// What is owed to a task on a clock that shows `now`.
#[must_use]
pub fn owed(task: &Task, now: Timestamp, zone: &TimeZone) -> Owed {
    let Some(pattern) = Pattern::of(&task.repeat) else { return Owed::default() };
    match firings(&task.repeat, &pattern, task.settled, now, zone) {
        Some((count, last)) if now.duration_since(last) <= MAX_LATENESS => {
            // Of two within the grace, a minute apart, the earlier one is late.
            let before = last - SignedDuration::from_secs(1);
            let earlier = (count > 1)
                .then(|| firings(&task.repeat, &pattern, task.settled, before, zone))
                .flatten();
            Owed { missed: earlier, due: fired(task).all(|due| due != last).then_some(last) }
        }
        missed => Owed { missed, due: None },
    }
}

/// A task after one of its firings was dealt with; `missed` counts those that one stands for.
#[must_use]
pub fn after(task: &Task, run: Run, missed: u64, zone: &TimeZone) -> Task {
    let mut task = task.clone();
    match run.outcome {
        RunOutcome::Queued { .. } => task = task.acknowledged(),
        RunOutcome::Refused { .. } => task.refused += 1,
        RunOutcome::Missed => task.missed += missed,
    }
    task.problem = problem(&task, &run, zone);
    if !run.by_hand {
        task.settled = task.settled.max(run.due);
        task.next = task.active.then(|| upcoming(&task, task.settled, zone)).flatten();
    }
    task.runs.insert(0, run);
    task.runs.truncate(Task::RUNS_KEPT);
    task
}

/// What a person should know of firings that did nothing, the latest of which was `run`.
fn problem(task: &Task, run: &Run, zone: &TimeZone) -> Option<String> {
    let at = run.due.to_zoned(zone.clone()).strftime("%F at %H:%M %Z");
    let missed = times(task.missed);
    let refused = times(task.refused);
    match &run.outcome {
        RunOutcome::Queued { .. } => None,
        RunOutcome::Refused { why } => {
            let also = if task.missed > 0 { format!("; also missed {missed}") } else { "".into() };
            Some(format!("refused {refused}, last for {at}: {why}{also}"))
        }
        RunOutcome::Missed => {
            let also =
                if task.refused > 0 { format!("; also refused {refused}") } else { "".into() };
            Some(format!("missed {missed}, last on {at}: hostler was not running{also}"))
        }
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests;
