//! How the engine keeps the record of operations under way: what the journal asks of it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{Accepted, BackendError, BoxFuture, Fact, Progress, Step, Submit, Uid, Wait};

use super::core::{Committing, Engine};
use super::inventory::Inventory;
use super::journal::{Put, Recorder};
use super::storage::{Change, Changed, StepChange};

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

    fn begin_step(&self, uid: Uid, step: &Step) {
        let change = StepChange { uid, step: step.clone(), result: None };
        let mut changes = Vec::with_capacity(2);
        changes.extend(self.look(|live| live.unrecorded_run(uid)));
        changes.push(Change::Step(Box::new(change)));
        self.storage.send_unanswered(changes);
        self.publish_step(uid, step.clone());
    }

    /// That the operation runs is written with its step unless it is known to be on disk: what was
    /// noted at the step's beginning may be lost.
    fn record_step(
        self: Arc<Self>,
        change: StepChange,
        changed: Vec<Changed>,
    ) -> BoxFuture<'static, Result<(), BackendError>> {
        let (uid, step) = (change.uid, change.step.clone());
        let recorded = self.transact(|live| {
            let makes = live.operation(uid).and_then(|operation| self.kinds.makes(operation));
            let mut changes = Vec::with_capacity(2);
            changes.extend(live.unrecorded_run(uid));
            changes.push(Change::Step(Box::new(change)));
            Committing { changed, runs: Some(uid), makes }.stage(live, changes)
        });
        // The storage is not closed under it either.
        let tracker = self.running.clone();
        Box::pin(tracker.track_future(async move {
            recorded.await?;
            self.publish_step(uid, step);
            Ok(())
        }))
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
