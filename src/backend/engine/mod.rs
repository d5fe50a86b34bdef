//! The engine: what is in flight, in memory and on disk, behind one lock.
//!
//! Everything that changes an operation or a resource goes through here, so that memory, store and
//! events tell the same story in the same order. The lock is held for microseconds and never while
//! waiting: changes are *sent* to the writer under it, which fixes their order, and awaited after.

pub mod admission;
mod control;
mod ending;
pub mod event_bus;
pub mod executor;
pub mod inventory;
pub mod journal;
pub mod kind;
pub mod known;
mod lifecycle;
pub mod queue;
mod room;
pub mod secrets;
pub mod store;
mod submit;
#[cfg(test)]
mod tests;
pub mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{
    BackendError, BoxFuture, Catalogue, Fact, Host, Operation, Params, Resource, ResourceId, State,
    Step, Uid,
};

use super::ports::Ports;
use super::settings::Settings;
use crate::backend::watchers::keeper::Due;
use event_bus::EventBus;
use inventory::Inventory;
use journal::Changed;
use kind::{AdmissionContext, Entry};
use queue::Queue;
use secrets::{hidden, shown};
use store::{Change, Opened, Store};

pub(in crate::backend) use lifecycle::Run;
pub(in crate::backend) use room::wait_for_room;

/// The engine of an embedded backend.
pub struct Engine {
    ports: Ports,
    settings: Settings,
    catalogue: Catalogue,
    kinds: HashMap<String, Arc<Entry>>,
    pub(in crate::backend) store: Store,
    pub(in crate::backend) events: EventBus,
    state: Mutex<Live>,
    /// Whose turn it is to change a lane or a priority.
    turn: tokio::sync::Mutex<()>,
    /// What the box can do, as last seen.
    pub(in crate::backend) host: Mutex<Arc<Host>>,
    /// Set when the backend is to go at once: running functions are dropped where they are.
    pub(in crate::backend) leaving: CancellationToken,
    /// Set when no further step may begin.
    pub(in crate::backend) pausing: CancellationToken,
    /// The running operations.
    pub(in crate::backend) running: TaskTracker,
    /// Tells the scheduler that a task changed.
    pub(in crate::backend) tasks_changed: Notify,
    /// Tells the observer that a VM, disk or image may have changed, or is held no longer.
    pub(in crate::backend) vms_changed: Notify,
    /// Tells operations that the observer has let go of the VM it held.
    pub(in crate::backend) unobserved: Notify,
    /// Tells the keeper what to describe anew.
    pub(in crate::backend) due: Due,
    /// Tells that the backend may be needed no longer: an operation has ended or a resource changed.
    pub(in crate::backend) changed: Notify,
}

/// What is in flight.
pub(in crate::backend) struct Live {
    pub(in crate::backend) queue: Queue,
    pub(in crate::backend) inventory: Inventory,
    /// Operations in `PENDING`, `RUN` and `ERROR`.
    pub(in crate::backend) open: BTreeMap<Uid, Open>,
    last_uid: u64,
    /// The VM the observer is putting right at this moment.
    pub(in crate::backend) observed: Option<ResourceId>,
    /// Numbers below `last_uid` whose operations could not be written.
    unwritten: BTreeSet<Uid>,
    /// Resources whose removal is on its way to the disk. They are there until it is, and nothing
    /// new may be done with them.
    removing: BTreeSet<ResourceId>,
    /// Resources that are there and could not be read.
    unreadable: BTreeSet<ResourceId>,
}

impl Live {
    /// Takes back the number of an operation that was not written, so that numbers have no gaps:
    /// as soon as no later one is in use.
    fn return_uid(&mut self, uid: Uid) {
        self.unwritten.insert(uid);
        while self.unwritten.remove(&Uid(self.last_uid)) {
            self.last_uid -= 1;
        }
    }

    /// Whether a resource is there and stays.
    fn is_present(&self, id: ResourceId) -> bool {
        self.inventory.resource(id).is_some() && !self.removing.contains(&id)
    }

    /// The removals among these changes have been sent to the store.
    fn mark_removing(&mut self, changed: &[Changed]) {
        self.removing.extend(changed.iter().filter_map(Changed::removed));
    }

    /// The store has answered.
    fn unmark_removing(&mut self, changed: &[Changed]) {
        for id in changed.iter().filter_map(Changed::removed) {
            self.removing.remove(&id);
        }
    }
}

/// An operation that is not at its end.
pub(in crate::backend) struct Open {
    /// As lists show it: secrets hidden. Shared with the events that tell it.
    pub(in crate::backend) operation: Arc<Operation>,
    /// Its parameters as stored: secrets hashed.
    pub(in crate::backend) params: Arc<Params>,
    /// Set when somebody calls it off; there is none before it starts.
    pub(in crate::backend) cancel: Option<CancellationToken>,
    /// Whether an earlier life took some of its steps.
    pub(in crate::backend) resume: bool,
    /// Whether an earlier life may have begun it: what a step notes at its beginning is not waited
    /// for, so that a crash may come between the effect and the first that the store knows of it.
    ran: bool,
    /// Whether the store knows that it runs.
    run_recorded: bool,
    /// Whether the store knows of it, or of its relaunch.
    written: bool,
    /// Whether its end is on its way to the disk.
    ending: bool,
}

impl Open {
    /// An operation that has not run.
    const fn new(operation: Arc<Operation>, params: Arc<Params>) -> Self {
        Self {
            operation,
            params,
            cancel: None,
            resume: false,
            ran: false,
            run_recorded: false,
            written: false,
            ending: false,
        }
    }

    /// The operation, to be changed: copied first where an event still tells it as it was.
    fn operation_mut(&mut self) -> &mut Operation {
        Arc::make_mut(&mut self.operation)
    }
}

impl Engine {
    /// A engine over an open store. Operations that were running or waiting are queued again: those
    /// that ran before all others.
    pub(in crate::backend) fn new(
        ports: Ports,
        settings: Settings,
        kinds: Vec<Entry>,
        store: Store,
        opened: Opened,
    ) -> Self {
        let catalogue = Catalogue::new(kinds.iter().map(|entry| entry.spec.clone()));
        let kinds: HashMap<_, _> =
            kinds.into_iter().map(|entry| (entry.spec.kind.to_string(), Arc::new(entry))).collect();
        let mut queue = Queue::new(settings.lanes.iter().map(|(name, width)| (&**name, *width)));
        for (name, width, state) in &opened.lanes {
            queue.restore(name, *width, *state);
        }
        let due = Due::new(opened.resources.iter().map(Resource::id));
        let inventory = Inventory::new(opened.resources, &opened.counters);
        let mut open = BTreeMap::new();
        // Those that ran hold their resources already, so they stand before those that wait.
        let mut operations = opened.operations;
        operations.sort_by_key(|operation| (operation.state != State::Run, operation.uid));
        for mut operation in operations {
            let params = std::mem::take(&mut operation.params);
            operation.params = hidden(&params);
            let resume = operation.state == State::Run;
            if operation.state != State::Error {
                let mut entry = submit::entry(&kinds, &operation, &params);
                if resume {
                    entry.priority = i32::MAX;
                }
                queue.accept(entry);
                if operation.cancelling {
                    queue.mark_cancelled(operation.uid);
                }
                queue.commit(operation.uid);
                operation.state = State::Pending;
            }
            let (uid, ran) = (operation.uid, operation.state == State::Pending);
            let operation = Arc::new(operation);
            let it = Open {
                ran,
                resume,
                run_recorded: resume,
                written: true,
                ..Open::new(operation, params)
            };
            open.insert(uid, it);
        }
        let now = ports.clock.now();
        let state = Live {
            queue,
            inventory,
            open,
            last_uid: opened.last_uid,
            observed: None,
            unwritten: BTreeSet::new(),
            removing: BTreeSet::new(),
            unreadable: opened.damaged.iter().filter_map(|row| row.resource).collect(),
        };
        Self {
            ports,
            settings,
            catalogue,
            kinds,
            store,
            events: EventBus::new(u64::try_from(now.as_millisecond()).unwrap_or(1)),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            host: Mutex::default(),
            leaving: CancellationToken::new(),
            pausing: CancellationToken::new(),
            running: TaskTracker::new(),
            tasks_changed: Notify::new(),
            vms_changed: Notify::new(),
            unobserved: Notify::new(),
            due,
            changed: Notify::new(),
        }
    }

    pub(in crate::backend) const fn ports(&self) -> &Ports {
        &self.ports
    }

    pub(in crate::backend) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(in crate::backend) const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    pub(in crate::backend) fn kind(&self, kind: &str) -> Option<Arc<Entry>> {
        self.kinds.get(kind).cloned()
    }

    /// Whether no further step may begin.
    pub(in crate::backend) fn is_pausing(&self) -> bool {
        self.pausing.is_cancelled()
    }

    pub(in crate::backend) fn live(&self) -> MutexGuard<'_, Live> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the inventory.
    pub(in crate::backend) fn inventory<T>(&self, look: impl FnOnce(&Inventory) -> T) -> T {
        look(&self.live().inventory)
    }

    fn world<'a>(&'a self, live: &'a Live) -> AdmissionContext<'a> {
        AdmissionContext {
            inventory: &live.inventory,
            settings: &self.settings,
            catalogue: &self.catalogue,
            ports: &self.ports,
            now: self.ports.clock.now(),
        }
    }

    /// Writes changes together, then takes the changed resources into the inventory and tells them.
    /// What is put must be there: nothing comes back that is gone. `makes` is the resource that may
    /// be put for the first time.
    pub(in crate::backend) async fn commit(
        &self,
        mut changes: Vec<Change>,
        changed: Vec<Changed>,
        makes: Option<ResourceId>,
    ) -> Result<(), BackendError> {
        changes.extend(changed.iter().map(Change::from));
        let written = {
            let mut live = self.live();
            let gone = changed.iter().filter_map(Changed::put).find(|id| {
                !live.is_present(*id) && (makes != Some(*id) || live.removing.contains(id))
            });
            if let Some(id) = gone {
                return Err(BackendError::not_found(id));
            }
            live.mark_removing(&changed);
            self.store.writer().send(changes)
        };
        let written = written.await;
        let mut live = self.live();
        live.unmark_removing(&changed);
        written?;
        self.apply(&mut live, changed);
        Ok(())
    }

    /// Takes changed resources, which are on disk, into the inventory and tells them.
    fn apply(&self, live: &mut Live, changed: Vec<Changed>) {
        for change in changed {
            match change {
                Changed::Put(resource) => {
                    live.inventory.put(resource.clone());
                    self.publish_resource(&resource);
                }
                Changed::Remove(id) => {
                    live.inventory.remove(id);
                    self.events.publish(Fact::Gone(id));
                    self.notice(id);
                }
            }
        }
    }

    /// Tells how an operation in flight stands: under the lock, so that events come in the order of
    /// what they tell.
    fn publish_operation(&self, live: &Live, uid: Uid) {
        if self.events.has_subscribers()
            && let Some(open) = live.open.get(&uid)
        {
            self.events.publish(Fact::Operation(open.operation.clone()));
        }
    }

    /// Tells a new or changed resource.
    pub(in crate::backend) fn publish_resource(&self, resource: &Resource) {
        let id = resource.id();
        if self.events.has_subscribers() {
            let resource = Arc::new(shown(resource.clone()));
            self.events.publish(Fact::Resource(resource));
        }
        self.notice(id);
    }

    /// Wakes whoever looks after resources of a kind.
    fn notice(&self, id: ResourceId) {
        self.due.add(id);
        self.changed.notify_waiters();
        match id.kind {
            crate::domain::Task::KIND => self.tasks_changed.notify_one(),
            // A disk in the trash has its time, an image that is gone leaves its folder, and an
            // operation on a disk holds the VM it is attached to.
            crate::domain::Vm::KIND | crate::domain::Disk::KIND | crate::domain::Image::KIND => {
                self.vms_changed.notify_one();
            }
            _ => {}
        }
    }

    /// Tells how a step stands.
    pub(in crate::backend) fn publish_step(&self, uid: Uid, step: Step) {
        if self.events.has_subscribers() {
            self.events.publish(Fact::Step { uid, step: Arc::new(step) });
        }
    }
}

/// Does work to its end even when nobody waits for it any more: a client that hangs up between a
/// change on disk and its way into memory would leave the two apart.
pub(in crate::backend) fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, BackendError>> + Send + 'static,
) -> RunToCompletion<Result<T, BackendError>> {
    RunToCompletion(Some(Box::pin(work)))
}

/// A future that goes on by itself when it is dropped half-way. Costs nothing when it is not.
pub(in crate::backend) struct RunToCompletion<T: Send + 'static>(Option<BoxFuture<'static, T>>);

impl<T: Send + 'static> Future for RunToCompletion<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for RunToCompletion<T> {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(rest);
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("settings", &self.settings).finish_non_exhaustive()
    }
}
