//! The life of an operation in what is in flight: asked for, started, ended.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::backend::engine::kind::{ChildRules, Kinds};
use crate::backend::engine::queue::{QueueEntry, Turn};
use crate::domain::{
    Lane, LaneChange, Operation, Params, Progress, Resource, ResourceId, State, Uid, Wait,
};

use super::{End, Failed, Live, Open, ReadyOperation};

/// Asked for.
impl Live {
    /// The number of the next operation.
    pub const fn next_uid(&self) -> Uid {
        Uid(self.last_uid + 1)
    }

    /// Shows how it would be without a resource.
    pub fn without<T>(&mut self, id: ResourceId, look: impl FnOnce(&Self) -> T) -> T {
        let own = self.inventory.shared(id);
        self.inventory.remove(id);
        let seen = look(self);
        if let Some(own) = own {
            self.inventory.put(own);
        }
        seen
    }

    /// Takes a new operation in, which is on its way to the disk, with what is put together with
    /// it.
    pub fn accept(
        &mut self,
        operation: Arc<Operation>,
        params: Arc<Params>,
        child_rules: ChildRules,
        entry: QueueEntry,
        put: &[Arc<Resource>],
    ) {
        let uid = operation.uid;
        self.last_uid = uid.0;
        self.queue.accept(entry);
        self.families.join(&operation);
        self.open.insert(uid, Open::new(operation, params, child_rules));
        self.put_early(put);
    }

    /// Takes a new operation out again, which could not be written.
    pub fn retract(&mut self, uid: Uid, put: &[Arc<Resource>]) {
        self.queue.withdraw(uid);
        if let Some(open) = self.open.remove(&uid) {
            self.families.leave(&open.operation);
        }
        self.unwritten.insert(uid);
        self.arrive(put, false);
    }

    /// Frees the numbers of operations that could not be written, but for those before one that
    /// was: numbers have hardly any gaps. Called when nothing is on its way to the disk: before
    /// that, what is on its way may be about such an operation, and not about the next of its
    /// number.
    pub fn free_unwritten(&mut self) {
        while self.unwritten.remove(&Uid(self.last_uid)) {
            self.last_uid -= 1;
        }
    }

    /// Queues an operation in `ERROR` again, as `operation`; that is on its way to the disk.
    /// `None`: there is no such operation.
    pub fn requeue(
        &mut self,
        operation: Arc<Operation>,
        params: Arc<Params>,
        child_rules: ChildRules,
        entry: QueueEntry,
        put: &[Arc<Resource>],
    ) -> Option<Failed> {
        let open = self.open.get_mut(&operation.uid)?;
        let failed = Failed {
            operation: std::mem::replace(&mut open.operation, operation),
            params: std::mem::replace(&mut open.params, params),
            child_rules: std::mem::replace(&mut open.child_rules, child_rules),
        };
        open.cancel = None;
        open.ran = false;
        open.written = false;
        self.families.unsettle(&failed.operation);
        self.queue.accept(entry);
        self.put_early(put);
        Some(failed)
    }

    /// An operation that was queued again could not be written: it is as it was.
    pub fn fail_again(&mut self, failed: Failed, put: &[Arc<Resource>]) {
        let uid = failed.operation.uid;
        self.queue.withdraw(uid);
        if let Some(open) = self.open.get_mut(&uid) {
            self.families.settle(&failed.operation);
            open.operation = failed.operation;
            open.params = failed.params;
            open.child_rules = failed.child_rules;
            open.written = true;
        }
        self.arrive(put, false);
    }

    /// An operation, or its relaunch, is on disk, with what was put together with it.
    pub fn written(&mut self, uid: Uid, put: &[Arc<Resource>]) {
        self.arrive(put, true);
        if let Some(open) = self.open.get_mut(&uid) {
            open.written = true;
        }
        self.release(uid);
    }

    /// That an operation is to be undone is on its way to the disk.
    pub fn begin_call_off(&mut self, uid: Uid) {
        if let Some(open) = self.open.get_mut(&uid) {
            open.calling_off += 1;
        }
    }

    /// That an operation is to be undone could not be written.
    pub fn abandon_call_off(&mut self, uid: Uid) {
        if let Some(open) = self.open.get_mut(&uid) {
            open.calling_off = open.calling_off.saturating_sub(1);
        }
    }

    /// An operation is to be undone, and that is on disk.
    pub fn call_off(&mut self, uid: Uid, now: Timestamp) {
        self.abandon_call_off(uid);
        let Some(open) = self.open.get_mut(&uid) else { return };
        let operation = open.operation_mut();
        operation.cancelling = true;
        operation.updated = now;
        if let Some(cancel) = &open.cancel {
            cancel.cancel();
        }
        self.queue.mark_cancelled(uid);
    }

    /// Changes the priority of an operation that has not started.
    pub fn prioritise(&mut self, uid: Uid, priority: i32, now: Timestamp) {
        self.queue.prioritise(uid, priority);
        if let Some(open) = self.open.get_mut(&uid) {
            let operation = open.operation_mut();
            operation.priority = priority;
            operation.updated = now;
        }
    }

    /// Changes a lane. Returns it as it is then, if there is one of that name.
    pub fn change_lane(&mut self, name: &str, change: LaneChange) -> Option<Lane> {
        self.queue.change(name, change)
    }

    /// An operation may start when its turn comes, if it is on disk and nobody calls it off at this
    /// moment.
    fn release(&mut self, uid: Uid) {
        if self.open.get(&uid).is_some_and(|open| open.written && !open.ending) {
            self.queue.commit(uid);
        }
    }
}

/// Started and ended.
impl Live {
    /// The next operation whose turn it is, which counts as running from now on.
    pub fn start(&mut self, kinds: &Kinds, now: impl Fn() -> Timestamp) -> Option<ReadyOperation> {
        while let Some(turn) = self.queue.start() {
            let uid = match turn {
                Turn::Start(uid) => uid,
                Turn::GoOn(uid) => {
                    self.wake(uid);
                    continue;
                }
            };
            let obstacle = self.obstacle(kinds, uid);
            let Some(open) = self.open.get_mut(&uid) else {
                self.queue.finish(uid);
                continue;
            };
            let cancel = CancellationToken::new();
            if obstacle.is_none() {
                let operation = open.operation_mut();
                operation.state = State::Run;
                operation.wait = None;
                operation.updated = now();
                operation.started.get_or_insert(operation.updated);
                if operation.cancelling {
                    cancel.cancel();
                }
                open.cancel = Some(cancel.clone());
            }
            return Some(ReadyOperation {
                operation: open.operation.clone(),
                params: open.params.clone(),
                cancel,
                resume: open.resume,
                obstacle,
            });
        }
        None
    }

    /// Starts no further child of an operation.
    pub fn close_family(&mut self, parent: Uid) {
        self.queue.close_family(parent);
    }

    /// A running operation waits for its children, and gives up its place in its lane meanwhile.
    /// Returns its lane where that is paused now, because this was the last to drain from it.
    pub fn give_up_place(&mut self, uid: Uid) -> Option<Lane> {
        self.queue.give_up_place(uid)
    }

    /// An operation that waited for its children needs a place in its lane again.
    pub fn ask_for_place(&mut self, uid: Uid) {
        self.queue.ask_for_place(uid);
    }

    /// The store knows that an operation runs.
    pub fn run_recorded(&mut self, uid: Uid) {
        if let Some(open) = self.open.get_mut(&uid) {
            open.run_recorded = true;
        }
    }

    /// The store knows that an operation runs, and why it is to be undone if it is. Returns whether
    /// that is worth telling.
    pub fn runs(&mut self, uid: Uid, undone: Option<String>, now: Timestamp) -> bool {
        self.run_recorded(uid);
        let Some(open) = self.open.get_mut(&uid) else { return false };
        let is_new = undone.is_some() || open.operation.wait.is_some();
        let operation = open.operation_mut();
        (operation.comment, operation.wait, operation.updated) = (undone, None, now);
        is_new
    }

    /// How far an operation is.
    pub fn progress(&mut self, uid: Uid, progress: Progress) {
        self.advance(uid, &progress);
        if let Some(open) = self.open.get_mut(&uid) {
            open.operation_mut().progress = Some(progress);
        }
    }

    /// Why a running operation waits.
    pub fn waits(&mut self, uid: Uid, wait: Option<Wait>) {
        if let Some(open) = self.open.get_mut(&uid) {
            open.operation_mut().wait = wait;
        }
    }

    /// That an operation passes its pivot is on its way to the disk.
    pub fn begin_pivot(&mut self, uid: Uid) {
        if let Some(open) = self.open.get_mut(&uid) {
            open.passing = true;
        }
    }

    /// An operation is past its pivot, and that is on disk.
    pub fn pass_pivot(&mut self, uid: Uid, now: Timestamp) {
        self.run_recorded(uid);
        let Some(open) = self.open.get_mut(&uid) else { return };
        open.passing = false;
        self.past_pivot.insert(uid);
        let operation = open.operation_mut();
        (operation.past_pivot, operation.wait, operation.updated) = (true, None, now);
    }

    /// That an operation passes its pivot could not be written.
    pub fn abandon_pivot(&mut self, uid: Uid) {
        if let Some(open) = self.open.get_mut(&uid) {
            open.passing = false;
        }
    }

    /// The end of an operation is on its way to the disk: it does not start meanwhile.
    pub fn begin_end(&mut self, uid: Uid) {
        self.queue.hold(uid);
        if let Some(open) = self.open.get_mut(&uid) {
            open.ending = true;
        }
    }

    /// The end of an operation could not be written: it goes on.
    pub fn abandon_end(&mut self, uid: Uid) {
        if let Some(open) = self.open.get_mut(&uid) {
            open.ending = false;
        }
        self.release(uid);
    }

    /// Frees what an operation held or waited for. Returns its lane where that is paused now,
    /// because this was the last to drain from it.
    pub fn free(&mut self, uid: Uid) -> Option<Lane> {
        let drained = self.queue.finish(uid);
        self.queue.withdraw(uid);
        drained
    }

    /// The end of an operation is on disk. Returns it as it stands then.
    pub fn end(&mut self, uid: Uid, end: End, now: Timestamp) -> Option<Arc<Operation>> {
        let End { state, comment, outcome } = end;
        let open = self.open.get_mut(&uid)?;
        open.resume = false;
        open.ran = false;
        open.ending = false;
        open.run_recorded = false;
        open.cancel = None;
        let operation = open.operation_mut();
        operation.state = state;
        operation.comment = comment;
        operation.outcome = outcome;
        operation.finished = Some(now);
        operation.updated = now;
        operation.progress = None;
        operation.wait = None;
        operation.cancelling = false;
        let operation = open.operation.clone();
        if state.is_end() {
            self.open.remove(&uid);
            self.past_pivot.remove(&uid);
            self.families.leave(&operation);
        }
        self.families.settle(&operation);
        Some(operation)
    }

    /// The operation past its pivot that failed on a resource, which is not whole any more.
    pub(in crate::backend::engine) fn left_half_way(
        &self,
        id: ResourceId,
    ) -> Option<&Arc<Operation>> {
        self.past_pivot_on(id).filter(|it| it.state == State::Error)
    }

    /// The operation past its pivot that is about a resource, whether it failed or goes on.
    pub(in crate::backend::engine) fn past_pivot_on(
        &self,
        id: ResourceId,
    ) -> Option<&Arc<Operation>> {
        let mut past_pivot = self.past_pivot.iter().filter_map(|uid| self.operation(*uid));
        past_pivot.find(|it| it.resource == Some(id))
    }
}

/// Why nothing else can be done with a resource that a failed operation left half-way.
pub(in crate::backend::engine) fn half_way(operation: &Operation) -> String {
    let Operation { uid, kind, .. } = operation;
    let (about, name) = (operation.resource, operation.resource_name.as_deref());
    let about = about.map(|id| id.to_string()).unwrap_or_default();
    let name = name.unwrap_or_default();
    format!("{about} '{name}' is not whole any more: {kind} {uid} failed on it; relaunch that")
}
