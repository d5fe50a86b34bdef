//! What the journal asks of whoever keeps its record.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::backend::engine::inventory::Inventory;
use crate::backend::engine::storage::{Changed, StepChange};
use crate::domain::{
    Accepted, BackendError, BoxFuture, Failure, Operation, Progress, Resource, ResourceId, Step,
    Submit, Uid, Wait,
};

use super::{Spawned, Stop};

/// What is written together with an operation that another one asks for.
pub(in crate::backend::engine) type Put = Box<dyn FnOnce(Uid, &Inventory) -> Vec<Resource> + Send>;

/// A change to a resource that follows from how it is.
pub(in crate::backend::engine) struct Update {
    /// Which.
    pub(in crate::backend::engine) id: ResourceId,
    /// What becomes of it.
    pub(in crate::backend::engine) change: Box<dyn Fn(&mut Resource) + Send + Sync>,
}

/// Keeps the record of operations under way, and tells how they stand.
pub(in crate::backend::engine) trait Recorder: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Returns when that moment has come, or a little before that.
    fn until(&self, at: Timestamp) -> BoxFuture<'_, ()>;

    /// Shows every living resource, once.
    fn show(&self, look: &mut dyn FnMut(&Inventory));

    /// Whether no further step may begin.
    fn is_pausing(&self) -> bool;

    /// Returns when no further step may begin.
    fn paused(&self) -> BoxFuture<'_, ()>;

    /// Whether nothing will ever be recorded again. What became of the latest record is not known
    /// then.
    fn is_dead(&self) -> bool;

    /// Returns when it is on disk that an operation runs; `false`: nothing is recorded any more,
    /// and the next life goes on with it.
    fn record_run(self: Arc<Self>, uid: Uid) -> BoxFuture<'static, bool>;

    /// Lets an operation pass its pivot. Returns when that is on disk.
    ///
    /// # Errors
    /// [`Stop::Cancelled`] when it was called off before, [`Stop::Leaving`] when it cannot be
    /// written in this life.
    fn pass_pivot(self: Arc<Self>, uid: Uid) -> BoxFuture<'static, Result<(), Stop>>;

    /// Notes that a step begins, and tells it. That may be lost in a crash.
    fn begin_step(&self, uid: Uid, step: &Step);

    /// Records how a step stands, with what it changed, all or nothing, and tells it. The
    /// `updates` are made while nothing else can change the resources. What it changed must be
    /// there, but for the resource that the operation makes. The record is kept waiting for as long
    /// as this goes on, whoever waits for it. Room for it is waited for, unless the operation is
    /// cancelled: what was accepted does not fail for want of room.
    fn record_step(
        self: Arc<Self>,
        change: StepChange,
        changed: Vec<Changed>,
        updates: Vec<Update>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Result<(), BackendError>>;

    /// Tells how a step stands.
    fn publish_step(&self, uid: Uid, step: Step);

    /// Notes and tells how far an operation is.
    fn progress(&self, uid: Uid, progress: Progress);

    /// Notes and tells why a running operation waits; `None`: it goes on.
    fn waits(&self, uid: Uid, wait: Option<Wait>);

    /// Takes in the children that an operation asks for, in one transaction with its `step`.
    /// `taken` are those that this attempt of it has asked for before. Room for them is waited for,
    /// unless the operation is cancelled.
    fn spawn(
        self: Arc<Self>,
        uid: Uid,
        step: Step,
        requests: Vec<Submit>,
        taken: Vec<Uid>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Result<Vec<Spawned>, BackendError>>;

    /// Waits until these children of an operation have come to an end or an error.
    fn join(
        self: Arc<Self>,
        uid: Uid,
        children: Vec<Uid>,
    ) -> BoxFuture<'static, Result<Vec<Arc<Operation>>, Stop>>;

    /// Whether an operation has children that wait or run.
    fn has_children_under_way(&self, uid: Uid) -> bool;

    /// Cancels the children of an operation that have not ended, and waits until they are undone.
    /// Those in `ERROR` only if `failed_too`.
    fn cancel_children(
        self: Arc<Self>,
        uid: Uid,
        failed_too: bool,
    ) -> BoxFuture<'static, Result<(), Failure>>;

    /// Queues another operation. What `put` gives is written together with it or not at all.
    fn submit(
        self: Arc<Self>,
        submit: Submit,
        put: Put,
    ) -> BoxFuture<'static, Result<Accepted, BackendError>>;
}
