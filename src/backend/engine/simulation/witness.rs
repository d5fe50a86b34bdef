//! Looks on: what the engine tells, and what it holds in memory, beside what is on the disk and
//! outside.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};

use crate::backend::engine::{Engine, Live};
use crate::domain::{
    Event, EventStream, Fact, LaneState, LockMode, Operation, ResourceId, State, Uid,
};

use super::families;
use super::ground::Ground;
use super::kinds::LANE_WIDTHS;
use super::outside::{Attempt, Locks};

/// What an operation was told to be last.
type Heard = (State, u32, bool, i32);

/// One who listens to all of a life.
pub(super) struct Witness {
    ground: Arc<Ground>,
    engine: Arc<Engine>,
    events: EventStream,
    life: Option<u64>,
    seq: u64,
    told: BTreeMap<Uid, Heard>,
    /// How many operations it was told the end of.
    pub(super) ended: u64,
}

fn told(operation: &Operation) -> Heard {
    let Operation { state, attempt, cancelling, priority, .. } = operation;
    (*state, *attempt, *cancelling, *priority)
}

impl Witness {
    /// Listens from now on.
    pub(super) fn new(ground: Arc<Ground>, engine: Arc<Engine>) -> Self {
        let events = engine.events.subscribe();
        let known = engine.look(|live| live.operations().map(|it| (it.uid, told(it))).collect());
        Self { ground, engine, events, life: None, seq: 0, told: known, ended: 0 }
    }

    /// Looks at what has happened since it looked last.
    pub(super) fn look(&mut self) -> Result<(), String> {
        for (attempt, held) in self.ground.outside().take_begun() {
            self.in_order(attempt, &held)?;
        }
        while let Some(Some(event)) = self.events.next().now_or_never() {
            self.hear(&event)?;
        }
        Ok(())
    }

    /// Nobody works with a resource before those that asked for it earlier, but for those that
    /// failed and were asked for again.
    fn in_order(&self, attempt: Attempt, held: &Locks) -> Result<(), String> {
        if attempt.number > 0 {
            return Ok(());
        }
        self.engine.look(|live| {
            for operation in live.operations().take_while(|it| it.uid < attempt.uid) {
                let waits = operation.attempt == 0 && operation.state == State::Pending;
                let Some(open) = live.open(operation.uid).filter(|open| waits && !open.is_ending())
                else {
                    continue;
                };
                let (params, rules) = (open.params(), open.child_rules());
                let entry = self.engine.kinds.queue_entry(operation, params, rules, Vec::new());
                // They stand in one line unless one of them stands within what its parent holds.
                let line = |uid, id| within(live, uid, id);
                let of = operation.uid;
                let before = both_need(&entry.locks, held)
                    .find(|id| line(of, *id) == line(attempt.uid, *id));
                if let Some(id) = before {
                    return Err(format!("{attempt:?} works with {id} before {of}"));
                }
            }
            Ok(())
        })
    }

    fn hear(&mut self, event: &Event) -> Result<(), String> {
        let Event { life, seq, at, fact } = event;
        if *self.life.get_or_insert(*life) != *life || *seq != self.seq + 1 {
            return Err(format!("event {seq} of life {life} comes after {}", self.seq));
        }
        self.seq = *seq;
        self.ground.verdict.note((seq, at.as_nanosecond()), || format!("{at} {seq}: {fact:?}"));
        match fact {
            Fact::Operation(operation) => self.hear_operation(operation)?,
            Fact::Step { uid, .. } | Fact::Progress { uid, .. } => {
                if let Fact::Progress { uid, progress } = fact {
                    families::progress(*uid, progress, &self.ground.platter())?;
                }
                let told = self.told.get(uid);
                let runs = told.is_some_and(|(state, ..)| *state == State::Run);
                return runs
                    .then_some(())
                    .ok_or_else(|| format!("{uid} takes steps, and was told to be {told:?}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn hear_operation(&mut self, operation: &Operation) -> Result<(), String> {
        use State::{Cancel, Done, Error, Pending, Run};
        let Operation { uid, state, .. } = operation;
        self.ground.verdict.note((uid, state), String::new);
        let before = self.told.get(uid).map(|(state, ..)| *state);
        let may = match before {
            None => *state == Pending,
            Some(Pending) => *state != Done,
            Some(Run) => *state != Pending,
            // Its priority may have been changed while a relaunch was on its way in vain.
            Some(Error) => matches!(state, Pending | Error | Cancel),
            Some(Done | Cancel) => false,
        };
        if !may {
            return Err(format!("{uid} was told to be {before:?}, and then {state}"));
        }
        if state.is_end() {
            self.told.remove(uid);
            self.ended += 1;
        } else {
            self.told.insert(*uid, told(operation));
        }
        if matches!(state, Done | Error | Cancel) {
            let platter = self.ground.platter();
            let under_way = platter.children(*uid).find(|child| {
                let told = self.told.get(&child.uid);
                matches!(told, Some((Pending | Run, 0, false, _)))
            });
            if let Some(child) = under_way {
                return Err(format!("{uid} is {state}, and its child {} is not", child.uid));
            }
            return self.ground.outside().end(operation, platter.steps(*uid));
        }
        Ok(())
    }

    /// Everything that was sent is answered and taken in: memory, disk and what was told are one.
    pub(super) fn compare(&self) -> Result<(), String> {
        let platter = self.ground.platter();
        self.engine.look(|live| {
            let stored: Vec<&Operation> = platter.open().collect();
            let open: Vec<&Arc<Operation>> = live.operations().collect();
            if stored.len() != open.len() {
                let uids = |all: Vec<Uid>| format!("{all:?}");
                return Err(format!(
                    "open in memory {}, on disk {}",
                    uids(open.iter().map(|it| it.uid).collect()),
                    uids(stored.iter().map(|it| it.uid).collect()),
                ));
            }
            for (stored, open) in stored.iter().zip(&open) {
                let failed = |it: &Operation| it.state == State::Error;
                let seen = |it: &Operation| {
                    (it.uid, failed(it), it.attempt, it.cancelling, it.priority, it.resource)
                };
                if stored.past_pivot != open.past_pivot
                    || seen(stored) != seen(open)
                    || stored.comment != open.comment
                {
                    return Err(format!("in memory {open:?}, on disk {stored:?}"));
                }
                if self.told.get(&open.uid) != Some(&told(open)) {
                    let last = self.told.get(&open.uid);
                    return Err(format!("in memory {open:?}, and told {last:?}"));
                }
            }
            let things: Vec<_> = live.inventory().of(self.ground.thing).collect();
            if !things.iter().copied().eq(platter.resources()) {
                let on_disk: Vec<_> = platter.resources().collect();
                return Err(format!("in memory {things:?}, on disk {on_disk:?}"));
            }
            if live.next_uid().0 != platter.last_uid() + 1 {
                let last = platter.last_uid();
                return Err(format!("next is {}, the last on disk {last}", live.next_uid()));
            }
            for lane in live.queue().lanes() {
                let first = LANE_WIDTHS.iter().find(|(name, _)| *name == lane.name);
                let first = first.map(|(_, width)| (*width, LaneState::Open));
                // One that drains is paused for whoever starts next.
                let state = match lane.state {
                    LaneState::Draining => LaneState::Paused,
                    state => state,
                };
                let stored = platter.lane(&lane.name).or(first);
                if stored != Some((lane.width, state)) {
                    return Err(format!("in memory {lane:?}, on disk {stored:?}"));
                }
            }
            Ok(())
        })
    }
}

/// The resources that two need in ways that exclude each other.
fn both_need<'a>(
    one: &'a [(ResourceId, LockMode)],
    other: &'a Locks,
) -> impl Iterator<Item = ResourceId> + 'a {
    let excludes = |a: LockMode, b: LockMode| a == LockMode::Exclusive || b == LockMode::Exclusive;
    let both = one.iter().filter(move |(id, mode)| {
        other.iter().any(|(held, as_)| held == id && excludes(*mode, *as_))
    });
    both.map(|(id, _)| *id)
}

/// The nearest of an operation's ancestors that holds or awaits a resource.
fn within(live: &Live, uid: Uid, id: ResourceId) -> Option<Uid> {
    let parent = live.operation(uid).and_then(|operation| operation.parent);
    live.ancestors(parent).into_iter().find(|it| live.queue().locks(*it).any(|lock| lock == id))
}
