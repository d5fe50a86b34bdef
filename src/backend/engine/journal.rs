//! Durable steps: record, replay, undo.
//!
//! ```text
//!  cx.step("overlay").undo(…).run(…)
//!     │
//!     ├─ recorded as done or refused? ──▶ the recorded result, nothing runs
//!     ├─ cancelled? leaving? ─▶ Stop
//!     └─ effect ──▶ record (result + changed resources, one transaction) ──▶ result
//!                 ▲             ▲                                       ▲
//!          crash: before     between                                  after
//! ```
//!
//! Each step's undo is known before its effect begins, so that a step which was cut short is undone
//! like one that was done. An undo must therefore find nothing to undo and call that success.
//!
//! What looks like the work of a step that never began is somebody else's, and is not undone. So
//! that an operation runs is on disk before the first effect that there is an undo for, and a step
//! that was refused is recorded as that: neither has anything to undo, in this life or the next.
//!
//! A step may be the pivot (`cx.step("files").pivot()`): that there is no way back is on disk
//! before its effect begins. From then on nothing is undone: see `pivot.rs`.

mod children;
mod recorder;
mod spawned;
mod step;

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{
    Accepted, BackendError, BoxFuture, Failure, Operation, OperationSpec, Progress, Resource,
    ResourceId, ResourceType, Step, StepState, Submit, Text, Uid,
};

use super::inventory::Inventory;
use super::storage::{Changed, RecordedStep, StepChange, StepResult};
use super::work;

pub use children::{JOIN, SPAWN};
pub(super) use recorder::{Put, Recorder, Update};
pub use spawned::{Child, Spawned, refused};
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
    result: Option<StepResult>,
    undo: Option<Undo>,
}

/// What an operation's function works with.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    recorder: Arc<dyn Recorder>,
    spec: Arc<OperationSpec>,
    uid: Uid,
    attempt: u32,
    created: Timestamp,
    resource: Option<ResourceId>,
    cancel: CancellationToken,
    /// The steps it takes, where it has said which.
    steps: OnceLock<Vec<Text>>,
    /// Whether an earlier life ran it, and may have begun any step that it did not record.
    resumed: bool,
    /// Whether there is no way back.
    past_pivot: AtomicBool,
    /// Why an earlier life began to undo it, if it did.
    undoing: Option<Stop>,
    /// Steps that an earlier life could not undo.
    not_undone: Vec<Step>,
    /// What an earlier life recorded, in order: steps that are done, and at the end perhaps one
    /// that was refused.
    recorded: Mutex<VecDeque<RecordedStep>>,
    taken: Mutex<Vec<ExecutedStep>>,
    /// The children that this attempt has asked for.
    children: Mutex<Vec<Uid>>,
    /// Set when the first step begins that no earlier life has recorded.
    begun: Notify,
    /// Records on their way, which outlive a function that is dropped.
    recording: TaskTracker,
    /// Blocking work under way, which outlives it as well.
    working: TaskTracker,
}

impl Context {
    /// The context of one run of an operation of a kind. `recorded` are the steps an earlier life
    /// has taken; `None` where no earlier life ran it.
    pub(super) fn new(
        recorder: Arc<dyn Recorder>,
        spec: Arc<OperationSpec>,
        operation: &Operation,
        cancel: CancellationToken,
        recorded: Option<Vec<RecordedStep>>,
    ) -> Self {
        let (resumed, recorded) = (recorded.is_some(), recorded.unwrap_or_default());
        let own = |(step, _): &RecordedStep| step.attempt == operation.attempt;
        let recorded: Vec<_> = recorded.into_iter().filter(own).collect();
        let not_undone = recorded
            .iter()
            .filter(|(step, _)| step.state == StepState::UndoFailed)
            .map(|(step, _)| step.clone())
            .collect();
        // Where the first one is undone, nothing goes on from those behind it.
        let answers = |step: &Step| matches!(step.state, StepState::Done | StepState::Refused);
        let recorded = (1..)
            .zip(recorded)
            .take_while(|(at, (step, _))| step.number == *at && answers(step))
            .map(|(_, recorded)| recorded)
            .collect();
        let undoing = operation.comment.clone().map(|why| {
            if operation.cancelling { Stop::Cancelled } else { Stop::Failed(Failure::new(why)) }
        });
        Self {
            inner: Arc::new(Inner {
                recorder,
                spec,
                uid: operation.uid,
                attempt: operation.attempt,
                created: operation.created,
                resource: operation.resource,
                cancel,
                steps: OnceLock::new(),
                resumed,
                past_pivot: AtomicBool::new(operation.past_pivot),
                undoing,
                not_undone,
                recorded: Mutex::new(recorded),
                taken: Mutex::default(),
                children: Mutex::default(),
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

    /// When the operation was asked for.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.inner.created
    }

    /// Names this attempt of this operation as nothing else is named, also when an older database
    /// is restored and numbers come again: for marking what the attempt makes.
    #[must_use]
    pub fn attempt_name(&self) -> String {
        let Inner { uid, attempt, created, .. } = &*self.inner;
        format!("{uid}.{attempt}.{}", created.as_millisecond())
    }

    /// The number of the resource it acts on or makes.
    ///
    /// # Errors
    /// When the operation is about none.
    pub fn id(&self) -> Result<u64, Failure> {
        self.inner
            .resource
            .map(|resource| resource.id)
            .ok_or_else(|| Failure::new(format!("operation {} is about no resource", self.uid())))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.recorder.now()
    }

    /// A resource as it is now.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn resource(&self, id: ResourceId) -> Result<Resource, Failure> {
        self.inventory(|inventory| inventory.resource(id).cloned())
            .ok_or_else(|| Failure::new(format!("{id} does not exist any more")))
    }

    /// Looks at every living resource.
    pub fn inventory<T>(&self, look: impl FnOnce(&Inventory) -> T) -> T {
        let (mut look, mut seen) = (Some(look), None);
        self.inner.recorder.show(&mut |inventory| seen = look.take().map(|look| look(inventory)));
        match seen {
            Some(seen) => seen,
            None => unreachable!("a recorder shows the inventory once"),
        }
    }

    /// A resource of one type as it is now.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn get<T: ResourceType>(&self, id: u64) -> Result<T, Failure> {
        let found = self.inventory(|inventory| inventory.get::<T>(id).cloned());
        let id = ResourceId::new(T::KIND, id);
        found.ok_or_else(|| Failure::new(format!("{id} does not exist any more")))
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
        self.inner.recorder.clone().submit(submit, Box::new(put)).await
    }

    /// Says which of the catalogue entry's steps an operation of these parameters takes, where that
    /// is not all: its progress is counted by them. Comes before the first step.
    pub fn takes<T: Into<Text>>(&self, steps: impl IntoIterator<Item = T>) {
        // Who says it again has said it.
        let _ = self.inner.steps.set(steps.into_iter().map(Into::into).collect());
    }

    /// A step: a name from the kind's catalogue entry, then what it does.
    pub fn step(&self, name: impl Into<Text>) -> StepBuilder<'_> {
        StepBuilder::new(self, name.into())
    }

    /// Returns when somebody called the operation off and its function may be dropped for it: when
    /// every step that an earlier life recorded has been passed, so that its undo is known. Up to
    /// there the next step itself says that it was called off.
    pub(super) async fn cancelled(&self) {
        self.inner.begun.notified().await;
        self.inner.cancel.cancelled().await;
    }

    /// A future of this operation's, whose blocking work is known to [`Context::quiet`].
    pub(super) fn tracked<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        work::tracked(&self.inner.working, future)
    }

    /// Returns when nothing that the function began is under way any more, also where the function
    /// was dropped: no record and no blocking work.
    pub(super) async fn quiet(&self) {
        for tracker in [&self.inner.working, &self.inner.recording] {
            tracker.close();
            tracker.wait().await;
        }
    }

    /// Why an earlier life began to undo it, if it did: nothing goes on from what may be undone.
    pub(super) fn undoing(&self) -> Option<Stop> {
        self.inner.undoing.clone()
    }

    /// Whether it is past its pivot: nothing is undone any more.
    pub(super) fn is_past_pivot(&self) -> bool {
        self.inner.past_pivot.load(Ordering::Relaxed)
    }

    /// Whether the effect of any step was begun, now or perhaps in an earlier life.
    pub(super) fn has_begun(&self) -> bool {
        let begun = |it: &ExecutedStep| it.undo.is_some() || it.step.state != StepState::Running;
        let taken = self.inner.taken.lock();
        taken.iter().any(begun) || (self.inner.resumed && !taken.is_empty())
    }

    /// Looks whether the function, which has ended well, has asked for every recorded step.
    ///
    /// # Errors
    /// [`Stop::Mismatch`], naming those it has not asked for.
    pub(super) fn all_read(&self) -> Result<(), Stop> {
        let unread = self.unread();
        if unread.is_empty() {
            return Ok(());
        }
        Err(mismatch(format!("{} recorded, and this version takes no such step", were(&unread))))
    }

    /// The recorded steps that the function has not asked for.
    fn unread(&self) -> Vec<String> {
        let recorded = self.inner.recorded.lock();
        recorded.iter().map(|(step, _)| step.name.clone()).collect()
    }

    /// Undoes what was begun, the latest first, when all of it is [`quiet`](Self::quiet). Gives
    /// what could not be undone. Nothing more is undone once the store is dead: whether it knows of
    /// a step is not known here, and what it calls done must have been done. The next start knows.
    pub(super) async fn undo(&self) -> Vec<String> {
        let taken = self.inner.taken.lock().len();
        let reached = u32::try_from(taken).unwrap_or(u32::MAX);
        let not_undone = self.inner.not_undone.iter().filter(|step| step.number > reached);
        let mut left: Vec<String> = not_undone.filter_map(|step| step.error.clone()).collect();
        let unread = self.unread();
        if !unread.is_empty() {
            left.push(format!("{} taken before and cannot be reached now", were(&unread)));
        }
        loop {
            if self.inner.recorder.is_dead() {
                return left;
            }
            let taken = self.inner.taken.lock().pop();
            let Some(ExecutedStep { mut step, result, undo }) = taken else { return left };
            let Some(undo) = undo else { continue };
            let cx = StepContext::new(self, (0.0, 1.0), step.clone());
            self.progress(Progress {
                phase: format!("undoing {}", step.name),
                step: step.number,
                ..Progress::default()
            });
            let undo = AssertUnwindSafe(async { undo(cx.clone()).await }).catch_unwind();
            match undo.await.unwrap_or_else(|panic| Err(panicked(&*panic))) {
                Ok(()) => step.state = StepState::Undone,
                Err(failure) => {
                    step.state = StepState::UndoFailed;
                    step.error = Some(failure.message.clone());
                    left.push(failure.message);
                }
            }
            step.finished = Some(self.now());
            step.commands = cx.commands(&step);
            let (changed, updates) = cx.changes();
            if let Err(error) = self.record(step, result, changed, updates).await {
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
        result: Option<StepResult>,
        changed: Vec<Changed>,
        updates: Vec<Update>,
    ) -> Result<(), BackendError> {
        let change = StepChange { uid: self.uid(), step, result };
        let cancel = self.inner.cancel.clone();
        let recorded = self.inner.recorder.clone().record_step(change, changed, updates, cancel);
        let recorded = self.inner.recording.spawn(recorded);
        recorded.await.unwrap_or_else(|error| {
            Err(BackendError::failed(format!("the record of a step was lost: {error}")))
        })
    }

    /// The names of its steps, in order.
    fn steps(&self) -> &[Text] {
        self.inner.steps.get().map_or(&self.inner.spec.steps, |steps| steps)
    }

    fn progress(&self, progress: Progress) {
        self.inner.recorder.progress(self.uid(), progress);
    }
}

/// The stop of an operation whose record and function do not fit.
fn mismatch(why: impl std::fmt::Display) -> Stop {
    Stop::Mismatch(Failure::new(format!(
        "{why}: another version of hostler began it. Nothing was run or undone; look at what its \
         steps have done, then cancel or relaunch it"
    )))
}

/// A panic inside an operation is a defect of hostler's; the operator gets its words.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Failure::new(format!("hostler itself failed, which is a defect worth reporting: {words}"))
}

/// `step 'a' was`, `steps 'a', 'b' were`.
fn were(steps: &[String]) -> String {
    let names: Vec<String> = steps.iter().map(|name| format!("'{name}'")).collect();
    match names.as_slice() {
        [one] => format!("step {one} was"),
        many => format!("steps {} were", many.join(", ")),
    }
}
