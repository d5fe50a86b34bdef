//! How fast the queue is, beside SQLite itself in the same run, and what many pending operations
//! cost.
//!
//! `cargo bench --bench queue` prints one line a figure; with `-- speed`, `-- pending`, `-- batch`
//! or `-- rows` a part of them. Numbers from a shared machine are noisy: what counts is the ratio
//! to the bare group commit, measured in turns with ours.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench that cannot measure ends, and what it measured goes to standard output"
)]

mod batch;
mod pending;
mod rows;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use hostler::backend::operations::{Context, Kind, KindEntry, Stop};
use hostler::backend::settings::Settings;
use hostler::backend::{Embedded, drivers, own};
use hostler::domain::{
    Answer, Backend, Control, Effect, Fact, Hint, LaneChange, OperationSpec, Outcome, Query, Risk,
    Submit, Task,
};

/// Callers that submit at once, each waiting for its own acknowledgement.
const CALLERS: u64 = 64;
/// Submits in one round.
const SUBMITS: u64 = 200_000;
/// Rounds, taken in turns with the bare group commit.
const ROUNDS: usize = 5;

/// An operation that does nothing: what is left is the queue itself.
struct NoOp;

#[derive(serde::Serialize, serde::Deserialize)]
struct Noop {}

impl Kind for NoOp {
    type Params = Noop;

    fn spec(_: &Settings) -> OperationSpec {
        spec("no_op")
    }

    async fn run(_: Context, _: Noop) -> Result<Outcome, Stop> {
        Ok(Outcome::default())
    }
}

/// What the kinds of this bench have in common.
fn spec(kind: &'static str) -> OperationSpec {
    OperationSpec {
        kind: kind.into(),
        title: "Do nothing".into(),
        doc: "Does nothing.".into(),
        doing: "doing nothing".into(),
        resource: Some(Task::KIND),
        effect: Effect::Changes,
        subject: None,
        lane: "bench".into(),
        risk: Risk::None,
        warning: "".into(),
        fields: vec![],
        offered_on: Vec::new(),
        edits: false,
        hint: Hint::default(),
        locks: vec![],
        requires: vec![],
        state_after: None,
        reject_duplicates: false,
        steps: vec![],
    }
}

fn settings(dir: &Path) -> Settings {
    let mut settings = Settings::new(dir.to_owned());
    settings.lanes.push(("bench".into(), 64));
    settings
}

fn start(dir: &Path) -> Embedded {
    let settings = settings(dir);
    let mut kinds = vec![KindEntry::of::<NoOp>(&settings)];
    kinds.extend(pending::kinds(&settings));
    kinds.extend(batch::kind(&settings));
    let ports = drivers::real(&settings);
    let owned = own(dir).expect("the directory is ours").expect("nobody else has it");
    Embedded::start(owned, settings, ports, kinds).expect("a backend")
}

/// Waits until the backend has looked at the box, which it does once somebody listens: the guest it
/// starts to probe the accelerator, and the tools whose versions it asks for, would take the
/// processors from what is measured.
async fn settled(backend: &Embedded) {
    let mut events = backend.subscribe();
    let answer = backend.query(Query::Host).await.expect("an answer");
    let Answer::Host(mut host) = answer else { panic!("another answer") };
    while host.accelerator.is_none() {
        if let Fact::Host(changed) = events.next().await.expect("an event").fact {
            *host = (*changed).clone();
        }
    }
}

fn no_op(_: u64) -> Submit {
    Submit { kind: "no_op".into(), actor: "bench".into(), ..Submit::default() }
}

/// Opens or pauses the lane of the bench.
async fn change_lane(backend: &Embedded, change: LaneChange) {
    let control = Control::Lane { name: "bench".into(), change };
    backend.control(control).await.expect("changed");
}

/// Submits from [`CALLERS`] tasks at once, each request made of how many are left; returns how many
/// were acknowledged a second.
async fn submits(backend: &Embedded, count: u64, request: fn(u64) -> Submit) -> f64 {
    let left = Arc::new(AtomicU64::new(count));
    let clock = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (backend, left) = (backend.clone(), left.clone());
            tokio::spawn(async move {
                while let Ok(left) =
                    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                {
                    backend.submit(request(left)).await.expect("accepted");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller");
    }
    count as f64 / clock.elapsed().as_secs_f64()
}

/// The same group commit straight against SQLite: the same table, the same pragmas, the same
/// patience, the same number of callers waiting for their own row to be on disk.
fn bare(dir: &Path, count: u64) -> f64 {
    use std::sync::mpsc;
    let connection = rusqlite::Connection::open(dir.join("bare.db")).expect("a database");
    connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
    connection.pragma_update(None, "synchronous", "FULL").expect("FULL");
    connection.pragma_update(None, "wal_autocheckpoint", 4096).expect("checkpoint");
    connection
        .execute_batch(concat!(
            include_str!("../../src/backend/engine/store/schema.sql"),
            include_str!("../../src/backend/engine/store/migrations/2.sql"),
        ))
        .expect("the same tables");
    let (requests, waiting) = mpsc::channel::<(u64, tokio::sync::oneshot::Sender<()>)>();
    let writer = std::thread::spawn(move || {
        let mut answered = 0;
        while let Ok(first) = waiting.recv() {
            let mut batch = vec![];
            let mut next = Some(first);
            connection.execute_batch("BEGIN IMMEDIATE").expect("begin");
            let mut insert = connection
                .prepare_cached(
                    "INSERT INTO operation (uid, kind, state, params, actor, priority, attempt, \
                     cancelling, created) VALUES (?1, 'no_op', 0, '{}', 'bench', 0, 0, 0, ?2)",
                )
                .expect("prepared");
            while let Some((uid, answer)) = next {
                insert.execute(rusqlite::params![uid, 1_700_000_000_000_i64]).expect("inserted");
                batch.push(answer);
                next = waiting.try_recv().ok();
                let until = Instant::now() + Duration::from_micros(100);
                while next.is_none() && batch.len() < answered && Instant::now() < until {
                    std::thread::yield_now();
                    next = waiting.try_recv().ok();
                }
            }
            answered = batch.len();
            drop(insert);
            connection.execute_batch("COMMIT").expect("commit");
            for answer in batch {
                answer.send(()).expect("somebody waits");
            }
        }
    });
    let runtime = runtime();
    let next = Arc::new(AtomicU64::new(1));
    let clock = Instant::now();
    runtime.block_on(async {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (requests, next) = (requests.clone(), next.clone());
                tokio::spawn(async move {
                    loop {
                        let uid = next.fetch_add(1, Ordering::Relaxed);
                        if uid > count {
                            return;
                        }
                        let (answer, told) = tokio::sync::oneshot::channel();
                        requests.send((uid, answer)).expect("a writer");
                        told.await.expect("written");
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("a caller");
        }
    });
    let rate = count as f64 / clock.elapsed().as_secs_f64();
    drop(requests);
    drop(runtime);
    writer.join().expect("the writer ends");
    rate
}

/// How often a second the disk takes a page that must be there for good: no batch is faster.
fn trips(dir: &Path) -> f64 {
    use std::os::unix::fs::FileExt;
    const TRIPS: u64 = 1000;
    let file = std::fs::File::create(dir.join("trips")).expect("a file");
    let page = [1; 16 * 1024];
    file.write_all_at(&vec![0; page.len() * TRIPS as usize], 0).expect("room");
    file.sync_all().expect("on disk");
    let clock = Instant::now();
    for trip in 0..TRIPS {
        file.write_all_at(&page, trip * page.len() as u64).expect("written");
        file.sync_data().expect("on disk");
    }
    TRIPS as f64 / clock.elapsed().as_secs_f64()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// Submits with the lane paused: nothing but acknowledged submits.
fn ours(dir: &Path, count: u64) -> f64 {
    let runtime = runtime();
    let rate = runtime.block_on(async {
        let backend = start(dir);
        settled(&backend).await;
        change_lane(&backend, LaneChange::Pause).await;
        submits(&backend, count, no_op).await
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    rate
}

/// From submit to DONE, durable: ends when every operation is at its end.
fn to_done(dir: &Path, count: u64) -> f64 {
    let runtime = runtime();
    let rate = runtime.block_on(async {
        let backend = start(dir);
        settled(&backend).await;
        let clock = Instant::now();
        submits(&backend, count, no_op).await;
        ended(&backend).await;
        count as f64 / clock.elapsed().as_secs_f64()
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    rate
}

/// Waits until every operation is at its end, on disk.
async fn ended(backend: &Embedded) {
    let mut events = backend.subscribe();
    loop {
        let mut left = open(backend).await;
        if left == 0 {
            return;
        }
        // To look takes its time from what is measured: not again before as many have ended.
        while left > 0 {
            match events.next().await.expect("an event").fact {
                Fact::Operation(operation) => left -= u64::from(operation.state.is_end()),
                Fact::Missed => break,
                _ => {}
            }
        }
    }
}

/// How many operations run or wait. The lanes are counted; what is in flight would be sorted, at
/// the cost of what is measured, and is looked at only where nothing is left in the lanes.
async fn open(backend: &Embedded) -> u64 {
    let answer = backend.query(Query::Lanes).await.expect("an answer");
    let Answer::Lanes(lanes) = answer else { panic!("another answer") };
    let in_lanes: u32 = lanes.iter().map(|lane| lane.running + lane.waiting).sum();
    if in_lanes > 0 {
        return in_lanes.into();
    }
    let answer = backend.query(Query::InFlight).await.expect("an answer");
    let Answer::InFlight(flight) = answer else { panic!("another answer") };
    flight.running + flight.waiting
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A directory of its own, on the disk that is measured.
fn fresh() -> tempfile::TempDir {
    let place = std::env::var_os("HOSTLER_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    tempfile::tempdir_in(place).expect("a directory")
}

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_wanted = |part: &str| wanted.as_deref().is_none_or(|wanted| wanted == part);
    // First, while the memory of the process is its own.
    if is_wanted("pending") {
        pending::measure();
    }
    if is_wanted("batch") {
        batch::measure();
    }
    if is_wanted("rows") {
        rows::measure();
    }
    if is_wanted("speed") {
        measure();
    }
}

fn measure() {
    let (mut bare_rates, mut our_rates, mut done_rates) = (vec![], vec![], vec![]);
    let mut trip_rates = vec![];
    for _ in 0..ROUNDS {
        trip_rates.push(trips(fresh().path()));
        bare_rates.push(bare(fresh().path(), SUBMITS));
        our_rates.push(ours(fresh().path(), SUBMITS));
        done_rates.push(to_done(fresh().path(), SUBMITS));
    }
    let (bare, ours, done) = (median(bare_rates), median(our_rates), median(done_rates));
    println!("the disk alone, 16 KiB:       {:>9.0}/s", median(trip_rates));
    println!("durable submits, {CALLERS} callers:  {ours:>9.0}/s");
    println!("bare SQLite group commit:     {bare:>9.0}/s");
    println!("ratio:                        {:>9.2}    (at least 0.75)", ours / bare);
    println!("no-op operations to DONE:     {done:>9.0}/s");
    println!("ratio:                        {:>9.2}    (at least 0.55)", done / bare);
}
