//! kill -9 of the backend at every crash point of `vm_create` and `encode`, and a clean end
//! afterwards: one guest, one output, nothing begun left over. A download that was killed goes on
//! where it was.
//!
//! Needs the feature `failpoints`; `make test` has it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]
#![cfg(feature = "failpoints")]

#[path = "support/hostler.rs"]
mod hostler;
#[path = "support/media.rs"]
mod media;
#[path = "support/publisher.rs"]
mod publisher;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use ::hostler::backend::operations;
use ::hostler::backend::settings::Settings;
use hostler::{Box7, alone};
use publisher::Publisher;

/// Every crash point of a kind, from the catalogue.
fn crash_points(kind: &str) -> Vec<String> {
    let kinds = operations::all(&Settings::new("/nowhere".into()));
    let entry = kinds.iter().find(|entry| entry.spec.kind == kind).expect("a kind");
    assert!(!entry.spec.steps.is_empty(), "{kind} has no steps");
    entry
        .spec
        .steps
        .iter()
        .flat_map(|step| ["before", "between", "after"].map(|at| format!("{kind}/{step}/{at}")))
        .collect()
}

/// Asks for an operation, lets the backend die at a crash point and starts it again; gives the
/// operation's number.
fn crash(place: &mut Box7, point: &str, kind: &str, fields: &[&str]) -> String {
    place.kill();
    place.serve(&[("HOSTLER_CRASH", point)]);
    let arguments: Vec<&str> = ["run", kind].into_iter().chain(fields.iter().copied()).collect();
    // The backend may die before its answer is through; what counts is what is on disk.
    place.run(&arguments);
    let status = place.wait_for_death();
    assert_eq!(status.signal(), Some(9), "{point} was never reached: {status}");
    place.serve(&[]);
    place.newest(kind).to_string()
}

/// The same, and waits for the operation's good end.
fn crash_and_go_on(place: &mut Box7, point: &str, kind: &str, fields: &[&str]) {
    let uid = crash(place, point, kind, fields);
    place.ok(&["operation", "wait", &uid]);
    let detail = place.json(&["show", &format!("operation/{uid}")]);
    assert_eq!(detail["operation"]["state"], "DONE", "{point}: {detail:#}");
}

/// Waits for the end of an operation that is being cancelled.
fn wait_for_cancel(place: &Box7, uid: &str) {
    place.run(&["operation", "wait", uid]);
    let detail = place.json(&["show", &format!("operation/{uid}")]);
    assert_eq!(detail["operation"]["state"], "CANCEL", "{detail:#}");
}

/// What was begun in a folder and not finished.
fn begun(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .expect("a folder")
        .map(|file| file.expect("a file").path())
        .filter(|file| file.to_string_lossy().contains("partial"))
        .collect()
}

const NOTHING: [PathBuf; 0] = [];

#[test]
fn a_vm_is_created_once_whenever_the_backend_dies() {
    let _alone = alone();
    let mut place = Box7::new();
    place.done("image_build", &["recipe=tiny"]);
    let password = place.secret("correct horse");
    for (number, point) in crash_points("vm_create").iter().enumerate() {
        let name = format!("hostname=web-{number}");
        crash_and_go_on(&mut place, point, "vm_create", &[&name, "os=tiny", &password]);
        let vms = place.list("vms");
        assert_eq!(vms.len(), 1, "{point}: {vms:#?}");
        assert_eq!(vms[0]["state"], "running", "{point}");
        assert_eq!(place.guests().len(), 1, "{point}: one guest and no other");
        assert_eq!(place.partials(), NOTHING, "{point}");
        let vm = format!("vm={}", vms[0]["id"]);
        place.done("vm_stop", &[&vm, "force=yes"]);
        place.done("vm_delete", &[&vm]);
        assert!(place.guests().is_empty(), "{point}");
    }
}

#[test]
fn a_file_is_encoded_once_whenever_the_backend_dies() {
    let _alone = alone();
    let mut place = Box7::new();
    let media = tempfile::tempdir().expect("a directory");
    let source = media::video(media.path(), "source.mkv", 4, "320x240");
    let source = format!("source={}", source.display());
    for (number, point) in crash_points("encode").iter().enumerate() {
        let output = media.path().join(format!("output-{number}.mp4"));
        let to = format!("output={}", output.display());
        crash_and_go_on(&mut place, point, "encode", &[&source, "preset=mp4", &to]);
        let length = media::duration(&output);
        assert!((length - 4.0).abs() < 0.5, "{point}: the output is {length} s long");
        assert!(place.encoders().is_empty(), "{point}: an encoder is left");
        assert_eq!(place.partials(), NOTHING, "{point}");
        assert_eq!(begun(media.path()), NOTHING, "{point}");
    }
}

/// An operation that died with its backend can still be called off, and undoes what it did.
#[test]
fn what_died_can_be_called_off() {
    let _alone = alone();
    let mut place = Box7::new();
    let media = tempfile::tempdir().expect("a directory");
    let source = media::video(media.path(), "long.mkv", 60, "640x360");
    let output = media.path().join("long.webm");
    let fields = [
        format!("source={}", source.display()),
        "preset=webm".to_owned(),
        format!("output={}", output.display()),
    ];
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    place.serve(&[]);
    place.ok(&[&["run", "encode"][..], &fields].concat());
    let uid = place.newest("encode").to_string();
    place.wait("ffmpeg runs", || place.encoders().len() == 1);
    place.kill();
    assert_eq!(place.encoders().len(), 1, "ffmpeg outlives its backend");
    place.serve(&[]);
    place.ok(&["operation", "cancel", &uid]);
    wait_for_cancel(&place, &uid);
    place.wait("ffmpeg ends", || place.encoders().is_empty());
    assert!(!output.exists());
    assert_eq!(begun(media.path()), NOTHING);
    assert_eq!(place.list("encodings")[0]["state"], "cancelled");
}

/// A download that was broken off by kill -9 goes on where it was, and is verified as a whole.
#[test]
fn a_killed_download_goes_on_where_it_was() {
    let _alone = alone();
    let mut place = Box7::new();
    let media = tempfile::tempdir().expect("a directory");
    let image = media.path().join("disk.qcow2");
    let made = std::process::Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-o", "preallocation=full"])
        .arg(&image)
        .arg("8M")
        .status()
        .expect("qemu-img runs");
    assert!(made.success());
    let bytes = std::fs::read(&image).expect("the image");
    let publisher = Publisher::holding_back(bytes.clone(), bytes.len() / 2);
    place.serve(&[]);
    let url = format!("url={}", publisher.url("disk.qcow2"));
    let sum = format!("sha256={}", publisher::sha256(&bytes));
    place.ok(&["run", "image_fetch", &url, &sum, "name=disk"]);
    let uid = place.newest("image_fetch").to_string();
    // All that the publisher gave is on disk; more it does not give.
    let half = bytes.len() as u64 / 2;
    place.wait("the first half is there", || {
        let partials = place.partials();
        partials.iter().any(|file| file.metadata().is_ok_and(|file| file.len() >= half))
    });
    place.kill();
    publisher.give_all();
    place.serve(&[]);
    place.ok(&["operation", "wait", &uid]);
    assert_eq!(publisher.asked_from(), [0, half], "where each request began");
    let fetched = place.list("images");
    assert_eq!(fetched[0]["state"], "ready");
    assert_eq!(place.partials(), NOTHING);
}
