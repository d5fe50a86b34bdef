//! The door of a state directory: whose it is, who may come in, and what happens when its owner is
//! frozen, dies, or has the floor pulled from under it. With the real program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "door/configured.rs"]
mod configured;
#[path = "door/files.rs"]
mod files;
#[path = "support/hostler.rs"]
mod hostler;
#[path = "door/inherited.rs"]
mod inherited;
#[path = "door/log.rs"]
mod log;
#[path = "support/media.rs"]
mod media;
#[path = "support/small_filesystem.rs"]
mod small_filesystem;

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hostler::{GIVE_UP_AFTER, Sandbox, signal};
use rustix::process::Signal;

/// Waits for the end of a command that might hang; nothing is measured with it.
fn end(child: Child) -> Output {
    let pid = child.id();
    let (ended, output) = std::sync::mpsc::channel();
    // Read all the while: a pipe that is full would hold it up.
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    match output.recv_timeout(GIVE_UP_AFTER) {
        Ok(output) => output.expect("its end"),
        Err(_) => {
            signal(pid, Signal::KILL);
            panic!("it hangs: {:?}", output.recv());
        }
    }
}

/// Starts a command whose output is read when it has ended.
fn begin(place: &Sandbox, arguments: &[&str]) -> Child {
    let mut command = place.command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("hostler runs")
}

/// The same on a state directory other than its own.
fn on(place: &Sandbox, state: &Path, arguments: &[&str]) -> Output {
    let mut command = place.command();
    command.env("HOSTLER_STATE", state).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    end(command.spawn().expect("hostler runs"))
}

/// What was said on standard error, whose last line must be a sentence of hostler's.
fn complaint(output: &Output, status: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.starts_with("hostler: ")), "{said}");
    said
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("a mode").mode() & 0o7777
}

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
    assert!(made.success());
}

/// Every way to begin on a state directory.
const BEGINNINGS: [&[&str]; 5] = [
    &["list", "vms"],
    &["--read-only", "list", "vms"],
    &["watch"],
    &["run", "disk_create", "name=a", "size_mb=8"],
    &["serve"],
];

#[test]
fn a_folder_that_is_not_ours_is_refused_and_left_as_it_was() {
    let place = Sandbox::new();
    let foreign = tempfile::tempdir_in("/tmp").expect("a directory");
    std::fs::write(foreign.path().join("letter.txt"), "mine").expect("a file");
    let everybodys = tempfile::tempdir_in("/tmp").expect("a directory");
    for (dir, bits, word) in [(&foreign, 0o755, "letter.txt"), (&everybodys, 0o1777, "everybody")] {
        let dir = dir.path();
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(bits)).expect("a mode");
        let before = std::fs::read_dir(dir).expect("a directory").count();
        for arguments in BEGINNINGS {
            let said = complaint(&on(&place, dir, arguments), 1);
            let names = [dir.to_str().expect("text"), word, "--state"];
            assert!(names.iter().all(|name| said.contains(name)), "{arguments:?}: {said}");
            assert_eq!(mode(dir), bits, "{arguments:?}");
            assert_eq!(std::fs::read_dir(dir).expect("a directory").count(), before);
        }
        let doctor = on(&place, dir, &["doctor"]);
        assert!(String::from_utf8_lossy(&doctor.stdout).contains(word), "{doctor:?}");
    }
    // An empty one, and one that is ours, are closed to others.
    let empty = tempfile::tempdir_in("/tmp").expect("a directory");
    for _ in 0..2 {
        std::fs::set_permissions(empty.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let made =
            on(&place, empty.path(), &["run", "disk_create", "name=a", "--dry-run", "size_mb=8"]);
        assert!(made.status.success(), "{made:?}");
        assert_eq!(mode(empty.path()), 0o700);
    }
}

#[test]
fn reading_makes_no_state_directory() {
    let place = Sandbox::new();
    let nowhere = place.dir().join("not/yet");
    for (arguments, status) in [
        (&["list", "vms", "--json"][..], 0),
        (&["list", "operations"], 0),
        (&["list", "lanes"], 0),
        (&["--read-only", "list", "disks"], 0),
        (&["show", "vm/1"], 1),
        (&["show", "operation/1"], 1),
        (&["operation", "wait", "1"], 1),
        (&["operation", "cancel", "1"], 1),
        (&["serial", "vm/1"], 1),
        (&["watch"], 3),
        (&["completions", "bash"], 0),
        (&["man"], 0),
    ] {
        let output = on(&place, &nowhere, arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
        assert!(!nowhere.parent().expect("above").exists(), "{arguments:?} made it");
    }
    let page = on(&place, &nowhere, &["list", "vms", "--json"]);
    let page: serde_json::Value = serde_json::from_slice(&page.stdout).expect("a document");
    assert_eq!(page["total"], 0);
    on(&place, &nowhere, &["doctor"]);
    assert!(!nowhere.parent().expect("above").exists(), "the doctor made it");
    let lanes = on(&place, &nowhere, &["list", "lanes"]);
    assert!(String::from_utf8_lossy(&lanes.stdout).contains("encode"), "{lanes:?}");
    // One that is there and empty stays so.
    std::fs::create_dir_all(&nowhere).expect("a directory");
    assert!(on(&place, &nowhere, &["list", "vms"]).status.success());
    assert_eq!(std::fs::read_dir(&nowhere).expect("a directory").count(), 0);
}

/// A directory mounted at a second place; unmounted when dropped.
struct Again(PathBuf);

impl Again {
    fn mount(dir: &Path, at: &Path) -> Option<Self> {
        std::fs::create_dir(at).expect("a directory");
        let mounted = Command::new("mount").arg("--bind").args([dir, at]).output().ok()?;
        mounted.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Puts an empty file in the place of another one.
///
/// In one step: the owner makes its socket anew as soon as it is gone, and a file written to that
/// place would be the socket.
fn replace_with_a_file(path: &Path) {
    let other = path.with_extension("other");
    std::fs::write(&other, "").expect("another");
    std::fs::rename(&other, path).expect("replaced");
}

#[test]
fn a_state_directory_never_has_two_owners() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    let owner = place.pid().to_string();
    // The lock is gone, then another one lies there.
    let lock = place.dir().join("hostler.lock");
    for replace in [false, true] {
        if replace {
            replace_with_a_file(&lock);
        } else {
            std::fs::remove_file(&lock).expect("removed");
        }
        let said = complaint(&end(begin(&place, &["serve"])), 1);
        assert!(said.contains("another hostler runs"), "{said}");
    }
    // The same directory by another name.
    let elsewhere = tempfile::tempdir_in("/tmp").expect("a directory");
    match Again::mount(place.dir(), &elsewhere.path().join("again")) {
        Some(again) => {
            let said = complaint(&on(&place, &again.0, &["serve"]), 1);
            assert!(said.contains("another hostler runs"), "{said}");
        }
        None => println!("left out: nothing can be mounted here"),
    }
    // A socket that is removed or replaced is made anew.
    let socket = place.dir().join("hostler.sock");
    for replace in [false, true] {
        if replace {
            replace_with_a_file(&socket);
        } else {
            std::fs::remove_file(&socket).expect("removed");
        }
        place.ok(&["list", "vms"]);
        let mode = std::fs::metadata(&socket).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let said = complaint(&end(begin(&place, &["serve"])), 1);
        assert!(said.contains("another hostler runs"), "{said}");
    }
    assert_eq!(place.pid().to_string(), owner);
    assert_eq!(place.hostlers().len(), 1);
}

#[test]
fn an_owner_whose_database_or_directory_is_taken_away_stops() {
    for what in ["removed", "replaced", "moved", "made anew", "unmounted"] {
        let place = Sandbox::new();
        let state = place.dir().join("state");
        let beneath = place.dir().join("beneath");
        std::fs::create_dir(&beneath).expect("a directory");
        let mount = match what {
            "unmounted" => Again::mount(&beneath, &state),
            _ => None,
        };
        if what == "unmounted" && mount.is_none() {
            println!("left out: nothing can be mounted here");
            continue;
        }
        let mut command = place.command();
        command.env("HOSTLER_STATE", &state).arg("serve");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let owner = command.spawn().expect("hostler serve");
        place.wait("it serves", || UnixStream::connect(state.join("hostler.sock")).is_ok());
        let done = on(
            &place,
            &state,
            &["run", "disk_create", "name=a", "size_mb=1", "fstype=none", "--wait"],
        );
        assert!(done.status.success(), "{done:?}");
        let database = state.join("hostler.db");
        match what {
            "removed" => std::fs::remove_file(&database).expect("removed"),
            "replaced" => {
                let copy = place.dir().join("copy");
                std::fs::copy(&database, &copy).expect("a copy");
                std::fs::rename(&copy, &database).expect("replaced");
            }
            // It holds the filesystem open, and nothing in that changes.
            "unmounted" => drop(mount),
            _ => std::fs::rename(&state, place.dir().join("old")).expect("moved"),
        }
        if what == "made anew" {
            std::fs::create_dir(&state).expect("another directory");
        }
        let said = complaint(&end(owner), 1);
        let name = if what.starts_with("re") { "hostler.db" } else { "state directory" };
        assert!(said.contains(name) && said.contains(state.to_str().unwrap()), "{what}: {said}");
        if what == "made anew" {
            let left: Vec<_> = state.read_dir().expect("a directory").flatten().collect();
            assert!(left.is_empty(), "it is not hostler's to write to: {left:?}");
        }
    }
}

#[test]
fn a_frozen_owner_is_named_and_nobody_waits_for_it_for_ever() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.ok(&["lane", "pause", "disk"]);
    let create = ["run", "disk_create", "name=a", "size_mb=1", "fstype=none", "--wait"];
    let waiting = begin(&place, &create);
    place.wait("it is queued", || place.list("operations").len() == 1);
    let mut watching = begin(&place, &["watch"]);
    // It says so when it listens.
    let mut first = [0];
    watching.stdout.as_mut().expect("its output").read_exact(&mut first).expect("an event");
    signal(place.pid(), Signal::STOP);
    let pid = place.pid().to_string();
    for command in [begin(&place, &["list", "vms"]), begin(&place, &["serve"]), waiting, watching] {
        let said = complaint(&end(command), 3);
        assert!(said.contains(&pid) && said.contains("kill -CONT"), "{said}");
    }
    // It goes on as if nothing had been.
    signal(place.pid(), Signal::CONT);
    place.ok(&["lane", "resume", "disk"]);
    place.ok(&["operation", "wait", "1"]);
}

#[test]
fn whoever_stops_waiting_is_told_that_it_goes_on() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.ok(&["lane", "pause", "disk"]);
    let create = ["run", "disk_create", "name=a", "size_mb=1", "fstype=none", "--wait"];
    let mut waiting = begin(&place, &create);
    // It says so when it waits.
    let mut first = [0];
    waiting.stderr.as_mut().expect("its errors").read_exact(&mut first).expect("a line");
    signal(waiting.id(), Signal::INT);
    let told = complaint(&end(waiting), 130);
    assert!(told.contains("#1 goes on; `hostler operation cancel 1` calls it off"), "{told}");
    place.ok(&["lane", "resume", "disk"]);
    place.ok(&["operation", "wait", "1"]);
}

#[test]
fn what_a_dead_owner_leaves_is_taken_over_by_those_who_wait_for_it() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.ok(&["lane", "pause", "disk"]);
    place.ok(&["run", "disk_create", "name=a", "size_mb=1", "fstype=none"]);
    // Not `run --wait`: whoever has not heard that it was accepted does not wait for it.
    let waiting = begin(&place, &["operation", "wait", "1"]);
    place.kill();
    place.wait("somebody else serves", || place.is_served());
    place.ok(&["lane", "resume", "disk"]);
    let output = end(waiting);
    assert!(output.status.success(), "{output:?}\n{}", place.log());
}

#[test]
fn half_open_connections_shut_nobody_out() {
    let mut place = Sandbox::new();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let more = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, more).expect("more files");
    place.serve(&[]);
    let socket = place.dir().join("hostler.sock");
    let mut half: Vec<UnixStream> = Vec::new();
    for number in 0..1_500 {
        let mut stream = UnixStream::connect(&socket).expect("a connection");
        let said: &[u8] = match number % 3 {
            0 => b"",
            1 => b"POST /v1/que",
            _ => b"POST /v1/query HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
        };
        // One that was shown the door already is told nothing more.
        let _broken_pipe = stream.write_all(said);
        half.push(stream);
    }
    let output = end(begin(&place, &["list", "vms"]));
    assert!(output.status.success(), "{output:?}");
    // The oldest were shown the door.
    let mut rest = Vec::new();
    let _reset = half[0].read_to_end(&mut rest);
    drop(half);
}

/// Of the files a process may have open, enough are kept for its work; nobody is advised to kill it
/// for having no place.
#[test]
fn whoever_is_one_too_many_is_told_so() {
    let place = Sandbox::new();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=64", env!("CARGO_BIN_EXE_hostler"), "serve"]);
    command.env("HOSTLER_STATE", place.dir()).env("HOSTLER_CONFIG", place.config());
    let mut owner = command.spawn().expect("prlimit, of util-linux");
    place.wait("it serves", || place.is_served());
    let mut watching: Vec<_> = (0..40)
        .map(|_| {
            let mut watch = place.command();
            watch.arg("watch").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            watch.spawn().expect("hostler watch")
        })
        .collect();
    let asked = || place.run(&["list", "vms"]);
    place.wait("there is no place left", || !asked().status.success());
    let said = String::from_utf8_lossy(&asked().stderr).into_owned();
    assert!(said.contains("as many clients as it can") && !said.contains("kill"), "{said}");
    for watch in &mut watching {
        watch.kill().expect("ended");
        watch.wait().expect("gone");
    }
    place.ok(&["run", "disk_create", "name=a", "size_mb=1", "fstype=none", "--wait"]);
    place.ok(&["stop"]);
    assert!(owner.wait().expect("it ends").success());
}

#[test]
fn a_number_no_operation_can_have_is_no_failure_of_the_backend() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    for arguments in [
        &["show", "operation/9999999999999999999"][..],
        &["operation", "wait", "18446744073709551615"],
        &["operation", "cancel", "9999999999999999999"],
        &["operation", "relaunch", "9999999999999999999"],
        &["operation", "priority", "9999999999999999999", "1"],
    ] {
        let said = complaint(&end(begin(&place, arguments)), 1);
        assert!(said.contains("does not exist"), "{arguments:?}: {said}");
    }
    let body = r#"{"query":"operation","uid":9999999999999999999}"#;
    let offset = concat!(
        r#"{"query":"list","of":"operations","#,
        r#""offset":18446744073709551615,"around":18446744073709551615,"limit":5}"#
    );
    for (body, status) in [(body, "404"), (offset, "200")] {
        let mut stream = UnixStream::connect(place.dir().join("hostler.sock")).expect("connected");
        write!(
            stream,
            "POST /v1/query HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("asked");
        let mut answer = String::new();
        let _end = stream.read_to_string(&mut answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{body}: {answer}");
    }
}

#[test]
fn odd_paths_work_or_are_refused_at_the_door() {
    let place = Sandbox::new();
    for odd in ["new\nline", "bell\u{7}"] {
        let state = place.dir().join(odd);
        let said = complaint(&on(&place, &state, &["list", "vms"]), 1);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("--state"), "{said}");
        assert!(!state.exists());
    }
    let media = tempfile::tempdir().expect("a directory");
    let source = media::video(media.path(), "talk.mkv", 1, "160x120");
    let source = format!("source={}", source.display());
    let long = format!("long/{}", "x".repeat(120));
    for odd in ["50%d off, {} 'n' \"more\"", &long] {
        let state = place.dir().join(odd);
        let mut serve = place.command();
        serve.env("HOSTLER_STATE", &state).arg("serve").stdin(Stdio::null());
        let mut owner = serve.spawn().expect("hostler serve");
        let asks = |arguments: &[&str]| {
            let output = on(&place, &state, arguments);
            assert!(output.status.success(), "{odd}: {output:?}");
        };
        place.wait("it serves", || {
            // Its path may be too long for a plain connect.
            state.join("hostler.sock").exists()
        });
        asks(&["run", "disk_create", "name=a", "size_mb=8", "fstype=ext4", "--wait"]);
        let output = media.path().join(format!("{}.mp4", odd.len()));
        let output = format!("output={}", output.display());
        asks(&["run", "encode", &source, "preset=mp4", &output, "--wait"]);
        assert!(owner.try_wait().expect("its state").is_none(), "all was asked of the owner");
        owner.kill().expect("killed");
        owner.wait().expect("gone");
    }
}

#[test]
fn what_is_no_plain_file_hangs_nobody() {
    for name in ["hostler.log", "hostler.lock", "hostler.db"] {
        let place = Sandbox::new();
        make_fifo(&place.dir().join(name));
        if name == "hostler.log" {
            std::fs::write(place.dir().join("hostler.lock"), "").expect("ours");
        }
        for arguments in [&["run", "disk_create", "name=a", "size_mb=1"][..], &["serve"]] {
            let said = complaint(&end(begin(&place, arguments)), 1);
            assert!(said.contains(name) && said.contains("regular file"), "{said}");
        }
    }
    // A link is not followed out of the directory either.
    let place = Sandbox::new();
    let outside = tempfile::NamedTempFile::new().expect("a file");
    std::os::unix::fs::symlink(outside.path(), place.dir().join("hostler.lock")).expect("a link");
    let said = complaint(&end(begin(&place, &["serve"])), 1);
    assert!(said.contains("hostler.lock"), "{said}");
}

/// Nobody needs it any more: no work, no clients, no tasks, no guests.
#[cfg(feature = "failpoints")]
#[test]
fn a_backend_in_the_background_ends_when_nobody_needs_it() {
    let place = Sandbox::new();
    let task = ["run", "task_create", "name=t", "kind=disk_create", "params.name=a"];
    let mut create = place.command();
    create.env("HOSTLER_IDLE_MS", "200").args(task).args(["params.size_mb=2", "hour=3", "--wait"]);
    let output =
        end(create.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs"));
    assert!(output.status.success(), "{output:?}");
    // A task is to fire: it stays, until it is switched off.
    place.wait("it has gone to the background", || place.backends().len() == 1);
    place.done("task_disable", &["task=1"]);
    place.wait("it has ended", || place.hostlers().is_empty());
    assert!(place.log().contains("nobody needs"), "{}", place.log());
}
