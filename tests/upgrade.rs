//! A newer hostler on what an older one left: everything is there, and what was in flight goes on
//! or says why it cannot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "support/hostler.rs"]
mod hostler;
#[path = "support/media.rs"]
mod media;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hostler::{Sandbox, alone};
use rusqlite::Connection;
use serde_json::{Value, json};

/// What version 0.1 left, in a state directory of its own; `media` is where its sources lay.
struct Left {
    place: Sandbox,
    media: tempfile::TempDir,
}

impl Left {
    /// Lays it out; `change` is what was different in the database.
    fn with(change: &str) -> Self {
        let mut place = Sandbox::new();
        let media = tempfile::tempdir().unwrap();
        // The image's kernel and first filesystem, from an image of today.
        place.serve(&[]);
        place.done("image_build", &["recipe=tiny"]);
        place.end();
        let image = place.dir().join("images/1");
        let spare = media.path().join("image");
        fs::create_dir(&spare).unwrap();
        for file in ["kernel", "initrd"] {
            fs::rename(image.join(file), spare.join(file)).unwrap();
        }
        for entry in fs::read_dir(place.dir()).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => fs::remove_dir_all(entry.path()).unwrap(),
                false => fs::remove_file(entry.path()).unwrap(),
            }
        }
        let left = Self { place, media };
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-0.1");
        left.lay(&fixture, Path::new(""));
        for file in ["kernel", "initrd"] {
            fs::rename(spare.join(file), image.join(file)).unwrap();
        }
        for (disk, size) in [
            ("disks/1.qcow2", "64M"),
            ("disks/3.qcow2", "64M"),
            ("disks/5.qcow2", "64M"),
            ("trash/2.qcow2", "80M"),
            ("vms/1/root.qcow2", "8G"),
        ] {
            let made = Command::new("qemu-img")
                .args(["create", "-q", "-f", "qcow2"])
                .arg(left.place.dir().join(disk))
                .arg(size)
                .status();
            assert!(made.unwrap().success(), "{disk}");
        }
        fs::write(left.place.dir().join("vms/1/seed.img"), vec![0; 2 << 20]).unwrap();
        let database = Connection::open(left.place.dir().join("hostler.db")).unwrap();
        let sql = fs::read_to_string(fixture.join("hostler.sql")).unwrap();
        database.execute_batch(&left.filled(&sql)).unwrap();
        database.execute_batch(change).unwrap();
        left
    }

    /// A text of the fixture, about this place.
    fn filled(&self, text: &str) -> String {
        text.replace("@STATE@", &self.place.dir().to_string_lossy())
            .replace("@MEDIA@", &self.media.path().to_string_lossy())
    }

    /// Copies the descriptions and marks below a folder of the fixture.
    fn lay(&self, fixture: &Path, below: &Path) {
        for entry in fs::read_dir(fixture.join(below)).unwrap().flatten() {
            let path: PathBuf = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir_all(self.place.dir().join(&path)).unwrap();
                self.lay(fixture, &path);
            } else if path.extension().is_some_and(|extension| extension == "json") {
                let text = fs::read_to_string(entry.path()).unwrap();
                fs::write(self.place.dir().join(path), self.filled(&text)).unwrap();
            }
        }
    }

    fn wait_for(&self, uid: u64, state: &str) -> Value {
        self.place.wait(&format!("operation {uid} is {state}"), || {
            self.place.operation(uid)["state"] == state
        });
        self.place.operation(uid)
    }
}

/// The word for how a resource stands.
fn state(row: &Value) -> &str {
    match row["active"].as_bool() {
        Some(true) => "active",
        Some(false) => "inactive",
        None => row["state"].as_str().unwrap(),
    }
}

#[test]
fn what_version_0_1_left_is_there_and_goes_on() {
    let _alone = alone();
    let mut left = Left::with("");
    left.place.serve(&[]);

    // What was killed between effect and record is finished, and its disk is the one it had made.
    left.wait_for(17, "DONE");
    let names = |what: &str| -> Vec<String> {
        let mut names: Vec<String> = left
            .place
            .list(what)
            .iter()
            .map(|row| format!("{} {}", row["name"].as_str().unwrap(), state(row)))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("disks"), ["data attached", "halfway free", "later free", "old trashed"]);
    assert_eq!(names("vms"), ["web-1 halted"]);
    assert_eq!(names("images"), ["tiny ready"]);
    assert_eq!(names("tasks"), ["nightly active", "stopped inactive"]);
    let encodings = ["clip.mkv→mp4 finished", "clip.mkv→webm finished", "gone.mkv→mp4 failed"];
    assert_eq!(names("encodings"), encodings);
    let states: Vec<(u64, String)> = left
        .place
        .list("operations")
        .iter()
        .map(|it| (it["uid"].as_u64().unwrap(), it["state"].as_str().unwrap().to_owned()))
        .filter(|(_, state)| state != "DONE")
        .collect();
    let open = [(16, "PENDING"), (10, "CANCEL"), (4, "ERROR")];
    assert_eq!(states, open.map(|(uid, state)| (uid, state.to_owned())));

    // The lane is paused as it was; what waits in it starts when it is opened.
    assert_eq!(left.place.operation(16)["wait"]["for"], json!("lane_paused"));
    left.place.ok(&["lane", "resume", "vm"]);
    left.wait_for(16, "DONE");
    assert_eq!(left.place.guests().len(), 1, "the VM runs");

    // What failed can be relaunched once its source is there.
    media::video(left.media.path(), "gone.mkv", 1, "64x48");
    left.place.ok(&["operation", "relaunch", "4"]);
    left.wait_for(4, "DONE");
    assert!(left.media.path().join("gone.mp4").is_file());

    let checks = left.place.json(&["doctor", "--deep"]);
    assert!(checks.as_array().unwrap().iter().all(|check| check["ok"] == true), "{checks:#}");
}

#[test]
fn an_operation_of_another_course_stops_and_names_both_steps() {
    let _alone = alone();
    // A version that called the step something else had recorded it as done.
    let mut left = Left::with(
        "UPDATE step SET name = 'format', state = 1, result = 'null', finished = started \
         WHERE uid = 17",
    );
    left.place.serve(&[]);
    let stopped = left.wait_for(17, "ERROR");
    let comment = stopped["comment"].as_str().unwrap();
    for said in ["'format'", "'make'", "Nothing was run or undone"] {
        assert!(comment.contains(said), "{comment}");
    }
    assert!(left.place.dir().join("disks/5.qcow2").is_file(), "what it made is left alone");
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let left = Left::with("PRAGMA user_version = 1000");
    let before = fs::read(left.place.dir().join("hostler.db")).unwrap();
    let refused = left.place.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("newer hostler"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "one sentence: {said}");
    assert_eq!(fs::read(left.place.dir().join("hostler.db")).unwrap(), before);
}
