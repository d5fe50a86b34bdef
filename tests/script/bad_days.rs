//! What goes wrong: a configuration, a database, a user, a file or a disk that will not do.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use super::hostler::{Sandbox, signal};
use super::small_filesystem::SmallFilesystem;
use super::{end, one_line_error};

#[test]
fn a_configuration_that_is_not_understood_is_named_by_file_line_and_key() {
    let place = Sandbox::new();
    let file = place.config();
    std::fs::write(&file, "# mine\nshare_mb = 512\n").expect("a configuration");
    let said = one_line_error(&place.run(&["list", "vms"]), 2);
    for part in ["config.toml", "line 2", "share_mb", "did you mean share_mib"] {
        assert!(said.contains(part), "{said}");
    }
    // The doctor works all the same, and says it too.
    let output = place.run(&["doctor"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("share_mb"));
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let place = Sandbox::new();
    place.done("disk_create", &["name=data", "size_mb=1", "fstype=none"]);
    place.wait("nobody has it open", || place.hostlers().is_empty());
    let database = std::fs::read_dir(place.dir())
        .expect("the state directory")
        .map(|entry| entry.expect("a file").path())
        .find(|path| path.extension().is_some_and(|end| end == "db" || end == "sqlite"))
        .expect("a database");
    let connection = rusqlite::Connection::open(&database).expect("the database");
    connection.pragma_update(None, "user_version", 99).expect("a newer version");
    connection.close().expect("closed");
    let bytes = std::fs::read(&database).expect("the database");
    let said = one_line_error(&place.run(&["list", "disks"]), 1);
    assert!(said.contains("newer") && said.contains("99"), "{said}");
    assert_eq!(std::fs::read(&database).expect("the database"), bytes, "left as it was");
}

#[test]
fn another_users_state_directory_is_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("left out: only root can be somebody else");
        return;
    }
    let place = Sandbox::new();
    place.json(&["list", "vms"]);
    // nobody may reach neither our build nor our configuration.
    let open = tempfile::Builder::new().prefix("hb").tempdir_in("/tmp").expect("a directory");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(open.path(), mode).expect("open to all");
    let program = open.path().join("hostler");
    std::fs::copy(env!("CARGO_BIN_EXE_hostler"), &program).expect("a copy");
    let config = open.path().join("config.toml");
    std::fs::write(&config, "").expect("a configuration");
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&program)
        .args(["list", "vms"])
        .env("HOSTLER_STATE", place.dir())
        .env("HOSTLER_CONFIG", &config)
        .output()
        .expect("setpriv runs");
    let said = one_line_error(&output, 1);
    assert!(said.contains("belongs to user 0") && said.contains("--state"), "{said}");
}

#[test]
fn what_is_no_image_and_what_is_no_video() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    let beside = tempfile::tempdir().expect("a folder");
    let file = beside.path().join("letter.txt");
    std::fs::write(&file, "Dear reader, this is neither.\n").expect("a file");
    let path = file.display();
    let output = place.run(&["run", "image_import", &format!("source={path}"), "name=x", "--wait"]);
    let said = end(&output, 1);
    assert!(said.contains("letter.txt is no disk image"), "{said}");
    let output = place.run(&["run", "encode", &format!("source={path}"), "preset=mp4", "--wait"]);
    let said = end(&output, 1);
    assert!(said.contains("letter.txt is no video or audio file"), "{said}");
    // Both wait for a person, and can be called off.
    for operation in place.list("operations") {
        assert_eq!(operation["state"], "ERROR", "{operation:#}");
        place.ok(&["operation", "cancel", &operation["uid"].to_string()]);
    }
    for operation in place.list("operations") {
        assert_eq!(operation["state"], "CANCEL", "{operation:#}");
    }
    assert_eq!(place.partials(), Vec::<PathBuf>::new());
}

#[test]
fn what_is_called_off_before_it_started_is_not_logged_as_started() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.ok(&["lane", "pause", "disk"]);
    place.ok(&["run", "disk_create", "name=data", "size_mb=1", "fstype=none"]);
    place.kill();
    place.serve(&[]);
    place.ok(&["operation", "cancel", "1"]);
    place.run(&["operation", "wait", "1"]);
    assert_eq!(place.operation(1)["state"], "CANCEL");
    place.wait("that is logged", || place.log().contains("ends as CANCEL"));
    assert!(!place.log().contains("#1 disk_create disk/1 'data' starts"));
}

/// A full disk refuses what cannot be written down, and keeps what was.
#[test]
fn a_full_disk_loses_nothing_accepted() {
    let mut place = Sandbox::new();
    let dir = place.dir().to_owned();
    let _small = match SmallFilesystem::mount(&dir, 8) {
        Ok(small) => small,
        Err(why) => {
            println!("left out: no small filesystem can be mounted here: {why}");
            return;
        }
    };
    place.serve(&[]);
    place.ok(&["lane", "pause", "disk"]);
    let first = place.json(&["run", "disk_create", "name=first", "size_mb=1", "fstype=none"]);
    let first = first["uid"].as_u64().expect("a number");
    let filler = dir.join("filler");
    let mut file = std::fs::File::create(&filler).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);

    // Until the log has used up the room it had, requests are still taken.
    let mut accepted = vec![first];
    let refused = loop {
        let name = format!("name=disk-{}", accepted.len());
        let output =
            place.run(&["run", "disk_create", &name, "size_mb=1", "fstype=none", "--json"]);
        if !output.status.success() {
            break output;
        }
        let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
        accepted.push(document["uid"].as_u64().expect("a number"));
        assert!(accepted.len() < 2000, "the disk never gets full");
    };
    let said = one_line_error(&refused, 1);
    assert!(said.contains("full") || said.contains("space"), "{said}");
    let held = || {
        let operations = place.list("operations");
        let mut held: Vec<_> =
            operations.iter().map(|row| row["uid"].as_u64().expect("a number")).collect();
        held.sort_unstable();
        held
    };
    assert_eq!(held(), accepted, "questions are answered all the same");
    place.ok(&["operation", "cancel", &first.to_string()]);
    let cancelled = place.list("operations").into_iter().find(|row| row["uid"] == first);
    assert_eq!(cancelled.expect("it is listed")["state"], "CANCEL");
    assert!(!dir.join("hostler.reserve").exists(), "it was written with the room of the reserve");

    // With some room again everything goes on, also after kill -9.
    std::fs::remove_file(&filler).expect("room");
    let last = place.json(&["run", "disk_create", "name=last", "size_mb=1", "fstype=none"]);
    accepted.push(last["uid"].as_u64().expect("a number"));
    assert_eq!(held(), accepted);
    place.kill();
    place.serve(&[]);
    place.ok(&["lane", "resume", "disk"]);
    for uid in &accepted[1..] {
        place.ok(&["operation", "wait", &uid.to_string()]);
    }
    assert!(dir.join("hostler.reserve").exists(), "it is kept again");
}

/// What fills a disk can also be called off by a backend that finds it full when it starts.
#[test]
fn a_backend_starts_on_a_full_disk() {
    let mut place = Sandbox::new();
    let dir = place.dir().to_owned();
    let _small = match SmallFilesystem::mount(&dir, 16) {
        Ok(small) => small,
        Err(why) => {
            println!("left out: no small filesystem can be mounted here: {why}");
            return;
        }
    };
    place.serve(&[]);
    place.ok(&["lane", "pause", "disk"]);
    let create = |name| ["run", "disk_create", name, "size_mb=1", "fstype=none"];
    for name in ["name=first", "name=second"] {
        place.ok(&create(name));
    }
    // It takes with it what the store keeps beside it while it is open.
    place.end();
    let filler = dir.join("filler");
    let mut file = std::fs::File::create(&filler).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);

    place.serve(&[]);
    assert_eq!(place.list("operations").len(), 2);
    place.ok(&["operation", "cancel", "1"]);
    let said = one_line_error(&place.run(&create("name=third")), 1);
    assert!(said.contains("the disk is full"), "{said}");
    std::fs::remove_file(&filler).expect("room");
    place.ok(&create("name=fourth"));
    assert!(dir.join("hostler.reserve").exists(), "it is kept again");
    place.ok(&["lane", "resume", "disk"]);
    for uid in ["2", "3"] {
        place.ok(&["operation", "wait", uid]);
    }
    let first = place.json(&["show", "operation/1"]);
    assert_eq!(first["operation"]["state"], "CANCEL", "{first:#}");
}

/// Commands that come at once, where nobody serves: one of them does, and its going cuts no other.
#[test]
fn twelve_at_once_are_all_heard() {
    for _ in 0..4 {
        let place = Sandbox::new();
        place.config();
        let ask = |number: u32| {
            let mut command = place.command();
            command.args(["run", "disk_create", "size_mb=1", "fstype=none", "--wait"]);
            command.arg(format!("name=disk-{number}")).stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("hostler runs")
        };
        let asked: Vec<_> = (1..=12).map(ask).collect();
        for command in asked {
            let output = command.wait_with_output().expect("its end");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {said}\n{}", output.status, place.log());
        }
        assert_eq!(place.list("disks").len(), 12);
    }
}

#[test]
fn a_clean_end_leaves_one_whole_database() {
    let mut place = Sandbox::new();
    let databases = |place: &Sandbox| {
        let names = std::fs::read_dir(place.dir()).expect("the state directory");
        let names = names.map(|file| file.expect("a file").file_name().into_string());
        let mut names: Vec<_> = names.map(|name| name.expect("text")).collect();
        names.retain(|name| name.starts_with("hostler.db"));
        names
    };
    place.done("disk_create", &["name=data", "size_mb=1", "fstype=none"]);
    assert_eq!(databases(&place), ["hostler.db"]);
    place.serve(&[]);
    place.done("disk_create", &["name=more", "size_mb=1", "fstype=none"]);
    assert!(databases(&place).len() > 1, "it is being written");
    signal(place.pid(), Signal::TERM);
    assert!(place.wait_for_death().success());
    assert_eq!(databases(&place), ["hostler.db"]);
}

/// The lock may outlive the socket for a moment, as it does when a backend is killed.
#[test]
fn a_backend_waits_for_one_that_answers_nobody() {
    let mut place = Sandbox::new();
    place.config();
    let lock = std::fs::File::create(place.dir().join("hostler.lock")).expect("a lock");
    lock.lock().expect("locked");
    let socket = place.dir().join("hostler.sock");
    let dying = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    dying.set_nonblocking(true).expect("looked at");
    let mut command = place.command();
    command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().expect("hostler serve");
    place.wait("it asks who is there", || dying.accept().is_ok());
    drop((dying, lock));
    place.wait("it serves", || place.is_served());
    // One that answers is left alone at once.
    assert!(one_line_error(&place.run(&["serve"]), 1).contains("another hostler runs"));
    child.kill().expect("killed");
    child.wait().expect("gone");
    place.serve(&[]);
}
