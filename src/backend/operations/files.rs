//! Files and folders that kinds make, move and remove themselves. Each call finds the work done and
//! calls that success; none follows a link below the state directory.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{Access, AtFlags, CWD, FileType, FlockOperation, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::backend::engine::journal::Stop;
use crate::backend::engine::store::plain;
use crate::backend::settings::Settings;
use crate::backend::state_files::beneath::Folder;
use crate::backend::state_files::mark::Mark;
use crate::backend::state_files::{self, DISK_FOLDER, TRASH, description};
use crate::domain::{Failure, FileIdentity, ResourceId};
use crate::file;

use super::{Context, StepContext};

/// Marks the place of a resource as being filled by this operation, or finds that it did. What lies
/// there from then on is its own.
///
/// # Errors
/// When something lies there that is not this operation's.
pub fn claim(cx: &Context, id: ResourceId) -> Result<(), Failure> {
    let dir = &cx.settings().state_dir;
    let failed = |error: io::Error| Failure::small(format!("make {id}"), &error);
    let taken = |path: &Path| {
        Failure::new(format!(
            "cannot make {id}: {} is there already, and this operation has not made it; move it \
             away and relaunch",
            path.display()
        ))
    };
    match Mark::read(dir, id).map_err(failed)? {
        Some(mark) if mark == cx.mark() => return Ok(()),
        Some(_) => return Err(taken(&state_files::mark::path(dir, id).map_err(failed)?)),
        None => {}
    }
    match state_files::found(dir, id).map_err(failed)? {
        Some(path) => Err(taken(&path)),
        None => cx.mark().write(dir, id).map_err(failed),
    }
}

/// Undoes [`claim`] and what was done to the place since, with `remove`. A place that was never
/// this operation's stays as it is.
///
/// # Errors
/// When something cannot be removed.
pub async fn unmake(
    cx: &Context,
    id: ResourceId,
    remove: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let dir = &cx.settings().state_dir;
    let failed = |error: io::Error| Failure::io(format!("remove the files of {id}"), &error);
    if Mark::read(dir, id).map_err(failed)? == Some(cx.mark()) {
        remove.await?;
        // Last, so that what is left of it is still known as ours.
        Mark::remove(dir, id).map_err(failed)?;
    }
    Ok(())
}

/// Removes the files of a VM or disk, or finds them gone.
///
/// # Errors
/// When something cannot be removed.
pub async fn remove(cx: &Context, id: ResourceId) -> Result<(), Failure> {
    state_files::remove(&cx.settings().state_dir, id)
        .map_err(|error| Failure::io(format!("remove the files of {id}"), &error))
}

/// Removes a disk from the trash, or finds it gone.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_trashed(settings: &Settings, disk: u64) -> Result<(), Failure> {
    let root = &settings.state_dir;
    // Its description may lie where the disk was before: it is written after the disk has moved.
    let described = [TRASH, DISK_FOLDER].map(|folder| description::of_disk(root, folder, disk));
    for path in [settings.trash_path(disk)].into_iter().chain(described) {
        let removed = Folder::of(root, &path).and_then(|(folder, name)| folder.remove_file(name));
        gone(removed, &path)?;
    }
    Ok(())
}

/// Looks whether what a tool is to be given is a plain file of ours that no link leads to: tools
/// follow links, and would write to whatever is behind one. That it is not there
/// is for them to tell.
///
/// # Errors
/// When it is anything else.
pub fn own(settings: &Settings, path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(format!("look at {}", path.display()), &error);
    let (folder, name) = match Folder::of(&settings.state_dir, path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?,
    };
    match fs::symlink_metadata(folder.held().join(name)) {
        Ok(found) => match plain::why_foreign(&found) {
            Some(why) => Err(Failure::new(plain::refusal(path, &why))),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Looks whether a disk's file is open in a QEMU, which locks it: after an older database was put
/// back, one may use a disk that the record calls free.
///
/// # Errors
/// When it is in use. That it is not there is none.
pub fn unused(settings: &Settings, path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(format!("look at {}", path.display()), &error);
    let (folder, name) = match Folder::of(&settings.state_dir, path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?,
    };
    if folder.found(name).map_err(failed)? != Some(FileType::RegularFile) {
        return Ok(());
    }
    let mut both = fs::File::options();
    let file = plain::open(&folder.held().join(name), both.read(true).write(true));
    // The lock goes with the file.
    match rustix::fs::fcntl_lock(file.map_err(failed)?, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN | Errno::ACCESS) => Err(Failure::refused(format!(
            "{} is in use by a QEMU, although the database does not say so; an older copy of the \
             database may have been put back. Shut that guest down, then relaunch",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Makes the folder a file is to be in, readable by the owner alone.
///
/// # Errors
/// When it cannot be made.
pub fn make_room(settings: &Settings, path: &Path) -> Result<(), Failure> {
    let Some(dir) = path.parent() else { return Ok(()) };
    let made = Folder::make(&settings.state_dir, dir).map(drop);
    made.map_err(|error| Failure::small(format!("make {}", dir.display()), &error))
}

/// Which file is there; `None`: none is.
///
/// # Errors
/// When it cannot be looked at, or is no regular file.
pub fn identity(path: &Path) -> Result<Option<FileIdentity>, Failure> {
    let failed = |error: io::Error| Failure::io(format!("look at {}", path.display()), &error);
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    if !found.is_file() {
        return Err(Failure::refused(format!("{} is no regular file", path.display())));
    }
    let nanoseconds = i32::try_from(found.mtime_nsec()).unwrap_or_default();
    let modified = Timestamp::new(found.mtime(), nanoseconds)
        .map_err(|error| failed(io::Error::other(error)))?;
    Ok(Some(FileIdentity { inode: found.ino(), bytes: found.len(), modified }))
}

/// Removes a file wherever it is, or finds it gone.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_file(path: &Path) -> Result<(), Failure> {
    gone(fs::remove_file(path), path)
}

/// Looks whether a file can be removed, as far as that can be known before, or finds it gone.
///
/// # Errors
/// When its folder cannot be written to, or it is marked as one that must not change.
pub fn removable(path: &Path) -> Result<(), Failure> {
    let failed = |error: Errno| Failure::io(format!("remove {}", path.display()), &error.into());
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let attributes = match rustix::fs::statx(CWD, path, flags, StatxFlags::empty()) {
        Ok(found) => found.stx_attributes,
        Err(Errno::NOENT) => return Ok(()),
        // This system cannot tell.
        Err(Errno::NOSYS) => StatxAttributes::empty(),
        Err(error) => return Err(failed(error)),
    };
    if attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
        return Err(failed(Errno::PERM));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(failed)
}

/// Removes a folder with everything in it, or finds it gone. Without a point to be cancelled at: it
/// is removed whole or its failure is told.
///
/// # Errors
/// When something in it cannot be removed.
fn remove_dir(settings: &Settings, path: &Path) -> Result<(), Failure> {
    let removed =
        Folder::of(&settings.state_dir, path).and_then(|(folder, name)| folder.remove_folder(name));
    gone(removed, path)
}

/// What comes of removing something: that it is not there is success.
fn gone(removed: io::Result<()>, path: &Path) -> Result<(), Failure> {
    let gone = file::gone(removed);
    gone.map_err(|error| Failure::io(format!("remove {}", path.display()), &error))
}

/// Moves a file or folder, or finds it moved. It is under its new name on disk when this returns.
///
/// # Errors
/// When it is at neither place, or something else is at the new one.
pub fn rename(settings: &Settings, from: &Path, to: &Path) -> Result<(), Failure> {
    let root = &settings.state_dir;
    let what = || format!("move {} to {}", from.display(), to.display());
    let failed = |error: io::Error| Failure::small(what(), &error);
    make_room(settings, to)?;
    let (there, new) = Folder::of(root, to).map_err(failed)?;
    let is_there = there.found(new).map_err(failed)?.is_some();
    let (here, old) = match Folder::of(root, from) {
        Err(error) if error.kind() == ErrorKind::NotFound && is_there => return Ok(()),
        found => found.map_err(failed)?,
    };
    match (here.found(old).map_err(failed)?.is_some(), is_there) {
        (false, true) => Ok(()),
        (true, true) => Err(Failure::new(format!("cannot {}: both are there", what()))),
        _ => here.rename(old, &there, new).map_err(failed),
    }
}

/// The two steps in which a folder is removed as a whole or not at all: `aside` moves it away,
/// unless `may` says why not, and `files`, from which there is no way back, removes it and does
/// what `then` says. A folder that was never made is nothing to remove.
pub async fn delete<F, Fut>(
    cx: &Context,
    dir: &Path,
    may: F,
    then: impl Fn(&StepContext) -> Result<(), Failure>,
) -> Result<(), Stop>
where
    F: Fn(StepContext) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let (dir, aside) = (dir.to_owned(), dir.with_file_name(format!("{name}.deleted")));
    let (home, moved) = (dir.clone(), aside.clone());
    cx.step("aside")
        .label("putting its files aside")
        .undo(move |step| {
            let moved = set_aside(step.cx().settings(), &moved, &home);
            async move { moved }
        })
        .run(|step| {
            let (may, dir, aside) = (may(step.clone()), &dir, &aside);
            async move {
                may.await?;
                set_aside(step.cx().settings(), dir, aside)
            }
        })
        .await?;
    cx.step("files")
        .label("removing its files")
        .pivot()
        .run(|step| {
            let removed = remove_dir(step.cx().settings(), &aside).and_then(|()| then(&step));
            async move { removed }
        })
        .await
}

/// Moves a folder, or finds it moved, or that it was never made.
fn set_aside(settings: &Settings, dir: &Path, aside: &Path) -> Result<(), Failure> {
    let there = Folder::of(&settings.state_dir, dir).and_then(|(folder, name)| folder.found(name));
    match there {
        Ok(Some(_)) => rename(settings, dir, aside),
        Ok(None) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::io(format!("move {}", dir.display()), &error)),
    }
}

/// What a file takes on the box, in bytes; 0 where there is none.
#[must_use]
pub fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}

#[cfg(test)]
mod tests;
