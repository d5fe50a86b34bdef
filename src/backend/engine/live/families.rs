//! Parents and children among what is in flight: who has which, and how far those are for whom a
//! parent waits.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::domain::{Operation, Progress, State, Uid};

use super::Live;

/// Who has which children.
#[derive(Default)]
pub(super) struct Families {
    /// Those that are not at their end.
    open: HashMap<Uid, BTreeSet<Uid>>,
    /// Those for whom their parent waits.
    joins: HashMap<Uid, Join>,
}

/// The children for whom a parent waits.
struct Join {
    /// In the order in which they were asked for.
    all: Vec<Uid>,
    /// Those that are neither at their end nor in `ERROR`.
    missing: BTreeSet<Uid>,
    /// Those at their end or in `ERROR`, as they stand there.
    settled: HashMap<Uid, Arc<Operation>>,
    /// How many of them there are of each state.
    numbers: HashMap<State, usize>,
    /// How far those are that run.
    fractions: HashMap<Uid, f64>,
    /// The sum of all that.
    done: f64,
    /// What was told last.
    told: Option<(String, i64)>,
    changed: Arc<Notify>,
}

/// How it stands with the children for whom a parent waits.
pub(in crate::backend::engine) enum Joining {
    /// Some are under way.
    Waits,
    /// No further one is started, and these have not been.
    Stops(Vec<Uid>),
    /// All have come to an end or an error.
    Settled,
}

impl Join {
    fn settle(&mut self, operation: &Arc<Operation>) {
        let uid = operation.uid;
        if self.missing.remove(&uid) {
            self.settled.insert(uid, operation.clone());
            *self.numbers.entry(operation.state).or_default() += 1;
            self.done += 1.0 - self.fractions.remove(&uid).unwrap_or(0.0);
            // The parent acts on the last one, and on one that may keep others from being started.
            if self.missing.is_empty() || operation.state != State::Done {
                self.changed.notify_one();
            }
        }
    }

    fn unsettle(&mut self, operation: &Operation) {
        if self.settled.remove(&operation.uid).is_some() {
            self.missing.insert(operation.uid);
            *self.numbers.entry(operation.state).or_default() -= 1;
            self.done -= 1.0;
        }
    }

    /// What is to be told of the parent, unless that was told already.
    fn progress(&mut self, before: Option<Progress>) -> Option<Progress> {
        let number = |state| self.numbers.get(&state).copied().unwrap_or(0);
        let all = self.all.len();
        let mut phase = format!("{} of {all} done", number(State::Done));
        for (state, word) in [(State::Error, "failed"), (State::Cancel, "cancelled")] {
            match number(state) {
                0 => {}
                number => phase.push_str(&format!(", {number} {word}")),
            }
        }
        let fraction = (self.done / all.max(1) as f64).clamp(0.0, 1.0);
        let told = (phase.clone(), (fraction * 100.0) as i64);
        if self.told.as_ref() == Some(&told) {
            return None;
        }
        self.told = Some(told);
        let Progress { step, steps, detail, .. } = before.unwrap_or_default();
        Some(Progress {
            phase,
            fraction: Some(fraction),
            detail,
            step,
            steps,
            ..Progress::default()
        })
    }
}

impl Families {
    /// Takes an operation in that is not at its end.
    pub(super) fn join(&mut self, operation: &Operation) {
        if let Some(parent) = operation.parent {
            self.open.entry(parent).or_default().insert(operation.uid);
        }
    }

    /// Takes an operation out that is at its end, or was never there.
    pub(super) fn leave(&mut self, operation: &Operation) {
        let Some(parent) = operation.parent else { return };
        if let Some(open) = self.open.get_mut(&parent) {
            open.remove(&operation.uid);
            if open.is_empty() {
                self.open.remove(&parent);
            }
        }
    }

    /// An operation has come to an end or an error.
    pub(super) fn settle(&mut self, operation: &Arc<Operation>) {
        self.joins.remove(&operation.uid);
        if let Some(join) = operation.parent.and_then(|parent| self.joins.get_mut(&parent)) {
            join.settle(operation);
        }
    }

    /// An operation that failed is queued again.
    pub(super) fn unsettle(&mut self, operation: &Operation) {
        if let Some(join) = operation.parent.and_then(|parent| self.joins.get_mut(&parent)) {
            join.unsettle(operation);
        }
    }
}

impl Live {
    /// The operation that asked for the one with this `parent`, the one that asked for that, and so
    /// on, as far as they are in flight.
    pub(in crate::backend::engine) fn ancestors(&self, parent: Option<Uid>) -> Vec<Uid> {
        let up = |uid: &Uid| self.operation(*uid).and_then(|operation| operation.parent);
        std::iter::successors(parent, up).collect()
    }

    /// The children of an operation that are not at their end.
    pub(in crate::backend::engine) fn children(
        &self,
        uid: Uid,
    ) -> impl Iterator<Item = &Arc<Operation>> {
        let open = self.families.open.get(&uid).into_iter().flatten();
        open.filter_map(|child| self.operation(*child))
    }

    /// An operation and those that are to be called off with it, children first. One that runs
    /// calls its children off itself, when it is undone.
    pub(in crate::backend::engine) fn called_off_with(&self, uid: Uid) -> Vec<Uid> {
        let mut all = Vec::new();
        if self.operation(uid).is_some_and(|operation| operation.state != State::Run) {
            for child in self.children(uid) {
                all.extend(self.called_off_with(child.uid));
            }
        }
        all.push(uid);
        all
    }

    /// Whether an operation has children that wait or run.
    pub(in crate::backend::engine) fn has_children_under_way(&self, uid: Uid) -> bool {
        self.children(uid).any(|child| child.state != State::Error)
    }

    /// An operation waits for these children from now on. Returns what wakes it, and those that are
    /// not in flight: they have ended before.
    pub(in crate::backend::engine) fn begin_join(
        &mut self,
        uid: Uid,
        all: &[Uid],
    ) -> (Arc<Notify>, Vec<Uid>) {
        let changed = Arc::new(Notify::new());
        let mut join = Join {
            all: all.to_vec(),
            missing: all.iter().copied().collect(),
            settled: HashMap::new(),
            numbers: HashMap::new(),
            fractions: HashMap::new(),
            done: 0.0,
            told: None,
            changed: changed.clone(),
        };
        let mut ended = Vec::new();
        for child in all {
            match self.operation(*child) {
                None => ended.push(*child),
                Some(operation) if operation.state == State::Error => join.settle(operation),
                Some(_) => {}
            }
        }
        self.families.joins.insert(uid, join);
        (changed, ended)
    }

    /// These children had ended before their parent began to wait for them.
    pub(in crate::backend::engine) fn add_ended(&mut self, uid: Uid, ended: Vec<Operation>) {
        let Some(join) = self.families.joins.get_mut(&uid) else { return };
        for child in ended {
            join.settle(&Arc::new(child));
        }
    }

    /// How it stands with the children for whom an operation waits.
    pub(in crate::backend::engine) fn joining(&self, uid: Uid) -> Joining {
        let Some(join) = self.families.joins.get(&uid) else { return Joining::Settled };
        if join.missing.is_empty() {
            return Joining::Settled;
        }
        if !self.queue.is_closed(uid) {
            return Joining::Waits;
        }
        let waits = |child: &&Uid| self.queue.is_kept_out(**child);
        match join.missing.iter().filter(waits).copied().collect::<Vec<_>>() {
            none if none.is_empty() => Joining::Waits,
            some => Joining::Stops(some),
        }
    }

    /// Whether an operation is the last for which its parent waits.
    pub(in crate::backend::engine) fn is_last(&self, operation: &Operation) -> bool {
        let join = operation.parent.and_then(|parent| self.families.joins.get(&parent));
        join.is_some_and(|it| it.missing.len() == 1 && it.missing.contains(&operation.uid))
    }

    /// An operation has waited for its children. Returns them as they stand, in the order in which
    /// they were asked for.
    pub(in crate::backend::engine) fn end_join(&mut self, uid: Uid) -> Vec<Arc<Operation>> {
        let Some(mut join) = self.families.joins.remove(&uid) else { return Vec::new() };
        join.all.iter().filter_map(|child| join.settled.remove(child)).collect()
    }

    /// Takes note of how far a child is for whom its parent waits.
    pub(super) fn advance(&mut self, uid: Uid, progress: &Progress) {
        let parent = self.operation(uid).and_then(|operation| operation.parent);
        let Some(join) = parent.and_then(|parent| self.families.joins.get_mut(&parent)) else {
            return;
        };
        if let Some(fraction) = progress.fraction
            && !join.settled.contains_key(&uid)
        {
            let fraction = fraction.clamp(0.0, 1.0);
            join.done += fraction - join.fractions.insert(uid, fraction).unwrap_or(0.0);
        }
    }

    /// How far an operation is that waits for its children, where that has changed since this was
    /// asked last.
    pub(in crate::backend::engine) fn joint_progress(&mut self, uid: Uid) -> Option<Progress> {
        let before = self.operation(uid)?.progress.clone();
        let progress = self.families.joins.get_mut(&uid)?.progress(before)?;
        self.progress(uid, progress.clone());
        Some(progress)
    }

    /// Wakes an operation that waits for its children: it has its place in its lane again.
    pub(super) fn wake(&self, uid: Uid) {
        if let Some(join) = self.families.joins.get(&uid) {
            join.changed.notify_one();
        }
    }
}
