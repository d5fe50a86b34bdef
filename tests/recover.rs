//! A database that is damaged or lost, with everything else whole: hostler's own advice is
//! followed, nothing is destroyed, and everything but history comes back, a running guest included.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "support/hostler.rs"]
mod hostler;
#[path = "support/screen.rs"]
mod screen;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hostler::{Sandbox, alone};
use rustix::process::Signal;
use screen::Screen;
use serde_json::Value;

/// The files of VMs, disks and images, without what only a running guest has.
fn files(place: &Sandbox) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> =
        ["vms", "disks", "images", "trash"].map(|name| place.dir().join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_string_lossy().contains(".log") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Everything there is, without what only a running guest tells.
fn resources(place: &Sandbox) -> Vec<Value> {
    let mut all = Vec::new();
    for kind in ["vms", "disks", "images"] {
        for mut row in place.list(kind) {
            for observed in ["cpu_percent", "memory_used_mib", "accelerator", "started", "note"] {
                row.as_object_mut().unwrap().remove(observed);
            }
            all.push(row);
        }
    }
    all
}

fn sound(place: &Sandbox) {
    let _ = fs::remove_file(place.dir().join("secret.txt"));
    let checks = place.json(&["doctor", "--deep"]);
    assert!(checks.as_array().unwrap().iter().all(|check| check["ok"] == true), "{checks:#}");
}

#[test]
fn a_damaged_database_costs_history_and_nothing_else() {
    let _alone = alone();
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.done("image_build", &["recipe=tiny"]);
    let password = place.secret("correct horse battery");
    place.done("vm_create", &["hostname=web-1", &password, "os=tiny"]);
    for (name, size) in [("data", "size_mb=20"), ("spare", "size_mb=5"), ("old", "size_mb=5")] {
        place.done("disk_create", &[&format!("name={name}"), size]);
    }
    place.done("disk_attach", &["disk=data", "vm=web-1"]);
    place.done("disk_delete", &["disk=old"]);
    sound(&place);
    let (before, lie, guests) = (resources(&place), files(&place), place.guests());
    assert_eq!(guests.len(), 1);
    place.kill();

    // Damaged, and hostler says what to do.
    let database = place.dir().join("hostler.db");
    for log in ["hostler.db-wal", "hostler.db-shm"] {
        let _ = fs::remove_file(place.dir().join(log));
    }
    fs::write(&database, vec![b'x'; 64 << 10]).unwrap();
    for command in [&["list", "vms"][..], &["recover"]] {
        let refused = place.run(command);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("move it away") && said.contains("hostler recover"), "{said}");
    }
    fs::rename(&database, place.dir().join("hostler.db.damaged")).unwrap();

    // Whatever is done before it is recovered, nothing is destroyed.
    place.serve(&[]);
    assert!(place.list("images").is_empty());
    place.done("disk_create", &["name=new", "size_mb=5"]);
    let live = place.run(&["recover"]);
    assert!(String::from_utf8_lossy(&live.stderr).contains("another hostler"), "{live:?}");
    let told = place.run(&["doctor"]);
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.contains("that the database does not know"), "{told}");
    place.kill();

    let told = place.json(&["recover", "--dry-run"]);
    assert_eq!(told["taken"].as_object().unwrap().len(), 5, "{told:#}");
    let done = place.json(&["recover"]);
    assert_eq!((&done["taken"], &done["left"]), (&told["taken"], &serde_json::json!({})));

    place.serve(&[]);
    let after: Vec<Value> =
        resources(&place).into_iter().filter(|row| row["name"] != "new").collect();
    assert_eq!(after, before);
    let news = ["disks/4.qcow2", "disks/4.json"].map(|file| place.dir().join(file));
    let lies: Vec<_> = files(&place).into_iter().filter(|file| !news.contains(file)).collect();
    assert_eq!(lies, lie);
    assert_eq!(place.guests(), guests, "the guest ran all the time");
    place.wait("everything is settled", || place.run(&["doctor", "--deep"]).status.success());
    place.done("disk_detach", &["disk=data", "vm=web-1"]);
    place.done("disk_restore", &["disk=3"]);
    place.done("vm_stop", &["vm=web-1", "force=true"]);
    place.done("vm_delete", &["vm=web-1"]);
    place.done("image_delete", &["image=tiny"]);
    sound(&place);
}

/// What a QEMU has open is in use whatever the database says, and is attached again.
#[test]
fn an_older_database_put_back_while_a_guest_runs_loses_nothing() {
    let _alone = alone();
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.done("image_build", &["recipe=tiny"]);
    let password = place.secret("correct horse battery");
    place.done("vm_create", &["hostname=web-1", &password, "os=tiny"]);
    for name in ["data", "spare"] {
        place.done("disk_create", &[&format!("name={name}"), "size_mb=5"]);
    }
    place.done("disk_attach", &["disk=spare", "vm=web-1"]);
    place.end();
    let older = place.dir().with_extension("db");
    let database = place.dir().join("hostler.db");
    fs::copy(&database, &older).unwrap();

    place.serve(&[]);
    let screen = Screen::open(&place, 100, 30, &["serial", "vm/1"]);
    screen.wait_for("# ");
    drop(screen);
    place.done("disk_detach", &["disk=spare", "vm=web-1"]);
    place.done("disk_attach", &["disk=data", "vm=web-1"]);
    place.done("disk_create", &["name=new", "size_mb=5"]);
    place.done("disk_attach", &["disk=new", "vm=web-1"]);
    let (before, guests) = (resources(&place), place.guests());
    place.kill();
    for log in ["hostler.db-wal", "hostler.db-shm"] {
        let _ = fs::remove_file(place.dir().join(log));
    }
    fs::rename(&older, &database).unwrap();

    place.serve(&[]);
    // Free, as far as this database knows.
    let refused = place.run(&["run", "disk_delete", "disk=data", "--wait"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("in use by a QEMU"), "{said}");
    place.ok(&["operation", "cancel", &place.newest("disk_delete").to_string()]);
    let told = place.run(&["doctor"]);
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.contains("the database is older than what lies beside it"), "{told}");
    assert!(!place.run(&["doctor", "--deep"]).status.success());
    place.end();

    let done = place.json(&["recover"]);
    assert_eq!(done["left"], serde_json::json!({}), "{done:#}");
    place.serve(&[]);
    assert_eq!(resources(&place), before);
    assert_eq!(place.guests(), guests, "the guest ran all the time");
    sound(&place);
    place.done("disk_detach", &["disk=data", "vm=web-1"]);
    place.done("disk_delete", &["disk=data"]);
    place.done("vm_stop", &["vm=web-1", "force=true"]);
    sound(&place);
}

/// A state directory can be moved: also while a guest runs, and with root disks that name their
/// image where it was.
#[test]
fn a_state_directory_that_is_moved_goes_on_where_it_is() {
    let _alone = alone();
    let mut place = Sandbox::new();
    place.serve(&[]);
    let cloud = place.dir().join("cloud.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", cloud.to_str().unwrap(), "16M"]);
    place.done("image_import", &["name=cloud", &format!("source={}", cloud.display())]);
    fs::remove_file(&cloud).unwrap();
    let password = place.secret("correct horse battery");
    for name in ["web-1", "web-2"] {
        place.done("vm_create", &[&format!("hostname={name}"), &password, "os=cloud"]);
    }
    place.done("disk_create", &["name=data", "size_mb=5"]);
    place.done("disk_attach", &["disk=data", "vm=web-1"]);
    place.done("vm_stop", &["vm=web-2", "force=true"]);
    fs::remove_file(place.dir().join("secret.txt")).unwrap();
    let guests = place.guests();
    place.end();
    // As roots were made once: with the image's full path.
    let root = place.dir().join("vms/2/root.qcow2");
    let image = place.dir().join("images/1/disk.qcow2");
    let (root, image) = (root.to_str().unwrap(), image.to_str().unwrap());
    qemu_img(&["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", image, root]);

    place.move_away();
    let told = place.json(&["recover", "--dry-run"]);
    assert_eq!(
        (&told["taken"], &told["left"]),
        (&Value::from(serde_json::Map::new()), &told["taken"])
    );
    place.serve(&[]);
    assert_eq!(place.guests(), guests, "the guest runs on");
    place.done("vm_start", &["vm=web-2"]);
    // The root disk that was made today needs no mending.
    place.done("vm_stop", &["vm=web-1", "force=true"]);
    place.done("vm_start", &["vm=web-1"]);
    let steps = place.json(&["show", &format!("operation/{}", place.newest("vm_start"))]);
    assert!(!steps.to_string().contains("rebase"), "{steps:#}");
    place.done("disk_create", &["name=more", "size_mb=5"]);
    place.done("disk_delete", &["disk=more"]);
    place.done("disk_restore", &["disk=more"]);
    place.wait("everything is settled", || place.run(&["doctor", "--deep"]).status.success());
    for vm in ["vm=web-1", "vm=web-2"] {
        place.done("vm_stop", &[vm, "force=true"]);
    }
    place.done("disk_detach", &["disk=data", "vm=web-1"]);
    sound(&place);
}

/// As a boot script asks.
#[test]
fn the_first_request_after_the_box_was_off_finds_what_ran_dead() {
    let _alone = alone();
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.done("image_build", &["recipe=tiny"]);
    let password = place.secret("correct horse battery");
    place.done("vm_create", &["hostname=web-1", &password, "os=tiny"]);
    let goes_off = |place: &mut Sandbox| {
        place.kill();
        place.guests().into_iter().for_each(|pid| hostler::signal(pid, Signal::KILL));
        place.wait("QEMU is dead", || place.guests().is_empty());
    };
    goes_off(&mut place);
    assert_eq!(place.list("vms")[0]["state"], "crashed", "who only looks is told as well");
    place.done("vm_start", &["vm=web-1"]);
    place.ok(&["stop"]);
    assert_eq!(place.guests().len(), 1);
    goes_off(&mut place);
    place.done("vm_start", &["--for", "state:crashed"]);
    place.done("vm_stop", &["vm=web-1", "force=true"]);
}

fn qemu_img(arguments: &[&str]) {
    let status = Command::new("qemu-img").args(arguments).status().expect("qemu-img is installed");
    assert!(status.success(), "{arguments:?}");
}

#[test]
fn a_database_is_made_smaller_where_nobody_works_with_it() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.done("disk_create", &["name=data", "size_mb=20"]);
    let refused = place.run(&["doctor", "--compact"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("another hostler runs"), "{said}");
    place.end();
    let database = rusqlite::Connection::open(place.dir().join("hostler.db")).unwrap();
    let fill = "CREATE TABLE waste (a); INSERT INTO waste VALUES (zeroblob(8000000)); \
                DROP TABLE waste";
    database.execute_batch(fill).unwrap();
    database.close().unwrap();
    let size = || fs::metadata(place.dir().join("hostler.db")).unwrap().len();
    let before = size();
    place.ok(&["doctor", "--compact"]);
    assert!(size() < before / 10, "{} of {before}", size());
    assert_eq!(place.list("disks").len(), 1);
}
