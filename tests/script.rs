//! The command line as scripts have it: the real program, its exit statuses, its one-line errors,
//! its JSON, and what it says on bad days.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "script/bad_days.rs"]
mod bad_days;
#[path = "script/brink.rs"]
mod brink;
#[path = "script/bulk.rs"]
mod bulk;
#[path = "script/formats.rs"]
mod formats;
#[path = "support/hostler.rs"]
mod hostler;
#[path = "support/media.rs"]
mod media;
#[path = "support/small_filesystem.rs"]
mod small_filesystem;
#[path = "script/stopping.rs"]
mod stopping;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use ::hostler::backend::operations;
use ::hostler::backend::settings::Settings;
use hostler::Sandbox;
use serde_json::Value;

const SCRIPT_PASSWORD: &str = "correct-horse-battery";

/// What was said on standard error, which must be one line that names the program.
fn one_line_error(output: &Output, status: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    assert!(said.starts_with("hostler: "), "{said}");
    let control = said.trim_end().chars().find(|c| c.is_control());
    assert_eq!(control, None, "{said:?}");
    said
}

/// The last line on standard error of a command that waited and told how it went.
fn end(output: &Output, status: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(status), "{said}");
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("hostler: "), "{said}");
    last
}

#[test]
fn statuses_and_one_line_errors() {
    let mut place = Sandbox::new();
    // Without a backend, the command is its own.
    assert_eq!(place.json(&["list", "vms"])["total"], 0);
    let said = one_line_error(&place.run(&["list", "vms"]), 0);
    assert!(said.contains("nobody has used the state directory /tmp/"), "{said}");
    assert!(one_line_error(&place.run(&["show", "vm/9"]), 1).contains("vm/9"));
    for (arguments, word) in [
        (&["run", "disk_create", "size_mb=8"][..], "name"),
        (&["run", "disk_create", "name=a", "size_mb=many"], "size_mb"),
        (&["run", "disk_create", "name=a", "size_mb=8", "colour=red"], "colour"),
        (&["list", "disks", "--filter", "colour:red"], "colour"),
    ] {
        assert!(one_line_error(&place.run(arguments), 2).contains(word), "{arguments:?}");
    }
    assert_eq!(place.run(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(place.run(&["run", "no_such_kind"]).status.code(), Some(2));

    // What the backend refuses names the field, and keeps what was typed from the terminal.
    place.serve(&[]);
    for (field, name) in [
        ("name=../../etc/passwd", "name"),
        ("name=bell\u{7}bell", "name"),
        ("name=\u{1b}[31mred", "name"),
        ("name=two\nlines", "name"),
    ] {
        let said = one_line_error(&place.run(&["run", "disk_create", field, "size_mb=8"]), 2);
        assert!(said.contains(name), "{said}");
    }
    let said = one_line_error(&place.run(&["run", "disk_create", "name=a", "size_mb=0"]), 2);
    assert!(said.contains("size_mb"), "{said}");
    assert_eq!(place.json(&["list", "operations"])["total"], 0, "nothing of it was queued");

    // Somebody has the state directory and answers nobody.
    place.kill();
    let lock = std::fs::File::options()
        .write(true)
        .open(place.dir().join("hostler.lock"))
        .expect("the lock");
    lock.try_lock().expect("ours");
    one_line_error(&place.run(&["list", "vms"]), 3);
}

/// The first command has the backend, and lets the others that come meanwhile use it.
#[test]
fn commands_share_a_state_directory() {
    let place = Sandbox::new();
    let mut first =
        place.command().arg("watch").stdout(Stdio::null()).spawn().expect("hostler watch");
    place.wait("the first command serves", || place.is_served());
    let others: Vec<_> = (0..4)
        .map(|number| {
            let mut command = place.command();
            command.args(["run", "disk_create", &format!("name=disk-{number}"), "size_mb=1"]);
            command.args(["fstype=none", "--wait"]).stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(Stdio::piped()).spawn().expect("hostler runs")
        })
        .collect();
    for other in others {
        let output = other.wait_with_output().expect("its end");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", output.status);
    }
    // It dies and takes nothing with it.
    first.kill().expect("killed");
    first.wait().expect("gone");
    assert_eq!(place.json(&["list", "disks", "--filter", "state:free"])["total"], 4);
}

#[test]
fn asking_waiting_watching_and_showing() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    let mut watch = place
        .command()
        .args(["watch", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("hostler watch");
    let printed = BufReader::new(watch.stdout.take().expect("its events"));
    let (heard, events) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Ends with the command, or with the test.
        printed.lines().map_while(Result::ok).try_for_each(|line| heard.send(line))
    });
    let event = |wanted: &dyn Fn(&Value) -> bool| loop {
        let line = events.recv_timeout(hostler::GIVE_UP_AFTER).expect("an event");
        let event: Value = serde_json::from_str(&line).expect("one document a line");
        if wanted(&event) {
            break event;
        }
    };
    place.ok(&["lane", "pause", "disk"]);
    place.ok(&["run", "disk_create", "name=data", "size_mb=16"]);
    let of = |state: &'static str| {
        move |event: &Value| {
            event["event"] == "operation"
                && event["value"]["kind"] == "disk_create"
                && event["value"]["state"] == state
        }
    };
    event(&of("PENDING"));
    let waiting = place.operation(1);
    assert!(waiting["wait"].to_string().contains("disk"), "why it waits: {waiting:#}");
    place.ok(&["lane", "resume", "disk"]);
    event(&of("DONE"));
    watch.kill().expect("killed");
    watch.wait().expect("gone");

    // `--wait` on what is no terminal: plain lines, and the end on standard output.
    let output =
        place.run(&["run", "disk_create", "name=more", "size_mb=16", "fstype=ext3", "--wait"]);
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert!(out.trim_end().ends_with("DONE") && out.lines().count() == 1, "{out}");
    assert!(!err.contains('\r') && !err.contains('\u{1b}'), "plain: {err:?}");
    let mut telling = err.lines().skip_while(|line| !line.contains(" RUN "));
    assert!(telling.all(|line| !line.ends_with(" RUN")), "less than was said before: {err}");

    // Lists, filters, and everything about one thing; `--json` is one document with steady names.
    let disks = place.list("disks");
    assert_eq!(disks.len(), 2);
    let found = place.json(&["list", "disks", "--filter", "fstype:ext3"]);
    assert_eq!(found["rows"]["resources"][0]["name"], "more");
    assert!(place.ok(&["list", "disks", "--filter", "name~dat"]).contains("data"));
    let id = disks.iter().find(|disk| disk["name"] == "more").expect("it")["id"].to_string();
    let disk = place.json(&["show", &format!("disk/{id}")]);
    let path = PathBuf::from(disk["path"].as_str().expect("a path"));
    assert!(path.is_file(), "{disk:#}");
    assert!(place.ok(&["show", &format!("disk/{id}")]).contains("ext3"));
    let shown = place.ok(&["show", "operation/1"]);
    assert!(shown.contains("mkfs") || shown.contains("mke2fs"), "the commands that ran: {shown}");
    let accepted = place.json(&["run", "disk_delete", &format!("disk={id}")]);
    assert!(accepted["uid"].is_u64(), "{accepted:#}");
    let ended = place.json(&["operation", "wait", &accepted["uid"].to_string()]);
    assert_eq!(ended["state"], "DONE");
}

/// A password is nowhere but hashed: not on disk, not in answers, not in process lists.
#[test]
fn secrets_are_nowhere() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.done("image_build", &["recipe=tiny"]);
    let literal = format!("password={SCRIPT_PASSWORD}");
    let said =
        one_line_error(&place.run(&["run", "vm_create", "hostname=web", "os=tiny", &literal]), 2);
    assert!(said.contains("@FILE") && !said.contains(SCRIPT_PASSWORD), "{said}");

    // From standard input.
    let mut child = place
        .command()
        .args(["run", "vm_create", "hostname=web-1", "os=tiny", "password=-", "--wait", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hostler runs");
    let mut typed = child.stdin.take().expect("its input");
    writeln!(typed, "{SCRIPT_PASSWORD}").expect("typed");
    drop(typed);
    let output = child.wait_with_output().expect("its end");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(SCRIPT_PASSWORD) && !said.contains("$6$"), "{said}");
    assert_eq!(place.guests().len(), 1);

    // In a task's parameters it is as secret, from a file outside the state directory.
    let outside = tempfile::tempdir().expect("a directory");
    let file = outside.path().join("password");
    std::fs::write(&file, format!("{SCRIPT_PASSWORD}\n")).expect("a file");
    let from = format!("params.password=@{}", file.display());
    let task = ["name=nightly", "kind=vm_create", "params.hostname=web-2", "params.os=tiny", &from];
    place.done("task_create", &task);

    for question in [
        &["show", "operation/2", "--json"][..],
        &["show", "operation/2"],
        &["show", "vm/1", "--json"],
        &["show", "task/1", "--json"],
        &["list", "operations", "--json"],
        &["list", "tasks", "--json"],
    ] {
        let said = place.ok(question);
        assert!(!said.contains(SCRIPT_PASSWORD) && !said.contains("$6$"), "{question:?}: {said}");
    }
    for process in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!holds(&line, SCRIPT_PASSWORD), "{}", String::from_utf8_lossy(&line));
    }
    place.done("vm_stop", &["vm=1", "force=yes"]);
    let mut hashed = 0;
    for file in files(place.dir()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!holds(&bytes, SCRIPT_PASSWORD), "{}", file.display());
        hashed += usize::from(holds(&bytes, "$6$"));
        if holds(&bytes, "$6$") {
            let mode = file.metadata().expect("a mode").mode() & 0o777;
            let closed =
                mode & 0o077 == 0 || place.dir().metadata().expect("a mode").mode() & 0o077 == 0;
            assert!(closed, "{} has mode {mode:o}", file.display());
        }
    }
    assert!(hashed > 0, "the hash is what the guest gets, so it must be somewhere");
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Every plain file below a folder that is small enough to be read whole.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.metadata().is_ok_and(|file| file.len() < 16 << 20) {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn the_doctor_names_what_is_missing_and_the_command_that_mends_it() {
    let place = Sandbox::new();
    let tools = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir("/usr/bin").expect("programs").flatten() {
        if !entry.file_name().to_string_lossy().starts_with("ff") {
            let link = tools.path().join(entry.file_name());
            std::os::unix::fs::symlink(entry.path(), link).expect("a link");
        }
    }
    let mut command = place.command();
    command.env("PATH", tools.path());
    let output = command.args(["doctor"]).output().expect("hostler runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let mut lines = said.lines().skip_while(|line| !line.starts_with("✖ ffmpeg"));
    assert!(lines.next().is_some(), "{said}");
    assert!(lines.next().is_some_and(|mend| mend.contains("install") && mend.contains("ffmpeg")));
    assert!(said.lines().any(|line| line.starts_with("✔ qemu-img")), "{said}");
    let output = place.command().args(["doctor", "--json"]).output().expect("hostler runs");
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout).expect("one document");
    let ffmpeg = checks.iter().find(|check| check["name"] == "ffmpeg").expect("ffmpeg");
    assert_eq!(ffmpeg["ok"], true, "{ffmpeg:#}");
}

#[test]
fn completions_and_man_page_name_every_kind() {
    let place = Sandbox::new();
    let kinds = operations::all(&Settings::new("/nowhere".into()));
    assert!(kinds.len() > 15);
    for arguments in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["run", "--help"],
    ] {
        let said = place.ok(arguments);
        for entry in &kinds {
            assert!(
                said.contains(entry.spec.kind.as_ref()),
                "{} in {arguments:?}",
                entry.spec.kind
            );
        }
        assert!(!said.contains("supervise"), "not for people: {arguments:?}");
    }
    let page = place.ok(&["man"]).to_lowercase();
    for entry in &kinds {
        assert!(
            page.contains(&format!(".sh hostler run {}", entry.spec.kind)),
            "{}",
            entry.spec.kind
        );
    }
}
