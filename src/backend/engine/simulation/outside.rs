//! What the simulated operations have really done, whatever the record says of it, and what people
//! remember of their requests: no crash undoes any of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::engine::journal::{JOIN, SPAWN};
use crate::backend::engine::storage::RecordedStep;
use crate::domain::{LockMode, Operation, ResourceId, State, StepState, Submit, Uid};

use super::chance::Chance;
use super::platter::Platter;

/// One attempt of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attempt {
    pub(super) uid: Uid,
    pub(super) number: u32,
}

/// What an attempt holds.
pub(super) type Locks = Vec<(ResourceId, LockMode)>;

/// How many requests with a key people remember.
const REMEMBERED: usize = 100;

/// What is there.
#[derive(Default)]
pub(super) struct Outside {
    /// The steps whose effects are there, and whether they could not be undone.
    effects: BTreeMap<(Attempt, u32), bool>,
    /// Who has begun to work with a resource and is not at rest.
    users: BTreeMap<ResourceId, BTreeMap<Attempt, LockMode>>,
    leased: BTreeSet<ResourceId>,
    /// Those that began to work since this was asked last.
    begun: Vec<(Attempt, Locks)>,
    /// What was asked for with a key, and what the answer was.
    asked: BTreeMap<String, (Submit, Option<Uid>)>,
}

impl Outside {
    /// A step is about to have its effect.
    ///
    /// # Errors
    /// When it may not.
    pub(super) fn take(
        &mut self,
        attempt: Attempt,
        step: u32,
        held: &Locks,
        platter: &Platter,
    ) -> Result<(), String> {
        let Attempt { uid, number } = attempt;
        let recorded = platter.step_state(uid, number, step);
        if let Some(StepState::Done | StepState::Refused) = recorded {
            return Err(format!("step {step} of {uid} is taken, and recorded as {recorded:?}"));
        }
        self.works(attempt, held, platter)?;
        self.effects.insert((attempt, step), false);
        Ok(())
    }

    /// A step is undone.
    ///
    /// # Errors
    /// When it may not be.
    pub(super) fn undo(
        &mut self,
        attempt: Attempt,
        step: u32,
        held: &Locks,
        platter: &Platter,
    ) -> Result<(), String> {
        if platter.step_state(attempt.uid, attempt.number, step) == Some(StepState::Refused) {
            return Err(format!("step {step} of {attempt:?} is undone, and did nothing"));
        }
        if platter.operation(attempt.uid).is_some_and(|it| it.past_pivot) {
            return Err(format!("step {step} of {attempt:?} is undone past its pivot"));
        }
        self.works(attempt, held, platter)?;
        self.effects.remove(&(attempt, step));
        Ok(())
    }

    /// What a step has done cannot be undone.
    pub(super) fn leave_behind(&mut self, attempt: Attempt, step: u32) {
        if let Some(left) = self.effects.get_mut(&(attempt, step)) {
            *left = true;
        }
    }

    /// Whether anything is there that an attempt has done.
    pub(super) fn has_begun(&self, attempt: Attempt) -> bool {
        self.effects_of(attempt.uid).iter().any(|(of, ..)| *of == attempt)
    }

    /// Whether the effect of a step is there.
    pub(super) fn has(&self, attempt: Attempt, step: u32) -> bool {
        self.effects.contains_key(&(attempt, step))
    }

    /// An attempt does something with what it holds.
    fn works(&mut self, attempt: Attempt, held: &Locks, platter: &Platter) -> Result<(), String> {
        let uid = attempt.uid;
        match platter.operation(uid) {
            Some(it)
                if matches!(it.state, State::Pending | State::Run)
                    && it.attempt == attempt.number => {}
            it => return Err(format!("attempt {attempt:?} works, and the disk has {it:?}")),
        }
        let needs = |id: ResourceId| held.iter().any(|(held, _)| *held == id);
        let half_way = |it: &&Operation| it.past_pivot && it.state == State::Error;
        if let Some(other) =
            platter.open().find(|it| half_way(it) && it.resource.is_some_and(needs))
        {
            let Operation { uid, resource, .. } = other;
            return Err(format!("{attempt:?} works with {resource:?}, half-way from {uid}"));
        }
        let mut is_new = held.is_empty();
        for (id, mode) in held {
            let users = self.users.entry(*id).or_default();
            let alone = |mode: &LockMode| *mode == LockMode::Exclusive;
            // What a parent holds is its children's too.
            let kin =
                |user: &Attempt| platter.descends(uid, user.uid) || platter.descends(user.uid, uid);
            let other = users
                .iter()
                .find(|(user, has)| **user != attempt && (alone(has) || alone(mode)) && !kin(user));
            if let Some((other, _)) = other {
                return Err(format!("{attempt:?} and {other:?} both work with {id}"));
            }
            let is_first = users.insert(attempt, *mode).is_none();
            if is_first && alone(mode) && self.leased.contains(id) {
                return Err(format!("{attempt:?} works with {id}, which is leased"));
            }
            is_new |= is_first;
        }
        if is_new {
            self.begun.push((attempt, held.clone()));
        }
        Ok(())
    }

    /// Those that began to work since this was asked last.
    pub(super) fn take_begun(&mut self) -> Vec<(Attempt, Locks)> {
        std::mem::take(&mut self.begun)
    }

    /// An attempt is at rest: it does nothing more with what it held.
    pub(super) fn rest(&mut self, attempt: Attempt) {
        for users in self.users.values_mut() {
            users.remove(&attempt);
        }
        self.users.retain(|_, users| !users.is_empty());
    }

    /// An operation has come to its end, or failed.
    ///
    /// # Errors
    /// When what is there is not what that end promises.
    pub(super) fn end<'a>(
        &mut self,
        operation: &Operation,
        steps: impl Iterator<Item = &'a RecordedStep>,
    ) -> Result<(), String> {
        let Operation { uid, attempt, state, comment, .. } = operation;
        let attempt = Attempt { uid: *uid, number: *attempt };
        self.rest(attempt);
        let there = self.effects_of(*uid);
        let kept = there.iter().filter(|(of, _, left)| *of == attempt && !left).count();
        match state {
            State::Done => {
                let of = |(step, _): &&RecordedStep| {
                    step.attempt == attempt.number && step.name != SPAWN && step.name != JOIN
                };
                let recorded = steps.filter(of).filter(|it| it.0.state == StepState::Done);
                let recorded = recorded.count();
                if recorded != kept {
                    return Err(format!(
                        "{uid} is DONE: {recorded} steps are recorded, and {kept} are done"
                    ));
                }
            }
            State::Error | State::Cancel if kept > 0 && !operation.past_pivot => {
                return Err(format!("{uid} is {state} ({comment:?}) and not undone: {there:?}"));
            }
            _ => {}
        }
        if state.is_end() {
            for (attempt, step, _) in there {
                self.effects.remove(&(attempt, step));
            }
        }
        Ok(())
    }

    /// Somebody asks for something with a key.
    pub(super) fn remember(&mut self, submit: &Submit) {
        if let Some(key) = &submit.key {
            self.asked.entry(key.clone()).or_insert_with(|| (submit.clone(), None));
            if self.asked.len() > REMEMBERED {
                self.asked.pop_first();
            }
        }
    }

    /// A request that was made before, with its key.
    pub(super) fn again(&self, chance: &Chance) -> Option<Submit> {
        let at = chance.number(0, self.asked.len() as u64);
        self.asked.values().nth(usize::try_from(at).ok()?).map(|(submit, _)| submit.clone())
    }

    /// A request with a key was accepted. Returns whether it is new.
    ///
    /// # Errors
    /// When the answer is another one than before.
    pub(super) fn answered(
        &mut self,
        key: &str,
        uid: Uid,
        platter: &Platter,
    ) -> Result<bool, String> {
        let stored = platter.keyed(key).map(|(operation, _)| operation.uid);
        if stored.is_some_and(|stored| stored != uid) {
            return Err(format!("{key} was answered with {uid}, and stands for {stored:?}"));
        }
        let Some((_, before)) = self.asked.get_mut(key) else { return Ok(stored.is_some()) };
        match before.replace(uid) {
            Some(before) if before == uid => Ok(false),
            Some(before) if !platter.is_pruned(before) => {
                Err(format!("{key} was answered with {before}, and then with {uid}"))
            }
            _ => Ok(true),
        }
    }

    fn effects_of(&self, uid: Uid) -> Vec<(Attempt, u32, bool)> {
        let from = (Attempt { uid, number: 0 }, 0);
        let to = (Attempt { uid, number: u32::MAX }, u32::MAX);
        self.effects.range(from..=to).map(|((of, step), left)| (*of, *step, *left)).collect()
    }

    /// A part of the backend works with a resource, or has ended that.
    pub(super) fn lease(&mut self, id: ResourceId, leased: bool) {
        if leased {
            self.leased.insert(id);
        } else {
            self.leased.remove(&id);
        }
    }

    /// A life has ended: looks at what came to its end without anybody hearing of it.
    ///
    /// # Errors
    /// When what is there is not what that end promises.
    pub(super) fn restart(&mut self, platter: &Platter) -> Result<(), String> {
        self.leased.clear();
        self.begun.clear();
        let known: BTreeSet<Uid> = self.effects.keys().map(|(attempt, _)| attempt.uid).collect();
        let users = self.users.values().flat_map(|users| users.keys());
        let known: BTreeSet<Uid> = users.map(|user| user.uid).chain(known).collect();
        for uid in known {
            match platter.operation(uid) {
                Some(it) if matches!(it.state, State::Pending | State::Run) => {}
                Some(it) => self.end(it, platter.steps(uid))?,
                None => return Err(format!("{uid} has done something, and is not on the disk")),
            }
        }
        Ok(())
    }
}
