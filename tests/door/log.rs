//! The log: it tells the life of a box, has its bounds, and hurts nobody.

use std::io::Write;
use std::process::Stdio;

use rustix::process::Signal;

use super::hostler::{Sandbox, signal};
use super::small_filesystem::SmallFilesystem;
use super::{begin, end};

#[test]
fn a_log_that_cannot_be_written_ends_nobody() {
    let place = Sandbox::new();
    let dir = place.dir().to_owned();
    let Ok(_small) = SmallFilesystem::mount(&dir, 16) else {
        println!("left out: no small filesystem can be mounted here");
        return;
    };
    let said = std::fs::File::create(dir.join("said.txt")).expect("a file");
    std::fs::remove_file(dir.join("said.txt")).expect("no name, so that the directory is empty");
    let mut command = place.command();
    command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    let mut owner = command.spawn().expect("hostler serve");
    place.wait("it serves", || place.is_served());
    place.done("disk_create", &["name=first", "size_mb=1", "fstype=none"]);
    let filler = dir.join("filler");
    let mut file = std::fs::File::create(&filler).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() || file.write_all(&[0]).is_ok() {}
    drop(file);
    // Until even a request cannot be kept; each tells the log something.
    for number in 0.. {
        let name = format!("name=disk-{number}");
        let asked = begin(&place, &["run", "disk_create", &name, "size_mb=1", "fstype=none"]);
        if !end(asked).status.success() {
            break;
        }
        assert!(number < 2000, "the disk never gets full");
    }
    let mut log = std::fs::File::options().append(true).open(dir.join("hostler.log")).expect("it");
    while log.write_all(b".").is_ok() {}
    for _ in 0..3 {
        end(begin(&place, &["run", "disk_create", "name=no", "size_mb=1", "fstype=none"]));
        assert!(end(begin(&place, &["list", "operations"])).status.success());
    }
    std::fs::remove_file(&filler).expect("room");
    let last = ["run", "disk_create", "name=last", "size_mb=1", "fstype=none", "--wait"];
    let done = end(begin(&place, &last));
    assert!(done.status.success(), "{done:?}");
    assert!(owner.try_wait().expect("its state").is_none(), "it lives");
    // Whether a line came while there was no room is chance; that lost ones are counted, another
    // test says.
    place.wait("the log goes on", || place.log().contains("'last' ends as DONE"));
    owner.kill().expect("killed");
    owner.wait().expect("gone");
}

#[test]
fn the_log_tells_the_life_of_a_box() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.done("disk_create", &["name=data", "size_mb=1", "fstype=none"]);
    let letter = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(letter.path(), "Dear reader").expect("written");
    let source = format!("source={}", letter.path().display());
    let failed = end(begin(&place, &["run", "image_import", &source, "name=x", "--wait"]));
    assert_eq!(failed.status.code(), Some(1));
    place.ok(&["operation", "cancel", "2"]);
    signal(place.pid(), Signal::TERM);
    assert!(place.wait_for_death().success());
    let log = place.log();
    let mut lines = log.lines();
    for words in [
        &["owns", "hostler"][..],
        &["#1 disk_create", "data", "starts", "cli:"],
        &["#1 disk_create", "DONE"],
        &["#2 image_import", "starts"],
        &["#2 image_import", "ERROR", "no disk image"],
        &["#2 image_import", "CANCEL"],
        &["lets go"],
    ] {
        let told = lines.any(|line| words.iter().all(|word| line.contains(word)));
        assert!(told, "{words:?} in order in\n{log}");
    }
    let stamped = |line: &str| line.starts_with("20") && line.contains('Z');
    assert!(log.lines().all(stamped), "{log}");
}

/// Two files of 8 MiB at most, whoever writes.
#[test]
fn the_log_has_its_bounds() {
    let mut place = Sandbox::new();
    let log = place.dir().join("hostler.log");
    std::fs::write(place.dir().join("hostler.lock"), "").expect("ours");
    std::fs::write(&log, vec![b'x'; 9 << 20]).expect("a long log");
    place.serve(&[]);
    place.done("disk_create", &["name=data", "size_mb=1", "fstype=none"]);
    let old = place.dir().join("hostler.log.1");
    place.wait("the long one is put aside", || old.exists());
    assert!(log.metadata().expect("a new one").len() < 1 << 20);
    // One that somebody takes away is begun anew.
    std::fs::remove_file(&log).expect("removed");
    place.done("disk_create", &["name=more", "size_mb=1", "fstype=none"]);
    place.wait("a new one", || place.log().contains("disk_create"));
}
