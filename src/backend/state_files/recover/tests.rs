//! A lost database is made up for, an older one is added to, and nothing is ever lost by it.

use std::fs;

use serde_json::json;

use super::*;
use crate::backend::check;
use crate::backend::testing::fake::{CallFault, FakePorts};
use crate::backend::testing::harness::{Harness, settings};

const STORE: [&str; 3] = ["hostler.db", "hostler.db-wal", "hostler.db-shm"];

fn lose_database(dir: &Path) {
    for file in STORE {
        let _ = fs::remove_file(dir.join(file));
    }
}

/// Recovers on a runtime of its own, as the command does.
fn recover_now(dir: &Path, fake: &FakePorts, dry_run: bool) -> Recovery {
    let (settings, ports) = (settings(dir), fake.ports());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(recover(&settings, &ports, dry_run)).unwrap()
    })
    .join()
    .unwrap()
}

/// A VM that runs with a disk, one that is halted, a free disk, one in the trash, an unfinished
/// image.
async fn full() -> Harness {
    let mut harness = Harness::open();
    let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
    harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
    let other = json!({ "hostname": "web-2", "password": "correct horse", "os": "tiny" });
    let other = harness.done("vm_create", other).await;
    harness.done("vm_stop", json!({ "vm": other, "force": true })).await;
    for name in ["free", "old"] {
        harness.done("disk_create", json!({ "name": name, "size_mb": 20 })).await;
    }
    harness.done("disk_delete", json!({ "disk": "old" })).await;
    harness
}

#[tokio::test]
async fn everything_but_history_survives_a_lost_database() {
    let harness = full().await;
    let before = harness.everything().await;
    let fake = harness.fake.clone();
    let harness = harness
        .restart_after(|dir| {
            lose_database(dir);
            let told = recover_now(dir, &fake, true);
            assert_eq!((told.taken.len(), told.left.len()), (6, 0), "{told:?}");
            assert!(!dir.join(STORE[0]).exists(), "a dry run does nothing");
            let done = recover_now(dir, &fake, false);
            assert_eq!(done.taken, told.taken);
            assert!(done.taken["vm/1 'web-1'"].contains("QEMU runs"), "{done:?}");
            assert_eq!(recover_now(dir, &fake, false).taken.len(), 0, "a second time");
        })
        .await;
    assert_eq!(harness.everything().await, before);
    // What comes new meets nothing old.
    let mut harness = harness;
    assert_eq!(harness.done("disk_create", json!({ "name": "n", "size_mb": 20 })).await, 4);
    harness.done("disk_detach", json!({ "disk": 1, "vm": 1 })).await;
    harness.done("disk_restore", json!({ "disk": 3 })).await;
    // What they are now is not taken for older than what was taken in.
    harness.backend.in_step().await;
    let (settings, ports) = (settings(harness.dir()), harness.fake.ports());
    let deep = check::deep(&settings, &ports, true).await.unwrap();
    assert_eq!(deep.findings.len(), 0, "{deep:#?}");
}

#[tokio::test]
async fn what_a_deletion_put_aside_is_told_and_taken_in_once_it_is_back() {
    let mut harness = Harness::open();
    let vm = harness.some_halted_vm().await;
    let fake = harness.fake.clone();
    let harness = harness
        .restart_after(|dir| {
            lose_database(dir);
            let (home, aside) = (dir.join("vms/1"), dir.join("vms/1.deleted"));
            fs::rename(&home, &aside).unwrap();
            let told = recover_now(dir, &fake, false);
            assert!(told.left["vm/1"].contains("move them back to "), "{told:?}");
            assert!(aside.is_dir());
            fs::rename(&aside, &home).unwrap();
            assert!(recover_now(dir, &fake, false).taken.contains_key("vm/1 'web-1'"));
        })
        .await;
    assert_eq!(harness.vm(vm).await.name, "web-1");
}

#[tokio::test]
async fn a_healthy_database_is_only_added_to_and_what_collides_is_left() {
    let mut harness = full().await;
    harness.fake.trouble(0, CallFault::After);
    harness.fails("image_fetch", json!({ "os": "debian-12" })).await;
    let fake = harness.fake.clone();
    let mut harness = harness.restart_after(lose_database).await;
    // By name, with the number of nothing old.
    assert_eq!(harness.some_image().await, 3);
    harness.done("disk_create", json!({ "name": "free", "size_mb": 20 })).await;
    let before = harness.disk(4).await;
    let mut found = None;
    let harness = harness
        .restart_after(|dir| {
            fs::remove_file(dir.join("vms/2/vm.json")).unwrap();
            found = Some(recover_now(dir, &fake, false));
        })
        .await;
    let found = found.unwrap();
    let left: Vec<_> = found.left.iter().map(|(what, why)| format!("{what}: {why}")).collect();
    assert!(left[0].starts_with("disk/2: disk/4 is called 'free' too"), "{left:?}");
    assert!(left[1].starts_with("image/1: image/3 is called 'tiny' too"), "{left:?}");
    assert!(left[2].starts_with("image/2: operation #"), "{left:?}");
    assert_eq!(left[3], "vm/2: there is no description of it");
    assert_eq!(left.len(), 4, "{left:?}");
    assert_eq!(harness.disk(4).await, before);
    assert_eq!(harness.disk(1).await.vm, Some(1));
    assert_eq!(harness.vm(1).await.disks, [1]);
    for kept in ["images/1/disk.qcow2", "images/2/disk.qcow2", "vms/2/root.qcow2", "disks/2.qcow2"]
    {
        assert!(harness.dir().join(kept).exists(), "{kept}");
    }
}

/// Puts a copy of the database back, over whatever it has become.
fn put_back(dir: &Path, copy: &Path) {
    lose_database(dir);
    fs::copy(copy, dir.join(STORE[0])).unwrap();
}

#[tokio::test]
async fn what_an_older_database_does_not_know_any_more_is_taken_in() {
    let copies = tempfile::tempdir().unwrap();
    let older = copies.path().join("older.db");
    let mut harness = full().await;
    let spare = json!({ "name": "spare", "size_mb": 20 });
    assert_eq!(harness.done("disk_create", spare).await, 4);
    let copy = |dir: &Path| fs::copy(dir.join(STORE[0]), &older).map(drop).unwrap();
    let mut harness = harness.restart_after(copy).await;
    // The VM that runs gives one disk away, and gets an old one and a new one.
    harness.done("disk_detach", json!({ "disk": 1, "vm": 1 })).await;
    harness.done("disk_attach", json!({ "disk": 2, "vm": 1 })).await;
    let new = json!({ "name": "new", "size_mb": 20 });
    assert_eq!(harness.done("disk_create", new).await, 5);
    harness.done("disk_attach", json!({ "disk": 5, "vm": 1 })).await;
    // The VM at rest gets what came free; a new VM gets one from the trash.
    harness.done("disk_attach", json!({ "disk": 1, "vm": 2 })).await;
    harness.done("disk_restore", json!({ "disk": 3 })).await;
    let vm = json!({ "hostname": "web-3", "password": "correct horse", "os": "tiny" });
    assert_eq!(harness.done("vm_create", vm).await, 3);
    harness.done("disk_attach", json!({ "disk": 3, "vm": 3 })).await;
    harness.done("vm_stop", json!({ "vm": 3, "force": true })).await;
    harness.done("disk_delete", json!({ "disk": 4 })).await;
    let before = harness.everything().await;
    let fake = harness.fake.clone();

    // Its owner starts, and does not write over what was said later.
    let harness = harness.restart_after(|dir| put_back(dir, &older)).await;
    assert_ne!(harness.everything().await, before);
    let (found, ports) = (settings(harness.dir()), fake.ports());
    let told = check::outdated(&found).unwrap();
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["disk/1", "disk/2", "disk/3", "disk/4", "vm/1", "vm/2"]);
    let deep = check::deep(&found, &ports, true).await.unwrap();
    for told in &told {
        let mends = |it: &check::Finding| it.what == *told && it.mend.contains("hostler recover");
        assert!(deep.findings.iter().any(mends), "{told}: {deep:#?}");
    }
    let harness = harness
        .restart_after(|dir| {
            let told = recover_now(dir, &fake, true);
            let done = recover_now(dir, &fake, false);
            assert_eq!((&done.taken, done.left.len()), (&told.taken, 0), "{done:#?}");
            assert_eq!(done.taken.len(), 8, "{done:#?}");
            assert_eq!(recover_now(dir, &fake, false).taken.len(), 0, "a second time");
        })
        .await;
    assert_eq!(harness.everything().await, before);
    let deep = check::deep(&found, &ports, true).await.unwrap();
    assert_eq!(deep.findings.len(), 0, "{deep:#?}");
}

#[tokio::test]
async fn what_a_qemu_has_is_so_whatever_is_said() {
    let mut harness = full().await;
    harness.done("vm_stop", json!({ "vm": 1, "force": true })).await;
    let fake = harness.fake.clone();
    let harness = harness
        .restart_after(|dir| {
            // Started by nobody we know, without the disk that is said to be its.
            fake.orphan(1);
            let done = recover_now(dir, &fake, false);
            assert_eq!(done.taken.len(), 2, "{done:?}");
        })
        .await;
    assert_eq!((harness.vm(1).await.state, harness.vm(1).await.disks), (VmState::Running, vec![]));
    assert_eq!((harness.disk(1).await.state, harness.disk(1).await.vm), (DiskState::Free, None));
}

#[tokio::test]
async fn what_lags_behind_after_a_kill_is_not_taken_for_later() {
    let mut harness = full().await;
    harness.backend.in_step().await;
    let said = fs::read(harness.dir().join("disks/2.json")).unwrap();
    harness.done("disk_attach", json!({ "disk": 2, "vm": 1 })).await;
    let fake = harness.fake.clone();
    let harness = harness
        .restart_after(|dir| {
            fs::write(dir.join("disks/2.json"), &said).unwrap();
            assert_eq!(recover_now(dir, &fake, true).taken.len(), 0);
        })
        .await;
    harness.backend.in_step().await;
    assert_ne!(fs::read(harness.dir().join("disks/2.json")).unwrap(), said);
    assert_eq!(harness.disk(2).await.vm, Some(1));
}

#[tokio::test]
async fn records_follow_a_state_directory_that_was_moved() {
    let harness = full().await;
    let before = harness.everything().await;
    let fake = harness.fake.clone();
    // As if it had been elsewhere until now.
    let mut harness = harness
        .restart_after(|dir| {
            let runtime = || tokio::runtime::Runtime::new().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| runtime().block_on(write_as_if_elsewhere(dir)));
            });
            assert_eq!(recover_now(dir, &fake, true).taken.len(), 0);
        })
        .await;
    assert_eq!(harness.everything().await, before);
    assert_eq!(harness.disk(1).await.path, harness.dir().join("disks/1.qcow2"));
    harness.done("vm_start", json!({ "vm": 2 })).await;
    let root = fs::read_to_string(harness.dir().join("vms/2/root.qcow2")).unwrap();
    let image = harness.dir().join("images/1/disk.qcow2");
    assert_eq!(root, format!("overlay of {}", image.display()));
}

/// Makes every path in the database, and the root disk of the second VM, name another folder.
async fn write_as_if_elsewhere(dir: &Path) {
    let (store, opened) = Store::open(dir).unwrap();
    let moved = opened.resources.into_iter().map(|mut resource| {
        moved::follow(Path::new("/elsewhere"), &mut resource);
        Change::Put(Arc::new(resource))
    });
    store.writer().send(moved.collect()).await.unwrap();
    store.close().await.unwrap();
    fs::write(dir.join("vms/2/root.qcow2"), "overlay of /elsewhere/images/1/disk.qcow2").unwrap();
}
