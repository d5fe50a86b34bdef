//! Runs a long tool so that it outlives the console, and finds it again afterwards.
//!
//! hostler starts itself once more as `hostler supervise DIR`, in a session of its own. That small
//! process runs the tool, waits for it and writes down how it ended. Everything is in DIR:
//!
//! ```text
//! command.json   what is run, written by the console before anything starts
//! lock           flock(2)ed before anything is written here, handed over to the supervisor, and
//!                inherited by the tool: held while any of them lives
//! pid            the supervisor: pid, start time, boot id; on disk before the tool is started
//! stdout stderr  what the tool printed
//! exit           how the tool ended, on disk before the supervisor goes
//! ```
//!
//! ```text
//! absent ──start──▶ running ──▶ ended        exit is there
//!                      └──────▶ vanished     nobody holds the lock and there is no exit:
//!                                            kill -9 of the supervisor, or a power cut
//! ```
//!
//! The tool and its children are the members of the supervisor's session other than itself. A
//! session's number is not given out again while a member lives, so signals cannot go astray.
//!
//! Own code: `systemd-run` does the same where there is systemd and a session of the user; crates
//! that make daemons lose the exit status, which is what somebody has to stay for.

mod lock;
mod outer;
mod stall;
mod supervisor;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use super::atomic_file;
use crate::domain::Failure;
use crate::file;

use lock::Lock;
pub use stall::Stall;
pub use supervisor::main;
use tree::Leader;

/// How long a tool may take to end by itself after SIGTERM.
const TERM_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a supervisor may take to say that it is at work: on a busy disk, some seconds.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How often, and how long apart, a lock is asked for: one who only looks holds it for an instant,
/// and a supervisor that has written down how its tool ended may still be on its way out.
const TRIES: usize = 400;
const APART: Duration = Duration::from_millis(5);
/// How often it is looked whether a process that holds the lock no more is gone.
const GOING: usize = 20;

/// What is run. No secrets: it lies on disk, and the process list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongCommand {
    /// The program, looked up in PATH when it has no slash.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Environment variables set on top of the console's own.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The working directory; the job's own folder when there is none.
    #[serde(default)]
    pub working_dir: Option<PathBuf>,
    /// A folder for what is made outside the job's own: not there before, made for the owner alone
    /// just before the tool starts, and removed with the job. Because it is noted here first, it is
    /// found again whatever happens meanwhile.
    #[serde(default)]
    pub outer_dir: Option<PathBuf>,
}

impl LongCommand {
    /// A command without further environment, run in its job's folder.
    pub fn new(
        program: impl Into<String>,
        arguments: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: BTreeMap::from([("LC_ALL".to_owned(), "C.UTF-8".to_owned())]),
            working_dir: None,
            outer_dir: None,
        }
    }

    /// The command as a person would type it.
    #[must_use]
    pub fn line(&self) -> String {
        super::process::line(&self.program, &self.arguments)
    }
}

/// How a tool ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReport {
    /// With an exit status.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It could not be started: the error, and whether the program is not there at all.
    NotStarted {
        /// The system's words.
        error: String,
        /// Whether the program is not installed.
        missing: bool,
    },
    /// Nobody wrote down how: its supervisor was killed, or the machine went down.
    Vanished,
}

impl ExitReport {
    /// `exit 1`, `signal 9`, in the words short tools end with too.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Exit(code) => format!("exit {code}"),
            Self::Signal(signal) => format!("signal {signal}"),
            Self::NotStarted { .. } => "not started".to_owned(),
            Self::Vanished => "vanished".to_owned(),
        }
    }
}

/// What a supervised tool is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// Nothing was ever started there.
    Absent,
    /// The supervisor or the tool lives.
    Running,
    /// It has ended.
    Ended(ExitReport),
}

/// Starts supervised tools.
#[derive(Debug, Clone)]
pub struct Supervision {
    program: PathBuf,
}

impl Default for Supervision {
    /// hostler itself, also when its file has been replaced by a newer version meanwhile.
    fn default() -> Self {
        Self { program: "/proc/self/exe".into() }
    }
}

impl Supervision {
    /// Supervision by another hostler than this one, for tests that are no hostler themselves.
    pub fn by(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Starts a command in `dir`, or finds it at work there, or done with exit status 0. An earlier
    /// run of another command, or one that failed, is cleared away first.
    ///
    /// # Errors
    /// When the folder cannot be written or hostler cannot be started.
    pub async fn start_or_adopt(
        &self,
        dir: &Path,
        command: &LongCommand,
    ) -> Result<Supervised, Failure> {
        let is_it = |it: &Supervised| it.command().as_ref() == Some(command);
        self.start_unless(dir, is_it, command).await
    }

    /// Finds what `fits` at work in `dir`, or done with exit status 0; else ends and clears away
    /// what is there and starts the command.
    ///
    /// # Errors
    /// When the folder cannot be written or hostler cannot be started.
    pub async fn start_unless(
        &self,
        dir: &Path,
        fits: impl Fn(&Supervised) -> bool,
        command: &LongCommand,
    ) -> Result<Supervised, Failure> {
        let it = Supervised::at(dir);
        let outer = it.outer_at_work();
        let Some(lock) = it.claim(fits).await? else { return Ok(it) };
        it.clear_outer_dir(outer).await?;
        let written = lock.empty(dir).and_then(|()| {
            atomic_file::write(&dir.join("command.json"), &serde_json::to_vec_pretty(command)?)
        });
        written.map_err(|error| Failure::small(format!("write {}", dir.display()), &error))?;
        self.spawn(dir, lock).await?;
        Ok(it)
    }

    /// Starts the supervisor and returns when it has written down who it is.
    async fn spawn(&self, dir: &Path, lock: Lock) -> Result<(), Failure> {
        let what = || format!("start {} supervise {}", self.program.display(), dir.display());
        let failed = |error: io::Error| Failure::io(what(), &error);
        let mut child = tokio::process::Command::new(&self.program)
            .arg0("hostler")
            .arg("supervise")
            .arg(dir)
            .stdin(lock.hand_over())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut said = String::new();
        if let Some(mut stdout) = child.stdout.take() {
            let read = tokio::time::timeout(START_TIMEOUT, stdout.read_to_string(&mut said)).await;
            let Ok(read) = read else {
                // What it may have started is found by whoever asks again.
                child.start_kill().map_err(failed)?;
                return Err(Failure::passing(format!("cannot {}: it does not answer", what())));
            };
            read.map_err(failed)?;
        }
        // It goes on without us; tokio reaps it when it ends.
        match said.trim() {
            supervisor::READY => Ok(()),
            // Killed before it could say anything is no other than killed just after: whoever
            // waits for the tool is told whether that lives, or that it is gone.
            "" if child.wait().await.map_err(failed)?.code().is_none() => Ok(()),
            "" => Err(Failure::passing(format!("cannot {}: it ended at once", what()))),
            error => Err(Failure::passing(format!("cannot {}: {error}", what()))),
        }
    }
}

/// A tool that runs, or ran, in a folder.
#[derive(Debug, Clone)]
pub struct Supervised {
    dir: PathBuf,
}

impl Supervised {
    /// Whatever runs or ran in `dir`.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The file the tool's standard output goes to.
    #[must_use]
    pub fn stdout(&self) -> PathBuf {
        self.dir.join("stdout")
    }

    /// The file the tool's standard error goes to.
    #[must_use]
    pub fn stderr(&self) -> PathBuf {
        self.dir.join("stderr")
    }

    /// The command that was started there.
    #[must_use]
    pub fn command(&self) -> Option<LongCommand> {
        serde_json::from_str(&file::read_text(self.dir.join("command.json")).ok()?).ok()
    }

    /// What it is doing now.
    #[must_use]
    pub fn state(&self) -> Doing {
        if let Some(ending) = self.ending() {
            return Doing::Ended(ending);
        }
        if !self.dir.join("command.json").exists() {
            return Doing::Absent;
        }
        if self.lives() {
            return Doing::Running;
        }
        // It may have ended between the two looks.
        Doing::Ended(self.ending().unwrap_or(ExitReport::Vanished))
    }

    /// Returns how it ended, when it has.
    ///
    /// # Errors
    /// When the system cannot watch processes.
    pub async fn wait(&self) -> Result<ExitReport, Failure> {
        loop {
            match self.state() {
                Doing::Ended(ending) => return Ok(ending),
                Doing::Absent => return Ok(ExitReport::Vanished),
                Doing::Running => self.somebody_ends().await?,
            }
        }
    }

    /// The processes of the tool: itself and its children.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        self.leader().map(|leader| leader.members()).unwrap_or_default()
    }

    /// The process that supervises it, as long as it lives.
    #[must_use]
    pub fn supervisor(&self) -> Option<u32> {
        self.leader().filter(Leader::lives).map(|leader| leader.pid)
    }

    /// The processes at work in the folder: the supervisor, the tool and its children.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.supervisor().into_iter().chain(self.members()).collect()
    }

    /// Whether somebody has halted the tool, or a part of it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.members().into_iter().any(tree::is_stopped)
    }

    /// Halts the tool where it is.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a halted tool go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends the tool, gently for five seconds and then not. Returns when it is gone with its
    /// children and its supervisor, also when it had ended without them or any of them was halted;
    /// finding it gone is success.
    ///
    /// # Errors
    /// When it will not die: a process the kernel itself does not let go.
    pub async fn stop(&self) -> Result<(), Failure> {
        // Again and again, because the tool may be about to start children.
        for (signals, to_supervisor, patience) in [
            (&[Signal::CONT, Signal::TERM][..], Signal::CONT, TERM_TIMEOUT),
            (&[Signal::KILL][..], Signal::KILL, 2 * TERM_TIMEOUT),
        ] {
            let deadline = tokio::time::Instant::now() + patience;
            while self.lives() {
                let soon = tokio::time::Instant::now() + Duration::from_millis(250);
                if soon > deadline {
                    break;
                }
                for &signal in signals {
                    self.signal(signal);
                }
                // A supervisor ends when its tool has, and has written down how; unless it was
                // halted.
                if let Some(leader) = self.leader().filter(|it| it.members().is_empty()) {
                    leader.signal(to_supervisor);
                }
                if let Ok(ended) = tokio::time::timeout_at(soon, self.somebody_ends()).await {
                    ended?;
                }
            }
        }
        if !self.lives() {
            return Ok(());
        }
        let shown = self.dir.display();
        let left = self.processes();
        Err(Failure::passing(match left[..] {
            [] => format!(
                "cannot end what is at work in {shown}: nobody tells who that is; `fuser \
                 {shown}/lock` names it: end it, then relaunch"
            ),
            _ => format!(
                "cannot end processes {left:?} of {shown}: they do not answer SIGKILL; see `ps`, \
                 then relaunch"
            ),
        }))
    }

    /// Ends the tool and removes its folders; that there are none is success.
    ///
    /// # Errors
    /// When it will not die, or the filesystem does not let them be removed.
    pub async fn remove(&self) -> Result<(), Failure> {
        if !self.dir.exists() {
            return Ok(());
        }
        // Once the tool has ended, nobody knows where a folder that was moved is.
        let outer = self.outer_at_work();
        let Some(lock) = self.claim(|_| false).await? else { return Ok(()) };
        self.clear_outer_dir(outer).await?;
        lock.remove_dir(&self.dir)
            .map_err(|error| Failure::io(format!("remove {}", self.dir.display()), &error))
    }

    /// Takes the folder's lock after ending whatever is at work there; `None` when that, or what
    /// has ended with exit status 0, `fits`.
    async fn claim(&self, fits: impl Fn(&Self) -> bool) -> Result<Option<Lock>, Failure> {
        let shown = self.dir.display();
        for _ in 0..TRIES {
            let lock = Lock::take(&self.dir)
                .map_err(|error| Failure::small(format!("write {shown}"), &error))?;
            if let Some(lock) = lock {
                // Held by us, so nobody can begin or end anything meanwhile.
                let done = self.ending() == Some(ExitReport::Exit(0)) && fits(self);
                return Ok((!done).then_some(lock));
            }
            match self.state() {
                Doing::Running | Doing::Ended(ExitReport::Exit(0)) if fits(self) => {
                    return Ok(None);
                }
                // What has ended may have left children behind.
                _ => self.stop().await?,
            }
            // Nothing tells when a lock that another process holds is let go of.
            tokio::time::sleep(APART).await;
        }
        Err(Failure::passing(format!(
            "cannot begin in {shown}: a process of an earlier run still lives and holds its lock; \
             `fuser {shown}/lock` names it: end it and relaunch"
        )))
    }

    /// Signals every process of the tool, as long as the lock says that they are still ours.
    fn signal(&self, signal: Signal) {
        if let (true, Some(leader)) = (self.lives(), self.leader()) {
            leader.signal_members(signal);
        }
    }

    /// Returns when the supervisor, or else a process of the tool, has ended.
    async fn somebody_ends(&self) -> Result<(), Failure> {
        let Some(leader) = self.leader() else {
            // The supervisor holds the lock and is about to write down who it is, within
            // milliseconds: setting up to be told of that takes longer.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Ok(());
        };
        let one = if leader.lives() { Some(leader.pid) } else { leader.members().pop() };
        let watched = match one {
            Some(pid) => tree::ended(pid).await,
            None => Ok(()),
        };
        // There is nobody to wait for, or whoever held the lock needs a moment to be wholly gone:
        // without this, our caller, who looks again at once, would spin.
        if one.is_none() || !Lock::is_held(&self.dir) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        watched.map_err(|error| Failure::io(format!("watch {}", self.dir.display()), &error))
    }

    fn ending(&self) -> Option<ExitReport> {
        serde_json::from_str(&file::read_text(self.dir.join("exit")).ok()?).ok()
    }

    /// Who supervises here. The folder of a copied state directory names whoever does so in the
    /// original, and who holds no lock here.
    fn leader(&self) -> Option<Leader> {
        Lock::is_held(&self.dir).then(|| Leader::read(&self.dir.join("pid"))).flatten()
    }

    /// Whether the supervisor, the tool or a child of it lives.
    fn lives(&self) -> bool {
        Lock::is_held(&self.dir) && !self.is_deserted()
    }

    /// Whether nobody is left who can be waited for, although the lock is held: by a process that
    /// is on its way out, or by one of the tool's that has left its session.
    fn is_deserted(&self) -> bool {
        self.leader().is_some_and(|leader| !leader.lives() && leader.members().is_empty())
    }
}
