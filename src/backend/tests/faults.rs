//! A store that fails, at every place where it can: before and after every statement, before a
//! transaction, at its commit. Whatever it is, memory and disk tell the same story afterwards,
//! nothing that was acknowledged is lost, and the events told it in order.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use serde_json::{Value as Json, json};

use crate::backend::engine::store::{FILE, Fault, Faults, How};
use crate::backend::testing::fake::CallFault;
use crate::backend::testing::harness::Harness;
use crate::domain::{
    Answer, Backend, Control, Event, EventStream, Fact, Filter, LaneChange, List, Params, Query,
    Rows, State, Subject, Uid,
};

/// Everything an operator may do, with what comes of it. Notes what is acknowledged.
async fn a_day(harness: &mut Harness, accepted: &mut Vec<Uid>) {
    let lane = |change| Control::Lane { name: "disk".into(), change };
    // A creation, and work behind it.
    let given = json!({ "hostname": "web-1", "password": "correct horse", "os": "tiny" });
    accepted.extend(asks(harness, "vm_create", given).await);
    accepted.extend(asks(harness, "vm_stop", json!({ "vm": "web-1", "force": true })).await);
    // A creation that is called off, with what waits for it.
    may(harness, lane(LaneChange::Pause)).await;
    let create = asks(harness, "disk_create", json!({ "name": "a", "size_mb": 20 })).await;
    accepted.extend(create);
    accepted.extend(asks(harness, "disk_delete", json!({ "disk": "a" })).await);
    if let Some(uid) = create {
        may(harness, Control::Priority { uid, priority: 3 }).await;
        may(harness, Control::Cancel { uid }).await;
    }
    may(harness, lane(LaneChange::Width(5))).await;
    while !may(harness, lane(LaneChange::Resume)).await {}
    rest(harness, accepted).await;
    // One that fails, and is tried again.
    harness.fake.trouble(0, CallFault::Before);
    if let Some(uid) = asks(harness, "disk_create", json!({ "name": "b", "size_mb": 20 })).await {
        accepted.push(uid);
        rest(harness, accepted).await;
        may(harness, Control::Relaunch { uid, params: Params::new() }).await;
        rest(harness, accepted).await;
    }
    // One that is called off while it runs.
    harness.fake.trouble(0, CallFault::Hang);
    if let Some(uid) = asks(harness, "disk_create", json!({ "name": "c", "size_mb": 20 })).await {
        accepted.push(uid);
        harness.fake.hung().await;
        while !may(harness, Control::Cancel { uid }).await {}
        rest(harness, accepted).await;
    }
}

async fn asks(harness: &Harness, kind: &str, given: Json) -> Option<Uid> {
    harness.submit(kind, given).await.ok().map(|accepted| accepted.uid)
}

/// Says whether it worked, or can work no more.
async fn may(harness: &Harness, control: Control) -> bool {
    let done = harness.backend.control(control).await;
    done.is_ok() || harness.backend.engine.is_dead()
}

async fn rest(harness: &mut Harness, uids: &[Uid]) {
    for uid in uids {
        loop {
            let state = harness.detail(*uid).await.operation.state;
            if state.is_end() || state == State::Error {
                break;
            }
            // Whatever it tells: what was told before this was asked says nothing.
            harness.hears(|fact| matches!(fact, Fact::Operation(_)).then_some(())).await;
        }
    }
}

/// What there is, as anybody who asks is told.
async fn told(harness: &Harness) -> Json {
    harness.backend.in_step().await;
    let list = List {
        of: Subject::Operations,
        filter: Filter::default(),
        sort: None,
        offset: 0,
        limit: 100,
        around: None,
    };
    let operations = match harness.backend.query(Query::List(list)).await.unwrap() {
        Answer::Page(page) => match page.rows {
            Rows::Operations(rows) => rows,
            Rows::Resources(_) => unreachable!("operations were asked for"),
        },
        other => panic!("{other:?}"),
    };
    let lanes = match harness.backend.query(Query::Lanes).await.unwrap() {
        Answer::Lanes(lanes) => lanes,
        other => panic!("{other:?}"),
    };
    let operations: Vec<Json> = operations
        .into_iter()
        .map(|mut operation| {
            // Only memory knows how far it came.
            operation.progress = None;
            // To the millisecond, as it is stored.
            let mut json = serde_json::to_value(operation).unwrap();
            for at in ["created", "started", "finished"] {
                json.as_object_mut().unwrap().remove(at);
            }
            json
        })
        .collect();
    json!({ "operations": operations, "lanes": lanes, "things": harness.everything().await })
}

/// Nothing is there that is half made or belongs to nothing.
fn whole(told: &Json) {
    let all = |name: &str| told["things"][name].as_array().unwrap().clone();
    let failed: Vec<String> = told["operations"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|operation| operation["state"] == "ERROR")
        .map(|operation| operation["resource"].to_string())
        .collect();
    for resource in all("resources") {
        let id = resource["id"].to_string();
        if resource["state"] == "being_created" {
            assert!(failed.iter().any(|of| of.contains(&id)), "half made: {resource}");
        }
    }
    for file in all("files") {
        let Some(id) = file.as_str().unwrap().strip_prefix("disks/") else { continue };
        let id = id.split('.').next().and_then(|id| id.parse().ok());
        let of = |it: &Json| it["resource"] == "disk" && it["id"].as_u64() == id;
        assert!(all("resources").iter().any(of), "{file} belongs to nothing");
    }
}

/// The events come one after the other, nothing is told of what has ended, and what was told last
/// is what is.
async fn in_order(events: &mut EventStream, harness: &Harness) {
    let mut last: BTreeMap<Uid, State> = BTreeMap::new();
    let mut before = None;
    while let Some(Some(Event { seq, fact, .. })) = events.next().now_or_never() {
        assert!(before.is_none_or(|before| seq == before + 1), "{before:?}, then {seq}");
        before = Some(seq);
        if let Fact::Operation(operation) = fact {
            let was = last.insert(operation.uid, operation.state);
            assert!(!was.is_some_and(State::is_end), "{was:?}, then {operation:?}");
        }
    }
    for (uid, state) in last {
        assert_eq!(harness.detail(uid).await.operation.state, state, "{uid}");
    }
}

/// One day with one fault. Says where it struck.
async fn play(fault: Fault) -> Vec<String> {
    let mut harness = Harness::open();
    harness.some_image().await;
    let faults = Faults::of(&harness.dir().join(FILE));
    let mut events = harness.backend.subscribe();
    faults.plan(Some(fault));
    let backend = harness.backend.clone();
    let mut accepted = Vec::new();
    let lived = tokio::select! {
        biased;
        () = a_day(&mut harness, &mut accepted) => true,
        _ = backend.lost() => false,
    };
    let struck = faults.plan(None);
    // What was to go wrong with a request that never came does not any more.
    harness.fake.trouble(usize::MAX, CallFault::Before);
    let what = format!("{fault:?} {struck:?}");
    println!("{what}");
    if lived && !backend.engine.is_dead() {
        in_order(&mut events, &harness).await;
        let before = told(&harness).await;
        whole(&before);
        drop(events);
        harness = harness.restart().await;
        assert_eq!(told(&harness).await, before, "memory and store differ after {what}");
    } else {
        drop(events);
        harness = harness.restart().await;
    }
    let found = told(&harness).await;
    let uids: Vec<_> =
        found["operations"].as_array().unwrap().iter().map(|it| &it["uid"]).collect();
    for uid in &accepted {
        assert!(uids.contains(&&json!(uid)), "{uid} was acknowledged and is lost after {what}");
    }
    let uids: Vec<Uid> =
        uids.into_iter().map(|uid| serde_json::from_value(uid.clone()).unwrap()).collect();
    harness.control(Control::Lane { name: "disk".into(), change: LaneChange::Resume }).await;
    rest(&mut harness, &uids).await;
    whole(&told(&harness).await);
    harness.backend.leave(false).await;
    struck
}

/// A fault at every place, or, as that takes a minute, at every third from `first` on.
async fn everywhere(how: How, times: usize, first: usize) {
    let step = if std::env::var_os("HOSTLER_EVERY_FAULT").is_some() { 1 } else { 3 };
    for at in (first % step..).step_by(step) {
        if play(Fault { at, times, how }).await.is_empty() {
            assert!(at > 20, "a day has more places than {at}");
            return;
        }
    }
}

/// Whether the last commit reached the disk nobody here knows: what its steps did stays until the
/// next start, which reads it.
#[tokio::test]
async fn nothing_is_undone_once_the_store_is_dead() {
    let lane = |change| Control::Lane { name: "disk".into(), change };
    let mut died = 0;
    for at in 0.. {
        let mut harness = Harness::open();
        let backend = harness.backend.clone();
        let tasks = backend.engine.at_work();
        harness.control(lane(LaneChange::Pause)).await;
        let given = json!({ "name": "data", "size_mb": 20 });
        let uid = harness.submit("disk_create", given).await.unwrap().uid;
        harness.control(lane(LaneChange::Resume)).await;
        let faults = Faults::of(&harness.dir().join(FILE));
        faults.plan(Some(Fault { at, times: 1, how: How::Broken }));
        let lived = tokio::select! {
            biased;
            _ = backend.lost() => false,
            _ = harness.reaches(uid, &[State::Done, State::Error]) => true,
        };
        let struck = faults.plan(None);
        if struck.is_empty() {
            assert!(died > 1, "its steps have more commits than {died}");
            return harness.backend.leave(false).await;
        }
        if lived {
            harness.backend.leave(false).await;
            continue;
        }
        died += 1;
        // The operation's task ends, and the one that waited for room. No event tells of that: with
        // the store everybody who would tell one is dead.
        while backend.engine.at_work() >= tasks {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        harness = harness.restart().await;
        let ended = harness.reaches(uid, &[State::Done, State::Error]).await;
        assert_eq!(ended.state, State::Done, "{struck:?}: {:?}", ended.comment);
        assert!(harness.disk(1).await.path.exists(), "undone after {struck:?}");
        harness.backend.leave(false).await;
    }
}

#[tokio::test]
async fn a_full_disk_at_every_place() {
    everywhere(How::Full, 1, 0).await;
}

#[tokio::test]
async fn a_full_disk_for_some_time_at_every_place() {
    everywhere(How::Full, 5, 1).await;
}

#[tokio::test]
async fn a_disk_that_fails_at_every_place() {
    everywhere(How::Broken, 1, 2).await;
}
