//! The same on many: `run KIND --for`, on disks and on guests.

use serde_json::Value;

use super::hostler::Sandbox;
use super::{end, one_line_error};

fn states(place: &Sandbox, what: &str) -> Vec<String> {
    let of = |row: &Value| row["state"].as_str().unwrap().to_owned();
    place.list(what).iter().map(of).collect()
}

#[test]
fn disks_are_deleted_as_one_and_shown_as_a_family() {
    let place = Sandbox::new();
    for name in ["d-1", "d-2", "d-3", "other"] {
        place.done("disk_create", &[&format!("name={name}"), "size_mb=8", "fstype=none"]);
    }
    let told = place.ok(&["run", "disk_delete", "--for", "name~d-", "--dry-run"]);
    let lines: Vec<&str> = told.lines().collect();
    let goes =
        |name| format!("Disk '{name}' goes into the trash, and is removed for good after 7 days.");
    assert_eq!(lines, ["d-1", "d-2", "d-3"].map(goes));
    assert_eq!(states(&place, "disks"), ["free"; 4]);
    let arguments = ["run", "disk_delete", "--for", "name~d-", "--at-once", "2", "--yes", "--wait"];
    let done = place.ok(&arguments);
    assert!(done.contains(" batch DONE"), "{done}");
    let batch = place.newest("batch");
    let filter = format!("parent:{batch}");
    let family = place.json(&["list", "operations", "--filter", &filter, "--sort", "uid"]);
    let rows = family["rows"]["operations"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{family}");
    assert!(rows.iter().all(|row| row["parent"] == batch && row["state"] == "DONE"), "{family}");
    let shown = place.ok(&["show", &format!("operation/{batch}")]);
    assert_eq!(shown.lines().filter(|line| line.contains("child #")).count(), 3, "{shown}");
}

#[test]
fn what_matches_nothing_or_cannot_be_done_is_said() {
    let place = Sandbox::new();
    let nothing = place.run(&["run", "disk_delete", "--for", "name~d-"]);
    assert!(one_line_error(&nothing, 1).contains("no disk matches 'name~d-'"));
    place.done("disk_create", &["name=one", "size_mb=8", "fstype=none"]);
    place.done("disk_create", &["name=two", "size_mb=8", "fstype=none"]);
    place.done("disk_delete", &["disk=one"]);
    for arguments in [
        &["run", "disk_delete", "--for", "size>0", "disk=one"][..],
        &["run", "disk_delete", "--at-once", "2", "disk=one"],
        &["run", "disk_delete", "--for", "colour:red"],
    ] {
        assert_eq!(place.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    // One of the two is in the trash already: nothing is started, unless it is to go on.
    let stops = place.run(&["run", "disk_delete", "--for", "size>0", "--yes", "--wait"]);
    let why = end(&stops, 1);
    assert!(why.contains("1 of 2 refused: disk/1 'one'") && why.contains("nothing was"), "{why}");
    let goes_on = ["run", "disk_delete", "--for", "size>0", "--keep-going", "--yes", "--wait"];
    let goes_on = place.run(&goes_on);
    let why = end(&goes_on, 1);
    assert!(why.contains("1 done, 1 refused: disk/1 'one'"), "{why}");
}

#[test]
fn three_guests_are_stopped_as_one() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.done("image_build", &["recipe=tiny"]);
    for name in ["web-1", "web-2", "web-3"] {
        let password = place.secret("correct-horse-battery");
        place.done("vm_create", &[&format!("hostname={name}"), &password, "os=tiny"]);
    }
    assert_eq!(place.guests().len(), 3);
    // A script's input has an end, and with it the conversation.
    let said = place.run(&["serial", "web-1"]);
    assert!(said.status.success(), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("the input has ended"), "{said:?}");
    place.ok(&["run", "vm_stop", "--for", "state:running", "force=true", "--yes", "--wait"]);
    assert_eq!(states(&place, "vms"), ["halted"; 3]);
    assert_eq!(place.guests().len(), 0);
}
