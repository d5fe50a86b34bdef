//! A lost database is made up for, an older one is added to, and nothing is ever lost by it.

use std::fs;

use serde_json::json;

use super::*;
use crate::backend::testing::fake::{Fake, Trouble};
use crate::backend::testing::harness::{House, settings};

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
async fn full() -> House {
    let mut house = House::open();
    let (vm, disk) = (house.some_vm().await, house.some_disk().await);
    house.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
    let other = json!({ "hostname": "web-2", "password": "correct horse", "os": "tiny" });
    let other = house.done("vm_create", other).await;
    house.done("vm_stop", json!({ "vm": other, "force": true })).await;
    for name in ["free", "old"] {
        house.done("disk_create", json!({ "name": name, "size_mb": 20 })).await;
    }
    house.done("disk_delete", json!({ "disk": "old" })).await;
    house
}

#[tokio::test]
async fn everything_but_history_survives_a_lost_database() {
    let house = full().await;
    let before = house.everything().await;
    let fake = house.fake.clone();
    let house = house
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
    assert_eq!(house.everything().await, before);
    // What comes new meets nothing old.
    let mut house = house;
    assert_eq!(house.done("disk_create", json!({ "name": "n", "size_mb": 20 })).await, 4);
    house.done("disk_detach", json!({ "disk": 1, "vm": 1 })).await;
    house.done("disk_restore", json!({ "disk": 3 })).await;
}

#[tokio::test]
async fn a_healthy_database_is_only_added_to_and_what_collides_is_left() {
    let mut house = full().await;
    house.fake.trouble(0, Trouble::After);
    house.fails("image_fetch", json!({ "os": "debian-12" })).await;
    let fake = house.fake.clone();
    let mut house = house.restart_after(lose_database).await;
    // By name, with the number of nothing old.
    assert_eq!(house.some_image().await, 3);
    house.done("disk_create", json!({ "name": "free", "size_mb": 20 })).await;
    let before = house.disk(4).await;
    let mut found = None;
    let house = house
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
    assert_eq!(house.disk(4).await, before);
    assert_eq!(house.disk(1).await.vm, Some(1));
    assert_eq!(house.vm(1).await.disks, [1]);
    for kept in ["images/1/disk.qcow2", "images/2/disk.qcow2", "vms/2/root.qcow2", "disks/2.qcow2"]
    {
        assert!(house.dir().join(kept).exists(), "{kept}");
    }
}
