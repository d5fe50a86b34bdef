//! The owner's own files: what only has their names is refused and left as it is, and the doctor
//! tells of it.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::hostler::Sandbox;
use super::small_filesystem::SmallFilesystem;
use super::{begin, complaint, end, make_fifo, on};

/// What puts something else in the place of a file of ours.
type Intruder = fn(&Path, &Path);

fn text(at: &Path, _: &Path) {
    std::fs::write(at, "dear all").expect("a file");
}

fn hard_link(at: &Path, letter: &Path) {
    std::fs::hard_link(letter, at).expect("a link");
}

fn link(at: &Path, letter: &Path) {
    symlink(letter, at).expect("a link");
}

fn folder(at: &Path, _: &Path) {
    std::fs::create_dir(at).expect("a directory");
}

fn socket(at: &Path, _: &Path) {
    drop(UnixListener::bind(at).expect("a socket"));
}

fn fifo(at: &Path, _: &Path) {
    make_fifo(at);
}

/// A state directory that is ours, with something else in the place of one of its files.
fn with(name: &str, put: Intruder) -> (Sandbox, tempfile::TempDir) {
    let place = Sandbox::new();
    let letters = tempfile::tempdir_in("/tmp").expect("a directory");
    let letter = letters.path().join("letter");
    std::fs::write(&letter, "dear all").expect("a letter");
    if name != "hostler.lock" {
        std::fs::write(place.dir().join("hostler.lock"), "").expect("ours");
    }
    put(&place.dir().join(name), &letter);
    (place, letters)
}

fn remount(dir: &Path, how: &str) {
    let how = format!("remount,{how}");
    let done = std::process::Command::new("mount").args(["-o", &how]).arg(dir).status();
    assert!(done.expect("mount runs").success());
}

fn doctor(place: &Sandbox, arguments: &[&str]) -> String {
    let output = place.run(arguments);
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn only_what_is_recognisably_ours_is_written_to_or_removed() {
    let cases: [(&str, Intruder); 24] = [
        ("hostler.lock", text),
        ("hostler.lock", hard_link),
        ("hostler.reserve", text),
        ("hostler.reserve", hard_link),
        ("hostler.reserve", link),
        ("hostler.reserve", folder),
        ("hostler.reserve", socket),
        ("hostler.reserve", fifo),
        ("hostler.sock", text),
        ("hostler.db-wal", folder),
        ("hostler.db-shm", link),
        ("hostler.db-wal", text),
        ("hostler.db-journal", text),
        ("hostler.db-journal", hard_link),
        ("hostler.db-journal", link),
        ("hostler.db-journal", folder),
        ("hostler.db-journal", fifo),
        ("hostler.config", text),
        ("hostler.config", hard_link),
        ("hostler.config", fifo),
        ("hostler.clock", text),
        ("hostler.clock", hard_link),
        ("hostler.clock", link),
        ("hostler.clock", fifo),
    ];
    for (number, (name, put)) in cases.into_iter().enumerate() {
        let (place, letters) = with(name, put);
        let path = place.dir().join(name);
        let kind = path.symlink_metadata().expect("it").file_type();
        let said = complaint(&end(begin(&place, &["serve"])), 1);
        let is_told = said.contains(name) && said.contains("move it away");
        assert!(is_told && !said.contains("disk"), "{number} {name}: {said}");
        assert_eq!(path.symlink_metadata().expect("it is there").file_type(), kind, "{number}");
        if kind.is_file() {
            assert_eq!(std::fs::read_to_string(&path).expect("text"), "dear all", "{number}");
        }
        let letter = std::fs::read_to_string(letters.path().join("letter")).expect("a letter");
        assert_eq!(letter, "dear all", "{number}");
        let told = doctor(&place, &["doctor"]);
        let path = path.to_str().expect("text");
        let tells = |line: &str| line.starts_with('✖') && line.contains(path);
        assert!(told.lines().any(tells), "{number} {name}: {told}");
    }
}

#[test]
fn of_a_file_that_is_named_as_the_configuration_nothing_is_repeated() {
    let (place, letters) = with("hostler.config", text);
    let secret = letters.path().join("secret.toml");
    std::fs::write(&secret, "hunter2 = \"swordfish\"\n").expect("a secret");
    let record = serde_json::json!({ "files": [secret], "named": true });
    std::fs::write(place.dir().join("hostler.config"), record.to_string()).expect("a record");
    let create = ["run", "disk_create", "name=a", "size_mb=1", "fstype=none"];
    let said = complaint(&end(begin(&place, &create)), 2);
    let told = doctor(&place, &["doctor"]);
    for said in [said, told, place.log()] {
        assert!(!said.contains("hunter2") && !said.contains("swordfish"), "{said}");
    }
}

#[test]
fn on_a_filesystem_that_is_read_only_it_is_said_that_it_is() {
    let (place, dir) = (Sandbox::new(), tempfile::tempdir_in("/tmp").expect("a directory"));
    let dir = dir.path();
    let _filesystem = match SmallFilesystem::mount(dir, 8) {
        Ok(filesystem) => filesystem,
        Err(why) => return println!("left out: {why}"),
    };
    for ours in [false, true] {
        if ours {
            remount(dir, "rw");
            std::fs::write(dir.join("hostler.lock"), "").expect("ours");
        }
        remount(dir, "ro");
        let said = complaint(&on(&place, dir, &["serve"]), 1);
        assert!(said.contains("mounted read-only: mount it for writing"), "{ours}: {said}");
    }
}

#[test]
fn the_doctor_tells_what_is_no_file_of_ours() {
    let cases: [(&str, Intruder); 7] = [
        ("hostler.log", fifo),
        ("hostler.log", link),
        ("hostler.log", folder),
        ("hostler.db-wal", link),
        ("hostler.db-shm", folder),
        ("hostler.reserve", folder),
        ("hostler.clock", folder),
    ];
    for (name, put) in cases {
        let (place, _letters) = with(name, put);
        let path = place.dir().join(name);
        let told = doctor(&place, &["doctor"]);
        assert!(told.contains(&format!("✖ {}", path.display())), "{name}: {told}");
    }
    let (place, _letters) = with("hostler.clock", folder);
    let told = doctor(&place, &["doctor", "--deep"]);
    assert!(told.contains("hostler.clock: it is no regular file"), "{told}");
}

#[test]
fn a_start_that_failed_leaves_no_socket_and_one_that_was_killed_a_known_one() {
    let (place, _letters) = with("hostler.sock", folder);
    complaint(&end(begin(&place, &["serve"])), 1);
    assert!(!place.dir().join(".hostler.sock").exists());
    std::fs::remove_dir(place.dir().join("hostler.sock")).expect("removed");
    place.done("disk_create", &["name=a", "size_mb=1", "fstype=none"]);
    place.wait("nobody owns it", || place.hostlers().is_empty());
    socket(&place.dir().join(".hostler.sock"), Path::new(""));
    place.ok(&["doctor", "--deep"]);
    place.done("disk_create", &["name=b", "size_mb=1", "fstype=none"]);
    assert!(!place.dir().join(".hostler.sock").exists(), "the next start takes its place");
}

#[test]
fn the_doctor_sees_a_damaged_database() {
    let place = Sandbox::new();
    place.done("disk_create", &["name=a", "size_mb=1", "fstype=none"]);
    place.wait("nobody owns it", || place.hostlers().is_empty());
    let told = |place: &Sandbox| String::from_utf8(place.run(&["doctor"]).stdout).expect("text");
    assert!(told(&place).contains("✔ store"), "{}", told(&place));
    let file = place.dir().join("hostler.db");
    let root: u64 = rusqlite::Connection::open(&file)
        .and_then(|it| {
            let query = "SELECT rootpage FROM sqlite_schema WHERE name = 'step'";
            it.query_row(query, [], |row| row.get(0))
        })
        .expect("a page");
    let mut bytes = std::fs::read(&file).expect("the database");
    let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let at = page * (usize::try_from(root).expect("small") - 1);
    bytes[at..at + 64].fill(0xff);
    std::fs::write(&file, bytes).expect("damaged");
    // Nothing that is read at a start lies there.
    let told = doctor(&place, &["doctor"]);
    assert!(told.contains("✖ store") && told.contains("hostler recover"), "{told}");
}
