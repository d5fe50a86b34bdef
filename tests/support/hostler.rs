//! hostler as a user has it: the real program, on a state directory of its own.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The longest anything may take before a test gives up. Never what decides a test: everything
/// waits for what it wants to see.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(240);

/// A state directory, and whatever lives in it.
pub struct Sandbox {
    dir: tempfile::TempDir,
    /// Where it was before it was moved.
    before: Vec<PathBuf>,
    serving: Option<Child>,
}

impl Sandbox {
    /// An empty state directory. Its path is short, because unix sockets want it so.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hb").tempdir_in("/tmp").expect("a directory");
        Self { dir, before: Vec::new(), serving: None }
    }

    /// Moves the state directory, which nobody serves now, to another place.
    pub fn move_away(&mut self) {
        let to = tempfile::Builder::new().prefix("hb").tempdir_in("/tmp").expect("a directory");
        std::fs::rename(self.dir(), to.path()).expect("moved");
        self.before.push(self.dir().to_owned());
        self.dir = to;
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The program, told about this state directory and nothing else.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostler"));
        command
            .env("HOSTLER_STATE", self.dir())
            .env("HOSTLER_CONFIG", self.config())
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// A configuration that says nothing, so that the machine's own is not read.
    pub fn config(&self) -> PathBuf {
        let file = self.dir().join("config.toml");
        if !file.exists() {
            std::fs::write(&file, "").expect("a configuration");
        }
        file
    }

    /// Starts `hostler serve` and returns when it answers.
    pub fn serve(&mut self, environment: &[(&str, &str)]) {
        let mut command = self.command();
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
        command.envs(environment.iter().copied());
        self.serving = Some(command.spawn().expect("hostler serve"));
        self.wait("hostler serve answers", || self.is_served());
    }

    /// Whether somebody serves this state directory. To be let in says nothing: the socket of one
    /// that died is open as long as a tool it was about to start has not begun.
    pub fn is_served(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = UnixStream::connect(self.dir().join("hostler.sock"))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"GET /v1/catalogue HTTP/1.1\r\nhost: x\r\n\r\n")?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            Ok(&answer == b"HTTP/1.1 200")
        };
        ask().unwrap_or(false)
    }

    /// How many connections to the server there are, see unix(7) for the file of the kernel's.
    pub fn connections(&self) -> usize {
        let sockets = std::fs::read_to_string("/proc/net/unix").expect("the sockets of the box");
        let dir = self.dir().display().to_string();
        let is_connected = |line: &&str| {
            line.split_whitespace().nth(5) == Some("03") && line.contains(&format!(" {dir}/"))
        };
        sockets.lines().filter(is_connected).count()
    }

    /// Looks again and again until something is so. For what tells nobody when it happens.
    pub fn wait(&self, what: &str, so: impl Fn() -> bool) {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        while !so() {
            assert!(Instant::now() < deadline, "waited in vain: {what}; the log: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The server's process number.
    pub fn pid(&self) -> u32 {
        self.serving.as_ref().expect("a server").id()
    }

    /// Waits until the server is dead, however it dies.
    pub fn wait_for_death(&mut self) -> std::process::ExitStatus {
        let mut child = self.serving.take().expect("a server");
        let deadline = Instant::now() + GIVE_UP_AFTER;
        loop {
            if let Some(ended) = child.try_wait().expect("its state") {
                return ended;
            }
            assert!(Instant::now() < deadline, "it does not end; the log: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the server as a power cut would.
    pub fn kill(&mut self) {
        let Some(mut child) = self.serving.take() else { return };
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    /// Ends the server as whoever watches over services does.
    pub fn end(&mut self) {
        signal(self.pid(), Signal::TERM);
        assert!(self.wait_for_death().success(), "{}", self.log());
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).stdin(Stdio::null()).output().expect("hostler runs")
    }

    /// Runs a command that must end well; gives its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "hostler {arguments:?} ended with {}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that must end well; gives the JSON it printed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let text = self.ok(&arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Runs an operation to its end, which must be a good one.
    pub fn done(&self, kind: &str, fields: &[&str]) {
        let arguments: Vec<&str> =
            ["run", kind].into_iter().chain(fields.iter().copied()).chain(["--wait"]).collect();
        self.ok(&arguments);
    }

    /// The rows of a list.
    pub fn list(&self, what: &str) -> Vec<Value> {
        let page = self.json(&["list", what]);
        let rows = &page["rows"];
        let rows = rows.get("resources").or_else(|| rows.get("operations")).expect("rows");
        rows.as_array().expect("rows").clone()
    }

    /// The log, for messages.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("hostler.log")).unwrap_or_default()
    }

    /// The process numbers of every guest's QEMU; not of one that only tries the accelerator.
    pub fn guests(&self) -> Vec<u32> {
        let of_vm = |pid: &u32| argument(*pid, |argument| argument.contains("/vms/"));
        self.processes("qemu-system").into_iter().filter(of_vm).collect()
    }

    /// The process numbers of every ffmpeg that encodes; not of one that only tells its version.
    pub fn encoders(&self) -> Vec<u32> {
        let encodes = |pid: &u32| argument(*pid, |argument| argument == "-i");
        self.processes("ffmpeg").into_iter().filter(encodes).collect()
    }

    /// The process numbers of every hostler that runs for this state directory, supervisors too.
    pub fn hostlers(&self) -> Vec<u32> {
        self.processes("hostler")
    }

    /// The process numbers of every backend without a screen; not of a tool that one is starting,
    /// which looks like it until it is under way.
    pub fn backends(&self) -> Vec<u32> {
        let serves = |pid: &u32| argument(*pid, |argument| argument == "serve");
        let mut found: Vec<u32> = self.hostlers().into_iter().filter(serves).collect();
        let all = found.clone();
        found.retain(|pid| parent(*pid).is_none_or(|parent| !all.contains(&parent)));
        found
    }

    /// Processes of a program that were started for this state directory: they name it in their
    /// command line, or were given it in their environment. A zombie has neither.
    fn processes(&self, program: &str) -> Vec<u32> {
        let here: Vec<String> = std::iter::once(self.dir())
            .chain(self.before.iter().map(PathBuf::as_path))
            .map(|dir| dir.to_string_lossy().into_owned())
            .collect();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let read = |name| std::fs::read(entry.path().join(name)).unwrap_or_default();
            let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
            let environment = String::from_utf8_lossy(&read("environ")).into_owned();
            let first = line.split('\0').next().unwrap_or_default();
            let name = first.rsplit('/').next().unwrap_or_default();
            let told =
                |here| environment.split('\0').any(|set| set == format!("HOSTLER_STATE={here}"));
            let ours = here.iter().any(|here| line.contains(here) || told(here));
            if ours && (name.starts_with(program) || program.is_empty()) {
                found.push(pid);
            }
        }
        found
    }

    /// The number of the newest operation of a kind that no other has asked for.
    pub fn newest(&self, kind: &str) -> u64 {
        let operations = self.list("operations");
        let is_meant = |it: &&Value| it["kind"] == kind && it["parent"].is_null();
        let newest = operations.iter().find(is_meant);
        newest.unwrap_or_else(|| panic!("no {kind} in {operations:#?}"))["uid"]
            .as_u64()
            .expect("a uid")
    }

    /// An operation as it is now.
    pub fn operation(&self, uid: u64) -> Value {
        self.json(&["show", &format!("operation/{uid}")])["operation"].clone()
    }

    /// Writes a file in the state directory that a secret field can be read from.
    pub fn secret(&self, text: &str) -> String {
        let file = self.dir().join("secret.txt");
        std::fs::write(&file, format!("{text}\n")).expect("a secret");
        format!("password=@{}", file.display())
    }

    /// Every file in the state directory that was begun and not finished.
    pub fn partials(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.to_string_lossy().contains(".partial") {
                    found.push(path);
                } else if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        found
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(mut child) = self.serving.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // First whoever might start something more, then everything else.
        for program in ["hostler", ""] {
            for pid in self.processes(program) {
                signal(pid, Signal::KILL);
            }
        }
        // An image build that was killed leaves what it had mounted in its tree.
        let here = format!(" {}/", self.dir().display());
        for line in std::fs::read_to_string("/proc/mounts").unwrap_or_default().lines().rev() {
            if line.contains(&here)
                && let Some(place) = line.split(' ').nth(1)
            {
                let _ = Command::new("umount").args(["-l", place]).status();
            }
        }
    }
}

/// The process that started another.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// Whether a process has such an argument.
fn argument(pid: u32, such: impl Fn(&str) -> bool) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).split('\0').any(such)
}

/// Sends a process a signal; one that is gone already does not mind.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Holds everybody else up: real guests and encoders at once would only starve each other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock()
}
