//! Files and folders that kinds move and remove themselves. Each call finds the work done and calls
//! that success.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::domain::Failure;

/// Makes the folder a file is to be in, readable by the owner alone.
///
/// # Errors
/// When it cannot be made.
pub fn make_room(path: &Path) -> Result<(), Failure> {
    let Some(dir) = path.parent() else { return Ok(()) };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Failure::io(format!("make {}", dir.display()), &error))
}

/// Removes a file, or finds it gone.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_file(path: &Path) -> Result<(), Failure> {
    gone(fs::remove_file(path), path)
}

/// Removes a folder with everything in it, or finds it gone. Without a point to be cancelled at: it
/// is removed whole or its failure is told.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove_dir(path: &Path) -> Result<(), Failure> {
    gone(fs::remove_dir_all(path), path)
}

fn gone(removed: std::io::Result<()>, path: &Path) -> Result<(), Failure> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::io(format!("remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// Moves a file or folder, or finds it moved. It is under its new name on disk when this returns.
///
/// # Errors
/// When it is at neither place, or something else is at the new one.
pub fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    let what = || format!("move {} to {}", from.display(), to.display());
    match (from.exists(), to.exists()) {
        (false, true) => return Ok(()),
        (true, true) => {
            return Err(Failure::new(format!("cannot {}: both are there", what())));
        }
        _ => {}
    }
    make_room(to)?;
    let moved = fs::rename(from, to).and_then(|()| {
        [from.parent(), to.parent()]
            .into_iter()
            .flatten()
            .try_for_each(|dir| fs::File::open(dir)?.sync_all())
    });
    moved.map_err(|error| Failure::io(what(), &error))
}

/// Moves a folder aside, where it is to be removed. One that was never made is nothing to move.
///
/// # Errors
/// When it cannot be moved.
pub fn set_aside(dir: &Path, aside: &Path) -> Result<(), Failure> {
    if dir.exists() { rename(dir, aside) } else { Ok(()) }
}

/// Undoes a move, or finds that it never happened.
///
/// # Errors
/// When the thing is at neither place, or cannot be moved.
pub fn put_back(moved: &Path, home: &Path) -> Result<(), Failure> {
    if home.exists() && !moved.exists() { Ok(()) } else { rename(moved, home) }
}

/// Where a folder is moved before it is removed, so that it is removed as a whole or not at all.
#[must_use]
pub fn aside(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    dir.with_file_name(format!("{name}.deleted"))
}

/// What a file takes on the box, in bytes; 0 where there is none.
#[must_use]
pub fn bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}
