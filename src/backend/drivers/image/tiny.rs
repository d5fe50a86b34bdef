//! Builds the `tiny` image: the host's cloud kernel and an initial ramdisk of busybox, in a second.
//!
//! The guest needs no disk, takes its host name from the cloud-init seed, asks for an address,
//! obeys the power button, and gives a root shell on the serial line. The same host gives the same
//! bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::cpio::Archive;
use super::{atomic_file, made_direct};
use crate::backend::ports::MadeImage;
use crate::domain::Failure;

/// The kernel's command line.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=10";

/// What a guest may need to see its devices and disks; what these need in turn comes along.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_scsi",
    "virtio_blk",
    "virtio_net",
    "virtio_balloon",
    "sd_mod",
    "sr_mod",
    "button",
    "evdev",
    "ext4",
    "xfs",
    "btrfs",
    "jfs",
    "reiserfs",
    "vfat",
    "isofs",
    "nls_cp437",
    "nls_ascii",
    "nls_utf8",
    "nls_iso8859-1",
    "crc32c_generic",
];

/// Filesystems `mount` tries when it is not told which.
const FILESYSTEMS: &str = "ext4\nxfs\nbtrfs\njfs\nreiserfs\nvfat\niso9660\n";

macro_rules! asset {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny/", $name))
    };
}

/// Builds it in `dir`. Blocks.
pub(super) fn build(dir: &Path) -> Result<MadeImage, Failure> {
    let (version, kernel) = newest_kernel(Path::new("/boot")).ok_or_else(|| {
        Failure::new(
            "there is no cloud kernel in /boot to build tiny from; `hostler doctor` tells how to \
             get it, then relaunch",
        )
    })?;
    let busybox = find_busybox().ok_or_else(|| {
        Failure::new(
            "there is no statically linked busybox to build tiny from; `hostler doctor` tells how \
             to get it, then relaunch",
        )
    })?;
    let io = |what: String| move |error: io::Error| Failure::io(what, &error);
    std::fs::create_dir_all(dir).map_err(io(format!("make {}", dir.display())))?;

    let modules = Path::new("/lib/modules").join(&version);
    let target = dir.join("initrd");
    let partial = dir.join(".initrd.partial");
    write_initrd(&partial, &busybox, &modules, &version)
        .and_then(|()| atomic_file::publish(&partial, &target))
        .map_err(io(format!("write {}", target.display())))?;
    let copy = dir.join(".kernel.partial");
    std::fs::copy(&kernel, &copy)
        .and_then(|_| atomic_file::publish(&copy, &dir.join("kernel")))
        .map_err(io(format!("copy {}", kernel.display())))?;
    made_direct(dir, KERNEL_ARGUMENTS)
}

fn write_initrd(path: &Path, busybox: &Path, modules: &Path, version: &str) -> io::Result<()> {
    let mut archive = Archive::new(BufWriter::new(std::fs::File::create(path)?));
    archive.file("init", 0o755, asset!("init"))?;
    archive.file("bin/busybox", 0o755, &std::fs::read(busybox)?)?;
    archive.link("bin/sh", "busybox")?;
    archive.file("etc/inittab", 0o644, asset!("inittab"))?;
    archive.file("etc/console", 0o755, asset!("console"))?;
    archive.file("etc/disks", 0o755, asset!("disks"))?;
    archive.file("etc/udhcpc", 0o755, asset!("udhcpc"))?;
    // The file busybox acpid runs for the power key.
    archive.file("etc/acpi/PWRF/00000080", 0o755, asset!("power"))?;
    archive.file("etc/filesystems", 0o644, FILESYSTEMS.as_bytes())?;
    archive.file("etc/passwd", 0o644, b"root::0:0:root:/root:/bin/sh\n")?;
    archive.file("etc/group", 0o644, b"root:x:0:\n")?;

    let needs = dependencies(&std::fs::read_to_string(modules.join("modules.dep"))?);
    let mut index = String::new();
    let chosen = with_needs(MODULES, &needs);
    for path in &chosen {
        let needed = needs.get(path).map(Vec::as_slice).unwrap_or_default();
        index.push_str(&format!("{path}: {}\n", needed.join(" ")));
        let inside = format!("lib/modules/{version}/{path}");
        archive.file(&inside, 0o644, &std::fs::read(modules.join(path))?)?;
    }
    let aliases = std::fs::read_to_string(modules.join("modules.alias"))?;
    let names: BTreeSet<String> = chosen.iter().map(|path| module_name(path)).collect();
    archive.file(&format!("lib/modules/{version}/modules.dep"), 0o644, index.as_bytes())?;
    archive.file(
        &format!("lib/modules/{version}/modules.alias"),
        0o644,
        aliases_of(&aliases, &names).as_bytes(),
    )?;
    archive.finish()?.flush()
}

/// The newest cloud kernel of a folder, and its version.
pub(in crate::backend::drivers) fn newest_kernel(boot: &Path) -> Option<(String, PathBuf)> {
    std::fs::read_dir(boot)
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
            version.contains("-cloud-").then_some((version, path))
        })
        .max_by_key(|(version, _)| numbers(version))
}

/// The numbers in a version, for comparing: 6.1.0-56 is newer than 6.1.0-9.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// A busybox for a guest without libraries: linked statically, so that it names no interpreter.
pub(in crate::backend::drivers) fn find_busybox() -> Option<PathBuf> {
    let places = ["/bin/busybox", "/usr/bin/busybox", "/sbin/busybox", "/bin/busybox.static"];
    places.into_iter().map(PathBuf::from).find(|path| {
        std::fs::read(path)
            .is_ok_and(|elf| !elf[..elf.len().min(4096)].windows(3).any(|bytes| bytes == b"/ld"))
    })
}

/// `modules.dep`: the path of each module and of those it needs.
fn dependencies(index: &str) -> BTreeMap<String, Vec<String>> {
    index
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| {
            (path.to_owned(), needs.split_whitespace().map(str::to_owned).collect())
        })
        .collect()
}

/// The paths of the named modules that there are, and of all they need.
fn with_needs(names: &[&str], needs: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let wanted: BTreeSet<String> = names.iter().map(|name| name.replace('-', "_")).collect();
    let chosen = needs.iter().filter(|(path, _)| wanted.contains(&module_name(path)));
    // The index lists all that a module needs, however far away.
    chosen.flat_map(|(path, needs)| needs.iter().chain([path]).cloned()).collect()
}

/// `virtio_pci` of `kernel/drivers/virtio/virtio_pci.ko.xz`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The lines of `modules.alias` that lead to the chosen modules.
fn aliases_of(index: &str, names: &BTreeSet<String>) -> String {
    let leads = |line: &&str| line.rsplit(' ').next().is_some_and(|name| names.contains(name));
    index.lines().filter(leads).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_chosen_by_number() {
        let boot = tempfile::tempdir().unwrap();
        for version in ["6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.12.1-amd64"] {
            std::fs::write(boot.path().join(format!("vmlinuz-{version}")), "").unwrap();
        }
        assert_eq!(newest_kernel(boot.path()).unwrap().0, "6.1.0-56-cloud-amd64");
    }

    #[test]
    fn modules_come_with_what_they_need() {
        let needs =
            dependencies("k/sd_mod.ko: k/scsi.ko k/common.ko\nk/scsi.ko: k/common.ko\nk/x.ko:\n");
        let chosen = with_needs(&["sd-mod", "not-there"], &needs);
        assert_eq!(
            chosen.into_iter().collect::<Vec<_>>(),
            ["k/common.ko", "k/scsi.ko", "k/sd_mod.ko"]
        );
        let names = BTreeSet::from(["sd_mod".to_owned()]);
        let aliases = "alias scsi:t-0x00* sd_mod\nalias fs-xfs xfs\n";
        assert_eq!(aliases_of(aliases, &names), "alias scsi:t-0x00* sd_mod\n");
    }
}
