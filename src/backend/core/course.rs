//! An operation's course through the core: started, on its way, ended.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::executor;
use crate::backend::journal::Changed;
use crate::backend::store::{Change, StepChange};
use crate::domain::{BackendError, Effect, Fact, Progress, State, Step, Uid, Wait};

use super::{Core, Flight};

/// How long to wait before an end that could not be written is written again.
const AGAIN: Duration = Duration::from_secs(5);

impl Core {
    /// Starts every operation whose turn it is.
    pub(in crate::backend) fn dispatch(self: &Arc<Self>) {
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
            self.running.spawn(executor::run(self.clone(), uid));
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
            open.operation.progress = Some(progress.clone());
        }
        self.hub.tell(Fact::Progress { uid, progress });
    }

    /// Notes and tells why a running operation waits.
    pub(in crate::backend) fn waits(&self, uid: Uid, wait: Option<Wait>) {
        let shown = self.flight().open.get_mut(&uid).map(|open| {
            open.operation.wait = wait;
            Arc::new(open.operation.clone())
        });
        if let Some(operation) = shown {
            self.hub.tell(Fact::Operation(operation));
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
        let (written, changed, drained) = {
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
            let drained = flight.queue.finish(uid);
            flight.queue.withdraw(uid);
            (written, changed, drained)
        };
        if let Some(lane) = drained {
            self.hub.tell(Fact::Lane(lane));
        }
        self.dispatch();
        written.await?;
        self.take_in(changed);
        let shown = {
            let mut flight = self.flight();
            let now = self.ports.clock.now();
            let Some(open) = flight.open.get_mut(&uid) else { return Ok(()) };
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
            if state.is_end() {
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
