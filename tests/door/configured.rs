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
            let create = ["run", "disk_create", "name=b", "size_mb=1", "fstype=none"];
            assert!(with(&place, mine, &create).status.success());
            // Not `run --wait`: whoever has not heard that it was accepted does not wait for it.
            let mut waiting = place.command();
            waiting.env("HOSTLER_CONFIG", mine).args(["operation", "wait", "3"]);
            waiting.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let waiting = waiting.spawn().expect("hostler runs");
            // One that says it is there, and one that brings events.
            place.wait("it is attached", || place.connections() == 2);
            place.kill();
            place.wait("somebody else serves", || place.is_served());
            place.ok(&["lane", "resume", "disk"]);
            let output = end(waiting);
            assert!(output.status.success(), "{output:?}\n{}", place.log());
            assert!(place.log().contains("has died"), "{}", place.log());
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
    place.wait("the trash is emptied", || {
        // A look would start nothing.
        place.ok(&["operation", "wait", "1"]);
        place.list("disks").is_empty()
    });
    for pid in place.backends() {
        signal(pid, Signal::TERM);
    }
    place.wait("nobody owns it", || place.hostlers().is_empty());
    // One that is gone holds no longer, and is not in the way.
    std::fs::remove_file(&mine).expect("removed");
    place.done("disk_create", &["name=c", "size_mb=1", "fstype=none"]);
}

#[test]
fn what_cannot_be_read_any_more_stops_no_start() {
    let place = Sandbox::new();
    let create = |name: &str| {
        place.done("disk_create", &[&format!("name={name}"), "size_mb=1", "fstype=none"]);
        place.wait("nobody owns it", || place.hostlers().is_empty());
    };
    create("a");
    let [record, clock] = ["hostler.config", "hostler.clock"].map(|name| place.dir().join(name));
    let cases = [("zeros", "\0\0\0\0", "a power cut"), ("newer", "{\"v\":2}", "another version")];
    for (name, content, why) in cases {
        for path in [&record, &clock] {
            std::fs::write(path, content).expect("written");
        }
        std::fs::remove_file(place.dir().join("hostler.log")).expect("begun anew");
        create(name);
        let log = place.log();
        for path in [&record, &clock] {
            let tells = |line: &str| line.contains(&*path.to_string_lossy()) && line.contains(why);
            assert!(log.lines().any(tells), "{name} {}: {log}", path.display());
        }
        // Whoever starts it without deciding does not write over where it was.
        assert_eq!(std::fs::read_to_string(&record).expect("a record"), content);
        let told = String::from_utf8(place.run(&["doctor"]).stdout).expect("text");
        assert!(told.contains("✖ configuration of the backend") && told.contains(why), "{told}");
    }
    let mut owner = place.command().arg("serve").stdin(Stdio::null()).spawn().expect("hostler");
    place.wait("it serves", || place.is_served());
    owner.kill().expect("killed");
    owner.wait().expect("gone");
    assert!(std::fs::read_to_string(&record).expect("a record").contains("files"));
}
