//! A backend has the configuration of its state directory, whoever starts it.

use std::path::Path;
use std::process::{Output, Stdio};

use rustix::process::Signal;

use super::end;
use super::hostler::{Sandbox, signal};

/// Runs a command of somebody who has a configuration of their own.
fn with(place: &Sandbox, config: &Path, arguments: &[&str]) -> Output {
    let mut command = place.command();
    command.env("HOSTLER_CONFIG", config).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    end(command.spawn().expect("hostler runs"))
}

fn purged(place: &Sandbox) -> bool {
    place.list("operations").iter().any(|operation| operation["kind"] == "disk_purge")
}

#[test]
fn whoever_takes_a_dead_owners_place_brings_no_configuration() {
    for attached in [false, true] {
        let mut place = Sandbox::new();
        std::fs::write(place.config(), "trash_days = 30\n").expect("the box's");
        let home = tempfile::tempdir().expect("a directory");
        let mine = &home.path().join("mine.toml");
        std::fs::write(mine, "trash_days = 0\n").expect("mine");
        place.serve(&[]);
        place.done("disk_create", &["name=a", "size_mb=1", "fstype=none"]);
        place.done("disk_delete", &["disk=a"]);
        if attached {
            place.ok(&["lane", "pause", "disk"]);
            let mut waiting = place.command();
            waiting.env("HOSTLER_CONFIG", mine);
            waiting.args(["run", "disk_create", "name=b", "size_mb=1", "fstype=none", "--wait"]);
            waiting.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let waiting = waiting.spawn().expect("hostler runs");
            place.wait("it is queued", || place.list("operations").len() == 3);
            place.kill();
            place.wait("somebody else serves", || place.is_served());
            place.ok(&["lane", "resume", "disk"]);
            let output = end(waiting);
            assert!(output.status.success(), "{output:?}\n{}", place.log());
        } else {
            place.kill();
            let create = ["run", "disk_create", "name=b", "size_mb=1", "fstype=none", "--wait"];
            let output = with(&place, mine, &create);
            assert!(output.status.success(), "{output:?}\n{}", place.log());
            let log = place.log();
            assert!(log.contains("mine.toml") && log.contains("configuration of its"), "{log}");
        }
        assert!(!purged(&place), "{}", place.log());
        let doctor = with(&place, mine, &["doctor"]);
        let told = String::from_utf8_lossy(&doctor.stdout);
        let config = place.config();
        let line = format!("✔ configuration of the backend: {}", config.display());
        assert!(told.contains(&line), "{told}");
    }
}

#[test]
fn whoever_serves_decides_what_holds_from_then_on() {
    let place = Sandbox::new();
    let home = tempfile::tempdir().expect("a directory");
    let mine = home.path().join("mine.toml");
    place.done("disk_create", &["name=a", "size_mb=1", "fstype=none"]);
    place.done("disk_delete", &["disk=a"]);
    place.wait("nobody owns it", || place.hostlers().is_empty());
    std::fs::write(&mine, "trash_days = 0\n").expect("a configuration");
    let mut serve = place.command();
    serve.env("HOSTLER_CONFIG", &mine).arg("serve").stdin(Stdio::null());
    let mut owner = serve.spawn().expect("hostler serve");
    place.wait("it serves", || place.is_served());
    place.wait("the trash is emptied", || purged(&place));
    owner.kill().expect("killed");
    owner.wait().expect("gone");
    // Also for those who come without.
    place.done("disk_create", &["name=b", "size_mb=1", "fstype=none"]);
    place.done("disk_delete", &["disk=b"]);
    place.wait("the trash is emptied", || place.list("disks").is_empty());
    for pid in place.backends() {
        signal(pid, Signal::TERM);
    }
    place.wait("nobody owns it", || place.hostlers().is_empty());
    // One that is gone holds no longer, and is not in the way.
    std::fs::remove_file(&mine).expect("removed");
    place.done("disk_create", &["name=c", "size_mb=1", "fstype=none"]);
}
