//! Files of another life, of a person, and behind links: none of them is ever taken for our own.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::backend::testing::fake::CallFault;
use crate::backend::testing::harness::Harness;
use crate::domain::{Control, State};

const DATABASE: [&str; 3] = ["hostler.db", "hostler.db-wal", "hostler.db-shm"];

fn lose_database(dir: &Path) {
    for file in DATABASE {
        let _ = fs::remove_file(dir.join(file));
    }
}

#[tokio::test]
async fn a_lost_database_destroys_nothing() {
    let mut harness = Harness::open();
    harness.some_vm().await;
    harness.some_disk().await;
    let mut harness = harness.restart_after(lose_database).await;

    for file in ["images/1/disk.qcow2", "vms/1/root.qcow2", "disks/1.qcow2"] {
        assert!(harness.dir().join(file).exists(), "{file}");
    }
    // What comes new meets none of it.
    assert_eq!(harness.some_disk().await, 2);
    assert_eq!(harness.some_image().await, 2);
    let vm = json!({ "hostname": "web-1", "password": "correct horse", "os": 2 });
    assert_eq!(harness.done("vm_create", vm).await, 2);
}

#[tokio::test]
async fn a_file_of_another_life_is_never_taken_for_our_own() {
    let mut harness = Harness::open();
    harness.some_image().await;
    let copies = tempfile::tempdir().unwrap();
    let older = copies.path().join("older.db");
    let mut harness = harness
        .restart_after(|dir| fs::copy(dir.join(DATABASE[0]), &older).map(drop).unwrap())
        .await;
    harness.some_disk().await;
    fs::write(harness.dir().join("disks/1.qcow2"), "precious").unwrap();
    let mut harness = harness
        .restart_after(|dir| {
            lose_database(dir);
            fs::copy(&older, dir.join(DATABASE[0])).unwrap();
        })
        .await;
    assert_eq!(harness.some_disk().await, 2);
    assert_eq!(fs::read_to_string(harness.dir().join("disks/1.qcow2")).unwrap(), "precious");
}

#[tokio::test]
async fn what_a_person_put_in_our_place_stays_whatever_becomes_of_the_operation() {
    let mut harness = Harness::open();
    harness.some_image().await;
    let places = [
        ("disk_create", json!({ "name": "data", "size_mb": 20 }), "disks/1.qcow2"),
        ("vm_create", json!({ "hostname": "a", "password": "correct horse", "os": 1 }), "vms/1/x"),
        ("image_build", json!({ "recipe": "tiny", "name": "b" }), "images/2/x"),
        ("image_fetch", json!({ "os": "debian-12" }), "images/3/x"),
        ("image_import", json!({ "name": "c", "source": "/etc/hostname" }), "images/4/x"),
    ];
    for (kind, given, place) in places {
        let place = harness.dir().join(place);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "precious").unwrap();
        let (uid, why) = harness.fails(kind, given).await;
        assert!(why.contains("move it away"), "{kind}: {why}");
        assert_eq!(fs::read_to_string(&place).unwrap(), "precious", "{kind} failed");
        harness.control(Control::Cancel { uid }).await;
        harness.reaches(uid, &[State::Cancel]).await;
        assert_eq!(fs::read_to_string(&place).unwrap(), "precious", "{kind} cancelled");
    }
}

#[tokio::test]
async fn no_link_below_the_state_directory_is_followed() {
    let mut harness = Harness::open();
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("1.qcow2");
    let disk = harness.some_disk().await;
    // The folder itself, by one of the same content.
    fs::rename(harness.dir().join("disks"), outside.path().join("disks")).unwrap();
    fs::write(&precious, "precious").unwrap();
    std::os::unix::fs::symlink(outside.path(), harness.dir().join("disks")).unwrap();
    let (_, why) = harness.fails("disk_delete", json!({ "disk": disk })).await;
    assert!(why.contains("is a link"), "{why}");
    let other = json!({ "name": "other", "size_mb": 20 });
    let (uid, why) = harness.fails("disk_create", other).await;
    assert!(why.contains("is a link"), "{why}");
    harness.control(Control::Cancel { uid }).await;
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn what_an_undo_could_not_remove_goes_when_its_operation_is_cancelled_after_all() {
    let mut harness = Harness::open();
    harness.fake.trouble(0, CallFault::Hang);
    let given = json!({ "name": "data", "size_mb": 20 });
    let uid = harness.submit("disk_create", given).await.unwrap().uid;
    harness.fake.hung().await;
    // Nothing that can be removed as a file.
    let file = harness.dir().join("disks/1.qcow2");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    harness.control(Control::Cancel { uid }).await;
    let failed = harness.ends(uid).await;
    assert!(failed.comment.unwrap().contains("could not be undone"));
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "half a disk").unwrap();
    harness.control(Control::Cancel { uid }).await;
    harness.reaches(uid, &[State::Cancel]).await;
    harness.backend.in_step().await;
    assert_eq!(fs::read_dir(harness.dir().join("disks")).unwrap().count(), 0);
}

#[tokio::test]
async fn no_description_outlives_a_purged_disk_wherever_it_lay() {
    let mut harness = Harness::open();
    let disk = harness.some_disk().await;
    harness.backend.in_step().await;
    let described = fs::read_to_string(harness.dir().join("disks/1.json")).unwrap();
    harness.done("disk_delete", json!({ "disk": disk })).await;
    harness.backend.in_step().await;
    // As if the owner had been killed before it was moved.
    fs::write(harness.dir().join("disks/1.json"), described).unwrap();
    harness.done("disk_purge", json!({ "disk": disk })).await;
    harness.backend.in_step().await;
    for folder in ["disks", "trash"] {
        assert_eq!(fs::read_dir(harness.dir().join(folder)).unwrap().count(), 0, "{folder}");
    }
}
