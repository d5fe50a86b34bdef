//! The queue against a naive model: a list in the order of acceptance, searched from the front.
//!
//! At a resource, an operation stands within the hold of its nearest ancestor there. Its turn has
//! come when nobody before it within the same hold excludes it, and the turn of who has that hold
//! has come.

mod long;
mod machine;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use crate::domain::{Vm, Wait};

use super::*;

const LANES: [&str; 2] = ["vm", "disk"];

#[derive(Debug, Clone)]
struct Known {
    entry: QueueEntry,
    /// Its place in the order of acceptance.
    ticket: usize,
    stage: QueueStage,
    cancelled: bool,
    /// The tickets of those within whose hold it stands, by resource.
    within: HashMap<ResourceId, usize>,
    /// The ticket of its parent, if that was known when it was accepted.
    parent: Option<usize>,
    /// Whether its parent has too many others under way.
    outside: bool,
}

impl Known {
    /// Whether an earlier life began it, or it is only to be undone.
    fn under_way(&self) -> bool {
        self.cancelled || (self.entry.began && WAITS.contains(&self.stage))
    }
}

/// A place at a resource.
#[derive(Debug, Clone, Copy)]
struct Spot {
    ticket: usize,
    uid: Uid,
    mode: LockMode,
    within: Option<usize>,
}

#[derive(Debug, Clone)]
struct ModelLane {
    width: u32,
    state: LaneState,
}

/// What the queue should be.
#[derive(Debug, Clone)]
struct QueueModel {
    /// In the order of acceptance.
    known: Vec<Known>,
    lanes: BTreeMap<String, ModelLane>,
    /// The highest number given out.
    last: u64,
    /// Gone, and so free to be relaunched under their old numbers.
    gone: Vec<QueueEntry>,
    /// Places of those that are gone, which are kept for those within them.
    kept: Vec<(ResourceId, Spot)>,
    /// How many children may be under way at once, by their parent's ticket.
    families: HashMap<usize, Option<u32>>,
    tickets: usize,
}

#[derive(Debug, Clone)]
enum Do {
    Accept(QueueEntry),
    /// An operation that failed is accepted again.
    Again(Index),
    Commit(Index),
    Hold(Index),
    CallOff(Index),
    Withdraw(Index),
    Start,
    Finish(Index),
    Join(Index),
    Return(Index),
    Close(Index),
    Prioritise(Index, i32),
    Lane(&'static str, LaneChange),
}

impl QueueModel {
    fn running(&self, lane: &str) -> u32 {
        let runs = |it: &&Known| it.stage == QueueStage::Running && it.entry.lane == lane;
        self.known.iter().filter(runs).count() as u32
    }

    /// Takes an operation in.
    fn accept(&mut self, entry: QueueEntry) {
        self.tickets += 1;
        let mut ancestors = entry
            .ancestors
            .iter()
            .filter_map(|uid| self.known.iter().find(|it| it.entry.uid == *uid));
        let holder = |resource: &ResourceId| {
            let mut ancestors = ancestors.clone();
            ancestors.find(|it| it.entry.locks.iter().any(|(id, _)| id == resource))
        };
        let within = entry.locks.iter().filter_map(|(id, _)| Some((*id, holder(id)?.ticket)));
        let within = within.collect();
        let parent = ancestors.next().filter(|it| Some(&it.entry.uid) == entry.ancestors.first());
        let parent = parent.map(|it| it.ticket);
        let outside = parent.is_some_and(|parent| !entry.began && !self.fits(parent));
        self.families.insert(self.tickets, entry.at_once);
        self.known.push(Known {
            ticket: self.tickets,
            stage: QueueStage::Held,
            cancelled: false,
            within,
            parent,
            outside,
            entry,
        });
    }

    /// Whether a lock is missing among those of the nearest ancestor that has any, or there are any
    /// at all below siblings that are not all let in at once.
    fn uncovered(&self, entry: &QueueEntry) -> bool {
        let known = |uid: &Uid| self.known.iter().find(|it| it.entry.uid == *uid);
        let ancestors: Vec<&Known> = entry.ancestors.iter().filter_map(known).collect();
        let holder = ancestors.iter().position(|it| !it.entry.locks.is_empty());
        let near = &ancestors[..holder.map_or(ancestors.len(), |at| at + 1)];
        if near.iter().skip(1).any(|it| it.entry.at_once.is_some()) && !entry.locks.is_empty() {
            return true;
        }
        let Some(holder) = holder.map(|at| ancestors[at]) else { return false };
        let covers = |(id, mode): &(ResourceId, LockMode)| {
            let held = holder.entry.locks.iter().find(|(held, _)| held == id);
            held.is_some_and(|(_, held)| *held == LockMode::Exclusive || *mode == LockMode::Shared)
        };
        !entry.locks.iter().all(covers)
    }

    /// Everybody at a resource, in the order of acceptance, also those whose places are kept.
    fn spots(&self, resource: ResourceId) -> Vec<Spot> {
        let living = self.known.iter().filter_map(|it| {
            let (_, mode) = it.entry.locks.iter().find(|(id, _)| *id == resource)?;
            let within = it.within.get(&resource).copied();
            Some(Spot { ticket: it.ticket, uid: it.entry.uid, mode: *mode, within })
        });
        let kept = self.kept.iter().filter(|(id, _)| *id == resource).map(|(_, spot)| *spot);
        let mut spots: Vec<Spot> = living.chain(kept).collect();
        spots.sort_by_key(|spot| spot.ticket);
        spots
    }

    /// What keeps a place at a resource waiting.
    fn blocker_at(&self, resource: ResourceId, ticket: usize) -> Option<Uid> {
        let spots = self.spots(resource);
        let spot = spots.iter().find(|spot| spot.ticket == ticket)?;
        let before = |other: &&Spot| {
            other.within == spot.within && other.ticket < ticket && excludes(other.mode, spot.mode)
        };
        match spots.iter().find(before) {
            Some(other) => Some(self.first_of(resource, other)),
            None => self.blocker_at(resource, spot.within?),
        }
    }

    /// Who has a place, or is the first within it where it is only kept.
    fn first_of(&self, resource: ResourceId, spot: &Spot) -> Uid {
        let kept = |(id, kept): &(ResourceId, Spot)| *id == resource && kept.ticket == spot.ticket;
        if !self.kept.iter().any(kept) {
            return spot.uid;
        }
        let spots = self.spots(resource);
        let first = spots.iter().find(|it| it.within == Some(spot.ticket)).unwrap();
        self.first_of(resource, first)
    }

    /// What keeps the operation at `at` waiting on the first of its resources on which there is
    /// anything, or else within its family.
    fn blocker(&self, at: usize) -> Option<Wait> {
        let it = &self.known[at];
        let on_resource = it.entry.locks.iter().find_map(|(resource, _)| {
            let uid = self.blocker_at(*resource, it.ticket)?;
            Some(Wait::Operation { uid, resource: *resource })
        });
        on_resource.or_else(|| {
            let parent = *it.entry.ancestors.first()?;
            (it.outside && !it.cancelled).then_some(Wait::Siblings { parent })
        })
    }

    /// Who holds a resource, if `running`, or awaits it, in the order of acceptance.
    fn at_resource(&self, resource: ResourceId, running: bool) -> Vec<Uid> {
        let locks = |it: &Known| it.entry.locks.iter().any(|(id, _)| *id == resource);
        let is = |it: &&Known| locks(it) && it.stage.has_started() == running;
        self.known.iter().filter(is).map(|it| it.entry.uid).collect()
    }

    /// The operations at a resource within a hold, each followed by those within its own.
    fn tree(&self, resource: ResourceId, within: Option<usize>) -> Vec<&Known> {
        let mut all = Vec::new();
        for spot in self.spots(resource).iter().filter(|spot| spot.within == within) {
            all.extend(self.known.iter().find(|it| it.ticket == spot.ticket));
            all.extend(self.tree(resource, Some(spot.ticket)));
        }
        all
    }

    /// Whether an operation starts, or goes on, as far as its lane is concerned.
    fn open(&self, it: &Known) -> bool {
        let lane = &self.lanes[&*it.entry.lane];
        let opens = lane.state == LaneState::Open || it.stage == QueueStage::Returning;
        it.under_way() || (opens && self.running(&it.entry.lane) < lane.width)
    }

    fn startable(&self, at: usize) -> bool {
        let it = &self.known[at];
        match it.stage {
            QueueStage::Waiting => self.blocker(at).is_none() && self.open(it),
            QueueStage::Returning => self.open(it),
            QueueStage::Held | QueueStage::Running | QueueStage::Joining => false,
        }
    }

    /// The place of the one to start.
    fn first(&self) -> Option<usize> {
        (0..self.known.len()).filter(|at| self.startable(*at)).min_by_key(|at| {
            let it = &self.known[*at];
            (!it.under_way(), Reverse(it.entry.priority), *at)
        })
    }

    fn at(&self, index: Index, stages: &[QueueStage]) -> Option<usize> {
        let places: Vec<usize> =
            (0..self.known.len()).filter(|at| stages.contains(&self.known[*at].stage)).collect();
        (!places.is_empty()).then(|| *index.get(&places))
    }

    fn take(&mut self, at: usize) {
        let gone = self.known.remove(at);
        let lane = gone.entry.lane.clone();
        if gone.stage == QueueStage::Running {
            self.drained(&lane);
        }
        for (id, mode) in &gone.entry.locks {
            let within = gone.within.get(id).copied();
            let spot = Spot { ticket: gone.ticket, uid: gone.entry.uid, mode: *mode, within };
            self.kept.push((*id, spot));
        }
        // A place is kept while anybody stands within it.
        while let Some(at) = self.kept.iter().position(|(id, kept)| {
            !self.spots(*id).iter().any(|spot| spot.within == Some(kept.ticket))
        }) {
            self.kept.remove(at);
        }
        if let Some(parent) = gone.parent
            && self.fits(parent)
        {
            let mut known = self.known.iter_mut();
            if let Some(next) = known.find(|it| it.parent == Some(parent) && it.outside) {
                next.outside = false;
            }
        }
        self.gone.push(gone.entry);
    }

    /// A place in a lane has come free.
    fn drained(&mut self, lane: &str) {
        if self.running(lane) == 0
            && let Some(lane) = self.lanes.get_mut(lane)
            && lane.state == LaneState::Draining
        {
            lane.state = LaneState::Paused;
        }
    }

    /// Whether one more child may be under way.
    fn fits(&self, parent: usize) -> bool {
        let inside = |it: &&Known| it.parent == Some(parent) && !it.outside;
        let inside = self.known.iter().filter(inside).count() as u32;
        self.families[&parent].is_none_or(|most| inside < most)
    }
}

fn excluding(one: &QueueEntry, other: &QueueEntry) -> bool {
    one.locks.iter().any(|(resource, mode)| {
        other.locks.iter().any(|(also, other)| resource == also && excludes(*mode, *other))
    })
}

/// Whether one way of holding a resource excludes the other.
fn excludes(one: LockMode, other: LockMode) -> bool {
    one == LockMode::Exclusive || other == LockMode::Exclusive
}

const WAITS: [QueueStage; 2] = [QueueStage::Held, QueueStage::Waiting];
const STARTED: [QueueStage; 3] = [QueueStage::Running, QueueStage::Joining, QueueStage::Returning];

impl ReferenceStateMachine for QueueModel {
    type State = Self;
    type Transition = Do;

    fn init_state() -> BoxedStrategy<Self> {
        let lane = |width| ModelLane { width, state: LaneState::Open };
        let lanes = [("vm".to_owned(), lane(2)), ("disk".to_owned(), lane(1))].into();
        let model = Self {
            known: vec![],
            lanes,
            last: 0,
            gone: vec![],
            kept: vec![],
            families: HashMap::new(),
            tickets: 0,
        };
        Just(model).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Do> {
        let uid = Uid(state.last + 1);
        let locks = prop::collection::btree_map(1u64..4, any::<bool>(), 0..3);
        let started: Vec<QueueEntry> = state
            .known
            .iter()
            .filter(|it| it.stage.has_started())
            .map(|it| it.entry.clone())
            .collect();
        let parent = prop::option::weighted(0.6, any::<Index>());
        let at_once = prop::option::of(1..3u32);
        let simple = (locks, 0..2usize, -1..2i32, 0..2usize, any::<bool>());
        let began = prop::bool::weighted(0.1);
        let entry = (simple, parent, at_once, began).prop_map(
            move |((locks, lane, priority, kind, leaves), parent, at_once, began)| {
                let parent = parent.filter(|_| !started.is_empty()).map(|it| it.get(&started));
                let ancestors = parent.map_or_else(Vec::new, |parent| {
                    std::iter::once(parent.uid).chain(parent.ancestors.iter().copied()).collect()
                });
                let locks: Vec<_> = locks
                    .into_iter()
                    .map(|(id, exclusive)| {
                        let mode = if exclusive { LockMode::Exclusive } else { LockMode::Shared };
                        (ResourceId::new(Vm::KIND, id), mode)
                    })
                    .collect();
                Do::Accept(QueueEntry {
                    uid,
                    kind: ["vm_start", "vm_stop"][kind].into(),
                    lane: LANES[lane].into(),
                    priority,
                    subject: locks.first().map(|(resource, _)| *resource),
                    state_after: leaves.then(|| ["running", "halted"][kind].into()),
                    locks,
                    ancestors,
                    at_once,
                    began,
                })
            },
        );
        let change = prop_oneof![
            1 => Just(LaneChange::Pause),
            3 => Just(LaneChange::Resume),
            1 => Just(LaneChange::Drain),
            1 => (1..4u32).prop_map(LaneChange::Width),
        ];
        prop_oneof![
            6 => entry,
            2 => any::<Index>().prop_map(Do::Again),
            6 => any::<Index>().prop_map(Do::Commit),
            1 => any::<Index>().prop_map(Do::Hold),
            1 => any::<Index>().prop_map(Do::CallOff),
            1 => any::<Index>().prop_map(Do::Withdraw),
            6 => Just(Do::Start),
            4 => any::<Index>().prop_map(Do::Finish),
            3 => any::<Index>().prop_map(Do::Join),
            3 => any::<Index>().prop_map(Do::Return),
            1 => any::<Index>().prop_map(Do::Close),
            1 => (any::<Index>(), -2..3i32).prop_map(|(at, priority)| Do::Prioritise(at, priority)),
            1 => (prop::sample::select(&LANES[..]), change)
                .prop_map(|(lane, change)| Do::Lane(lane, change)),
        ]
        .boxed()
    }

    fn apply(mut state: Self, transition: &Do) -> Self {
        match transition {
            Do::Accept(entry) => {
                state.last = entry.uid.0;
                if !state.uncovered(entry) {
                    state.accept(entry.clone());
                }
            }
            Do::Again(index) if !state.gone.is_empty() => {
                let entry = state.gone.remove(index.index(state.gone.len()));
                if !state.uncovered(&entry) {
                    state.accept(entry);
                }
            }
            Do::Again(_) => {}
            Do::Commit(index) => {
                if let Some(at) = state.at(*index, &[QueueStage::Held]) {
                    state.known[at].stage = QueueStage::Waiting;
                }
            }
            Do::Hold(index) => {
                if let Some(at) = state.at(*index, &WAITS) {
                    state.known[at].stage = QueueStage::Held;
                }
            }
            Do::CallOff(index) => {
                if let Some(at) = state.at(*index, &WAITS) {
                    state.known[at].cancelled = true;
                    state.known[at].outside = false;
                }
            }
            Do::Withdraw(index) => {
                if let Some(at) = state.at(*index, &WAITS) {
                    state.take(at);
                }
            }
            Do::Start => {
                if let Some(at) = state.first() {
                    state.known[at].stage = QueueStage::Running;
                }
            }
            Do::Finish(index) => {
                if let Some(at) = state.at(*index, &STARTED) {
                    state.take(at);
                }
            }
            Do::Join(index) => {
                if let Some(at) = state.at(*index, &[QueueStage::Running]) {
                    state.known[at].stage = QueueStage::Joining;
                    let lane = state.known[at].entry.lane.clone();
                    state.drained(&lane);
                }
            }
            Do::Return(index) => {
                if let Some(at) = state.at(*index, &[QueueStage::Joining]) {
                    state.known[at].stage = QueueStage::Returning;
                }
            }
            Do::Close(index) => {
                if let Some(at) = state.at(*index, &STARTED) {
                    let parent = state.known[at].ticket;
                    state.families.insert(parent, Some(0));
                    for it in &mut state.known {
                        if it.parent == Some(parent)
                            && !it.stage.has_started()
                            && !it.cancelled
                            && !it.entry.began
                        {
                            it.outside = true;
                        }
                    }
                }
            }
            Do::Prioritise(index, priority) => {
                if let Some(at) = state.at(*index, &WAITS) {
                    state.known[at].entry.priority = *priority;
                }
            }
            Do::Lane(name, change) => {
                let running = state.running(name);
                let lane = state.lanes.get_mut(*name).unwrap();
                match change {
                    LaneChange::Pause => lane.state = LaneState::Paused,
                    LaneChange::Resume => lane.state = LaneState::Open,
                    LaneChange::Drain if running == 0 => lane.state = LaneState::Paused,
                    LaneChange::Drain => lane.state = LaneState::Draining,
                    LaneChange::Width(width) => lane.width = *width,
                }
            }
        }
        state
    }
}
