//! The scheduler: which task is due, what was missed, and what a day will bring.
//!
//! ```text
//!            settled            now
//!  ─────┬───────┼────┬─────┬─────┼──────┬────▶
//!     dealt          └ missed ┘  ▲      next: the scheduler sleeps until then
//!     with                       └ due at most a minute ago: fires
//! ```
//!
//! A firing and its record are one transaction, so that it happens once whatever crashes. `settled`
//! only grows: a clock that is set back fires nothing twice. A firing that is more than
//! `GRACE` late, because hostler was not running or the box slept, is missed and not made up for.
//!
//! Clock changes: local times count. A task with a fixed hour and minute fires once on every day
//! that matches: in the first of two hours that repeat, and at the end of a gap that swallows its
//! time. Any other fires in every minute that matches as it comes: in both of two hours that
//! repeat, and not within a gap.

use std::iter::successors;
use std::sync::Arc;

use croner::Cron;
use croner::parser::CronParser;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{
    BackendError, Every, Firings, Reason, Refusal, Repeat, Resource, ResourceId, ResourceKind, Run,
    RunOutcome, Submit, Task, Timeline, Uid,
};

use super::core::{Core, Flight, detached};
use super::store::Change;

/// How late a firing may be and still happen.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// The minutes of a day.
const DAY: u16 = 24 * 60;

/// How long to wait after the store could not be written.
const PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// A repetition ready to be searched: read once, asked often.
struct Pattern {
    cron: Cron,
    start: Option<Date>,
    end: Option<Date>,
}

impl Pattern {
    /// `None` when no day can match.
    fn of(repeat: &Repeat) -> Option<Self> {
        let (first, last) = match repeat.week {
            Every::Any => (1, 31),
            Every::At(week) => ((week.checked_sub(1)?) * 7 + 1, week.checked_mul(7)?.min(31)),
        };
        let days = match repeat.day {
            Every::Any => format!("{first}-{last}"),
            Every::At(day) if (first..=last).contains(&day) => day.to_string(),
            Every::At(_) => return None,
        };
        let days = if days == "1-31" { "*".to_owned() } else { days };
        let pattern = format!("{} {} {days} * {}", repeat.minute, repeat.hour, repeat.weekday);
        let cron = CronParser::builder().dom_and_dow(true).build().parse(&pattern).ok()?;
        Some(Self { cron, start: repeat.start, end: repeat.end })
    }

    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut from = after;
        if let Some(start) = self.start {
            // The first moment of that day may fire; the search is for later than `from`.
            let opens = start.to_zoned(zone.clone()).ok()?.timestamp();
            from = from.max(opens - SignedDuration::from_secs(1));
        }
        let found = self.cron.find_next_occurrence(&from.to_zoned(zone.clone()), false).ok()?;
        let late = self.end.is_some_and(|end| found.date() > end);
        (!late).then(|| found.timestamp())
    }
}

/// The first minute after `after` in which a task fires; `None` when it never does again.
#[must_use]
pub fn next(repeat: &Repeat, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    Pattern::of(repeat)?.next(after, zone)
}

/// When active tasks fire within a day from now.
#[must_use]
pub(super) fn timeline(tasks: &[Task], now: Timestamp, zone: &TimeZone) -> Timeline {
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

/// The firings of a task between when it was last dealt with and now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Owed {
    /// How many come too late, and the latest of them.
    missed: Option<(u64, Timestamp)>,
    /// The one that is to fire now.
    due: Option<Timestamp>,
}

fn owed(task: &Task, now: Timestamp, zone: &TimeZone) -> Owed {
    let mut owed = Owed::default();
    let mut at = task.settled;
    while let Some(due) = next(&task.repeat, at, zone).filter(|due| *due <= now) {
        // Of two within the grace, a minute apart, the earlier one is late.
        if let Some(earlier) = owed.due.take() {
            let count = owed.missed.map_or(0, |(count, _)| count);
            owed.missed = Some((count + 1, earlier));
        }
        if now.duration_since(due) <= GRACE {
            owed.due = Some(due);
        } else {
            let count = owed.missed.map_or(0, |(count, _)| count);
            owed.missed = Some((count + 1, due));
        }
        at = due;
    }
    owed
}

/// A task after one of its firings was dealt with; `missed` counts those that one stands for.
#[must_use]
pub(super) fn after(task: &Task, run: Run, missed: u64, zone: &TimeZone) -> Task {
    let mut task = task.clone();
    match run.outcome {
        RunOutcome::Queued { .. } => task = task.acknowledged(),
        RunOutcome::Refused { .. } => task.refused += 1,
        RunOutcome::Missed => task.missed += missed,
    }
    task.problem = problem(&task, &run, zone);
    if !run.by_hand {
        task.settled = task.settled.max(run.due);
        task.next = task.active.then(|| next(&task.repeat, task.settled, zone)).flatten();
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

/// Runs until the backend stops starting things.
pub(super) async fn run(core: Arc<Core>) {
    while !core.is_pausing() {
        let wake = round(&core).await;
        let sleep = async {
            match wake {
                Some(at) => core.ports().clock.until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = core.pausing.cancelled() => {}
            () = core.leaving.cancelled() => return,
            () = core.tasks_changed.notified() => {}
            () = sleep => {}
        }
    }
}

/// Deals with every task once and says when there is something to do again.
async fn round(core: &Arc<Core>) -> Option<Timestamp> {
    let now = core.ports().clock.now();
    let active: Vec<Task> = core.inventory(|inventory| {
        inventory
            .of(ResourceKind::Task)
            .filter_map(|row| match &**row {
                Resource::Task(task) if task.active => Some(task.clone()),
                _ => None,
            })
            .collect()
    });
    let mut wake: Option<Timestamp> = None;
    for task in active {
        let (id, name) = (task.id, task.name.clone());
        let at = match settle(core, task, now).await {
            Ok(at) => at,
            Err(error) => {
                tracing::error!(%error, task = name, id, "a firing could not be recorded");
                Some(now + PAUSE)
            }
        };
        wake = wake.into_iter().chain(at).min();
    }
    wake
}

/// Deals with what a task is owed and says when it is due next. A task that an operation is
/// changing is left alone: the end of that operation wakes the scheduler.
async fn settle(
    core: &Arc<Core>,
    task: Task,
    now: Timestamp,
) -> Result<Option<Timestamp>, BackendError> {
    // Nothing to count: the usual case, in which the search need not be made.
    if let Some(next) = task.next.filter(|next| *next > now) {
        return Ok(Some(next));
    }
    let (id, zone) = (task.id, core.settings().time_zone.clone());
    // After a year of absence there are half a million minutes to count.
    let owed = tokio::task::spawn_blocking(move || owed(&task, now, &zone))
        .await
        .map_err(|error| BackendError::failed(format!("the schedule broke: {error}")))?;
    if let Some((count, latest)) = owed.missed {
        let run = Run { due: latest, outcome: RunOutcome::Missed, by_hand: false };
        record(core, id, run, count).await?;
    }
    if let Some(due) = owed.due {
        fire(core, id, due).await?;
    }
    let next = core.inventory(|inventory| inventory.task(id).and_then(|task| task.next));
    // What is still owed is so because the task is held.
    Ok(next.filter(|next| *next > now))
}

/// Fires a task, or records why it could not be.
async fn fire(core: &Arc<Core>, id: u64, due: Timestamp) -> Result<(), BackendError> {
    let Some(task) = core.inventory(|inventory| inventory.task(id).cloned()) else {
        return Ok(());
    };
    let submit =
        Submit { kind: task.kind, params: task.params, actor: format!("task/{id}"), priority: 0 };
    let (firing, zone) = (core.clone(), core.settings().time_zone.clone());
    let fired = detached(async move {
        let put = |uid: Uid, flight: &Flight| {
            let run = Run { due, outcome: RunOutcome::Queued { uid }, by_hand: false };
            match owing(flight, id, due) {
                Some(task) => Ok(vec![Resource::Task(after(task, run, 0, &zone))]),
                None => Err(Refusal::new(Reason::State, "the task is being changed")),
            }
        };
        firing.submit_with(submit, put).await
    })
    .await;
    match fired {
        Ok(_) => Ok(()),
        // Not the task's fault; whoever starts next fires it or counts it as missed.
        Err(_) if core.is_pausing() => Ok(()),
        Err(BackendError::Refused(refusal)) => {
            let outcome = RunOutcome::Refused { why: refusal.message };
            record(core, id, Run { due, outcome, by_hand: false }, 0).await
        }
        Err(error) => Err(error),
    }
}

/// Records a firing that queued nothing.
async fn record(core: &Arc<Core>, id: u64, run: Run, missed: u64) -> Result<(), BackendError> {
    match &run.outcome {
        RunOutcome::Refused { why } => {
            tracing::warn!("task/{id} did not fire at {}, it was refused: {why}", run.due);
        }
        RunOutcome::Missed => {
            tracing::warn!("task/{id} missed {missed} firings, the latest at {}", run.due);
        }
        RunOutcome::Queued { .. } => {}
    }
    let (written, task, before) = {
        let mut flight = core.flight();
        let Some(before) = owing(&flight, id, run.due).cloned() else { return Ok(()) };
        let task = after(&before, run, missed, &core.settings().time_zone);
        if let Some(problem) = &task.problem {
            tracing::warn!(task = task.name, id, problem, "a task did not do what it should");
        }
        let task = Arc::new(Resource::Task(task));
        flight.inventory.put(task.clone());
        (core.store.writer().send(vec![Change::Put(task.clone())]), task, before)
    };
    if let Err(error) = written.await {
        core.flight().inventory.put_back(&task, Some(Resource::Task(before)));
        return Err(error);
    }
    core.tell_resource(&task);
    Ok(())
}

/// A task, if nobody is changing it and a firing is still owed to it.
fn owing(flight: &Flight, id: u64, due: Timestamp) -> Option<&Task> {
    let task = flight.inventory.task(id)?;
    let held = flight.queue.is_held(ResourceId::new(ResourceKind::Task, id));
    (!held && task.active && task.settled < due).then_some(task)
}

#[cfg(test)]
mod tests;
