//! Runs a short tool to its end and notes what was run.
//!
//! Commands are argument vectors: no shell is ever between us and a tool. Tools that may run for
//! longer than a few seconds are not started here but supervised, so that they outlive the console.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::Access;
use tokio::io::AsyncReadExt;

use crate::backend::ports::CommandLog;
use crate::domain::Failure;

/// How long a tool may take. The longest, filling the disk of a built image, takes a minute or two.
const TOOL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How much of a tool's output is kept with the step, in bytes.
const KEPT_OUTPUT: usize = 4096;
/// How much of a tool's output is read at most, in bytes; the rest is thrown away.
const MAX_OUTPUT: usize = 1 << 20;

/// How a tool ended, and what it printed.
#[derive(Debug, Clone)]
pub struct ToolOutput {
    /// Whether it ended with exit status 0.
    pub ok: bool,
    /// `exit 0`, `signal 9`.
    pub how: String,
    /// Its standard output, at most a mebibyte.
    pub stdout: String,
    /// Its standard error, at most a mebibyte.
    pub stderr: String,
}

impl ToolOutput {
    /// The last line it wrote to standard error that says anything, or how it ended.
    #[must_use]
    pub fn error_line(&self) -> String {
        self.stderr
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .map_or_else(|| self.how.clone(), str::to_owned)
    }
}

/// A command as a person would type it: quoted where a shell would need it, for reading only.
#[must_use]
pub fn line(program: &str, arguments: &[impl AsRef<OsStr>]) -> String {
    let mut line = program.to_owned();
    for argument in arguments {
        let text = argument.as_ref().to_string_lossy();
        line.push(' ');
        let plain = !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c));
        if plain {
            line.push_str(&text);
        } else {
            line.push('\'');
            line.push_str(&text.replace('\'', r"'\''"));
            line.push('\'');
        }
    }
    line
}

/// Runs a tool and returns how it ended, whatever that was. It is killed when the future is
/// dropped.
///
/// # Errors
/// When the tool cannot be started, with the package that brings it where that is known.
pub async fn run(
    log: &CommandLog,
    program: &str,
    arguments: &[impl AsRef<OsStr>],
) -> Result<ToolOutput, Failure> {
    run_noting(log, program, arguments, |ended| format!("{}{}", ended.stdout, ended.stderr)).await
}

/// The same for a tool whose standard output is an answer to a program: people are shown only what
/// it complained of.
///
/// # Errors
/// As [`run`].
pub async fn run_quiet(
    log: &CommandLog,
    program: &str,
    arguments: &[impl AsRef<OsStr>],
) -> Result<ToolOutput, Failure> {
    run_noting(log, program, arguments, |ended| ended.stderr.clone()).await
}

async fn run_noting(
    log: &CommandLog,
    program: &str,
    arguments: &[impl AsRef<OsStr>],
    note: fn(&ToolOutput) -> String,
) -> Result<ToolOutput, Failure> {
    let begun = log.begin(line(program, arguments));
    let clock = Instant::now();
    let took = |clock: Instant| u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Found here and not through a PATH for the child, for which all of this process would be
    // copied.
    let spawned = tokio::process::Command::new(find(program).unwrap_or_else(|| program.into()))
        .arg0(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            log.end(begun, "not started", error.to_string(), took(clock));
            return Err(not_started(program, &error));
        }
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let whole = async { tokio::join!(child.wait(), read(stdout), read(stderr)) };
    let Ok((status, stdout, stderr)) = tokio::time::timeout(TOOL_TIMEOUT, whole).await else {
        log.end(begun, "killed", "", took(clock));
        return Err(Failure::passing(format!(
            "{program} did not come to an end within {} minutes and was killed: something it reads \
             or writes does not answer; see `dmesg`, then relaunch",
            TOOL_TIMEOUT.as_secs() / 60
        )));
    };
    let status = status.map_err(|error| Failure::io(format!("wait for {program}"), &error))?;
    let ended = ToolOutput { ok: status.success(), how: ended(status), stdout, stderr };
    log.end(begun, &ended.how, tail(&note(&ended)), took(clock));
    Ok(ended)
}

/// A program's file: in PATH, or where those for root are, such as the mkfs tools, which an
/// ordinary user's path does not have on Debian.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(sbin)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file() && rustix::fs::access(file, Access::EXEC_OK).is_ok())
}

/// Runs a tool that must end with exit status 0.
///
/// # Errors
/// `what` it was for, the tool and its own error.
pub async fn run_ok(
    log: &CommandLog,
    what: &str,
    program: &str,
    arguments: &[impl AsRef<OsStr>],
) -> Result<ToolOutput, Failure> {
    let ended = run(log, program, arguments).await?;
    if ended.ok {
        return Ok(ended);
    }
    let said = ended.error_line();
    let advice = if said.contains("No space left") { "; free some space and relaunch" } else { "" };
    Err(Failure::new(format!("cannot {what}: {program}: {said}{advice}")))
}

/// The failure for a program that could not be started.
#[must_use]
pub fn not_started(program: &str, error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::NotFound {
        Failure::new(format!(
            "{program} is not installed; `hostler doctor` tells how to get it, then relaunch"
        ))
    } else {
        Failure::io(format!("start {program}"), error)
    }
}

/// How a process ended, in words.
#[must_use]
pub fn ended(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The last few lines of an output, at most 4 KiB, for the step's record.
#[must_use]
pub fn tail(output: &str) -> String {
    let from = output.len().saturating_sub(KEPT_OUTPUT);
    let from = (from..=output.len()).find(|&at| output.is_char_boundary(at)).unwrap_or(0);
    output[from..].trim_end().to_owned()
}

/// Reads a pipe to its end and keeps the first mebibyte, so that a tool never blocks on us.
async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut kept = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = MAX_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tool_that_is_not_there_is_named() {
        let log = CommandLog::default();
        let failure = run(&log, "no-such-tool", &["x"]).await.unwrap_err();
        assert!(failure.message.contains("no-such-tool is not installed"), "{failure}");
        assert_eq!(log.commands()[0].ended.as_deref(), Some("not started"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tool_that_never_ends_is_killed_and_said() {
        let log = CommandLog::default();
        let failure = run(&log, "sleep", &["infinity"]).await.unwrap_err();
        assert!(failure.passing && failure.message.contains("sleep did not come"), "{failure}");
        assert_eq!(log.commands()[0].ended.as_deref(), Some("killed"));
    }

    #[tokio::test]
    async fn the_error_and_the_command_are_kept() {
        let log = CommandLog::default();
        let failure = run_ok(&log, "list it", "ls", &["/no such folder"]).await.unwrap_err();
        assert!(failure.message.starts_with("cannot list it: ls: ls: cannot access"), "{failure}");
        let command = &log.commands()[0];
        assert_eq!(command.line, "ls '/no such folder'");
        assert_eq!(command.ended.as_deref(), Some("exit 2"));
        assert!(command.tail.contains("No such file"), "{}", command.tail);
    }

    #[test]
    fn lines_are_quoted_as_a_shell_would_need() {
        assert_eq!(line("echo", &["it's", "a b", "", "k=v"]), r"echo 'it'\''s' 'a b' '' k=v");
    }
}
