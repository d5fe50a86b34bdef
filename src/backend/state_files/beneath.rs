//! Folders held open, and what is done to the files in them: no link below the state directory is
//! ever followed, so that nothing outside of it is written, renamed or removed.
//!
//! A name is looked up in an open folder, not along a path, so that nobody can put a link in
//! between. The state directory itself may be reached by links.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use uuid::Uuid;

/// What opens a folder, and nothing else.
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The largest file that is read whole: descriptions and marks are a few kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How often a folder is removed again when something came into it meanwhile.
const REMOVE_TRIES: u32 = 20;

/// A folder that is held open.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    /// For messages.
    path: PathBuf,
}

impl Folder {
    /// Opens a folder wherever it is; links on the way there are followed.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn at(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let fd = rustix::fs::open(path, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens a folder of the state directory `root` without following a link below that. `path`
    /// begins with `root`.
    ///
    /// # Errors
    /// When there is a link on the way, or whatever else the filesystem says.
    pub fn beneath(root: &Path, path: &Path) -> io::Result<Self> {
        names(root, path)?.iter().try_fold(Self::at(root)?, |folder, name| folder.folder(name))
    }

    /// Like [`Folder::beneath`], and makes what is missing, readable by the owner alone.
    ///
    /// # Errors
    /// When there is a link on the way, or whatever else the filesystem says.
    pub fn make(root: &Path, path: &Path) -> io::Result<Self> {
        names(root, path)?.iter().try_fold(Self::at(root)?, |folder, name| {
            match rustix::fs::mkdirat(&folder.fd, *name, Mode::RWXU) {
                Ok(()) => folder.sync()?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            folder.folder(name)
        })
    }

    /// Opens the folder in which the last name of `path` is looked up, and returns that name.
    ///
    /// # Errors
    /// As [`Folder::beneath`].
    pub fn of<'p>(root: &Path, path: &'p Path) -> io::Result<(Self, &'p OsStr)> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok((Self::beneath(root, parent)?, name)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Opens a folder in this one.
    ///
    /// # Errors
    /// When it is a link, or whatever else the filesystem says.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = name.as_ref();
        match rustix::fs::openat(&self.fd, name, FOLDER, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: self.path.join(name) }),
            Err(Errno::LOOP | Errno::NOTDIR) if self.is_link(name) => Err(self.link(name)),
            Err(error) => Err(error.into()),
        }
    }

    /// What has that name; `None`: nothing has.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn found(&self, name: impl AsRef<OsStr>) -> io::Result<Option<FileType>> {
        match rustix::fs::statat(&self.fd, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The names in the folder, sorted.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let entries = std::fs::read_dir(self.held())?;
        let mut names: Vec<_> =
            entries.map(|entry| entry.map(|it| it.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    /// Reads a small file; `None`: there is none.
    ///
    /// # Errors
    /// When it is a link, no file or a large one, or whatever else the filesystem says.
    pub fn read(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Vec<u8>>> {
        let name = name.as_ref();
        // A pipe of that name must not keep us waiting.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(self.link(name)),
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        if !found.is_file() || found.len() > MAX_FILE_BYTES {
            return Err(io::Error::other("it is no small file"));
        }
        let mut content = Vec::new();
        (&mut file).take(MAX_FILE_BYTES).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// Writes a small file that appears whole or not at all, also when the machine loses power. A
    /// link of that name is replaced, not followed.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn write(&self, name: impl AsRef<OsStr>, content: &[u8]) -> io::Result<()> {
        let name = name.as_ref();
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(format!(".partial-{}", Uuid::new_v4().simple()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::openat(&self.fd, &beside, flags, mode)?);
        let written = file
            .write_all(content)
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(rustix::fs::renameat(&self.fd, &beside, &self.fd, name)?));
        if written.is_err() {
            // The error that matters is the first.
            let _ = self.remove_file(&beside);
        }
        written?;
        self.sync()
    }

    /// Removes a file, or finds it gone. Of a link, the link itself.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name.as_ref(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a folder with all that is in it, or finds it gone. Links in it are removed, not
    /// followed.
    ///
    /// # Errors
    /// When it is a link, or whatever else the filesystem says.
    pub fn remove_folder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = name.as_ref();
        if self.is_link(name) {
            return Err(self.link(name));
        }
        let mut tries = 0;
        loop {
            match std::fs::remove_dir_all(self.held().join(name)) {
                // A description was being written into it.
                Err(error)
                    if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries < REMOVE_TRIES =>
                {
                    tries += 1;
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => return Ok(()),
            }
        }
    }

    /// Moves what has that name into another folder of the same filesystem, where nothing has the
    /// new name. It is there after a power cut too.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn rename(&self, from: &OsStr, other: &Self, to: &OsStr) -> io::Result<()> {
        if other.found(to)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        rustix::fs::renameat(&self.fd, from, &other.fd, to)?;
        self.sync()?;
        other.sync()
    }

    /// Flushes the folder, so that the names in it survive a power cut.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// The folder as its owner and mode have it.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn metadata(&self) -> io::Result<std::fs::Metadata> {
        std::fs::metadata(self.held())
    }

    /// A path to the open folder itself, whatever becomes of the names that led to it.
    #[must_use]
    pub fn held(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    fn is_link(&self, name: &OsStr) -> bool {
        matches!(self.found(name), Ok(Some(FileType::Symlink)))
    }

    fn link(&self, name: &OsStr) -> io::Error {
        io::Error::other(format!(
            "{} is a link, and hostler follows none there; put a folder or a bind mount in its \
             place",
            self.path.join(name).display()
        ))
    }
}

/// The names that lead from `root` to `path`.
fn names<'p>(root: &Path, path: &'p Path) -> io::Result<Vec<&'p OsStr>> {
    let inside = path.strip_prefix(root).map_err(|_| {
        let (path, root) = (path.display(), root.display());
        io::Error::other(format!("{path} is not below {root}"))
    })?;
    inside
        .components()
        .map(|component| match component {
            Component::Normal(name) => Ok(name),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_on_the_way_is_refused_and_one_at_the_end_is_not_followed() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, outside) = (root.path(), outside.path());
        fs::create_dir(outside.join("1")).unwrap();
        fs::write(outside.join("1/precious"), "precious").unwrap();
        symlink(outside, root.join("images")).unwrap();
        for path in [root.join("images"), root.join("images/1")] {
            for opened in [Folder::beneath(root, &path), Folder::make(root, &path)] {
                assert!(opened.unwrap_err().to_string().contains("is a link"));
            }
        }
        assert!(Folder::beneath(root, &root.join("../x")).is_err());
        assert!(Folder::beneath(root, outside).is_err());

        let vms = Folder::make(root, &root.join("vms")).unwrap();
        symlink(outside.join("1"), root.join("vms/1")).unwrap();
        symlink(outside.join("1/precious"), root.join("vms/x.json")).unwrap();
        assert!(vms.remove_folder("1").unwrap_err().to_string().contains("is a link"));
        assert!(vms.read("x.json").unwrap_err().to_string().contains("is a link"));
        vms.write("x.json", b"new").unwrap();
        assert_eq!(vms.read("x.json").unwrap().unwrap(), b"new");
        assert_eq!(fs::read_to_string(outside.join("1/precious")).unwrap(), "precious");
        assert_eq!(vms.names().unwrap(), ["1", "x.json"]);
        let name = |text| OsStr::new(text);
        vms.rename(name("x.json"), &vms, name("y.json")).unwrap();
        assert!(vms.rename(name("y.json"), &vms, name("1")).is_err(), "something is there");
        vms.remove_file("1").unwrap();
        vms.remove_folder("1").unwrap();
        assert!(outside.join("1").exists());
    }
}
