//! What people do to operations and lanes: cancel, relaunch, prioritise, pause.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;

use super::admission;
use super::completion::run_to_completion;
use super::core::{Engine, Transaction};
use super::ending::{Ending, Kept, Last};
use super::kind::Kind;
use super::live::{End, Failed, Live, Open, half_way};
use super::queue;
use super::secrets::hidden;
use super::storage::Change;
use crate::domain::{
    BackendError, Control, Effect, Fact, LaneChange, LaneState, Operation, Params, Reason, Refusal,
    Resource, State, Uid,
};

impl Engine {
    /// Does what somebody asks for. Returns when that is on disk.
    ///
    /// # Errors
    /// When the state of things does not allow it, or it cannot be written: nothing has changed.
    pub(in crate::backend) async fn control(
        self: &Arc<Self>,
        control: Control,
    ) -> Result<(), BackendError> {
        match control {
            Control::Cancel { uid } => {
                let engine = self.clone();
                // What a cancelled operation kept is removed also when nobody waits for that.
                run_to_completion(async move { engine.cancel(uid, None).await }).await
            }
            Control::Relaunch { uid, params } => self.relaunch(uid, params).await,
            Control::Priority { uid, priority } => self.prioritise(uid, priority).await,
            Control::Lane { name, change } => self.change_lane(name, change).await,
        }
    }

    /// Calls an operation off, with the children that it does not call off itself: all of them or
    /// none. What has done nothing ends at once, the operation itself with a reason where there is
    /// one to give; the rest is undone. One that is ending is waited for, because only then it is
    /// known how; so is one that passes its pivot.
    pub(super) async fn cancel(
        self: &Arc<Self>,
        uid: Uid,
        why: Option<String>,
    ) -> Result<(), BackendError> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let cancelled =
                self.transact(|live| self.stage_cancel(live, uid, why.as_deref())).await?;
            match cancelled {
                Some(kept) => return self.remove_leftovers(kept).await,
                None if self.look(|live| live.open(uid).is_none()) => {
                    return self.not_open(uid).await;
                }
                None => freed.await,
            }
        }
    }

    /// Stages calling an operation off, children first. `None`: it is not in flight, or one of
    /// those is ending or passes its pivot. A child past that goes on to its end.
    fn stage_cancel(
        &self,
        live: &mut Live,
        uid: Uid,
        why: Option<&str>,
    ) -> Result<(Vec<Change>, Option<Cancelling>), BackendError> {
        let mut all = live.called_off_with(uid);
        let stays =
            |uid: &Uid| live.open(*uid).is_some_and(|it| !it.is_ending() && !it.is_passing());
        let is_passing = |uid: Uid| live.open(uid).is_some_and(Open::is_passing);
        let made = |uid: &Uid| live.operation(*uid).and_then(|it| self.kinds.makes(it));
        let is_waited_for = |id| live.queue().holders(id).any(is_passing);
        if !all.iter().all(stays) || all.iter().filter_map(made).any(is_waited_for) {
            return Ok((Vec::new(), None));
        }
        let past_pivot = all.iter().filter_map(|uid| live.operation(*uid));
        let stuck = |it: &&Arc<Operation>| it.uid == uid || it.state == State::Error;
        if let Some(why) = past_pivot.filter(stuck).find_map(|it| it.no_way_back()) {
            return Err(Refusal::new(Reason::State, why).into());
        }
        all.retain(|uid| live.operation(*uid).is_some_and(|it| !it.past_pivot));
        all.iter().try_for_each(|uid| self.may_call_off(live, *uid))?;
        let (to_undo, at_once): (Vec<Uid>, Vec<Uid>) =
            all.into_iter().partition(|uid| must_undo(live, *uid));
        at_once.iter().try_for_each(|uid| self.may_end_at_once(live, *uid))?;
        let since = self.clock.now();
        let mut changes: Vec<Change> =
            to_undo.iter().map(|uid| Change::Cancelling { uid: *uid, updated: since }).collect();
        let lasts = at_once.into_iter().map(|it| {
            let why = why.filter(|_| it == uid).map(ToOwned::to_owned);
            Last { uid: it, end: End::of(State::Cancel, why) }
        });
        let (ends, ending) = self.stage_end(live, lasts.collect());
        changes.extend(ends);
        for uid in &to_undo {
            live.begin_call_off(*uid);
        }
        Ok((changes, Some(Cancelling { to_undo, since, ending })))
    }

    /// Whether an operation may be called off: what it makes would be gone, also for one that has
    /// no way back from what it does with it.
    fn may_call_off(&self, live: &Live, uid: Uid) -> Result<(), BackendError> {
        let Some(operation) = live.operation(uid) else { return Ok(()) };
        let made = self.kinds.makes(operation);
        let Some(other) = made.and_then(|id| live.past_pivot_on(id)) else { return Ok(()) };
        let why = match other.state {
            State::Error => format!("{} first, then cancel this", half_way(other)),
            _ => format!("{} {} cannot be taken back any more; wait for it", other.kind, other.uid),
        };
        Err(state_refusal(uid, operation.state, &why))
    }

    /// Whether an operation may be called off without being undone: a creation that failed is not
    /// taken away under one that works with what there is of it.
    fn may_end_at_once(&self, live: &Live, uid: Uid) -> Result<(), BackendError> {
        let Some(operation) = live.operation(uid) else { return Ok(()) };
        let Some(id) = self.kinds.makes(operation) else { return Ok(()) };
        let resumes = |uid: &Uid| live.open(*uid).is_some_and(Open::resumes);
        let queue = live.queue();
        match queue.holders(id).chain(queue.awaiting(id).filter(resumes)).next() {
            Some(other) => {
                let why = format!("{other} works with {id}; wait for it or cancel it first");
                Err(state_refusal(uid, operation.state, &why))
            }
            None => Ok(()),
        }
    }

    /// Queues an operation in `ERROR` again, with some parameters changed.
    async fn relaunch(self: &Arc<Self>, uid: Uid, changed: Params) -> Result<(), BackendError> {
        let found = self.look(|live| {
            live.open(uid).map(|open| (open.operation().clone(), open.params().clone()))
        });
        let Some((operation, params)) = found else { return self.not_open(uid).await };
        may_relaunch(uid, operation.state)?;
        let kind = self.kinds.requested(&operation.kind)?;
        admission::from_outside(&changed)?;
        let is_same = changed.is_empty();
        let mut merged = (*params).clone();
        for (name, value) in changed {
            // A secret that was not typed again stays as it is.
            if value != Operation::HIDDEN {
                merged.insert(name, value);
            }
        }
        let params = match self.check(&kind, merged).await {
            // What its children have taken away already is gone: each of them is looked at again.
            Err(BackendError::Refused(refusal))
                if is_same
                    && refusal.reason == Reason::Existence
                    && !self.storage.children(uid).await?.is_empty() =>
            {
                (*params).clone()
            }
            checked => checked?,
        };
        let relaunched = self.transact(|live| self.requeue(live, &*kind, uid, params));
        match relaunched.await? {
            Some(()) => Ok(()),
            None => self.not_open(uid).await,
        }
    }

    /// Takes a relaunch in whose parameters are checked.
    pub(super) fn requeue(
        &self,
        live: &mut Live,
        kind: &dyn Kind,
        uid: Uid,
        params: Params,
    ) -> Result<(Vec<Change>, Option<Relaunching>), BackendError> {
        let Some(open) = live.open(uid) else { return Ok((Vec::new(), None)) };
        if open.is_ending() {
            return Err(state_refusal(uid, open.operation().state, "it is ending at this moment"));
        }
        let mut operation = open.operation().clone();
        may_relaunch(uid, operation.state)?;
        if let Some(parent) = operation.parent.filter(|parent| live.queue().is_closed(*parent)) {
            let why = format!("{parent}, which asked for it, is stopping; wait for that to end");
            return Err(state_refusal(uid, operation.state, &why));
        }
        if operation.past_pivot && params != **open.params() {
            let why = "what it has begun cannot be taken back; relaunch it with what was asked for";
            return Err(state_refusal(uid, operation.state, why));
        }
        let ancestors = live.ancestors(operation.parent);
        self.takes_more()?;
        let mut reserved = None;
        if let (Effect::Creates, Some(id)) = (kind.spec().effect, operation.resource) {
            // Its own reservation is no obstacle to itself.
            live.without(id, |live| self.admit(kind, &params, live, &ancestors, Some(uid)))?;
            reserved = kind.reserve(&params, id.id, &self.admission(live).context()).map(Arc::new);
        } else {
            self.admit(kind, &params, live, &ancestors, Some(uid))?;
        }
        let params = Arc::new(params);
        let again = Arc::make_mut(&mut operation);
        again.attempt += 1;
        again.state = State::Pending;
        again.comment = None;
        again.started = None;
        again.finished = None;
        again.updated = self.clock.now();
        again.params = hidden(&params);
        // What it acts on, or what that is called, may be another now.
        if reserved.is_none() {
            again.resource = kind.spec().done_to(&params).or(again.resource);
        }
        let living = again.resource.and_then(|id| live.inventory().resource(id));
        let its_name = reserved.as_deref().or(living).map(|it| it.name().to_owned());
        again.resource_name = match again.resource {
            Some(_) => its_name,
            None => kind.name(&params),
        };
        let rules = self.kinds.child_rules(&operation, &params);
        let entry = self.kinds.queue_entry(&operation, &params, rules, ancestors);
        let mut changes =
            vec![Change::Relaunch { operation: operation.clone(), params: params.clone() }];
        changes.extend(reserved.clone().map(Change::Put));
        let put: Vec<_> = reserved.into_iter().collect();
        let requeued = live.requeue(operation, params, rules, entry, &put);
        Ok((changes, requeued.map(|failed| Relaunching { uid, failed, put })))
    }

    /// Changes the priority of an operation that has not started.
    async fn prioritise(self: &Arc<Self>, uid: Uid, priority: i32) -> Result<(), BackendError> {
        let prioritised = self.transact(|live| {
            let Some(operation) = live.operation(uid) else { return Ok((Vec::new(), None)) };
            if !live.queue().awaits(uid) {
                return Err(state_refusal(uid, operation.state, "it does not wait any more"));
            }
            let updated = self.clock.now();
            let prioritising = Prioritising { uid, priority, updated };
            Ok((vec![Change::Priority { uid, priority, updated }], Some(prioritising)))
        });
        match prioritised.await? {
            Some(()) => Ok(()),
            None => self.not_open(uid).await,
        }
    }

    /// Changes a lane.
    async fn change_lane(
        self: &Arc<Self>,
        name: String,
        change: LaneChange,
    ) -> Result<(), BackendError> {
        if let LaneChange::Width(width) = change
            && !(1..=queue::WIDEST).contains(&width)
        {
            return Err(Refusal::field(
                Reason::Value,
                "width",
                width.to_string(),
                format!("a lane is 1 to {} wide, not {width}", queue::WIDEST),
            )
            .into());
        }
        let turn = self.turn.clone().lock_owned().await;
        self.transact(|live| {
            let Some(lane) = live.queue().changed(&name, change) else {
                return Err(BackendError::not_found(format_args!("lane '{name}'")));
            };
            // A lane that drained to its end is paused for whoever starts next.
            let state = match lane.state {
                LaneState::Draining => LaneState::Paused,
                state => state,
            };
            let written = Change::Lane { name: lane.name, width: lane.width, state };
            Ok((vec![written], ChangingLane { name, change, _turn: turn }))
        })
        .await
    }

    /// The answer about an operation that is not in flight: it has ended, or never was.
    async fn not_open<T>(&self, uid: Uid) -> Result<T, BackendError> {
        match self.stored_operation(uid).await? {
            Some(operation) => Err(state_refusal(uid, operation.state, "it has ended")),
            None => Err(BackendError::not_found(format_args!("operation {uid}"))),
        }
    }
}

/// Whether an operation has done something, or may have, that is to be undone when it is called
/// off.
fn must_undo(live: &Live, uid: Uid) -> bool {
    live.open(uid).is_some_and(|open| {
        let begun = open.may_have_begun() || !live.queue().awaits(uid);
        open.operation().state != State::Error && begun
    })
}

/// An operation that is being called off, with those that are with it.
struct Cancelling {
    /// Those that are to be undone.
    to_undo: Vec<Uid>,
    since: Timestamp,
    /// Those that have done nothing.
    ending: Ending,
}

impl Transaction for Cancelling {
    type Output = Vec<Kept>;

    fn commit(self, engine: &Engine, live: &mut Live) -> Vec<Kept> {
        for uid in self.to_undo {
            live.call_off(uid, self.since);
            engine.publish_open(live, uid);
        }
        self.ending.commit(engine, live)
    }

    fn roll_back(self, engine: &Engine, live: &mut Live) {
        for uid in self.to_undo {
            live.abandon_call_off(uid);
        }
        self.ending.roll_back(engine, live);
    }
}

/// A relaunch on its way to the disk.
pub(super) struct Relaunching {
    uid: Uid,
    failed: Failed,
    put: Vec<Arc<Resource>>,
}

impl Transaction for Relaunching {
    type Output = ();

    fn commit(self, engine: &Engine, live: &mut Live) {
        live.written(self.uid, &self.put);
        engine.publish_open(live, self.uid);
        engine.publish_put(&self.put);
    }

    fn roll_back(self, engine: &Engine, live: &mut Live) {
        live.fail_again(self.failed, &self.put);
        engine.retract_put(&self.put);
    }
}

/// A priority on its way to the disk.
struct Prioritising {
    uid: Uid,
    priority: i32,
    updated: Timestamp,
}

impl Transaction for Prioritising {
    type Output = ();

    fn commit(self, engine: &Engine, live: &mut Live) {
        live.prioritise(self.uid, self.priority, self.updated);
        engine.publish_open(live, self.uid);
    }

    fn roll_back(self, _: &Engine, _: &mut Live) {}
}

/// A lane's change on its way to the disk. One at a time: what is written follows from what the one
/// before has made of the lane.
struct ChangingLane {
    name: String,
    change: LaneChange,
    _turn: OwnedMutexGuard<()>,
}

impl Transaction for ChangingLane {
    type Output = ();

    fn commit(self, engine: &Engine, live: &mut Live) {
        if let Some(lane) = live.change_lane(&self.name, self.change) {
            engine.events.publish(Fact::Lane(lane));
        }
    }

    fn roll_back(self, _: &Engine, _: &mut Live) {}
}

/// Whether an operation may be queued again.
fn may_relaunch(uid: Uid, state: State) -> Result<(), BackendError> {
    if state == State::Error {
        return Ok(());
    }
    Err(state_refusal(uid, state, "only one in ERROR can be relaunched"))
}

fn state_refusal(uid: Uid, state: State, why: &str) -> BackendError {
    Refusal::new(Reason::State, format!("operation {uid} is {state}: {why}")).into()
}
