//! An operation's course through the engine: started and on its way.

use std::fmt;
use std::sync::Arc;

use super::executor;
use super::journal::Changed;
use super::store::{Change, StepChange};
use crate::domain::{BackendError, Fact, Operation, Params, Progress, State, Step, Uid, Wait};

use super::{CancellationToken, Engine, Live};

/// What the executor takes through its steps.
pub(in crate::backend) struct Run {
    /// The operation as it stood when its turn came.
    pub(in crate::backend) operation: Arc<Operation>,
    /// Its parameters as stored: secrets hashed.
    pub(in crate::backend) params: Arc<Params>,
    /// Set when somebody calls it off.
    pub(in crate::backend) cancel: CancellationToken,
    /// Whether an earlier life took some of its steps.
    pub(in crate::backend) resume: bool,
}

impl Engine {
    /// Starts every operation whose turn it is.
    pub(in crate::backend) fn dispatch(self: &Arc<Self>) {
        self.start_due(&mut self.live());
    }

    /// Starts every operation whose turn it is.
    pub(super) fn start_due(self: &Arc<Self>, live: &mut Live) {
        while !self.is_pausing()
            && !self.store.is_full()
            && let Some(uid) = live.queue.start()
        {
            if let Some((state, why)) = self.obstacle(live, uid) {
                let engine = self.clone();
                self.running
                    .spawn(async move { engine.finish_with_retry(uid, state, Some(why)).await });
                continue;
            }
            let Some(open) = live.open.get_mut(&uid) else {
                live.queue.finish(uid);
                continue;
            };
            let operation = open.operation_mut();
            operation.state = State::Run;
            operation.wait = None;
            operation.started.get_or_insert_with(|| self.ports.clock.now());
            tracing::info!("{} starts, asked for by {}", Title(operation), operation.actor);
            let cancel = CancellationToken::new();
            if operation.cancelling {
                cancel.cancel();
            }
            open.cancel = Some(cancel.clone());
            let run = Run {
                operation: open.operation.clone(),
                params: open.params.clone(),
                cancel,
                resume: open.resume,
            };
            self.publish_operation(live, uid);
            self.running.spawn(executor::run(self.clone(), run));
        }
    }

    /// A step begins: noted, not awaited; its end is recorded after it.
    pub(in crate::backend) fn begin_step(&self, uid: Uid, step: &Step) {
        let change = StepChange { uid, step: step.clone(), result: None };
        let mut changes = Vec::with_capacity(2);
        changes.extend(self.live().runs(uid));
        changes.push(Change::Step(Arc::new(change)));
        self.store.writer().send_unanswered(changes);
        self.publish_step(uid, step.clone());
    }

    /// Records how a step stands, with what it changed. That the operation runs is written with it
    /// unless it is known to be on disk: what was noted at the step's beginning may be lost.
    pub(in crate::backend) async fn record_step(
        &self,
        change: Arc<StepChange>,
        changed: Vec<Changed>,
    ) -> Result<(), BackendError> {
        let uid = change.uid;
        let (runs, makes) = {
            let live = self.live();
            let makes = live.open.get(&uid).and_then(|open| self.makes(&open.operation));
            (live.runs(uid), makes)
        };
        let changes = runs.into_iter().chain([Change::Step(change)]).collect();
        self.commit(changes, changed, makes).await?;
        if let Some(open) = self.live().open.get_mut(&uid) {
            open.run_recorded = true;
        }
        Ok(())
    }

    /// Notes and tells how far an operation is.
    pub(in crate::backend) fn progress(&self, uid: Uid, progress: Progress) {
        if let Some(open) = self.live().open.get_mut(&uid) {
            open.operation_mut().progress = Some(progress.clone());
        }
        self.events.publish(Fact::Progress { uid, progress });
    }

    /// Notes and tells why a running operation waits.
    pub(in crate::backend) fn waits(&self, uid: Uid, wait: Option<Wait>) {
        let mut live = self.live();
        if let Some(open) = live.open.get_mut(&uid) {
            open.operation_mut().wait = wait;
            self.publish_operation(&live, uid);
        }
    }

    /// Returns when the observer holds nothing that an operation needs. It holds for a moment only.
    pub(in crate::backend) async fn while_observed(&self, uid: Uid) {
        loop {
            let mut freed = std::pin::pin!(self.unobserved.notified());
            freed.as_mut().enable();
            {
                let live = self.live();
                if !live.observed.is_some_and(|it| live.queue.concerns(uid, it)) {
                    return;
                }
            }
            freed.await;
        }
    }
}

impl Live {
    /// What tells the store that an operation runs, unless it knows.
    fn runs(&self, uid: Uid) -> Option<Change> {
        let open = self.open.get(&uid).filter(|open| !open.run_recorded)?;
        Some(Change::SetState {
            uid,
            state: State::Run,
            comment: None,
            started: open.operation.started,
            finished: None,
        })
    }
}

/// An operation as the log names it: `#12 disk_create disk/3 'data'`. Costs nothing where no log is.
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
