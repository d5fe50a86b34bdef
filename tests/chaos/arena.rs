//! Where chaos happens: a small file system that can be filled, a state directory on it, the
//! process that owns it, and whatever that has started.

use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::tools::Tools;

/// How large the small file system is.
const FS_SIZE: &str = "size=700m";
/// How long an owner may take to answer, or to end when it is told to.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What was found wrong, in sentences.
#[derive(Clone, Default)]
pub struct Violations(Arc<Mutex<Vec<String>>>);

impl Violations {
    pub fn add(&self, finding: impl Into<String>) {
        let finding = finding.into();
        eprintln!("  found: {finding}");
        self.0.lock().expect("findings").push(finding);
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().expect("findings").clone()
    }
}

/// The place.
pub struct Arena {
    /// The small file system.
    room: PathBuf,
    /// What must not be starved: wrappers, their log, what the owners say.
    outside: PathBuf,
    /// Whether the small file system is one of its own, so that it can be filled.
    pub is_small: bool,
    pub tools: Tools,
    pub findings: Violations,
    owner: Option<Child>,
    kept: bool,
}

impl Arena {
    pub fn new() -> Self {
        let folder = |prefix| {
            let made = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp");
            made.expect("a directory").keep()
        };
        let (room, outside) = (folder("hr"), folder("ho"));
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", FS_SIZE, "hostler-chaos"])
            .arg(&room)
            .stderr(Stdio::null())
            .status();
        let is_small = mount.is_ok_and(|status| status.success());
        if !is_small {
            eprintln!("  no small file system can be mounted here: no disk is filled this time");
        }
        for name in ["state", "media"] {
            std::fs::create_dir(room.join(name)).expect("a folder");
        }
        // Guests are small, so that several fit beside other work.
        std::fs::write(outside.join("config.toml"), "share_mib = 96\n").expect("a configuration");
        // A copy, so that a build in between does not change what is being tried.
        std::fs::copy(env!("CARGO_BIN_EXE_hostler"), outside.join("hostler")).expect("a copy");
        let tools = Tools::new(&outside);
        let findings = Violations::default();
        Self { room, outside, is_small, tools, findings, owner: None, kept: false }
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.room.join("state")
    }

    /// Where sources and outputs are.
    pub fn media(&self) -> PathBuf {
        self.room.join("media")
    }

    pub fn socket(&self) -> PathBuf {
        self.state().join("hostler.sock")
    }

    /// The program, on this state directory and with these tools.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.outside.join("hostler"));
        command
            .env("HOSTLER_STATE", self.state())
            .env("HOSTLER_CONFIG", self.outside.join("config.toml"))
            .env("PATH", self.tools.path())
            .stdin(Stdio::null());
        command
    }

    fn spawn_owner(&self, take_over: bool) -> Child {
        let said = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.outside.join("owner.err"))
            .expect("a file for what the owner says");
        let mut command = self.command();
        command.arg("serve").stdout(Stdio::null()).stderr(said);
        if take_over {
            command.arg("--take-over");
        }
        command.spawn().expect("hostler serve")
    }

    /// Starts an owner without waiting for it.
    pub fn start(&mut self) {
        let child = self.spawn_owner(false);
        self.owner = Some(child);
    }

    /// Waits until the owner answers; starts another when it ends instead. On a full disk it may.
    pub fn served(&mut self, full: bool) {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = self.ended_by_itself() {
                if !full && Instant::now() >= deadline {
                    let said = self.last_words();
                    self.findings.add(format!("no owner stays: {status}: {said}"));
                }
                self.start();
            }
            if Instant::now() >= deadline {
                self.findings.add("an owner did not answer within a minute");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The owner's end, when nobody brought it about. One that finds another owner there, whom an
    /// attached client has started, is started again when that one is killed.
    pub fn ended_by_itself(&mut self) -> Option<ExitStatus> {
        let status = self.owner.as_mut()?.try_wait().ok().flatten()?;
        if self.kill_strangers() {
            self.start();
            return None;
        }
        self.owner = None;
        Some(status)
    }

    /// kill -9 of every owner that we have not started. Says whether there was one.
    fn kill_strangers(&self) -> bool {
        let ours = self.owner();
        let serves = |(pid, words): &(u32, Vec<String>)| {
            words.get(1).is_some_and(|word| word == "serve") && Some(*pid) != ours
        };
        let strangers: Vec<_> = self.processes().into_iter().filter(serves).collect();
        strangers.iter().for_each(|(pid, _)| signal(*pid, Signal::KILL));
        !strangers.is_empty()
    }

    /// The last line an owner wrote to standard error.
    pub fn last_words(&self) -> String {
        let said = std::fs::read_to_string(self.outside.join("owner.err")).unwrap_or_default();
        said.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// kill -9 of the owner.
    pub fn kill_owner(&mut self) {
        if let Some(mut child) = self.owner.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM to the owner, which must end well and soon.
    pub fn end_owner(&mut self) {
        let Some(child) = self.owner.take() else { return };
        self.see_off(child);
    }

    fn see_off(&self, mut child: Child) {
        let patience = Instant::now() + ANSWER_TIMEOUT;
        signal(child.id(), Signal::TERM);
        loop {
            match child.try_wait().expect("its end") {
                Some(status) if status.success() || status.signal() == Some(15) => return,
                Some(_) if self.kill_strangers() => return,
                Some(status) => {
                    let said = self.last_words();
                    return self.findings.add(format!("told to end, an owner: {status}: {said}"));
                }
                None if Instant::now() >= patience => {
                    self.findings.add("told to end, an owner had not within a minute");
                    let _ = child.kill();
                    let _ = child.wait();
                    return;
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Another owner takes over from this one.
    pub fn replace_owner(&mut self) {
        let next = self.spawn_owner(true);
        if let Some(child) = self.owner.replace(next) {
            self.see_off(child);
        }
    }

    pub fn owner(&self) -> Option<u32> {
        self.owner.as_ref().map(Child::id)
    }

    /// Every process that an owner started, by its number and its command line: tools, guests,
    /// supervisors.
    pub fn helpers(&self) -> Vec<(u32, Vec<String>)> {
        let mut found = self.processes();
        let is = |words: &[String], word: &str| words.get(1).is_some_and(|it| it == word);
        found.retain(|(_, words)| !["serve", "watch", "doctor"].iter().any(|it| is(words, it)));
        found
    }

    /// Every process that runs here, by its number and its command line.
    fn processes(&self) -> Vec<(u32, Vec<String>)> {
        let mut found = Vec::new();
        let here = self.outside.to_string_lossy().into_owned();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let read = |name| std::fs::read(entry.path().join(name)).unwrap_or_default();
            let environment = read("environ");
            if !String::from_utf8_lossy(&environment).contains(&here) {
                continue;
            }
            let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
            let words: Vec<String> =
                line.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
            if !words[0].is_empty() {
                found.push((pid, words));
            }
        }
        found.sort();
        found
    }

    fn ballast(&self) -> PathBuf {
        self.room.join("ballast")
    }

    /// Fills the small file system but for so many bytes.
    pub fn fill(&self, left: u64) {
        let free = rustix::fs::statvfs(&self.room).map_or(0, |it| it.f_bavail * it.f_frsize);
        let file = std::fs::File::create(self.ballast()).expect("ballast");
        let mode = rustix::fs::FallocateFlags::empty();
        // What else is written meanwhile may make it fail; it is full enough then.
        let _ = rustix::fs::fallocate(&file, mode, 0, free.saturating_sub(left).max(1));
    }

    pub fn empty(&self) {
        let _ = std::fs::remove_file(self.ballast());
    }

    /// The end of hostler's own log.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.state().join("hostler.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Leaves everything where it is, for somebody to look at.
    pub fn keep(&mut self) -> (&Path, &Path) {
        self.kept = true;
        (&self.room, &self.outside)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.kill_owner();
        for _ in 0..3 {
            for (pid, _) in self.helpers() {
                signal(pid, Signal::KILL);
            }
        }
        if self.kept {
            return;
        }
        if self.is_small {
            let _ = Command::new("umount").arg("-l").arg(&self.room).status();
        }
        for folder in [&self.room, &self.outside] {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Sends a process a signal; one that is gone already does not mind.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
