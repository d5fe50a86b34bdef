//! The journal against a model: crashes, failures and cancels at every point of an operation whose
//! effects are lines in a log.

use std::sync::{Arc, Mutex, mpsc};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::backend::engine::journal::{Context, Stop};
use crate::backend::engine::kind::Kind;
use crate::backend::engine::work;
use crate::domain::{
    BoxFuture, Control, Effect, Failure, Field, FieldType, OperationDetail, OperationSpec, Outcome,
    Params, State, StepState,
};

use super::world::{Script, World, spec};

const NAMES: [&str; 5] = ["s0", "s1", "s2", "s3", "s4"];

/// An operation that writes down what it does.
struct Walk(Arc<OperationSpec>, Arc<Script>);

#[derive(Deserialize)]
struct WalkParams {
    steps: usize,
    fail: Option<usize>,
    panic: Option<usize>,
    refuse: Option<usize>,
}

impl Walk {
    fn kind(script: &Arc<Script>) -> Arc<dyn Kind> {
        let number = || FieldType::Integer { min: 0, max: 5, unit: "".into() };
        let fields = vec![
            Field::required("steps", number(), "How many steps."),
            Field::optional("fail", number(), serde_json::Value::Null, "Which fails."),
            Field::optional("panic", number(), serde_json::Value::Null, "Whose undo panics."),
            Field::optional("refuse", number(), serde_json::Value::Null, "Which may not begin."),
        ];
        let steps = NAMES.map(Into::into).to_vec();
        let spec = OperationSpec { steps, ..spec("walk", Effect::Changes, fields) };
        Arc::new(Self(spec.into(), script.clone()))
    }
}

impl Kind for Walk {
    fn spec(&self) -> &Arc<OperationSpec> {
        &self.0
    }

    fn run(&self, cx: Context, params: &Params) -> BoxFuture<'static, Result<Outcome, Stop>> {
        let script = self.1.clone();
        let WalkParams { steps, fail, panic, refuse } = WalkParams::deserialize(params).unwrap();
        Box::pin(async move {
            for (at, name) in NAMES.into_iter().enumerate().take(steps) {
                let undone = script.clone();
                let script = &script;
                let seen: usize = cx
                    .step(name)
                    .undo(move |_| {
                        let script = undone.clone();
                        async move {
                            script.point(&format!("undo {at}")).await;
                            assert_ne!(panic, Some(at), "told to panic");
                            script.write(format!("undo {at}"));
                            Ok(())
                        }
                    })
                    .run(|_| async move {
                        script.point(&format!("before {at}")).await;
                        if refuse == Some(at) {
                            return Err(Failure::refused("told to refuse"));
                        }
                        script.write(format!("do {at}"));
                        script.point(&format!("between {at}")).await;
                        if fail == Some(at) {
                            return Err(Failure::new("told to fail"));
                        }
                        Ok(at)
                    })
                    .await?;
                assert_eq!(seen, at, "a recorded result is the one that was returned");
            }
            Ok(Outcome::default())
        })
    }
}

fn world() -> World {
    World::with(|script| vec![Walk::kind(script)])
}

/// A point of the walk: before a step's effect, or between that and its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    step: usize,
    between: bool,
}

impl Point {
    fn name(self) -> String {
        format!("{} {}", if self.between { "between" } else { "before" }, self.step)
    }
}

#[derive(Debug, Clone)]
enum Finish {
    Done,
    Fail(usize),
    /// Cancelled there; perhaps with a crash before the undo of that step.
    Cancel(Point, Option<usize>),
}

#[derive(Debug, Clone)]
struct Story {
    steps: usize,
    crashes: Vec<Point>,
    finish: Finish,
}

fn stories() -> impl Strategy<Value = Story> {
    (1..=NAMES.len()).prop_flat_map(|steps| {
        let point =
            || (0..steps, any::<bool>()).prop_map(|(step, between)| Point { step, between });
        let crashes = prop::collection::vec(point(), 0..4);
        (crashes, point(), 0..3usize, prop::option::of(0..steps)).prop_map(
            move |(mut crashes, last, finish, undo)| {
                crashes.sort();
                // The end comes after the last crash.
                let first = crashes.last().map_or(0, |crash| crash.step);
                let last = Point { step: last.step.max(first), ..last };
                let finish = match finish {
                    0 => Finish::Done,
                    1 => Finish::Fail(last.step),
                    _ => Finish::Cancel(last, undo.map(|undo| undo.min(last.step))),
                };
                Story { steps, crashes, finish }
            },
        )
    })
}

/// What must have happened, in order.
fn expected(story: &Story) -> (Vec<String>, State) {
    let mut log = Vec::new();
    let mut at = 0;
    let walk = |log: &mut Vec<String>, from: usize, to: Point| {
        let end = to.step + usize::from(to.between);
        log.extend((from..end).map(|step| format!("do {step}")));
    };
    let undo = |log: &mut Vec<String>, from: usize, to: usize| {
        log.extend((to..=from).rev().map(|step| format!("undo {step}")));
    };
    for crash in &story.crashes {
        walk(&mut log, at, *crash);
        at = crash.step;
    }
    let state = match story.finish {
        Finish::Done => {
            walk(&mut log, at, Point { step: story.steps, between: false });
            State::Done
        }
        Finish::Fail(step) => {
            walk(&mut log, at, Point { step, between: true });
            undo(&mut log, step, 0);
            State::Error
        }
        Finish::Cancel(point, None) => {
            walk(&mut log, at, point);
            undo(&mut log, point.step, 0);
            State::Cancel
        }
        Finish::Cancel(point, Some(crash)) => {
            walk(&mut log, at, point);
            undo(&mut log, point.step, crash + 1);
            // The next life passes what is still recorded and begins one more before it stops.
            undo(&mut log, (crash + 1).min(point.step), 0);
            State::Cancel
        }
    };
    (log, state)
}

async fn play(story: &Story) -> (Vec<String>, OperationDetail) {
    let mut world = world();
    let script = world.script.clone();
    let fail = match story.finish {
        Finish::Fail(step) => Some(step),
        _ => None,
    };
    let last = match story.finish {
        Finish::Cancel(point, _) => point.name(),
        _ => String::new(),
    };
    let points: Vec<String> = story.crashes.iter().map(|crash| crash.name()).collect();
    script.stop_at(points.first().unwrap_or(&last));
    let params = json!({ "steps": story.steps, "fail": fail });
    let uid = world.accepts("walk", params).await;
    for at in 0..points.len() {
        script.stopped().await;
        let next = points.get(at + 1).unwrap_or(&last);
        world.crash(|world| world.script.stop_at(next)).await;
    }
    if let Finish::Cancel(_, crash) = story.finish {
        script.stopped().await;
        // It stays where it is, and is dropped there.
        let undo = crash.map(|step| format!("undo {step}"));
        script.stop_next_at(undo.as_deref().unwrap_or_default());
        world.engine.control(Control::Cancel { uid }).await.unwrap();
        if undo.is_some() {
            script.stopped().await;
            world.crash(|world| world.script.stop_at("")).await;
        }
    }
    let detail = world.rest(uid).await;
    (script.log(), detail)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_steps_are_taken_once_recorded_and_undone_in_reverse(story in stories()) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (log, detail) = runtime.block_on(play(&story));
        let (wanted, state) = expected(&story);
        prop_assert_eq!(detail.operation.state, state, "{:?}", detail.operation.comment);
        prop_assert_eq!(log, wanted);
        let left = match state {
            State::Done => StepState::Done,
            _ => StepState::Undone,
        };
        prop_assert!(detail.steps.iter().all(|step| step.state == left), "{:?}", detail.steps);
        if state == State::Done {
            prop_assert_eq!(detail.steps.len(), story.steps);
        }
    }
}

/// What a walk of three steps wrote, whose record was changed after it came to the last one.
async fn changed_behind_its_back(sql: &str) -> (Vec<String>, OperationDetail) {
    let mut world = world();
    let uid = world.stays_at("before 2", "walk", json!({ "steps": 3 })).await;
    world
        .crash(|world| {
            world.sql(sql);
            world.script.stop_at("");
        })
        .await;
    let detail = world.rest(uid).await;
    (world.script.log(), detail)
}

#[tokio::test]
async fn a_record_of_another_version_stops_the_operation_and_is_kept() {
    for (sql, says) in [
        (
            "UPDATE step SET name = 'other' WHERE number = 2",
            "step 2 is recorded as 'other', where this version takes 's1'",
        ),
        ("UPDATE step SET result = '\"x\"' WHERE number = 1", "what step 's0' returned"),
        (
            "UPDATE operation SET params = replace(params, '\"steps\":3', '\"steps\":1')",
            "step 's1' was recorded, and this version takes no such step",
        ),
    ] {
        let (log, detail) = changed_behind_its_back(sql).await;
        assert_eq!(log, ["do 0", "do 1"], "nothing is run or undone: {sql}");
        assert_eq!(detail.operation.state, State::Error, "{sql}");
        let why = detail.operation.comment.unwrap();
        assert!(why.contains(says) && why.contains("another version"), "{why}");
        let done = detail.steps.iter().filter(|step| step.state == StepState::Done);
        assert_eq!(done.count(), 2, "{sql}");
    }
}

/// An operation whose work is on a thread where blocking does no harm, until it may go on.
struct Late {
    spec: Arc<OperationSpec>,
    script: Arc<Script>,
    go_on: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Kind for Late {
    fn spec(&self) -> &Arc<OperationSpec> {
        &self.spec
    }

    fn run(&self, cx: Context, _: &Params) -> BoxFuture<'static, Result<Outcome, Stop>> {
        let (script, go_on) = (self.script.clone(), self.go_on.clone());
        Box::pin(async move {
            let undone = script.clone();
            cx.step(NAMES[0])
                .undo(move |_| {
                    undone.write("undone");
                    async { Ok(()) }
                })
                .run(|_| {
                    let (script, go_on) = (script.clone(), go_on.clone());
                    async move {
                        let done = script.clone();
                        let work = work::blocking(move || {
                            go_on.lock().unwrap().recv().unwrap();
                            done.write("done");
                        });
                        script.point("at work").await;
                        work.await.unwrap();
                        Ok(())
                    }
                })
                .await?;
            Ok(Outcome::default())
        })
    }
}

#[tokio::test]
async fn what_cannot_be_cut_short_ends_before_it_is_undone() {
    let (go_on, waits) = mpsc::channel();
    let go = Arc::new(Mutex::new(waits));
    let world = World::with(|script| {
        let steps = vec![NAMES[0].into()];
        let spec = OperationSpec { steps, ..spec("late", Effect::Changes, vec![]) };
        vec![Arc::new(Late { spec: spec.into(), script: script.clone(), go_on: go })]
    });
    let uid = world.stays_at("at work", "late", json!({})).await;
    world.engine.control(Control::Cancel { uid }).await.unwrap();
    // Everybody else does what there is to do.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.script.log(), [""; 0], "nothing is undone while it is at work");
    go_on.send(()).unwrap();
    assert_eq!(world.rest(uid).await.operation.state, State::Cancel);
    assert_eq!(world.script.log(), ["done", "undone"]);
}

/// What a walk wrote that was about to undo its first step when a life ended.
async fn crashed_as_it_was_undone(params: Json) -> (Vec<String>, OperationDetail) {
    let mut world = world();
    let uid = world.stays_at("undo 0", "walk", params).await;
    world.crash(|world| world.script.stop_at("")).await;
    let detail = world.rest(uid).await;
    (world.script.log(), detail)
}

#[tokio::test]
async fn what_is_being_undone_is_not_taken_again_after_a_crash() {
    let (log, detail) = crashed_as_it_was_undone(json!({ "steps": 2, "fail": 1 })).await;
    assert_eq!(detail.operation.state, State::Error);
    assert_eq!(detail.operation.comment.as_deref(), Some("told to fail"));
    assert_eq!(log, ["do 0", "do 1", "undo 1", "undo 1", "undo 0"]);
}

/// What it looks like it has done is somebody else's work.
#[tokio::test]
async fn what_was_refused_is_not_undone_after_a_crash() {
    let (log, detail) = crashed_as_it_was_undone(json!({ "steps": 2, "refuse": 1 })).await;
    assert_eq!(detail.operation.state, State::Error);
    assert_eq!(detail.operation.comment.as_deref(), Some("told to refuse"));
    assert_eq!(log, ["do 0", "undo 0"]);
    let states: Vec<StepState> = detail.steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [StepState::Undone, StepState::Refused]);
}

#[tokio::test]
async fn an_undo_that_panics_is_one_that_failed() {
    let world = world();
    let params = json!({ "steps": 2, "fail": 1, "panic": 1 });
    let uid = world.accepts("walk", params).await;
    let detail = world.rest(uid).await;
    let comment = detail.operation.comment.unwrap();
    assert!(comment.contains("could not be undone") && comment.contains("told to panic"));
    let states: Vec<StepState> = detail.steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [StepState::Undone, StepState::UndoFailed]);
    assert_eq!(world.script.log(), ["do 0", "do 1", "undo 0"]);
}
