//! What is on the simulated disk: the tables of the store, as its statements would leave them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::backend::engine::storage::{Change, Opened, RecordedStep, StepChange};
use crate::domain::{LaneState, Operation, Resource, ResourceId, State, StepState, Uid};

/// How many operations that have ended are kept.
const ENDED: usize = 500;

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
    ended: VecDeque<Uid>,
}

impl Platter {
    /// Makes a change.
    ///
    /// # Errors
    /// When it is one that nobody may ask for.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::Insert { operation, params, .. } => {
                let uid = operation.uid;
                let operation = Operation { params: params.clone(), ..(**operation).clone() };
                self.last_uid = self.last_uid.max(uid.0);
                if self.operations.insert(uid, operation).is_some() {
                    return Err(format!("{uid} is given out twice"));
                }
            }
            Change::SetState { uid, state, comment, started, finished, outcome, updated } => {
                let Some(operation) = self.operations.get_mut(uid) else { return Ok(()) };
                if operation.state.is_end() {
                    return Err(format!("{uid} is {} and becomes {state}", operation.state));
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
                    self.forget();
                }
            }
            Change::Cancelling { uid, updated } => {
                let open = |it: &&mut Operation| matches!(it.state, State::Pending | State::Run);
                if let Some(operation) = self.operations.get_mut(uid).filter(open) {
                    operation.cancelling = true;
                    operation.updated = *updated;
                }
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
                let recorded = (step.clone(), result.clone().unwrap_or_default());
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
            // What ended long ago is forgotten here by itself.
            Change::Prune { .. } => {}
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
        self.operations.values().filter(move |it| it.parent == Some(uid))
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

    /// Whether a step is recorded as done.
    pub(super) fn is_done(&self, uid: Uid, attempt: u32, number: u32) -> bool {
        let step = self.steps.get(&(uid, attempt, number));
        step.is_some_and(|(step, _)| step.state == StepState::Done)
    }

    /// Forgets what ended long ago, so that a long run needs no more room than a short one.
    fn forget(&mut self) {
        if self.ended.len() <= ENDED {
            return;
        }
        let Some(uid) = self.ended.pop_front() else { return };
        self.operations.remove(&uid);
        let of = (uid, 0, 0)..=(uid, u32::MAX, u32::MAX);
        let steps: Vec<_> = self.steps.range(of).map(|(at, _)| *at).collect();
        for at in steps {
            self.steps.remove(&at);
        }
    }
}
