//! The files that a process has open, as the kernel tells of them: where each is by now, and where
//! one was that was removed or replaced. Knows nobody.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

/// What the kernel puts behind the path of a file that lies there no more.
const REMOVED: &[u8] = b" (deleted)";
/// The bits of a descriptor's flags that say how it is used, see open(2).
const ACCESS: u32 = 0o3;
/// Their value where it is both read and written.
const READ_AND_WRITE: u32 = 0o2;

/// A file that a process has open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OpenFile {
    /// Where it is, or was before it was removed or replaced.
    pub(crate) path: PathBuf,
    /// What it is.
    pub(crate) is: Identity,
}

/// Device and inode: what a file is, whatever it is called.
pub(crate) type Identity = (u64, u64);

/// Returns what lies at a path, links followed; `None` when nothing does.
pub(crate) fn identity(path: impl AsRef<Path>) -> Option<Identity> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether a process has a file in a folder open, such as its log or its pidfile. A folder that
/// was removed is known by where it was. `None`: the process is gone, or nobody may look into it.
pub(crate) fn works_in(pid: Pid, dir: &Path) -> Option<bool> {
    let (found, dir) = (identity(dir), resolved(dir));
    let is_it = |around: &Path| match (found, identity(around)) {
        (Some(found), Some(it)) => found == it,
        _ => around == dir,
    };
    let works = descriptors(pid)?.any(|descriptor| {
        let path = fs::read_link(descriptor);
        path.is_ok_and(|file| file.is_absolute() && file.parent().is_some_and(is_it))
    });
    Some(works)
}

/// Returns the processes that have a file in a folder open, as far as they may be looked into.
pub(crate) fn workers(dir: &Path) -> impl Iterator<Item = Pid> {
    processes().filter(move |pid| works_in(*pid, dir) == Some(true))
}

/// Returns the processes of the box; none where that is not told.
pub(crate) fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// Returns the regular files that a process both reads and writes.
pub(crate) fn written(pid: Pid) -> Vec<OpenFile> {
    let open = descriptors(pid).into_iter().flatten().filter_map(|descriptor| {
        let found = fs::metadata(&descriptor).ok()?;
        if !found.is_file() || !is_written(pid, &descriptor) {
            return None;
        }
        let path = fs::read_link(&descriptor).ok()?;
        Some(OpenFile { path: place(path), is: (found.dev(), found.ino()) })
    });
    open.collect()
}

/// The links to what a process has open; `None` where it is gone, or somebody else's.
fn descriptors(pid: Pid) -> Option<impl Iterator<Item = PathBuf>> {
    let open = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())).ok()?;
    Some(open.flatten().map(|entry| entry.path()))
}

/// Whether a descriptor was opened to be read and written.
fn is_written(pid: Pid, descriptor: &Path) -> bool {
    let name = descriptor.file_name().unwrap_or_default().display();
    let told = fs::read_to_string(format!("/proc/{}/fdinfo/{name}", pid.as_raw_pid()));
    let told = told.unwrap_or_default();
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & ACCESS == READ_AND_WRITE)
}

/// Where a file is, or was, that the kernel tells of. One may really be called `x (deleted)`.
fn place(told: PathBuf) -> PathBuf {
    match told.as_os_str().as_bytes().strip_suffix(REMOVED) {
        Some(place) if !told.exists() => std::ffi::OsString::from_vec(place.to_vec()).into(),
        _ => told,
    }
}

/// A path as the kernel tells it, with no link left in it, also where its end was removed.
fn resolved(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(resolved), ..) => resolved,
        (Err(_), Some(around), Some(name)) => resolved(around).join(name),
        (Err(_), ..) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_works_in_a_folder_is_found_also_when_that_is_removed_and_reached_by_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("state/vms/1")).unwrap();
        fs::create_dir_all(at("copy/vms/1")).unwrap();
        std::os::unix::fs::symlink(at("state"), at("link")).unwrap();
        let me = rustix::process::getpid();
        let _log = fs::File::create(at("state/vms/1/log")).unwrap();
        for (folder, works) in [("state/vms/1", true), ("link/vms/1", true), ("copy/vms/1", false)]
        {
            assert_eq!(works_in(me, &at(folder)), Some(works), "{folder}");
        }
        for removed in ["state/vms/1", "state/vms"] {
            fs::remove_dir_all(at(removed)).unwrap();
            for (folder, works) in
                [("state/vms/1", true), ("link/vms/1", true), ("copy/vms/1", false)]
            {
                assert_eq!(works_in(me, &at(folder)), Some(works), "{folder}");
                assert_eq!(workers(&at(folder)).any(|pid| pid == me), works, "{folder}");
            }
        }
    }

    #[test]
    fn of_a_process_that_is_gone_nothing_is_said() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        child.wait().unwrap();
        assert_eq!(works_in(pid, Path::new("/")), None);
        assert_eq!(written(pid), []);
    }

    #[test]
    fn a_file_that_is_written_is_told_with_its_place_also_when_another_has_that() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        let me = rustix::process::getpid();
        let open = |name: &str| {
            let file = fs::File::options().read(true).write(true).create_new(true).open(at(name));
            let found = file.as_ref().unwrap().metadata().unwrap();
            (file.unwrap(), OpenFile { path: at(name), is: (found.dev(), found.ino()) })
        };
        let (_disk, disk) = open("disk");
        let (_odd, odd) = open("odd (deleted)");
        let _log = fs::File::create(at("log")).unwrap();
        let told = || {
            let mut told = written(me);
            told.retain(|file| file.path.starts_with(dir.path().canonicalize().unwrap()));
            told.sort_by(|one, other| one.path.cmp(&other.path));
            told
        };
        assert_eq!(told(), [&disk, &odd].map(|it| OpenFile { path: it.path.clone(), is: it.is }));
        fs::write(at("backup"), "other").unwrap();
        fs::rename(at("backup"), at("disk")).unwrap();
        assert_eq!(told()[0], disk);
        assert!(identity(at("disk")).is_some_and(|it| it != disk.is));
    }
}
