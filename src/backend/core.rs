//! The core: what is in flight, in memory and on disk, behind one lock.
//!
//! Everything that changes an operation or a resource goes through here, so that memory, store and
//! events tell the same story in the same order. The lock is held for microseconds and never while
//! waiting: changes are *sent* to the writer under it, which fixes their order, and awaited after.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{
    Accepted, BackendError, Catalogue, Effect, Fact, Host, LaneChange, LaneState, LockMode,
    Operation, OperationSpec, Params, Progress, Reason, Refusal, Resource, ResourceId, State, Step,
    Submit, Uid, Wait,
};

use super::admission;
use super::hub::Hub;
use super::inventory::Inventory;
use super::journal::{Changed, hidden, shown};
use super::operations::{Entry, World};
use super::ports::Ports;
use super::queue::{self, Queue};
use super::settings::Settings;
use super::store::{Change, Opened, StepChange, Store};

/// The core of an embedded backend.
pub struct Core {
    ports: Ports,
    settings: Settings,
    catalogue: Catalogue,
    kinds: HashMap<String, Arc<Entry>>,
    pub(super) store: Store,
    pub(super) hub: Hub,
    state: Mutex<Flight>,
    /// What the box can do, as last seen.
    pub(super) host: Mutex<Arc<Host>>,
    /// Set when the backend is to go at once: running functions are dropped where they are.
    pub(super) leaving: CancellationToken,
    /// Set when no further step may begin.
    pub(super) pausing: CancellationToken,
    /// The running operations.
    pub(super) running: TaskTracker,
    /// Tells the scheduler that a task changed.
    pub(super) tasks_changed: Notify,
    /// Tells the observer that a VM, disk or image may have changed, or is held no longer.
    pub(super) vms_changed: Notify,
    /// Tells operations that the observer has let go of the VM it held.
    pub(super) unobserved: Notify,
}

/// What is in flight.
pub(super) struct Flight {
    pub(super) queue: Queue,
    pub(super) inventory: Inventory,
    /// Operations in `PENDING`, `RUN` and `ERROR`.
    pub(super) open: BTreeMap<Uid, Open>,
    last_uid: u64,
    /// The VM the observer is putting right at this moment.
    pub(super) observed: Option<ResourceId>,
    /// Numbers below `last_uid` whose operations could not be written.
    unwritten: BTreeSet<Uid>,
}

impl Flight {
    /// Takes back the number of an operation that was not written, so that numbers have no gaps:
    /// as soon as no later one is in use.
    fn give_back(&mut self, uid: Uid) {
        self.unwritten.insert(uid);
        while self.unwritten.remove(&Uid(self.last_uid)) {
            self.last_uid -= 1;
        }
    }
}

/// An operation that is not at its end.
pub(super) struct Open {
    /// As lists show it: secrets hidden.
    pub(super) operation: Operation,
    /// Its parameters as stored: secrets hashed.
    pub(super) params: Arc<Params>,
    pub(super) cancel: CancellationToken,
    /// Whether an earlier life took some of its steps.
    pub(super) resume: bool,
    /// Whether the store knows that it runs.
    run_recorded: bool,
}

impl Core {
    /// A core over an open store. Operations that were running or waiting are queued again: those
    /// that ran before all others.
    pub(super) fn new(
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
        let inventory = Inventory::new(opened.resources, &opened.counters);
        let mut open = BTreeMap::new();
        // Those that ran hold their resources already, so they stand before those that wait.
        let mut operations = opened.operations;
        operations.sort_by_key(|operation| (operation.state != State::Run, operation.uid));
        for mut operation in operations {
            let params = Arc::new(std::mem::take(&mut operation.params));
            operation.params = hidden(&params);
            let resume = operation.state == State::Run;
            if operation.state != State::Error {
                let mut entry = match kinds.get(&operation.kind) {
                    Some(kind) => queue_entry(&kind.spec, &operation, &params),
                    // A kind this version does not know: it will fail when its turn comes.
                    None => bare_entry(&operation),
                };
                if resume {
                    entry.priority = i32::MAX;
                }
                queue.accept(entry);
                queue.commit(operation.uid);
                operation.state = State::Pending;
            }
            let cancel = CancellationToken::new();
            if operation.cancelling && operation.state != State::Error {
                cancel.cancel();
            }
            let uid = operation.uid;
            open.insert(uid, Open { operation, params, cancel, resume, run_recorded: resume });
        }
        let now = ports.clock.now();
        let state = Flight {
            queue,
            inventory,
            open,
            last_uid: opened.last_uid,
            observed: None,
            unwritten: BTreeSet::new(),
        };
        Self {
            ports,
            settings,
            catalogue,
            kinds,
            store,
            hub: Hub::new(u64::try_from(now.as_millisecond()).unwrap_or(1)),
            state: Mutex::new(state),
            host: Mutex::default(),
            leaving: CancellationToken::new(),
            pausing: CancellationToken::new(),
            running: TaskTracker::new(),
            tasks_changed: Notify::new(),
            vms_changed: Notify::new(),
            unobserved: Notify::new(),
        }
    }

    pub(super) const fn ports(&self) -> &Ports {
        &self.ports
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    pub(super) fn kind(&self, kind: &str) -> Option<Arc<Entry>> {
        self.kinds.get(kind).cloned()
    }

    /// Whether no further step may begin.
    pub(super) fn is_pausing(&self) -> bool {
        self.pausing.is_cancelled()
    }

    pub(super) fn flight(&self) -> MutexGuard<'_, Flight> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the inventory.
    pub(super) fn inventory<T>(&self, look: impl FnOnce(&Inventory) -> T) -> T {
        look(&self.flight().inventory)
    }

    fn world<'a>(&'a self, flight: &'a Flight) -> World<'a> {
        World {
            inventory: &flight.inventory,
            settings: &self.settings,
            catalogue: &self.catalogue,
            ports: &self.ports,
            now: self.ports.clock.now(),
        }
    }

    /// Queues an operation. What `put` gives is written together with it or not at all; it is
    /// asked while nothing else can change, and may refuse.
    ///
    /// Not to be dropped half-way: what was written would never start. See [`detached`].
    pub(super) async fn submit_with(
        self: &Arc<Self>,
        submit: Submit,
        put: impl FnOnce(Uid, &Flight) -> Result<Vec<Resource>, Refusal> + Send,
    ) -> Result<Accepted, BackendError> {
        let kind = self.kind(&submit.kind).ok_or_else(|| no_kind(&submit.kind))?;
        let params = self.check(&kind, submit.params).await?;
        let (accepted, (shown, put, before), written) = {
            let mut flight = self.flight();
            let params = (kind.fill)(params, &self.world(&flight));
            self.admit(&kind, &params, &flight, None)?;
            let uid = Uid(flight.last_uid + 1);
            let put: Vec<_> = put(uid, &flight)?.into_iter().map(Arc::new).collect();
            let text = serde_json::to_string(&params).map_err(|error| {
                BackendError::failed(format!("cannot store parameters: {error}"))
            })?;
            let world_now = self.ports.clock.now();
            let mut changes = Vec::with_capacity(1);
            let mut reserved = None;
            let subject = if kind.spec.effect == Effect::Creates {
                let id = flight.inventory.next(kind.spec.resource);
                reserved = (kind.reserve)(&params, id, &self.world(&flight)).map(Arc::new);
                changes.push(Change::Count(kind.spec.resource.word(), id));
                Some(ResourceId::new(kind.spec.resource, id))
            } else {
                subject(&kind.spec, &params)
            };
            let name = match (&reserved, subject) {
                (Some(resource), _) => Some(resource.name().to_owned()),
                (None, Some(id)) => flight.inventory.get(id).map(|it| it.name().to_owned()),
                (None, None) => None,
            };
            let operation = Operation {
                uid,
                kind: submit.kind,
                state: State::Pending,
                params: hidden(&params),
                resource: subject,
                resource_name: name,
                actor: submit.actor,
                priority: submit.priority,
                attempt: 0,
                cancelling: false,
                comment: None,
                created: world_now,
                started: None,
                finished: None,
                progress: None,
                wait: None,
            };
            flight.last_uid = uid.0;
            flight.queue.accept(queue_entry(&kind.spec, &operation, &params));
            let shown = self.hub.is_heard().then(|| Arc::new(operation.clone()));
            changes
                .insert(0, Change::Insert { operation: Box::new(operation.clone()), params: text });
            let put: Vec<_> = reserved.into_iter().chain(put).collect();
            let mut before = Vec::with_capacity(put.len());
            for resource in &put {
                before.push(flight.inventory.get(resource.id()).cloned());
                flight.inventory.put(resource.clone());
                changes.push(Change::Put(resource.clone()));
            }
            let open = Open {
                operation,
                params: Arc::new(params),
                cancel: CancellationToken::new(),
                resume: false,
                run_recorded: false,
            };
            flight.open.insert(uid, open);
            let written = self.store.writer().send(changes);
            (Accepted { uid, resource: subject }, (shown, put, before), written)
        };
        if let Err(error) = written.await {
            let mut flight = self.flight();
            flight.queue.withdraw(accepted.uid);
            flight.open.remove(&accepted.uid);
            flight.give_back(accepted.uid);
            for (put, before) in put.iter().zip(before) {
                flight.inventory.put_back(put, before);
            }
            drop(flight);
            // What waited behind it may start now.
            self.dispatch();
            return Err(error);
        }
        self.flight().queue.commit(accepted.uid);
        if let Some(operation) = shown {
            self.hub.tell(Fact::Operation(operation));
        }
        for resource in put {
            self.tell_resource(&resource);
        }
        self.dispatch();
        Ok(accepted)
    }

    /// The checks that need no lock for long: the catalogue's, and the hashing of secrets.
    pub(super) async fn check(
        &self,
        kind: &Arc<Entry>,
        params: Params,
    ) -> Result<Params, BackendError> {
        let mut params = {
            let flight = self.flight();
            admission::check(&kind.spec, params, &self.catalogue, &flight.inventory)?
        };
        if admission::has_open_secret(&kind.spec, &params, &self.catalogue) {
            let (kind, catalogue) = (kind.clone(), self.catalogue.clone());
            params = tokio::task::spawn_blocking(move || {
                admission::seal(&kind.spec, &mut params, &catalogue).map(|()| params)
            })
            .await
            .map_err(|error| BackendError::failed(format!("hashing a secret failed: {error}")))??;
        }
        Ok(params)
    }

    /// The checks that depend on what else is in flight. `but` is an operation that is not to be
    /// counted: the one that is relaunched.
    pub(super) fn admit(
        &self,
        kind: &Entry,
        params: &Params,
        flight: &Flight,
        but: Option<Uid>,
    ) -> Result<(), Refusal> {
        let spec = &kind.spec;
        if self.is_pausing() {
            let message = "hostler is stopping and accepts nothing more; start it again";
            return Err(Refusal::new(Reason::State, message));
        }
        if let Some(subject) = subject(spec, params) {
            if spec.once
                && let Some(uid) =
                    flight.queue.like(&spec.kind, subject).filter(|it| Some(*it) != but)
            {
                return Err(Refusal::new(
                    Reason::OperationPending { uid },
                    format!("{} of {subject} is pending already as {uid}; wait for it", spec.kind),
                ));
            }
            let is = flight.inventory.get(subject).map(Resource::state).unwrap_or_default();
            let will_be = flight.queue.will_be(subject).unwrap_or(is);
            if !spec.requires.is_empty() && !spec.requires.iter().any(|state| *state == will_be) {
                let name = flight.inventory.get(subject).map(Resource::name).unwrap_or_default();
                let then = if will_be == is { "is" } else { "will be" };
                return Err(Refusal::field(
                    Reason::State,
                    spec.subject.as_deref().unwrap_or_default(),
                    subject.id.to_string(),
                    format!(
                        "{subject} '{name}' {then} {will_be}; {} needs it {}",
                        spec.kind,
                        spec.requires.join(" or ")
                    ),
                ));
            }
        }
        (kind.admit)(params, &self.world(flight))
    }

    /// What a request would do.
    pub(super) async fn preview(
        &self,
        submit: Submit,
    ) -> Result<crate::domain::Preview, BackendError> {
        let kind = self.kind(&submit.kind).ok_or_else(|| no_kind(&submit.kind))?;
        let refused =
            |refusal| crate::domain::Preview { refusal: Some(refusal), ..Default::default() };
        let flight = self.flight();
        let params =
            match admission::check(&kind.spec, submit.params, &self.catalogue, &flight.inventory) {
                Ok(params) => (kind.fill)(params, &self.world(&flight)),
                Err(refusal) => return Ok(refused(refusal)),
            };
        let mut preview = (kind.preview)(&params, &self.world(&flight));
        preview.refusal = self.admit(&kind, &params, &flight, None).err();
        Ok(preview)
    }

    /// Starts every operation whose turn it is.
    pub(super) fn dispatch(self: &Arc<Self>) {
        while !self.is_pausing() {
            let (uid, shown) = {
                let mut flight = self.flight();
                let Some(uid) = flight.queue.start() else { return };
                let now = self.ports.clock.now();
                let Some(open) = flight.open.get_mut(&uid) else {
                    flight.queue.finish(uid);
                    continue;
                };
                open.operation.state = State::Run;
                open.operation.wait = None;
                open.operation.started.get_or_insert(now);
                (uid, self.hub.is_heard().then(|| Arc::new(open.operation.clone())))
            };
            if let Some(operation) = shown {
                self.hub.tell(Fact::Operation(operation));
            }
            self.running.spawn(super::executor::run(self.clone(), uid));
        }
    }

    /// Writes changes together, then takes the changed resources into the inventory and tells them.
    pub(super) async fn commit(
        &self,
        mut changes: Vec<Change>,
        changed: Vec<Changed>,
    ) -> Result<(), BackendError> {
        changes.extend(changed.iter().map(|change| match change {
            Changed::Put(resource) => Change::Put(resource.clone()),
            Changed::Remove(id) => Change::Remove(*id),
        }));
        let written = self.store.writer().send(changes);
        written.await?;
        self.take_in(changed);
        Ok(())
    }

    /// Takes changed resources, which are on disk, into the inventory and tells them.
    pub(super) fn take_in(&self, changed: Vec<Changed>) {
        for change in changed {
            match change {
                Changed::Put(resource) => {
                    self.flight().inventory.put(resource.clone());
                    self.tell_resource(&resource);
                }
                Changed::Remove(id) => {
                    self.flight().inventory.remove(id);
                    self.hub.tell(Fact::Gone(id));
                    self.notice(id);
                }
            }
        }
    }

    /// Tells a new or changed resource.
    pub(super) fn tell_resource(&self, resource: &Resource) {
        let id = resource.id();
        if self.hub.is_heard() {
            let resource = Arc::new(shown(resource.clone()));
            self.hub.tell(Fact::Resource(resource));
        }
        self.notice(id);
    }

    /// Wakes whoever looks after resources of a kind.
    fn notice(&self, id: ResourceId) {
        match id.kind {
            crate::domain::ResourceKind::Task => self.tasks_changed.notify_one(),
            // A disk in the trash has its time, an image that is gone leaves its folder, and an
            // operation on a disk holds the VM it is attached to.
            crate::domain::ResourceKind::Vm
            | crate::domain::ResourceKind::Disk
            | crate::domain::ResourceKind::Image => self.vms_changed.notify_one(),
            crate::domain::ResourceKind::Encoding => {}
        }
    }

    /// A step begins: noted, not awaited; its end is recorded after it.
    pub(super) fn begin_step(&self, uid: Uid, step: &Step) {
        let mut changes = Vec::with_capacity(2);
        {
            let mut flight = self.flight();
            if let Some(open) = flight.open.get_mut(&uid)
                && !open.run_recorded
            {
                open.run_recorded = true;
                changes.push(Change::Stand {
                    uid,
                    state: State::Run,
                    comment: None,
                    started: open.operation.started,
                    finished: None,
                });
            }
        }
        let change = StepChange { uid, step: step.clone(), result: None };
        changes.push(Change::Step(Box::new(change)));
        self.store.writer().send_unanswered(changes);
        self.tell_step(uid, step.clone());
    }

    /// Tells how a step stands.
    pub(super) fn tell_step(&self, uid: Uid, step: Step) {
        if self.hub.is_heard() {
            self.hub.tell(Fact::Step { uid, step: Arc::new(step) });
        }
    }

    /// Notes and tells how far an operation is.
    pub(super) fn progress(&self, uid: Uid, progress: Progress) {
        if let Some(open) = self.flight().open.get_mut(&uid) {
            open.operation.progress = Some(progress.clone());
        }
        self.hub.tell(Fact::Progress { uid, progress });
    }

    /// Notes and tells why a running operation waits.
    pub(super) fn waits(&self, uid: Uid, wait: Option<Wait>) {
        let shown = self.flight().open.get_mut(&uid).map(|open| {
            open.operation.wait = wait;
            Arc::new(open.operation.clone())
        });
        if let Some(operation) = shown {
            self.hub.tell(Fact::Operation(operation));
        }
    }

    /// Returns when the observer holds nothing that an operation needs. It holds for a moment only.
    pub(super) async fn undisturbed(&self, uid: Uid) {
        loop {
            let mut freed = std::pin::pin!(self.unobserved.notified());
            freed.as_mut().enable();
            {
                let flight = self.flight();
                if !flight.observed.is_some_and(|it| flight.queue.concerns(uid, it)) {
                    return;
                }
            }
            freed.await;
        }
    }

    /// An operation has come to an end or an error: written, told, and what waited for it started.
    pub(super) async fn end(
        self: &Arc<Self>,
        uid: Uid,
        state: State,
        comment: Option<String>,
    ) -> Result<(), BackendError> {
        let (written, changed) = {
            let mut flight = self.flight();
            let now = self.ports.clock.now();
            let Some(open) = flight.open.get(&uid) else { return Ok(()) };
            let mut changes = vec![Change::Stand {
                uid,
                state,
                comment: comment.clone(),
                started: open.operation.started,
                finished: Some(now),
            }];
            let changed = self.settled(&flight, uid, state);
            changes.extend(changed.iter().map(|change| match change {
                Changed::Put(resource) => Change::Put(resource.clone()),
                Changed::Remove(id) => Change::Remove(*id),
            }));
            // What waits for this one may start now: whatever it writes is written after this.
            let written = self.store.writer().send(changes);
            flight.queue.finish(uid);
            flight.queue.withdraw(uid);
            (written, changed)
        };
        self.dispatch();
        let written = written.await;
        self.take_in(changed);
        let shown = {
            let mut flight = self.flight();
            let now = self.ports.clock.now();
            let Some(open) = flight.open.get_mut(&uid) else { return written };
            open.operation.state = state;
            open.operation.comment = comment;
            open.operation.finished = Some(now);
            open.operation.progress = None;
            open.operation.wait = None;
            open.operation.cancelling = false;
            open.resume = false;
            open.run_recorded = false;
            let shown = self.hub.is_heard().then(|| Arc::new(open.operation.clone()));
            let resource = open.operation.resource;
            if state.is_end() && written.is_ok() {
                flight.open.remove(&uid);
            }
            (shown, resource)
        };
        let (shown, resource) = shown;
        if let Some(id) = resource {
            self.notice(id);
        }
        if let Some(operation) = shown {
            self.hub.tell(Fact::Operation(operation));
        }
        written
    }

    /// What becomes of the resource an operation was making when it ends without having made it.
    fn settled(&self, flight: &Flight, uid: Uid, end: State) -> Vec<Changed> {
        let Some(open) = flight.open.get(&uid) else { return Vec::new() };
        let Some(kind) = self.kinds.get(&open.operation.kind) else { return Vec::new() };
        if end == State::Done || kind.spec.effect != Effect::Creates {
            return Vec::new();
        }
        let Some(resource) = open.operation.resource.and_then(|id| flight.inventory.get(id)) else {
            return Vec::new();
        };
        match (kind.settle)(resource.clone(), end) {
            None => vec![Changed::Remove(resource.id())],
            Some(settled) if settled == *resource => Vec::new(),
            Some(settled) => vec![Changed::Put(Arc::new(settled))],
        }
    }

    /// Calls an operation off.
    pub(super) async fn cancel(self: &Arc<Self>, uid: Uid) -> Result<(), BackendError> {
        enum How {
            AtOnce(Option<(Arc<Entry>, ResourceId)>),
            Undoing(std::pin::Pin<Box<dyn Future<Output = Result<(), BackendError>> + Send>>),
        }
        let how = {
            let mut flight = self.flight();
            let Flight { queue, open, .. } = &mut *flight;
            open.get_mut(&uid).map(|open| {
                if open.operation.state == State::Error || (!open.resume && queue.withdraw(uid)) {
                    let failed = open.operation.state == State::Error;
                    let kind = self.kinds.get(&open.operation.kind).filter(|kind| {
                        // What has not run has kept nothing, unless it ran before.
                        (failed || open.operation.attempt > 0)
                            && kind.spec.effect == Effect::Creates
                    });
                    return How::AtOnce(kind.cloned().zip(open.operation.resource));
                }
                open.operation.cancelling = true;
                How::Undoing(Box::pin(self.store.writer().send(vec![Change::Cancelling(uid)])))
            })
        };
        let Some(how) = how else { return self.not_open(uid).await };
        match how {
            How::AtOnce(made) => {
                self.end(uid, State::Cancel, None).await?;
                let Some((kind, id)) = made else { return Ok(()) };
                let discarded = (kind.discard)(&self.ports, &self.settings, id.id).await;
                discarded.map_err(|failure| {
                    BackendError::failed(format!("{uid} is cancelled, but {}", failure.message))
                })
            }
            How::Undoing(written) => {
                written.await?;
                let shown = self.flight().open.get(&uid).map(|open| {
                    open.cancel.cancel();
                    Arc::new(open.operation.clone())
                });
                if let Some(operation) = shown {
                    self.hub.tell(Fact::Operation(operation));
                }
                Ok(())
            }
        }
    }

    /// Queues an operation in `ERROR` again, with some parameters changed.
    pub(super) async fn relaunch(
        self: &Arc<Self>,
        uid: Uid,
        changed: Params,
    ) -> Result<(), BackendError> {
        let found = {
            let flight = self.flight();
            flight.open.get(&uid).map(|open| {
                (open.operation.state, open.operation.kind.clone(), open.params.clone())
            })
        };
        let Some((state, kind, params)) = found else { return self.not_open(uid).await };
        if state != State::Error {
            return Err(state_refusal(uid, state, "only one in ERROR can be relaunched"));
        }
        let kind = self.kind(&kind).ok_or_else(|| no_kind(&kind))?;
        let mut merged = (*params).clone();
        for (name, value) in changed {
            // A secret that was not typed again stays as it is.
            if value != Operation::HIDDEN {
                merged.insert(name, value);
            }
        }
        let params = self.check(&kind, merged).await?;
        let (written, put, before) = {
            let mut flight = self.flight();
            let mut reserved = None;
            let Some(resource) = flight.open.get(&uid).map(|open| open.operation.resource) else {
                return Ok(());
            };
            if let (Effect::Creates, Some(id)) = (kind.spec.effect, resource) {
                // Its own reservation is no obstacle to itself.
                let own = flight.inventory.get(id).cloned().map(Arc::new);
                flight.inventory.remove(id);
                let admitted = self.admit(&kind, &params, &flight, Some(uid));
                if let Some(own) = own {
                    flight.inventory.put(own);
                }
                admitted?;
                reserved = (kind.reserve)(&params, id.id, &self.world(&flight)).map(Arc::new);
            } else {
                self.admit(&kind, &params, &flight, Some(uid))?;
            }
            let Flight { queue, open, inventory, .. } = &mut *flight;
            let Some(open) = open.get_mut(&uid) else { return Ok(()) };
            if open.operation.state != State::Error {
                return Err(state_refusal(uid, open.operation.state, "somebody relaunched it"));
            }
            let before = (open.operation.clone(), open.params.clone());
            let operation = &mut open.operation;
            operation.attempt += 1;
            operation.state = State::Pending;
            operation.comment = None;
            operation.started = None;
            operation.finished = None;
            operation.params = hidden(&params);
            open.cancel = CancellationToken::new();
            let mut changes =
                vec![Change::Relaunch { uid, attempt: operation.attempt, params: params.clone() }];
            queue.accept(queue_entry(&kind.spec, operation, &params));
            open.params = Arc::new(params);
            let mut own = None;
            if let Some(resource) = &reserved {
                own = inventory.get(resource.id()).cloned();
                inventory.put(resource.clone());
                changes.push(Change::Put(resource.clone()));
            }
            (self.store.writer().send(changes), reserved, (before, own))
        };
        if let Err(error) = written.await {
            let mut flight = self.flight();
            let ((operation, params), own) = before;
            // Unless somebody cancelled it meanwhile.
            if flight.queue.withdraw(uid)
                && let Some(open) = flight.open.get_mut(&uid)
            {
                open.operation = operation;
                open.params = params;
            }
            if let Some(put) = &put {
                flight.inventory.put_back(put, own);
            }
            drop(flight);
            self.dispatch();
            return Err(error);
        }
        let shown = {
            let mut flight = self.flight();
            flight.queue.commit(uid);
            flight.open.get(&uid).map(|open| Arc::new(open.operation.clone()))
        };
        if let Some(operation) = shown {
            self.hub.tell(Fact::Operation(operation));
        }
        if let Some(resource) = put {
            self.tell_resource(&resource);
        }
        self.dispatch();
        Ok(())
    }

    /// Changes the priority of an operation that has not started.
    pub(super) async fn prioritise(
        self: &Arc<Self>,
        uid: Uid,
        priority: i32,
    ) -> Result<(), BackendError> {
        let changed = {
            let mut flight = self.flight();
            let Flight { queue, open, .. } = &mut *flight;
            open.get_mut(&uid).map(|open| {
                if !queue.prioritise(uid, priority) {
                    let state = open.operation.state;
                    return Err(state_refusal(uid, state, "it does not wait any more"));
                }
                open.operation.priority = priority;
                let written = self.store.writer().send(vec![Change::Priority(uid, priority)]);
                Ok((written, Arc::new(open.operation.clone())))
            })
        };
        let Some(changed) = changed else { return self.not_open(uid).await };
        let (written, shown) = changed?;
        written.await?;
        self.hub.tell(Fact::Operation(shown));
        Ok(())
    }

    /// Changes a lane.
    pub(super) async fn change_lane(
        self: &Arc<Self>,
        name: &str,
        change: LaneChange,
    ) -> Result<(), BackendError> {
        if let LaneChange::Width(width) = change
            && !(1..=queue::WIDEST).contains(&width)
        {
            return Err(Refusal::field(
                Reason::Value,
                "width",
                width.to_string(),
                format!("a lane is 1 to {} wide, not {width}", queue::WIDEST),
            )
            .into());
        }
        let written = {
            let mut flight = self.flight();
            if !flight.queue.change(name, change) {
                return Err(BackendError::not_found(format_args!("lane '{name}'")));
            }
            flight.queue.lanes().find(|lane| lane.name == name).map(|lane| {
                // A lane that drained to its end is paused for whoever starts next.
                let state = match lane.state {
                    LaneState::Draining => LaneState::Paused,
                    state => state,
                };
                let change = Change::Lane { name: lane.name.clone(), width: lane.width, state };
                (self.store.writer().send(vec![change]), lane)
            })
        };
        if let Some((written, lane)) = written {
            written.await?;
            self.hub.tell(Fact::Lane(lane));
        }
        self.dispatch();
        Ok(())
    }

    /// The answer about an operation that is not in flight: it has ended, or never was.
    async fn not_open<T>(&self, uid: Uid) -> Result<T, BackendError> {
        let found = self.store.read(move |it| super::store::reader::operation(it, uid)).await?;
        match found {
            Some(operation) => Err(state_refusal(uid, operation.state, "it has ended")),
            None => Err(BackendError::not_found(format_args!("operation {uid}"))),
        }
    }
}

/// Does work to its end even when nobody waits for it any more: a client that hangs up between a
/// change on disk and its way into memory would leave the two apart.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, BackendError>> + Send + 'static,
) -> Result<T, BackendError> {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        Err(BackendError::failed(format!("hostler itself failed, which is a defect: {error}")))
    })
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn state_refusal(uid: Uid, state: State, why: &str) -> BackendError {
    Refusal::new(Reason::State, format!("operation {uid} is {state}: {why}")).into()
}

fn no_kind(kind: &str) -> BackendError {
    Refusal::field(
        Reason::Type,
        "kind",
        kind,
        format!("there is no operation '{kind}'; `hostler run --help` lists them"),
    )
    .into()
}

/// The resource an operation acts on, as its parameters name it.
fn subject(spec: &OperationSpec, params: &Params) -> Option<ResourceId> {
    let id = params.get(&**spec.subject.as_ref()?)?.as_u64()?;
    Some(ResourceId::new(spec.resource, id))
}

/// What the queue needs to know of an operation.
fn queue_entry(spec: &OperationSpec, operation: &Operation, params: &Params) -> queue::Entry {
    let mut locks: Vec<(ResourceId, LockMode)> = Vec::new();
    let mut hold = |resource: ResourceId, mode: LockMode| match locks
        .iter_mut()
        .find(|(held, _)| *held == resource)
    {
        Some((_, held)) if mode == LockMode::Exclusive => *held = mode,
        Some(_) => {}
        None => locks.push((resource, mode)),
    };
    if spec.effect == Effect::Creates
        && let Some(resource) = operation.resource
    {
        hold(resource, LockMode::Exclusive);
    }
    for rule in &spec.locks {
        if let Some(crate::domain::FieldType::Resource { of, .. }) =
            spec.field(&rule.field).map(|field| &field.of)
            && let Some(id) = params.get(&*rule.field).and_then(serde_json::Value::as_u64)
        {
            hold(ResourceId::new(*of, id), rule.mode);
        }
    }
    queue::Entry {
        uid: operation.uid,
        kind: operation.kind.clone(),
        lane: spec.lane.to_string(),
        priority: operation.priority,
        locks,
        subject: operation.resource,
        leaves: spec.leaves.as_ref().map(ToString::to_string),
    }
}

fn bare_entry(operation: &Operation) -> queue::Entry {
    queue::Entry {
        uid: operation.uid,
        kind: operation.kind.clone(),
        lane: "task".to_owned(),
        priority: operation.priority,
        locks: operation.resource.map(|it| (it, LockMode::Exclusive)).into_iter().collect(),
        subject: operation.resource,
        leaves: None,
    }
}

#[cfg(test)]
mod tests;
