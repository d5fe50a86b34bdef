//! What lies in the state directory beside the database, and how it is known again.
//!
//! ```text
//!  vms/3/…          vms/3/vm.json          vms/3.making.json
//!  images/2/…       images/2/image.json    images/2.making.json
//!  disks/7.qcow2    disks/7.json           disks/7.making.json
//!  trash/5.qcow2    trash/5.json
//!  the files        the resource as the    while an operation makes it
//!                   database keeps it
//! ```
//!
//! A description lets `hostler recover` take a resource in again when the database is lost; a mark
//! tells an operation's own files from all others. This room knows files, and nothing of queues or
//! of how a resource is made.

pub mod beneath;
pub mod description;
mod history;
pub mod mark;
pub mod moved;
pub mod recover;

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::domain::{Disk, Encoding, Image, ResourceId, ResourceKind, Vm};

use beneath::Folder;

/// The folder of VMs, each in one of its own.
pub const VM_FOLDER: &str = "vms";

/// The folder of disks.
pub const DISK_FOLDER: &str = "disks";

/// The folder of images, each in one of its own.
pub const IMAGE_FOLDER: &str = "images";

/// The folders of what is kept in files of our own, by kind. A kind that is not here has none.
pub const FOLDERS: &[(ResourceKind, &str)] =
    &[(Vm::KIND, VM_FOLDER), (Disk::KIND, DISK_FOLDER), (Image::KIND, IMAGE_FOLDER)];

/// The folder of deleted disks.
pub const TRASH: &str = "trash";

/// The working folders of encodings.
pub const ENCODINGS: &str = "encodings";

/// Numbers from here on are nobody's: no counter comes this far, so they are never met.
const BEYOND: u64 = 1 << 40;

/// The folder of a kind.
///
/// # Errors
/// When resources of that kind are not kept in files.
pub fn folder_of(kind: ResourceKind) -> io::Result<&'static str> {
    let folder = FOLDERS.iter().find(|(of, _)| *of == kind).map(|(_, name)| *name);
    folder.ok_or_else(|| {
        let why =
            format!("no folder is named for the kind {kind}; add it to `state_files::FOLDERS`");
        io::Error::new(io::ErrorKind::Unsupported, why)
    })
}

/// Where below the state directory the files of a resource may lie; nowhere for a kind without.
#[must_use]
pub fn homes(id: ResourceId) -> Vec<PathBuf> {
    match (id.kind, folder_of(id.kind)) {
        (Disk::KIND, _) => vec![DISK_FOLDER.into(), TRASH.into()],
        (_, Ok(folder)) => vec![Path::new(folder).join(id.id.to_string())],
        (_, Err(_)) => Vec::new(),
    }
}

/// The number a name in such a folder begins with: `3`, `3.deleted`, `3.qcow2`,
/// `.3.qcow2.partial-…`.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let name = name.strip_prefix('.').unwrap_or(name);
    let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    let number = name[..digits].parse().ok()?;
    (name[digits..].is_empty() || name[digits..].starts_with('.'))
        .then_some(number)
        .filter(|number| *number < BEYOND)
}

/// What is being made under a name beside its place: `7.qcow2` of `.7.qcow2.partial-…`.
#[must_use]
pub fn target(name: &str) -> Option<&str> {
    let (target, unique) = name.strip_prefix('.')?.split_once(".partial-")?;
    is_unique(unique).then_some(target)
}

/// Whether a name is that of a description or mark whose writer ended before it was whole.
#[must_use]
pub fn is_unwritten(name: &str) -> bool {
    target(name).is_some_and(|target| target.ends_with(".json"))
}

/// Whether a name is that of a file of the owner's alone, which ended before that was whole.
#[must_use]
pub fn is_owners(name: &str) -> bool {
    target(name).is_some_and(|target| target.starts_with("hostler."))
}

/// Whether a text is what we make names unique with: 32 hexadecimal digits.
#[must_use]
pub fn is_unique(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What lies where a resource would, if anything does: its files or a description of it.
///
/// # Errors
/// When its kind has no files, there is a link on the way, or whatever else the filesystem says.
pub fn found(state_dir: &Path, id: ResourceId) -> io::Result<Option<PathBuf>> {
    let number = id.id;
    let names = match id.kind {
        Disk::KIND => vec![
            (DISK_FOLDER, format!("{number}.qcow2")),
            (DISK_FOLDER, format!("{number}.json")),
            (TRASH, format!("{number}.qcow2")),
            (TRASH, format!("{number}.json")),
        ],
        kind => vec![
            (folder_of(kind)?, number.to_string()),
            (folder_of(kind)?, format!("{number}.deleted")),
        ],
    };
    for (folder, name) in names {
        let path = state_dir.join(folder);
        match Folder::beneath(state_dir, &path) {
            Ok(open) if open.found(&name)?.is_some() => return Ok(Some(path.join(name))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(None)
}

/// Removes the files of a VM or disk, or finds them gone: also those that are not whole.
///
/// # Errors
/// When there is a link on the way, or whatever else the filesystem says.
pub fn remove(state_dir: &Path, id: ResourceId) -> io::Result<()> {
    let folder = match Folder::beneath(state_dir, &state_dir.join(folder_of(id.kind)?)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        folder => folder?,
    };
    if id.kind != Disk::KIND {
        return folder.remove_folder(id.id.to_string());
    }
    remove_unfinished(state_dir, id)?;
    folder.remove_file(format!("{}.qcow2", id.id))?;
    folder.remove_file(format!("{}.json", id.id))
}

/// Removes what tools were still writing of a VM, disk or image when their operation ended or was
/// killed. The caller knows by its mark that the place is that operation's.
///
/// # Errors
/// When there is a link on the way, or whatever else the filesystem says.
pub fn remove_unfinished(state_dir: &Path, id: ResourceId) -> io::Result<()> {
    let place = state_dir.join(folder_of(id.kind)?);
    let file = format!("{}.qcow2", id.id);
    let (place, only) = match id.kind {
        Disk::KIND => (place, Some(&*file)),
        _ => (place.join(id.id.to_string()), None),
    };
    let folder = match Folder::beneath(state_dir, &place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        folder => folder?,
    };
    for name in folder.names()? {
        let shown = name.to_string_lossy();
        let is_its = target(&shown).is_some_and(|it| only.is_none_or(|only| it == only));
        if is_its && folder.found(&name)? == Some(FileType::Directory) {
            folder.remove_folder(&name)?;
        }
    }
    Ok(())
}

/// Raises counters above every number that is on disk, whoever put it there: so that what is made
/// from now on never meets a file that the database does not know.
pub fn raise(counters: &mut Vec<(String, u64)>, state_dir: &Path) {
    let places = FOLDERS.iter().copied();
    let others = [(Disk::KIND, TRASH), (Encoding::KIND, ENCODINGS)];
    for (kind, folder) in places.chain(others) {
        let entries = std::fs::read_dir(state_dir.join(folder)).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| number(&entry.file_name().to_string_lossy()));
        let highest = numbers.max().unwrap_or_default();
        match counters.iter_mut().find(|(name, _)| name == kind.word()) {
            Some((_, counter)) => *counter = highest.max(*counter),
            None => counters.push((kind.word().to_owned(), highest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_kept_in_files_has_a_place() {
        let homes = |kind| homes(ResourceId::new(kind, 3));
        assert_eq!(homes(Vm::KIND), [PathBuf::from("vms/3")]);
        assert_eq!(homes(Disk::KIND), [PathBuf::from("disks"), PathBuf::from("trash")]);
        assert!(homes(Encoding::KIND).is_empty());
        let encoding = ResourceId::new(Encoding::KIND, 3);
        let error = found(Path::new("/nowhere"), encoding).unwrap_err().to_string();
        assert!(error.contains("for the kind encoding") && error.contains("FOLDERS"), "{error}");
    }

    #[test]
    fn numbers_are_read_from_names_and_raise_counters() {
        for (name, found) in [
            ("3", Some(3)),
            ("3.deleted", Some(3)),
            (".12.qcow2.partial-ab", Some(12)),
            ("3a", None),
            ("x3", None),
            ("", None),
            ("99999999999999999999", None),
            ("18446744073709551615", None),
        ] {
            assert_eq!(number(name), found, "{name}");
        }
        let dir = tempfile::tempdir().unwrap();
        for path in ["vms/4", "vms/2.deleted", "images/999999999999999999"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        std::fs::create_dir(dir.path().join("trash")).unwrap();
        std::fs::write(dir.path().join("trash/9.qcow2"), "").unwrap();
        let mut counters = vec![("vm".to_owned(), 7), ("disk".to_owned(), 1)];
        raise(&mut counters, dir.path());
        counters.retain(|(_, counter)| *counter > 0);
        assert_eq!(counters, [("vm".to_owned(), 7), ("disk".to_owned(), 9)]);
    }
}
