//! A line of a hundred thousand.

use super::*;

/// Were each compared with those before it, this would take the better part of an hour.
#[test]
fn a_long_line_at_one_resource_is_joined_and_left_at_once() {
    const WAITING: u64 = 100_000;
    let vm = ResourceId::new(Vm::KIND, 1);
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
            ancestors: vec![],
            at_once: None,
            began: false,
        });
        queue.commit(uid);
        assert_eq!(queue.find_duplicate("vm_start", vm, &[]), Some(Uid(1)));
        assert_eq!(queue.projected_state(vm, &[]), (uid.0 >= 3).then_some("halted"));
        assert_eq!(queue.wait_reason(uid).is_some(), uid.0 >= 3);
    }
    let mut ended = 0;
    loop {
        let running: Vec<Turn> = std::iter::from_fn(|| queue.start()).collect();
        if running.is_empty() {
            break;
        }
        for turn in running {
            ended += 1;
            assert_eq!(turn, Turn::Start(Uid(ended)), "in the order they were accepted");
            queue.finish(Uid(ended));
        }
    }
    assert_eq!(ended, WAITING);
    assert!(queue.lines.is_empty());
}
