//! A lost database is made up for, an older one is added to, and nothing is ever lost by it.

use std::fs;

use serde_json::json;

use super::*;
use crate::backend::testing::fake::{Fake, Trouble};
use crate::backend::testing::harness::{Harness, settings};

const STORE: [&str; 3] = ["hostler.db", "hostler.db-wal", "hostler.db-shm"];

fn lose_database(dir: &Path) {
    for file in STORE {
        let _ = fs::remove_file(dir.join(file));
    }
}

/// Recovers on a runtime of its own, as the command does.
fn recover_now(dir: &Path, fake: &Fake, dry_run: bool) -> Recovery {
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
}

#[tokio::test]
async fn a_healthy_database_is_only_added_to_and_what_collides_is_left() {
    let mut harness = full().await;
    harness.fake.trouble(0, Trouble::After);
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
