//! Memory and disk tell the same story when writes fail and callers go: with kinds and things that
//! are nobody's but the engine's.

mod cancel;
mod children;
mod journal;
mod once;
mod order;
mod pivot;
mod updates;
pub mod world;

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::core::Committing;
use super::executor;
use super::inventory::Inventory;
use super::live::ReadyOperation;
use super::notices::Notice;
use super::storage::Changed;
use crate::domain::{Control, Fact, LaneChange, Operation, Reason, Refusal, State, Submit, Wait};
use world::{World, thing};

fn lane(change: LaneChange) -> Control {
    Control::Lane { name: "lane".into(), change }
}

#[tokio::test]
async fn what_is_made_is_there_and_can_be_used() {
    let world = World::new();
    let make = world.submit("make", json!({ "name": "one" })).await.unwrap();
    let using = world.submit("use", json!({ "thing": "one" })).await.unwrap();
    assert_eq!(world.rest(using.uid).await.operation.state, State::Done);
    assert_eq!(world.operation(make.uid).await.state, State::Done);
    assert_eq!(world.script.log(), ["made 1", "used 1"]);
    let outcome = world.operation(make.uid).await.outcome.unwrap();
    assert_eq!((&*outcome.message, outcome.data), ("made one", json!({ "thing": 1 })));
    assert_eq!(world.operation(using.uid).await.outcome, None, "it has nothing to say");
    assert_eq!(world.state(thing(1)).as_deref(), Some("finished"));
}

#[tokio::test]
async fn a_request_and_its_work_take_no_more_memory_than_is_kept_at_hand() {
    // What is freed up to this size glibc gives out again at once. For anything larger it first
    // puts together all small pieces that are free, which the next requests then miss.
    const KEPT_AT_HAND: usize = 1032;
    let world = World::new();
    let size = size_of_val(&*world.engine.submit(Submit::default()));
    assert!(size <= KEPT_AT_HAND, "a request takes {size} bytes");
    let uid = world.accepts("make", json!({ "name": "one" })).await;
    let operation = Arc::new(world.operation(uid).await);
    let (params, cancel) = (operation.params.clone(), CancellationToken::new());
    let run = ReadyOperation { operation, params, cancel, resume: false, obstacle: None };
    let size = size_of_val(&executor::run(world.engine.clone(), run));
    assert!(size <= KEPT_AT_HAND, "its work takes {size} bytes");
}

#[tokio::test]
async fn a_request_that_cannot_be_written_leaves_nothing() {
    let world = World::new();
    world.sql("CREATE TRIGGER no BEFORE INSERT ON operation BEGIN SELECT RAISE(ABORT, 'no'); END");
    world.submit("make", json!({ "name": "one" })).await.unwrap_err();
    assert_eq!(world.state(thing(1)), None);
    world.sql("DROP TRIGGER no");
    let make = world.submit("make", json!({ "name": "one" })).await.unwrap();
    assert_eq!(make.uid.0, 1, "numbers have no gaps");
    assert_eq!(world.rest(make.uid).await.operation.state, State::Done);
}

#[tokio::test]
async fn a_caller_that_hangs_up_stops_nothing() {
    let world = World::new();
    let watch = world.engine.watch(|notice| matches!(notice, Notice::Ended(_)));
    let held = world.hold_writer();
    assert!(world.submit("make", json!({ "name": "one" })).now_or_never().is_none());
    drop(held);
    watch.next().await;
    assert_eq!(world.state(thing(1)).as_deref(), Some("finished"));
    // Nor does one that has cancelled something.
    world.engine.control(lane(LaneChange::Pause)).await.unwrap();
    let using = world.submit("use", json!({ "thing": 1 })).await.unwrap();
    let cancel = Control::Cancel { uid: using.uid };
    let held = world.hold_writer();
    assert!(world.engine.control(cancel).now_or_never().is_none());
    drop(held);
    assert_eq!(world.rest(using.uid).await.operation.state, State::Cancel);
}

#[tokio::test]
async fn what_a_cancelled_creation_leaves_is_removed_with_all_that_waited() {
    let world = World::new();
    let make = world.submit("make", json!({ "name": "bad" })).await.unwrap();
    let using = world.submit("use", json!({ "thing": 1 })).await.unwrap();
    assert_eq!(world.rest(make.uid).await.operation.state, State::Error);
    assert_eq!(world.rest(using.uid).await.operation.state, State::Error);
    world.engine.control(Control::Cancel { uid: make.uid }).await.unwrap();
    assert_eq!(world.operation(using.uid).await.state, State::Cancel);
    assert_eq!(world.script.log(), ["unmade 1", "cleared 1"]);
    assert_eq!(world.state(thing(1)), None);
}

#[tokio::test]
async fn an_end_that_cannot_be_written_is_waited_for_and_told() {
    let world = World::new();
    world.sql(
        "CREATE TRIGGER no BEFORE UPDATE OF state ON operation WHEN NEW.state = 2 \
         BEGIN SELECT RAISE(ABORT, 'no room'); END",
    );
    let mut events = world.engine.events.subscribe();
    let make = world.submit("make", json!({ "name": "one" })).await.unwrap();
    let waits = |fact: &Fact| match fact {
        Fact::Operation(operation) => match &operation.wait {
            Some(Wait::Retry { why, .. }) => why.contains("no room"),
            _ => false,
        },
        _ => false,
    };
    while !waits(&events.next().await.unwrap().fact) {}
    world.sql("DROP TRIGGER no");
    world.clock.advance(5);
    assert_eq!(world.rest(make.uid).await.operation.state, State::Done);
}

#[tokio::test]
async fn an_operation_waits_for_a_lease_and_there_is_none_of_what_it_holds() {
    let world = World::new();
    let make = world.submit("make", json!({ "name": "one" })).await.unwrap();
    world.rest(make.uid).await;
    let lease = world.engine.lease(thing(1)).unwrap();
    assert!(world.engine.lease(thing(1)).is_none(), "one at a time");
    world.script.stop_at("use");
    let using = world.submit("use", json!({ "thing": 1 })).await.unwrap();
    // Everybody else does what there is to do.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(world.script.stopped().now_or_never().is_none(), "it waits");
    let same = lease.resource().clone();
    lease.put(same).await.unwrap();
    world.script.stopped().await;
    assert!(world.engine.lease(thing(1)).is_none(), "it is held");
    let freed = world.engine.watch(|notice| notice == Notice::Resource(thing(1)));
    world.script.stop_at("");
    freed.next().await;
    assert_eq!(world.rest(using.uid).await.operation.state, State::Done);
    assert!(world.engine.lease(thing(1)).is_some());
    assert!(world.engine.lease(thing(2)).is_none(), "there is no such thing");
}

#[tokio::test]
async fn what_is_put_early_stays_when_what_was_sent_before_it_is_heard_of() {
    let mut world = World::new();
    let make = world.submit("make", json!({ "name": "bad" })).await.unwrap();
    world.rest(make.uid).await;
    world.engine.control(lane(LaneChange::Pause)).await.unwrap();
    let lease = world.engine.lease(thing(1)).unwrap();
    let same = lease.resource().clone();
    let (put, params) = (lease.put(same), json!({ "name": "good" }));
    let params = params.as_object().unwrap().clone();
    let relaunch = world.engine.control(Control::Relaunch { uid: make.uid, params });
    let (put, relaunched) = tokio::join!(put, relaunch);
    put.unwrap();
    relaunched.unwrap();
    for _ in 0..2 {
        let name = |inventory: &Inventory| inventory.resource(thing(1)).unwrap().name().to_owned();
        assert_eq!(world.engine.inventory(name), "good");
        world.crash(|_| {}).await;
    }
}

#[tokio::test]
async fn a_put_of_what_is_gone_is_refused_and_not_written() {
    let mut world = World::new();
    world.script.stop_at("make");
    let make = world.submit("make", json!({ "name": "one" })).await.unwrap();
    world.script.stopped().await;
    let phantom =
        world.engine.inventory(|inventory| inventory.resource(thing(1)).cloned()).unwrap();
    world.engine.control(Control::Cancel { uid: make.uid }).await.unwrap();
    world.rest(make.uid).await;
    let phantom =
        Committing { changed: vec![Changed::Put(Arc::new(phantom))], runs: None, makes: None };
    let put = world.engine.transact(|live| phantom.stage(live, Vec::new()));
    assert_eq!(put.await.unwrap_err().to_string(), format!("{} does not exist", thing(1)));
    for _ in 0..2 {
        assert_eq!(world.state(thing(1)), None);
        let using = world.submit("use", json!({ "thing": 1 })).await.unwrap_err();
        let existence = matches!(
            &using,
            crate::domain::BackendError::Refused(Refusal { reason: Reason::Existence, .. })
        );
        assert!(existence, "{using}");
        world.crash(|_| {}).await;
    }
}

#[tokio::test]
async fn what_runs_goes_on_after_a_crash_whatever_its_lane_says() {
    for change in [LaneChange::Pause, LaneChange::Drain, LaneChange::Width(1)] {
        let mut world = World::new();
        world.script.stop_at("make");
        let one = world.submit("make", json!({ "name": "one" })).await.unwrap().uid;
        world.script.stopped().await;
        let two = world.submit("make", json!({ "name": "two" })).await.unwrap().uid;
        world.script.stopped().await;
        world.engine.control(lane(change)).await.unwrap();
        let later = world.submit("make", json!({ "name": "later" })).await.unwrap().uid;
        world.crash(|_| {}).await;
        for uid in [one, two] {
            assert_eq!(world.operation(uid).await.state, State::Run, "{change:?}");
        }
        assert_eq!(world.operation(later).await.state, State::Pending, "{change:?}");
        let why = world.engine.look(|live| live.queue().wait_reason(later));
        let full = matches!(change, LaneChange::Width(_));
        let is_why = match why.unwrap() {
            Wait::LaneFull { .. } => full,
            Wait::LanePaused { .. } => !full,
            _ => false,
        };
        assert!(is_why, "{change:?}");
        world.script.stop_at("nowhere");
        for uid in [one, two] {
            assert_eq!(world.rest(uid).await.operation.state, State::Done, "{change:?}");
        }
    }
}

#[tokio::test]
async fn every_change_says_when_in_memory_and_on_disk() {
    let world = World::new();
    world.engine.control(lane(LaneChange::Pause)).await.unwrap();
    let uid = world.submit("make", json!({ "name": "one" })).await.unwrap().uid;
    let is = async |seconds: i64| {
        let stored = world.engine.stored_operation(uid).await.unwrap().unwrap();
        let at = |it: &Operation| it.updated.as_second();
        assert_eq!((at(&world.operation(uid).await), at(&stored)), (seconds, seconds));
    };
    is(0).await;
    world.clock.advance(1);
    world.engine.control(Control::Priority { uid, priority: 1 }).await.unwrap();
    is(1).await;
    world.clock.advance(1);
    world.script.stop_at("make");
    world.engine.control(lane(LaneChange::Resume)).await.unwrap();
    world.script.stopped().await;
    // That it runs is on disk with its first step at the latest.
    assert_eq!(world.operation(uid).await.updated.as_second(), 2);
    world.clock.advance(1);
    world.engine.control(Control::Cancel { uid }).await.unwrap();
    assert_eq!(world.rest(uid).await.operation.state, State::Cancel);
    is(3).await;
}
