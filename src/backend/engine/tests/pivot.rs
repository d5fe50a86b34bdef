//! The pivot of an operation: undone before it, only forward behind it, and never both.

use std::sync::Arc;

use futures_util::poll;
use serde_json::{Map, json};

use super::children::{cancel, relaunch};
use super::lane;
use super::world::{Script, World, spec, thing};
use crate::backend::engine::ending::Last;
use crate::backend::engine::journal::{Context, StepContext, Stop};
use crate::backend::engine::kind::Kind;
use crate::backend::engine::live::End;
use crate::domain::{
    BoxFuture, Control, Effect, Encoding, Failure, Field, FieldType, LaneChange, LockMode,
    LockRule, OperationSpec, Outcome, Params, State, StepState, Uid,
};

/// `remove`: puts a thing aside, which can be undone, and removes it, which cannot.
struct RemoveThing(Arc<OperationSpec>, Arc<Script>);

impl Kind for RemoveThing {
    fn spec(&self) -> &Arc<OperationSpec> {
        &self.0
    }

    fn run(&self, cx: Context, params: &Params) -> BoxFuture<'static, Result<Outcome, Stop>> {
        let (script, fails) = (self.1.clone(), params["fails"] == true);
        Box::pin(async move {
            let id = cx.id()?;
            let undone = script.clone();
            let undo = move |_: StepContext| {
                undone.write("put back");
                std::future::ready(Ok(()))
            };
            let script = &script;
            cx.step("aside")
                .undo(undo)
                .run(|_| async move {
                    script.point("aside").await;
                    script.write("put aside");
                    Ok(())
                })
                .await?;
            cx.step("files")
                .pivot()
                .run(|step| async move {
                    script.point("files").await;
                    script.write("removed");
                    if fails && !script.log().contains(&"mended".to_owned()) {
                        return Err(Failure::new("told to fail"));
                    }
                    step.remove(thing(id));
                    Ok(())
                })
                .await?;
            Ok(Outcome::default())
        })
    }
}

/// A world with `remove`, and a thing in it.
async fn world() -> World {
    let of = FieldType::Resource { of: Encoding::KIND, states: vec![] };
    let remove = OperationSpec {
        subject: Some("thing".into()),
        locks: vec![LockRule { field: "thing".into(), mode: LockMode::Exclusive }],
        requires: vec!["finished".into()],
        steps: vec!["aside".into(), "files".into()],
        ..spec(
            "remove",
            Effect::Deletes,
            vec![
                Field::required("thing", of, "Which."),
                Field::optional("fails", FieldType::Flag, false, "Whether it fails."),
            ],
        )
    };
    let world = World::with(|script| vec![Arc::new(RemoveThing(remove.into(), script.clone()))]);
    let made = world.accepts("make", json!({ "name": "one" })).await;
    world.rest(made).await;
    world
}

fn log(world: &World) -> Vec<String> {
    world.script.log().into_iter().skip(1).collect()
}

/// That calling an operation off is refused, and why.
async fn refuses(world: &World, uid: Uid) -> String {
    world.engine.control(Control::Cancel { uid }).await.unwrap_err().to_string()
}

#[tokio::test]
async fn what_is_called_off_before_its_pivot_is_undone() {
    let world = world().await;
    let uid = world.stays_at("aside", "remove", json!({ "thing": 1 })).await;
    cancel(&world, uid).await;
    assert_eq!(world.rest(uid).await.operation.state, State::Cancel);
    assert_eq!(log(&world), ["put back"]);
    assert!(world.state(thing(1)).is_some());
}

#[tokio::test]
async fn what_is_past_its_pivot_cannot_be_called_off() {
    for crash in [false, true] {
        let mut world = world().await;
        let uid = world.stays_at("files", "remove", json!({ "thing": 1 })).await;
        if crash {
            world.crash(|_| {}).await;
        }
        let why = refuses(&world, uid).await;
        assert!(why.contains("cannot be taken back; it goes on to its end"), "{why}");
        world.script.stop_at("nowhere");
        let ended = world.rest(uid).await.operation;
        assert_eq!((ended.state, ended.comment), (State::Done, None));
        assert_eq!(log(&world), ["put aside", "removed"]);
        assert_eq!(world.state(thing(1)), None);
    }
}

#[tokio::test]
async fn what_fails_past_its_pivot_only_goes_on() {
    for crash in [false, true] {
        let mut world = world().await;
        let fails = json!({ "thing": 1, "fails": true });
        let uid = world.stays_at("files", "remove", fails).await;
        let waits = world.accepts("use", json!({ "thing": 1 })).await;
        world.script.stop_at("nowhere");
        let failed = world.rest(uid).await;
        assert_eq!(failed.operation.state, State::Error);
        assert_eq!(failed.operation.comment.as_deref(), Some("told to fail"));
        let states: Vec<StepState> = failed.steps.iter().map(|step| step.state).collect();
        assert_eq!(states, [StepState::Done, StepState::Failed]);
        if crash {
            world.crash(|_| {}).await;
        }
        // Nobody else works with what is left of it: who waited, and who asks now.
        let waited = world.rest(waits).await.operation;
        let told = "encoding/1 'one' is not whole any more: remove #2 failed on it; relaunch that";
        assert_eq!(waited.comment, Some(format!("{told} first, then this")));
        let refused = world.submit("use", json!({ "thing": 1 })).await.unwrap_err().to_string();
        assert_eq!(refused, told);
        let why = refuses(&world, uid).await;
        assert!(why.contains("relaunch it, so that it comes to its end"), "{why}");
        let params = Map::from_iter([("fails".to_owned(), false.into())]);
        let other = world.engine.control(Control::Relaunch { uid, params }).await.unwrap_err();
        assert!(other.to_string().contains("relaunch it with what was asked for"), "{other}");
        world.script.write("mended");
        relaunch(&world, uid).await;
        let ended = world.rest(uid).await.operation;
        assert_eq!((ended.state, ended.attempt), (State::Done, 1));
        assert_eq!(world.state(thing(1)), None);
        assert!(!log(&world).contains(&"put back".to_owned()));
    }
}

#[tokio::test]
async fn what_has_no_way_back_keeps_what_it_works_on() {
    let world = world().await;
    let made = world.stays_at("make", "make", json!({ "name": "bad" })).await;
    let uid = world.accepts("remove", json!({ "thing": 2, "fails": true })).await;
    // Its turn comes when what makes the thing is behind it again.
    world.engine.control(lane(LaneChange::Pause)).await.unwrap();
    world.script.stop_at("nowhere");
    assert_eq!(world.rest(made).await.operation.state, State::Error);
    relaunch(&world, made).await;
    world.engine.control(lane(LaneChange::Resume)).await.unwrap();
    let failed = world.rest(uid).await.operation;
    assert_eq!(failed.comment.as_deref(), Some("told to fail"));
    // To call its creation off would take that away, and what failed on it along.
    let why = refuses(&world, made).await;
    assert!(why.contains(&format!("remove {uid} failed on it; relaunch that first")), "{why}");
    world.script.write("mended");
    relaunch(&world, uid).await;
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
    cancel(&world, made).await;
    assert_eq!(world.rest(made).await.operation.state, State::Cancel);
}

#[tokio::test]
async fn nothing_passes_on_what_is_being_called_off() {
    let mut world = world().await;
    let made = world.stays_at("make", "make", json!({ "name": "bad" })).await;
    let uid = world.accepts("remove", json!({ "thing": 2 })).await;
    // It stands behind the removal again, and for a later life may have begun.
    world.engine.control(lane(LaneChange::Pause)).await.unwrap();
    world.script.stop_at("nowhere");
    assert_eq!(world.rest(made).await.operation.state, State::Error);
    relaunch(&world, made).await;
    world.crash(|_| {}).await;
    cancel(&world, made).await;
    world.engine.control(lane(LaneChange::Resume)).await.unwrap();
    assert_eq!(world.rest(made).await.operation.state, State::Cancel);
    assert_eq!(world.rest(uid).await.operation.state, State::Cancel);
    assert!(log(&world).contains(&"put back".to_owned()), "{:?}", log(&world));
    assert!(!log(&world).contains(&"removed".to_owned()), "{:?}", log(&world));
}

#[tokio::test]
async fn who_calls_it_off_first_keeps_it_from_passing() {
    let world = world().await;
    let uid = world.stays_at("aside", "remove", json!({ "thing": 1 })).await;
    let mut cancelled = Box::pin(world.engine.cancel(uid, None));
    assert!(poll!(&mut cancelled).is_pending(), "it is on its way");
    let (cancelled, passed) = tokio::join!(cancelled, world.engine.pass_pivot(uid));
    cancelled.unwrap();
    assert_eq!(passed, Err(Stop::Cancelled));
    assert_eq!(world.rest(uid).await.operation.state, State::Cancel);
    assert!(world.state(thing(1)).is_some());
}

#[tokio::test]
async fn who_passes_first_is_not_called_off() {
    let world = world().await;
    let uid = world.stays_at("aside", "remove", json!({ "thing": 1 })).await;
    let mut passes = Box::pin(world.engine.pass_pivot(uid));
    assert!(poll!(&mut passes).is_pending(), "it is on its way");
    let (passed, cancelled) = tokio::join!(passes, world.engine.cancel(uid, None));
    passed.unwrap();
    cancelled.unwrap_err();
    world.script.stop_at("nowhere");
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
    assert_eq!(world.state(thing(1)), None);
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_is_told() {
    for crash in [false, true] {
        let mut world = world().await;
        let uid = world.stays_at("use", "use", json!({ "thing": 1 })).await;
        if crash {
            let done = "INSERT OR REPLACE INTO step VALUES \
                        (2, 0, 1, 'use', 1, 'null', NULL, '[]', 0, 0); \
                        UPDATE operation SET state = 1, cancelling = 1 WHERE uid = 2";
            world.crash(|world| world.sql(done)).await;
        } else {
            let mut cancelled = Box::pin(world.engine.cancel(uid, None));
            assert!(poll!(&mut cancelled).is_pending(), "it is on its way");
            let done = world.engine.transact(|live| {
                let end = End::done(Outcome::default());
                Ok(world.engine.stage_end(live, vec![Last { uid, end }]))
            });
            done.await.unwrap();
            cancelled.await.unwrap();
        }
        let ended = world.rest(uid).await.operation;
        assert_eq!(ended.state, State::Done);
        assert_eq!(ended.comment.as_deref(), Some("cancelled too late: all of it was done"));
    }
}
