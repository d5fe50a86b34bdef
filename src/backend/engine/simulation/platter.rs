//! What is on the simulated disk: the tables of the store, as its statements would leave them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::backend::engine::journal::{SPAWN, Spawned};
use crate::backend::engine::storage::{Change, Keyed, Opened, RecordedStep, StepChange};
use crate::domain::{LaneState, Operation, Params, Resource, ResourceId, State, StepState, Uid};

/// How many operations that have ended are kept.
const MOST_ENDED: usize = 500;

/// How many operations are pruned at once.
const PRUNED_AT_ONCE: usize = 64;

/// What survives a crash.
#[derive(Default)]
pub(super) struct Platter {
    /// Each with its parameters as stored.
    operations: BTreeMap<Uid, Operation>,
    /// By operation, attempt and number.
    steps: BTreeMap<(Uid, u32, u32), RecordedStep>,
    resources: BTreeMap<ResourceId, Arc<Resource>>,
    counters: BTreeMap<&'static str, u64>,
    lanes: BTreeMap<String, (u32, LaneState)>,
    last_uid: u64,
    /// Who asked for which.
    children: BTreeMap<Uid, BTreeSet<Uid>>,
    /// What was asked for with a key.
    keys: BTreeMap<String, (Uid, Params)>,
    /// In the order in which they ended.
    ended: VecDeque<Uid>,
    /// Up to which number operations are pruned, but for those that stay.
    pruned: Uid,
}

impl Platter {
    /// Makes changes that belong together.
    ///
    /// # Errors
    /// When they are such as nobody may ask for.
    pub(super) fn apply_all(&mut self, changes: &[Change]) -> Result<(), String> {
        changes.iter().try_for_each(|change| self.apply(change))?;
        let spawned: Vec<Spawned> = changes.iter().find_map(spawn_record).unwrap_or_default();
        for change in changes {
            if let Change::Insert { operation, .. } = change
                && operation.parent.is_some()
                && !spawned.contains(&Spawned::Child(operation.uid))
            {
                return Err(format!("{} is a child, and no record says so", operation.uid));
            }
        }
        for spawned in spawned {
            if let Spawned::Child(uid) = spawned
                && !self.operations.contains_key(&uid)
            {
                return Err(format!("{uid} is recorded as a child, and is not there"));
            }
        }
        Ok(())
    }

    fn apply(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::Insert { operation, params, keyed } => {
                let uid = operation.uid;
                let operation = Operation { params: params.clone(), ..(**operation).clone() };
                self.last_uid = self.last_uid.max(uid.0);
                if let Some(Keyed { key, request }) = keyed
                    && let Some((first, _)) = self.keys.insert(key.clone(), (uid, request.clone()))
                {
                    return Err(format!("{first} and {uid} were asked for with the key {key}"));
                }
                if let Some(parent) = operation.parent {
                    self.children.entry(parent).or_default().insert(uid);
                    let runs = |it: &Operation| it.state == State::Run;
                    if !self.operations.get(&parent).is_some_and(runs) {
                        return Err(format!("{uid} is a child of {parent}, which does not run"));
                    }
                }
                if self.operations.insert(uid, operation).is_some() {
                    return Err(format!("{uid} is given out twice"));
                }
            }
            Change::SetState { uid, state, comment, started, finished, outcome, updated } => {
                let Some(operation) = self.operations.get_mut(uid) else { return Ok(()) };
                if operation.state.is_end() {
                    return Err(format!("{uid} is {} and becomes {state}", operation.state));
                }
                if operation.past_pivot && *state == State::Cancel {
                    return Err(format!("{uid} is past its pivot and becomes {state}"));
                }
                operation.state = *state;
                operation.comment.clone_from(comment);
                operation.outcome.clone_from(outcome);
                operation.updated = *updated;
                (operation.started, operation.finished) = (*started, *finished);
                operation.outcome.clone_from(outcome);
                operation.updated = *updated;
                operation.cancelling &= *state == State::Run;
                if state.is_end() {
                    self.ended.push_back(*uid);
                }
            }
            Change::Cancelling { uid, updated } => {
                let open = |it: &&mut Operation| matches!(it.state, State::Pending | State::Run);
                if let Some(operation) = self.operations.get_mut(uid).filter(open) {
                    if operation.past_pivot {
                        return Err(format!("{uid} is called off past its pivot"));
                    }
                    operation.cancelling = true;
                    operation.updated = *updated;
                }
            }
            Change::Pivot { uid, updated } => {
                let Some(operation) = self.operations.get_mut(uid) else { return Ok(()) };
                if operation.state != State::Run || operation.cancelling {
                    let Operation { state, .. } = operation;
                    return Err(format!("{uid} passes its pivot, and is {state} or called off"));
                }
                operation.past_pivot = true;
                operation.updated = *updated;
            }
            Change::Priority { uid, priority, updated } => {
                if let Some(operation) = self.operations.get_mut(uid) {
                    operation.priority = *priority;
                    operation.updated = *updated;
                }
            }
            Change::Relaunch { operation, params } => {
                let again = Operation { params: params.clone(), ..(**operation).clone() };
                if let Some(operation) = self.operations.get_mut(&again.uid) {
                    if operation.state != State::Error {
                        let Operation { uid, state, .. } = operation;
                        return Err(format!("{uid} is relaunched as it is {state}"));
                    }
                    let priority = operation.priority;
                    *operation = Operation { priority, ..again };
                }
            }
            Change::Step(change) => {
                let StepChange { uid, step, result } = &**change;
                let recorded = (step.clone(), result.clone());
                self.steps.insert((*uid, step.attempt, step.number), recorded);
            }
            Change::Put(resource) => {
                self.resources.insert(resource.id(), resource.clone());
            }
            Change::Remove(id) => {
                self.resources.remove(id);
            }
            Change::Count(name, value) => {
                self.counters.insert(name, *value);
            }
            Change::Lane { name, width, state } => {
                self.lanes.insert(name.clone(), (*width, *state));
            }
            Change::Prune { uids, up_to } => {
                self.pruned = self.pruned.max(*up_to);
                return uids.iter().try_for_each(|uid| self.prune(*uid));
            }
        }
        Ok(())
    }

    /// What the next life finds.
    pub(super) fn opened(&self) -> Opened {
        Opened {
            operations: self.open().cloned().collect(),
            resources: self.resources.values().map(|it| (**it).clone()).collect(),
            last_uid: self.last_uid,
            counters: self.counters.iter().map(|(name, it)| ((*name).to_owned(), *it)).collect(),
            lanes: self.lanes.iter().map(|(name, it)| (name.clone(), it.0, it.1)).collect(),
            damaged: Vec::new(),
        }
    }

    /// The children of an operation, by number.
    pub(super) fn children(&self, uid: Uid) -> impl Iterator<Item = &Operation> {
        let children = self.children.get(&uid).into_iter().flatten();
        children.filter_map(|child| self.operations.get(child))
    }

    /// Whether an operation was asked for by another one, or by one that was, and so on.
    pub(super) fn descends(&self, uid: Uid, from: Uid) -> bool {
        let up = |uid: &Uid| self.operations.get(uid).and_then(|it| it.parent);
        std::iter::successors(Some(uid), up).skip(1).any(|it| it == from)
    }

    /// What was asked for with a key, and what came with it.
    pub(super) fn keyed(&self, key: &str) -> Option<(&Operation, &Params)> {
        let (uid, request) = self.keys.get(key)?;
        Some((self.operations.get(uid)?, request))
    }

    /// Whether there was an operation that was pruned.
    pub(super) fn is_pruned(&self, uid: Uid) -> bool {
        uid <= self.pruned && !self.operations.contains_key(&uid)
    }

    /// What is to be pruned next, as the store finds it.
    pub(super) fn prunable(&self) -> Option<Change> {
        let excess = self.ended.len().saturating_sub(MOST_ENDED).min(PRUNED_AT_ONCE);
        let may_go = |uid: &&Uid| self.hangs_on(**uid).is_none();
        let uids: Vec<Uid> = self.ended.iter().filter(may_go).take(excess).copied().collect();
        let up_to = uids.iter().max().copied()?.max(self.pruned);
        Some(Change::Prune { uids, up_to })
    }

    /// What is under way and needs an operation.
    fn hangs_on(&self, uid: Uid) -> Option<Uid> {
        let parent = self.operations.get(&uid).and_then(|it| self.operations.get(&it.parent?));
        let mut kin = parent.into_iter().chain(self.children(uid));
        kin.find(|it| !it.state.is_end()).map(|it| it.uid)
    }

    /// The operations that are not at their end.
    pub(super) fn open(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values().filter(|operation| !operation.state.is_end())
    }

    /// Every resource, by number.
    pub(super) fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// A lane as it was left, if anybody changed it.
    pub(super) fn lane(&self, name: &str) -> Option<(u32, LaneState)> {
        self.lanes.get(name).copied()
    }

    /// The highest number of an operation.
    pub(super) const fn last_uid(&self) -> u64 {
        self.last_uid
    }

    pub(super) fn operation(&self, uid: Uid) -> Option<&Operation> {
        self.operations.get(&uid)
    }

    pub(super) fn steps(&self, uid: Uid) -> impl Iterator<Item = &RecordedStep> {
        self.steps.range((uid, 0, 0)..=(uid, u32::MAX, u32::MAX)).map(|(_, step)| step)
    }

    /// How a step is recorded.
    pub(super) fn step_state(&self, uid: Uid, attempt: u32, number: u32) -> Option<StepState> {
        let step = self.steps.get(&(uid, attempt, number));
        step.map(|(step, _)| step.state)
    }

    /// Forgets an operation that has ended.
    fn prune(&mut self, uid: Uid) -> Result<(), String> {
        if let Some(other) = self.hangs_on(uid) {
            return Err(format!("{uid} is pruned, and {other} needs it"));
        }
        if let Some(it) = self.operations.remove(&uid).filter(|it| !it.state.is_end()) {
            return Err(format!("{uid} is pruned, and is {it:?}"));
        }
        self.ended.retain(|ended| *ended != uid);
        self.keys.retain(|_, (of, _)| *of != uid);
        self.children.remove(&uid);
        let of = (uid, 0, 0)..=(uid, u32::MAX, u32::MAX);
        let steps: Vec<_> = self.steps.range(of).map(|(at, _)| *at).collect();
        for at in steps {
            self.steps.remove(&at);
        }
        Ok(())
    }
}

/// What became of requests for children, where a change is the record of that.
fn spawn_record(change: &Change) -> Option<Vec<Spawned>> {
    let Change::Step(change) = change else { return None };
    let is_done = change.step.name == SPAWN && change.step.state == StepState::Done;
    serde_json::from_str(change.result.as_deref().filter(|_| is_done)?).ok()
}
