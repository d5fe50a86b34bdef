//! The pruner: forgets operations that ended long ago, or before too many others.
//!
//! ```text
//!  start, the oldest is old enough, a thousand more ─▶ which? ─▶ one small transaction ─▶ rest ─┐
//!                                                        ▲                                     │
//!                                                        └─────────────────────────────────────┘
//! ```
//!
//! It rests after each transaction for as long as that took, so that what people ask for never
//! waits for more than one of them. Operations leave no files when they end but those that carry
//! their mark, where something went wrong: those operations stay, as do those that a task's history
//! names. A clock that was set ahead makes nothing old.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use super::Site;
use super::timekeeper::{Jump, Timekeeper};
use crate::backend::engine::notices::{Notice, Watch};
use crate::backend::engine::storage::{Change, Health, Storage};
use crate::backend::engine::store::prune::{self, Prunable, Retention};
use crate::backend::engine::store::{Store, counter, reader};
use crate::backend::state_files::mark::Mark;
use crate::domain::{BackendError, Resource, RunOutcome, Task, Uid};

/// How many operations come between two looks at how many there are.
const BETWEEN: u64 = 1024;
/// How long after one look at how old they are the next one comes, at least.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// The counter that says since when the clock is believed, in milliseconds since 1970.
const BELIEVED_SINCE: &str = "clock_set";

/// What concerns the pruner: now and then an operation's end.
pub(in crate::backend) const fn concerns(notice: Notice) -> bool {
    matches!(notice, Notice::Ended(uid) if uid.0.is_multiple_of(BETWEEN))
}

/// Prunes until the backend leaves. `keeper` is where an earlier life left the clock.
pub(in crate::backend) async fn run(
    site: Arc<Site>,
    store: Store,
    watch: Watch,
    keeper: Timekeeper,
) {
    let mut pruner = Pruner { store, watch, keeper, believed: None };
    tokio::select! {
        () = site.engine.paused() => {}
        () = pruner.prune(&site) => {}
    }
}

struct Pruner {
    store: Store,
    watch: Watch,
    keeper: Timekeeper,
    /// Since when the clock is believed, where it was set.
    believed: Option<Timestamp>,
}

impl Pruner {
    async fn prune(&mut self, site: &Site) {
        loop {
            if let Err(error) = self.prune_all(site).await {
                tracing::warn!(%error, "old operations stay for now");
            }
            let wait = async {
                match self.next(site).await {
                    Some(at) => site.ports().clock.until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                _ = self.watch.next() => {}
            }
        }
    }

    /// Prunes what is to be pruned now.
    async fn prune_all(&mut self, site: &Site) -> Result<(), BackendError> {
        let (began, mut pruned) = (Instant::now(), 0);
        let retention = Arc::new(self.retention(site).await?);
        // A full disk has room for ends alone.
        while *self.store.health().borrow() == Health::Well {
            let began = Instant::now();
            let retention = retention.clone();
            let next = self.store.read(move |store| prune::next(store, &retention)).await?;
            let Some(Prunable { uids, up_to }) = next else { break };
            pruned += uids.len();
            self.store.writer().send(vec![Change::Prune { uids, up_to }]).await?;
            // The next half of the time is for whatever came meanwhile.
            tokio::time::sleep(began.elapsed()).await;
        }
        if pruned > 0 {
            let seconds = began.elapsed().as_secs_f64();
            tracing::info!(
                "{pruned} operations that ended long ago are forgotten, in {seconds:.1} s"
            );
        }
        Ok(())
    }

    /// What is to be kept now.
    async fn retention(&mut self, site: &Site) -> Result<Retention, BackendError> {
        let settings = site.settings();
        let keep_for = settings.keep_operations_days.map(days);
        self.follow_clock(site, keep_for).await?;
        let now = self.keeper.wall();
        let oldest = keep_for.and_then(|keep| now.checked_sub(keep).ok());
        // Nothing is known to be older than the clock.
        let ended_before = oldest.filter(|at| self.believed.is_none_or(|since| since <= *at));
        let dir = settings.state_dir.clone();
        let marks = tokio::task::spawn_blocking(move || Mark::all(&dir)).await;
        let marks = marks.map_err(|error| {
            BackendError::failed(format!("the marks of operations cannot be looked at: {error}"))
        })?;
        let marked = marks.into_iter().map(|(_, mark)| mark.operation);
        let spared = marked.chain(named(site)).collect();
        Ok(Retention { keep: settings.keep_operations, ended_before, spared })
    }

    /// Puts down that the clock was set ahead. That a box was off is believed, but not for longer
    /// than operations are kept.
    async fn follow_clock(
        &mut self,
        site: &Site,
        keep_for: Option<SignedDuration>,
    ) -> Result<(), BackendError> {
        let Some(keep_for) = keep_for else { return Ok(()) };
        let clock = &*site.ports().clock;
        if self.believed.is_none() {
            let set = self.store.read(|store| counter(store, BELIEVED_SINCE)).await?;
            let set = i64::try_from(set.unwrap_or(0)).unwrap_or(0);
            self.believed = Some(Timestamp::from_millisecond(set).unwrap_or_default());
        }
        let jumped = |jump: &Jump| jump.is_ahead() && (jump.proven || jump.by() > keep_for);
        let ahead = self.keeper.look(clock).filter(jumped).map(|jump| jump.to);
        // One that was set back since is not waited for.
        let back = self.believed.filter(|since| *since > clock.now()).map(|_| clock.now());
        if let Some(since) = ahead.or(back) {
            let milliseconds = u64::try_from(since.as_millisecond()).unwrap_or(0);
            let change = Change::Count(BELIEVED_SINCE, milliseconds);
            self.store.writer().send(vec![change]).await?;
            self.believed = Some(since);
        }
        Ok(())
    }

    /// When the oldest operation is too old, but not at once; `None`: never.
    async fn next(&self, site: &Site) -> Option<Timestamp> {
        let keep = days(site.settings().keep_operations_days?);
        let now = site.ports().clock.now();
        let oldest = self.store.read(reader::oldest).await.ok().flatten()?;
        let due = oldest.finished.unwrap_or(now).max(self.believed.unwrap_or_default());
        due.checked_add(keep).ok().map(|due| due.max(now + LOOK_AGAIN))
    }
}

/// The operations that tasks' histories name.
fn named(site: &Site) -> BTreeSet<Uid> {
    site.engine.inventory(|inventory| {
        let tasks = inventory.of(Task::KIND).filter_map(|it| match &**it {
            Resource::Task(task) => Some(&task.runs),
            _ => None,
        });
        let queued = tasks.flatten().filter_map(|run| match run.outcome {
            RunOutcome::Queued { uid } => Some(uid),
            RunOutcome::Refused { .. } | RunOutcome::Missed => None,
        });
        queued.collect()
    })
}

fn days(days: u32) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(days))
}

#[cfg(test)]
mod tests;
