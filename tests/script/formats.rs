//! Several outputs of one source: `run encode formats.0.preset=…`, with the real ffmpeg.

use std::path::Path;

use serde_json::Value;

use super::hostler::{Sandbox, signal};
use super::{end, media, one_line_error};

/// What lies in a folder, sorted.
fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The children of an operation, as they were asked for.
fn children(place: &Sandbox, uid: u64) -> Vec<Value> {
    let detail = place.json(&["show", &format!("operation/{uid}")]);
    detail["children"].as_array().unwrap().clone()
}

#[test]
fn two_files_are_made_of_one_source() {
    let (place, media) = (Sandbox::new(), tempfile::tempdir().unwrap());
    let source = media::video(media.path(), "talk.mkv", 2, "320x240");
    let small = media.path().join("small.mp4");
    let arguments = [
        "run".to_owned(),
        "encode".to_owned(),
        format!("source={}", source.display()),
        "formats.0.preset=mp4".to_owned(),
        format!("formats.0.output={}", small.display()),
        "formats.1.preset=webm".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let told = place.ok(&[&arguments[..], &["--dry-run"]].concat());
    assert!(told.contains("small.mp4.\n") && told.contains("talk.webm.\n"), "{told}");
    assert_eq!(files(media.path()), ["talk.mkv"]);

    let said = place.ok(&[&arguments[..], &["--wait"]].concat());
    assert!(said.contains("made 2 of 2 files from"), "{said}");
    for output in [&small, &media.path().join("talk.webm")] {
        let length = media::duration(output);
        assert!((length - 2.0).abs() < 0.5, "{} is {length} s long", output.display());
    }
    assert_eq!(files(media.path()), ["small.mp4", "talk.mkv", "talk.webm"]);
    let children = children(&place, 1);
    assert!(children.iter().all(|it| it["kind"] == "encode" && it["state"] == "DONE"));
    assert_eq!(place.list("encodings").len(), 2, "a row for each file");
    place.ok(&["doctor", "--deep"]);
}

#[test]
fn one_that_cannot_be_made_is_named_and_the_other_is_made() {
    let (place, media) = (Sandbox::new(), tempfile::tempdir().unwrap());
    let source = media::silent(&media::video(media.path(), "loud.mkv", 1, "160x120"), "still.mkv");
    let source = format!("source={}", source.display());
    let run = ["run", "encode", &source, "formats.0.preset=mp3", "formats.1.preset=mp4", "--wait"];
    let why = end(&place.run(&run), 1);
    assert!(why.contains("1 done, 1 failed: #2 encoding/1 'still.mkv→mp3'"), "{why}");
    assert!(why.contains("has no sound"), "{why}");
    assert_eq!(files(media.path()), ["loud.mkv", "still.mkv", "still.mp4"]);
    let states: Vec<_> =
        children(&place, 1).iter().map(|it| it["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["ERROR", "DONE"]);
    // What was done is not done again, and what still fails is told again.
    place.ok(&["operation", "relaunch", "1"]);
    let why = end(&place.run(&["operation", "wait", "1"]), 1);
    assert!(why.contains("1 done, 1 failed"), "{why}");
    let attempts: Vec<_> =
        children(&place, 1).iter().map(|it| it["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 0]);
    place.ok(&["operation", "cancel", "1"]);
    assert_eq!(place.operation(2)["state"], "CANCEL", "its failed child goes with it");
    assert_eq!(files(media.path()), ["loud.mkv", "still.mkv", "still.mp4"]);
    place.ok(&["doctor", "--deep"]);
}

#[test]
fn two_of_one_name_are_refused() {
    let (place, media) = (Sandbox::new(), tempfile::tempdir().unwrap());
    let source = media::video(media.path(), "talk.mkv", 1, "64x48");
    let source = format!("source={}", source.display());
    let run = ["run", "encode", &source, "formats.0.preset=mp4", "formats.1.preset=mp4"];
    let said = one_line_error(&place.run(&run), 2);
    assert!(said.contains("formats.1.output") && said.contains("what formats.0 makes"), "{said}");
    assert!(place.list("operations").is_empty());
}

#[test]
fn cancelling_it_leaves_nothing() {
    let (mut place, media) = (Sandbox::new(), tempfile::tempdir().unwrap());
    place.serve(&[]);
    place.ok(&["lane", "width", "encode", "2"]);
    let source = media::video(media.path(), "long.mkv", 60, "640x360");
    let other = format!("formats.1.output={}", media.path().join("other.webm").display());
    let source = format!("source={}", source.display());
    place.ok(&["run", "encode", &source, "preset=webm", "formats.0.preset=webm", &other]);
    place.wait("both are encoded", || place.encoders().len() == 2);
    place.ok(&["operation", "cancel", "1"]);
    place.run(&["operation", "wait", "1"]);
    assert_eq!(place.operation(1)["state"], "CANCEL");
    assert!(children(&place, 1).iter().all(|it| it["state"] == "CANCEL"));
    place.wait("ffmpeg ends", || place.encoders().is_empty());
    assert_eq!(files(media.path()), ["long.mkv"]);
    place.ok(&["doctor", "--deep"]);
}

/// An older database does not know what was begun since, and that is no reason to pull the folder
/// away from under it.
#[test]
fn the_doctor_tells_what_is_at_work_that_the_database_does_not_know() {
    let (mut place, media) = (Sandbox::new(), tempfile::tempdir().unwrap());
    place.done("disk_create", &["name=data", "size_mb=1", "fstype=none"]);
    place.wait("nobody owns it", || place.hostlers().is_empty());
    let (database, older) = (place.dir().join("hostler.db"), media.path().join("older.db"));
    std::fs::copy(&database, &older).unwrap();
    let source = media::video(media.path(), "long.mkv", 60, "640x360");
    place.serve(&[]);
    let from = format!("source={}", source.display());
    place.ok(&["run", "encode", &from, "preset=webm"]);
    place.wait("ffmpeg runs", || !place.encoders().is_empty());
    let encoder = place.encoders()[0];
    place.kill();
    for log in ["hostler.db-wal", "hostler.db-shm"] {
        let _absent = std::fs::remove_file(place.dir().join(log));
    }
    std::fs::copy(&older, &database).unwrap();
    let said = place.run(&["doctor", "--deep"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("at work here") && said.contains(&encoder.to_string()), "{said}");
    assert!(!said.contains("left this behind"), "{said}");
    signal(encoder, rustix::process::Signal::KILL);
    place.wait("ffmpeg ends", || place.encoders().is_empty());
    let ended = || {
        let said = place.run(&["doctor", "--deep"]);
        String::from_utf8_lossy(&said.stdout).contains("encodings/1: an encoding left this behind")
    };
    place.wait("its supervisor ends", ended);
}

/// What is called off in a copy of a state directory goes on in the original, and the folder that
/// is written into is the same.
#[test]
fn the_doctor_of_a_copy_tells_what_the_original_is_at_work_on() {
    let (mut place, media) = (Sandbox::new(), tempfile::tempdir().unwrap());
    let source = media::video(media.path(), "long.mkv", 60, "640x360");
    place.serve(&[]);
    place.ok(&["run", "encode", &format!("source={}", source.display()), "preset=webm"]);
    place.wait("ffmpeg runs", || !place.encoders().is_empty());
    let encoder = place.encoders()[0];
    let copy = Sandbox::new();
    let from = place.dir().join(".");
    // Of one moment: what is being written cannot be copied.
    place.kill();
    let copied = std::process::Command::new("cp").arg("-a").args([&*from, copy.dir()]).status();
    assert!(copied.unwrap().success());
    place.serve(&[]);
    copy.ok(&["operation", "cancel", "1"]);
    copy.run(&["operation", "wait", "1"]);
    assert_eq!(copy.operation(1)["state"], "CANCEL");
    let said = String::from_utf8_lossy(&copy.run(&["doctor", "--deep"]).stdout).into_owned();
    assert_eq!(place.encoders(), [encoder]);
    assert!(said.contains("at work here") && said.contains(&encoder.to_string()), "{said}");
    assert!(!said.contains("left this behind"), "{said}");
    place.ok(&["operation", "cancel", "1"]);
    place.wait("ffmpeg ends", || place.encoders().is_empty());
}
