//! The reserve: room that is kept so that ends can be written when the disk is full.
//!
//! A full disk must not keep anybody from cancelling what fills it. So a file beside the store
//! holds some room, really allocated; it is given up when the disk is full, and made again when
//! there is room for it and more.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::plain;
use crate::domain::BackendError;

/// The file in the state directory.
pub const FILE: &str = "hostler.reserve";

/// How much is kept: some hundred ends.
const SIZE: u64 = 4 << 20;

/// How much must be left beside it before it is made again, so that the next request is not the one
/// that needs it.
const MARGIN: u64 = 1 << 20;

/// How much must be free in MiB, once the disk was full, before anything new is accepted.
pub const FREE_MIB: u64 = (SIZE + MARGIN) >> 20;

/// The reserve of a store.
pub(super) struct Reserve {
    path: PathBuf,
    held: bool,
}

impl Reserve {
    /// The reserve beside a store, made if there is room for it; and whether there was not.
    ///
    /// # Errors
    /// When something that is none lies in its place: it would be overwritten and removed.
    pub(super) fn beside(store: &Path) -> Result<(Self, bool), BackendError> {
        let path = store.with_file_name(FILE);
        let found = look(&path);
        if let Ok(Found::Foreign(why)) = &found {
            return Err(BackendError::failed(plain::refusal(&path, why)));
        }
        let made = found.and_then(|found| make(&path, found));
        let is_full = made.as_ref().is_err_and(is_no_room);
        if let Err(error) = &made {
            let path = path.display();
            tracing::warn!(%error, "{path} cannot be made: a full disk will stop the store");
        }
        Ok((Self { path, held: made.is_ok() }, is_full))
    }

    /// Gives the room up for what must be written. Says whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        std::mem::take(&mut self.held) && remove(&self.path)
    }

    /// Makes it again, where it was given up, if there is room for it. Says whether there is, and
    /// some beside it.
    pub(super) fn refill(&mut self) -> bool {
        let is_room = free_beside(&self.path) >= SIZE + MARGIN;
        if self.held {
            return is_room;
        }
        is_room && self.restore()
    }

    /// Makes it again, where it was given up, whether or not anything is left beside it. Says
    /// whether it is there.
    pub(super) fn restore(&mut self) -> bool {
        let make = || look(&self.path).and_then(|found| make(&self.path, found));
        self.held = self.held || make().is_ok();
        self.held
    }
}

/// Gives up the reserve beside a store that is not open yet, which needs room for that. Says
/// whether there was any.
pub(super) fn give_up_beside(store: &Path) -> bool {
    remove(&store.with_file_name(FILE))
}

/// How many bytes are free on the filesystem that a file is on; as many as there can be where that
/// is not told.
pub(super) fn free_beside(path: &Path) -> u64 {
    let dir = path.parent().unwrap_or(Path::new("/"));
    rustix::fs::statvfs(dir).map_or(u64::MAX, |room| room.f_bavail * room.f_frsize)
}

/// Whether a failure is for want of room.
fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Removes a reserve. Says whether one was there.
fn remove(path: &Path) -> bool {
    matches!(look(path), Ok(Found::Ours(_))) && std::fs::remove_file(path).is_ok()
}

/// Why what lies where the reserve is kept is none; `None`: it is one, or nothing is there.
#[must_use]
pub fn why_no_reserve(path: &Path) -> Option<String> {
    match look(path) {
        Ok(Found::Foreign(why)) => Some(why),
        Ok(Found::Nothing | Found::Ours(_)) => None,
        Err(error) => Some(format!("cannot be looked at: {error}")),
    }
}

/// What lies where the reserve is kept.
enum Found {
    Nothing,
    Ours(File),
    /// Something else, and how that is told.
    Foreign(String),
}

/// Looks at what lies there. Of a reserve everything is zero, also of one that was begun.
fn look(path: &Path) -> io::Result<Found> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => {
            if let Some(why) = plain::why_foreign(&found) {
                return Ok(Found::Foreign(why));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    }
    let file = plain::open(path, File::options().read(true).write(true))?;
    if file.metadata()?.len() > SIZE || !is_zero(&file)? {
        return Ok(Found::Foreign("holds something else than room".to_owned()));
    }
    Ok(Found::Ours(file))
}

/// Whether a file holds nothing but zeros.
///
/// Room that was allocated and never written to is skipped: reading all of it takes as long as the
/// rest of a start. Where the filesystem cannot tell it from data it is read like that.
fn is_zero(file: &File) -> io::Result<bool> {
    let mut piece = [0; 64 << 10];
    let mut at = 0;
    // It may grow meanwhile.
    while at <= SIZE {
        at = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => return Ok(true),
            data => data.unwrap_or(at),
        };
        let read = file.read_at(&mut piece, at)?;
        if read == 0 {
            return Ok(true);
        }
        if piece[..read].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += read as u64;
    }
    Ok(false)
}

/// Makes the file of what lies in its place.
fn make(path: &Path, found: Found) -> io::Result<()> {
    let file = match found {
        Found::Ours(file) if file.metadata()?.blocks() * 512 >= SIZE => return Ok(()),
        Found::Ours(file) => file,
        Found::Nothing => plain::open(path, File::options().write(true).create_new(true))?,
        Found::Foreign(why) => return Err(io::Error::other(plain::refusal(path, &why))),
    };
    let made = fill(&file);
    if made.is_err() {
        // What there is of it takes room that somebody else needs.
        let _ = std::fs::remove_file(path);
    }
    made
}

/// Has the room really allocated.
fn fill(mut file: &File) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, SIZE) {
        // Not every filesystem can.
        Err(Errno::OPNOTSUPP) => {
            io::Seek::rewind(&mut file)?;
            io::copy(&mut io::repeat(0).take(SIZE), &mut file)?;
            file.sync_all()
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reserve_is_written_to_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, path) = (dir.path().join("hostler.db"), dir.path().join(FILE));
        let letter = dir.path().join("letter");
        std::fs::write(&letter, "dear").unwrap();
        let large = "x".repeat(5 << 20);
        for content in ["dear", &large] {
            std::fs::write(&path, content).unwrap();
            let said = Reserve::beside(&store).err().unwrap().to_string();
            assert!(said.contains(FILE) && said.contains("move it away"), "{said}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        for (name, made) in [("hard", "ln"), ("soft", "ln -s")] {
            std::fs::remove_file(&path).unwrap();
            let mut words = made.split(' ');
            let mut link = std::process::Command::new(words.next().unwrap());
            assert!(link.args(words).arg(&letter).arg(&path).status().unwrap().success());
            assert!(Reserve::beside(&store).is_err(), "{name}");
            assert_eq!(std::fs::read_to_string(&letter).unwrap(), "dear");
        }
        std::fs::remove_file(&path).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(Reserve::beside(&store).is_err() && path.exists());
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        // Nor what holds something behind a hole, or too much of one.
        let file = File::create(&path).unwrap();
        file.set_len(SIZE + 1).unwrap();
        assert!(Reserve::beside(&store).is_err() && path.exists());
        file.set_len(SIZE).unwrap();
        file.write_at(b"dear", SIZE - 4).unwrap();
        assert!(Reserve::beside(&store).is_err() && path.exists());
        std::fs::remove_file(&path).unwrap();
        // One that was begun is made whole; one that was replaced stays.
        std::fs::write(&path, [0; 100]).unwrap();
        let (mut reserve, is_full) = Reserve::beside(&store).unwrap();
        assert!(!is_full);
        assert!(reserve.held && path.metadata().unwrap().blocks() * 512 >= SIZE);
        std::fs::write(&path, "dear").unwrap();
        assert!(!reserve.give_up() && path.exists() && !reserve.refill());
        std::fs::remove_file(&path).unwrap();
        assert!(reserve.refill() && reserve.give_up() && !path.exists());
    }
}
