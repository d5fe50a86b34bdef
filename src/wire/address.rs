//! The address of a socket: reached however long its path is, and who listens there.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use tokio::net::UnixStream;

use crate::open_files;

/// The most bytes the kernel takes as the path of a socket.
const MAX_SOCKET_PATH: usize = 107;

/// Where a socket is, in a form that the kernel takes.
#[derive(Debug)]
pub(super) struct Address {
    path: PathBuf,
    /// What a short path to a long one goes by.
    _dir: Option<OwnedFd>,
}

impl Address {
    /// The address of the socket at a path, which need not be there; its directory must, where the
    /// path is a long one.
    pub(super) fn of(socket: &Path) -> io::Result<Self> {
        if socket.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH {
            return Ok(Self { path: socket.to_owned(), _dir: None });
        }
        let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _dir: Some(dir) })
    }

    /// The path to it, good for as long as this lives.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Why the backend at this address is not that of the `socket`'s directory, if so: a copy made
    /// of hard links has the socket of the original.
    pub(super) async fn strange(&self, socket: &Path) -> Option<String> {
        let several = std::fs::symlink_metadata(socket).is_ok_and(|found| found.nlink() > 1);
        let dir = socket.parent().filter(|_| several)?;
        let line = UnixStream::connect(&self.path).await.and_then(|line| line.peer_cred());
        let pid = Pid::from_raw(line.ok()?.pid()?)?;
        (open_files::works_in(pid, dir) == Some(false)).then(|| {
            format!(
                "{} leads to the backend of another state directory (process {}), because {} was \
                 copied with hard links; copy it again without them, as with `cp -a`",
                socket.display(),
                pid.as_raw_pid(),
                dir.display()
            )
        })
    }

    /// Finds out about whoever listens there and does not answer.
    pub(super) async fn silent(&self) -> Silent {
        // The kernel answers for the one who listens, whatever that one is doing.
        let listener = UnixStream::connect(&self.path).await.and_then(|line| line.peer_cred());
        let pid = listener.ok().and_then(|listener| listener.pid());
        let is_stopped = pid.is_some_and(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // After the name in parentheses, which may hold anything.
            stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['T', 't'])
        });
        Silent { pid, is_stopped }
    }
}

/// Somebody who listens on a socket and does not answer.
#[derive(Debug)]
pub(super) struct Silent {
    pid: Option<i32>,
    /// Whether it is stopped, and so never will.
    pub(super) is_stopped: bool,
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, self.is_stopped) {
            (None, _) => f.write_str("the backend does not answer"),
            (Some(pid), true) => write!(
                f,
                "process {pid}, which owns the state directory, is stopped; let it go on with \
                 `fg` in its terminal or `kill -CONT {pid}`, or end it with `kill -KILL {pid}`: \
                 the next hostler goes on from what is on disk"
            ),
            (Some(pid), false) => write!(
                f,
                "process {pid}, which owns the state directory, does not answer; wait, or end it \
                 with `kill -KILL {pid}`: the next hostler goes on from what is on disk"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_path_is_reached_and_its_listener_named() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let socket = deep.join("s");
        let address = Address::of(&socket).unwrap();
        let _listener = tokio::net::UnixListener::bind(address.path()).unwrap();
        assert!(socket.exists());
        let silent = Address::of(&socket).unwrap().silent().await;
        assert_eq!(silent.pid, i32::try_from(std::process::id()).ok());
        assert!(!silent.is_stopped);
    }
}
