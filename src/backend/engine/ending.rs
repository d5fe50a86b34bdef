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

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{
    BackendError, Effect, Fact, Operation, Resource, ResourceId, State, Uid, Wait,
};

use super::completion::RunToCompletion;
use super::core::{Engine, Title, Transaction};
use super::journal::Recorder as _;
use super::kind::Kind;
use super::live::{End, Live};
use super::storage::{Change, Changed};

/// How long to wait before an end that could not be written is written again.
const AGAIN: Duration = Duration::from_secs(5);

/// An operation that ends, and how.
pub(super) struct Last {
    pub(super) uid: Uid,
    pub(super) end: End,
}

/// Operations that end together, and what that changes.
pub(super) struct Ending {
    lasts: Vec<Last>,
    changed: Vec<Changed>,
    now: Timestamp,
}

/// What failed attempts of a creation kept for a relaunch that will not come.
pub(super) type Kept = (Uid, Arc<dyn Kind>, ResourceId);

impl Engine {
    /// An operation that ran has come to its end, and stays where it is until that is on disk: a
    /// full disk costs time, and says what it waits for. When the backend leaves or the store
    /// breaks before that, the next start takes the operation up again.
    #[expect(
        clippy::manual_async_fn,
        reason = "the future of an `async fn` has room for its arguments twice"
    )]
    pub(super) fn finish_with_retry(
        self: &Arc<Self>,
        uid: Uid,
        end: End,
    ) -> impl Future<Output = ()> + Send {
        async move {
            loop {
                let ended = self.end(uid, end.clone());
                match ended.await {
                    Ok(kept) => return self.discard(kept.unwrap_or_default()).await,
                    Err(error) => {
                        tracing::error!(
                            %uid,
                            %error,
                            "the end of an operation could not be recorded"
                        );
                        // Boxed, like all that hardly any operation comes to: each would hold the
                        // room for it.
                        if !Box::pin(self.may_write_again(uid, &error)).await {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Discards what was kept in vain; that something is left of it is told in the log.
    async fn discard(&self, kept: Vec<Kept>) {
        if !kept.is_empty()
            && let Err(error) = Box::pin(self.remove_leftovers(kept)).await
        {
            tracing::error!(%error, "something is left of a cancelled operation");
        }
    }

    /// An operation runs, or is to be undone and `why`. Returns whether that is on disk; if not,
    /// the next life goes on with it.
    pub(super) async fn record_run_with_retry(
        self: &Arc<Self>,
        uid: Uid,
        why: Option<String>,
    ) -> bool {
        loop {
            let recorded = self.transact(|live| {
                let started = live.operation(uid).and_then(|operation| operation.started);
                let (state, comment) = (State::Run, why.clone());
                let updated = self.clock.now();
                let change = Change::SetState {
                    uid,
                    state,
                    comment,
                    started,
                    finished: None,
                    outcome: None,
                    updated,
                };
                Ok((vec![change], Running { uid, undone: why.clone(), updated }))
            });
            let Err(error) = recorded.await else { return true };
            tracing::error!(%uid, %error, "that an operation runs could not be recorded");
            if !self.may_write_again(uid, &error).await {
                return false;
            }
        }
    }

    /// Waits before something is written again that could not be. Returns whether it may be.
    pub(super) async fn may_write_again(&self, uid: Uid, error: &BackendError) -> bool {
        if self.is_dead() {
            return false;
        }
        let at = self.clock.now() + AGAIN;
        self.waits(uid, Some(Wait::Retry { at, why: error.to_string() }));
        tokio::select! {
            biased;
            () = self.pausing.cancelled() => false,
            () = self.clock.until(at) => true,
        }
    }

    /// An operation has come to an end or an error, and others with it: written, told, and what
    /// waited for it started. Gives what is to be discarded now; `None`: it is not in flight.
    ///
    /// # Errors
    /// When it cannot be written: everything stays as it was, but that what a DONE operation held
    /// is free: all it did is on disk already.
    fn end(
        self: &Arc<Self>,
        uid: Uid,
        end: End,
    ) -> RunToCompletion<Result<Option<Vec<Kept>>, BackendError>> {
        self.transact(|live| {
            if live.open(uid).is_none() {
                return Ok((Vec::new(), None));
            }
            let (changes, ending) = self.stage_end(live, vec![Last { uid, end }]);
            Ok((changes, Some(ending)))
        })
    }

    /// Stages the ends of operations, in this order, with those that end with them.
    pub(super) fn stage_end(&self, live: &mut Live, lasts: Vec<Last>) -> (Vec<Change>, Ending) {
        let done: Vec<Uid> =
            lasts.iter().filter(|it| it.end.state == State::Done).map(|it| it.uid).collect();
        let ending = self.ending(live, lasts);
        let changes = ending.changes(live);
        for last in &ending.lasts {
            live.begin_end(last.uid);
        }
        live.mark_sent(&ending.changed);
        for uid in done {
            // Who waited for it gets its place again before those accepted later.
            let is_last = live.operation(uid).is_some_and(|operation| live.is_last(operation));
            if !is_last {
                self.free(live, uid);
            }
        }
        (changes, ending)
    }

    /// Operations that end, and those that can never work once they have.
    fn ending(&self, live: &Live, mut lasts: Vec<Last>) -> Ending {
        let now = self.clock.now();
        for Last { uid, end } in &mut lasts {
            with_cause(live, *uid, end);
        }
        let mut ends: HashSet<Uid> = lasts.iter().map(|last| last.uid).collect();
        let mut ending = Ending { lasts, changed: Vec::new(), now };
        let mut at = 0;
        while let Some(Last { uid, end }) = ending.lasts.get(at) {
            let (uid, settled) = (*uid, self.settled(live, *uid, end.state));
            at += 1;
            if let Some(Changed::Remove(id)) = settled {
                let name = live.inventory().resource(id).map(Resource::name).unwrap_or_default();
                let why = format!("{id} '{name}' was never made: its creation {uid} was cancelled");
                for uid in live.stranded(id) {
                    if ends.insert(uid) {
                        let end = End::of(State::Cancel, Some(why.clone()));
                        ending.lasts.push(Last { uid, end });
                    }
                }
            }
            ending.changed.extend(settled);
        }
        ending
    }

    /// What becomes of the resource an operation was making when it ends without having made it.
    fn settled(&self, live: &Live, uid: Uid, end: State) -> Option<Changed> {
        let operation = live.operation(uid)?;
        let makes = self.kinds.makes(operation).filter(|_| end != State::Done)?;
        let resource = live.inventory().resource(makes)?;
        let kind = self.kinds.get(&operation.kind)?;
        match kind.resource_after(resource.clone(), end) {
            None => Some(Changed::Remove(resource.id())),
            Some(settled) if settled == *resource => None,
            Some(settled) => Some(Changed::Put(Arc::new(settled))),
        }
    }

    /// Frees what an operation held or waited for.
    fn free(&self, live: &mut Live, uid: Uid) {
        if let Some(drained) = live.free(uid) {
            self.events.publish(Fact::Lane(drained));
        }
    }

    /// What a creation that is called off has kept from attempts that failed. The last of them may
    /// have been called off before it did anything, so that it had nothing to undo.
    fn kept(&self, operation: &Operation) -> Option<Kept> {
        let failed = operation.state == State::Error || operation.attempt > 0;
        let kind = self.kinds.get(&operation.kind)?;
        (failed && kind.spec().effect == Effect::Creates)
            .then(|| Some((operation.uid, kind.clone(), operation.resource?)))?
    }

    /// Discards what was kept in vain.
    pub(super) async fn remove_leftovers(&self, kept: Vec<Kept>) -> Result<(), BackendError> {
        let mut first = Ok(());
        for (uid, kind, id) in kept {
            let discarded = kind.remove_leftovers(id.id).await;
            first = first.and(discarded.map_err(|failure| {
                BackendError::failed(format!("{uid} is cancelled, but {}", failure.message))
            }));
        }
        first
    }
}

/// Lets the end of an operation that is cancelled still say why it had failed, and that of one that
/// was done when it was called off that this came too late.
fn with_cause(live: &Live, uid: Uid, end: &mut End) {
    let called_off =
        live.open(uid).is_some_and(|it| it.operation().cancelling || it.is_being_called_off());
    if called_off && end.state == State::Done {
        let why = end.comment.take();
        end.comment = Some(why.unwrap_or_else(|| "cancelled too late: all of it was done".into()));
    }
    let failed =
        live.operation(uid).filter(|it| it.state == State::Error && end.state == State::Cancel);
    if let Some(cause) = failed.and_then(|it| it.comment.as_deref()) {
        let why = end.comment.as_deref().unwrap_or("cancelled");
        end.comment = Some(format!("{why}; it had failed: {cause}"));
    }
}

/// Puts an end into the log: one line, with the reason where there is one.
fn log_end(operation: &Operation) {
    let (title, state) = (Title(operation), operation.state);
    match (state, operation.message()) {
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
            state: last.end.state,
            comment: last.end.comment.clone(),
            started: live.operation(last.uid).and_then(|operation| operation.started),
            finished: Some(self.now),
            outcome: last.end.outcome.clone(),
            updated: self.now,
        });
        stands.chain(self.changed.iter().map(Change::from)).collect()
    }
}

impl Transaction for Ending {
    type Output = Vec<Kept>;

    fn commit(self, engine: &Engine, live: &mut Live) -> Vec<Kept> {
        engine.unmark_sent(live, &self.changed);
        engine.apply(live, &self.changed);
        let mut kept = Vec::new();
        for Last { uid, end } in self.lasts {
            engine.free(live, uid);
            if end.state == State::Cancel {
                kept.extend(live.operation(uid).and_then(|operation| engine.kept(operation)));
            }
            if let Some(operation) = live.end(uid, end, self.now) {
                log_end(&operation);
                engine.publish_end(&operation);
                engine.child_ended(live, &operation);
            }
        }
        engine.freed.notify_waiters();
        kept
    }

    fn roll_back(self, engine: &Engine, live: &mut Live) {
        engine.give_back(live, &self.changed);
        for last in &self.lasts {
            live.abandon_end(last.uid);
        }
        engine.freed.notify_waiters();
    }
}

/// An operation that runs, and why it is to be undone if it is.
struct Running {
    uid: Uid,
    undone: Option<String>,
    updated: Timestamp,
}

impl Transaction for Running {
    type Output = ();

    fn commit(self, engine: &Engine, live: &mut Live) {
        if live.runs(self.uid, self.undone, self.updated) {
            engine.publish_open(live, self.uid);
        }
    }

    fn roll_back(self, _: &Engine, _: &mut Live) {}
}
