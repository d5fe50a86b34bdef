//! What was accepted does not fail for want of room in hostler's own records: it waits, and says
//! so.

use futures_util::{FutureExt, StreamExt};
use serde_json::json;

use crate::backend::engine::store::{FILE, Fault, Faults, How};
use crate::backend::testing::fake::CallFault;
use crate::backend::testing::harness::Harness;
use crate::domain::{Backend, Control, EventStream, Fact, LaneChange, State, Uid, Wait};

fn lane(change: LaneChange) -> Control {
    Control::Lane { name: "disk".into(), change }
}

/// The reasons for which an operation was told to wait until it is tried again.
fn waits(events: &mut EventStream, uid: Uid) -> Vec<String> {
    let mut waits = Vec::new();
    // Without the budget that a task of tokio's has, which others may have used up by now.
    let mut next = || tokio::task::unconstrained(events.next()).now_or_never().flatten();
    while let Some(event) = next() {
        if let Fact::Operation(operation) = event.fact
            && operation.uid == uid
            && let Some(Wait::Retry { why, .. }) = &operation.wait
        {
            waits.push(why.clone());
        }
    }
    waits
}

#[tokio::test]
async fn a_step_without_room_waits_for_it() {
    let mut harness = Harness::open();
    let mut events = harness.backend.subscribe();
    harness.fake.trouble(0, CallFault::NoRoom(20));
    let given = json!({ "name": "data", "size_mb": 20 });
    let uid = harness.submit("disk_create", given).await.unwrap().uid;
    let ended = harness.ends(uid).await;
    assert_eq!((ended.state, &ended.wait), (State::Done, &None), "{ended:?}");
    let waits = waits(&mut events, uid);
    assert_eq!(waits.len(), 20);
    assert!(waits[0].starts_with("no room for"), "{waits:?}");
    let detail = harness.detail(uid).await;
    assert!(detail.steps.iter().all(|step| step.error.is_none()), "{detail:?}");
}

#[tokio::test]
async fn what_waits_for_room_can_be_cancelled() {
    let mut harness = Harness::open();
    harness.fake.trouble(0, CallFault::NoRoom(u32::MAX));
    let given = json!({ "name": "data", "size_mb": 20 });
    let uid = harness.submit("disk_create", given).await.unwrap().uid;
    let waits = |fact: &Fact| match fact {
        Fact::Operation(it) if it.uid == uid => {
            matches!(it.wait, Some(Wait::Retry { .. })).then_some(())
        }
        _ => None,
    };
    harness.hears(waits).await;
    harness.fake.trouble(usize::MAX, CallFault::Before);
    harness.control(Control::Cancel { uid }).await;
    let ended = harness.reaches(uid, &[State::Cancel, State::Done]).await;
    if ended.state == State::Cancel {
        harness.backend.in_step().await;
        assert_eq!(harness.everything().await["files"], json!([]));
    }
}

/// A store without room, or locked, for as long as `times` writes, from any place in an operation's
/// life on.
#[tokio::test]
async fn what_was_accepted_is_done_although_the_store_had_no_room() {
    for how in [How::Full, How::Locked] {
        endures(how).await;
    }
}

async fn endures(how: How) {
    for at in 0.. {
        let mut harness = Harness::open();
        harness.control(lane(LaneChange::Pause)).await;
        let given = json!({ "name": "data", "size_mb": 20 });
        let uid = harness.submit("disk_create", given).await.unwrap().uid;
        harness.control(lane(LaneChange::Resume)).await;
        let faults = Faults::of(&harness.dir().join(FILE));
        faults.plan(Some(Fault { at, times: 4, how }));
        let backend = harness.backend.clone();
        let states = [State::Done, State::Error, State::Cancel];
        let ended = tokio::select! {
            ended = harness.reaches(uid, &states) => ended,
            // Whether that commit happened nobody knows: the next start does.
            _ = backend.lost() => continue,
        };
        let struck = faults.plan(None);
        assert_eq!(ended.state, State::Done, "{how:?} {at} {struck:?}: {:?}", ended.comment);
        harness.backend.leave(false).await;
        if struck.is_empty() {
            assert!(at > 3, "it has more places than {at}");
            return;
        }
    }
}
