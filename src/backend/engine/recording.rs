//! How the engine keeps the record of operations under way: what the journal asks of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::domain::{Accepted, BackendError, BoxFuture, Fact, Progress, Step, Submit, Uid, Wait};

use super::core::{Committing, Engine};
use super::inventory::Inventory;
use super::journal::{Put, Recorder};
use super::storage::{Change, Changed, Health, StepChange};

/// How long to wait before a record for which there was no room is written again.
const RECORD_RETRY: Duration = Duration::from_secs(5);

impl Recorder for Engine {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        self.clock.until(at)
    }

    fn show(&self, look: &mut dyn FnMut(&Inventory)) {
        self.inventory(look);
    }

    fn is_pausing(&self) -> bool {
        Engine::is_pausing(self)
    }

    fn paused(&self) -> BoxFuture<'_, ()> {
        Box::pin(Engine::paused(self))
    }

    fn is_dead(&self) -> bool {
        Engine::is_dead(self)
    }

    fn begin_step(&self, uid: Uid, step: &Step) {
        let change = StepChange { uid, step: step.clone(), result: None };
        let mut changes = Vec::with_capacity(2);
        changes.extend(self.look(|live| live.unrecorded_run(uid)));
        changes.push(Change::Step(Arc::new(change)));
        self.storage.send_unanswered(changes);
        self.publish_step(uid, step.clone());
    }

    fn record_step(
        self: Arc<Self>,
        change: StepChange,
        changed: Vec<Changed>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Result<(), BackendError>> {
        // The storage is not closed under it either.
        let tracker = self.running.clone();
        let record = async move { self.record(Arc::new(change), changed, &cancel).await };
        Box::pin(tracker.track_future(record))
    }

    fn publish_step(&self, uid: Uid, step: Step) {
        if self.events.has_subscribers() {
            self.events.publish(Fact::Step { uid, step: Arc::new(step) });
        }
    }

    fn progress(&self, uid: Uid, progress: Progress) {
        self.note(|live| {
            live.progress(uid, progress.clone());
            self.events.publish(Fact::Progress { uid, progress });
        });
    }

    fn waits(&self, uid: Uid, wait: Option<Wait>) {
        self.note(|live| {
            live.waits(uid, wait);
            self.publish_open(live, uid);
        });
    }

    fn submit(
        self: Arc<Self>,
        submit: Submit,
        put: Put,
    ) -> BoxFuture<'static, Result<Accepted, BackendError>> {
        Box::pin(async move {
            self.submit_with(submit, |uid, live| Ok(put(uid, live.inventory()))).await
        })
    }
}

impl Engine {
    /// Records a step when there is room for it. That the operation runs is written with it unless
    /// it is known to be on disk: what was noted at the step's beginning may be lost.
    async fn record(
        self: &Arc<Self>,
        change: Arc<StepChange>,
        changed: Vec<Changed>,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        let uid = change.uid;
        let mut health = self.storage.health();
        loop {
            health.mark_unchanged();
            let recorded = self.transact(|live| {
                let makes = live.operation(uid).and_then(|operation| self.kinds.makes(operation));
                let mut changes = Vec::with_capacity(2);
                changes.extend(live.unrecorded_run(uid));
                changes.push(Change::Step(change.clone()));
                let changed = changed.clone();
                Committing { changed, runs: Some(uid), makes }.stage(live, changes)
            });
            let Err(error) = recorded.await else {
                // The storage has let go of it by now.
                self.publish_step(uid, Arc::unwrap_or_clone(change).step);
                return Ok(());
            };
            // It may have been full for this one only.
            let was_full =
                *health.borrow() == Health::Full || health.has_changed().is_ok_and(|it| it);
            if !was_full || self.is_dead() {
                return Err(error);
            }
            let at = self.clock.now() + RECORD_RETRY;
            self.waits(uid, Some(Wait::Retry { at, why: error.to_string() }));
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(error),
                () = Engine::paused(self) => return Err(error),
                () = self.clock.until(at) => {}
            }
            self.waits(uid, None);
        }
    }
}
