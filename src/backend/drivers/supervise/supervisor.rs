//! The supervisor's own side: a process of its own that waits for one tool.
//!
//! It blocks, holds next to no memory, and knows nothing of what the tool is for.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::FdFlags;

use super::tree::Leader;
use super::{Ending, LongCommand, whole};

/// What it prints when it, or another one, is at work.
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

/// The file whose lock says that somebody is at work in `dir`.
pub(super) fn lock_file(dir: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))
}

fn supervise(dir: &Path) -> io::Result<()> {
    let lock = lock_file(dir)?;
    let exit = dir.join("exit");
    if !take(&lock, dir)? || exit.exists() {
        return say_ready();
    }
    whole::write(&dir.join("pid"), &serde_json::to_vec(&Leader::myself()?)?)?;
    let command: LongCommand = serde_json::from_slice(&std::fs::read(dir.join("command.json"))?)?;
    // From here on the lock is inherited: it tells that the tool lives even when we do not.
    rustix::io::fcntl_setfd(&lock, FdFlags::empty())?;
    let spawned = Command::new(&command.program)
        .args(&command.arguments)
        .envs(&command.environment)
        .current_dir(command.working_dir.as_deref().unwrap_or(dir))
        .stdin(Stdio::null())
        .stdout(File::create(dir.join("stdout"))?)
        .stderr(File::create(dir.join("stderr"))?)
        .spawn();
    say_ready()?;
    let ending = match spawned {
        Ok(mut tool) => {
            let status = tool.wait()?;
            match (status.code(), status.signal()) {
                (Some(code), _) => Ending::Exit(code),
                (None, signal) => Ending::Signal(signal.unwrap_or_default()),
            }
        }
        Err(error) => Ending::NotStarted {
            missing: error.kind() == io::ErrorKind::NotFound,
            error: error.to_string(),
        },
    };
    whole::write(&exit, &serde_json::to_vec(&ending)?)
}

/// Takes the lock; `false` when another supervisor, or its tool, has it.
fn take(lock: &File, dir: &Path) -> io::Result<bool> {
    // Those who only look hold it for an instant.
    for _ in 0..200 {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        if Leader::read(&dir.join("pid")).is_some_and(|leader| leader.lives()) {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(false)
}

/// Tells the one who started us, and lets go of the pipe: it is read to its end.
fn say_ready() -> io::Result<()> {
    // The one who started us may be gone; the work goes on.
    let _unread = writeln!(io::stdout(), "{READY}").and_then(|()| io::stdout().flush());
    Ok(rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?)
}
