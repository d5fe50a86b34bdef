//! hostler as a user has it: the real program, on a state directory of its own.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest anything may take before a test gives up. Never what decides a test: everything
/// waits for what it wants to see.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A state directory, and whatever lives in it.
pub struct Box7 {
    dir: tempfile::TempDir,
    serving: Option<Child>,
}

impl Box7 {
    /// An empty state directory. Its path is short, because unix sockets want it so.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("hb").tempdir_in("/tmp").expect("a directory");
        Self { dir, serving: None }
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
        let child = command.spawn().expect("hostler serve");
        self.serving = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while !self.run(&["list", "lanes", "--json"]).status.success()
            || !self.dir().join("hostler.sock").exists()
        {
            assert!(Instant::now() < deadline, "hostler serve does not answer: {}", self.log());
            if let Some(status) = self.serving.as_mut().and_then(|it| it.try_wait().expect("wait"))
            {
                panic!("hostler serve ended: {status}; {}", self.log());
            }
        }
    }

    /// The server's process number.
    pub fn pid(&self) -> u32 {
        self.serving.as_ref().expect("a server").id()
    }

    /// Waits until the server is dead, however it dies.
    pub fn wait_for_death(&mut self) -> std::process::ExitStatus {
        let mut child = self.serving.take().expect("a server");
        child.wait().expect("its end")
    }

    /// Kills the server as a power cut would.
    pub fn kill(&mut self) {
        let mut child = self.serving.take().expect("a server");
        child.kill().expect("killed");
        child.wait().expect("gone");
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

    /// The process numbers of every QEMU whose files are in this state directory.
    pub fn guests(&self) -> Vec<u32> {
        self.processes("qemu-system")
    }

    /// The process numbers of every ffmpeg whose files are in this state directory.
    pub fn encoders(&self) -> Vec<u32> {
        self.processes("ffmpeg")
    }

    /// Processes of a program that name this state directory in their command line.
    fn processes(&self, program: &str) -> Vec<u32> {
        let here = self.dir().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let first = line.split(' ').next().unwrap_or_default();
            if first.contains(program) && line.contains(&here) {
                found.push(pid);
            }
        }
        found
    }

    /// Every file in the state directory that was begun and not finished.
    pub fn partials(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().contains(".partial") {
                    found.push(path);
                }
            }
        }
        found
    }
}

impl Drop for Box7 {
    fn drop(&mut self) {
        if let Some(mut child) = self.serving.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for program in ["hostler", "qemu-system", "ffmpeg", "mmdebstrap"] {
            for pid in self.processes(program) {
                if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)
                {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
    }
}
