//! The queue beside its model, through whatever comes.

use super::*;

/// The queue, and the model as it was before the transition that is being applied.
struct Under {
    queue: Queue,
    before: QueueModel,
}

impl StateMachineTest for Under {
    type SystemUnderTest = Self;
    type Reference = QueueModel;

    fn init_test(model: &QueueModel) -> Self {
        let lanes = model.lanes.iter().map(|(name, lane)| (&**name, lane.width));
        Self { queue: Queue::new(lanes), before: model.clone() }
    }

    fn apply(mut under: Self, model: &QueueModel, transition: Do) -> Self {
        let before = std::mem::replace(&mut under.before, model.clone());
        let queue = &mut under.queue;
        let uid = |at: usize| before.known[at].entry.uid;
        match transition {
            Do::Accept(entry) => take_in(queue, &before, entry),
            Do::Again(_) if before.gone.is_empty() => {}
            Do::Again(index) => {
                let entry = before.gone[index.index(before.gone.len())].clone();
                take_in(queue, &before, entry);
            }
            Do::Commit(index) => {
                if let Some(at) = before.at(index, &[QueueStage::Held]) {
                    queue.commit(uid(at));
                }
            }
            Do::Hold(index) => {
                if let Some(at) = before.at(index, &WAITS) {
                    assert!(queue.hold(uid(at)));
                } else if let Some(at) = before.at(index, &STARTED) {
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
                let returns = before.first().is_some_and(|at| before.known[at].stage == STARTED[2]);
                let turn = if returns { Turn::GoOn } else { Turn::Start };
                assert_eq!(queue.start(), first.map(turn));
            }
            Do::Finish(index) => {
                if let Some(at) = before.at(index, &STARTED) {
                    assert!(!queue.withdraw(uid(at)), "what runs cannot be withdrawn");
                    queue.finish(uid(at));
                }
            }
            Do::Join(index) => {
                if let Some(at) = before.at(index, &[QueueStage::Running]) {
                    let drained = queue.give_up_place(uid(at));
                    let was = &before.lanes[&*before.known[at].entry.lane];
                    let is = &model.lanes[&*before.known[at].entry.lane];
                    assert_eq!(drained.is_some(), was.state != is.state);
                }
            }
            Do::Return(index) => {
                if let Some(at) = before.at(index, &[QueueStage::Joining]) {
                    queue.ask_for_place(uid(at));
                }
            }
            Do::Close(index) => {
                if let Some(at) = before.at(index, &STARTED) {
                    queue.close_family(uid(at));
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

    fn check_invariants(under: &Self, model: &QueueModel) {
        let queue = &under.queue;
        for lane in queue.lanes() {
            let is = &model.lanes[&lane.name];
            let waiting = model
                .known
                .iter()
                .filter(|it| it.stage != QueueStage::Running && it.entry.lane == lane.name);
            assert_eq!((lane.width, lane.state), (is.width, is.state));
            assert_eq!(lane.running, model.running(&lane.name));
            assert_eq!(lane.waiting as usize, waiting.count());
        }
        let running: Vec<&Known> = model.known.iter().filter(|it| it.stage.has_started()).collect();
        for (at, one) in running.iter().enumerate() {
            for other in &running[at + 1..] {
                let family = one.entry.ancestors.contains(&other.entry.uid)
                    || other.entry.ancestors.contains(&one.entry.uid);
                assert!(family || !excluding(&one.entry, &other.entry), "{one:?} {other:?}");
            }
        }
        for (at, it) in model.known.iter().enumerate() {
            let why = queue.wait_reason(it.entry.uid);
            match it.stage {
                QueueStage::Running | QueueStage::Joining => assert_eq!(why, None),
                QueueStage::Returning => {
                    assert_eq!(why.is_none(), model.open(it));
                }
                // It is about to be on disk, and waits for nothing else.
                QueueStage::Held | QueueStage::Waiting => {
                    let blocker = model.blocker(at);
                    let free = blocker.is_none() && model.open(it);
                    assert_eq!(why.is_none(), free, "{why:?}");
                    if blocker.is_some() {
                        assert_eq!(why, blocker);
                    }
                }
            }
        }
        for resource in (1..4).map(|id| ResourceId::new(Vm::KIND, id)) {
            check_questions(queue, model, resource, None);
            for it in &model.known {
                if it.entry.locks.iter().any(|(id, _)| *id == resource) {
                    check_questions(queue, model, resource, Some(it));
                }
            }
            let held =
                running.iter().any(|it| it.entry.locks.contains(&(resource, LockMode::Exclusive)));
            assert_eq!(queue.is_held(resource), held);
            let order = |mut uids: Vec<Uid>| {
                uids.sort();
                uids
            };
            let holders = order(queue.holders(resource).collect());
            assert_eq!(holders, order(model.at_resource(resource, true)));
            let awaiting: Vec<Uid> = queue.awaiting(resource).collect();
            let tree = model.tree(resource, None);
            let waits = tree.iter().filter(|it| !it.stage.has_started());
            assert_eq!(awaiting, waits.map(|it| it.entry.uid).collect::<Vec<_>>());
        }
    }

    /// With the lanes open, everything ends.
    fn teardown(under: Self, model: QueueModel) {
        let mut queue = under.queue;
        for lane in LANES {
            queue.change(lane, LaneChange::Resume);
        }
        for it in &model.known {
            queue.commit(it.entry.uid);
        }
        let mut running: Vec<Uid> =
            model.known.iter().filter(|it| it.stage.has_started()).map(|it| it.entry.uid).collect();
        let mut ended = 0;
        loop {
            while let Some(turn) = queue.start() {
                match turn {
                    Turn::Start(uid) => running.push(uid),
                    Turn::GoOn(uid) => assert!(running.contains(&uid)),
                }
            }
            let Some(uid) = running.pop() else { break };
            queue.finish(uid);
            ended += 1;
        }
        // Those of a closed family never start.
        let left: Vec<Uid> = queue.queued.keys().copied().collect();
        ended += left.len();
        for uid in left {
            assert!(queue.withdraw(uid));
        }
        assert_eq!(ended, model.known.len());
        assert_eq!(queue.counts(), (0, 0));
        assert!(queue.lines.is_empty() && queue.queued.is_empty());
        assert!(queue.under_way.is_empty() && queue.families.is_empty());
    }
}

/// Accepts it, unless it is refused.
fn take_in(queue: &mut Queue, before: &QueueModel, entry: QueueEntry) {
    let uncovered = queue.uncovered(&entry.ancestors, &entry.locks);
    assert_eq!(uncovered.is_some(), before.uncovered(&entry));
    if uncovered.is_none() {
        queue.accept(entry);
    }
}

/// What is asked before an operation is accepted, as a child of `parent` or of none.
fn check_questions(
    queue: &Queue,
    model: &QueueModel,
    resource: ResourceId,
    parent: Option<&Known>,
) {
    let ancestors: Vec<Uid> = parent.map(|parent| parent.entry.uid).into_iter().collect();
    let within = model.tree(resource, parent.map(|parent| parent.ticket));
    let about = |it: &&&Known| it.entry.subject == Some(resource);
    for kind in ["vm_start", "vm_stop"] {
        let like = within.iter().filter(about).filter(|it| it.entry.kind == kind);
        // Among those of one hold the first; any of them is in the way.
        let like: Vec<Uid> = like.map(|it| it.entry.uid).collect();
        let found = queue.find_duplicate(kind, resource, &ancestors);
        assert_eq!(found.is_some(), !like.is_empty());
        assert!(found.is_none_or(|found| like.contains(&found)));
    }
    // What comes last is what an operation does after those within its hold.
    fn last(model: &QueueModel, resource: ResourceId, within: Option<usize>) -> Option<Text> {
        model.spots(resource).iter().rev().filter(|spot| spot.within == within).find_map(|spot| {
            let own = model.known.iter().find(|it| it.ticket == spot.ticket);
            let own = own.filter(|it| it.entry.subject == Some(resource));
            let own = own.and_then(|it| it.entry.state_after.clone());
            own.or_else(|| last(model, resource, Some(spot.ticket)))
        })
    }
    let leaves = last(model, resource, parent.map(|parent| parent.ticket));
    assert_eq!(queue.projected_state(resource, &ancestors), leaves.as_deref());
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_its_model_does(sequential 1..60 => Under);
}
