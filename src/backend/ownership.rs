//! Owning a state directory: knowing it for ours, making it, and holding it alone.
//!
//! ```text
//!  missing ─▶ made, 0700 ──┐
//!  empty ──────────────────┼─▶ flock on the directory ─▶ the same one? ─▶ hostler.lock ─▶ ours
//!  ours (a lock, a store) ─┘     └ held: another hostler owns it
//!  anything else ──▶ refused, untouched
//! ```
//!
//! The lock is on the directory itself, so that no file in it can be removed to make room for a
//! second owner, and a bind mount is no way round it. `hostler.lock` says who the owner is. This
//! room knows files, and nothing of what is kept in them.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use crate::backend::engine::store;
use crate::backend::engine::store::known::KnownPath;
use crate::backend::engine::store::plain;
use crate::domain::{BackendError, Result};
use crate::{file, watched_fd};

/// The file that names the owner.
const OWNER_FILE: &str = "hostler.lock";
/// The most bytes that name an owner.
const LONGEST_NAME: u64 = 32;
/// The socket on which the owner is asked.
pub const SOCKET: &str = "hostler.sock";
/// By these a directory is known as ours. Both are there from the first moment on, or soon after.
const OWN_FILES: [&str; 2] = [OWNER_FILE, store::FILE];
/// What is mounted where, as we see it.
const MOUNTS: &str = "/proc/self/mountinfo";
/// What may lie in a directory that nobody has used yet.
const HARMLESS: [&str; 2] = ["config.toml", "lost+found"];

/// A state directory that is ours alone, for as long as this lives.
#[derive(Debug)]
pub struct Owned {
    path: PathBuf,
    dir: OwnedFd,
    lock: File,
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Said, not only closed: a tool that is being started right now may hold a copy of both.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
        let _ = rustix::fs::flock(&self.dir, FlockOperation::Unlock);
    }
}

/// What is found where a state directory is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirState {
    /// Nothing.
    Nothing,
    /// A directory that nobody has used yet.
    Unused,
    /// A state directory of ours.
    Ours,
}

/// Looks at a state directory, and changes nothing.
///
/// # Errors
/// When it cannot be read, cannot be a state directory, or belongs to somebody or something else.
pub fn find(dir: &Path) -> Result<DirState> {
    Ok(open(dir)?.map_or(DirState::Nothing, |(_, found)| found))
}

/// Takes a state directory for ourselves, and makes it where there is none. `None` when another
/// hostler owns it.
///
/// # Errors
/// When it cannot be made, or [`find`] refuses it.
pub fn own(dir: &Path) -> Result<Option<Owned>> {
    loop {
        let Some((fd, _)) = open(dir)? else {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|error| failed("make", dir, &error))?;
            continue;
        };
        if !locked(&fd).map_err(|error| failed("lock", dir, &error))? {
            return Ok(None);
        }
        let held = stat(&fd, dir)?;
        // Renamed or replaced since it was opened: what we hold is not what the path leads to.
        if !rustix::fs::stat(dir).is_ok_and(|found| is_same(&held, &found)) {
            continue;
        }
        if held.st_mode & 0o077 != 0 {
            rustix::fs::fchmod(&fd, Mode::RWXU)
                .map_err(|error| failed("close to others", dir, &error.into()))?;
        }
        let mut lock = plain(&fd, dir, OWNER_FILE, OFlags::RDWR | OFlags::CREATE)?;
        let path = dir.join(OWNER_FILE);
        if let Some(why) = why_nobodys(&lock).map_err(|error| file_failed("read", &path, &error))? {
            return Err(BackendError::failed(plain::refusal(&path, &why)));
        }
        // Held by an older hostler, which knows no other lock.
        if !locked(&lock).map_err(|error| file_failed("lock", &path, &error))? {
            return Ok(None);
        }
        // For people only: on a full disk nobody is named.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        return Ok(Some(Owned { path: dir.to_owned(), dir: fd, lock }));
    }
}

/// The number of the process that owns a state directory, as far as it can be told.
#[must_use]
pub fn owner(dir: &Path) -> Option<u32> {
    let (fd, _) = open(dir).ok()??;
    let mut text = String::new();
    let lock = plain(&fd, dir, OWNER_FILE, OFlags::RDONLY).ok()?;
    lock.take(LONGEST_NAME).read_to_string(&mut text).ok()?;
    let pid = text.trim().parse().ok()?;
    // It may have been killed, and another have come that could not write its name.
    Path::new("/proc").join(format!("{pid}")).exists().then_some(pid)
}

/// What has a name of the owner's in a state directory and is not what that keeps there, with how
/// that is told.
#[must_use]
pub fn odd(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut odd = Vec::new();
    // Whether the directory can be read is found elsewhere.
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) =
            name.to_str().filter(|name| name.trim_start_matches('.').starts_with("hostler."))
        else {
            continue;
        };
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        let why = match name.trim_start_matches('.') {
            SOCKET => plain::why_no_socket(&found),
            _ => plain::why_foreign(&found),
        };
        let why = why.or_else(|| match name {
            OWNER_FILE => why_nobodys(&file::open(&path).ok()?).ok()?,
            store::RESERVE => store::why_no_reserve(&path),
            // The store itself is looked at by itself, and may be open. A copy of it, also of a
            // damaged one that was moved away, is nobody's to judge.
            name if store::is_side_file(name) => store::why_no_side_file(&path),
            _ => None,
        });
        odd.extend(why.map(|why| (path, why)));
    }
    odd.sort();
    odd
}

impl Owned {
    /// Watches over the directory and the store in it, which is open by now. Called inside a tokio
    /// runtime.
    pub(super) fn guard(&self) -> io::Result<Guard> {
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        use inotify::WatchFlags as Watch;
        let what = Watch::DELETE | Watch::MOVED_FROM | Watch::MOVED_TO;
        let what = what | Watch::DELETE_SELF | Watch::MOVE_SELF | Watch::ONLYDIR;
        inotify::add_watch(&inotify, &self.path, what)?;
        // Looked at after they are watched, so that nothing falls between the two.
        Ok(Guard {
            dir: KnownPath::at("state directory", &self.path)?,
            database: KnownPath::at("database", &self.path.join(store::FILE))?,
            changes: pipe::Receiver::from_owned_fd_unchecked(inotify)?,
            // Before anything is looked at, so that it tells of every change from now on.
            mounts: watched_fd::watch(File::open(MOUNTS)?.into(), Interest::PRIORITY)?,
        })
    }
}

/// Watches over a state directory that is owned.
#[derive(Debug)]
pub(super) struct Guard {
    dir: KnownPath,
    database: KnownPath,
    /// Not a pipe, but read as one.
    changes: pipe::Receiver,
    /// Urgent whenever something was mounted or unmounted: of a filesystem that is taken away while
    /// we hold it open, nothing else tells.
    mounts: AsyncFd<OwnedFd>,
}

impl Guard {
    /// Returns, with a sentence, when the directory or the store is no longer where it was.
    pub(super) async fn lost(&self) -> BackendError {
        loop {
            if let Some(lost) = self.look() {
                return lost;
            }
            // That something changed is enough; what has, is looked at.
            let readable = tokio::select! {
                readable = self.changes.readable() => readable,
                urgent = self.mounts.ready(Interest::PRIORITY) => {
                    urgent.map(|mut urgent| urgent.clear_ready())
                }
            };
            if readable.is_err() {
                return std::future::pending().await;
            }
            let mut changes = [0; 4096];
            while self.changes.try_read(&mut changes).is_ok_and(|read| read > 0) {}
        }
    }

    /// Whether the directory is still where it was.
    pub(super) fn holds(&self) -> bool {
        self.dir.holds()
    }

    /// A sentence, when the directory or the store is no longer where it was.
    fn look(&self) -> Option<BackendError> {
        self.dir.lost().or_else(|| self.database.lost())
    }
}

/// Opens a state directory and finds out whose it is; `None` where there is nothing.
fn open(dir: &Path) -> Result<Option<(OwnedFd, DirState)>> {
    if let Some(odd) = dir.as_os_str().as_bytes().iter().find(|byte| byte.is_ascii_control()) {
        return Err(BackendError::failed(format!(
            "the state directory {dir:?} has a control character in its name ({odd:#04x}), which \
             neither logs nor the tools can take; choose another with --state"
        )));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(dir, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::ACCESS) if rustix::fs::stat(dir).is_ok() => {
            // Not to be opened, but whose it is can be told.
            let found =
                rustix::fs::stat(dir).map_err(|error| failed("read", dir, &error.into()))?;
            belongs_to_us(dir, &found)?;
            return Err(failed("read", dir, &rustix::io::Errno::ACCESS.into()));
        }
        Err(error) => return Err(failed("open", dir, &error.into())),
    };
    let held = stat(&fd, dir)?;
    belongs_to_us(dir, &held)?;
    if held.st_mode & 0o1000 != 0 {
        return Err(BackendError::failed(format!(
            "{} is a directory for everybody, such as /tmp; choose one of your own with --state",
            dir.display()
        )));
    }
    for mark in OWN_FILES {
        match rustix::fs::statat(&fd, mark, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile => {
                return Err(irregular(&dir.join(mark)));
            }
            Ok(found) if found.st_uid == held.st_uid => return Ok(Some((fd, DirState::Ours))),
            _ => {}
        }
    }
    match foreign(&fd).map_err(|error| failed("read", dir, &error))? {
        None => Ok(Some((fd, DirState::Unused))),
        // Ours after all: its owner came between the two looks.
        Some(_)
            if rustix::fs::accessat(
                &fd,
                OWNER_FILE,
                rustix::fs::Access::EXISTS,
                AtFlags::empty(),
            )
            .is_ok() =>
        {
            open(dir)
        }
        Some(name) => Err(BackendError::failed(format!(
            "{} is no state directory of hostler's: '{}' lies there, and neither {OWNER_FILE} nor \
             {}. Choose a new or an empty one with --state; if it is one that lost both, make an \
             empty {OWNER_FILE} in it",
            dir.display(),
            Path::new(&name).display().to_string().escape_debug(),
            store::FILE,
        ))),
    }
}

/// A name in a directory that nobody has used yet would not have.
fn foreign(dir: &OwnedFd) -> io::Result<Option<std::ffi::OsString>> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." && !HARMLESS.iter().any(|harmless| name == *harmless) {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

fn belongs_to_us(dir: &Path, found: &Stat) -> Result<()> {
    let me = rustix::process::geteuid().as_raw();
    if found.st_uid == me {
        return Ok(());
    }
    Err(BackendError::failed(format!(
        "the state directory {} belongs to user {}, not to you (user {me}); run hostler as that \
         user, or choose another directory with --state",
        dir.display(),
        found.st_uid
    )))
}

/// Opens a file in the directory that is a plain one, and waits for nobody.
fn plain(fd: &OwnedFd, dir: &Path, name: &str, flags: OFlags) -> Result<File> {
    let path = dir.join(name);
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(fd, name, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => file,
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => return Err(irregular(&path)),
        Err(error) => return Err(file_failed("use", &path, &error.into())),
    };
    let file = File::from(file);
    let found = file.metadata().map_err(|error| file_failed("read", &path, &error))?;
    match plain::why_foreign(&found) {
        Some(why) => Err(BackendError::failed(plain::refusal(&path, &why))),
        None => Ok(file),
    }
}

/// Why what a lock holds is not ours to write over: anything but the number of a process.
fn why_nobodys(lock: &File) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    lock.take(LONGEST_NAME + 1).read_to_end(&mut text)?;
    // It is not flushed: a power cut may leave zeros.
    let ours = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'\n' | 0);
    let is_ours = text.len() as u64 <= LONGEST_NAME && text.iter().all(ours);
    Ok((!is_ours).then(|| "holds something else than the number of a process".to_owned()))
}

/// Takes the lock on a file or directory. Says whether it is ours now.
fn locked(file: impl std::os::fd::AsFd) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn stat(file: &OwnedFd, path: &Path) -> Result<Stat> {
    rustix::fs::fstat(file).map_err(|error| failed("read", path, &error.into()))
}

const fn is_same(one: &Stat, other: &Stat) -> bool {
    one.st_dev == other.st_dev && one.st_ino == other.st_ino
}

fn irregular(path: &Path) -> BackendError {
    BackendError::failed(plain::refusal(path, "is no regular file"))
}

fn failed(what: &str, dir: &Path, error: &io::Error) -> BackendError {
    cannot(&format!("{what} the state directory {}", dir.display()), error)
}

fn file_failed(what: &str, file: &Path, error: &io::Error) -> BackendError {
    cannot(&format!("{what} {}", file.display()), error)
}

fn cannot(what: &str, error: &io::Error) -> BackendError {
    let advice = match error.kind() {
        ErrorKind::Unsupported => "put the state directory on a local filesystem",
        ErrorKind::ReadOnlyFilesystem => {
            "the filesystem of the state directory is mounted read-only: mount it for writing, or \
             choose another state directory with --state"
        }
        _ => "choose another state directory with --state",
    };
    BackendError::failed(format!("cannot {what}: {error}; {advice}"))
}
