//! Durable steps: record, replay, undo.
//!
//! ```text
//!  cx.step("overlay").undo(…).run(…)
//!     │
//!     ├─ recorded as done? ──▶ the recorded result, nothing runs
//!     ├─ cancelled? leaving? ─▶ Stop
//!     └─ effect ──▶ record (result + changed resources, one transaction) ──▶ result
//!                 ▲             ▲                                       ▲
//!          crash: before     between                                  after
//! ```
//!
//! Each step's undo is known before its effect begins, so that a step which was cut short is undone
//! like one that was done. An undo must therefore find nothing to undo and call that success.

mod step;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{
    Accepted, BackendError, BoxFuture, Disk, Encoding, Failure, Image, Progress, Resource,
    ResourceId, Step, StepState, Submit, Task, Uid, Vm, Wait,
};

use super::inventory::Inventory;
use super::kind::Entry;
use super::store::StepChange;
use super::work;
use super::{Engine, detached};
use crate::backend::ports::Ports;
use crate::backend::settings::Settings;
use crate::backend::state_files::mark::Mark;

use step::AGAIN;

pub(in crate::backend) use step::Changed;
pub use step::{StepBuilder, StepContext};

/// Why an operation stops before its last step.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// A step failed.
    Failed(Failure),
    /// Somebody called it off.
    Cancelled,
    /// The backend is leaving; whoever owns the state directory next goes on.
    Leaving,
    /// What an earlier life recorded is not what this version does: nothing is run or undone, for
    /// nobody here knows what either would meet.
    Mismatch(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

type Undo = Box<dyn Fn(StepContext) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// A step that was begun, and how to undo it.
struct ExecutedStep {
    step: Step,
    result: Option<serde_json::Value>,
    undo: Option<Undo>,
}

/// What an operation's function works with.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    uid: Uid,
    mark: Mark,
    kind: Arc<Entry>,
    attempt: u32,
    resource: Option<ResourceId>,
    cancel: CancellationToken,
    /// Steps recorded as done by an earlier life, in order.
    recorded: Mutex<VecDeque<(Step, serde_json::Value)>>,
    taken: Mutex<Vec<ExecutedStep>>,
    /// Set when the first step begins that no earlier life has recorded.
    begun: Notify,
    /// Records on their way, which outlive a function that is dropped.
    recording: TaskTracker,
    /// Blocking work under way, which outlives it as well.
    working: TaskTracker,
}

impl Context {
    /// The context of one run of an operation. `recorded` are the steps an earlier life has done.
    pub(in crate::backend) fn new(
        engine: Arc<Engine>,
        kind: Arc<Entry>,
        operation: &crate::domain::Operation,
        cancel: CancellationToken,
        recorded: Vec<(Step, serde_json::Value)>,
    ) -> Self {
        let recorded = recorded
            .into_iter()
            .filter(|(step, _)| step.attempt == operation.attempt && step.state == StepState::Done)
            .collect();
        Self {
            inner: Arc::new(Inner {
                engine,
                uid: operation.uid,
                mark: Mark::from(operation),
                kind,
                attempt: operation.attempt,
                resource: operation.resource,
                cancel,
                recorded: Mutex::new(recorded),
                taken: Mutex::default(),
                begun: Notify::new(),
                recording: TaskTracker::new(),
                working: TaskTracker::new(),
            }),
        }
    }

    /// The operation's number.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.inner.uid
    }

    /// What its files are known by as its own.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.inner.mark
    }

    /// Names this attempt of this operation as nothing else is named, also when an older database
    /// is restored and numbers come again: for marking what the attempt makes.
    #[must_use]
    pub fn attempt_name(&self) -> String {
        let Mark { operation, created_ms } = self.inner.mark;
        format!("{operation}.{}.{created_ms}", self.inner.attempt)
    }

    /// The number of the resource it acts on or makes.
    ///
    /// # Errors
    /// When the operation is about none.
    pub fn id(&self) -> Result<u64, Failure> {
        self.inner.resource.map(|resource| resource.id).ok_or_else(|| {
            Failure::new(format!("operation {} is about no resource", self.inner.uid))
        })
    }

    /// What it may ask the world for.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        self.inner.engine.ports()
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.inner.engine.settings()
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.ports().clock.now()
    }

    /// A resource as it is now.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn resource(&self, id: ResourceId) -> Result<Resource, Failure> {
        self.inner
            .engine
            .inventory(|inventory| inventory.get(id).cloned())
            .ok_or_else(|| Failure::new(format!("{id} does not exist any more")))
    }

    /// Looks at every living resource.
    pub fn inventory<T>(&self, look: impl FnOnce(&Inventory) -> T) -> T {
        self.inner.engine.inventory(look)
    }

    /// A VM as it is now.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn vm(&self, id: u64) -> Result<Vm, Failure> {
        self.one("vm", id, |inventory| inventory.vm(id).cloned())
    }

    /// A disk as it is now.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn disk(&self, id: u64) -> Result<Disk, Failure> {
        self.one("disk", id, |inventory| inventory.disk(id).cloned())
    }

    /// An image as it is now.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn image(&self, id: u64) -> Result<Image, Failure> {
        self.one("image", id, |inventory| inventory.image(id).cloned())
    }

    /// A task as it is now.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn task(&self, id: u64) -> Result<Task, Failure> {
        self.one("task", id, |inventory| inventory.task(id).cloned())
    }

    /// An encoding as it is now.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn encoding(&self, id: u64) -> Result<Encoding, Failure> {
        self.one("encoding", id, |inventory| inventory.encoding(id).cloned())
    }

    fn one<T>(
        &self,
        word: &str,
        id: u64,
        get: impl FnOnce(&Inventory) -> Option<T>,
    ) -> Result<T, Failure> {
        self.inner
            .engine
            .inventory(get)
            .ok_or_else(|| Failure::new(format!("{word}/{id} does not exist any more")))
    }

    /// Asks for another operation, as an operation that fires others does. What `put` gives is
    /// written together with it or not at all.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn submit(
        &self,
        submit: Submit,
        put: impl FnOnce(Uid, &Inventory) -> Vec<Resource> + Send + 'static,
    ) -> Result<Accepted, BackendError> {
        let engine = self.inner.engine.clone();
        detached(async move {
            engine.submit_with(submit, |uid, live| Ok(put(uid, &live.inventory))).await
        })
        .await
    }

    /// A step: a name from the kind's catalogue entry, then what it does.
    pub fn step(&self, name: &'static str) -> StepBuilder<'_> {
        StepBuilder::new(self, name)
    }

    /// Returns when somebody called the operation off and its function may be dropped for it: when
    /// every step that an earlier life recorded has been passed, so that its undo is known. Up to
    /// there the next step itself says that it was called off.
    pub(in crate::backend) async fn cancelled(&self) {
        self.inner.begun.notified().await;
        self.inner.cancel.cancelled().await;
    }

    /// A future of this operation's, whose blocking work is known to [`Context::quiet`].
    pub(in crate::backend) fn tracked<F: Future>(
        &self,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        work::tracked(&self.inner.working, future)
    }

    /// Returns when nothing that the function began is under way any more, also where the function
    /// was dropped: no record and no blocking work.
    pub(in crate::backend) async fn quiet(&self) {
        for tracker in [&self.inner.working, &self.inner.recording] {
            tracker.close();
            tracker.wait().await;
        }
    }

    /// Looks whether the function, which has ended well, has asked for every recorded step.
    ///
    /// # Errors
    /// [`Stop::Mismatch`], naming those it has not asked for.
    pub(in crate::backend) fn all_read(&self) -> Result<(), Stop> {
        let unread = self.unread();
        if unread.is_empty() {
            return Ok(());
        }
        Err(mismatch(format!("{} recorded, and this version takes no such step", were(&unread))))
    }

    /// The recorded steps that the function has not asked for.
    fn unread(&self) -> Vec<String> {
        let recorded = self.inner.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.iter().map(|(step, _)| step.name.clone()).collect()
    }

    /// Undoes what was begun, the latest first. Gives what could not be undone. Nothing more is
    /// undone once the store is dead: whether it knows of a step is not known here, and what it
    /// calls done must have been done. The next start knows.
    pub(in crate::backend) async fn undo(&self) -> Vec<String> {
        self.quiet().await;
        let mut left = Vec::new();
        let unread = self.unread();
        if !unread.is_empty() {
            left.push(format!("{} taken before and cannot be reached now", were(&unread)));
        }
        loop {
            if self.inner.engine.store.is_dead() {
                return left;
            }
            let taken = self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(ExecutedStep { mut step, result, undo }) = taken else { return left };
            let Some(undo) = undo else { continue };
            let cx = StepContext::new(self, (0.0, 1.0), step.clone());
            self.progress(Progress {
                phase: format!("undoing {}", step.name),
                step: step.number,
                ..Progress::default()
            });
            match undo(cx.clone()).await {
                Ok(()) => step.state = StepState::Undone,
                Err(failure) => {
                    step.state = StepState::UndoFailed;
                    step.error = Some(failure.message.clone());
                    left.push(failure.message);
                }
            }
            step.finished = Some(self.now());
            step.commands = cx.commands(&step);
            if let Err(error) = self.record(step, result, cx.changes()).await {
                left.push(error.to_string());
            }
        }
    }

    /// Writes a step and what it changed, then tells it. What it changed must be there, but for the
    /// resource that the operation makes. Room for it is waited for, unless the operation is
    /// cancelled: what was accepted does not fail for want of room.
    async fn record(
        &self,
        step: Step,
        result: Option<serde_json::Value>,
        changed: Vec<Changed>,
    ) -> Result<(), BackendError> {
        let change = Arc::new(StepChange { uid: self.inner.uid, step, result });
        let (engine, uid, cancel) =
            (self.inner.engine.clone(), self.inner.uid, self.inner.cancel.clone());
        // The backend does not close the store under it either.
        let record = self.inner.engine.running.track_future(async move {
            let mut health = engine.store.writer().health();
            loop {
                health.mark_unchanged();
                let Err(error) = engine.record_step(change.clone(), changed.clone()).await else {
                    // The writer has let go of it by now.
                    engine.publish_step(uid, Arc::unwrap_or_clone(change).step);
                    return Ok(());
                };
                // It may have been full for this one only.
                let was_full =
                    engine.store.writer().is_full() || health.has_changed().is_ok_and(|it| it);
                if !was_full || engine.store.is_dead() {
                    return Err(error);
                }
                let at = engine.ports().clock.now() + AGAIN;
                engine.waits(uid, Some(Wait::Retry { at, why: error.to_string() }));
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Err(error),
                    () = engine.pausing.cancelled() => return Err(error),
                    () = engine.ports().clock.until(at) => {}
                }
                engine.waits(uid, None);
            }
        });
        let recorded = self.inner.recording.spawn(record);
        recorded.await.unwrap_or_else(|error| {
            Err(BackendError::failed(format!("the record of a step was lost: {error}")))
        })
    }

    fn progress(&self, progress: Progress) {
        self.inner.engine.progress(self.inner.uid, progress);
    }
}

/// The stop of an operation whose record and function do not fit.
fn mismatch(why: impl std::fmt::Display) -> Stop {
    Stop::Mismatch(Failure::new(format!(
        "{why}: another version of hostler began it. Nothing was run or undone; look at what its \
         steps have done, then cancel or relaunch it"
    )))
}

/// `step 'a' was`, `steps 'a', 'b' were`.
fn were(steps: &[String]) -> String {
    let names: Vec<String> = steps.iter().map(|name| format!("'{name}'")).collect();
    match names.as_slice() {
        [one] => format!("step {one} was"),
        many => format!("steps {} were", many.join(", ")),
    }
}
