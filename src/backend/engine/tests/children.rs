//! Parents and children: crashes, failures and cancels at every point, what they hold, and that
//! they never wait for each other in a circle.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::world::{Script, World, spec, thing};
use crate::backend::engine::journal::{Context, JOIN, SPAWN, Spawned, Stop, refused};
use crate::backend::engine::kind::{ChildRules, Kind};
use crate::backend::engine::live::Live;
use crate::domain::{
    BoxFuture, Control, Effect, Encoding, Failure, Field, FieldType, LaneChange, LockMode,
    LockRule, Operation, OperationDetail, OperationSpec, Outcome, Params, State, Submit, Uid, Wait,
};

/// `group`: asks for others between two steps of its own, and may hold a thing for itself.
struct Group(Arc<OperationSpec>, Arc<Script>);

impl Kind for Group {
    fn spec(&self) -> &Arc<OperationSpec> {
        &self.0
    }

    fn child_rules(&self, params: &Params) -> ChildRules {
        let at_once = params["at_once"].as_u64().map(|most| u32::try_from(most).unwrap());
        ChildRules { at_once, stop_on_error: params["stops"] == json!(true) }
    }

    fn run(&self, cx: Context, params: &Params) -> BoxFuture<'static, Result<Outcome, Stop>> {
        let (script, params) = (self.1.clone(), params.clone());
        Box::pin(async move {
            let step = |name: &'static str| {
                let (script, undone) = (script.clone(), script.clone());
                let undo = move |_| {
                    undone.write(format!("undid {name}"));
                    std::future::ready(Ok(()))
                };
                cx.step(name).undo(undo).run(move |_| {
                    let script = script.clone();
                    async move {
                        script.point(name).await;
                        script.write(name);
                        Ok(())
                    }
                })
            };
            step("first").await?;
            let lines = params["asks"].as_array().unwrap();
            let requests: Vec<Submit> = lines
                .iter()
                .map(|line| serde_json::from_str(line.as_str().unwrap()).unwrap())
                .collect();
            let spawned = cx.spawn_all(requests).await?;
            let children: Vec<Uid> = spawned.iter().filter_map(Spawned::child).collect();
            if params["leaves"] == json!(true) {
                return Ok(Outcome::default());
            }
            let joined = cx.join_all(&children).await?;
            assert_eq!(joined.iter().map(|it| it.uid).collect::<Vec<_>>(), children);
            if let Some(refused) = refused(&spawned) {
                return Err(Failure::new(refused).into());
            }
            if let Some(failed) = joined.iter().find(|child| child.state == State::Error) {
                let why = failed.comment.clone().unwrap();
                return Err(Failure::new(format!("{} failed: {why}", failed.uid)).into());
            }
            step("last").await?;
            Ok(Outcome::default())
        })
    }
}

/// `add`: adds to a thing that others may be adding to.
struct Add(Arc<OperationSpec>, Arc<Script>);

impl Kind for Add {
    fn spec(&self) -> &Arc<OperationSpec> {
        &self.0
    }

    fn run(&self, cx: Context, params: &Params) -> BoxFuture<'static, Result<Outcome, Stop>> {
        let (script, id) = (self.1.clone(), params["thing"].as_u64().unwrap());
        Box::pin(async move {
            let script = &script;
            cx.step("add")
                .run(|step| async move {
                    script.point("add").await;
                    step.update(id, |it: &mut Encoding| it.name.push('+'));
                    Ok(())
                })
                .await?;
            Ok(Outcome::default())
        })
    }
}

pub(super) fn world() -> World {
    World::with(|script| {
        let of = || FieldType::Resource { of: Encoding::KIND, states: vec![] };
        let number = FieldType::Integer { min: 1, max: 100, unit: "".into() };
        let fields = vec![
            Field::required("asks", FieldType::Lines, "What it asks for."),
            Field::optional("thing", of(), Json::Null, "What it holds."),
            Field::optional("at_once", number, Json::Null, "How many at once."),
            Field::optional("stops", FieldType::Flag, false, "Whether they stop."),
            Field::optional("leaves", FieldType::Flag, false, "Whether it waits for none."),
        ];
        let group = OperationSpec {
            locks: vec![LockRule { field: "thing".into(), mode: LockMode::Exclusive }],
            steps: vec!["first".into(), SPAWN.into(), JOIN.into(), "last".into()],
            ..spec("group", Effect::Changes, fields)
        };
        let add = OperationSpec {
            steps: vec!["add".into()],
            ..spec("add", Effect::Changes, vec![Field::required("thing", of(), "Which.")])
        };
        vec![
            Arc::new(Group(group.into(), script.clone())),
            Arc::new(Add(add.into(), script.clone())),
        ]
    })
}

pub(super) fn asks(kind: &str, params: &Json) -> String {
    json!({ "kind": kind, "params": params }).to_string()
}

/// A request for a group of groups, each of one `use`.
fn nested(things: &[u64]) -> Json {
    let inner =
        |thing: &u64| asks("group", &json!({ "asks": [asks("use", &json!({ "thing": thing }))] }));
    json!({ "asks": things.iter().map(inner).collect::<Vec<_>>() })
}

pub(super) async fn things(world: &World, number: u64) {
    for at in 1..=number {
        let make = world.submit("make", json!({ "name": format!("thing-{at}") })).await.unwrap();
        assert_eq!(world.rest(make.uid).await.operation.state, State::Done);
    }
}

/// Makes a thing that cannot be made: its operation waits to be tried again.
pub(super) async fn fails_to_make(world: &World) -> Uid {
    let uid = world.accepts("make", json!({ "name": "bad" })).await;
    assert_eq!(world.rest(uid).await.operation.state, State::Error);
    uid
}

async fn width(world: &World, width: u32) {
    let change = LaneChange::Width(width);
    world.engine.control(Control::Lane { name: "lane".into(), change }).await.unwrap();
}

pub(super) fn states(detail: &OperationDetail) -> Vec<State> {
    detail.children.iter().map(|child| child.state).collect()
}

pub(super) async fn cancel(world: &World, uid: Uid) {
    world.engine.control(Control::Cancel { uid }).await.unwrap();
}

pub(super) async fn relaunch(world: &World, uid: Uid) {
    world.engine.control(Control::Relaunch { uid, params: Params::new() }).await.unwrap();
}

/// Returns when an operation waits for its children: it has asked for them, or taken them up.
async fn gives_up_its_place(world: &World, uid: Uid) {
    let waits = |live: &Live| {
        let runs = live.operation(uid).is_some_and(|it| it.state == State::Run);
        runs && !live.queue().has_place(uid)
    };
    while !world.engine.look(waits) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_crash_at_any_point_costs_no_child_and_makes_none_twice() {
    for point in ["first", "use", "last"] {
        for crashes in 1..=2 {
            let mut world = world();
            things(&world, 2).await;
            world.script.stop_at(point);
            let group = json!({ "asks": [
                asks("use", &json!({ "thing": 1 })), asks("use", &json!({ "thing": 2 })),
            ] });
            let uid = world.accepts("group", group).await;
            for _ in 0..crashes {
                world.script.stopped().await;
                world.crash(|_| {}).await;
            }
            world.script.stop_at("nowhere");
            let detail = world.rest(uid).await;
            assert_eq!(detail.operation.state, State::Done, "{point}: {detail:?}");
            assert_eq!(states(&detail), [State::Done, State::Done], "{point}");
            let mut log = world.script.log();
            log.retain(|line| line.starts_with("used"));
            log.sort();
            assert_eq!(log, ["used 1", "used 2"], "{point}");
            let names: Vec<_> = detail.steps.iter().map(|step| step.name.as_str()).collect();
            assert_eq!(names, ["first", SPAWN, JOIN, "last"], "{point}");
        }
    }
}

#[tokio::test]
async fn children_and_the_record_of_them_are_written_together_or_not_at_all() {
    let world = world();
    things(&world, 1).await;
    world.sql(
        "CREATE TRIGGER no BEFORE INSERT ON step WHEN NEW.name = 'spawn' AND NEW.state = 1 \
         BEGIN SELECT RAISE(ABORT, 'no room'); END",
    );
    let group = json!({ "asks": [asks("use", &json!({ "thing": 1 }))] });
    let uid = world.accepts("group", group).await;
    let detail = world.rest(uid).await;
    assert_eq!((detail.operation.state, states(&detail)), (State::Error, vec![]));
    assert!(!world.engine.look(|live| live.has_children_under_way(uid)));
    world.sql("DROP TRIGGER no");
    relaunch(&world, uid).await;
    let detail = world.rest(uid).await;
    assert_eq!((detail.operation.state, states(&detail)), (State::Done, vec![State::Done]));
}

#[tokio::test]
async fn nested_groups_end_in_a_lane_of_one_place() {
    let world = world();
    things(&world, 3).await;
    width(&world, 1).await;
    let uid = world.accepts("group", nested(&[1, 2, 3])).await;
    let detail = world.rest(uid).await;
    assert_eq!(detail.operation.state, State::Done, "{:?}", detail.operation.comment);
    let lane = world.engine.look(|live| live.queue().lanes().next().unwrap());
    assert_eq!((lane.running, lane.waiting), (0, 0));
}

#[tokio::test]
async fn who_waited_for_its_children_goes_on_before_those_accepted_later() {
    let world = world();
    things(&world, 2).await;
    width(&world, 1).await;
    let group = json!({ "asks": [asks("use", &json!({ "thing": 1 }))] });
    let uid = world.stays_at("use", "group", group).await;
    let later = world.accepts("make", json!({ "name": "later" })).await;
    let wait = world.engine.look(|live| live.queue().wait_reason(later));
    assert_eq!(wait, Some(Wait::LaneFull { lane: "lane".into() }), "the child has the place");
    world.script.stop_at("nowhere");
    world.rest(uid).await;
    world.rest(later).await;
    let log = world.script.log();
    assert_eq!(log[log.len() - 3..], ["used 1", "last", "made 3"]);
}

#[tokio::test]
async fn who_waited_for_its_children_goes_on_in_a_lane_that_starts_nothing() {
    for change in [LaneChange::Pause, LaneChange::Drain] {
        let world = world();
        things(&world, 1).await;
        let group = json!({ "asks": [asks("use", &json!({ "thing": 1 }))] });
        let uid = world.stays_at("use", "group", group).await;
        world.engine.control(Control::Lane { name: "lane".into(), change }).await.unwrap();
        let make = world.accepts("make", json!({ "name": "later" })).await;
        world.script.stop_at("nowhere");
        assert_eq!(world.rest(uid).await.operation.state, State::Done);
        assert_eq!(world.operation(make).await.state, State::Pending);
    }
}

#[tokio::test]
async fn what_a_parent_holds_is_its_childrens_and_nobody_elses() {
    let world = world();
    things(&world, 1).await;
    world.script.stop_at("first");
    let using = || asks("use", &json!({ "thing": 1 }));
    let inner = asks("group", &json!({ "asks": [using()], "thing": 1 }));
    let group = json!({ "asks": [using(), inner], "thing": 1 });
    let uid = world.accepts("group", group).await;
    world.script.stopped().await;
    let other = world.accepts("use", json!({ "thing": 1 })).await;
    let wait = world.engine.look(|live| live.queue().wait_reason(other));
    assert_eq!(wait, Some(Wait::Operation { uid, resource: thing(1) }));
    world.script.stop_at("nowhere");
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
    assert_eq!(world.rest(other).await.operation.state, State::Done);
    let log = world.script.log();
    assert_eq!(log[2..], ["used 1", "first", "used 1", "last", "last", "used 1"], "{log:?}");
}

#[tokio::test]
async fn what_could_wait_in_a_circle_is_refused() {
    let world = world();
    things(&world, 2).await;
    let group = json!({ "asks": [asks("use", &json!({ "thing": 2 }))], "thing": 1 });
    let uid = world.accepts("group", group).await;
    let ended = world.rest(uid).await.operation;
    let why = ended.comment.unwrap();
    assert!(why.contains("1 of 1 refused: use needs encoding/2, which its parent"), "{why}");
    // Nor may what is asked for below siblings that are not let in all at once stand behind them.
    let inner = asks("group", &json!({ "asks": [asks("use", &json!({ "thing": 2 }))] }));
    let all = json!([inner, asks("use", &json!({ "thing": 2 }))]);
    let outer = |at_once| json!({ "asks": all, "at_once": at_once });
    let uid = world.accepts("group", outer(json!(1))).await;
    let why = world.rest(uid).await.operation.comment.unwrap();
    assert!(why.contains("1 of 1 refused: use needs encoding/2, which its parent"), "{why}");
    let uid = world.accepts("group", outer(Json::Null)).await;
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
    // What it makes itself nobody else can need.
    let group = json!({ "asks": [asks("make", &json!({ "name": "new" }))], "thing": 1 });
    let uid = world.accepts("group", group).await;
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
}

#[tokio::test]
async fn so_many_children_are_under_way_at_once_also_after_a_crash() {
    let mut world = world();
    things(&world, 4).await;
    world.script.stop_at("use");
    let all: Vec<String> = (1..=4).map(|at| asks("use", &json!({ "thing": at }))).collect();
    let uid = world.accepts("group", json!({ "asks": all, "at_once": 2 })).await;
    for _ in 0..2 {
        world.script.stopped().await;
        let running = |it: &&Arc<Operation>| it.state == State::Run;
        let (running, kept_out) = world.engine.look(|live| {
            let out = |it: &&Arc<Operation>| {
                live.queue().wait_reason(it.uid) == Some(Wait::Siblings { parent: uid })
            };
            (live.children(uid).filter(running).count(), live.children(uid).filter(out).count())
        });
        assert_eq!((running, kept_out), (2, 2));
        world.crash(|_| {}).await;
    }
    world.script.stop_at("nowhere");
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
}

#[tokio::test]
async fn a_child_that_is_relaunched_alone_is_done_for_its_parent() {
    let world = world();
    things(&world, 1).await;
    let all = [asks("use", &json!({ "thing": 1 })), asks("make", &json!({ "name": "bad" }))];
    let uid = world.accepts("group", json!({ "asks": all })).await;
    let detail = world.rest(uid).await;
    assert_eq!(states(&detail), [State::Done, State::Error]);
    // Its parent is not told meanwhile, and stays as it is.
    let child = detail.children[1].uid;
    world.script.stop_at("make");
    relaunch(&world, child).await;
    world.script.stopped().await;
    // Relaunched meanwhile, it waits for the one that runs.
    relaunch(&world, uid).await;
    gives_up_its_place(&world, uid).await;
    world.script.stop_at("nowhere");
    let detail = world.rest(uid).await;
    assert_eq!(states(&detail), [State::Done, State::Error], "it is the same as before");
    relaunch(&world, uid).await;
    let detail = world.rest(uid).await;
    let attempts: Vec<u32> = detail.children.iter().map(|child| child.attempt).collect();
    assert_eq!(attempts, [0, 2], "what was done is not done again");
}

#[tokio::test]
async fn after_an_error_no_further_one_is_started_also_after_a_crash() {
    let mut world = world();
    things(&world, 2).await;
    world.script.stop_at("use");
    let using = |at: u64| asks("use", &json!({ "thing": at }));
    let all = [using(1), asks("make", &json!({ "name": "bad" })), using(2)];
    let group = json!({ "asks": all, "at_once": 2, "stops": true });
    let uid = world.accepts("group", group).await;
    world.script.stopped().await;
    let failed = world.engine.look(|live| live.children(uid).nth(1).unwrap().uid);
    world.rest(failed).await;
    world.crash(|_| {}).await;
    world.script.stop_at("nowhere");
    let detail = world.rest(uid).await;
    assert_eq!(states(&detail), [State::Done, State::Error, State::Cancel]);
    assert_eq!(world.script.log()[2..].iter().filter(|it| it.starts_with("used")).count(), 1);
    let why = detail.children[2].comment.clone().unwrap();
    assert_eq!(why, format!("never started: another one of {uid} failed before"));
}

#[tokio::test]
async fn parallel_children_on_one_thing_lose_nothing() {
    let world = world();
    things(&world, 1).await;
    width(&world, 16).await;
    let all: Vec<String> = (0..12).map(|_| asks("add", &json!({ "thing": 1 }))).collect();
    let uid = world.accepts("group", json!({ "asks": all, "thing": 1 })).await;
    assert_eq!(world.rest(uid).await.operation.state, State::Done);
    let name = world.engine.inventory(|it| it.get::<Encoding>(1).unwrap().name.clone());
    assert_eq!(name, format!("thing-1{}", "+".repeat(12)));
}

#[tokio::test]
async fn a_parent_ends_after_the_children_it_did_not_wait_for() {
    let world = world();
    things(&world, 1).await;
    let group = json!({ "asks": [asks("use", &json!({ "thing": 1 }))], "leaves": true });
    let uid = world.stays_at("use", "group", group).await;
    assert_eq!(world.operation(uid).await.state, State::Run);
    world.script.stop_at("nowhere");
    let detail = world.rest(uid).await;
    assert_eq!((detail.operation.state, states(&detail)), (State::Done, vec![State::Done]));
}

#[tokio::test]
async fn how_far_a_parent_is_follows_from_its_children() {
    let world = world();
    things(&world, 2).await;
    world.script.stop_at("use");
    let all = [
        asks("make", &json!({ "name": "bad" })),
        asks("make", &json!({ "name": "good" })),
        asks("use", &json!({ "thing": 1 })),
        asks("use", &json!({ "thing": 2 })),
    ];
    let uid = world.accepts("group", json!({ "asks": all })).await;
    world.script.stopped().await;
    let ended =
        world.engine.look(|live| live.children(uid).map(|it| it.uid).take(2).collect::<Vec<_>>());
    for child in ended {
        world.rest(child).await;
    }
    let progress = world.operation(uid).await.progress.unwrap();
    assert_eq!((progress.phase.as_str(), progress.fraction), ("1 of 4 done, 1 failed", Some(0.5)));
}
