//! A sound state directory has no findings, and each thing that is put out of order is found.

use std::fs;

use serde_json::json;

use super::*;
use crate::backend::testing::fake::CallFault;
use crate::backend::testing::harness::{Harness, settings};

async fn findings(harness: &Harness, live: bool) -> Vec<(String, String)> {
    harness.backend.in_step().await;
    let here = format!("{}/", harness.dir().display());
    let ports = harness.fake.ports();
    let found = look(&settings(harness.dir()), &ports, live).await.unwrap();
    let plain = |text: &str| text.replace(&here, "");
    found.findings.iter().map(|it| (plain(&it.what), plain(&it.found))).collect()
}

#[tokio::test]
async fn a_sound_state_directory_has_no_findings_whatever_happened_in_it() {
    let mut harness = Harness::open();
    let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
    harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
    assert_eq!(findings(&harness, true).await, []);
    harness.done("disk_detach", json!({ "disk": disk, "vm": vm })).await;
    harness.done("disk_delete", json!({ "disk": disk })).await;
    harness.done("vm_stop", json!({ "vm": vm, "force": true })).await;
    // Failed, with its files kept for a relaunch.
    harness.fake.trouble(0, CallFault::After);
    harness.fails("image_fetch", json!({ "os": "debian-12" })).await;
    // At work.
    harness.fake.trouble(0, CallFault::Hang);
    harness.submit("disk_create", json!({ "name": "b", "size_mb": 20 })).await.unwrap();
    harness.fake.hung().await;
    assert_eq!(findings(&harness, true).await, []);
    let harness = harness.restart().await;
    assert_eq!(findings(&harness, false).await, []);
}

#[tokio::test]
async fn a_process_with_other_disks_than_its_vm_is_found() {
    let mut harness = Harness::open();
    let vm = harness.some_vm().await;
    harness.fake.goes_astray(vm, "process 7 has another disk");
    let found = findings(&harness, true).await;
    assert_eq!(found, [("vm/1".to_owned(), "process 7 has another disk".to_owned())]);
}

#[tokio::test]
async fn everything_out_of_order_is_found() {
    let mut harness = Harness::open();
    harness.some_vm().await;
    harness.some_disk().await;
    assert_eq!(findings(&harness, true).await, []);
    let dir = harness.dir().to_owned();
    let partial = format!(".1.qcow2.partial-{}", "0a".repeat(16));
    fs::create_dir(dir.join("disks").join(&partial)).unwrap();
    fs::create_dir_all(dir.join("encodings/7")).unwrap();
    fs::create_dir(dir.join("vms/9")).unwrap();
    fs::create_dir_all(dir.join("images/1/tree")).unwrap();
    for file in ["disks/8.qcow2", "notes.txt", "vms/1.deleted", "disks/1.json"] {
        fs::write(dir.join(file), "x").unwrap();
    }
    fs::remove_file(dir.join("vms/1/root.qcow2")).unwrap();
    fs::write(dir.join("disks/1.qcow2"), "disk of 5").unwrap();
    let (pipe, mode) = (FileType::Fifo, rustix::fs::Mode::RUSR);
    let log = dir.join("vms/1/serial.log");
    rustix::fs::mknodat(rustix::fs::CWD, log, pipe, mode, 0).unwrap();
    let stranger = Mark { operation: crate::domain::Uid(1), created_ms: 0 };
    stranger.write(&dir, ResourceId::new(Vm::KIND, 5)).unwrap();
    let found: Vec<String> = findings(&harness, true)
        .await
        .into_iter()
        .map(|(what, found)| format!("{what}: {found}"))
        .collect();
    let expected = [
        &format!("disks/{partial}: an operation left this behind"),
        "disk/1: disks/1.qcow2 has 5242880 bytes for its guest, and should have 20 MiB",
        "disk/1: its description disks/1.json cannot be read: ",
        "disks/8.qcow2: the database does not know it",
        "encodings/7: an encoding left this behind",
        "images/1/tree: an operation left this behind",
        "notes.txt: it is none of hostler's files",
        "vm/1: its file vms/1/root.qcow2 is missing",
        "vms/1/serial.log: it is no regular file",
        "vms/1.deleted: the database does not know it",
        "vms/5.making.json: the operation #1 that began this is not known",
        "vms/9: the database does not know it",
    ];
    for expected in expected {
        assert!(found.iter().any(|it| it.starts_with(expected)), "{expected}\n{found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    let unknown = unknown(&settings(&dir)).unwrap();
    assert_eq!(unknown.len(), 3, "{unknown:?}");
}
