//! `hostler stop`: which backend it ends, which it leaves alone, and what it says.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::hostler::Sandbox;
use super::one_line_error;

#[test]
fn a_backend_by_itself_is_ended_and_what_waits_goes_on_at_the_next_start() {
    let mut place = Sandbox::new();
    let said = one_line_error(&place.run(&["stop"]), 1);
    assert!(said.contains("nobody has used the state directory"), "{said}");
    place.serve(&[]);
    place.ok(&["lane", "pause", "disk"]);
    place.ok(&["run", "disk_create", "name=later", "size_mb=1", "fstype=none"]);
    let said = place.ok(&["stop"]);
    assert!(said.contains("has ended; to go on at the next start: 1 operation"), "{said}");
    assert!(place.wait_for_death().success(), "{}", place.log());
    assert!(!place.is_served());
    let said = place.ok(&["stop"]);
    assert!(said.starts_with("no backend runs on "), "{said}");
    place.serve(&[]);
    assert_eq!(place.operation(1)["state"], "PENDING");
    let said = one_line_error(&place.run(&["--read-only", "stop"]), 1);
    assert!(said.contains("read-only") && place.is_served(), "{said}");
}

/// Whoever reads an answer may take all day.
#[test]
fn who_only_looks_keeps_nobody_out_while_it_is_read() {
    let place = Sandbox::new();
    place.done("disk_create", &["name=data", "size_mb=1", "fstype=none"]);
    place.wait("nobody owns it", || place.hostlers().is_empty());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // Nothing fits into it any more.
    let least = rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("the least there is");
    let mut filled = writer.try_clone().expect("a writer");
    std::io::Write::write_all(&mut filled, &vec![b'x'; least]).expect("filled");
    let list = place.command().args(["list", "disks"]).stdout(writer).spawn();
    let mut list = list.expect("hostler list");
    place.done("disk_create", &["name=more", "size_mb=1", "fstype=none"]);
    assert!(list.try_wait().expect("known").is_none(), "it waits for its reader");
    drop(filled);
    let read = std::io::read_to_string(reader).expect("read");
    assert!(read.contains("data"), "{read}");
    assert!(list.wait().expect("it ends").success());
}

/// What only looks is no reason for anything to begin.
#[test]
fn who_only_looks_starts_nothing_and_leaves_nothing_behind() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.ok(&["lane", "pause", "disk"]);
    place.ok(&["run", "disk_create", "name=later", "size_mb=1", "fstype=none"]);
    place.end();
    let database = rusqlite::Connection::open(place.dir().join("hostler.db")).expect("a database");
    let opened = database.execute("DELETE FROM lane WHERE name = 'disk'", []).expect("written");
    assert_eq!(opened, 1, "nothing keeps it from starting");
    database.close().expect("closed");
    for look in [
        &["list", "operations"][..],
        &["show", "operation/1"],
        &["run", "disk_create", "name=more", "size_mb=8", "--dry-run"],
        &["--read-only", "list", "lanes"],
    ] {
        let said = one_line_error(&place.run(look), 0);
        assert!(said.contains("no backend runs: 1 operation waiting"), "{look:?}: {said}");
        assert!(place.hostlers().is_empty() && !place.is_served(), "{look:?}");
    }
    let mut watch = place.command();
    let watch = watch.args(["--read-only", "watch", "--json"]).stdout(Stdio::piped()).spawn();
    let mut watch = watch.expect("hostler watch");
    place.wait("it serves", || place.is_served());
    // One that stays is no reason for others to wait: it is their backend meanwhile.
    place.ok(&["operation", "wait", "1"]);
    place.done("disk_create", &["name=more", "size_mb=1", "fstype=none"]);
    watch.kill().expect("killed");
    watch.wait().expect("gone");
}

#[test]
fn one_that_others_are_attached_to_is_left_alone() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    let mut watch = place.command().args(["watch", "--json"]).stdout(Stdio::piped()).spawn();
    let watch = watch.as_mut().expect("hostler watch");
    // It is attached once it says anything.
    let mut heard = BufReader::new(watch.stdout.take().expect("its events"));
    heard.read_line(&mut String::new()).expect("an event");
    let said = one_line_error(&place.run(&["stop"]), 1);
    assert!(said.contains("another hostler is attached to the backend"), "{said}");
    assert!(place.is_served());
    watch.kill().expect("killed");
    watch.wait().expect("gone");
    place.wait("nobody is attached", || place.run(&["stop"]).status.success());
    assert!(place.wait_for_death().success(), "{}", place.log());

    // One that lives in a command goes with that.
    let mut first = place.command().arg("watch").stdout(Stdio::null()).spawn().expect("a command");
    place.wait("the command serves", || place.is_served());
    let said = one_line_error(&place.run(&["stop"]), 1);
    assert!(said.contains("has the backend in its own process"), "{said}");
    first.kill().expect("killed");
    first.wait().expect("gone");
}
