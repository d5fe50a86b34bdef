//! The embedded backend: starts the parts and implements [`Backend`].

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::{
    Accepted, Answer, Backend, BackendError, BoxFuture, Catalogue, Control, Counts, EventStream,
    InFlight, List, Operation, OperationDetail, Page, Query, Reason, Refusal, Resource,
    ResourceKind, Result, Rows, Serial, State, Subject, Submit, Task, Vm, VmState,
};

use super::engine::secrets::{hidden, hide};
use super::engine::storage::Change;
use super::engine::store::{Store, reader};
use super::engine::{self, Engine, Live, Options, Parts};
use super::environment::Environment;
use super::operations::{self, KindEntry};
use super::ownership::{Guard, Owned};
use super::ports::{Guest, Ports};
use super::schedule;
use super::settings::Settings;
use super::state_files;
use super::watchers::keeper::{self, Keeper};
use super::watchers::observer::unwatched;
use super::watchers::timekeeper::Timekeeper;
use super::watchers::{Site, observer, pruner, scheduler};

/// The last place a window may begin at, so that the store can count on from there.
const FARTHEST_ROW: u64 = i64::MAX as u64 / 2;
/// The most children that are shown with an operation.
const MOST_CHILDREN: u32 = 1000;
/// The most operations that are shown as in flight.
const MOST_IN_FLIGHT: usize = 200;

/// The embedded backend.
#[derive(Clone)]
pub struct Embedded {
    pub(super) engine: Arc<Engine>,
    /// What answers questions about what the engine does not hold in memory.
    pub(super) store: Store,
    pub(super) site: Arc<Site>,
    /// Nothing where it only looks on.
    keeper: Option<Arc<Keeper>>,
    /// Nothing once it has been left.
    owned: Arc<Mutex<Option<Owned>>>,
    /// Nothing where it cannot be watched.
    guard: Arc<Option<Guard>>,
}

impl Embedded {
    /// Opens the store, takes up what an earlier life left, and starts whatever may run. Called
    /// inside a tokio runtime. `kinds` are [`operations::all`] or other ones.
    ///
    /// # Errors
    /// When the store cannot be opened, or the kinds cannot stand in one catalogue.
    pub fn start(
        owned: Owned,
        settings: Settings,
        ports: Ports,
        kinds: Vec<KindEntry>,
    ) -> Result<Self> {
        let time = Timekeeper::resume(&settings.state_dir, &*ports.clock)?;
        let (mut embedded, dead) = Self::open(owned, settings, ports, kinds)?;
        let Self { engine, store, site, .. } = &embedded;
        record(store, dead);
        let (dir, pid) = (site.settings().state_dir.display(), std::process::id());
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!("hostler {version}, process {pid}, owns {dir}");
        keeper::clear_unwritten(&site.settings().state_dir);
        let keeper = Arc::new(Keeper::new(site.clone(), store.clone()));
        let observed = engine.watch(observer::concerns);
        let scheduled = engine.watch(scheduler::concerns);
        let ended = engine.watch(pruner::concerns);
        engine.dispatch();
        engine.spawn(keeper.clone().run());
        engine.spawn(observer::run(site.clone(), observed, time.clone()));
        engine.spawn(scheduler::run(site.clone(), scheduled, time.clone()));
        engine.spawn(pruner::run(site.clone(), store.clone(), ended, time));
        embedded.keeper = Some(keeper);
        Ok(embedded)
    }

    /// Opens the store to look on alone: it answers, and takes nothing up, fires no task, watches
    /// over nothing and accepts no operation. What an earlier life left waits for the next owner.
    ///
    /// # Errors
    /// As those of [`start`](Self::start).
    pub fn look_on(
        owned: Owned,
        settings: Settings,
        ports: Ports,
        kinds: Vec<KindEntry>,
    ) -> Result<Self> {
        let (embedded, _) = Self::open(owned, settings, ports, kinds)?;
        embedded.engine.pause();
        Ok(embedded)
    }

    /// Opens the store. Nothing is started. Returns with it the VMs whose processes ended while
    /// nobody watched; that is not on record yet.
    fn open(
        owned: Owned,
        settings: Settings,
        ports: Ports,
        kinds: Vec<KindEntry>,
    ) -> Result<(Self, Vec<Vm>)> {
        operations::check(kinds.iter().map(|entry| &entry.spec)).map_err(BackendError::failed)?;
        let (store, mut opened) = Store::open(&settings.state_dir)?;
        state_files::raise(&mut opened.counters, &settings.state_dir);
        follow(&settings.state_dir, &store, &mut opened.resources);
        let ended = unwatched::put_right(&mut opened, (&ports, &settings), &kinds);
        let guard = owned.guard().inspect_err(|error| {
            tracing::warn!(%error, "whether the state directory stays where it is is not watched");
        });
        let history = Box::new(store.clone());
        let env = Arc::new(Environment { ports, settings, history });
        let engine = engine::open(Parts {
            options: Options { lanes: env.settings.lanes.clone(), shown },
            kinds: kinds.into_iter().map(|entry| entry.bind(&env)).collect(),
            clock: env.ports.clock.clone(),
            storage: Arc::new(store.clone()),
            opened,
        });
        let site = Arc::new(Site::new(engine.clone(), env));
        let owned = Arc::new(Mutex::new(Some(owned)));
        let guard = Arc::new(guard.ok());
        Ok((Self { engine, store, site, keeper: None, owned, guard }, ended))
    }

    /// Goes, leaving everything so that the next owner of the state directory goes on with it: the
    /// store is one whole file and closed, and the directory is nobody's when this returns. Steps
    /// that are being taken are dropped where they are, or finished first when `after_steps`. QEMU
    /// and ffmpeg live on.
    pub async fn leave(&self, after_steps: bool) {
        self.engine.stop(after_steps).await;
        // A directory that has come in the place of ours is somebody else's.
        let is_ours = (*self.guard).as_ref().is_none_or(Guard::holds);
        if let Some(keeper) = self.keeper.as_ref().filter(|_| is_ours) {
            keeper.keep().await;
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the last changes could not be written");
        }
        let owned = self.owned.lock().take();
        // Of one that only looked on nothing was said either.
        if owned.is_some() && self.keeper.is_some() {
            let dir = self.site.settings().state_dir.display();
            tracing::info!("hostler, process {}, lets go of {dir}", std::process::id());
        }
    }

    /// Returns, with a sentence, when the state directory or the store in it was taken away from
    /// under us, or the store broke: nothing more can be promised. What is left to do then is to
    /// [`leave`](Self::leave).
    pub async fn lost(&self) -> BackendError {
        let taken_away = async {
            match &*self.guard {
                Some(guard) => guard.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = taken_away => error,
            error = self.store.broken() => error,
        }
    }

    /// Returns when what lies in the state directory is in step with what happened until now.
    #[cfg(test)]
    pub(super) async fn in_step(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.sweep_once().await;
            keeper.keep().await;
        }
    }

    /// Whether anybody listens to the events.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.engine.events.has_subscribers()
    }

    /// How many operations have not ended and have not failed.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        let (running, waiting) = self.engine.look(|live| live.queue().counts());
        running + waiting
    }

    /// Whether any operation runs or waits.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.engine.look(|live| live.queue().counts() != (0, 0))
    }

    /// Whether there is anything to do or to watch over: operations that run or wait, tasks that
    /// are to fire by themselves, guests that are up.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.engine.look(|live| {
            let mut tasks = live.inventory().of(Task::KIND);
            let mut vms = live.inventory().of(Vm::KIND);
            live.queue().counts() != (0, 0)
                || tasks.any(|task| matches!(&**task, Resource::Task(task) if task.active))
                || vms.any(|vm| matches!(&**vm, Resource::Vm(vm) if vm.is_up()))
        })
    }

    /// Returns when there is nothing to do or to watch over, see [`is_needed`](Self::is_needed).
    pub async fn until_unneeded(&self) {
        let watch = self.engine.watch(|_| true);
        while self.is_needed() {
            watch.next().await;
        }
    }

    async fn answer(&self, query: Query) -> Result<Answer> {
        let engine = &self.engine;
        Ok(match query {
            Query::List(mut list) => {
                list.check().map_err(|error| {
                    Refusal::new(Reason::Value, format!("the list cannot be made: {error}"))
                })?;
                list.limit = list.limit.min(List::MOST);
                list.offset = list.offset.min(FARTHEST_ROW);
                list.around = list.around.map(|row| row.min(FARTHEST_ROW));
                let page = match list.of {
                    Subject::Resources(kind) => {
                        let (total, offset, rows) = engine.inventory(|it| it.list(kind, &list));
                        let rows = rows.into_iter().map(shown).collect();
                        Page { total, offset, rows: Rows::Resources(rows) }
                    }
                    Subject::Operations => {
                        let (total, offset, mut rows) =
                            self.store.read(move |store| reader::operations(store, &list)).await?;
                        self.overlay(&mut rows);
                        Page { total, offset, rows: Rows::Operations(rows) }
                    }
                };
                Answer::Page(page)
            }
            Query::Resource { id } => {
                let found = engine.inventory(|inventory| inventory.resource(id).cloned());
                let found = found.ok_or_else(|| BackendError::not_found(id))?;
                Answer::Resource(Box::new(shown(found)))
            }
            Query::Operation { uid } => {
                let (operation, steps, mut children, all) = self
                    .store
                    .read(move |store| {
                        let children = reader::children(store, uid, MOST_CHILDREN)?;
                        let (steps, all) =
                            (reader::steps(store, uid)?, reader::count_children(store, uid)?);
                        Ok((reader::operation(store, uid)?, steps, children, all))
                    })
                    .await?;
                let operation = operation
                    .ok_or_else(|| BackendError::not_found(format_args!("operation {uid}")))?;
                let mut operations = [operation];
                self.overlay(&mut operations);
                let [operation] = operations;
                let steps = steps.into_iter().map(|(step, _)| step).collect();
                self.overlay(&mut children);
                let more_children = all.saturating_sub(children.len() as u64);
                let detail = OperationDetail { operation, steps, children, more_children };
                Answer::Operation(Box::new(detail))
            }
            Query::InFlight => Answer::InFlight(self.in_flight()),
            Query::Counts => {
                let operations = self.store.read(reader::count).await?;
                let resources = engine.inventory(|inventory| {
                    ResourceKind::ALL.iter().map(|&kind| (kind, inventory.count(kind))).collect()
                });
                Answer::Counts(Counts { resources, operations })
            }
            Query::Lanes => Answer::Lanes(engine.look(|live| live.queue().lanes().collect())),
            Query::Host => Answer::Host(Box::new((*self.site.host()).clone())),
            Query::Timeline => {
                let now = self.site.ports().clock.now();
                let zone = self.site.settings().time_zone();
                let tasks: Vec<Task> = engine.inventory(|inventory| {
                    let tasks = inventory.of(Task::KIND).filter_map(|it| match &**it {
                        Resource::Task(task) if task.active => Some(task.clone()),
                        _ => None,
                    });
                    tasks.take(List::MOST as usize).collect()
                });
                // A task that fires every minute takes a search for each of 1440.
                let found =
                    tokio::task::spawn_blocking(move || schedule::timeline(&tasks, now, &zone));
                Answer::Timeline(found.await.map_err(|error| {
                    BackendError::failed(format!("the schedule broke: {error}"))
                })?)
            }
            Query::Preview(submit) => Answer::Preview(engine.preview(submit).await?),
        })
    }

    /// Puts what only memory knows over what the store knows, and hides secrets.
    fn overlay(&self, rows: &mut [Operation]) {
        self.engine.look(|live| {
            for row in rows {
                match live.operation(row.uid) {
                    Some(operation) => *row = waiting(live, operation),
                    None => row.params = hidden(&row.params),
                }
            }
        });
    }

    fn in_flight(&self) -> InFlight {
        self.engine.look(|live| {
            let (mut running, mut pending, mut failed) = (Vec::new(), Vec::new(), Vec::new());
            for operation in live.operations() {
                match operation.state {
                    State::Run => running.push(operation),
                    State::Pending => pending.push(operation),
                    State::Error => failed.push(operation),
                    State::Done | State::Cancel => {}
                }
            }
            let (runs, waits, failures) = (running.len(), pending.len(), failed.len());
            // Sorted are only those that are told: nothing else can change meanwhile.
            let order = |it: &&Arc<Operation>| (std::cmp::Reverse(it.priority), it.uid);
            if waits > MOST_IN_FLIGHT {
                pending.select_nth_unstable_by_key(MOST_IN_FLIGHT, order);
                pending.truncate(MOST_IN_FLIGHT);
            }
            pending.sort_unstable_by_key(order);
            let operations = running.into_iter().chain(pending).chain(failed);
            let operations =
                operations.take(MOST_IN_FLIGHT).map(|operation| waiting(live, operation)).collect();
            let resources = ResourceKind::ALL.iter().flat_map(|&kind| live.inventory().of(kind));
            let troubled = resources
                .filter(|resource| resource.problem().is_some())
                .map(|resource| resource.id())
                .take(MOST_IN_FLIGHT)
                .collect();
            InFlight {
                operations,
                running: runs as u64,
                waiting: waits as u64,
                failed: failures as u64,
                troubled,
            }
        })
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// An operation in flight, with why it does not start.
fn waiting(live: &Live, operation: &Operation) -> Operation {
    let mut operation = operation.clone();
    operation.wait = operation.wait.or_else(|| live.queue().wait_reason(operation.uid));
    operation
}

/// A resource as it may be seen: the secrets in a task's parameters hidden.
fn shown(resource: Resource) -> Resource {
    match resource {
        Resource::Task(task) => {
            let params = hide(&task.params);
            Resource::Task(Task { params, ..task })
        }
        other => other,
    }
}

/// Brings the paths in records to where the state directory is now, which may have been moved.
fn follow(state_dir: &Path, store: &Store, resources: &mut [Resource]) {
    let mut changes = Vec::new();
    for resource in resources {
        if state_files::moved::follow(state_dir, resource) {
            changes.push(Change::Put(Arc::new(resource.clone())));
        }
    }
    if !changes.is_empty() {
        let (dir, count) = (state_dir.display(), changes.len());
        tracing::info!("the state directory was moved to {dir}: {count} records follow it");
        // Whatever is acknowledged later is written after it.
        store.writer().send_unanswered(changes);
    }
}

/// Puts VMs on record whose processes ended while nobody watched.
fn record(store: &Store, ended: Vec<Vm>) {
    for vm in &ended {
        unwatched::tell(vm);
    }
    if !ended.is_empty() {
        let changes = ended.into_iter().map(|vm| Change::Put(Arc::new(Resource::Vm(vm))));
        store.writer().send_unanswered(changes.collect());
    }
}

impl Backend for Embedded {
    fn catalogue(&self) -> Catalogue {
        self.engine.catalogue().clone()
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(self.answer(query))
    }

    fn submit(&self, submit: Submit) -> BoxFuture<'_, Result<Accepted>> {
        self.engine.submit(submit)
    }

    fn control(&self, control: Control) -> BoxFuture<'_, Result<()>> {
        let engine = self.engine.clone();
        Box::pin(async move { engine.control(control).await })
    }

    fn subscribe(&self) -> EventStream {
        self.engine.events.subscribe()
    }

    fn serial(&self, vm: u64) -> BoxFuture<'_, Result<Serial>> {
        Box::pin(async move {
            let found = self.engine.inventory(|inventory| inventory.get::<Vm>(vm).cloned());
            let found = found.ok_or_else(|| BackendError::not_found(format_args!("vm/{vm}")))?;
            if !matches!(found.state, VmState::Running | VmState::Paused | VmState::BeingCreated) {
                return Err(BackendError::failed(format!(
                    "vm/{vm} '{}' is {}; start it to use its serial console",
                    found.name,
                    found.state.word()
                )));
            }
            let guest = Guest { id: vm, uuid: found.uuid, dir: self.site.settings().vm_dir(vm) };
            let serial = self.site.ports().hypervisor.serial(&guest).await;
            serial.map_err(|failure| BackendError::failed(failure.message))
        })
    }
}
