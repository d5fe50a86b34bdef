//! The queue against a naive model: a list in the order of acceptance, searched from the front.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use crate::domain::ResourceKind;

use super::*;

const LANES: [&str; 2] = ["vm", "disk"];

#[derive(Debug, Clone)]
struct Known {
    entry: QueueEntry,
    stage: Stage,
    cancelled: bool,
}

#[derive(Debug, Clone)]
struct ModelLane {
    width: u32,
    state: LaneState,
}

/// What the queue should be.
#[derive(Debug, Clone)]
struct Model {
    /// In the order of acceptance.
    known: Vec<Known>,
    lanes: BTreeMap<String, ModelLane>,
    /// The highest number given out.
    last: u64,
    /// Gone, and so free to be relaunched under their old numbers.
    gone: Vec<QueueEntry>,
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
    Prioritise(Index, i32),
    Lane(&'static str, LaneChange),
}

impl Model {
    fn running(&self, lane: &str) -> u32 {
        let runs = |it: &&Known| it.stage == Stage::Running && it.entry.lane == lane;
        self.known.iter().filter(runs).count() as u32
    }

    /// What keeps the operation at `at` waiting: the first accepted before it that excludes it from
    /// the first of its resources on which there is one.
    fn blocker(&self, at: usize) -> Option<Wait> {
        let (before, rest) = self.known.split_at(at);
        rest[0].entry.locks.iter().find_map(|(resource, mode)| {
            let excluding = |it: &&Known| {
                let mut locks = it.entry.locks.iter();
                locks.any(|(also, other)| also == resource && excludes(*mode, *other))
            };
            let uid = before.iter().find(excluding)?.entry.uid;
            Some(Wait::Operation { uid, resource: *resource })
        })
    }

    /// Who holds a resource, if `running`, or awaits it, in the order of acceptance.
    fn at_resource(&self, resource: ResourceId, running: bool) -> Vec<Uid> {
        let locks = |it: &Known| it.entry.locks.iter().any(|(id, _)| *id == resource);
        let is = |it: &&Known| locks(it) && (it.stage == Stage::Running) == running;
        self.known.iter().filter(is).map(|it| it.entry.uid).collect()
    }

    fn open(&self, lane: &str) -> bool {
        let is = &self.lanes[lane];
        is.state == LaneState::Open && self.running(lane) < is.width
    }

    fn startable(&self, at: usize) -> bool {
        let it = &self.known[at];
        let free = it.cancelled || self.open(&it.entry.lane);
        it.stage == Stage::Waiting && self.blocker(at).is_none() && free
    }

    /// The place of the one to start.
    fn first(&self) -> Option<usize> {
        (0..self.known.len()).filter(|at| self.startable(*at)).min_by_key(|at| {
            let it = &self.known[*at];
            (!it.cancelled, Reverse(it.entry.priority), *at)
        })
    }

    fn at(&self, index: Index, stages: &[Stage]) -> Option<usize> {
        let places: Vec<usize> =
            (0..self.known.len()).filter(|at| stages.contains(&self.known[*at].stage)).collect();
        (!places.is_empty()).then(|| *index.get(&places))
    }

    fn take(&mut self, at: usize) {
        let gone = self.known.remove(at);
        let lane = gone.entry.lane.clone();
        if gone.stage == Stage::Running
            && self.running(&lane) == 0
            && let Some(lane) = self.lanes.get_mut(&*lane)
            && lane.state == LaneState::Draining
        {
            lane.state = LaneState::Paused;
        }
        self.gone.push(gone.entry);
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

const WAITS: [Stage; 2] = [Stage::Held, Stage::Waiting];

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Do;

    fn init_state() -> BoxedStrategy<Self> {
        let lane = |width| ModelLane { width, state: LaneState::Open };
        let lanes = [("vm".to_owned(), lane(2)), ("disk".to_owned(), lane(1))].into();
        Just(Self { known: vec![], lanes, last: 0, gone: vec![] }).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Do> {
        let uid = Uid(state.last + 1);
        let locks = prop::collection::btree_map(1u64..4, any::<bool>(), 0..3);
        let entry = (locks, 0..2usize, -1..2i32, 0..2usize, any::<bool>()).prop_map(
            move |(locks, lane, priority, kind, leaves)| {
                let locks: Vec<_> = locks
                    .into_iter()
                    .map(|(id, exclusive)| {
                        let mode = if exclusive { LockMode::Exclusive } else { LockMode::Shared };
                        (ResourceId::new(ResourceKind::Vm, id), mode)
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
                state.known.push(Known {
                    entry: entry.clone(),
                    stage: Stage::Held,
                    cancelled: false,
                });
            }
            Do::Again(index) if !state.gone.is_empty() => {
                let entry = state.gone.remove(index.index(state.gone.len()));
                state.known.push(Known { entry, stage: Stage::Held, cancelled: false });
            }
            Do::Again(_) => {}
            Do::Commit(index) => {
                if let Some(at) = state.at(*index, &[Stage::Held]) {
                    state.known[at].stage = Stage::Waiting;
                }
            }
            Do::Hold(index) => {
                if let Some(at) = state.at(*index, &WAITS) {
                    state.known[at].stage = Stage::Held;
                }
            }
            Do::CallOff(index) => {
                if let Some(at) = state.at(*index, &WAITS) {
                    state.known[at].cancelled = true;
                }
            }
            Do::Withdraw(index) => {
                if let Some(at) = state.at(*index, &WAITS) {
                    state.take(at);
                }
            }
            Do::Start => {
                if let Some(at) = state.first() {
                    state.known[at].stage = Stage::Running;
                }
            }
            Do::Finish(index) => {
                if let Some(at) = state.at(*index, &[Stage::Running]) {
                    state.take(at);
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

/// The queue, and the model as it was before the transition that is being applied.
struct Under {
    queue: Queue,
    before: Model,
}

impl StateMachineTest for Under {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(model: &Model) -> Self {
        let lanes = model.lanes.iter().map(|(name, lane)| (&**name, lane.width));
        Self { queue: Queue::new(lanes), before: model.clone() }
    }

    fn apply(mut under: Self, model: &Model, transition: Do) -> Self {
        let before = std::mem::replace(&mut under.before, model.clone());
        let queue = &mut under.queue;
        let uid = |at: usize| before.known[at].entry.uid;
        match transition {
            Do::Accept(entry) => queue.accept(entry),
            Do::Again(_) if before.gone.is_empty() => {}
            Do::Again(_) => queue.accept(model.known.last().unwrap().entry.clone()),
            Do::Commit(index) => {
                if let Some(at) = before.at(index, &[Stage::Held]) {
                    queue.commit(uid(at));
                }
            }
            Do::Hold(index) => {
                if let Some(at) = before.at(index, &WAITS) {
                    assert!(queue.hold(uid(at)));
                } else if let Some(at) = before.at(index, &[Stage::Running]) {
                    assert!(!queue.hold(uid(at)), "what runs cannot be held");
                }
            }
            Do::CallOff(index) => {
                if let Some(at) = before.at(index, &WAITS) {
                    queue.mark_cancelled(uid(at));
                }
            }
            Do::Withdraw(index) => {
                if let Some(at) = before.at(index, &WAITS) {
                    assert!(queue.withdraw(uid(at)));
                    assert!(!queue.withdraw(uid(at)), "it is gone");
                }
            }
            Do::Start => {
                let first = before.first().map(uid);
                let started = queue.start();
                assert_eq!(started.is_some(), first.is_some());
                assert_eq!(started, first);
            }
            Do::Finish(index) => {
                if let Some(at) = before.at(index, &[Stage::Running]) {
                    assert!(!queue.withdraw(uid(at)), "what runs cannot be withdrawn");
                    queue.finish(uid(at));
                }
            }
            Do::Prioritise(index, priority) => {
                if let Some(at) = before.at(index, &WAITS) {
                    assert!(queue.prioritise(uid(at), priority));
                }
            }
            Do::Lane(name, change) => assert!(queue.change(name, change).is_some()),
        }
        under
    }

    fn check_invariants(under: &Self, model: &Model) {
        let queue = &under.queue;
        for lane in queue.lanes() {
            let is = &model.lanes[&lane.name];
            let waiting = model
                .known
                .iter()
                .filter(|it| it.stage != Stage::Running && it.entry.lane == lane.name);
            assert_eq!((lane.width, lane.state), (is.width, is.state));
            assert_eq!(lane.running, model.running(&lane.name));
            assert_eq!(lane.waiting as usize, waiting.count());
        }
        let running: Vec<&Known> =
            model.known.iter().filter(|it| it.stage == Stage::Running).collect();
        for (at, one) in running.iter().enumerate() {
            let mut others = running[at + 1..].iter();
            assert!(!others.any(|other| excluding(&one.entry, &other.entry)));
        }
        for (at, it) in model.known.iter().enumerate() {
            let why = queue.wait_reason(it.entry.uid);
            match it.stage {
                Stage::Running => assert_eq!(why, None),
                // It is about to be on disk, and waits for nothing else.
                Stage::Held | Stage::Waiting => {
                    let blocker = model.blocker(at);
                    let free = blocker.is_none() && (it.cancelled || model.open(&it.entry.lane));
                    assert_eq!(why.is_none(), free, "{why:?}");
                    if blocker.is_some() {
                        assert_eq!(why, blocker);
                    }
                }
            }
        }
        for resource in (1..4).map(|id| ResourceId::new(ResourceKind::Vm, id)) {
            let about = |it: &&Known| it.entry.subject == Some(resource);
            let leaves =
                model.known.iter().rev().filter(about).find_map(|it| it.entry.state_after.clone());
            assert_eq!(queue.projected_state(resource), leaves.as_deref());
            for kind in ["vm_start", "vm_stop"] {
                let like = model.known.iter().filter(about).find(|it| it.entry.kind == kind);
                assert_eq!(queue.find_duplicate(kind, resource), like.map(|it| it.entry.uid));
            }
            let held =
                running.iter().any(|it| it.entry.locks.contains(&(resource, LockMode::Exclusive)));
            assert_eq!(queue.is_held(resource), held);
            let holders: Vec<Uid> = queue.holders(resource).collect();
            assert_eq!(holders, model.at_resource(resource, true));
            let awaiting: Vec<Uid> = queue.awaiting(resource).collect();
            assert_eq!(awaiting, model.at_resource(resource, false));
        }
    }

    /// With the lanes open, everything ends.
    fn teardown(under: Self, model: Model) {
        let mut queue = under.queue;
        for lane in LANES {
            queue.change(lane, LaneChange::Resume);
        }
        for it in &model.known {
            queue.commit(it.entry.uid);
        }
        let mut running: Vec<Uid> = model
            .known
            .iter()
            .filter(|it| it.stage == Stage::Running)
            .map(|it| it.entry.uid)
            .collect();
        let mut ended = 0;
        loop {
            running.extend(std::iter::from_fn(|| queue.start()));
            let Some(uid) = running.pop() else { break };
            queue.finish(uid);
            ended += 1;
        }
        assert_eq!(ended, model.known.len());
        assert_eq!(queue.counts(), (0, 0));
        assert!(queue.lines.is_empty() && queue.queued.is_empty());
        assert!(queue.cancelled.is_empty());
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_its_model_does(sequential 1..60 => Under);
}

/// Were each compared with those before it, this would take the better part of an hour.
#[test]
fn a_long_line_at_one_resource_is_joined_and_left_at_once() {
    const WAITING: u64 = 100_000;
    let vm = ResourceId::new(ResourceKind::Vm, 1);
    let mut queue = Queue::new([("vm", 2)]);
    for uid in (1..=WAITING).map(Uid) {
        // Two that share it, then one that needs it alone.
        let alone = uid.0.is_multiple_of(3);
        let mode = if alone { LockMode::Exclusive } else { LockMode::Shared };
        queue.accept(QueueEntry {
            uid,
            kind: if alone { "vm_stop" } else { "vm_start" }.into(),
            lane: "vm".into(),
            priority: 0,
            locks: vec![(vm, mode)],
            subject: Some(vm),
            state_after: alone.then(|| "halted".into()),
        });
        queue.commit(uid);
        assert_eq!(queue.find_duplicate("vm_start", vm), Some(Uid(1)));
        assert_eq!(queue.projected_state(vm), (uid.0 >= 3).then_some("halted"));
        assert_eq!(queue.wait_reason(uid).is_some(), uid.0 >= 3);
    }
    let mut ended = 0;
    loop {
        let running: Vec<Uid> = std::iter::from_fn(|| queue.start()).collect();
        if running.is_empty() {
            break;
        }
        for uid in running {
            ended += 1;
            assert_eq!(uid, Uid(ended), "in the order they were accepted");
            queue.finish(uid);
        }
    }
    assert_eq!(ended, WAITING);
    assert!(queue.lines.is_empty());
}
