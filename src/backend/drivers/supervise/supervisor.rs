//! The supervisor's own side: a process of its own that waits for one tool.
//!
//! It blocks, holds next to no memory, and knows nothing of what the tool is for.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use super::lock::Lock;
use super::outer::Outer;
use super::tree::Leader;
use super::{ExitReport, LongCommand, atomic_file};
use crate::file;

/// What it prints when it is at work.
pub(super) const READY: &str = "ready";

/// Runs the command of `dir` and writes down how it ended: `hostler supervise DIR`.
#[must_use]
pub fn main(dir: &Path) -> ExitCode {
    // Fails only where we lead a session already, which is as good.
    let _leads = rustix::process::setsid();
    match supervise(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be left to read it.
            let _unread = writeln!(io::stdout(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(dir: &Path) -> io::Result<()> {
    let lock = Lock::inherited(dir)?;
    atomic_file::write(&dir.join("pid"), &serde_json::to_vec(&Leader::myself()?)?)?;
    let command: LongCommand = serde_json::from_str(&file::read_text(dir.join("command.json"))?)?;
    match &command.outer_dir {
        Some(outer) => Outer::make(dir, outer)
            .and_then(|held| std::env::set_current_dir(held.held()))
            .map_err(|error| io::Error::other(format!("make {}: {error}", outer.display())))?,
        None => std::env::set_current_dir(command.working_dir.as_deref().unwrap_or(dir))?,
    }
    // From here on the lock is inherited: it tells that the tool lives even when we do not.
    lock.share_with_children()?;
    let spawned = Command::new(&command.program)
        .args(&command.arguments)
        .envs(&command.environment)
        .stdin(Stdio::null())
        .stdout(File::create(dir.join("stdout"))?)
        .stderr(File::create(dir.join("stderr"))?)
        .spawn();
    say_ready();
    let ending = match spawned {
        Ok(mut tool) => {
            let status = tool.wait()?;
            match (status.code(), status.signal()) {
                (Some(code), _) => ExitReport::Exit(code),
                (None, signal) => ExitReport::Signal(signal.unwrap_or_default()),
            }
        }
        Err(error) => ExitReport::NotStarted {
            missing: error.kind() == io::ErrorKind::NotFound,
            error: error.to_string(),
        },
    };
    atomic_file::write(&dir.join("exit"), &serde_json::to_vec(&ending)?)
}

/// Tells the one who started us, and lets go of the pipe: it is read to its end.
fn say_ready() {
    // The one who started us may be gone; the work goes on, whatever fails here.
    let _unread = writeln!(io::stdout(), "{READY}").and_then(|()| io::stdout().flush());
    if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
        let _kept = rustix::stdio::dup2_stdout(nowhere);
    }
}
