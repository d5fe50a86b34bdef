//! An operation's course through the core: started, on its way, ended.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::executor;
use crate::backend::journal::Changed;
use crate::backend::store::{Change, StepChange};
use crate::domain::{
    BackendError, Effect, Fact, Operation, Params, Progress, State, Step, Uid, Wait,
};

use super::{CancellationToken, Core, Flight};

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

/// How long to wait before an end that could not be written is written again.
const AGAIN: Duration = Duration::from_secs(5);

impl Core {
    /// Starts every operation whose turn it is.
    pub(in crate::backend) fn dispatch(self: &Arc<Self>) {
        self.start_due(&mut self.flight());
    }

    /// Starts every operation whose turn it is.
    pub(super) fn start_due(self: &Arc<Self>, flight: &mut Flight) {
        while !self.is_pausing()
            && let Some(uid) = flight.queue.start()
        {
            let Some(open) = flight.open.get_mut(&uid) else {
                flight.queue.finish(uid);
                continue;
            };
            let operation = open.operation_mut();
            operation.state = State::Run;
            operation.wait = None;
            operation.started.get_or_insert_with(|| self.ports.clock.now());
            tracing::info!("{} starts, asked for by {}", title(operation), operation.actor);
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
            self.tell_operation(flight, uid);
            self.running.spawn(executor::run(self.clone(), run));
        }
    }

    /// A step begins: noted, not awaited; its end is recorded after it.
    pub(in crate::backend) fn begin_step(&self, uid: Uid, step: &Step) {
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

    /// Notes and tells how far an operation is.
    pub(in crate::backend) fn progress(&self, uid: Uid, progress: Progress) {
        if let Some(open) = self.flight().open.get_mut(&uid) {
            open.operation_mut().progress = Some(progress.clone());
        }
        self.hub.tell(Fact::Progress { uid, progress });
    }

    /// Notes and tells why a running operation waits.
    pub(in crate::backend) fn waits(&self, uid: Uid, wait: Option<Wait>) {
        let mut flight = self.flight();
        if let Some(open) = flight.open.get_mut(&uid) {
            open.operation_mut().wait = wait;
            self.tell_operation(&flight, uid);
        }
    }

    /// Returns when the observer holds nothing that an operation needs. It holds for a moment only.
    pub(in crate::backend) async fn undisturbed(&self, uid: Uid) {
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

    /// An operation that ran has come to its end, and stays where it is until that is on disk: a
    /// full disk costs time, and says what it waits for. When the backend leaves before that, the
    /// next start takes the operation up again.
    pub(in crate::backend) async fn end_at_last(
        self: &Arc<Self>,
        uid: Uid,
        state: State,
        comment: Option<String>,
    ) {
        while let Err(error) = self.end(uid, state, comment.clone()).await {
            tracing::error!(%uid, %error, "the end of an operation could not be recorded");
            let at = self.ports.clock.now() + AGAIN;
            self.waits(uid, Some(Wait::Retry { at, why: error.to_string() }));
            tokio::select! {
                () = self.pausing.cancelled() => return,
                () = self.ports.clock.until(at) => {}
            }
        }
    }

    /// An operation has come to an end or an error: written, told, and what waited for it started.
    ///
    /// # Errors
    /// When it cannot be written: the operation stays as it was, but for what it held, which is free.
    pub(in crate::backend) async fn end(
        self: &Arc<Self>,
        uid: Uid,
        state: State,
        comment: Option<String>,
    ) -> Result<(), BackendError> {
        let (written, changed, now) = {
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
            changes.extend(changed.iter().map(Change::from));
            // What waits for this one may start now: whatever it writes is written after this.
            let written = self.store.writer().send(changes);
            if let Some(drained) = flight.queue.finish(uid) {
                self.hub.tell(Fact::Lane(drained));
            }
            flight.queue.withdraw(uid);
            self.start_due(&mut flight);
            (written, changed, now)
        };
        written.await?;
        self.take_in(changed);
        let mut flight = self.flight();
        let Some(open) = flight.open.get_mut(&uid) else { return Ok(()) };
        open.resume = false;
        open.run_recorded = false;
        open.cancel = None;
        let operation = open.operation_mut();
        operation.state = state;
        operation.comment = comment;
        operation.finished = Some(now);
        operation.progress = None;
        operation.wait = None;
        operation.cancelling = false;
        let (title, why) = (title(operation), operation.comment.as_deref().unwrap_or_default());
        match state {
            State::Error => tracing::warn!("{title} ends as ERROR: {why}"),
            _ if why.is_empty() => tracing::info!("{title} ends as {state}"),
            _ => tracing::info!("{title} ends as {state}: {why}"),
        }
        self.changed.notify_waiters();
        if let Some(id) = operation.resource {
            self.notice(id);
        }
        self.tell_operation(&flight, uid);
        if state.is_end() {
            flight.open.remove(&uid);
        }
        Ok(())
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
}

/// An operation as the log names it: `#12 disk_create disk/3 'data'`.
fn title(operation: &Operation) -> String {
    let mut title = format!("{} {}", operation.uid, operation.kind);
    if let Some(resource) = operation.resource {
        title.push_str(&format!(" {resource}"));
    }
    if let Some(name) = &operation.resource_name {
        title.push_str(&format!(" '{name}'"));
    }
    title
}
