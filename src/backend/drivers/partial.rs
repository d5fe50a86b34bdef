//! A file that appears whole or not at all.
//!
//! It is written in a hidden folder of its own beside its place, and renamed when it is whole. The
//! folder's name is new each time, so a tool that outlived an earlier run cannot write into it.
//!
//! Own code: `tempfile` removes what a living process has dropped. This is written by tools that
//! may outlive us, and is known again, as ours, by the next hostler.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, OFlags, flock};
use uuid::Uuid;

use crate::backend::state_files::beneath::Folder;
use crate::backend::state_files::is_unique;
use crate::domain::Failure;

use super::atomic_file;

/// The file in the folder that is locked for as long as the folder is worked in. It tells our
/// folders from others of such a name, and those of the dead from those of the living.
const LOCK_FILE: &str = ".hostler";

/// A file that is being made. Dropping it without [`Partial::publish`] removes what there is.
#[derive(Debug)]
pub struct Partial {
    target: PathBuf,
    folder: PathBuf,
    /// The lock goes with the file.
    _lock: File,
}

impl Partial {
    /// Begins to make `target`, and removes what earlier runs left of it.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn begin(target: &Path) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::small(format!("make {}", target.display()), &error);
        let (target, parent, mut name) = parts(target).map_err(failed)?;
        fs::create_dir_all(&parent).map_err(failed)?;
        clear(&parent, &name).map_err(failed)?;
        name.push(Uuid::new_v4().simple().to_string());
        let folder = parent.join(name);
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let lock = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join(LOCK_FILE))
            .inspect(|lock| {
                // Nobody else knows the name. Where there are no locks, nothing is cleared either.
                let _ = flock(lock, FlockOperation::NonBlockingLockExclusive);
            });
        match lock {
            Ok(lock) => Ok(Self { target, folder, _lock: lock }),
            Err(error) => {
                // The error that matters is the first.
                let _ = fs::remove_dir(&folder);
                Err(failed(error))
            }
        }
    }

    /// Removes what earlier runs left of `target`, which was found made.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn clear(target: &Path) -> Result<(), Failure> {
        parts(target)
            .and_then(|(_, parent, name)| clear(&parent, &name))
            .map_err(|error| Failure::io(format!("make {}", target.display()), &error))
    }

    /// A file in the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Puts a whole file of the folder in its place, so that it is there after a power cut too.
    /// Blocks until the disk has it.
    ///
    /// # Errors
    /// When the disk is full or broken.
    pub fn publish(self, name: &str) -> Result<(), Failure> {
        atomic_file::publish(&self.file(name), &self.target)
            .map_err(|error| Failure::io(format!("make {}", self.target.display()), &error))
    }

    /// Like [`Partial::publish`], and fails where something has taken the place meanwhile.
    ///
    /// # Errors
    /// When the place is taken, or the disk is full or broken.
    pub fn publish_new(self, name: &str) -> Result<(), Failure> {
        atomic_file::publish_new(&self.file(name), &self.target)
            .map_err(|error| Failure::io(format!("make {}", self.target.display()), &error))
    }
}

/// A target as an absolute path, its folder, and how the names of its partial folders begin.
fn parts(target: &Path) -> io::Result<(PathBuf, PathBuf, OsString)> {
    let target = std::path::absolute(target)?;
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(io::Error::other("it is no file"));
    };
    let mut begins = OsString::from(".");
    begins.push(name);
    begins.push(".partial-");
    let parent = parent.to_owned();
    Ok((target, parent, begins))
}

/// Removes the folders of runs that have ended. What is not provably ours stays: another user's,
/// one that others may write to, one without our lock, one in use, a link.
fn clear(parent: &Path, begins: &OsStr) -> io::Result<()> {
    let parent = Folder::at(parent)?;
    for name in parent.names()? {
        let unique = name.as_encoded_bytes().strip_prefix(begins.as_encoded_bytes());
        if !unique.is_some_and(|it| std::str::from_utf8(it).is_ok_and(is_unique)) {
            continue;
        }
        let Ok(folder) = parent.folder(&name) else { continue };
        let found = folder.metadata()?;
        let me = rustix::process::geteuid().as_raw();
        if found.uid() != me || found.permissions().mode() & 0o777 != 0o700 {
            continue;
        }
        // A pipe of that name must not keep us waiting.
        let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
        let lock = folder.held().join(LOCK_FILE);
        match File::options().write(true).custom_flags(flags).open(lock) {
            Ok(lock) if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() => {
                remove(&parent, &name)?;
            }
            // Its maker ended before it was locked; it goes when it is empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _ = fs::remove_dir(parent.held().join(&name));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes a folder of ours. What tells it for ours goes last: one whose removal was cut short is
/// known again.
fn remove(parent: &Folder, name: &OsStr) -> io::Result<()> {
    let folder = parent.folder(name)?;
    for inner in folder.names()?.iter().filter(|inner| *inner != LOCK_FILE) {
        match folder.found(inner)? {
            Some(FileType::Directory) => folder.remove_folder(inner)?,
            _ => folder.remove_file(inner)?,
        }
    }
    parent.remove_folder(name)
}

#[cfg(test)]
impl Partial {
    /// Ends as a killed process does: what there is stays.
    pub fn die(self) -> PathBuf {
        let (folder, lock) = (self.folder.clone(), self._lock.try_clone().unwrap());
        flock(lock, FlockOperation::Unlock).unwrap();
        std::mem::forget(self);
        folder
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let (Some(parent), Some(name)) = (self.folder.parent(), self.folder.file_name()) {
            // What cannot be removed now is removed by the next run.
            let _ = Folder::at(parent).and_then(|parent| remove(&parent, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;
    use std::os::unix::fs::symlink;

    use rustix::fs::inotify;

    use super::*;

    #[test]
    fn what_only_looks_like_ours_stays_and_what_is_ours_goes() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("x");
        let users = home.path().join(".x.partial-y");
        fs::create_dir(&users).unwrap();
        fs::write(users.join("thesis"), "precious").unwrap();
        let like = home.path().join(format!(".x.partial-{}", Uuid::new_v4().simple()));
        fs::create_dir(&like).unwrap();
        fs::write(like.join("thesis"), "precious").unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("thesis"), "precious").unwrap();
        let link = home.path().join(format!(".x.partial-{}", Uuid::new_v4().simple()));
        symlink(outside.path(), &link).unwrap();

        let lives = Partial::begin(&target).unwrap();
        assert_eq!(fs::metadata(&lives.folder).unwrap().mode() & 0o777, 0o700);
        let died = Partial::begin(&target).unwrap();
        fs::write(died.file("raw"), "").unwrap();
        let left = died.die();
        assert!(left.exists());
        let last = Partial::begin(&target).unwrap();
        assert!(!left.exists(), "an earlier run's");
        for kept in [users.join("thesis"), like.join("thesis"), outside.path().join("thesis")] {
            assert_eq!(fs::read_to_string(&kept).unwrap(), "precious", "{}", kept.display());
        }
        assert!(lives.folder.exists(), "another run's that is still at work");
        fs::write(last.file("made"), "made").unwrap();
        last.publish("made").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "made");
    }

    #[test]
    fn what_tells_it_for_ours_goes_last() {
        let home = tempfile::tempdir().unwrap();
        let partial = Partial::begin(&home.path().join("x")).unwrap();
        for name in 0..20 {
            fs::write(partial.file(&name.to_string()), "").unwrap();
            // Somewhere in the middle, also where a folder lists what is newest first.
            if name == 10 {
                fs::rename(partial.file(LOCK_FILE), partial.file("aside")).unwrap();
                fs::rename(partial.file("aside"), partial.file(LOCK_FILE)).unwrap();
            }
        }
        let changes = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&changes, &partial.folder, inotify::WatchFlags::DELETE).unwrap();
        drop(partial);
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut changes = inotify::Reader::new(changes, &mut buffer);
        let gone: Vec<_> = (0..21)
            .map(|_| changes.next().unwrap().file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(gone[20], LOCK_FILE, "{gone:?}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
