//! The engine itself, and the one way in which what is in flight changes.
//!
//! ```text
//!  lock ─▶ stage ─▶ send ─▶ unlock ─▶ on disk? ─▶ lock ─┬▶ commit ──▶ events ─▶ start what is due
//!                                                        └▶ roll back ──────────▶
//! ```
//!
//! The lock is held for microseconds and never while waiting: changes are *sent* to the storage
//! under it, which fixes their order, and awaited after. What comes of them is taken into memory in
//! that order ([`sent`]), so that memory goes the way the disk has gone. What happens to
//! operations, resources and lanes is published under the lock, so that events come in the order of
//! what they tell. The steps of an operation are taken by one task, which tells them itself, in
//! their order and before the operation's end.

mod sent;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{BackendError, Catalogue, Fact, Operation, Resource, ResourceId, Uid};

use super::asking::Asking;
use super::clock::Clock;
use super::completion::{RunToCompletion, run_to_completion};
use super::event_bus::EventBus;
use super::inventory::Inventory;
use super::kind::{Kind, Kinds};
use super::live::{Live, ReadyOperation};
use super::notices::{Notice, Notices, Watch};
use super::storage::{Change, Changed, Health, Opened, Storage};
use sent::{InTransit, SentTransaction};

/// The engine's own settings.
pub struct Options {
    /// The lanes there are, and how many operations may run at once in each.
    pub lanes: Vec<(String, u32)>,
    /// How a resource may be seen by those who listen: without its secrets.
    pub shown: fn(Resource) -> Resource,
}

/// What the engine works with.
pub(in crate::backend) struct Parts {
    pub(in crate::backend) options: Options,
    pub(in crate::backend) kinds: Vec<Arc<dyn Kind>>,
    pub(in crate::backend) clock: Arc<dyn Clock>,
    pub(in crate::backend) storage: Arc<dyn Storage>,
    /// What the storage held when it was opened.
    pub(in crate::backend) opened: Opened,
}

/// Takes an operation whose turn has come through its steps to its end.
pub(super) type Execute = fn(&Arc<Engine>, ReadyOperation);

/// The engine of an embedded backend.
pub struct Engine {
    pub(super) kinds: Kinds,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) clock: Arc<dyn Clock>,
    pub(in crate::backend) events: EventBus,
    notices: Notices,
    health: watch::Receiver<Health>,
    state: Mutex<EngineState>,
    execute: Execute,
    shown: fn(Resource) -> Resource,
    /// Idempotency keys whose requests are being answered.
    pub(super) asking: Asking,
    /// Whose turn it is to change a lane.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// Tells operations that the store has answered about a resource or an end, or that a lease has
    /// ended.
    pub(super) freed: Notify,
    /// Set when the backend is to go at once: running functions are dropped where they are.
    pub(super) leaving: CancellationToken,
    /// Set when no further step may begin.
    pub(super) pausing: CancellationToken,
    /// The running operations, and whatever else is to end before the storage is closed.
    pub(super) running: TaskTracker,
}

/// What the lock is for.
struct EngineState {
    live: Live,
    in_transit: InTransit,
}

/// A change to what is in flight that is on its way to the disk.
pub(super) trait Transaction: Send + 'static {
    /// What comes of it.
    type Output: Send + 'static;

    /// It is on disk: takes it into memory and publishes it.
    fn commit(self, engine: &Engine, live: &mut Live) -> Self::Output;

    /// It is not on disk: puts everything back as it was.
    fn roll_back(self, engine: &Engine, live: &mut Live);
}

/// A transaction of which everything is staged.
enum Staged<T: Transaction> {
    /// There was nothing to be written.
    Committed(T::Output),
    Sent(Arc<SentTransaction<T>>),
}

/// One that may turn out to be none.
impl<T: Transaction> Transaction for Option<T> {
    type Output = Option<T::Output>;

    fn commit(self, engine: &Engine, live: &mut Live) -> Self::Output {
        self.map(|it| it.commit(engine, live))
    }

    fn roll_back(self, engine: &Engine, live: &mut Live) {
        if let Some(it) = self {
            it.roll_back(engine, live);
        }
    }
}

impl Engine {
    /// An engine that goes on with what its storage held. Nothing starts before
    /// [`dispatch`](Self::dispatch).
    pub(super) fn new(parts: Parts, execute: Execute) -> Self {
        let Parts { options, kinds, clock, storage, opened } = parts;
        let kinds = Kinds::new(kinds);
        let life = u64::try_from(clock.now().as_millisecond()).unwrap_or(1);
        let live = Live::new(&kinds, &options.lanes, opened);
        Self {
            state: Mutex::new(EngineState { live, in_transit: InTransit::default() }),
            kinds,
            health: storage.health(),
            storage,
            events: EventBus::new(life, clock.clone()),
            clock,
            notices: Notices::default(),
            execute,
            shown: options.shown,
            asking: Asking::default(),
            turn: Arc::default(),
            freed: Notify::new(),
            leaving: CancellationToken::new(),
            pausing: CancellationToken::new(),
            running: TaskTracker::new(),
        }
    }

    /// What can be asked for.
    pub(in crate::backend) const fn catalogue(&self) -> &Catalogue {
        self.kinds.catalogue()
    }

    /// Looks at what is in flight, at one moment.
    pub(in crate::backend) fn look<T>(&self, look: impl FnOnce(&Live) -> T) -> T {
        look(&self.lock().live)
    }

    /// Looks at the inventory.
    pub(in crate::backend) fn inventory<T>(&self, look: impl FnOnce(&Inventory) -> T) -> T {
        self.look(|live| look(live.inventory()))
    }

    /// An operation as it is stored, also one that has ended; `None`: there is none of that number.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub(in crate::backend) fn stored_operation(
        &self,
        uid: Uid,
    ) -> impl Future<Output = Result<Option<Operation>, BackendError>> + Send + use<> {
        self.storage.operation(uid)
    }

    /// Gives notice of what is `wanted` from now on.
    pub(in crate::backend) fn watch(&self, wanted: fn(Notice) -> bool) -> Watch {
        self.notices.watch(wanted)
    }

    /// Changes what is in flight, on disk and in memory, or nothing at all. `stage` looks at how
    /// things stand, sets aside what nobody else may touch meanwhile, and returns what is to be
    /// written; where that is nothing, the transaction is committed at once.
    ///
    /// By the time this returns, everything is staged and sent. What comes of it happens also when
    /// nobody waits for it: a caller that hangs up between a change on disk and its way into memory
    /// would leave the two apart.
    pub(super) fn transact<T: Transaction>(
        self: &Arc<Self>,
        stage: impl FnOnce(&mut Live) -> Result<(Vec<Change>, T), BackendError>,
    ) -> RunToCompletion<Result<T::Output, BackendError>> {
        let staged = {
            let EngineState { live, in_transit } = &mut *self.lock();
            let staged = stage(live).map(|(changes, transaction)| {
                if changes.is_empty() {
                    return Staged::Committed(transaction.commit(self, live));
                }
                Staged::Sent(in_transit.push(transaction, self.storage.send(changes)))
            });
            self.start_due(live);
            staged
        };
        let engine = self.clone();
        run_to_completion(async move {
            match staged? {
                Staged::Committed(output) => Ok(output),
                Staged::Sent(sent) => sent.outcome(&engine).await,
            }
        })
    }

    /// Takes in what the storage has answered, in the order in which that was sent.
    fn take_in(self: &Arc<Self>) {
        let EngineState { live, in_transit } = &mut *self.lock();
        in_transit.take_in(self, live);
        if in_transit.is_empty() {
            live.free_unwritten();
        }
        self.start_due(live);
    }

    /// Changes what only memory knows, and is not worth a trip to the disk.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Live) -> T) -> T {
        change(&mut self.lock().live)
    }

    /// Starts every operation whose turn it is.
    pub(in crate::backend) fn dispatch(self: &Arc<Self>) {
        self.start_due(&mut self.lock().live);
    }

    fn start_due(self: &Arc<Self>, live: &mut Live) {
        while !self.is_pausing()
            && !self.is_full()
            && let Some(run) = live.start(&self.kinds, || self.clock.now())
        {
            if run.obstacle.is_none() {
                let operation = &run.operation;
                // One that is called off is only undone.
                if !operation.cancelling {
                    tracing::info!("{} starts, asked for by {}", Title(operation), operation.actor);
                }
                self.publish_operation(operation);
            }
            (self.execute)(self, run);
        }
    }

    fn lock(&self) -> MutexGuard<'_, EngineState> {
        self.state.lock()
    }
}

/// How it is.
impl Engine {
    /// Whether no further step may begin.
    pub(in crate::backend) fn is_pausing(&self) -> bool {
        self.pausing.is_cancelled()
    }

    fn health(&self) -> watch::Ref<'_, Health> {
        self.health.borrow()
    }

    /// Whether the disk is full: new work is neither taken nor to be started.
    fn is_full(&self) -> bool {
        *self.health() == Health::Full
    }

    /// Whether nothing will ever be written again.
    pub(in crate::backend) fn is_dead(&self) -> bool {
        matches!(&*self.health(), Health::Dead(_))
    }

    /// Returns when no further step may begin.
    pub(in crate::backend) async fn paused(&self) {
        self.pausing.cancelled().await;
    }

    /// How much is at work that is to end before the storage is closed.
    #[cfg(test)]
    pub(in crate::backend) fn at_work(&self) -> usize {
        self.running.len()
    }

    /// Does something that is to end before the storage is closed.
    pub(in crate::backend) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(work);
    }

    /// Lets no further step begin and no operation start, and takes nothing new in.
    pub(in crate::backend) fn pause(&self) {
        self.pausing.cancel();
    }

    /// Lets no further step begin, and returns when nothing is at work any more. Steps that are
    /// being taken are dropped where they are, or finished first when `after_steps`.
    pub(in crate::backend) async fn stop(&self, after_steps: bool) {
        self.pause();
        if !after_steps {
            self.leaving.cancel();
        }
        self.running.close();
        self.running.wait().await;
        self.leaving.cancel();
    }
}

/// What it tells under the lock: how operations and resources stand.
impl Engine {
    /// Tells how an operation stands.
    pub(super) fn publish_operation(&self, operation: &Arc<Operation>) {
        if self.events.has_subscribers() {
            self.events.publish(Fact::Operation(operation.clone()));
        }
    }

    /// Tells how an operation stands, if it is in flight.
    pub(super) fn publish_open(&self, live: &Live, uid: Uid) {
        if let Some(operation) = live.operation(uid) {
            self.publish_operation(operation);
        }
    }

    /// Tells a new or changed resource.
    pub(super) fn publish_resource(&self, resource: &Resource) {
        if self.events.has_subscribers() {
            let resource = Arc::new((self.shown)(resource.clone()));
            self.events.publish(Fact::Resource(resource));
        }
        self.notices.give(Notice::Resource(resource.id()));
    }

    /// The store has answered about changed resources.
    pub(super) fn unmark_sent(&self, live: &mut Live, changed: &[Changed]) {
        live.unmark_sent(changed);
        if !changed.is_empty() {
            self.freed.notify_waiters();
        }
    }

    /// Changed resources did not come to the disk: whoever waited to work with them may do so.
    pub(super) fn give_back(&self, live: &mut Live, changed: &[Changed]) {
        self.unmark_sent(live, changed);
        for change in changed {
            self.notices.give(Notice::Resource(change.id()));
        }
    }

    /// Tells resources that were put before that was on the disk, and are there now.
    pub(super) fn publish_put(&self, put: &[Arc<Resource>]) {
        for resource in put {
            self.publish_resource(resource);
        }
        self.free_put(put);
    }

    /// Resources that were put early did not come to the disk, and are as they were.
    pub(super) fn retract_put(&self, put: &[Arc<Resource>]) {
        for resource in put {
            self.notices.give(Notice::Resource(resource.id()));
        }
        self.free_put(put);
    }

    fn free_put(&self, put: &[Arc<Resource>]) {
        if !put.is_empty() {
            self.freed.notify_waiters();
        }
    }

    /// Takes changed resources, which are on disk, into memory and tells them.
    pub(super) fn apply(&self, live: &mut Live, changed: &[Changed]) {
        for change in changed {
            live.apply(change);
            match change {
                Changed::Put(resource) => self.publish_resource(resource),
                Changed::Remove(id) => {
                    self.events.publish(Fact::Gone(*id));
                    self.notices.give(Notice::Resource(*id));
                }
            }
        }
    }

    /// Tells that an operation has ended, and that what it was about is free.
    pub(super) fn publish_end(&self, operation: &Arc<Operation>) {
        self.notices.give(Notice::Ended(operation.uid));
        if let Some(id) = operation.resource {
            self.notices.give(Notice::Resource(id));
        }
        self.publish_operation(operation);
    }
}

/// Changes to resources alone, and perhaps to the step that made them.
pub(super) struct Committing {
    pub(super) changed: Vec<Changed>,
    /// The operation that the store knows to run from now on.
    pub(super) runs: Option<Uid>,
    /// The resource that may be put for the first time.
    pub(super) makes: Option<ResourceId>,
}

impl Committing {
    /// Stages changes: what is put must be there, because nothing comes back that is gone.
    ///
    /// # Errors
    /// When something that is put is gone.
    pub(super) fn stage(
        self,
        live: &mut Live,
        mut changes: Vec<Change>,
    ) -> Result<(Vec<Change>, Self), BackendError> {
        live.check(&self.changed, self.makes)?;
        live.mark_sent(&self.changed);
        changes.extend(self.changed.iter().map(Change::from));
        Ok((changes, self))
    }
}

impl Transaction for Committing {
    type Output = ();

    fn commit(self, engine: &Engine, live: &mut Live) {
        engine.unmark_sent(live, &self.changed);
        engine.apply(live, &self.changed);
        if let Some(uid) = self.runs {
            live.run_recorded(uid);
        }
    }

    fn roll_back(self, engine: &Engine, live: &mut Live) {
        engine.give_back(live, &self.changed);
    }
}

/// An operation as the log names it: `#12 disk_create disk/3 'data'`. Costs nothing where no log
/// is.
pub(super) struct Title<'o>(pub(super) &'o Operation);

impl fmt::Display for Title<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation { uid, kind, resource, resource_name, .. } = self.0;
        write!(f, "{uid} {kind}")?;
        if let Some(resource) = resource {
            write!(f, " {resource}")?;
        }
        if let Some(name) = resource_name {
            write!(f, " '{name}'")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("storage", &self.storage.place()).finish_non_exhaustive()
    }
}
