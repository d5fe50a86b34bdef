//! What was never made, or is gone, does not come back.

use serde_json::json;

use crate::backend::engine::store::FILE;
use crate::backend::testing::fake::CallFault;
use crate::backend::testing::harness::Harness;
use crate::domain::{Accepted, Control, Disk, LaneChange, Params, ResourceId, State, Uid, Vm};

const fn vm(id: u64) -> ResourceId {
    ResourceId::new(Vm::KIND, id)
}

const fn disk(id: u64) -> ResourceId {
    ResourceId::new(Disk::KIND, id)
}

fn lane(name: &str, change: LaneChange) -> Control {
    Control::Lane { name: name.into(), change }
}

async fn ask(harness: &Harness, kind: &str, given: serde_json::Value) -> Accepted {
    harness.submit(kind, given).await.unwrap()
}

async fn create_vm(harness: &Harness) -> Accepted {
    let given = json!({ "hostname": "web-1", "password": "correct horse", "os": "tiny" });
    ask(harness, "vm_create", given).await
}

async fn ended_as(harness: &mut Harness, uid: Uid) -> (State, String) {
    let ended = harness.ends(uid).await;
    (ended.state, ended.comment.unwrap_or_default())
}

fn never(id: ResourceId, name: &str, creation: Uid) -> (State, String) {
    let why = format!("{id} '{name}' was never made: its creation {creation} was cancelled");
    (State::Cancel, why)
}

/// Nothing is left of it, now and after a restart.
async fn is_gone(harness: Harness, id: ResourceId) -> Harness {
    assert_eq!(harness.resource(id).await, None);
    let before = harness.everything().await;
    let harness = harness.restart().await;
    assert_eq!(harness.resource(id).await, None);
    assert_eq!(harness.everything().await, before);
    harness
}

#[tokio::test]
async fn what_waits_for_a_creation_ends_when_that_is_cancelled() {
    let mut harness = Harness::open();
    harness.some_image().await;
    harness.fake.trouble(0, CallFault::Hang);
    let create = create_vm(&harness).await;
    harness.fake.hung().await;
    let stop = ask(&harness, "vm_stop", json!({ "vm": 1, "force": true })).await;
    let start = ask(&harness, "vm_start", json!({ "vm": 1 })).await;
    harness.fake.calls();
    harness.control(Control::Cancel { uid: create.uid }).await;
    assert_eq!(harness.ends(create.uid).await.state, State::Cancel);
    for later in [stop, start] {
        assert_eq!(ended_as(&mut harness, later.uid).await, never(vm(1), "web-1", create.uid));
    }
    assert!(!harness.fake.calls().iter().any(|call| call.starts_with("launch")));
    is_gone(harness, vm(1)).await;
}

#[tokio::test]
async fn so_it_is_with_a_disk_and_who_waits_behind_those_goes_on() {
    let mut harness = Harness::open();
    harness.some_vm().await;
    harness.fake.trouble(0, CallFault::Hang);
    let create = ask(&harness, "disk_create", json!({ "name": "data", "size_mb": 20 })).await;
    harness.fake.hung().await;
    let attach = ask(&harness, "disk_attach", json!({ "disk": 1, "vm": 1 })).await;
    let stop = ask(&harness, "vm_stop", json!({ "vm": 1 })).await;
    harness.control(Control::Cancel { uid: create.uid }).await;
    assert_eq!(ended_as(&mut harness, attach.uid).await, never(disk(1), "data", create.uid));
    assert_eq!(harness.ends(stop.uid).await.state, State::Done);
    assert_eq!(harness.vm(1).await.disks, Vec::<u64>::new());
    is_gone(harness, disk(1)).await;
}

#[tokio::test]
async fn in_a_paused_lane_they_end_at_once_together() {
    let mut harness = Harness::open();
    harness.some_image().await;
    harness.control(lane("vm", LaneChange::Pause)).await;
    let create = create_vm(&harness).await;
    let stop = ask(&harness, "vm_stop", json!({ "vm": 1 })).await;
    harness.control(Control::Cancel { uid: create.uid }).await;
    let ended = harness.detail(stop.uid).await.operation;
    assert_eq!((ended.state, ended.comment.unwrap()), never(vm(1), "web-1", create.uid));
    let mut harness = is_gone(harness, vm(1)).await;
    harness.control(lane("vm", LaneChange::Resume)).await;
    let again = create_vm(&harness).await;
    assert_eq!(harness.ends(again.uid).await.state, State::Done);
}

#[tokio::test]
async fn who_waits_for_a_creation_that_failed_does_nothing_and_goes_with_it() {
    let mut harness = Harness::open();
    harness.some_image().await;
    harness.control(lane("vm", LaneChange::Pause)).await;
    let create = create_vm(&harness).await;
    let stop = ask(&harness, "vm_stop", json!({ "vm": 1, "force": true })).await;
    harness.fake.trouble(0, CallFault::Before);
    harness.control(lane("vm", LaneChange::Resume)).await;
    assert_eq!(harness.ends(create.uid).await.state, State::Error);
    let (state, why) = ended_as(&mut harness, stop.uid).await;
    assert_eq!(state, State::Error, "{why}");
    assert!(why.contains(&format!("its creation {} failed", create.uid)), "{why}");
    assert_eq!(harness.vm(1).await.state.word(), "being_created");
    // After the creation, it works.
    harness.control(Control::Relaunch { uid: create.uid, params: Params::new() }).await;
    harness.reaches(create.uid, &[State::Done]).await;
    harness.control(Control::Relaunch { uid: stop.uid, params: Params::new() }).await;
    harness.reaches(stop.uid, &[State::Done]).await;

    // Without it, it cannot.
    harness.fake.trouble(0, CallFault::Hang);
    let create = ask(&harness, "disk_create", json!({ "name": "data", "size_mb": 20 })).await;
    harness.fake.hung().await;
    let attach = ask(&harness, "disk_delete", json!({ "disk": 1 })).await;
    harness.control(lane("disk", LaneChange::Pause)).await;
    let mut harness = harness.restart().await;
    harness.fake.trouble(0, CallFault::Before);
    harness.control(lane("disk", LaneChange::Resume)).await;
    assert_eq!(harness.ends(create.uid).await.state, State::Error);
    assert_eq!(ended_as(&mut harness, attach.uid).await.0, State::Error);
    harness.control(Control::Cancel { uid: create.uid }).await;
    let ended = harness.reaches(attach.uid, &[State::Cancel]).await;
    assert_eq!((ended.state, ended.comment.unwrap()), never(disk(1), "data", create.uid));
    is_gone(harness, disk(1)).await;
}

#[tokio::test]
async fn what_an_older_hostler_left_behind_ends_by_itself() {
    let mut harness = Harness::open();
    harness.some_halted_vm().await;
    harness.control(lane("vm", LaneChange::Pause)).await;
    let start = ask(&harness, "vm_start", json!({ "vm": 1 })).await;
    harness.backend.leave(false).await;
    let store = rusqlite::Connection::open(harness.dir().join(FILE)).unwrap();
    store.execute_batch("DELETE FROM resource WHERE kind = 'vm'").unwrap();
    drop(store);
    let mut harness = harness.restart().await;
    harness.control(lane("vm", LaneChange::Resume)).await;
    let (state, why) = ended_as(&mut harness, start.uid).await;
    assert_eq!((state, &*why), (State::Cancel, "vm/1 is gone, so this can never work"));
    is_gone(harness, vm(1)).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_not_taken_for_gone() {
    let mut harness = Harness::open();
    harness.some_halted_vm().await;
    harness.control(lane("vm", LaneChange::Pause)).await;
    let start = ask(&harness, "vm_start", json!({ "vm": 1 })).await;
    harness.backend.leave(false).await;
    let store = rusqlite::Connection::open(harness.dir().join(FILE)).unwrap();
    store.execute_batch("UPDATE resource SET doc = 'x' WHERE kind = 'vm'").unwrap();
    drop(store);
    let mut harness = harness.restart().await;
    harness.control(lane("vm", LaneChange::Resume)).await;
    let (state, why) = ended_as(&mut harness, start.uid).await;
    assert_eq!(state, State::Error);
    assert!(why.contains("vm/1 cannot be read") && why.contains("doctor"), "{why}");
}

#[tokio::test]
async fn a_cancellation_that_cannot_be_written_leaves_all_of_them_as_they_were() {
    let mut harness = Harness::open();
    harness.some_image().await;
    harness.control(lane("vm", LaneChange::Pause)).await;
    let create = create_vm(&harness).await;
    let stop = ask(&harness, "vm_stop", json!({ "vm": 1 })).await;
    let store = rusqlite::Connection::open(harness.dir().join(FILE)).unwrap();
    store
        .execute_batch(
            "CREATE TRIGGER no BEFORE UPDATE OF state ON operation \
             WHEN NEW.state = 4 AND NEW.kind = 'vm_stop' \
             BEGIN SELECT RAISE(ABORT, 'no room'); END",
        )
        .unwrap();
    let cancel = Control::Cancel { uid: create.uid };
    crate::domain::Backend::control(&harness.backend, cancel).await.unwrap_err();
    for it in [&create, &stop] {
        assert_eq!(harness.detail(it.uid).await.operation.state, State::Pending);
    }
    assert_eq!(harness.vm(1).await.state.word(), "being_created");
    store.execute_batch("DROP TRIGGER no").unwrap();
    harness.control(lane("vm", LaneChange::Resume)).await;
    for it in [&create, &stop] {
        assert_eq!(harness.ends(it.uid).await.state, State::Done);
    }
}

#[tokio::test]
async fn what_an_earlier_life_began_is_undone_also_while_its_lane_is_paused() {
    let harness = Harness::open();
    harness.fake.trouble(0, CallFault::Hang);
    let create = ask(&harness, "disk_create", json!({ "name": "data", "size_mb": 20 })).await;
    harness.fake.hung().await;
    let file = harness.dir().join("disks/1.qcow2");
    assert!(file.exists(), "the effect has happened");
    // However the life ends now, the next one knows of it.
    let store = rusqlite::Connection::open(harness.dir().join(FILE)).unwrap();
    let state: i64 = store.query_row("SELECT state FROM operation", [], |row| row.get(0)).unwrap();
    assert_eq!(state, 1, "it runs");
    drop(store);
    harness.control(lane("disk", LaneChange::Pause)).await;
    harness.backend.leave(false).await;
    let mut harness = harness.restart().await;
    harness.control(Control::Cancel { uid: create.uid }).await;
    assert_eq!(harness.ends(create.uid).await.state, State::Cancel);
    assert!(!file.exists(), "its file is undone");
    is_gone(harness, disk(1)).await;
}

/// What looks like its work is that of others.
#[tokio::test]
async fn what_never_began_undoes_nothing_in_a_later_life() {
    for (attached, first, second) in [
        (false, "disk_delete", "disk_restore"),
        (true, "disk_detach", "disk_attach"),
        (true, "disk_detach", "disk_delete"),
    ] {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        if attached {
            harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        }
        let before = harness.disk(disk).await;
        harness.control(lane("disk", LaneChange::Pause)).await;
        let mut asked = Vec::new();
        for kind in [first, second] {
            let given = match kind {
                "disk_attach" => json!({ "disk": disk, "vm": vm }),
                _ => json!({ "disk": disk }),
            };
            // The second is accepted for what the first one will have done.
            asked.push(ask(&harness, kind, given).await.uid);
        }
        let mut harness = harness.restart().await;
        for uid in &asked {
            harness.control(Control::Cancel { uid: *uid }).await;
        }
        harness.control(lane("disk", LaneChange::Resume)).await;
        for uid in asked {
            assert_eq!(harness.ends(uid).await.state, State::Cancel, "{first} {second}");
        }
        assert_eq!(harness.disk(disk).await, before, "{first} {second}");
    }
}
