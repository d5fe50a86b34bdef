//! What a state directory comes to that cannot be written as it should: at the brink of a full
//! disk, in what is immutable, on what is mounted for reading only.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::hostler::Sandbox;
use super::small_filesystem::SmallFilesystem;
use super::{end, one_line_error};

/// Runs a tool of the administrator's; says why it failed.
fn administer(program: &str, arguments: &[&str], path: &Path) -> Result<(), String> {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// What was accepted on a disk that has no room for it waits for room, and is done.
#[test]
fn what_was_accepted_at_the_brink_is_done() {
    const DISKS: usize = 28;
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
    let uids: Vec<String> = (1..=DISKS)
        .map(|number| {
            let name = format!("name=disk-{number}");
            let accepted = place.json(&["run", "disk_create", &name, "size_mb=1", "fstype=none"]);
            accepted["uid"].to_string()
        })
        .collect();
    let watch = Follower::begin(&place);
    place.ok(&["lane", "resume", "disk"]);
    // One that runs waits for room, or nothing is started any more until there is some.
    place.wait("something waits for room", || {
        watch.told().contains("\"for\":\"retry\"") || watch.told().contains("the disk is full")
    });
    administer("mount", &["-o", "remount,size=64m"], &dir).expect("room");
    for uid in &uids {
        place.ok(&["operation", "wait", uid]);
    }
    let disks = place.list("disks");
    assert!(disks.len() == DISKS && disks.iter().all(|disk| disk["state"] == "free"), "{disks:?}");
}

/// What `hostler watch` tells, kept where there is room for it.
struct Follower {
    watching: Child,
    told: tempfile::NamedTempFile,
}

impl Follower {
    /// Returns once it has begun: whatever happens from now on is told.
    fn begin(place: &Sandbox) -> Self {
        let told = tempfile::NamedTempFile::new().expect("a file");
        let to = told.reopen().expect("the file");
        let mut watch = place.command();
        let watching = watch.args(["watch", "--json"]).stdout(to).spawn().expect("a watch");
        let watch = Self { watching, told };
        place.wait("the watch has begun", || !watch.told().is_empty());
        watch
    }

    /// All that it told so far, a JSON document a line.
    fn told(&self) -> String {
        std::fs::read_to_string(self.told.path()).expect("what was told")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.watching.kill().expect("killed");
        self.watching.wait().expect("it has ended");
    }
}

/// A file that nobody may change; changeable again when dropped.
struct Immutable(PathBuf);

impl Immutable {
    fn make(path: PathBuf) -> Result<Self, String> {
        administer("chattr", &["+i"], &path).map(|()| Self(path))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = administer("chattr", &["-i"], &self.0);
    }
}

#[test]
fn what_is_immutable_is_said_and_goes_on_once_it_is_not() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.done("disk_create", &["name=data", "size_mb=1", "fstype=none"]);
    let file = place.dir().join("disks/1.qcow2");
    let folder = place.dir().join("disks");
    for (immutable, kind, fields) in [
        (file, "disk_delete", &["disk=data"][..]),
        (folder, "disk_create", &["name=more", "size_mb=1", "fstype=none"]),
    ] {
        let immutable = match Immutable::make(immutable) {
            Ok(immutable) => immutable,
            Err(why) => {
                println!("left out: nothing can be made immutable here: {why}");
                return;
            }
        };
        let arguments = [&["run", kind][..], fields, &["--wait"]].concat();
        let said = end(&place.run(&arguments), 1);
        assert!(said.contains("see with lsattr whether it is immutable"), "{said}");
        drop(immutable);
        let failed = place.list("operations");
        let failed = failed.iter().find(|it| it["state"] == "ERROR").expect("one failed");
        let uid = failed["uid"].to_string();
        place.ok(&["operation", "relaunch", &uid]);
        place.ok(&["operation", "wait", &uid]);
    }
    let found = place.ok(&["doctor", "--deep"]);
    assert!(found.contains("every file"), "{found}");
}

#[test]
fn what_is_mounted_for_reading_only_is_said_and_left_as_it_is() {
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
    place.done("disk_create", &["name=data", "size_mb=1", "fstype=none"]);
    place.end();
    administer("mount", &["-o", "remount,ro"], &dir).expect("nobody writes");
    for arguments in
        [&["serve"][..], &["list", "disks"], &["run", "disk_create", "name=a", "size_mb=1"]]
    {
        let said = one_line_error(&place.run(arguments), 1);
        assert!(said.contains("Read-only file system"), "{arguments:?}: {said}");
    }
    let found = place.run(&["doctor"]);
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(said.contains("mount its filesystem for writing"), "{said}");
    assert!(!said.contains("chmod"), "{said}");
    administer("mount", &["-o", "remount,rw"], &dir).expect("mounted for writing");
    place.serve(&[]);
    place.done("disk_delete", &["disk=data"]);
}

/// A limit on the size of files ends nobody without a word.
#[test]
fn a_file_that_may_not_grow_is_told() {
    let mut place = Sandbox::new();
    // The reserve, a disk and the log of the store are all larger than that.
    let mut command = Command::new("prlimit");
    command.arg("--fsize=1048576").arg(env!("CARGO_BIN_EXE_hostler"));
    command.arg("serve").env("HOSTLER_STATE", place.dir()).env("HOSTLER_CONFIG", place.config());
    let mut limited = command.spawn().expect("prlimit, of util-linux");
    place.wait("it serves", || place.is_served());
    let create = ["run", "disk_create", "name=a", "size_mb=16", "fstype=ext4", "--wait"];
    let output = place.run(&create);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(limited.try_wait().expect("looked at").is_none(), "it lives on: {}", place.log());
    let rows = place.list("operations");
    assert_eq!(rows[0]["state"], "ERROR", "{rows:?}");
    place.ok(&["stop"]);
    assert!(limited.wait().expect("it ends").success());
    place.serve(&[]);
    place.ok(&["operation", "relaunch", "1"]);
    place.ok(&["operation", "wait", "1"]);
}
