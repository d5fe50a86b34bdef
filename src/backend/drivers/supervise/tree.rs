//! Who a supervisor is, and the processes of its session.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;

use crate::open_files::processes;
use crate::{file, watched_fd};

/// A supervisor, described so that it is never mistaken for a later process of the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leader {
    /// Its process number, and that of its session.
    pub(super) pid: u32,
    /// When it started, in clock ticks since the machine did.
    start: u64,
    /// Which start of the machine that was.
    boot: String,
}

impl Leader {
    /// The process that calls.
    pub(super) fn myself() -> io::Result<Self> {
        let pid = std::process::id();
        let stat = Stat::of(pid).ok_or_else(|| io::Error::other("/proc is not mounted"))?;
        Ok(Self { pid, start: stat.start, boot: boot_id() })
    }

    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&file::read_text(path).ok()?).ok()
    }

    /// Whether that very process lives.
    pub(super) fn lives(&self) -> bool {
        self.boot == boot_id()
            && Stat::of(self.pid).is_some_and(|stat| stat.start == self.start && stat.lives)
    }

    /// The living processes of its session other than itself, oldest first.
    pub(super) fn members(&self) -> Vec<u32> {
        if self.boot != boot_id() {
            return Vec::new();
        }
        let mut members: Vec<(u64, u32)> = processes()
            .map(|pid| pid.as_raw_pid().cast_unsigned())
            .filter_map(|pid| self.member(pid).map(|start| (start, pid)))
            .collect();
        members.sort_unstable();
        members.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Signals every member, each through a descriptor that cannot come to mean another process.
    pub(super) fn signal_members(&self, signal: Signal) {
        for pid in self.members() {
            let Some(Ok(handle)) = handle(pid).transpose() else { continue };
            if self.member(pid).is_some() {
                // That it has just ended is what we may have wanted.
                let _gone = pidfd_send_signal(&handle, signal);
            }
        }
    }

    /// Signals that very process, and no later one of its number.
    pub(super) fn signal(&self, signal: Signal) {
        if let Ok(Some(handle)) = handle(self.pid)
            && self.lives()
        {
            // That it has just ended is what we may have wanted.
            let _gone = pidfd_send_signal(&handle, signal);
        }
    }

    /// When a process started, if it is a living member.
    fn member(&self, pid: u32) -> Option<u64> {
        let stat = Stat::of(pid)?;
        let ours = stat.session == self.pid && pid != self.pid && stat.start >= self.start;
        (ours && stat.lives).then_some(stat.start)
    }
}

/// Returns when a process has ended; at once when there is none.
pub(super) async fn ended(pid: u32) -> io::Result<()> {
    if let Some(handle) = handle(pid)? {
        let handle = watched_fd::watch(handle, Interest::READABLE)?;
        // Readable means ended.
        handle.readable().await?.retain_ready();
    }
    Ok(())
}

/// Whether a process was halted by a signal.
pub(super) fn is_stopped(pid: u32) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.stopped)
}

/// A descriptor of a process, unless it is gone.
fn handle(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Ok(Some(handle)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the kernel tells of a process in `/proc/PID/stat`, see proc(5).
struct Stat {
    session: u32,
    start: u64,
    /// Not a zombie.
    lives: bool,
    /// Halted by a signal.
    stopped: bool,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, second, may hold spaces and parentheses; what follows the last one does not.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        Some(Self {
            session: fields.get(3)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
            lives: !matches!(*fields.first()?, "Z" | "X"),
            stopped: *fields.first()? == "T",
        })
    }
}

/// Which start of the machine this is.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
