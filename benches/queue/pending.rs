//! What many pending operations cost: to submit, to hold in memory, to drain, to start with.

use std::time::{Duration, Instant};

use hostler::backend::Embedded;
use hostler::backend::operations::{AdmissionContext, Context, Kind, KindEntry, Stop};
use hostler::backend::settings::Settings;
use hostler::domain::{
    Answer, Backend, Effect, Field, FieldType, LaneChange, LockMode, LockRule, OperationSpec,
    Outcome, Params, Query, Repeat, Resource, Submit, Task,
};

use super::{Noop, change_lane, ended, fresh, no_op, runtime, settled, spec, start, submits};

/// Operations that wait.
const PENDING: u64 = 100_000;
/// Resources beside them at a start.
const RESOURCE_COUNT: u64 = 10_000;

/// Makes a resource.
struct Make;

impl Kind for Make {
    type Params = Noop;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec { effect: Effect::Creates, lane: "make".into(), ..spec("make") }
    }

    fn reserve(_: &Noop, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        Some(Resource::Task(Task {
            id,
            name: format!("task-{id}"),
            active: false,
            kind: "no_op".into(),
            params: Params::new(),
            repeat: Repeat::default(),
            next: None,
            runs: vec![],
            missed: 0,
            refused: 0,
            problem: None,
            settled: world.now,
            created: world.now,
        }))
    }

    async fn run(_: Context, _: Noop) -> Result<Outcome, Stop> {
        Ok(Outcome::default())
    }
}

/// Does nothing with a resource that nobody else may use meanwhile.
struct Touch;

#[derive(serde::Serialize, serde::Deserialize)]
struct Touched {
    task: u64,
}

impl Kind for Touch {
    type Params = Touched;

    fn spec(_: &Settings) -> OperationSpec {
        let of = FieldType::Resource { of: Task::KIND, states: vec![] };
        OperationSpec {
            subject: Some("task".into()),
            fields: vec![Field::required("task", of, "What is touched.")],
            locks: vec![LockRule { field: "task".into(), mode: LockMode::Exclusive }],
            requires: vec!["inactive".into()],
            state_after: Some("inactive".into()),
            ..spec("touch")
        }
    }

    async fn run(_: Context, _: Touched) -> Result<Outcome, Stop> {
        Ok(Outcome::default())
    }
}

/// The kinds this half needs.
pub fn kinds(settings: &Settings) -> [KindEntry; 2] {
    [KindEntry::of::<Make>(settings), KindEntry::of::<Touch>(settings)]
}

fn make(_: u64) -> Submit {
    Submit { kind: "make".into(), actor: "bench".into(), ..Submit::default() }
}

/// Every operation on the same resource.
fn touch_one(_: u64) -> Submit {
    touch(1)
}

/// The operations spread over all resources.
fn touch_any(left: u64) -> Submit {
    touch(left % RESOURCE_COUNT + 1)
}

fn touch(task: u64) -> Submit {
    let params = [("task".to_owned(), task.into())].into_iter().collect();
    Submit { kind: "touch".into(), params, actor: "bench".into(), ..Submit::default() }
}

/// The memory this process takes, in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("our status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its line");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
}

/// A backend that has looked at the box, with so many resources and the lane paused.
pub async fn prepared(dir: &std::path::Path, resources: u64) -> Embedded {
    let backend = start(dir);
    settled(&backend).await;
    submits(&backend, resources, make).await;
    ended(&backend).await;
    change_lane(&backend, LaneChange::Pause).await;
    backend
}

/// How many operations a second come to their end once the lane opens.
async fn drain(backend: &Embedded) -> f64 {
    let clock = Instant::now();
    change_lane(backend, LaneChange::Resume).await;
    ended(backend).await;
    PENDING as f64 / clock.elapsed().as_secs_f64()
}

/// Operations that wait for one resource, beside as many that need none.
fn one_line() {
    let dir = fresh();
    let runtime = runtime();
    let ours = runtime.block_on(async {
        let backend = prepared(dir.path(), 1).await;
        let before = resident();
        let first = submits(&backend, PENDING / 10, touch_one).await;
        submits(&backend, PENDING * 8 / 10, touch_one).await;
        let last = submits(&backend, PENDING / 10, touch_one).await;
        let each = (resident() - before) / PENDING as f64;
        println!("submits to one resource:      {first:>9.0}/s   the first {}", PENDING / 10);
        println!("                              {last:>9.0}/s   the last {}", PENDING / 10);
        println!("ratio:                        {:>9.2}    (at least 0.80)", last / first);
        println!("resident for each of {PENDING}:  {each:>9.0} B  (at most 1536)");
        drain(&backend).await
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    println!("drained from one resource:    {ours:>9.0}/s");
    println!("ratio to unrelated ones:      {:>9.2}    (at least 0.50)", ours / unrelated());
}

/// How fast operations that need no resource are drained.
fn unrelated() -> f64 {
    let dir = fresh();
    let runtime = runtime();
    let rate = runtime.block_on(async {
        let backend = prepared(dir.path(), 0).await;
        submits(&backend, PENDING, no_op).await;
        drain(&backend).await
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    println!("drained unrelated:            {rate:>9.0}/s");
    rate
}

/// How long a start takes until the first question is answered.
fn start_up() {
    let dir = fresh();
    let runtime = runtime();
    let took = runtime.block_on(async {
        let backend = prepared(dir.path(), RESOURCE_COUNT).await;
        submits(&backend, PENDING, touch_any).await;
        backend.leave(false).await;
        drop(backend);
        let clock = Instant::now();
        let backend = start(dir.path());
        backend.query(Query::Lanes).await.expect("an answer");
        let took = clock.elapsed();
        let answer = backend.query(Query::InFlight).await.expect("an answer");
        let Answer::InFlight(flight) = answer else { panic!("another answer") };
        assert_eq!(flight.waiting, PENDING, "everything is there again");
        took
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    let took = took.as_secs_f64() * 1000.0;
    println!("start with {RESOURCE_COUNT}, {PENDING}:     {took:>9.0} ms (at most 1000)");
}

/// Measures, and says it.
pub fn measure() {
    one_line();
    start_up();
}
