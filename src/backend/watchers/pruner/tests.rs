//! What is forgotten, and that nobody waits for it.

use std::time::Instant;

use serde_json::json;

use super::{Pruner, concerns};
use crate::backend::engine::store::FILE;
use crate::backend::state_files::description::History;
use crate::backend::state_files::mark::Mark;
use crate::backend::testing::test_backend::TestBackend;
use crate::backend::watchers::timekeeper::Timekeeper;
use crate::domain::{Answer, Backend, Query, State, Uid};

/// Puts operations that ended a year ago into the store of a backend that has left, before those
/// that it has done itself; each took two steps.
fn year_old(tested: &TestBackend, count: u64) {
    let store = rusqlite::Connection::open(tested.path("state").join(FILE)).unwrap();
    let sql = format!(
        "UPDATE step SET uid = uid + {count}; UPDATE operation SET uid = uid + {count}; \
         WITH RECURSIVE n(uid) AS (SELECT 1 UNION ALL SELECT uid + 1 FROM n WHERE uid < {count}) \
         INSERT INTO operation (uid, kind, state, params, resource, resource_name, actor, \
         priority, attempt, cancelling, created, started, finished, updated) \
         SELECT uid, 'vm_reboot', 2, '{{\"vm\":3}}', 'vm/3', 'web-3', 'console:root', 0, 0, 0, \
         1740000000000 + uid, 1740000000000 + uid, 1740000001000 + uid, 1740000001000 + uid \
         FROM n; \
         INSERT INTO step SELECT uid, 0, number, 'stop', 1, 'null', NULL, '[]', \
         1740000000000 + uid, 1740000001000 + uid \
         FROM operation, (SELECT 1 AS number UNION SELECT 2) WHERE uid <= {count}"
    );
    store.execute_batch(&sql).unwrap();
}

async fn count(tested: &TestBackend) -> u64 {
    match tested.backend().query(Query::Counts).await.unwrap() {
        Answer::Counts(counts) => counts.operations,
        other => panic!("{other:?}"),
    }
}

/// How long the answers to requests take, in milliseconds, sorted.
async fn submits(tested: &TestBackend, mut go_on: impl AsyncFnMut(u64) -> bool) -> Vec<f64> {
    let source = tested.file("source.mov", "x");
    let mut took = Vec::new();
    while go_on(took.len() as u64).await {
        let output = tested.path(&format!("{}.mp4", uuid::Uuid::new_v4()));
        let asked = Instant::now();
        tested.submit("encode", json!({ "source": source, "output": output })).await.unwrap();
        took.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    took
}

async fn prunes_while_submits_go_on(count: u64) {
    let mut tested = TestBackend::new();
    let before = {
        let source = tested.file("talk.mov", "x");
        tested.done("encode", json!({ "source": source })).await.operation
    };
    tested.crash().await;
    year_old(&tested, count);
    tested.settings = |settings| settings.keep_operations_days = Some(180);
    let began = Instant::now();
    tested.start();
    let meanwhile = submits(&tested, async |done| self::count(&tested).await > done + 1).await;
    let seconds = began.elapsed().as_secs_f64();
    let after = submits(&tested, async |done| self::count(&tested).await > 0 && done < 200).await;
    let figures = |took: &[f64]| {
        let at = |part: usize| took[(took.len() - 1) * part / 100];
        format!("median {:.1} ms, 99 % in {:.1} ms, longest {:.1} ms", at(50), at(99), at(100))
    };
    println!(
        "{count} operations pruned in {seconds:.1} s, {:.0} a second; {} submits meanwhile: {}; \
         afterwards: {}",
        count as f64 / seconds,
        meanwhile.len(),
        figures(&meanwhile),
        figures(&after),
    );
    let kept = tested.operation(Uid(before.uid.0 + count)).await;
    assert_eq!((kept.operation.state, kept.steps.len()), (State::Done, 3));
    tested.crash().await;
    let store = rusqlite::Connection::open(tested.path("state").join(FILE)).unwrap();
    let orphans = "SELECT count(*) FROM step WHERE uid NOT IN (SELECT uid FROM operation)";
    assert_eq!(store.query_row(orphans, [], |row| row.get::<_, u64>(0)).unwrap(), 0);
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten_while_submits_go_on() {
    prunes_while_submits_go_on(20_000).await;
}

/// `cargo test --lib a_million -- --ignored --nocapture` measures it.
#[tokio::test]
#[ignore = "it takes a minute or two"]
async fn a_million_that_ended_a_year_ago_is_forgotten_while_submits_go_on() {
    prunes_while_submits_go_on(1_000_000).await;
}

#[tokio::test]
async fn a_clock_that_was_set_ahead_makes_nothing_old() {
    let mut tested = TestBackend::new();
    tested.settings = |settings| settings.keep_operations_days = Some(30);
    tested.crash().await;
    tested.start();
    let source = tested.file("talk.mov", "x");
    let uid = tested.done("encode", json!({ "source": source })).await.operation.uid;
    let is_there = async |tested: &TestBackend, pruner: &mut Pruner| {
        pruner.prune_all(&tested.backend().site).await.unwrap();
        tested.backend().query(Query::Operation { uid }).await.is_ok()
    };
    let mut first = pruner(&tested);
    tested.clock.jump("2036-03-01T12:00:00Z");
    assert!(is_there(&tested, &mut first).await);
    assert!(is_there(&tested, &mut pruner(&tested)).await, "another one knows that");
    tested.clock.set("2036-03-31T11:00:00Z");
    assert!(is_there(&tested, &mut first).await);
    // As long as it is to be kept has passed since.
    tested.clock.set("2036-03-31T13:00:00Z");
    assert!(!is_there(&tested, &mut first).await);
}

#[tokio::test]
async fn what_a_task_names_stays_and_descriptions_are_known_to_be_of_this_database() {
    let mut tested = TestBackend::new();
    tested.settings = |settings| settings.keep_operations_days = Some(30);
    tested.crash().await;
    tested.start();
    let source = tested.file("talk.mov", "x");
    let params = json!({ "name": "nightly", "kind": "encode", "params": { "source": source } });
    tested.done("task_create", params).await;
    let fired = tested.done("task_run", json!({ "task": 1 })).await.operation;
    let named = Uid(fired.outcome.unwrap().data["uid"].as_u64().unwrap());
    let events = tested.backend().subscribe();
    tested.rest(events, named).await;
    let created = tested.operation(Uid(1)).await.operation.created;
    tested.clock.set("2026-04-15T12:00:00Z");
    let mut pruner = pruner(&tested);
    pruner.prune_all(&tested.backend().site).await.unwrap();
    assert_eq!(tested.operation(named).await.operation.uid, named);
    let gone = Query::Operation { uid: fired.uid };
    tested.backend().query(gone).await.unwrap_err();
    // A description that names the first as the newest there was is of this database all the same.
    assert!(History::knows(&pruner.store, Mark::of(Uid(1), created)).unwrap());
    assert!(!History::knows(&pruner.store, Mark::of(Uid(99), created)).unwrap());
}

fn pruner(tested: &TestBackend) -> Pruner {
    let backend = tested.backend();
    Pruner {
        store: backend.store.clone(),
        watch: backend.engine.watch(concerns),
        keeper: Timekeeper::new(&*tested.clock),
        believed: None,
    }
}
