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

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{
    Accepted, BackendError, BoxFuture, Disk, Encoding, Failure, Image, Params, Progress, Resource,
    ResourceId, Step, StepState, Submit, Task, Uid, Vm, Wait,
};

use super::core::{Core, detached};
use super::inventory::Inventory;
use super::ports::{CommandLog, Meter, Ports};
use super::settings::Settings;
use super::store::{Change, StepChange};

/// Why an operation stops before its last step.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// A step failed.
    Failed(Failure),
    /// Somebody called it off.
    Cancelled,
    /// The backend is leaving; whoever owns the state directory next goes on.
    Leaving,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

type Undo = Box<dyn Fn(StepContext) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// A step that was begun, and how to undo it.
struct Taken {
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
    core: Arc<Core>,
    uid: Uid,
    kind: String,
    attempt: u32,
    resource: Option<ResourceId>,
    /// The names of the kind's steps, for counting progress.
    steps: Vec<String>,
    cancel: CancellationToken,
    /// Steps recorded as done by an earlier life, in order.
    recorded: Mutex<VecDeque<(Step, serde_json::Value)>>,
    taken: Mutex<Vec<Taken>>,
    /// Set when the first step begins that no earlier life has recorded.
    begun: CancellationToken,
    /// Records on their way, which outlive a function that is dropped.
    recording: TaskTracker,
}

impl Context {
    /// The context of one run of an operation. `recorded` are the steps an earlier life has done.
    pub(super) fn new(
        core: Arc<Core>,
        operation: &crate::domain::Operation,
        steps: Vec<String>,
        cancel: CancellationToken,
        recorded: Vec<(Step, serde_json::Value)>,
    ) -> Self {
        let recorded = recorded
            .into_iter()
            .filter(|(step, _)| step.attempt == operation.attempt && step.state == StepState::Done)
            .collect();
        Self {
            inner: Arc::new(Inner {
                core,
                uid: operation.uid,
                kind: operation.kind.clone(),
                attempt: operation.attempt,
                resource: operation.resource,
                steps,
                cancel,
                recorded: Mutex::new(recorded),
                taken: Mutex::default(),
                begun: CancellationToken::new(),
                recording: TaskTracker::new(),
            }),
        }
    }

    /// The operation's number.
    #[must_use]
    pub fn uid(&self) -> Uid {
        self.inner.uid
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
        self.inner.core.ports()
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.inner.core.settings()
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
            .core
            .inventory(|inventory| inventory.get(id).cloned())
            .ok_or_else(|| Failure::new(format!("{id} does not exist any more")))
    }

    /// Looks at every living resource.
    pub fn inventory<T>(&self, look: impl FnOnce(&Inventory) -> T) -> T {
        self.inner.core.inventory(look)
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
            .core
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
        let core = self.inner.core.clone();
        detached(async move {
            core.submit_with(submit, |uid, flight| Ok(put(uid, &flight.inventory))).await
        })
        .await
    }

    /// A step: a name from the kind's catalogue entry, then what it does.
    pub fn step(&self, name: &'static str) -> StepBuilder<'_> {
        StepBuilder { cx: self, name, says: None, undo: None, retries: 0, spans: None }
    }

    /// Returns when somebody called the operation off and its function may be dropped for it: when
    /// every step that an earlier life recorded has been passed, so that its undo is known. Up to
    /// there the next step itself says that it was called off.
    pub(super) async fn called_off(&self) {
        self.inner.begun.cancelled().await;
        self.inner.cancel.cancelled().await;
    }

    /// Undoes what was begun, the latest first. Gives what could not be undone.
    pub(super) async fn undo(&self) -> Vec<String> {
        self.inner.recording.close();
        self.inner.recording.wait().await;
        let mut left = Vec::new();
        loop {
            let taken = self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(Taken { mut step, result, undo }) = taken else { return left };
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

    /// Writes a step and what it changed, then tells it.
    async fn record(
        &self,
        step: Step,
        result: Option<serde_json::Value>,
        changed: Vec<Changed>,
    ) -> Result<(), BackendError> {
        let change = StepChange { uid: self.inner.uid, step: step.clone(), result };
        let (core, uid) = (self.inner.core.clone(), self.inner.uid);
        let recorded = self.inner.recording.spawn(async move {
            core.commit(vec![Change::Step(Box::new(change))], changed).await?;
            core.tell_step(uid, step);
            Ok(())
        });
        recorded.await.unwrap_or_else(|error| {
            Err(BackendError::failed(format!("the record of a step was lost: {error}")))
        })
    }

    fn progress(&self, progress: Progress) {
        self.inner.core.progress(self.inner.uid, progress);
    }
}

/// A change to a resource that is committed with the step that made it.
#[derive(Debug, Clone)]
pub(super) enum Changed {
    Put(Arc<Resource>),
    Remove(ResourceId),
}

/// What a step's function works with.
#[derive(Clone)]
pub struct StepContext {
    cx: Context,
    log: CommandLog,
    changed: Arc<Mutex<Vec<Changed>>>,
    spans: (f64, f64),
    step: Step,
    says: Option<&'static str>,
}

impl StepContext {
    fn new(cx: &Context, spans: (f64, f64), step: Step) -> Self {
        let (core, uid, shown) = (cx.inner.core.clone(), cx.inner.uid, step.clone());
        let log = CommandLog::watched(move |commands| {
            let mut step = shown.clone();
            step.commands.extend(commands);
            core.tell_step(uid, step);
        });
        Self { cx: cx.clone(), log, changed: Arc::default(), spans, step, says: None }
    }

    /// Where commands are noted.
    #[must_use]
    pub const fn log(&self) -> &CommandLog {
        &self.log
    }

    /// The context of the operation.
    #[must_use]
    pub const fn cx(&self) -> &Context {
        &self.cx
    }

    /// Says how far the step is.
    pub fn report(&self, meter: Meter) {
        let (from, to) = self.spans;
        let inner = &self.cx.inner;
        self.cx.progress(Progress {
            phase: self.says.unwrap_or(&self.step.name).replace('_', " "),
            fraction: Some(from + (to - from) * meter.fraction.unwrap_or(0.0).clamp(0.0, 1.0)),
            left_s: meter.left_s,
            detail: meter.detail,
            step: self.step.number,
            steps: u32::try_from(inner.steps.len()).ok(),
        });
    }

    /// Takes in a resource, new or changed, in one transaction with the step's record.
    pub fn put(&self, resource: Resource) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.push(Changed::Put(Arc::new(resource)));
    }

    /// Takes a resource out, in one transaction with the step's record.
    pub fn remove(&self, id: ResourceId) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.push(Changed::Remove(id));
    }

    /// Whether this is an undo because somebody cancelled the operation, and not because it failed:
    /// what can be used again by a relaunch may then stay.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cx.inner.cancel.is_cancelled()
    }

    fn changes(&self) -> Vec<Changed> {
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The commands noted before and now.
    fn commands(&self, before: &Step) -> Vec<crate::domain::Command> {
        before.commands.iter().cloned().chain(self.log.commands()).collect()
    }
}

/// A step about to be taken.
#[must_use = "a step does nothing until it is run"]
pub struct StepBuilder<'c> {
    cx: &'c Context,
    name: &'static str,
    says: Option<&'static str>,
    undo: Option<Undo>,
    retries: u32,
    spans: Option<(f64, f64)>,
}

impl StepBuilder<'_> {
    /// What to show people while it is taken, where its name does not say enough.
    pub fn says(mut self, phase: &'static str) -> Self {
        self.says = Some(phase);
        self
    }

    /// Which part of the operation's whole time it takes, as two fractions; without it all steps
    /// count alike.
    pub fn spans(mut self, from: f64, to: f64) -> Self {
        self.spans = Some((from, to));
        self
    }

    /// How to undo it. Called also when the step was only begun: finding nothing to undo is
    /// success.
    pub fn undo<F, Fut>(mut self, undo: F) -> Self
    where
        F: Fn(StepContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.undo = Some(Box::new(move |cx| Box::pin(undo(cx))));
        self
    }

    /// How often it may be tried again when it fails in a way that may pass: after 1, 2, 4, …
    /// seconds, at most a minute each.
    pub fn retry(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    /// Takes the step, or gives what it returned when it was taken before.
    ///
    /// # Errors
    /// When it fails, or the operation is to stop here.
    pub async fn run<T, F, Fut>(self, effect: F) -> Result<T, Stop>
    where
        T: Serialize + DeserializeOwned,
        F: Fn(StepContext) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let inner = &self.cx.inner;
        let number = {
            let taken = inner.taken.lock().unwrap_or_else(PoisonError::into_inner);
            u32::try_from(taken.len()).unwrap_or(u32::MAX) + 1
        };
        let recorded = inner
            .recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
            .filter(|(step, _)| step.name == self.name);
        if let Some((step, result)) = recorded {
            let value = serde_json::from_value(result.clone()).map_err(|error| {
                Failure::new(format!("what step {} returned cannot be read: {error}", self.name))
            })?;
            let taken = Taken { step, result: Some(result), undo: self.undo };
            inner.taken.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
            return Ok(value);
        }
        let mut step = Step {
            attempt: inner.attempt,
            number,
            name: self.name.to_owned(),
            state: StepState::Running,
            started: self.cx.now(),
            finished: None,
            error: None,
            commands: Vec::new(),
        };
        // From here on the effect may have happened in an earlier life, so its undo is due.
        let taken = Taken { step: step.clone(), result: None, undo: self.undo };
        inner.taken.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
        if inner.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if inner.core.is_pausing() {
            return Err(Stop::Leaving);
        }
        inner.begun.cancel();
        let place = inner.steps.iter().position(|name| name == self.name).unwrap_or(0) as f64;
        let steps = inner.steps.len().max(1) as f64;
        let spans = self.spans.unwrap_or((place / steps, (place + 1.0) / steps));
        inner.core.begin_step(inner.uid, &step);
        crash(&inner.kind, self.name, "before");
        let mut tries = 0;
        let (result, cx) = loop {
            let mut cx = StepContext::new(self.cx, spans, step.clone());
            cx.says = self.says;
            cx.report(Meter::default());
            let result = effect(cx.clone()).await;
            step.commands = cx.commands(&step);
            match result {
                Err(failure) if failure.passing && tries < self.retries => {
                    let pause = Duration::from_secs(1 << tries.min(6)).min(Duration::from_secs(60));
                    tries += 1;
                    let at = self.cx.now() + pause;
                    let wait = Wait::Retry { at, why: failure.message };
                    inner.core.waits(inner.uid, Some(wait));
                    self.cx.ports().clock.until(at).await;
                    inner.core.waits(inner.uid, None);
                }
                result => break (result, cx),
            }
        };
        step.finished = Some(self.cx.now());
        match result {
            Ok(value) => {
                crash(&inner.kind, self.name, "between");
                let result = serde_json::to_value(&value).map_err(|error| {
                    Failure::new(format!("step {} cannot be recorded: {error}", self.name))
                })?;
                step.state = StepState::Done;
                self.cx.keep(&step, Some(result.clone()));
                self.cx
                    .record(step, Some(result), cx.changes())
                    .await
                    .map_err(|error| Failure::new(error.to_string()))?;
                crash(&inner.kind, self.name, "after");
                Ok(value)
            }
            Err(failure) => {
                step.state = StepState::Failed;
                step.error = Some(failure.message.clone());
                self.cx.keep(&step, None);
                self.cx
                    .record(step, None, Vec::new())
                    .await
                    .map_err(|error| Failure::new(error.to_string()))?;
                Err(failure.into())
            }
        }
    }
}

impl Context {
    /// Remembers how the latest step stands, for its undo.
    fn keep(&self, step: &Step, result: Option<serde_json::Value>) {
        let mut taken = self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = taken.last_mut() {
            last.step = step.clone();
            last.result = result;
        }
    }
}

/// Parameters with every secret replaced by [`crate::domain::Operation::HIDDEN`]. Secrets are
/// stored as `{"hashed": …}`, at any depth.
#[must_use]
pub fn hidden(params: &Params) -> Params {
    fn hide(value: &serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(object) if object.contains_key("hashed") => {
                crate::domain::Operation::HIDDEN.into()
            }
            serde_json::Value::Object(object) => {
                object.iter().map(|(name, value)| (name.clone(), hide(value))).collect()
            }
            serde_json::Value::Array(values) => values.iter().map(hide).collect(),
            other => other.clone(),
        }
    }
    params.iter().map(|(name, value)| (name.clone(), hide(value))).collect()
}

/// A resource as it may be seen: the secrets in a task's parameters hidden.
#[must_use]
pub(super) fn shown(resource: Resource) -> Resource {
    match resource {
        Resource::Task(task) => {
            let params = hidden(&task.params);
            Resource::Task(Task { params, ..task })
        }
        other => other,
    }
}

/// Dies here, as in a power cut, when the environment asks for it.
#[cfg(feature = "failpoints")]
fn crash(kind: &str, step: &str, point: &str) {
    static WANTED: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("HOSTLER_CRASH").ok());
    if WANTED.as_deref() == Some(&format!("{kind}/{step}/{point}")) {
        let me = rustix::process::getpid();
        // There is nobody left to tell if this fails.
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    }
}

#[cfg(not(feature = "failpoints"))]
const fn crash(_: &str, _: &str, _: &str) {}

#[cfg(test)]
mod tests;
