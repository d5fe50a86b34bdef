//! Calling off, down the families: all of it or nothing, each child when it can be, and what is
//! ending only if it does not end.

use futures_util::poll;
use serde_json::json;

use super::children::{asks, cancel, fails_to_make, relaunch, states, world};
use super::world::{World, thing};
use crate::backend::engine::ending::Last;
use crate::backend::engine::live::End;
use crate::domain::{Control, State, Uid};

#[tokio::test]
async fn a_parent_that_is_cancelled_cancels_its_children_first() {
    for crash in [false, true] {
        for point in ["first", "make", "last"] {
            let mut world = world();
            let all = ["one", "two", "three"].map(|name| asks("make", &json!({ "name": name })));
            let group = json!({ "asks": all, "at_once": 1 });
            let uid = world.stays_at(point, "group", group).await;
            if crash {
                // The request is on disk, and nothing of it is done.
                world
                    .crash(|world| {
                        world.sql(
                            &format!("UPDATE operation SET cancelling = 1 WHERE uid = {uid:?}")
                                .replace("Uid(", "")
                                .replace(')', ""),
                        );
                    })
                    .await;
            } else {
                cancel(&world, uid).await;
            }
            let detail = world.rest(uid).await;
            assert_eq!(detail.operation.state, State::Cancel, "{point}: {detail:?}");
            let wanted: &[State] = match point {
                "first" => &[],
                "make" => &[State::Cancel; 3],
                _ => &[State::Done; 3],
            };
            assert_eq!(states(&detail), wanted, "{point}");
            let log = world.script.log();
            assert_eq!(log.last().unwrap(), "undid first", "{point}: {log:?}");
            assert!(world.engine.look(|live| live.operations().next().is_none()));
        }
    }
}

#[tokio::test]
async fn a_failed_parent_that_is_cancelled_takes_its_failed_children_along() {
    let world = world();
    let all = ["bad", "two"].map(|name| asks("make", &json!({ "name": name })));
    let uid = world.accepts("group", json!({ "asks": all })).await;
    let detail = world.rest(uid).await;
    assert_eq!(states(&detail), [State::Error, State::Done]);
    let why = detail.operation.comment.unwrap();
    assert_eq!(why, format!("{} failed: told to fail", detail.children[0].uid));
    cancel(&world, uid).await;
    let detail = world.rest(uid).await;
    assert_eq!(detail.operation.state, State::Cancel);
    assert_eq!(states(&detail), [State::Cancel, State::Done]);
    // Why they failed is not forgotten.
    assert_eq!(detail.operation.comment, Some(format!("cancelled; it had failed: {why}")));
    let told = detail.children[0].comment.as_deref();
    assert_eq!(told, Some("cancelled; it had failed: told to fail"));
}

/// An operation that holds a thing until the test says otherwise.
async fn holds(world: &World, thing: u64) -> Uid {
    let group = json!({ "asks": [], "thing": thing });
    world.stays_at("first", "group", group).await
}

#[tokio::test]
async fn a_parent_that_may_not_be_cancelled_keeps_all_its_children() {
    let world = world();
    let all = ["bad", "bad"].map(|name| asks("make", &json!({ "name": name })));
    let uid = world.accepts("group", json!({ "asks": all })).await;
    let failed = world.rest(uid).await;
    assert_eq!(states(&failed), [State::Error, State::Error]);
    let holder = holds(&world, 2).await;
    let refused = world.engine.control(Control::Cancel { uid }).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("{holder} works with encoding/2")), "{refused}");
    let detail = world.rest(uid).await;
    assert_eq!((detail.operation.state, states(&detail)), (State::Error, states(&failed)));
    world.script.stop_at("nowhere");
    world.rest(holder).await;
    cancel(&world, uid).await;
    let detail = world.rest(uid).await;
    assert_eq!(detail.operation.state, State::Cancel);
    assert_eq!(states(&detail), [State::Cancel, State::Cancel]);
}

#[tokio::test]
async fn a_creation_that_waits_to_be_tried_again_is_not_taken_from_under_another() {
    let world = world();
    let uid = fails_to_make(&world).await;
    let holder = holds(&world, 1).await;
    relaunch(&world, uid).await;
    world.engine.control(Control::Cancel { uid }).await.unwrap_err();
    assert_eq!(world.state(thing(1)).as_deref(), Some("waiting"));
    world.script.stop_at("nowhere");
    assert_eq!(world.rest(holder).await.operation.state, State::Done);
}

#[tokio::test]
async fn a_child_that_cannot_be_called_off_yet_is_when_it_can() {
    let world = world();
    let bad = || asks("make", &json!({ "name": "bad" }));
    let inner = asks("group", &json!({ "asks": [bad()] }));
    let group = json!({ "asks": [bad(), inner], "at_once": 1 });
    let uid = world.accepts("group", group).await;
    let failed = world.rest(uid).await;
    assert_eq!(states(&failed), [State::Error, State::Error]);
    // What the inner group's child failed to make is held, and that group waits for its sibling.
    let holder = holds(&world, 2).await;
    world.script.stop_next_at("make");
    relaunch(&world, uid).await;
    world.script.stopped().await;
    cancel(&world, uid).await;
    // Not before its sibling is gone does the inner group run, and can be undone.
    let detail = world.rest(uid).await;
    assert_eq!((detail.operation.state, detail.children[0].state), (State::Error, State::Cancel));
    let why = detail.operation.comment.unwrap();
    assert!(why.contains(&format!("{holder} works with encoding/2; wait for it")), "{why}");
    world.script.stop_at("nowhere");
    assert_eq!(world.rest(holder).await.operation.state, State::Done);
    cancel(&world, uid).await;
    let detail = world.rest(uid).await;
    assert_eq!(detail.operation.state, State::Cancel);
    assert_eq!(states(&detail), [State::Cancel, State::Cancel]);
    assert!(world.engine.look(|live| live.operations().next().is_none()));
}

#[tokio::test]
async fn one_that_is_ending_is_called_off_only_if_it_does_not() {
    for ends in [true, false] {
        let world = world();
        let uid = fails_to_make(&world).await;
        if !ends {
            world.sql(
                "CREATE TRIGGER no BEFORE UPDATE OF comment ON operation WHEN NEW.comment = 'mine' \
                 BEGIN SELECT RAISE(ABORT, 'no'); END",
            );
        }
        let end = world.engine.transact(|live| {
            let end = End::of(State::Error, Some("mine".to_owned()));
            Ok(world.engine.stage_end(live, vec![Last { uid, end }]))
        });
        let mut cancelled = Box::pin(world.engine.cancel(uid, None));
        assert!(poll!(&mut cancelled).is_pending(), "it waits to see how that ends");
        assert_eq!(end.await.is_ok(), ends);
        cancelled.await.unwrap();
        let why = if ends { "mine" } else { "told to fail" };
        let told = format!("cancelled; it had failed: {why}");
        assert_eq!(world.operation(uid).await.comment, Some(told));
    }
}
