//! The scheduler: fires the tasks that are due, and counts what they missed.
//!
//! A firing and its record are one transaction, so that it happens once whatever crashes.
//!
//! A clock that is set: what it skips when it is set ahead never came, and is not missed. When it
//! is set back, `settled` comes back with it, and what is known to have fired does not fire again.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{
    BackendError, Fact, Reason, Refusal, Resource, ResourceId, Run, RunOutcome, Submit, Task, Uid,
};

use super::Site;
use super::timekeeper::{Jump, Timekeeper};
use crate::backend::engine::Live;
use crate::backend::engine::notices::{Notice, Watch};
use crate::backend::schedule::{self, MAX_LATENESS, after, upcoming};

/// How long hostler may have been away at most: what came due in a longer time is not missed,
/// because a clock that is wrong is likelier.
const AWAY: SignedDuration = SignedDuration::from_hours(24 * 366);

/// How long to wait after the store could not be written.
const STORE_RETRY: SignedDuration = SignedDuration::from_secs(60);

/// What may concern the scheduler.
pub(in crate::backend) fn concerns(notice: Notice) -> bool {
    matches!(notice, Notice::Resource(ResourceId { kind: Task::KIND, .. }))
}

/// Runs until the backend stops starting things. `keeper` is where an earlier life left the clock.
pub(in crate::backend) async fn run(site: Arc<Site>, watch: Watch, mut keeper: Timekeeper) {
    // The tasks that have not followed a clock that was set ahead, because an operation held them.
    let mut behind = HashMap::new();
    while !site.engine.is_pausing() {
        if let Some(jump) = keeper.look(&*site.ports().clock) {
            tell(&site, jump);
            if jump.is_ahead() && (jump.proven || jump.by() > AWAY) {
                for task in active(&site) {
                    behind.entry(task.id).or_insert(jump).to = jump.to;
                }
            }
        }
        let wake = round(&site, keeper.wall(), &mut behind).await;
        let sleep = async {
            match wake {
                Some(at) => site.ports().clock.until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = site.engine.paused() => {}
            _ = watch.next() => {}
            () = sleep => {}
        }
    }
}

/// Says that the clock was set.
fn tell(site: &Site, jump: Jump) {
    let zone = &site.settings().time_zone();
    let show = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%F %H:%M %Z").to_string();
    let (from, to) = (show(jump.from), show(jump.to));
    let message = match (jump.proven, jump.is_ahead()) {
        (true, true) => format!(
            "the clock was set ahead from {from} to {to}; what tasks would have done in between is \
             skipped, and nothing leaves the trash for it"
        ),
        (true, false) => format!(
            "the clock was set back from {from} to {to}; tasks fire by it and do nothing twice"
        ),
        (false, _) => format!(
            "the clock shows {to}, and {from} at most is proven: the box was off, or its clock was \
             set; nothing leaves the trash for it"
        ),
    };
    tracing::warn!("{message}");
    site.engine.events.publish(Fact::Notice { message });
}

fn active(site: &Site) -> Vec<Task> {
    site.engine.inventory(|inventory| {
        let tasks = inventory.of(Task::KIND).filter_map(|row| match &**row {
            Resource::Task(task) if task.active => Some(task.clone()),
            _ => None,
        });
        tasks.collect()
    })
}

/// Deals with every task once and says when there is something to do again.
async fn round(site: &Site, now: Timestamp, behind: &mut HashMap<u64, Jump>) -> Option<Timestamp> {
    let mut wake: Option<Timestamp> = None;
    let tasks = active(site);
    behind.retain(|id, _| tasks.iter().any(|task| task.id == *id));
    for task in tasks {
        let (id, name) = (task.id, task.name.clone());
        let settled = async {
            if let Some(jump) = behind.get(&id).copied() {
                // What came until the clock was set came in time.
                deal(site, task, jump.from).await?;
                if follow(site, id, |task| task.settled.max(jump.to)).await? {
                    behind.remove(&id);
                }
            } else if task.settled > now + MAX_LATENESS {
                follow(site, id, |task| schedule::settled(task, now)).await?;
            }
            let task = site.engine.inventory(|inventory| inventory.get::<Task>(id).cloned());
            match task.filter(|_| !behind.contains_key(&id)) {
                Some(task) => deal(site, task, now).await,
                None => Ok(None),
            }
        };
        let at = match settled.await {
            Ok(at) => at,
            Err(error) => {
                tracing::error!(%error, task = name, id, "a firing could not be recorded");
                Some(now + STORE_RETRY)
            }
        };
        wake = wake.into_iter().chain(at).min();
    }
    wake
}

/// Makes a task follow a clock that was set. Says whether it could: not while it is being changed.
async fn follow(
    site: &Site,
    id: u64,
    settled: impl FnOnce(&Task) -> Timestamp,
) -> Result<bool, BackendError> {
    let zone = &site.settings().time_zone();
    let change = |task: &Task| {
        let settled = settled(task);
        Task { settled, next: upcoming(task, settled, zone), ..task.clone() }
    };
    change_task(site, id, |_| true, change).await
}

/// Deals with what a task is owed and says when it is due next. A task that an operation is
/// changing is left alone: the end of that operation wakes the scheduler.
async fn deal(site: &Site, task: Task, now: Timestamp) -> Result<Option<Timestamp>, BackendError> {
    // Nothing to count: the usual case, in which the search need not be made.
    if let Some(next) = task.next.filter(|next| *next > now) {
        return Ok(Some(next));
    }
    let (id, zone) = (task.id, site.settings().time_zone());
    // After years of absence there are thousands of days to look at.
    let owed = tokio::task::spawn_blocking(move || schedule::owed(&task, now, &zone))
        .await
        .map_err(|error| BackendError::failed(format!("the schedule broke: {error}")))?;
    if let Some((count, latest)) = owed.missed {
        let run = Run { due: latest, outcome: RunOutcome::Missed, by_hand: false };
        record(site, id, run, count).await?;
    }
    if let Some(due) = owed.due {
        fire(site, id, due).await?;
    }
    let next =
        site.engine.inventory(|inventory| inventory.get::<Task>(id).and_then(|task| task.next));
    // What is still owed is so because the task is held.
    Ok(next.filter(|next| *next > now))
}

/// Fires a task, or records why it could not be.
async fn fire(site: &Site, id: u64, due: Timestamp) -> Result<(), BackendError> {
    let Some(task) = site.engine.inventory(|inventory| inventory.get::<Task>(id).cloned()) else {
        return Ok(());
    };
    let actor = format!("task/{id}");
    let submit = Submit { kind: task.kind, params: task.params, actor, ..Submit::default() };
    let zone = &site.settings().time_zone();
    let mut may_fire = true;
    let put = |uid: Uid, live: &Live| {
        let run = Run { due, outcome: RunOutcome::Queued { uid }, by_hand: false };
        let owing = owing(live, id, due);
        may_fire = owing.is_some();
        let task = owing.ok_or_else(|| Refusal::new(Reason::State, "the task is being changed"))?;
        Ok(vec![Resource::Task(after(task, run, 0, zone))])
    };
    match site.engine.submit_with(submit, put).await {
        Ok(_) => Ok(()),
        // Not the task's fault; whoever starts next fires it or counts it as missed.
        Err(_) if site.engine.is_pausing() => Ok(()),
        // Whoever is changing it wakes the scheduler.
        Err(BackendError::Refused(_)) if !may_fire => Ok(()),
        Err(BackendError::Refused(refusal)) => {
            let outcome = RunOutcome::Refused { why: refusal.message };
            record(site, id, Run { due, outcome, by_hand: false }, 0).await
        }
        Err(error) => Err(error),
    }
}

/// Records a firing that queued nothing.
async fn record(site: &Site, id: u64, run: Run, missed: u64) -> Result<(), BackendError> {
    let (zone, due) = (&site.settings().time_zone(), run.due);
    let change = |task: &Task| {
        let task = after(task, run, missed, zone);
        if let Some(problem) = &task.problem {
            tracing::warn!(task = task.name, id, problem, "a task did not do what it should");
        }
        task
    };
    change_task(site, id, |task| task.settled < due, change).await.map(drop)
}

/// Changes a task, in memory and on disk, that is active, as `wanted`, and changed by nobody else.
/// Says whether it was.
async fn change_task(
    site: &Site,
    id: u64,
    wanted: impl FnOnce(&Task) -> bool,
    change: impl FnOnce(&Task) -> Task,
) -> Result<bool, BackendError> {
    let Some(lease) = site.engine.lease(ResourceId::new(Task::KIND, id)) else {
        return Ok(false);
    };
    let task = match lease.resource() {
        Resource::Task(task) if task.active && wanted(task) => change(task),
        _ => return Ok(false),
    };
    lease.put(Resource::Task(task)).await.map(|()| true)
}

/// An active task, if nobody is changing it and a firing is still owed to it.
fn owing(live: &Live, id: u64, due: Timestamp) -> Option<&Task> {
    let of = ResourceId::new(Task::KIND, id);
    let is_free = !live.queue().is_held(of) && !live.is_changing(of);
    live.inventory().get::<Task>(id).filter(|task| is_free && task.active && task.settled < due)
}

#[cfg(test)]
mod tests;
