//! An operation's end: written, taken in and told in one order.
//!
//! ```text
//!  end ──▶ what ends with it ──▶ one transaction ──▶ on disk ─┬▶ inventory ▶ events ▶ who waited
//!             ▲          │                                    │   (one hold of the lock)
//!             └── chain ─┘                                    └▶ not written: all stays as it was
//! ```
//!
//! A creation that is cancelled takes its resource with it, and with that everything that was
//! queued behind it: none of that can ever work. It ends in the same transaction, so that no crash
//! comes between, and nothing of it starts meanwhile.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::journal::Changed;
use super::kind::Entry;
use super::store::Change;
use crate::domain::{
    BackendError, Effect, Fact, Operation, Resource, ResourceId, State, Uid, Wait,
};

use super::lifecycle::Title;
use super::{Engine, Live};

/// How long to wait before an end that could not be written is written again.
const AGAIN: Duration = Duration::from_secs(5);

/// An operation that ends, and how.
pub(super) struct Last {
    uid: Uid,
    state: State,
    comment: Option<String>,
}

/// Operations that end together, and what that changes.
struct Ending {
    lasts: Vec<Last>,
    changed: Vec<Changed>,
    now: Timestamp,
}

/// What failed attempts of a creation kept for a relaunch that will not come.
pub(super) type Kept = (Uid, Arc<Entry>, ResourceId);

impl Engine {
    /// An operation that ran has come to its end, and stays where it is until that is on disk: a
    /// full disk costs time, and says what it waits for. When the backend leaves or the store breaks
    /// before that, the next start takes the operation up again.
    pub(in crate::backend) async fn finish_with_retry(
        self: &Arc<Self>,
        uid: Uid,
        state: State,
        comment: Option<String>,
    ) {
        loop {
            match self.end(uid, state, comment.clone()).await {
                Ok(kept) => {
                    if let Err(error) = self.remove_leftovers(kept).await {
                        tracing::error!(%error, "something is left of a cancelled operation");
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(%uid, %error, "the end of an operation could not be recorded");
                    if self.store.is_dead() {
                        return;
                    }
                    let at = self.ports.clock.now() + AGAIN;
                    self.waits(uid, Some(Wait::Retry { at, why: error.to_string() }));
                    tokio::select! {
                        () = self.pausing.cancelled() => return,
                        () = self.ports.clock.until(at) => {}
                    }
                }
            }
        }
    }

    /// An operation has come to an end or an error, and others with it: written, told, and what
    /// waited for it started. Gives what is to be discarded now.
    ///
    /// # Errors
    /// When it cannot be written: everything stays as it was, but that what a DONE operation held
    /// is free: all it did is on disk already.
    pub(super) async fn end(
        self: &Arc<Self>,
        uid: Uid,
        state: State,
        comment: Option<String>,
    ) -> Result<Vec<Kept>, BackendError> {
        let (ending, written) = {
            let mut live = self.live();
            if !live.open.contains_key(&uid) {
                return Ok(Vec::new());
            }
            let ending = self.ending(&live, Last { uid, state, comment });
            // What is sent later is written after this.
            let written = self.store.writer().send(ending.changes(&live));
            for last in &ending.lasts {
                live.queue.hold(last.uid);
                if let Some(open) = live.open.get_mut(&last.uid) {
                    open.ending = true;
                }
            }
            live.mark_removing(&ending.changed);
            if state == State::Done {
                self.release_locks(&mut live, uid);
                self.start_due(&mut live);
            }
            (ending, written)
        };
        let written = written.await;
        let mut live = self.live();
        live.unmark_removing(&ending.changed);
        let kept = match written {
            Ok(()) => Ok(self.conclude(&mut live, ending)),
            Err(error) => {
                for last in &ending.lasts {
                    if let Some(open) = live.open.get_mut(&last.uid) {
                        open.ending = false;
                    }
                    live.release(last.uid);
                }
                Err(error)
            }
        };
        self.start_due(&mut live);
        kept
    }

    /// An operation that ends, and those that can never work once it has.
    fn ending(&self, live: &Live, last: Last) -> Ending {
        let now = self.ports.clock.now();
        let mut ending = Ending { lasts: vec![last], changed: Vec::new(), now };
        let mut at = 0;
        while let Some(Last { uid, state, .. }) = ending.lasts.get(at) {
            let (uid, settled) = (*uid, self.settled(live, *uid, *state));
            at += 1;
            if let Some(Changed::Remove(id)) = settled {
                let name = live.inventory.resource(id).map(Resource::name).unwrap_or_default();
                let why = format!("{id} '{name}' was never made: its creation {uid} was cancelled");
                for uid in live.stranded(id) {
                    if ending.lasts.iter().all(|last| last.uid != uid) {
                        let comment = Some(why.clone());
                        ending.lasts.push(Last { uid, state: State::Cancel, comment });
                    }
                }
            }
            ending.changed.extend(settled);
        }
        ending
    }

    /// What becomes of the resource an operation was making when it ends without having made it.
    fn settled(&self, live: &Live, uid: Uid, end: State) -> Option<Changed> {
        let operation = &live.open.get(&uid)?.operation;
        if end == State::Done || self.kinds.get(&operation.kind)?.spec.effect != Effect::Creates {
            return None;
        }
        let resource = live.inventory.resource(operation.resource?)?;
        match (self.kinds.get(&operation.kind)?.resource_after)(resource.clone(), end) {
            None => Some(Changed::Remove(resource.id())),
            Some(settled) if settled == *resource => None,
            Some(settled) => Some(Changed::Put(Arc::new(settled))),
        }
    }

    /// Takes ends that are on disk into memory, and tells them.
    fn conclude(&self, live: &mut Live, ending: Ending) -> Vec<Kept> {
        self.apply(live, ending.changed);
        let mut kept = Vec::new();
        for Last { uid, state, comment } in ending.lasts {
            self.release_locks(live, uid);
            let Some(open) = live.open.get_mut(&uid) else { continue };
            if state == State::Cancel {
                kept.extend(self.kept(&open.operation));
            }
            open.resume = false;
            open.ran = false;
            open.ending = false;
            open.run_recorded = false;
            open.cancel = None;
            let operation = open.operation_mut();
            operation.state = state;
            operation.comment = comment;
            operation.finished = Some(ending.now);
            operation.progress = None;
            operation.wait = None;
            operation.cancelling = false;
            log_end(operation);
            self.changed.notify_waiters();
            if let Some(id) = operation.resource {
                self.notice(id);
            }
            self.publish_operation(live, uid);
            if state.is_end() {
                live.open.remove(&uid);
            }
        }
        kept
    }

    /// Frees what an operation held or waited for.
    fn release_locks(&self, live: &mut Live, uid: Uid) {
        if let Some(drained) = live.queue.finish(uid) {
            self.events.publish(Fact::Lane(drained));
        }
        live.queue.withdraw(uid);
    }

    /// What a creation that is called off before it runs has kept from attempts that failed. One
    /// that runs undoes it itself.
    fn kept(&self, operation: &Operation) -> Option<Kept> {
        let failed = operation.state == State::Error
            || (operation.state == State::Pending && operation.attempt > 0);
        let kind = self.kinds.get(&operation.kind)?;
        (failed && kind.spec.effect == Effect::Creates)
            .then(|| Some((operation.uid, kind.clone(), operation.resource?)))?
    }

    /// Discards what was kept in vain.
    pub(super) async fn remove_leftovers(&self, kept: Vec<Kept>) -> Result<(), BackendError> {
        let mut first = Ok(());
        for (uid, kind, id) in kept {
            let discarded = (kind.remove_leftovers)(&self.ports, &self.settings, id.id).await;
            first = first.and(discarded.map_err(|failure| {
                BackendError::failed(format!("{uid} is cancelled, but {}", failure.message))
            }));
        }
        first
    }

    /// Why an operation whose turn has come can never work, or not now: what it needs is not there.
    /// One that an earlier life began looks for itself: it may have taken away what is gone.
    pub(super) fn obstacle(&self, live: &Live, uid: Uid) -> Option<(State, String)> {
        let open = live.open.get(&uid).filter(|open| !open.resume)?;
        let operation = &open.operation;
        let own = |id| self.makes(operation) == Some(id);
        if let Some(id) =
            live.queue.locks(uid).find(|id| !own(*id) && live.inventory.resource(*id).is_none())
        {
            return Some(if live.unreadable.contains(&id) {
                let why =
                    format!("{id} cannot be read from the store; `hostler doctor` tells more");
                (State::Error, why)
            } else {
                (State::Cancel, format!("{id} is gone, so this can never work"))
            });
        }
        let spec = &self.kinds.get(&operation.kind)?.spec;
        let subject = operation.resource.filter(|id| !own(*id))?;
        let resource = live.inventory.resource(subject)?;
        if spec.requires.is_empty() || spec.requires.iter().any(|it| *it == resource.state()) {
            return None;
        }
        let maker = live
            .open
            .values()
            .map(|open| &open.operation)
            .find(|it| it.state == State::Error && self.makes(it) == Some(subject))?;
        let why = format!(
            "{subject} '{}' is not made yet: its creation {} failed; relaunch that first, then this",
            resource.name(),
            maker.uid
        );
        Some((State::Error, why))
    }

    /// The resource an operation makes.
    pub(super) fn makes(&self, operation: &Operation) -> Option<ResourceId> {
        let kind = self.kinds.get(&operation.kind)?;
        operation.resource.filter(|_| kind.spec.effect == Effect::Creates)
    }
}

/// Puts an end into the log: one line, with the reason where there is one.
fn log_end(operation: &Operation) {
    let (title, state) = (Title(operation), operation.state);
    match (state, operation.comment.as_deref().unwrap_or_default()) {
        (State::Error, why) => tracing::warn!("{title} ends as ERROR: {why}"),
        (_, "") => tracing::info!("{title} ends as {state}"),
        (_, why) => tracing::info!("{title} ends as {state}: {why}"),
    }
}

impl Ending {
    /// What is written.
    fn changes(&self, live: &Live) -> Vec<Change> {
        let stands = self.lasts.iter().map(|last| Change::SetState {
            uid: last.uid,
            state: last.state,
            comment: last.comment.clone(),
            started: live.open.get(&last.uid).and_then(|open| open.operation.started),
            finished: Some(self.now),
        });
        stands.chain(self.changed.iter().map(Change::from)).collect()
    }
}

impl Live {
    /// The operations that can never work once a resource is gone that was never made: those that
    /// wait for it, and those that failed on it.
    fn stranded(&self, id: ResourceId) -> Vec<Uid> {
        let failed = self.open.values().filter(|open| {
            open.operation.state == State::Error && open.operation.resource == Some(id)
        });
        let failed = failed.map(|open| open.operation.uid);
        let uids = self.queue.awaiting(id).chain(failed);
        uids.filter(|uid| self.open.get(uid).is_some_and(|open| !open.ending)).collect()
    }
}
