//! Drives qemu-img and the mkfs tools: disks, overlays, and what a file is.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::partial::Partial;
use super::{process, seed};
use crate::backend::ports::{CommandLog, DiskInfo, DiskTool, PortFuture, Seed};
use crate::domain::{DiskFormat, Failure, FsType};

/// The program that is driven.
pub const QEMU_IMG: &str = "qemu-img";

/// Bytes of a disk's sector.
const SECTOR: u64 = 512;

/// qemu-img and the mkfs tools as the disk tool.
#[derive(Debug, Clone, Copy, Default)]
pub struct QemuImg;

impl QemuImg {
    /// Drives the `qemu-img` and `mkfs.*` of the box.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl DiskTool for QemuImg {
    fn create<'a>(
        &'a self,
        path: &'a Path,
        size_mb: u64,
        fstype: FsType,
        label: &'a str,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(create(path, size_mb, fstype, label, log))
    }

    fn overlay<'a>(
        &'a self,
        path: &'a Path,
        backing: &'a Path,
        format: DiskFormat,
        bytes: u64,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(overlay(path, backing, format, bytes, log))
    }

    fn rebase<'a>(
        &'a self,
        path: &'a Path,
        backing: &'a Path,
        format: DiskFormat,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(rebase(path, backing, format, log))
    }

    fn info<'a>(&'a self, path: &'a Path, log: &'a CommandLog) -> PortFuture<'a, DiskInfo> {
        Box::pin(info(path, log))
    }

    fn check<'a>(&'a self, path: &'a Path, log: &'a CommandLog) -> PortFuture<'a, Option<String>> {
        Box::pin(check(path, log))
    }

    fn seed<'a>(&'a self, path: &'a Path, seed: &'a Seed) -> PortFuture<'a, ()> {
        // Not on a thread of its own: a cancelled operation must not find it still being written.
        Box::pin(async move { seed::make(path, seed) })
    }
}

async fn create(
    path: &Path,
    size_mb: u64,
    fstype: FsType,
    label: &str,
    log: &CommandLog,
) -> Result<(), Failure> {
    let what = format!("create {}", path.display());
    let Some(bytes) = size_mb.checked_mul(1 << 20).filter(|_| size_mb >= fstype.smallest_mb())
    else {
        return Err(Failure::new(format!(
            "cannot {what}: {size_mb} MB is no size for {}, which needs {} MB or more",
            fstype.word(),
            fstype.smallest_mb()
        )));
    };
    if path.exists() {
        let found = info(path, log).await?;
        if found.format == "qcow2" && found.virtual_bytes == bytes && found.backing.is_none() {
            return Partial::clear(path);
        }
        return Err(taken(&what));
    }
    let partial = Partial::begin(path)?;
    let qcow2 = partial.file("qcow2");
    if let Some((mkfs, mut arguments)) = mkfs(fstype, label) {
        let raw = partial.file("raw");
        File::create_new(&raw)
            .and_then(|file| file.set_len(bytes))
            .map_err(|error| Failure::small(&what, &error))?;
        arguments.push(text(&raw)?.to_owned());
        let made = process::run_ok(log, &what, mkfs, &arguments).await;
        made.map_err(|failure| fuller(path, &what, failure))?;
        let convert = ["convert", "-q", "-f", "raw", "-O", "qcow2", text(&raw)?, text(&qcow2)?];
        let made = process::run_ok(log, &what, QEMU_IMG, &convert).await;
        made.map_err(|failure| fuller(path, &what, failure))?;
    } else {
        let size = bytes.to_string();
        let blank = ["create", "-q", "-f", "qcow2", text(&qcow2)?, &size];
        let made = process::run_ok(log, &what, QEMU_IMG, &blank).await;
        made.map_err(|failure| fuller(path, &what, failure))?;
        // Nothing was put into it, so there is nothing to look after.
        return publish(partial, path, &what).await;
    }
    let check = ["check", "-q", "-f", "qcow2", text(&qcow2)?];
    let checked = process::run_ok(log, &what, QEMU_IMG, &check).await;
    checked.map_err(|failure| fuller(path, &what, failure))?;
    let made = info(&qcow2, log).await?;
    if made.virtual_bytes != bytes {
        let size = made.virtual_bytes;
        return Err(Failure::new(format!("cannot {what}: it became {size} bytes, not {bytes}")));
    }
    publish(partial, path, &what).await
}

async fn overlay(
    path: &Path,
    backing: &Path,
    format: DiskFormat,
    bytes: u64,
    log: &CommandLog,
) -> Result<(), Failure> {
    let what = format!("create {} over {}", path.display(), backing.display());
    let path = &std::path::absolute(path).map_err(|error| Failure::io(&what, &error))?;
    let backing = std::path::absolute(backing).map_err(|error| Failure::io(&what, &error))?;
    fs::metadata(&backing)
        .map_err(|error| Failure::io(format!("read {}", backing.display()), &error))?;
    if path.exists() {
        let found = info(path, log).await?;
        if found.format == "qcow2" && found.backing.as_deref() == Some(&backing) {
            return Partial::clear(path);
        }
        return Err(taken(&what));
    }
    let partial = Partial::begin(path)?;
    let qcow2 = partial.file("qcow2");
    let (backing, size) = (seen_from(path, &backing), bytes.to_string());
    // -u: the name is as seen from where the overlay will be, and leads nowhere from here.
    let mut create = vec!["create", "-q", "-u", "-f", "qcow2", "-F", format.word()];
    create.extend(["-b", text(&backing)?, text(&qcow2)?, &size]);
    let made = process::run_ok(log, &what, QEMU_IMG, &create).await;
    made.map_err(|failure| fuller(path, &what, failure))?;
    publish(partial, path, &what).await
}

async fn rebase(
    path: &Path,
    backing: &Path,
    format: DiskFormat,
    log: &CommandLog,
) -> Result<(), Failure> {
    let what = format!("put {} over {}", path.display(), backing.display());
    let absolute = |path| std::path::absolute(path).map_err(|error| Failure::io(&what, &error));
    let (path, backing) = (absolute(path)?, absolute(backing)?);
    if info(&path, log).await?.backing.as_deref() == Some(&backing) {
        return Ok(());
    }
    fs::metadata(&backing)
        .map_err(|error| Failure::io(format!("read {}", backing.display()), &error))?;
    let backing = seen_from(&path, &backing);
    // -u: only the name changes, what it is over is the same.
    let mut rebase = vec!["rebase", "-q", "-u", "-f", "qcow2", "-F", format.word()];
    rebase.extend(["-b", text(&backing)?, text(&path)?]);
    process::run_ok(log, &what, QEMU_IMG, &rebase).await.map(drop)
}

/// The name an overlay has for its backing file: as seen from its own folder where both are in one
/// state directory, the overlay two folders deep, so that this can be moved.
fn seen_from(path: &Path, backing: &Path) -> PathBuf {
    let state_dir = path.ancestors().nth(3).filter(|dir| dir.parent().is_some());
    match state_dir.and_then(|dir| backing.strip_prefix(dir).ok()) {
        Some(beneath) => Path::new("../..").join(beneath),
        None => backing.to_owned(),
    }
}

/// A path without the folders that it leaves again; none of those may be a link.
fn folded(path: &Path) -> PathBuf {
    let mut folded = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = folded.pop(),
            part => folded.push(part),
        }
    }
    folded
}

async fn info(path: &Path, log: &CommandLog) -> Result<DiskInfo, Failure> {
    let what = format!("read {}", path.display());
    let path = std::path::absolute(path).map_err(|error| Failure::io(&what, &error))?;
    let metadata = fs::metadata(&path).map_err(|error| Failure::io(&what, &error))?;
    if !metadata.is_file() && !metadata.file_type().is_block_device() {
        return Err(Failure::new(format!("{} is no disk image: it is no file", path.display())));
    }
    // -U: a disk in use can be read too, and what is read is no more than information.
    let arguments = ["info", "-U", "--output=json", text(&path)?];
    let ended = process::run_ok(log, &what, QEMU_IMG, &arguments).await?;
    let info = parse_info(&ended.stdout)
        .ok_or_else(|| Failure::new(format!("cannot {what}: qemu-img's answer is odd")))?;
    if info.format == "raw" {
        let content = raw_content(&path).map_err(|error| Failure::io(&what, &error))?;
        if content.is_none() {
            return Err(Failure::new(format!(
                "{} is no disk image: there is no format, partition table or filesystem in it",
                path.display()
            )));
        }
    }
    Ok(info)
}

async fn check(path: &Path, log: &CommandLog) -> Result<Option<String>, Failure> {
    let arguments = ["check", "-q", "-f", "qcow2", "--output=json", text(path)?];
    let ended = process::run_quiet(log, QEMU_IMG, &arguments).await?;
    if ended.ok || ended.stderr.contains("Failed to get") && ended.stderr.contains("lock") {
        return Ok(None);
    }
    let told: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    let count = |key: &str| told[key].as_u64().unwrap_or_default();
    match (count("corruptions"), count("check-errors")) {
        // Clusters that nobody uses are what a killed QEMU leaves; they do no harm.
        (0, 0) if count("leaks") > 0 => Ok(None),
        (0, 0) => Ok(Some(ended.error_line())),
        (corrupt, errors) => {
            Ok(Some(format!("qemu-img check finds {corrupt} corruptions and {errors} errors")))
        }
    }
}

/// What `qemu-img info` said; `None` when that is not what it should say.
pub(super) fn parse_info(json: &str) -> Option<DiskInfo> {
    let told: Value = serde_json::from_str(json).ok()?;
    let backing = told["full-backing-filename"].as_str().or(told["backing-filename"].as_str());
    Some(DiskInfo {
        format: told["format"].as_str()?.to_owned(),
        virtual_bytes: told["virtual-size"].as_u64()?,
        actual_bytes: told["actual-size"].as_u64()?,
        backing: backing.map(|backing| folded(Path::new(backing))),
    })
}

/// What a raw file holds that disks hold, or `None`. qemu-img calls every file raw that it does
/// not know, a letter to a friend as well, so only content tells a disk from anything else.
///
/// # Errors
/// When the file cannot be read.
pub fn raw_content(path: &Path) -> io::Result<Option<&'static str>> {
    /// Where a disk says what it is: offset, bytes, word.
    const MARKS: &[(u64, &[u8], &str)] = &[
        (512, b"EFI PART", "partition table"),
        (0x438, b"\x53\xef", "ext"),
        (0, b"XFSB", "xfs"),
        (0x10040, b"_BHRfS_M", "btrfs"),
        (0x10034, b"ReIsEr", "reiserfs"),
        (0x8000, b"JFS1", "jfs"),
        (0x8001, b"CD001", "iso9660"),
        (0x8001, b"NSR0", "udf"),
        (0, b"LUKS\xba\xbe", "luks"),
        (512, b"LABELONE", "lvm"),
        (4086, b"SWAPSPACE2", "swap"),
        (0, b"hsqs", "squashfs"),
        // Last, because many filesystems leave room for a boot sector.
        (510, b"\x55\xaa", "boot sector"),
    ];
    let mut file = crate::file::open(path)?;
    let size = file.seek(SeekFrom::End(0))?;
    if size == 0 || size % SECTOR != 0 {
        return Ok(None);
    }
    for (offset, mark, word) in MARKS {
        let mut bytes = vec![0; mark.len()];
        if size >= offset + mark.len() as u64 {
            file.read_exact_at(&mut bytes, *offset)?;
            if bytes == *mark {
                return Ok(Some(word));
            }
        }
    }
    let mut begin = Vec::new();
    file.rewind()?;
    file.take(1 << 20).read_to_end(&mut begin)?;
    Ok(begin.iter().all(|&byte| byte == 0).then_some("blank"))
}

/// The tool that makes a filesystem, and its arguments but the file: without questions, whatever
/// is there, with as much of the label as the filesystem has room for.
fn mkfs(fstype: FsType, label: &str) -> Option<(&'static str, Vec<String>)> {
    let (program, arguments, option, longest): (_, &[&str], _, _) = match fstype {
        FsType::Ext3 => ("mkfs.ext3", &["-q", "-F"], "-L", 16),
        FsType::Ext4 => ("mkfs.ext4", &["-q", "-F"], "-L", 16),
        FsType::Reiserfs => ("mkfs.reiserfs", &["-q", "-f", "-f"], "-l", 16),
        FsType::Xfs => ("mkfs.xfs", &["-q", "-f"], "-L", 12),
        FsType::Jfs => ("mkfs.jfs", &["-q"], "-L", 16),
        FsType::Btrfs => ("mkfs.btrfs", &["-q", "-f"], "-L", 255),
        FsType::None => return None,
    };
    let mut arguments: Vec<String> = arguments.iter().map(|&it| it.to_owned()).collect();
    let mut fits = String::new();
    for c in label.chars().filter(|c| !c.is_control()) {
        if fits.len() + c.len_utf8() > longest {
            break;
        }
        fits.push(c);
    }
    if !fits.is_empty() {
        arguments.extend([option.to_owned(), fits]);
    }
    Some((program, arguments))
}

async fn publish(partial: Partial, path: &Path, what: &str) -> Result<(), Failure> {
    let published =
        crate::backend::engine::work::blocking(move || partial.publish_new("qcow2")).await;
    let published = published
        .map_err(|error| Failure::new(format!("cannot put a disk in its place: {error}")))?;
    published.map_err(|failure| fuller(path, what, failure))
}

/// A tool's failure, unless the disk is full: the tools have many words for that. What they make
/// here is empty and so small, however big it looks: room is waited for. There may be some again by
/// the time of this look, where the reserve was given up: so what the tool said counts as well.
fn fuller(path: &Path, what: &str, failure: Failure) -> Failure {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let is_full = rustix::fs::statvfs(parent)
        .is_ok_and(|room| room.f_bavail * room.f_frsize < 1 << 20)
        || failure.message.contains("No space left on device");
    if !is_full {
        return failure;
    }
    let parent = parent.display();
    Failure::no_room(format!("cannot {what}: the filesystem of {parent} is full; free some space"))
}

fn taken(what: &str) -> Failure {
    Failure::new(format!("cannot {what}: there is another file of that name; move it away"))
}

/// A path as text, which is what qemu-img's arguments and answers are.
fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str()
        .ok_or_else(|| Failure::new(format!("the path {} is not written in UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_see_what_may_be_moved_with_them_from_their_own_folder() {
        let seen = |backing| seen_from(Path::new("/s/vms/1/root.qcow2"), Path::new(backing));
        assert_eq!(seen("/s/images/2/disk.raw"), Path::new("../../images/2/disk.raw"));
        assert_eq!(seen("/t/images/2/disk.raw"), Path::new("/t/images/2/disk.raw"));
        let shallow = seen_from(Path::new("/a/b/over"), Path::new("/c/base"));
        assert_eq!(shallow, Path::new("/c/base"));
        let found = folded(Path::new("/s/vms/1/../../images/2/disk.raw"));
        assert_eq!(found, Path::new("/s/images/2/disk.raw"));
    }

    #[test]
    fn labels_are_cut_where_the_filesystem_ends_them() {
        let label = |fstype, label| mkfs(fstype, label).unwrap().1.pop().unwrap();
        assert_eq!(label(FsType::Xfs, "abcdefghijklmnop"), "abcdefghijkl");
        assert_eq!(label(FsType::Ext4, "abcdefghijklmnopq"), "abcdefghijklmnop");
        assert_eq!(label(FsType::Ext4, "1234567890abcde\u{e9}"), "1234567890abcde");
        assert_eq!(label(FsType::Ext4, "a\n\u{1b}b"), "ab");
        assert_eq!(mkfs(FsType::Jfs, "").unwrap().1, ["-q"]);
        assert!(mkfs(FsType::None, "x").is_none());
    }
}
