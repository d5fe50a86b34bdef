//! One step: what its function works with, and how it is taken, recorded and replayed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::engine::report::{CommandLog, ProgressReport};
use crate::backend::engine::storage::{Changed, StepResult};
use crate::domain::{
    BackendError, Command, Failure, Progress, Resource, ResourceId, ResourceType, Step, StepState,
    Text, Wait,
};

use super::{Context, ExecutedStep, Stop, Undo, Update, mismatch};

/// How long to wait before a step for which there was no room is taken again.
const ROOM_RETRY: Duration = Duration::from_secs(5);

/// What a step's function works with.
#[derive(Clone)]
pub struct StepContext {
    cx: Context,
    log: CommandLog,
    changed: Arc<Mutex<Vec<Changed>>>,
    updates: Arc<Mutex<Vec<Update>>>,
    progress_range: (f64, f64),
    step: Step,
    label: Option<Text>,
}

impl StepContext {
    pub(super) fn new(cx: &Context, progress_range: (f64, f64), step: Step) -> Self {
        let (recorder, uid, shown) = (cx.inner.recorder.clone(), cx.uid(), step.clone());
        let log = CommandLog::watched(move |commands| {
            let mut step = shown.clone();
            step.commands.extend(commands);
            recorder.publish_step(uid, step);
        });
        Self {
            cx: cx.clone(),
            log,
            changed: Arc::default(),
            updates: Arc::default(),
            progress_range,
            step,
            label: None,
        }
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
    pub fn report(&self, meter: ProgressReport) {
        let (from, to) = self.progress_range;
        self.cx.progress(Progress {
            phase: self.label.as_deref().unwrap_or(&self.step.name).replace('_', " "),
            // At the very start nothing is known but that it began.
            fraction: match meter.fraction {
                Some(fraction) => Some(from + (to - from) * fraction.clamp(0.0, 1.0)),
                None => (from > 0.0).then_some(from),
            },
            left_s: meter.left_s,
            detail: meter.detail,
            speed: meter.speed,
            step: self.step.number,
            steps: u32::try_from(self.cx.steps().len()).ok(),
        });
    }

    /// Takes in a resource, new or changed, in one transaction with the step's record. For one that
    /// this operation makes or holds for itself, and that nobody else [updates](Self::update): what
    /// they did would be lost.
    pub fn put(&self, resource: Resource) {
        let mut changed = self.changed.lock();
        changed.push(Changed::Put(Arc::new(resource)));
    }

    /// Changes a resource as it is when the step is recorded, in one transaction with that: what
    /// others change meanwhile is kept. For resources that are not held by this operation alone,
    /// and those that others update who do not hold them. Of one that is gone by then nothing is
    /// changed.
    pub fn update<T: ResourceType>(
        &self,
        id: u64,
        change: impl Fn(&mut T) + Send + Sync + 'static,
    ) {
        let change = move |resource: &mut Resource| {
            if let Some(it) = resource.get_mut() {
                change(it);
            }
        };
        let mut updates = self.updates.lock();
        updates.push(Update { id: ResourceId::new(T::KIND, id), change: Box::new(change) });
    }

    /// Takes a resource out, in one transaction with the step's record.
    pub fn remove(&self, id: ResourceId) {
        let mut changed = self.changed.lock();
        changed.push(Changed::Remove(id));
    }

    /// Whether this is the undo of a step that was cut short, and so neither done nor failed.
    #[must_use]
    pub fn was_cut_short(&self) -> bool {
        self.step.state == StepState::Running
    }

    /// Whether this is an undo because somebody cancelled the operation, and not because it failed:
    /// what can be used again by a relaunch may then stay.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cx.inner.cancel.is_cancelled()
    }

    pub(super) fn changes(&self) -> (Vec<Changed>, Vec<Update>) {
        let changed = std::mem::take(&mut *self.changed.lock());
        let updates = std::mem::take(&mut *self.updates.lock());
        (changed, updates)
    }

    /// The commands noted before and now.
    pub(super) fn commands(&self, before: &Step) -> Vec<Command> {
        before.commands.iter().cloned().chain(self.log.commands()).collect()
    }
}

/// How a step begins.
pub(super) enum Entered<T> {
    /// An earlier life took it, and it returned this.
    Before(T),
    /// It is taken now.
    Now {
        /// As it begins.
        step: Step,
        /// Which part of the operation's whole time it takes.
        spans: (f64, f64),
        /// Its undo, which is due once its effect begins; `None` where there is none, or it is due
        /// already.
        undo: Option<Undo>,
    },
}

/// A step about to be taken.
#[must_use = "a step does nothing until it is run"]
pub struct StepBuilder<'c> {
    cx: &'c Context,
    name: Text,
    label: Option<Text>,
    undo: Option<Undo>,
    is_pivot: bool,
    retries: u32,
    progress_range: Option<(f64, f64)>,
}

impl<'c> StepBuilder<'c> {
    /// A step of an operation, by its name in the kind's catalogue entry.
    pub(super) fn new(cx: &'c Context, name: Text) -> Self {
        Self {
            cx,
            name,
            label: None,
            undo: None,
            is_pivot: false,
            retries: 0,
            progress_range: None,
        }
    }

    /// What to show people while it is taken, where its name does not say enough.
    pub fn label(mut self, phase: impl Into<Text>) -> Self {
        self.label = Some(phase.into());
        self
    }

    /// Which part of the operation's whole time it takes, as two fractions; without it all steps
    /// count alike.
    pub fn progress_range(mut self, from: f64, to: f64) -> Self {
        self.progress_range = Some((from, to));
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

    /// Makes it the pivot: once its effect begins there is no way back. Nothing is undone any more,
    /// the operation cannot be called off, and when it fails it waits to be relaunched; so all that
    /// may refuse it belongs into a step before.
    pub fn pivot(mut self) -> Self {
        self.is_pivot = true;
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
        let (cx, name, label, retries, is_pivot) =
            (self.cx, self.name.clone(), self.label.clone(), self.retries, self.is_pivot);
        let inner = &cx.inner;
        let (mut step, spans) = match self.enter()? {
            Entered::Before(result) => return Ok(result),
            Entered::Now { step, spans, undo } => {
                if let Some(undo) = undo {
                    cx.record_run().await?;
                    cx.arm(undo);
                }
                if is_pivot {
                    cx.pass_pivot().await?;
                }
                inner.recorder.begin_step(cx.uid(), &step);
                crash(&inner.spec.kind, &name, "before");
                (step, spans)
            }
        };
        let mut tries = 0;
        let (result, taking) = loop {
            let mut taking = StepContext::new(cx, spans, step.clone());
            taking.label.clone_from(&label);
            taking.report(ProgressReport::default());
            let result = effect(taking.clone()).await;
            if let Err(failure) = &result
                && failure.no_room
            {
                // The commands of this try are not kept: there may be thousands of tries.
                cx.pause(&failure.message).await?;
                continue;
            }
            step.commands = taking.commands(&step);
            match result {
                Err(failure) if failure.passing && tries < retries => {
                    let pause = Duration::from_secs(1 << tries.min(6)).min(Duration::from_secs(60));
                    tries += 1;
                    let at = cx.now() + pause;
                    let wait = Wait::Retry { at, why: failure.message };
                    inner.recorder.waits(cx.uid(), Some(wait));
                    inner.recorder.until(at).await;
                    inner.recorder.waits(cx.uid(), None);
                }
                result => break (result, taking),
            }
        };
        step.finished = Some(cx.now());
        match result {
            Ok(value) => {
                crash(&inner.spec.kind, &name, "between");
                let result = as_result(&name, &value)?;
                step.state = StepState::Done;
                cx.update_last(&step, Some(result.clone()));
                let (changed, updates) = taking.changes();
                cx.record(step, Some(result), changed, updates)
                    .await
                    .map_err(|error| cx.unrecorded(&error))?;
                crash(&inner.spec.kind, &name, "after");
                Ok(value)
            }
            Err(failure) => {
                step.state = if failure.refused { StepState::Refused } else { StepState::Failed };
                step.error = Some(failure.message.clone());
                cx.update_last(&step, None);
                if failure.refused {
                    cx.disarm();
                }
                cx.record(step, None, Vec::new(), Vec::new())
                    .await
                    .map_err(|error| cx.unrecorded(&error))?;
                Err(failure.into())
            }
        }
    }
}

impl StepBuilder<'_> {
    /// Begins the step, or gives what it returned when it was taken before.
    ///
    /// # Errors
    /// When the operation is to stop here.
    pub(super) fn enter<T: DeserializeOwned>(self) -> Result<Entered<T>, Stop> {
        let inner = &self.cx.inner;
        let number = {
            let taken = inner.taken.lock();
            u32::try_from(taken.len()).unwrap_or(u32::MAX) + 1
        };
        let recorded = inner.recorded.lock().pop_front();
        if let Some((step, result)) = recorded {
            return self.replay(step, result).map(Entered::Before);
        }
        let step = Step {
            attempt: inner.attempt,
            number,
            name: self.name.to_string(),
            state: StepState::Running,
            started: self.cx.now(),
            finished: None,
            error: None,
            commands: Vec::new(),
        };
        // Where an earlier life ran the operation, the effect may have happened, and its undo is
        // due. Else it is once the effect begins.
        let (due, undo) = if inner.resumed { (self.undo, None) } else { (None, self.undo) };
        inner.taken.lock().push(ExecutedStep { step: step.clone(), result: None, undo: due });
        if let Some(stop) = self.cx.undoing() {
            return Err(stop);
        }
        if inner.cancel.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if self.cx.is_over() {
            return Err(Stop::Leaving);
        }
        inner.begun.notify_one();
        let steps = self.cx.steps();
        let place = steps.iter().position(|name| *name == self.name).unwrap_or(0) as f64;
        let steps = steps.len().max(1) as f64;
        let spans = self.progress_range.unwrap_or((place / steps, (place + 1.0) / steps));
        Ok(Entered::Now { step, spans, undo })
    }

    /// Gives what the step returned in an earlier life. One that was refused then is refused now,
    /// whatever it would find: what it did nothing about is not to be undone.
    fn replay<T: DeserializeOwned>(
        self,
        step: Step,
        result: Option<StepResult>,
    ) -> Result<T, Stop> {
        let inner = &self.cx.inner;
        if step.name != self.name {
            let (number, recorded, asked) = (step.number, step.name, self.name);
            return Err(mismatch(format!(
                "step {number} is recorded as '{recorded}', where this version takes '{asked}'"
            )));
        }
        if step.state == StepState::Refused {
            let failure = Failure::refused(step.error.clone().unwrap_or_default());
            inner.taken.lock().push(ExecutedStep { step, result: None, undo: None });
            return Err(self.cx.undoing().unwrap_or_else(|| failure.into()));
        }
        let value = serde_json::from_str(result.as_deref().unwrap_or("null")).map_err(|error| {
            mismatch(format!("what step '{}' returned cannot be read ({error})", self.name))
        })?;
        let taken = ExecutedStep { step, result, undo: self.undo };
        inner.taken.lock().push(taken);
        Ok(value)
    }
}

impl Context {
    /// Waits a little for room, and says why. A cancelled operation waits no longer.
    ///
    /// # Errors
    /// [`Stop::Leaving`]: whoever owns the state directory next takes the step.
    async fn pause(&self, why: &str) -> Result<(), Stop> {
        let at = self.now() + ROOM_RETRY;
        let recorder = &self.inner.recorder;
        recorder.waits(self.uid(), Some(Wait::Retry { at, why: why.to_owned() }));
        tokio::select! {
            biased;
            () = recorder.paused() => return Err(Stop::Leaving),
            () = recorder.until(at) => {}
        }
        recorder.waits(self.uid(), None);
        Ok(())
    }

    /// Whether the next owner of the state directory goes on with the operation: the backend
    /// leaves, or can record nothing more.
    fn is_over(&self) -> bool {
        self.inner.recorder.is_pausing() || self.inner.recorder.is_dead()
    }

    /// The stop for a step whose record could not be written.
    pub(super) fn unrecorded(&self, error: &BackendError) -> Stop {
        if self.is_over() {
            // As if the power had been cut: whoever comes next finds it done.
            return Stop::Leaving;
        }
        Stop::Failed(Failure::new(error.to_string()))
    }

    /// Returns when it is on disk that the operation runs.
    ///
    /// # Errors
    /// When the operation is to stop here.
    async fn record_run(&self) -> Result<(), Stop> {
        if !self.inner.recorder.clone().record_run(self.uid()).await {
            return Err(Stop::Leaving);
        }
        if self.inner.cancel.is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    }

    /// Returns when it is on disk that there is no way back. What was done is not to be undone from
    /// then on.
    ///
    /// # Errors
    /// When the operation is to stop here.
    async fn pass_pivot(&self) -> Result<(), Stop> {
        if !self.is_past_pivot() {
            self.inner.recorder.clone().pass_pivot(self.uid()).await?;
            self.inner.past_pivot.store(true, Ordering::Relaxed);
        }
        self.inner.taken.lock().iter_mut().for_each(|taken| taken.undo = None);
        Ok(())
    }

    /// The latest step begins its effect: from now on its undo is due.
    pub(super) fn arm(&self, undo: Undo) {
        let mut taken = self.inner.taken.lock();
        if let Some(last) = taken.last_mut() {
            last.undo = Some(undo);
        }
    }

    /// Forgets the undo of the latest step, which has done nothing.
    fn disarm(&self) {
        let mut taken = self.inner.taken.lock();
        if let Some(last) = taken.last_mut() {
            last.undo = None;
        }
    }

    /// Remembers how the latest step stands, for its undo.
    pub(super) fn update_last(&self, step: &Step, result: Option<StepResult>) {
        let mut taken = self.inner.taken.lock();
        if let Some(last) = taken.last_mut() {
            last.step = step.clone();
            last.result = result;
        }
    }
}

/// What a step returned, to be recorded.
pub(super) fn as_result(name: &str, value: &impl Serialize) -> Result<StepResult, Failure> {
    serde_json::to_string(value)
        .map(StepResult::from)
        .map_err(|error| Failure::new(format!("step {name} cannot be recorded: {error}")))
}

/// Dies here, as in a power cut, when the environment asks for it.
#[cfg(feature = "failpoints")]
pub(super) fn crash(kind: &str, step: &str, point: &str) {
    static WANTED: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("HOSTLER_CRASH").ok());
    if WANTED.as_deref() == Some(&format!("{kind}/{step}/{point}")) {
        let me = rustix::process::getpid();
        // There is nobody left to tell if this fails.
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    }
}

#[cfg(not(feature = "failpoints"))]
pub(super) const fn crash(_: &str, _: &str, _: &str) {}
