//! The journal against a model: crashes, failures and cancels at every point of an operation whose
//! effects are lines in a file.

use std::io::Write;
use std::path::PathBuf;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backend::operations::{Context, Entry, Kind, StepContext};
use crate::backend::ports::ProgressReport;
use crate::backend::settings::Settings;
use crate::backend::testing::trial::{Trial, until};
use crate::domain::{
    Backend, Effect, Fact, Field, FieldType, OperationSpec, Outcome, ResourceKind, Risk, State,
};

use super::{Stop, work};
use crate::domain::{Failure, Progress, StepState, Uid};

const NAMES: [&str; 5] = ["s0", "s1", "s2", "s3", "s4"];

/// An operation that writes down what it does.
struct Walk;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct WalkParams {
    log: PathBuf,
    steps: usize,
    fail: Option<usize>,
}

impl WalkParams {
    fn write(&self, line: &str) {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(&self.log);
        writeln!(log.unwrap(), "{line}").unwrap();
    }

    /// Stays here for ever when the file beside the log says so.
    async fn point(&self, step: &StepContext, here: String) {
        if std::fs::read_to_string(self.log.with_extension("hang")).is_ok_and(|at| at == here) {
            step.report(ProgressReport { detail: Some(here), ..ProgressReport::default() });
            std::future::pending::<()>().await;
        }
    }
}

impl Kind for Walk {
    type Params = WalkParams;

    fn spec(_: &Settings) -> OperationSpec {
        let number = || FieldType::Integer { min: 0, max: 5, unit: "".into() };
        OperationSpec {
            kind: "walk".into(),
            title: "Walk".into(),
            doc: "Walks.".into(),
            doing: "walking".into(),
            resource: ResourceKind::Task,
            effect: Effect::Changes,
            subject: None,
            lane: "task".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![
                Field::required("log", FieldType::NewFile, "Where it writes."),
                Field::required("steps", number(), "How many steps."),
                Field::optional("fail", number(), serde_json::Value::Null, "Which fails."),
            ],
            locks: vec![],
            requires: vec![],
            state_after: None,
            reject_duplicates: false,
            steps: NAMES.map(Into::into).to_vec(),
        }
    }

    async fn run(cx: Context, params: WalkParams) -> Result<Outcome, Stop> {
        for (at, name) in NAMES.into_iter().enumerate().take(params.steps) {
            let undone = params.clone();
            let seen: usize = cx
                .step(name)
                .undo(move |step| {
                    let params = undone.clone();
                    async move {
                        params.point(&step, format!("undo {at}")).await;
                        params.write(&format!("undo {at}"));
                        Ok(())
                    }
                })
                .run(|step| {
                    let params = params.clone();
                    async move {
                        params.point(&step, format!("before {at}")).await;
                        params.write(&format!("do {at}"));
                        params.point(&step, format!("between {at}")).await;
                        if params.fail == Some(at) {
                            return Err(Failure::new("told to fail"));
                        }
                        Ok(at)
                    }
                })
                .await?;
            assert_eq!(seen, at, "a recorded result is the one that was returned");
        }
        Ok(Outcome::default())
    }
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

async fn hanging(trial: &Trial, uid: Uid, at: &str) {
    let events = trial.backend().subscribe();
    let is = |progress: &Progress| progress.detail.as_deref() == Some(at);
    if !trial.operation(uid).await.operation.progress.as_ref().is_some_and(is) {
        until(events, |fact| matches!(fact, Fact::Progress { progress, .. } if is(progress))).await;
    }
}

async fn play(story: &Story) -> (Vec<String>, crate::domain::OperationDetail) {
    let mut trial = Trial::of(|settings| vec![Entry::of::<Walk>(settings)]);
    let (log, hang) = (trial.path("walk.log"), trial.path("walk.hang"));
    let stop = |at: &str| std::fs::write(&hang, at).unwrap();
    let fail = match story.finish {
        Finish::Fail(step) => Some(step),
        _ => None,
    };
    let last = match story.finish {
        Finish::Cancel(point, _) => point.name(),
        _ => String::new(),
    };
    let points: Vec<String> = story.crashes.iter().map(|crash| crash.name()).collect();
    stop(points.first().unwrap_or(&last));
    let params = json!({ "log": log, "steps": story.steps, "fail": fail });
    let uid = trial.submit("walk", params).await.unwrap().uid;
    for (at, point) in points.iter().enumerate() {
        hanging(&trial, uid, point).await;
        trial.crash().await;
        stop(points.get(at + 1).unwrap_or(&last));
        trial.start();
    }
    if let Finish::Cancel(_, crash) = story.finish {
        hanging(&trial, uid, &last).await;
        let undo = crash.map(|step| format!("undo {step}"));
        stop(undo.as_deref().unwrap_or_default());
        trial.cancel(uid).await;
        if let Some(undo) = undo {
            hanging(&trial, uid, &undo).await;
            trial.crash().await;
            stop("");
            trial.start();
        }
    }
    let events = trial.backend().subscribe();
    let detail = trial.rest(events, uid).await;
    let log = std::fs::read_to_string(log).unwrap_or_default();
    (log.lines().map(str::to_owned).collect(), detail)
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
async fn changed_behind_its_back(sql: &str) -> (Vec<String>, crate::domain::OperationDetail) {
    let mut trial = Trial::of(|settings| vec![Entry::of::<Walk>(settings)]);
    let (log, hang) = (trial.path("walk.log"), trial.path("walk.hang"));
    std::fs::write(&hang, "before 2").unwrap();
    let params = json!({ "log": log, "steps": 3 });
    let uid = trial.submit("walk", params).await.unwrap().uid;
    hanging(&trial, uid, "before 2").await;
    trial.crash().await;
    let store =
        rusqlite::Connection::open(trial.path("state").join(crate::backend::engine::store::FILE));
    store.unwrap().execute_batch(sql).unwrap();
    std::fs::write(&hang, "").unwrap();
    trial.start();
    let events = trial.backend().subscribe();
    let detail = trial.rest(events, uid).await;
    let log = std::fs::read_to_string(log).unwrap_or_default();
    (log.lines().map(str::to_owned).collect(), detail)
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

/// An operation whose work is on a thread where blocking does no harm, until somebody writes into
/// the pipe.
struct Late;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct LateParams {
    log: PathBuf,
    pipe: PathBuf,
}

impl Kind for Late {
    type Params = LateParams;

    fn spec(settings: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "late".into(),
            fields: vec![
                Field::required("log", FieldType::NewFile, "Where it writes."),
                Field::required("pipe", FieldType::NewFile, "What it waits for."),
            ],
            ..Walk::spec(settings)
        }
    }

    async fn run(cx: Context, params: LateParams) -> Result<Outcome, Stop> {
        let write = |params: &LateParams, line: &str| {
            WalkParams { log: params.log.clone(), steps: 0, fail: None }.write(line);
        };
        let undone = params.clone();
        cx.step(NAMES[0])
            .undo(move |_| {
                write(&undone, "undone");
                async { Ok(()) }
            })
            .run(|step| {
                let params = params.clone();
                async move {
                    step.report(ProgressReport {
                        detail: Some("at work".into()),
                        ..ProgressReport::default()
                    });
                    let work = move || {
                        std::fs::read(&params.pipe).unwrap();
                        write(&params, "done");
                    };
                    work::blocking(work).await.unwrap();
                    Ok(())
                }
            })
            .await?;
        Ok(Outcome::default())
    }
}

#[tokio::test]
async fn what_cannot_be_cut_short_ends_before_it_is_undone() {
    let trial = Trial::of(|settings| vec![Entry::of::<Late>(settings)]);
    let (log, pipe) = (trial.path("late.log"), trial.path("late.pipe"));
    let node = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, node, 0o600.into(), 0).unwrap();
    let params = json!({ "log": log, "pipe": pipe });
    let uid = trial.submit("late", params).await.unwrap().uid;
    hanging(&trial, uid, "at work").await;
    let (cancelled, ended) = (trial.backend().subscribe(), trial.backend().subscribe());
    trial.cancel(uid).await;
    until(cancelled, |fact| matches!(fact, Fact::Operation(it) if it.cancelling)).await;
    // Everybody else does what there is to do.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let early = log.exists();
    tokio::task::spawn_blocking(move || std::fs::write(pipe, "go on")).await.unwrap().unwrap();
    assert!(!early, "nothing is undone while it is at work");
    assert_eq!(trial.rest(ended, uid).await.operation.state, State::Cancel);
    assert_eq!(std::fs::read_to_string(log).unwrap(), "done\nundone\n");
}
