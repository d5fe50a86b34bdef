//! The embedded backend: starts the parts and implements [`Backend`].

use std::fs::{File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::{
    Accepted, Answer, Backend, BackendError, BoxFuture, Catalogue, Control, Counts, EventStream,
    InFlight, Operation, OperationDetail, Page, Query, Reason, Refusal, Resource, ResourceKind,
    Result, Rows, Serial, State, Subject, Submit, Task, VmState,
};

use super::core::{Core, detached};
use super::kind::Entry;
use super::ports::{Guest, Ports};
use super::scheduler;
use super::secrets::shown;
use super::settings::Settings;
use super::store::{Store, reader};

/// The most rows a list answers with.
const MOST_ROWS: u32 = 10_000;
/// The most operations that are shown as in flight.
const MOST_IN_FLIGHT: usize = 200;

/// A state directory that is ours alone, for as long as this lives.
#[derive(Debug)]
pub struct Owned {
    // The lock goes with the file.
    _lock: File,
}

/// Makes a state directory where there is none and takes it for ourselves. `None` when another
/// hostler owns it.
///
/// # Errors
/// When it cannot be made, or belongs to another user.
pub fn own(dir: &Path) -> Result<Option<Owned>> {
    let failed = |what: &str, error: &std::io::Error| {
        BackendError::failed(format!(
            "cannot {what} the state directory {}: {error}; choose another with --state",
            dir.display()
        ))
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| failed("make", &error))?;
    let found = std::fs::metadata(dir).map_err(|error| failed("read", &error))?;
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me {
        return Err(BackendError::failed(format!(
            "the state directory {} belongs to user {}, not to you (user {me}); run hostler as that \
             user, or choose another directory with --state",
            dir.display(),
            found.uid()
        )));
    }
    if found.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
            .map_err(|error| failed("close to others", &error))?;
    }
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("hostler.lock"))
        .map_err(|error| failed("lock", &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(Owned { _lock: lock })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed("lock", &error)),
    }
}

/// The embedded backend.
#[derive(Debug, Clone)]
pub struct Embedded {
    core: Arc<Core>,
    /// Nothing once it has been left.
    owned: Arc<Mutex<Option<Owned>>>,
}

impl Embedded {
    /// Opens the store, takes up what an earlier life left, and starts whatever may run. Called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn start(
        owned: Owned,
        settings: Settings,
        ports: Ports,
        kinds: Vec<Entry>,
    ) -> Result<Self> {
        let (store, opened) = Store::open(&settings.state_dir)?;
        let core = Arc::new(Core::new(ports, settings, kinds, store, opened));
        core.dispatch();
        core.running.spawn(super::observer::run(core.clone()));
        core.running.spawn(scheduler::run(core.clone()));
        Ok(Self { core, owned: Arc::new(Mutex::new(Some(owned))) })
    }

    /// Goes, leaving everything so that the next owner of the state directory goes on with it: the
    /// store is one whole file and closed, and the directory is nobody's when this returns. Steps
    /// that are being taken are dropped where they are, or finished first when `after_steps`. QEMU
    /// and ffmpeg live on.
    pub async fn leave(&self, after_steps: bool) {
        self.core.pausing.cancel();
        if !after_steps {
            self.core.leaving.cancel();
        }
        self.core.running.close();
        self.core.running.wait().await;
        self.core.leaving.cancel();
        if let Err(error) = self.core.store.close().await {
            tracing::error!(%error, "the last changes could not be written");
        }
        *self.owned.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether anybody listens to the events.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.core.hub.is_heard()
    }

    /// Whether any task is to fire by itself.
    #[must_use]
    pub fn has_active_tasks(&self) -> bool {
        self.core.inventory(|inventory| {
            inventory
                .of(ResourceKind::Task)
                .any(|task| matches!(&**task, Resource::Task(task) if task.active))
        })
    }

    async fn answer(&self, query: Query) -> Result<Answer> {
        let core = &self.core;
        Ok(match query {
            Query::List(mut list) => {
                list.check().map_err(|error| {
                    Refusal::new(Reason::Value, format!("the list cannot be made: {error}"))
                })?;
                list.limit = list.limit.min(MOST_ROWS);
                let page = match list.of {
                    Subject::Resources(kind) => {
                        let (total, offset, rows) = core.inventory(|it| it.list(kind, &list));
                        let rows = rows.into_iter().map(shown).collect();
                        Page { total, offset, rows: Rows::Resources(rows) }
                    }
                    Subject::Operations => {
                        let (total, offset, mut rows) =
                            core.store.read(move |store| reader::operations(store, &list)).await?;
                        self.overlay(&mut rows);
                        Page { total, offset, rows: Rows::Operations(rows) }
                    }
                };
                Answer::Page(page)
            }
            Query::Resource { id } => {
                let found = core.inventory(|inventory| inventory.get(id).cloned());
                let found = found.ok_or_else(|| BackendError::not_found(id))?;
                Answer::Resource(Box::new(shown(found)))
            }
            Query::Operation { uid } => {
                let (operation, steps) = core
                    .store
                    .read(move |store| {
                        Ok((reader::operation(store, uid)?, reader::steps(store, uid)?))
                    })
                    .await?;
                let operation = operation
                    .ok_or_else(|| BackendError::not_found(format_args!("operation {uid}")))?;
                let mut operations = [operation];
                self.overlay(&mut operations);
                let [operation] = operations;
                let steps = steps.into_iter().map(|(step, _)| step).collect();
                Answer::Operation(Box::new(OperationDetail { operation, steps }))
            }
            Query::InFlight => Answer::InFlight(self.in_flight()),
            Query::Counts => {
                let operations = core.store.read(reader::count).await?;
                let resources = core.inventory(|inventory| {
                    ResourceKind::ALL.map(|kind| (kind, inventory.count(kind))).to_vec()
                });
                Answer::Counts(Counts { resources, operations })
            }
            Query::Lanes => Answer::Lanes(core.flight().queue.lanes().collect()),
            Query::Host => {
                let host = core.host.lock().unwrap_or_else(PoisonError::into_inner);
                Answer::Host(Box::new((**host).clone()))
            }
            Query::Timeline => {
                let (now, zone) = (core.ports().clock.now(), core.settings().time_zone.clone());
                let tasks: Vec<Task> = core.inventory(|inventory| {
                    let tasks = inventory.of(ResourceKind::Task).filter_map(|it| match &**it {
                        Resource::Task(task) if task.active => Some(task.clone()),
                        _ => None,
                    });
                    tasks.take(MOST_ROWS as usize).collect()
                });
                // A task that fires every minute takes a search for each of 1440.
                let found =
                    tokio::task::spawn_blocking(move || scheduler::timeline(&tasks, now, &zone));
                Answer::Timeline(found.await.map_err(|error| {
                    BackendError::failed(format!("the schedule broke: {error}"))
                })?)
            }
            Query::Preview(submit) => Answer::Preview(core.preview(submit).await?),
        })
    }

    /// Puts what only memory knows over what the store knows, and hides secrets.
    fn overlay(&self, rows: &mut [Operation]) {
        let flight = self.core.flight();
        for row in rows {
            match flight.open.get(&row.uid) {
                Some(open) => {
                    *row = (*open.operation).clone();
                    row.wait = row.wait.take().or_else(|| flight.queue.why(row.uid));
                }
                None => row.params = super::secrets::hidden(&row.params),
            }
        }
    }

    fn in_flight(&self) -> InFlight {
        let flight = self.core.flight();
        let of = |state| {
            flight.open.values().map(|open| &*open.operation).filter(move |it| it.state == state)
        };
        let mut waiting: Vec<&Operation> = of(State::Pending).collect();
        waiting.sort_by_key(|operation| (std::cmp::Reverse(operation.priority), operation.uid));
        let counted =
            (of(State::Run).count() as u64, waiting.len() as u64, of(State::Error).count() as u64);
        let operations = of(State::Run)
            .chain(waiting)
            .chain(of(State::Error))
            .take(MOST_IN_FLIGHT)
            .cloned()
            .map(|mut operation| {
                operation.wait = operation.wait.or_else(|| flight.queue.why(operation.uid));
                operation
            })
            .collect();
        InFlight { operations, running: counted.0, waiting: counted.1, failed: counted.2 }
    }
}

impl Backend for Embedded {
    fn catalogue(&self) -> Catalogue {
        self.core.catalogue().clone()
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(self.answer(query))
    }

    fn submit(&self, submit: Submit) -> BoxFuture<'_, Result<Accepted>> {
        let core = self.core.clone();
        Box::pin(detached(async move { core.submit(submit).await }))
    }

    fn control(&self, control: Control) -> BoxFuture<'_, Result<()>> {
        let core = self.core.clone();
        Box::pin(detached(async move {
            match control {
                Control::Cancel { uid } => core.cancel(uid).await,
                Control::Relaunch { uid, params } => core.relaunch(uid, params).await,
                Control::Priority { uid, priority } => core.prioritise(uid, priority).await,
                Control::Lane { name, change } => core.change_lane(&name, change).await,
            }
        }))
    }

    fn subscribe(&self) -> EventStream {
        self.core.hub.listen()
    }

    fn serial(&self, vm: u64) -> BoxFuture<'_, Result<Serial>> {
        Box::pin(async move {
            let found = self.core.inventory(|inventory| inventory.vm(vm).cloned());
            let found = found.ok_or_else(|| BackendError::not_found(format_args!("vm/{vm}")))?;
            if !matches!(found.state, VmState::Running | VmState::Paused | VmState::BeingCreated) {
                return Err(BackendError::failed(format!(
                    "vm/{vm} '{}' is {}; start it to use its serial console",
                    found.name,
                    found.state.word()
                )));
            }
            let guest = Guest { id: vm, uuid: found.uuid, dir: self.core.settings().vm_dir(vm) };
            let serial = self.core.ports().hypervisor.serial(&guest).await;
            serial.map_err(|failure| BackendError::failed(failure.message))
        })
    }
}
