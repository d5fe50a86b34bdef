//! How the engine keeps the record of operations under way: what the journal asks of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::domain::{
    Accepted, BackendError, BoxFuture, Fact, Failure, Operation, Progress, Step, Submit, Uid, Wait,
};

use super::core::{Committing, Engine};
use super::inventory::Inventory;
use super::journal::{Put, Recorder, Spawned, Stop, Update};
use super::live::Live;
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

    fn record_run(self: Arc<Self>, uid: Uid) -> BoxFuture<'static, bool> {
        if self.look(|live| live.unrecorded_run(uid).is_none()) {
            return Box::pin(std::future::ready(true));
        }
        // The storage is not closed under it either.
        let tracker = self.running.clone();
        let record = async move { self.record_run_with_retry(uid, None).await };
        Box::pin(tracker.track_future(record))
    }

    fn pass_pivot(self: Arc<Self>, uid: Uid) -> BoxFuture<'static, Result<(), Stop>> {
        // The storage is not closed under it either.
        let tracker = self.running.clone();
        Box::pin(tracker.track_future(async move { Engine::pass_pivot(&self, uid).await }))
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
        updates: Vec<Update>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Result<(), BackendError>> {
        // The storage is not closed under it either.
        let tracker = self.running.clone();
        let record = async move { self.record(Arc::new(change), changed, updates, &cancel).await };
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
            if let Some(parent) = live.operation(uid).and_then(|operation| operation.parent) {
                self.publish_joint_progress(live, parent);
            }
        });
    }

    fn spawn(
        self: Arc<Self>,
        uid: Uid,
        step: Step,
        requests: Vec<Submit>,
        taken: Vec<Uid>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Result<Vec<Spawned>, BackendError>> {
        // The storage is not closed under it.
        let tracker = self.running.clone();
        Box::pin(tracker.track_future(async move {
            let mut health = self.storage.health();
            loop {
                health.mark_unchanged();
                match self.spawn_children(uid, &step, &requests, &taken).await {
                    Ok(spawned) => {
                        self.publish_step(uid, step);
                        return Ok(spawned);
                    }
                    Err(error) => self.wait_for_room(uid, error, &mut health, &cancel).await?,
                }
            }
        }))
    }

    fn join(
        self: Arc<Self>,
        uid: Uid,
        children: Vec<Uid>,
    ) -> BoxFuture<'static, Result<Vec<Arc<Operation>>, Stop>> {
        Box::pin(async move { self.join_children(uid, children).await })
    }

    fn has_children_under_way(&self, uid: Uid) -> bool {
        self.look(|live| live.has_children_under_way(uid))
    }

    fn cancel_children(
        self: Arc<Self>,
        uid: Uid,
        failed_too: bool,
    ) -> BoxFuture<'static, Result<(), Failure>> {
        Box::pin(async move { Engine::cancel_children(&self, uid, failed_too).await })
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
    /// Records a step when there is room for it.
    async fn record(
        self: &Arc<Self>,
        change: Arc<StepChange>,
        changed: Vec<Changed>,
        updates: Vec<Update>,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        let uid = change.uid;
        let mut health = self.storage.health();
        loop {
            health.mark_unchanged();
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let recorded =
                self.transact(|live| self.stage_step(live, &change, changed.clone(), &updates));
            match recorded.await {
                Ok(Some(())) => {
                    // The storage has let go of it by now.
                    self.publish_step(uid, Arc::unwrap_or_clone(change).step);
                    return Ok(());
                }
                Ok(None) => freed.await,
                Err(error) => self.wait_for_room(uid, error, &mut health, cancel).await?,
            }
        }
    }

    /// Stages the record of a step, with what follows from how resources are. That the operation
    /// runs is written with it unless it is known to be on disk: what was noted at the step's
    /// beginning may be lost. `None`: a resource that is updated is changing, and until it is not
    /// nothing is staged. Of one that is gone there is nothing to update.
    fn stage_step(
        &self,
        live: &mut Live,
        change: &Arc<StepChange>,
        mut changed: Vec<Changed>,
        updates: &[Update],
    ) -> Result<(Vec<Change>, Option<Committing>), BackendError> {
        if updates.iter().any(|update| live.is_changing(update.id)) {
            return Ok((Vec::new(), None));
        }
        for Update { id, change } in updates {
            // What this step has changed already is not in the inventory yet.
            let is = match changed.iter().rev().find(|changed| changed.id() == *id) {
                Some(Changed::Put(put)) => Some(&**put),
                Some(Changed::Remove(_)) => None,
                None => live.inventory().resource(*id),
            };
            let Some(mut is) = is.cloned() else { continue };
            change(&mut is);
            changed.push(Changed::Put(Arc::new(is)));
        }
        let uid = change.uid;
        let makes = live.operation(uid).and_then(|operation| self.kinds.makes(operation));
        let mut changes = Vec::with_capacity(2);
        changes.extend(live.unrecorded_run(uid));
        changes.push(Change::Step(change.clone()));
        let committing = Committing { changed, runs: Some(uid), makes };
        let (changes, committing) = committing.stage(live, changes)?;
        Ok((changes, Some(committing)))
    }

    /// Returns when what an operation could not write may be written again.
    ///
    /// # Errors
    /// The same one, where it was not for want of room or another program's lock, or is not to be
    /// waited for any more.
    async fn wait_for_room(
        &self,
        uid: Uid,
        error: BackendError,
        health: &mut tokio::sync::watch::Receiver<Health>,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        // It may have been so for this one only.
        let passes = *health.borrow() != Health::Well || health.has_changed().is_ok_and(|it| it);
        if !passes || self.is_dead() {
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
        Ok(())
    }
}
