//! A batch of real kinds over fakes.

use serde_json::{Value as Json, json};

use crate::backend::testing::fake::CallFault;
use crate::backend::testing::harness::{FaultMatrix, Harness};
use crate::domain::{Control, DiskState, Operation, Params, Reason, State, Submit, Uid, VmState};

fn asks(kind: &str, params: &Json) -> Json {
    json!({ "kind": kind, "params": params })
}

async fn some_vms(harness: &mut Harness, number: u64) -> Vec<u64> {
    let os = harness.some_image().await;
    let mut vms = Vec::new();
    for at in 1..=number {
        let hostname = format!("web-{at}");
        let given = json!({ "hostname": hostname, "password": "correct horse", "os": os });
        vms.push(harness.done("vm_create", given).await);
    }
    vms
}

fn stops(vms: &[u64]) -> Vec<Json> {
    vms.iter().map(|vm| asks("vm_stop", &json!({ "vm": vm, "force": true }))).collect()
}

async fn children(harness: &Harness, parent: Uid) -> Vec<Operation> {
    harness.detail(parent).await.children
}

#[tokio::test]
async fn it_endures_everything() {
    let tested = FaultMatrix {
        kind: "batch",
        params: json!({ "operations": [
            asks("disk_create", &json!({ "name": "one", "size_mb": 8 })),
        ] }),
        setup: |_| Box::pin(async {}),
        undoes: true,
    };
    tested.endure_as_parent().await;
}

#[tokio::test]
async fn deletions_that_failed_in_part_go_on_where_they_were() {
    let mut harness = Harness::open();
    let mut purges = Vec::new();
    for name in ["a", "b", "c"] {
        let disk = harness.done("disk_create", json!({ "name": name, "size_mb": 8 })).await;
        harness.done("disk_delete", json!({ "disk": disk })).await;
        purges.push(asks("disk_purge", &json!({ "disk": disk })));
    }
    // The second looks as if a later database had restored it.
    let alive = harness.dir().join("disks/2.qcow2");
    std::fs::write(&alive, "alive").unwrap();
    let (uid, why) = harness.fails("batch", json!({ "operations": purges, "at_once": 1 })).await;
    assert!(why.starts_with("1 done, 1 failed"), "{why}");
    std::fs::remove_file(&alive).unwrap();
    harness.control(Control::Relaunch { uid, params: Params::new() }).await;
    let batch = harness.reaches(uid, &[State::Done, State::Error]).await;
    assert_eq!(batch.state, State::Done, "{:?}", batch.comment);
    harness.backend.in_step().await;
    assert_eq!(std::fs::read_dir(harness.dir().join("trash")).unwrap().count(), 0);
    assert_eq!(children(&harness, uid).await.len(), 4, "the one that was done counts");
}

#[tokio::test]
async fn what_cannot_be_done_any_more_is_told_for_the_reason_it_has_now() {
    let mut harness = Harness::open();
    let disk = harness.done("disk_create", json!({ "name": "a", "size_mb": 8 })).await;
    harness.done("disk_delete", json!({ "disk": disk })).await;
    let alive = harness.dir().join("disks/1.qcow2");
    std::fs::write(&alive, "alive").unwrap();
    let purge = asks("disk_purge", &json!({ "disk": disk }));
    let (uid, why) = harness.fails("batch", json!({ "operations": [purge] })).await;
    assert!(why.contains("an older copy of the database"), "{why}");
    // Its child is given up, and somebody else purges the disk.
    let child = children(&harness, uid).await.remove(0);
    harness.control(Control::Cancel { uid: child.uid }).await;
    std::fs::remove_file(&alive).unwrap();
    harness.done("disk_purge", json!({ "disk": disk })).await;
    harness.control(Control::Relaunch { uid, params: Params::new() }).await;
    let batch = harness.reaches(uid, &[State::Done, State::Error]).await;
    let why = batch.comment.unwrap();
    assert!(why.contains("there is no disk '1'"), "{why}");
}

#[tokio::test]
async fn three_vms_are_stopped_as_one() {
    let mut harness = Harness::open();
    let vms = some_vms(&mut harness, 3).await;
    let stops = stops(&vms).into_iter().map(|stop| serde_json::from_value(stop).unwrap());
    let asked = Submit::batch(stops.collect(), true, Some(2));
    let uid = harness.submit("batch", asked.params.into()).await.unwrap().uid;
    let batch = harness.ends(uid).await;
    assert_eq!(batch.state, State::Done, "{:?}", batch.comment);
    for vm in &vms {
        assert_eq!(harness.vm(*vm).await.state, VmState::Halted);
    }
    let children = children(&harness, uid).await;
    assert_eq!(children.len(), 3);
    assert!(children.iter().all(|it| it.parent == Some(uid) && it.state == State::Done));
    assert!(children.iter().all(|it| it.actor == "test"), "who asked is told of each");
}

#[tokio::test]
async fn one_that_fails_is_told_and_relaunched_with_the_batch() {
    let mut harness = Harness::open();
    let vms = some_vms(&mut harness, 3).await;
    harness.fake.calls();
    harness.fake.trouble(1, CallFault::Before);
    let given = json!({ "operations": stops(&vms), "at_once": 1, "on_error": "continue" });
    let (uid, why) = harness.fails("batch", given).await;
    assert!(why.starts_with("2 done, 1 failed: #"), "{why}");
    assert!(why.contains("vm/2 'web-2': told to fail"), "{why}");
    let failed = children(&harness, uid).await.remove(1);
    assert_eq!((failed.state, failed.attempt), (State::Error, 0));
    harness.control(Control::Relaunch { uid, params: Params::new() }).await;
    harness.reaches(uid, &[State::Done]).await;
    let again = children(&harness, uid).await;
    let attempts: Vec<u32> = again.iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [0, 1, 0], "what was done is not done again");
    assert_eq!(harness.vm(vms[1]).await.state, VmState::Halted);
}

#[tokio::test]
async fn whoever_is_in_the_way_because_it_failed_is_named() {
    let mut harness = Harness::open();
    harness.some_vm().await;
    let vm = |password: &str| {
        let params = json!({ "hostname": "b3", "password": password, "os": "tiny" });
        json!([{ "kind": "vm_create", "params": params }])
    };
    harness.fake.calls();
    harness.fake.trouble(0, CallFault::Before);
    let (uid, _) = harness.fails("batch", json!({ "operations": vm("correct horse") })).await;
    let began = children(&harness, uid).await[0].uid;
    let params = Params::from_iter([("operations".to_owned(), vm("battery staple"))]);
    harness.control(Control::Relaunch { uid, params }).await;
    let refused = harness.reaches(uid, &[State::Done, State::Error]).await;
    let why = refused.comment.unwrap_or_default();
    let advice = format!("operation {} began it and failed: relaunch or cancel that", began.0);
    assert!(refused.state == State::Error && why.contains(&advice), "{why}");
}

#[tokio::test]
async fn after_the_first_error_no_further_one_is_started() {
    let mut harness = Harness::open();
    let vms = some_vms(&mut harness, 3).await;
    harness.fake.calls();
    harness.fake.trouble(0, CallFault::Before);
    let given = json!({ "operations": stops(&vms), "at_once": 1 });
    let (uid, why) = harness.fails("batch", given).await;
    assert!(why.starts_with("0 done, 1 failed, 2 cancelled: #"), "{why}");
    let states: Vec<State> = children(&harness, uid).await.iter().map(|it| it.state).collect();
    assert_eq!(states, [State::Error, State::Cancel, State::Cancel]);
    assert_eq!(harness.fake.calls().len(), 1, "the others were never begun");
    // The relaunch asks for the cancelled ones anew.
    harness.control(Control::Relaunch { uid, params: Params::new() }).await;
    harness.reaches(uid, &[State::Done]).await;
    for vm in vms {
        assert_eq!(harness.vm(vm).await.state, VmState::Halted);
    }
}

#[tokio::test]
async fn what_is_refused_is_told_with_the_rest_done() {
    let mut harness = Harness::open();
    let vms = some_vms(&mut harness, 2).await;
    harness.done("vm_stop", json!({ "vm": vms[0], "force": true })).await;
    let operations = stops(&vms);
    let given = json!({ "operations": operations, "on_error": "continue" });
    let preview = harness.preview("batch", given.clone()).await;
    assert!(preview.effects[0].contains("is refused"), "{preview:?}");
    assert_eq!(preview.refusal, None);
    let (_, why) = harness.fails("batch", given).await;
    assert!(why.starts_with("1 done, 1 refused: vm/1 'web-1' is halted"), "{why}");
    assert_eq!(harness.vm(vms[1]).await.state, VmState::Halted);
    // Of which nothing can be done, nothing is queued.
    let (reason, field, _) = harness.refused("batch", json!({ "operations": operations })).await;
    assert_eq!((reason, field.as_str()), (Reason::State, "operations"));
}

#[tokio::test]
async fn nothing_is_started_where_one_is_refused_and_they_are_to_stop() {
    let mut harness = Harness::open();
    let vms = some_vms(&mut harness, 2).await;
    harness.done("vm_stop", json!({ "vm": vms[0], "force": true })).await;
    let (uid, why) = harness.fails("batch", json!({ "operations": stops(&vms) })).await;
    assert!(why.starts_with("1 of 2 refused: ") && why.ends_with("nothing was started"), "{why}");
    assert_eq!(children(&harness, uid).await, []);
    assert_eq!(harness.vm(vms[1]).await.state, VmState::Running);
}

#[tokio::test]
async fn cancelling_it_cancels_all_of_it() {
    let mut harness = Harness::open();
    let names = ["one", "two", "three"];
    let operations: Vec<Json> =
        names.map(|name| asks("disk_create", &json!({ "name": name, "size_mb": 8 }))).to_vec();
    let before = harness.everything().await;
    harness.fake.calls();
    harness.fake.trouble(2, CallFault::Hang);
    let given = json!({ "operations": operations, "at_once": 1 });
    let uid = harness.submit("batch", given).await.unwrap().uid;
    harness.fake.hung().await;
    harness.control(Control::Cancel { uid }).await;
    harness.reaches(uid, &[State::Cancel]).await;
    let children = children(&harness, uid).await;
    assert!(children.iter().all(|it| it.state.is_end()), "{children:?}");
    let cancelled = children.iter().filter(|it| it.state == State::Cancel).count();
    let disks = harness.disks().await;
    assert_eq!(disks.len() + cancelled, 3, "what was done before stays");
    assert!(disks.iter().all(|disk| disk.state == DiskState::Free));
    for disk in disks {
        harness.done("disk_delete", json!({ "disk": disk.id })).await;
        harness.done("disk_purge", json!({ "disk": disk.id })).await;
    }
    assert_eq!(harness.everything().await, before);
}

#[tokio::test]
async fn a_look_at_what_it_would_do_shows_no_secret() {
    let mut harness = Harness::open();
    let os = harness.some_image().await;
    let vm = |name| {
        asks("vm_create", &json!({ "hostname": name, "password": "correct horse", "os": os }))
    };
    harness.done("vm_create", vm("web")["params"].clone()).await;
    let inner = asks("batch", &json!({ "operations": [vm("mail")] }));
    let operations = json!([vm("web"), vm("db"), inner]);
    let preview = harness.preview("batch", json!({ "operations": operations })).await;
    assert_eq!(preview.refusal, None);
    let shown = format!("{preview:?}");
    assert!(shown.contains("VM 'db' with") && shown.contains("VM 'mail' with"), "{shown}");
    assert!(shown.contains("hostname=web") && shown.contains("password=(hidden)"), "{shown}");
    assert!(!shown.contains("correct horse"), "{shown}");
}

#[tokio::test]
async fn one_that_was_called_off_is_not_done_and_is_asked_for_again() {
    let mut harness = Harness::open();
    let names = ["one", "two"];
    let operations: Vec<Json> =
        names.map(|name| asks("disk_create", &json!({ "name": name, "size_mb": 8 }))).to_vec();
    harness.fake.calls();
    harness.fake.trouble(0, CallFault::Hang);
    let given = json!({ "operations": operations, "at_once": 1 });
    let uid = harness.submit("batch", given).await.unwrap().uid;
    harness.fake.hung().await;
    let first = children(&harness, uid).await.remove(0).uid;
    harness.control(Control::Cancel { uid: first }).await;
    let batch = harness.ends(uid).await;
    let why = batch.comment.unwrap_or_default();
    assert_eq!(
        (batch.state, why.starts_with("1 done, 1 cancelled: relaunch")),
        (State::Error, true)
    );
    harness.control(Control::Relaunch { uid, params: Params::new() }).await;
    harness.reaches(uid, &[State::Done]).await;
    assert_eq!(harness.disks().await.len(), 2);
}

/// Requests for new disks.
fn disks(number: usize) -> Vec<Json> {
    let disk = |at| asks("disk_create", &json!({ "name": format!("disk-{at}"), "size_mb": 8 }));
    (1..=number).map(disk).collect()
}

#[tokio::test]
async fn no_more_is_asked_for_as_one_than_others_can_wait_for() {
    let harness = Harness::open();
    // With the encoding itself a hundred of each.
    let formats = vec![json!({}); 99];
    let encode = asks("encode", &json!({ "source": "/no/such", "formats": formats }));
    let mut operations = vec![encode; 100];
    let (reason, field, _) = harness.refused("batch", json!({ "operations": operations })).await;
    assert_eq!((reason, field.as_str()), (Reason::Existence, "operations.0.params.source"));
    operations.extend(disks(1));
    let too_much = json!({ "operations": operations });
    let (reason, field, refusal) = harness.refused("batch", too_much.clone()).await;
    assert_eq!((reason, field.as_str()), (Reason::Value, "operations"));
    assert!(refusal.message.contains("operations holds 10001 items"), "{refusal}");
    assert_eq!(harness.preview("batch", too_much).await.refusal, Some(refusal));
}

#[tokio::test]
async fn a_look_at_many_tells_of_some_and_of_those_that_are_refused_first() {
    let mut harness = Harness::open();
    let vm = some_vms(&mut harness, 1).await[0];
    harness.done("vm_stop", json!({ "vm": vm, "force": true })).await;
    let mut operations = disks(30);
    operations.extend(stops(&[vm]));
    let preview = harness.preview("batch", json!({ "operations": operations })).await;
    assert_eq!(preview.refusal, None);
    let says = |at: usize| preview.effects[at].as_str();
    assert!(says(0).starts_with("vm_stop vm/1 'web-1' is refused: "), "{}", says(0));
    assert_eq!(says(1), "Disk 'disk-1' of 8.0 MiB is made with ext4 on it.");
    assert_eq!(says(20), "… and 11 more.");
    assert_eq!(says(21), "Nothing is started, because 1 would be refused now.");
    assert_eq!(preview.effects.len(), 22);
}
