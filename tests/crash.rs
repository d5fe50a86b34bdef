//! kill -9 of the backend at every crash point of `vm_create` and `encode`, and a clean end
//! afterwards: one guest, one output, nothing begun left over.
//!
//! Needs the feature `failpoints`; `make test` has it.
#![cfg(feature = "failpoints")]

#[path = "support/hostler.rs"]
mod hostler;
#[path = "support/media.rs"]
mod media;

use std::os::unix::process::ExitStatusExt;

use ::hostler::backend::operations;
use ::hostler::backend::settings::Settings;
use hostler::Box7;

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

/// Asks for an operation, lets the backend die at a crash point, starts it again and waits for the
/// operation's end.
fn crash_and_go_on(place: &mut Box7, point: &str, kind: &str, fields: &[&str]) {
    place.serve(&[("HOSTLER_CRASH", point)]);
    let arguments: Vec<&str> = ["run", kind].into_iter().chain(fields.iter().copied()).collect();
    // The backend may die before its answer is through; what counts is what is on disk.
    place.run(&arguments);
    let status = place.wait_for_death();
    assert_eq!(status.signal(), Some(9), "{point} was never reached");
    place.serve(&[]);
    let operations = place.list("operations");
    let newest = &operations[0];
    assert_eq!(newest["kind"], kind, "{point}: the operation was lost");
    let uid = newest["uid"].to_string();
    place.ok(&["operation", "wait", &uid]);
    let detail = place.json(&["show", &format!("operation/{uid}")]);
    assert_eq!(detail["operation"]["state"], "DONE", "{point}: {detail:#}");
}

#[test]
fn a_vm_is_created_once_whenever_the_backend_dies() {
    let mut place = Box7::new();
    place.done("image_build", &["recipe=tiny"]);
    let password = place.dir().join("password");
    std::fs::write(&password, "correct horse\n").expect("a password");
    let password = format!("password=@{}", password.display());
    for (number, point) in crash_points("vm_create").iter().enumerate() {
        let name = format!("web-{number}");
        let fields = [format!("hostname={name}"), "os=tiny".to_owned(), password.clone()];
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        crash_and_go_on(&mut place, point, "vm_create", &fields);
        let vms = place.list("vms");
        let vm = vms.iter().find(|vm| vm["name"] == *name).expect("the VM");
        assert_eq!(vm["state"], "running", "{point}");
        assert_eq!(place.guests().len(), 1, "{point}: one guest and no other");
        assert_eq!(place.partials(), Vec::<std::path::PathBuf>::new(), "{point}");
        let vm = format!("vm={}", vm["id"]);
        place.done("vm_stop", &[&vm, "force=yes"]);
        place.done("vm_delete", &[&vm]);
        assert_eq!(place.guests(), Vec::<u32>::new(), "{point}");
        place.kill();
    }
}

#[test]
fn a_file_is_encoded_once_whenever_the_backend_dies() {
    let mut place = Box7::new();
    let media = tempfile::tempdir().expect("a directory");
    let source = media::video(media.path(), "source.mkv", 4, "320x240");
    for (number, point) in crash_points("encode").iter().enumerate() {
        let output = media.path().join(format!("output-{number}.mp4"));
        let fields = [
            format!("source={}", source.display()),
            "preset=mp4".to_owned(),
            format!("output={}", output.display()),
        ];
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        crash_and_go_on(&mut place, point, "encode", &fields);
        let length = media::duration(&output);
        assert!((length - 4.0).abs() < 0.5, "{point}: the output is {length} s long");
        assert_eq!(place.encoders(), Vec::<u32>::new(), "{point}: no encoder is left");
        assert_eq!(place.partials(), Vec::<std::path::PathBuf>::new(), "{point}");
        let left: Vec<_> = std::fs::read_dir(media.path())
            .expect("a folder")
            .flatten()
            .filter(|file| file.file_name().to_string_lossy().contains("partial"))
            .collect();
        assert!(left.is_empty(), "{point}: {left:?}");
        place.kill();
    }
}
