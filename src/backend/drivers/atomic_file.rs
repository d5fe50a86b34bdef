//! Files that appear whole or not at all, also when the machine loses power meanwhile.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};

use crate::backend::state_files::beneath::Folder;
use crate::file::{self, gone};

/// Writes a small file under a name of its own beside its place, flushes it, and renames it there.
/// What else is there is neither followed nor overwritten.
///
/// # Errors
/// Whatever the filesystem says.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Folder::at(path.parent().unwrap_or(Path::new("")))?.write(name, content)
}

/// Flushes a finished file and moves it to its place, replacing what was there.
///
/// # Errors
/// Whatever the filesystem says.
pub fn publish(finished: &Path, path: &Path) -> io::Result<()> {
    file::open(finished)?.sync_all()?;
    std::fs::rename(finished, path)?;
    sync_dir(path)
}

/// Flushes a finished file and moves it to its place, unless something is there already.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when something is there; else whatever the filesystem says.
pub fn publish_new(finished: &Path, path: &Path) -> io::Result<()> {
    file::open(finished)?.sync_all()?;
    match rustix::fs::renameat_with(CWD, finished, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // Not every filesystem knows the flag (NFS, some FUSE ones).
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !path.exists() => {
            std::fs::rename(finished, path)?;
        }
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Err(error) => return Err(error.into()),
    }
    sync_dir(path)
}

/// Flushes the folder a file is in, so that its name survives too.
///
/// # Errors
/// Whatever the filesystem says.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Removes a file; that it is not there is success.
///
/// # Errors
/// Whatever else the filesystem says.
pub fn remove(path: &Path) -> io::Result<()> {
    gone(std::fs::remove_file(path))
}

/// Removes a folder with all that is in it; that it is not there is success.
///
/// # Errors
/// Whatever else the filesystem says.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    gone(std::fs::remove_dir_all(path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_beside_is_neither_followed_nor_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let (path, beside) = (home.path().join("x"), home.path().join(".x.partial"));
        fs::write(home.path().join("precious"), "precious").unwrap();
        symlink("precious", &beside).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_to_string(home.path().join("precious")).unwrap(), "precious");
        fs::remove_file(&beside).unwrap();
        fs::write(&beside, "mine").unwrap();
        write(&path, b"newer").unwrap();
        assert_eq!(fs::read_to_string(&beside).unwrap(), "mine");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3, "nothing else is left");
    }
}
