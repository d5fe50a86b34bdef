//! kill -9 of the backend at crash points of every kind, and an end afterwards that is the same as
//! without the crash. A download that was killed goes on where it was.
//!
//! The points come from the catalogue: a new kind is in it without a line. `make test` takes the
//! worst point of every step, between its effect and its record; `make chaos` takes all of them
//! (`HOSTLER_EVERY_CRASH_POINT=1`).
//!
//! Needs the feature `failpoints`; `make test` has it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]
#![cfg(feature = "failpoints")]

#[path = "crash/account.rs"]
mod account;
#[path = "support/hostler.rs"]
mod hostler;
#[path = "support/kinds.rs"]
mod kinds;
#[path = "support/media.rs"]
mod media;
#[path = "support/publisher.rs"]
mod publisher;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ::hostler::domain::OperationSpec;
use account::Account;
use hostler::{Sandbox, alone};
use kinds::{GivenValue, SampleRequest, Things};
use publisher::Publisher;

/// Where a kind can be killed within its steps.
const EVERY_POINT: [&str; 3] = ["before", "between", "after"];

/// The crash points of these steps of a kind.
fn points<'a>(kind: &str, steps: impl IntoIterator<Item = &'a str>, at: &[&str]) -> Vec<String> {
    let of_step = |step| at.iter().map(move |at| format!("{kind}/{step}/{at}"));
    steps.into_iter().flat_map(of_step).collect()
}

/// Asks for an operation, lets the backend die at a crash point and starts it again; gives the
/// operation's number.
fn crash(place: &mut Sandbox, point: &str, kind: &str, fields: &[&str]) -> String {
    place.kill();
    place.serve(&[("HOSTLER_CRASH", point)]);
    dies(place, &[&["run", kind], fields].concat());
    place.newest(kind).to_string()
}

/// Asks for what the backend dies of, and starts it again.
fn dies(place: &mut Sandbox, arguments: &[&str]) {
    // It may die before its answer is through; what counts is what is on disk.
    place.run(arguments);
    let status = place.wait_for_death();
    assert_eq!(status.signal(), Some(9), "the crash point was never reached: {status}");
    place.serve(&[]);
}

/// The same, and waits for the operation's good end.
fn crash_and_go_on(place: &mut Sandbox, point: &str, kind: &str, fields: &[&str]) {
    let uid = crash(place, point, kind, fields);
    place.ok(&["operation", "wait", &uid]);
    let detail = place.json(&["show", &format!("operation/{uid}")]);
    assert_eq!(detail["operation"]["state"], "DONE", "{point}: {detail:#}");
}

/// Waits for the end of an operation that is being cancelled.
fn wait_for_cancel(place: &Sandbox, uid: &str) {
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

/// A new kind must be reachable on an empty box, or somebody must say how.
#[test]
fn every_kind_can_be_set_up() {
    let catalogue = kinds::catalogue();
    let complaints: Vec<String> =
        catalogue.iter().filter_map(|spec| kinds::plan(&catalogue, &spec.kind).err()).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn what_cannot_be_set_up_is_told_in_a_sentence() {
    let mut catalogue = kinds::catalogue();
    let mut fresh = catalogue.iter().find(|spec| spec.kind == "image_import").unwrap().clone();
    fresh.kind = "image_sign".into();
    catalogue.push(fresh);
    let told = kinds::plan(&catalogue, "image_sign").unwrap_err();
    assert!(told.starts_with("image_sign cannot be set up") && told.contains("source"), "{told}");
    let mut fresh = catalogue.iter().find(|spec| spec.kind == "disk_purge").unwrap().clone();
    fresh.kind = "disk_shred".into();
    fresh.requires = vec!["unheard_of".into()];
    catalogue.push(fresh);
    let told = kinds::plan(&catalogue, "disk_shred").unwrap_err();
    assert!(told.contains("disk_shred") && told.contains("unheard_of"), "{told}");
}

/// Every kind, killed at its crash points: what comes of it is what comes of it without a crash.
#[test]
fn every_kind_ends_as_without_the_crash_whenever_the_backend_dies() {
    let _alone = alone();
    let all = std::env::var_os("HOSTLER_EVERY_CRASH_POINT").is_some();
    let at: &[&str] = if all { &EVERY_POINT } else { &["between"] };
    let only = std::env::var("HOSTLER_KIND").ok();
    let catalogue = kinds::catalogue();
    let wanted = |spec: &&OperationSpec| only.as_ref().is_none_or(|only| *only == spec.kind);
    // Guests take their time while a processor is free, so two kinds go on at once.
    let left: Mutex<Vec<&OperationSpec>> = Mutex::new(catalogue.iter().filter(wanted).collect());
    let broken: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(spec) = left.lock().unwrap().pop() else { return };
                    let found = try_kind(&catalogue, spec, at);
                    broken.lock().unwrap().extend(found);
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{} points:\n{}", broken.len(), broken.join("\n"));
}

/// Tries a kind in each of its ways, which together take every step it names. Returns what was not
/// as it must be.
fn try_kind(catalogue: &[OperationSpec], spec: &OperationSpec, at: &[&str]) -> Vec<String> {
    let (mut broken, mut taken) = (Vec::new(), BTreeSet::new());
    for plan in kinds::plans(catalogue, &spec.kind).expect("a plan") {
        broken.extend(try_plan(&plan, &spec.kind, at, &mut taken));
    }
    let missed = spec.steps.iter().filter(|step| !taken.contains(&***step));
    broken.extend(missed.map(|step| {
        format!(
            "{}/{step} is never taken: say in `other_ways` of tests/support/kinds.rs what is given \
             so that it is, or leave the step out of its `spec`",
            spec.kind
        )
    }));
    broken
}

/// Takes a plan once as it is and once for each crash point of the steps that it takes, which are
/// added to `taken`. Returns what was not the same.
fn try_plan(
    plan: &[SampleRequest],
    kind: &str,
    at: &[&str],
    taken: &mut BTreeSet<String>,
) -> Vec<String> {
    let things = Things::new();
    let run = |point: Option<&str>| {
        catch_unwind(AssertUnwindSafe(|| go(plan, &things, point))).map_err(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            words.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()))
        })
    };
    let whole = match run(None) {
        Ok(whole) => whole,
        Err(why) => {
            let why = why.unwrap_or_default();
            return vec![format!(
                "{kind}: not even without a crash, asked for as tests/support/kinds.rs says; what \
                 a field is to hold stands in its `given`: {why}"
            )];
        }
    };
    let steps = whole.steps(kind);
    let points = points(kind, steps.iter().map(String::as_str), at);
    taken.extend(steps);
    let compared = points.iter().map(|point| match run(Some(point)) {
        Ok(found) => whole.difference(&found).map(|what| format!("{point}: {what}")),
        Err(why) => Some(format!("{point}: {}", why.unwrap_or_default())),
    });
    compared.flatten().collect()
}

/// Takes a plan on an empty box, killed and started again at a crash point of its last request.
fn go(plan: &[SampleRequest], things: &Things, point: Option<&str>) -> Account {
    let mut place = Sandbox::new();
    let outside = account::files(things.dir());
    place.serve(&[("HOSTLER_CRASH", point.unwrap_or_default())]);
    let mut made: Vec<String> = Vec::new();
    let (last, before) = plan.split_last().expect("a plan has requests");
    let written = |request: &SampleRequest, made: &[String], place: &Sandbox| {
        let field = |(name, given): &(String, GivenValue)| {
            let (mut name, mut given) = (name.clone(), given);
            while let GivenValue::List(item) = given {
                (name, given) = (format!("{name}.0"), item);
            }
            match given {
                GivenValue::Value(value) if name == "password" => {
                    place.secret(value.as_str().expect("a secret"))
                }
                GivenValue::Value(value) => format!("{name}={}", plain(value)),
                GivenValue::Made(place) => format!("{name}={}", made[*place]),
                GivenValue::Thing(thing) => format!("{name}={}", plain(&things.value(*thing))),
                GivenValue::List(_) => unreachable!("a list is gone into"),
            }
        };
        request.fields.iter().map(field).collect::<Vec<_>>()
    };
    for request in before {
        let fields = written(request, &made, &place);
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        place.done(&request.kind, &fields);
        let operation = place.operation(place.newest(&request.kind));
        made.push(operation["resource"].as_str().expect("a resource").to_owned());
    }
    let fields = written(last, &made, &place);
    let run = ["run", &last.kind].into_iter().chain(fields.iter().map(String::as_str));
    let run: Vec<&str> = run.collect();
    match point {
        None => drop(place.ok(&run)),
        Some(point) => {
            dies(&mut place, &run);
            assert_eq!(place.newest(&last.kind), plan.len() as u64, "{point}: asked for once");
        }
    }
    let account = Account::of(&place, things.dir());
    for file in account::files(things.dir()).difference(&outside) {
        std::fs::remove_file(things.dir().join(file)).expect("an output is removed");
    }
    account
}

/// A value as it is written on the command line.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn a_vm_is_created_once_whenever_the_backend_dies() {
    let _alone = alone();
    let mut place = Sandbox::new();
    place.done("image_build", &["recipe=tiny"]);
    // With a disk, so that every step is taken.
    place.done("disk_create", &["name=data", "size_mb=5"]);
    let password = place.secret("correct horse");
    let catalogue = kinds::catalogue();
    let spec = catalogue.iter().find(|spec| spec.kind == "vm_create").expect("vm_create");
    let points = points(&spec.kind, spec.steps.iter().map(AsRef::as_ref), &EVERY_POINT);
    for (number, point) in points.iter().enumerate() {
        let name = format!("hostname=web-{number}");
        let fields = [&*name, "os=tiny", "disks=data", &*password];
        crash_and_go_on(&mut place, point, "vm_create", &fields);
        let vms = place.list("vms");
        assert_eq!(vms.len(), 1, "{point}: {vms:#?}");
        assert_eq!(vms[0]["state"], "running", "{point}");
        assert_eq!(place.guests().len(), 1, "{point}: one guest and no other");
        assert_eq!(place.partials(), NOTHING, "{point}");
        let vm = format!("vm={}", vms[0]["id"]);
        place.done("vm_stop", &[&vm, "force=yes"]);
        place.done("vm_delete", &[&vm]);
        assert!(place.guests().is_empty(), "{point}");
        assert_eq!(place.list("disks")[0]["state"], "free", "{point}");
    }
}

#[test]
fn a_file_is_encoded_once_whenever_the_backend_dies() {
    let _alone = alone();
    let mut place = Sandbox::new();
    let media = tempfile::tempdir().expect("a directory");
    let source = media::video(media.path(), "source.mkv", 4, "320x240");
    let source = format!("source={}", source.display());
    let points = points("encode", ["probe", "encode", "finish"], &EVERY_POINT);
    for (number, point) in points.iter().enumerate() {
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
    let mut place = Sandbox::new();
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

/// A removal that has begun is finished by the next backend, whoever calls it off; one that has not
/// is finished or taken back, and says which.
#[test]
fn a_removal_that_was_killed_is_finished_or_taken_back_as_a_whole() {
    let _alone = alone();
    let mut place = Sandbox::new();
    place.serve(&[]);
    let password = place.secret("correct horse");
    for point in ["aside/between", "aside/after", "files/before", "files/between", "files/after"] {
        place.done("image_build", &["recipe=tiny"]);
        place.done("vm_create", &["hostname=web", "os=tiny", &*password]);
        place.done("vm_stop", &["vm=web", "force=yes"]);
        for (kind, field, list, file) in [
            ("vm_delete", "vm=web", "vms", "root.qcow2"),
            ("image_delete", "image=tiny", "images", "kernel"),
        ] {
            let uid = crash(&mut place, &format!("{kind}/{point}"), kind, &[field]);
            let cancelled = place.run(&["operation", "cancel", &uid]).status.success();
            place.run(&["operation", "wait", &uid]);
            let state = place.operation(uid.parse().expect("a number"))["state"].clone();
            let left = place.list(list);
            if state == "CANCEL" {
                assert!(cancelled && point.starts_with("aside"), "{kind}/{point}");
                let dir = place.dir().join(list).join(left[0]["id"].to_string());
                assert!(dir.join(file).exists(), "{kind}/{point}: {left:#?}");
                place.done(kind, &[field]);
            } else {
                assert_eq!(state, "DONE", "{kind}/{point}");
                assert!(left.is_empty(), "{kind}/{point}: {left:#?}");
            }
        }
        assert_eq!(place.partials(), NOTHING, "{point}");
    }
}

/// A download that was broken off by kill -9 goes on where it was, and is verified as a whole.
#[test]
fn a_killed_download_goes_on_where_it_was() {
    let _alone = alone();
    let mut place = Sandbox::new();
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
