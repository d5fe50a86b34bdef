//! How the engine keeps the record of operations under way: what the journal asks of it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{
    Accepted, BackendError, BoxFuture, Fact, Failure, Operation, Progress, Step, Submit, Uid, Wait,
};

use super::core::{Committing, Engine};
use super::inventory::Inventory;
use super::journal::{Put, Recorder, Spawned, Stop, Update};
use super::live::Live;
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

    fn record_step(
        self: Arc<Self>,
        change: StepChange,
        changed: Vec<Changed>,
        updates: Vec<Update>,
    ) -> BoxFuture<'static, Result<(), BackendError>> {
        let (uid, step) = (change.uid, change.step.clone());
        let recorded = if updates.is_empty() {
            let recorded = self.transact(|live| self.stage_step(live, change, changed));
            futures_util::future::Either::Left(recorded)
        } else {
            let engine = self.clone();
            let recorded = async move { engine.record_updates(change, changed, updates).await };
            futures_util::future::Either::Right(recorded)
        };
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
    ) -> BoxFuture<'static, Result<Vec<Spawned>, BackendError>> {
        // The storage is not closed under it.
        let tracker = self.running.clone();
        Box::pin(tracker.track_future(async move {
            let spawned = self.spawn_children(uid, step.clone(), requests, taken).await;
            if spawned.is_ok() {
                self.publish_step(uid, step);
            }
            spawned
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
    /// Stages the record of a step. That the operation runs is written with it unless it is known to
    /// be on disk: what was noted at the step's beginning may be lost.
    fn stage_step(
        &self,
        live: &mut Live,
        change: StepChange,
        changed: Vec<Changed>,
    ) -> Result<(Vec<Change>, Committing), BackendError> {
        let uid = change.uid;
        let makes = live.operation(uid).and_then(|operation| self.kinds.makes(operation));
        let mut changes = Vec::with_capacity(2);
        changes.extend(live.unrecorded_run(uid));
        changes.push(Change::Step(Box::new(change)));
        Committing { changed, runs: Some(uid) }.stage(live, makes, changes)
    }

    /// Records a step with changes that follow from how resources are. Of each resource one new
    /// version at a time is on its way to the disk, so that the next follows from that.
    async fn record_updates(
        self: &Arc<Self>,
        change: StepChange,
        mut changed: Vec<Changed>,
        updates: Vec<Update>,
    ) -> Result<(), BackendError> {
        let mut step = Some((change, updates));
        loop {
            let mut answered = std::pin::pin!(self.answered.notified());
            answered.as_mut().enable();
            let recorded = self.transact(|live| {
                let free = |(_, updates): &mut (_, Vec<Update>)| {
                    !updates.iter().any(|update| live.is_being_put(update.id))
                };
                let Some((change, updates)) = step.take_if(free) else {
                    return Ok((Vec::new(), None));
                };
                for Update { id, change } in updates {
                    // What this step has changed already is not in the inventory yet.
                    let own = changed.iter().rev().find_map(|changed| match changed {
                        Changed::Put(put) if put.id() == id => Some((**put).clone()),
                        _ => None,
                    });
                    let is = own.or_else(|| live.inventory().resource(id).cloned());
                    let mut is = is.ok_or_else(|| BackendError::not_found(id))?;
                    change(&mut is);
                    changed.push(Changed::Put(Arc::new(is)));
                }
                let changed = std::mem::take(&mut changed);
                let (changes, committing) = self.stage_step(live, change, changed)?;
                Ok((changes, Some(committing)))
            });
            if recorded.await?.is_some() {
                return Ok(());
            }
            answered.await;
        }
    }
}
