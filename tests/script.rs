//! The command line as scripts have it: the real program, its exit statuses, its one-line errors,
//! its JSON, and what it says on bad days.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "script/brink.rs"]
mod brink;
#[path = "support/hostler.rs"]
mod hostler;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ::hostler::backend::operations;
use ::hostler::backend::settings::Settings;
use hostler::{Box7, signal};
use rustix::process::Signal;
use serde_json::Value;

const PASSWORD: &str = "correct-horse-battery";

/// What was said on standard error, which must be one line that names the program.
fn complaint(output: &Output, status: i32) -> String {
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
    let mut place = Box7::new();
    // Without a backend, the command is its own.
    assert_eq!(place.json(&["list", "vms"])["total"], 0);
    assert!(complaint(&place.run(&["show", "vm/9"]), 1).contains("vm/9"));
    for (arguments, word) in [
        (&["run", "disk_create", "size_mb=8"][..], "name"),
        (&["run", "disk_create", "name=a", "size_mb=many"], "size_mb"),
        (&["run", "disk_create", "name=a", "size_mb=8", "colour=red"], "colour"),
        (&["list", "disks", "--filter", "colour:red"], "colour"),
    ] {
        assert!(complaint(&place.run(arguments), 2).contains(word), "{arguments:?}");
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
        let said = complaint(&place.run(&["run", "disk_create", field, "size_mb=8"]), 1);
        assert!(said.contains(name), "{said}");
    }
    let said = complaint(&place.run(&["run", "disk_create", "name=a", "size_mb=0"]), 1);
    assert!(said.contains("size_mb"), "{said}");
    assert_eq!(place.json(&["list", "operations"])["total"], 0, "nothing of it was queued");

    // Somebody has the state directory and answers nobody.
    place.kill();
    let lock = std::fs::File::options()
        .write(true)
        .open(place.dir().join("hostler.lock"))
        .expect("the lock");
    lock.try_lock().expect("ours");
    complaint(&place.run(&["list", "vms"]), 3);
}

/// The first command has the backend, and lets the others that come meanwhile use it.
#[test]
fn commands_share_a_state_directory() {
    let place = Box7::new();
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
    let mut place = Box7::new();
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
        let line = events.recv_timeout(hostler::PATIENCE).expect("an event");
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
    let mut place = Box7::new();
    place.serve(&[]);
    place.done("image_build", &["recipe=tiny"]);
    let literal = format!("password={PASSWORD}");
    let said = complaint(&place.run(&["run", "vm_create", "hostname=web", "os=tiny", &literal]), 2);
    assert!(said.contains("@FILE") && !said.contains(PASSWORD), "{said}");

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
    writeln!(typed, "{PASSWORD}").expect("typed");
    drop(typed);
    let output = child.wait_with_output().expect("its end");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    assert!(!said.contains(PASSWORD) && !said.contains("$6$"), "{said}");
    assert_eq!(place.guests().len(), 1);

    // In a task's parameters it is as secret, from a file outside the state directory.
    let outside = tempfile::tempdir().expect("a directory");
    let file = outside.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("a file");
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
        assert!(!said.contains(PASSWORD) && !said.contains("$6$"), "{question:?}: {said}");
    }
    for process in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!holds(&line, PASSWORD), "{}", String::from_utf8_lossy(&line));
    }
    place.done("vm_stop", &["vm=1", "force=yes"]);
    let mut hashed = 0;
    for file in files(place.dir()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!holds(&bytes, PASSWORD), "{}", file.display());
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
    let place = Box7::new();
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
    let place = Box7::new();
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

#[test]
fn a_configuration_that_is_not_understood_is_named_by_file_line_and_key() {
    let place = Box7::new();
    let file = place.config();
    std::fs::write(&file, "# mine\nshare_mb = 512\n").expect("a configuration");
    let said = complaint(&place.run(&["list", "vms"]), 1);
    for part in ["config.toml", "line 2", "share_mb", "did you mean share_mib"] {
        assert!(said.contains(part), "{said}");
    }
    // The doctor works all the same, and says it too.
    let output = place.run(&["doctor"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("share_mb"));
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let place = Box7::new();
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
    let said = complaint(&place.run(&["list", "disks"]), 1);
    assert!(said.contains("newer") && said.contains("99"), "{said}");
    assert_eq!(std::fs::read(&database).expect("the database"), bytes, "left as it was");
}

#[test]
fn another_users_state_directory_is_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("left out: only root can be somebody else");
        return;
    }
    let place = Box7::new();
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
    let said = complaint(&output, 1);
    assert!(said.contains("belongs to user 0") && said.contains("--state"), "{said}");
}

#[test]
fn what_is_no_image_and_what_is_no_video() {
    let mut place = Box7::new();
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

/// A small filesystem on a state directory; unmounted when dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(dir: &'a Path) -> Result<Self, String> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m,mode=0700", "hostler-test"])
            .arg(dir)
            .output()
            .map_err(|error| error.to_string())?;
        if mounted.status.success() {
            Ok(Self(dir))
        } else {
            Err(String::from_utf8_lossy(&mounted.stderr).into_owned())
        }
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still hold it.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// A full disk refuses what cannot be written down, and keeps what was.
#[test]
fn a_full_disk_loses_nothing_accepted() {
    let mut place = Box7::new();
    let dir = place.dir().to_owned();
    let _small = match Small::mount(&dir) {
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
    let said = complaint(&refused, 1);
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

/// Commands that come at once, where nobody serves: one of them does, and its going cuts no other.
#[test]
fn twelve_at_once_are_all_heard() {
    for _ in 0..4 {
        let place = Box7::new();
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
    let mut place = Box7::new();
    let databases = |place: &Box7| {
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
    let mut place = Box7::new();
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
    assert!(complaint(&place.run(&["serve"]), 1).contains("another hostler runs"));
    child.kill().expect("killed");
    child.wait().expect("gone");
    place.serve(&[]);
}
