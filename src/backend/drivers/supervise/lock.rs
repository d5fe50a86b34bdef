//! The lock of a job's folder: whoever holds it is at work there, and nobody else is.
//!
//! A lock belongs to a file, not to a name. So whoever has taken it looks whether the file still
//! has the name: an earlier holder may have removed it, and then a second lock of that name could
//! be held beside it. Only the holder empties or removes the folder.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{Errno, FdFlags};

use super::atomic_file;

/// The lock's name in the folder.
const NAME: &str = "lock";

/// A lock that is held, until it and every descriptor made from it are closed.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock of a folder, which is made where it is missing; `None` while another has it.
    pub(super) fn take(dir: &Path) -> io::Result<Option<Self>> {
        loop {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            let file = match open(dir, true) {
                // The folder was removed between the two calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_named(&file, dir)? => return Ok(Some(Self(file))),
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The lock that whoever started this process handed over as its standard input.
    pub(super) fn inherited(dir: &Path) -> io::Result<Self> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        // The same lock again, so it is there for the taking.
        let held = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if held && is_named(&file, dir)? {
            rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
            return Ok(Self(file));
        }
        Err(io::Error::other(format!(
            "the lock of {} was not handed over; hostler starts this itself",
            dir.display()
        )))
    }

    /// Whether somebody holds the lock of a folder.
    pub(super) fn is_held(dir: &Path) -> bool {
        // Shared, so that two who look do not see each other.
        open(dir, false)
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// The lock as the standard input of a process, which holds it from its first moment on.
    pub(super) fn hand_over(self) -> Stdio {
        self.0.into()
    }

    /// Lets the processes started from now on hold the lock too, for as long as any of them lives.
    pub(super) fn share_with_children(&self) -> io::Result<()> {
        Ok(rustix::io::fcntl_setfd(&self.0, FdFlags::empty())?)
    }

    /// Removes everything in the folder but the lock.
    pub(super) fn empty(&self, dir: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name() == OsStr::new(NAME) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                atomic_file::remove_dir(&entry.path())?;
            } else {
                atomic_file::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the folder and everything in it.
    pub(super) fn remove_dir(self, dir: &Path) -> io::Result<()> {
        self.empty(dir)?;
        atomic_file::remove(&dir.join(NAME))?;
        match std::fs::remove_dir(dir) {
            // Somebody begins anew there already.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed,
        }
    }
}

/// Opens the lock's file without following a link and without waiting for a named pipe's reader.
fn open(dir: &Path, create: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .write(create)
        .create(create)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(dir.join(NAME))
}

/// Whether a file is the one that has the lock's name.
fn is_named(file: &File, dir: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::symlink_metadata(dir.join(NAME)) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_anew() {
        let dir = tempfile::tempdir().unwrap();
        let job = dir.path().join("job");
        let early = open(dir.path(), true).unwrap();
        std::fs::create_dir(&job).unwrap();
        std::fs::rename(dir.path().join(NAME), job.join(NAME)).unwrap();
        // Somebody who opened the file before its folder was removed holds nothing with it.
        let first = Lock::take(&job).unwrap().unwrap();
        assert!(Lock::take(&job).unwrap().is_none() && Lock::is_held(&job));
        first.remove_dir(&job).unwrap();
        assert!(!job.exists() && !Lock::is_held(&job));
        let second = Lock::take(&job).unwrap().unwrap();
        flock(&early, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(!is_named(&early, &job).unwrap());
        assert!(is_named(&second.0, &job).unwrap());
    }

    #[test]
    fn emptying_leaves_the_lock_and_does_not_follow_links() {
        let dir = tempfile::tempdir().unwrap();
        let (job, mine) = (dir.path().join("job"), dir.path().join("mine"));
        std::fs::create_dir(&mine).unwrap();
        std::fs::write(mine.join("letter"), "dear").unwrap();
        let lock = Lock::take(&job).unwrap().unwrap();
        std::fs::write(job.join("exit"), "0").unwrap();
        std::os::unix::fs::symlink(&mine, job.join("link")).unwrap();
        lock.empty(&job).unwrap();
        assert_eq!(std::fs::read_dir(&job).unwrap().count(), 1);
        assert!(mine.join("letter").exists() && Lock::is_held(&job));
    }

    #[test]
    fn a_named_pipe_or_a_link_in_its_place_hangs_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo").arg(dir.path().join(NAME)).status();
        assert!(made.unwrap().success());
        assert!(!Lock::is_held(dir.path()));
        std::fs::remove_file(dir.path().join(NAME)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(NAME)).unwrap();
        assert!(Lock::take(dir.path()).is_err());
    }
}
