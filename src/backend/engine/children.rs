//! Children: how operations that others ask for are taken in, waited for and called off.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use futures_util::future::join_all;

use super::admission::with_defaults;
use super::control::Relaunching;
use super::core::{Engine, Transaction};
use super::journal::{Recorder as _, Spawned, Stop};
use super::kind::Kind;
use super::live::{Joining, Live, Open};
use super::notices::Notice;
use super::storage::{Change, StepChange};
use super::submit::Accepting;
use crate::domain::{
    BackendError, Fact, Failure, Operation, Params, Reason, Refusal, State, Step, Submit, Uid,
};

/// A request for a child, checked as far as that needs no lock; or as it came, and why it is
/// refused.
type CheckedChild = Result<(Arc<dyn Kind>, Submit, Params), (Submit, Refusal)>;

impl Engine {
    /// Takes in the children that an operation asks for, in one transaction with its `step`: none
    /// of them where one is refused, if they are to stop at the first error. `taken` are those that
    /// this attempt of it has asked for before.
    ///
    /// # Errors
    /// When they cannot be written: there are none then.
    pub(super) async fn spawn_children(
        self: &Arc<Self>,
        uid: Uid,
        step: &Step,
        requests: &[Submit],
        taken: &[Uid],
    ) -> Result<Vec<Spawned>, BackendError> {
        let parent = self.look(|live| live.operation(uid).cloned());
        let parent =
            parent.ok_or_else(|| BackendError::not_found(format_args!("operation {uid}")))?;
        let rules = self.look(|live| live.open(uid).map(Open::child_rules));
        let stops = rules.is_some_and(|rules| rules.stop_on_error);
        let mut checked = Vec::with_capacity(requests.len());
        for request in requests {
            checked.push(self.check_child(&parent, request.clone()).await?);
        }
        let mut earlier = Earlier::default();
        if step.attempt > 0 {
            let taken: HashSet<Uid> = taken.iter().copied().collect();
            let mut children = self.storage.children(uid).await?;
            children.retain(|it| it.state != State::Cancel && !taken.contains(&it.uid));
            earlier = Earlier::of(children);
        }
        self.transact(|live| {
            if self.is_pausing() {
                return Err(BackendError::failed("hostler is stopping"));
            }
            let mut spawning = Spawning { uid, ..Spawning::default() };
            let mut changes: Vec<Change> = live.unrecorded_run(uid).into_iter().collect();
            for checked in checked {
                let spawned = match checked {
                    Ok(child) => spawning.child(self, live, child, &mut earlier, &mut changes),
                    // What an earlier attempt has removed cannot be asked for, and need not be.
                    Err((submit, refusal)) => Some(&refusal)
                        .filter(|refusal| refusal.reason == Reason::Existence)
                        .and_then(|_| earlier.take(&submit.kind, &submit.params))
                        .filter(|done| live.operation(*done).is_none())
                        .ok_or(refusal),
                };
                spawning.spawned.push(spawned.map_or_else(Spawned::Refused, Spawned::Child));
            }
            if stops && spawning.spawned.iter().any(|it| it.refusal().is_some()) {
                changes.retain(|change| matches!(change, Change::SetState { .. }));
                spawning.withdraw(self, live);
            }
            let result = match serde_json::to_string(&spawning.spawned) {
                Ok(result) => result.into(),
                Err(error) => {
                    spawning.withdraw(self, live);
                    return Err(BackendError::failed(format!("cannot be recorded: {error}")));
                }
            };
            let change = StepChange { uid, step: step.clone(), result: Some(result) };
            changes.push(Change::Step(Arc::new(change)));
            Ok((changes, spawning))
        })
        .await
    }

    /// The checks of a request for a child that need no lock. It has the priority of its parent,
    /// and the actor where none is given.
    async fn check_child(
        &self,
        parent: &Operation,
        request: Submit,
    ) -> Result<CheckedChild, BackendError> {
        let Operation { actor, priority, .. } = parent.clone();
        let actor = if request.actor.is_empty() { actor } else { request.actor };
        let submit = Submit { actor, priority, ..request };
        let checked = match self.kinds.requested(&submit.kind) {
            Ok(kind) => self.check(&kind, submit.params.clone()).await.map(|params| (kind, params)),
            Err(error) => Err(error),
        };
        match checked {
            Ok((kind, params)) => Ok(Ok((kind, submit, params))),
            Err(BackendError::Refused(refusal)) => {
                // As it would be stored, so that it is known again.
                let params = match self.kinds.get(&submit.kind) {
                    Some(kind) => with_defaults(kind.spec(), submit.params, self.catalogue()),
                    None => submit.params,
                };
                Ok(Err((Submit { params, ..submit }, refusal)))
            }
            Err(error) => Err(error),
        }
    }

    /// Waits until these children of an operation have come to an end or an error. It has no place
    /// in its lane meanwhile.
    ///
    /// # Errors
    /// When the backend leaves, or how they ended cannot be read.
    pub(super) async fn join_children(
        self: &Arc<Self>,
        uid: Uid,
        children: Vec<Uid>,
    ) -> Result<Vec<Arc<Operation>>, Stop> {
        let (changed, ended) = self.note(|live| live.begin_join(uid, &children));
        if !ended.is_empty() {
            let ended: HashSet<Uid> = ended.into_iter().collect();
            let mut stored = self.storage.children(uid).await.map_err(|error| failed(&error))?;
            stored.retain(|child| ended.contains(&child.uid));
            self.note(|live| live.add_ended(uid, stored));
        }
        self.note(|live| self.publish_joint_progress(live, uid));
        loop {
            let (joined, waiting) = self.note(|live| self.look_after_join(live, uid));
            if let Some(joined) = joined {
                return Ok(joined);
            }
            self.dispatch();
            let why = format!("never started: another one of {uid} failed before");
            let cancelled = waiting
                .into_iter()
                .map(|child| self.cancel_with_retry(child, Some(why.clone()), uid));
            for cancelled in join_all(cancelled).await {
                cancelled.map_err(|error| failed(&error))?;
            }
            tokio::select! {
                biased;
                () = self.paused() => return Err(Stop::Leaving),
                () = changed.notified() => {}
            }
        }
    }

    /// Lets an operation that waits for its children give up its place in its lane, or ask for one
    /// again once they have ended. Returns them when it has it, and until then those that are to be
    /// cancelled, because they are not started any more.
    fn look_after_join(
        &self,
        live: &mut Live,
        uid: Uid,
    ) -> (Option<Vec<Arc<Operation>>>, Vec<Uid>) {
        let joining = live.joining(uid);
        if matches!(joining, Joining::Settled) {
            if live.queue().has_place(uid) {
                return (Some(live.end_join(uid)), Vec::new());
            }
            live.ask_for_place(uid);
        } else if let Some(drained) = live.give_up_place(uid) {
            self.events.publish(Fact::Lane(drained));
        }
        match joining {
            Joining::Stops(waiting) => (None, waiting),
            Joining::Settled | Joining::Waits => (None, Vec::new()),
        }
    }

    /// Cancels the children of an operation that have not ended, each undone as itself, and waits
    /// until they are. Those in `ERROR` only if `failed_too`. A cancel that cannot be written is
    /// tried again: nobody else would do it.
    ///
    /// # Errors
    /// Says which could not be undone, or not be cancelled.
    pub(super) async fn cancel_children(
        self: &Arc<Self>,
        uid: Uid,
        failed_too: bool,
    ) -> Result<(), Failure> {
        let watch = self.watch(|notice| matches!(notice, Notice::Ended(_)));
        let meant = |child: &&Arc<Operation>| failed_too || child.state != State::Error;
        let children: Vec<Uid> =
            self.look(|live| live.children(uid).filter(meant).map(|child| child.uid).collect());
        let cancelled = children.iter().map(|child| self.cancel_with_retry(*child, None, uid));
        let cancelled = join_all(cancelled).await;
        while self.look(|live| live.has_children_under_way(uid)) {
            watch.next().await;
        }
        let left = self.look(|live| {
            children.iter().zip(&cancelled).find_map(|(child, cancelled)| {
                let why = live.operation(*child)?.comment.as_deref();
                Some(match cancelled {
                    Ok(()) => {
                        format!("{child} was not undone: {}", why.unwrap_or("no reason was given"))
                    }
                    Err(error) => error.to_string(),
                })
            })
        });
        left.map_or(Ok(()), |left| Err(Failure::new(left)))
    }

    /// Calls a child off when that can be written; its parent says what it waits for. That it has
    /// ended meanwhile is no error.
    async fn cancel_with_retry(
        self: &Arc<Self>,
        child: Uid,
        why: Option<String>,
        parent: Uid,
    ) -> Result<(), BackendError> {
        let mut ended = None;
        loop {
            let Err(error) = self.cancel(child, why.clone()).await else { return Ok(()) };
            let refused = matches!(error, BackendError::Refused(_));
            match self.look(|live| live.operation(child).map(|child| child.state)) {
                None if refused => return Ok(()),
                None => {
                    tracing::error!(%child, %error, "a child that was called off left something");
                    return Ok(());
                }
                Some(State::Error) if refused => return Err(error),
                // For one that it has asked for itself: that may change when another one ends.
                Some(_) if refused => match &ended {
                    None => ended = Some(self.watch(|it| matches!(it, Notice::Ended(_)))),
                    Some(ended) => tokio::select! {
                        biased;
                        () = self.paused() => return Err(error),
                        _ = ended.next() => {}
                    },
                },
                Some(_) if self.may_write_again(parent, &error).await => self.waits(parent, None),
                Some(_) => return Err(error),
            }
        }
    }

    /// Returns when no step may begin any more and an operation has children under way: they will
    /// not end in this life.
    pub(super) async fn outlived(&self, uid: Uid) {
        self.paused().await;
        if !self.look(|live| live.has_children_under_way(uid)) {
            std::future::pending::<()>().await;
        }
    }

    /// Tells how far an operation is that waits for its children, and so those that wait for it.
    pub(super) fn publish_joint_progress(&self, live: &mut Live, uid: Uid) {
        let mut next = Some(uid);
        while let Some(uid) = next {
            let Some(progress) = live.joint_progress(uid) else { return };
            self.events.publish(Fact::Progress { uid, progress });
            next = live.operation(uid).and_then(|operation| operation.parent);
        }
    }

    /// A child has come to an end or an error: what that means for its parent.
    pub(super) fn child_ended(&self, live: &mut Live, child: &Operation) {
        let Some(parent) = child.parent else { return };
        let stops = child.state == State::Error
            && live.open(parent).is_some_and(|it| it.child_rules().stop_on_error);
        if stops {
            live.close_family(parent);
        }
        self.publish_joint_progress(live, parent);
        // Before anybody else starts in its lane.
        if matches!(live.joining(parent), Joining::Settled) {
            live.ask_for_place(parent);
        }
    }
}

fn failed(error: &BackendError) -> Stop {
    Failure::new(error.to_string()).into()
}

/// What earlier attempts have asked for that may be taken up: by kind and parameters, in the order
/// of numbers.
#[derive(Default)]
struct Earlier(HashMap<String, HashMap<Arc<Params>, VecDeque<Uid>>>);

impl Earlier {
    fn of(children: Vec<Operation>) -> Self {
        let mut earlier = Self::default();
        for Operation { uid, kind, params, .. } in children {
            earlier.0.entry(kind).or_default().entry(params).or_default().push_back(uid);
        }
        earlier
    }

    /// Takes the first that was asked for likewise.
    fn take(&mut self, kind: &str, params: &Params) -> Option<Uid> {
        self.0.get_mut(kind)?.get_mut(params)?.pop_front()
    }
}

/// Children on their way to the disk.
#[derive(Default)]
struct Spawning {
    uid: Uid,
    spawned: Vec<Spawned>,
    accepting: Vec<Accepting>,
    relaunching: Vec<Relaunching>,
}

impl Spawning {
    /// Stages a child: one that an earlier attempt has asked for likewise, or a new one.
    fn child(
        &mut self,
        engine: &Engine,
        live: &mut Live,
        (kind, submit, params): (Arc<dyn Kind>, Submit, Params),
        earlier: &mut Earlier,
        changes: &mut Vec<Change>,
    ) -> Result<Uid, Refusal> {
        let params = kind.fill(params, &engine.admission(live).context());
        if let Some(uid) = earlier.take(&submit.kind, &params) {
            if live.operation(uid).is_some_and(|child| child.state == State::Error) {
                let (change, relaunching) =
                    engine.requeue(live, &*kind, uid, params).map_err(refusal)?;
                changes.extend(change);
                self.relaunching.extend(relaunching);
            }
            return Ok(uid);
        }
        let (change, accepting) = engine
            .accept(live, &*kind, (submit, params), Some(self.uid), None, |_, _| Ok(Vec::new()))
            .map_err(refusal)?;
        changes.extend(change);
        let uid = accepting.uid();
        self.accepting.push(accepting);
        Ok(uid)
    }
}

impl Spawning {
    /// Takes the children out again, which are not on disk.
    fn withdraw(&mut self, engine: &Engine, live: &mut Live) {
        for relaunching in self.relaunching.drain(..).rev() {
            relaunching.roll_back(engine, live);
        }
        for accepting in self.accepting.drain(..).rev() {
            accepting.roll_back(engine, live);
        }
        for spawned in &mut self.spawned {
            if spawned.child().is_some() {
                *spawned = Spawned::Withdrawn;
            }
        }
    }
}

/// Why a child is not taken in.
fn refusal(error: BackendError) -> Refusal {
    match error {
        BackendError::Refused(refusal) => refusal,
        error => Refusal::new(Reason::State, error.to_string()),
    }
}

impl Transaction for Spawning {
    type Output = Vec<Spawned>;

    fn commit(self, engine: &Engine, live: &mut Live) -> Vec<Spawned> {
        live.run_recorded(self.uid);
        for accepting in self.accepting {
            accepting.commit(engine, live);
        }
        for relaunching in self.relaunching {
            relaunching.commit(engine, live);
        }
        self.spawned
    }

    fn roll_back(mut self, engine: &Engine, live: &mut Live) {
        self.withdraw(engine, live);
    }
}
