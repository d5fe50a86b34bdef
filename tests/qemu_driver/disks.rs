//! Disks and seeds, made by the real tools.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use hostler::backend::drivers::qemu_img::{QemuImg, raw_content};
use hostler::backend::ports::{CommandLog, DiskTool, Seed};
use hostler::domain::{DiskFormat, FsType};

/// What blkid says of a key of a file's filesystem.
fn blkid(path: &Path, key: &str) -> String {
    let output = std::process::Command::new("/usr/sbin/blkid")
        .args(["-p", "-o", "value", "-s", key])
        .arg(path)
        .output()
        .expect("blkid is installed");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Names in a folder, hidden ones too.
fn names(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn disks_of_every_filesystem_are_made_at_their_smallest() {
    let (tool, log) = (QemuImg::new(), CommandLog::default());
    for fstype in FsType::ALL {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a, 1.qcow2");
        // A run that was killed has left the one; nobody says that the other is ours.
        let left = dir.path().join(format!(".a, 1.qcow2.partial-{}", "0".repeat(32)));
        DirBuilder::new().mode(0o700).create(&left).unwrap();
        std::fs::write(left.join(".hostler"), "").unwrap();
        std::fs::create_dir(dir.path().join(".a, 1.qcow2.partial-0")).unwrap();
        let size = fstype.smallest_mb();
        tool.create(&path, size, fstype, "a-very-long-label", &log).await.unwrap();
        tool.create(&path, size, fstype, "a-very-long-label", &log).await.unwrap();
        assert_eq!(names(dir.path()), [".a, 1.qcow2.partial-0", "a, 1.qcow2"]);
        let info = tool.info(&path, &log).await.unwrap();
        assert_eq!((info.format.as_str(), info.virtual_bytes), ("qcow2", size << 20));
        assert_eq!(info.backing, None);

        let failure = tool.create(&path, size + 1, fstype, "x", &log).await.unwrap_err();
        assert!(failure.message.contains("another file of that name"), "{failure}");
        let small = tool.create(&path, size - 1, fstype, "x", &log).await.unwrap_err();
        assert!(small.message.contains("is no size for"), "{small}");

        let raw = dir.path().join("raw");
        let convert = ["convert", "-O", "raw"];
        let mut command = std::process::Command::new("qemu-img");
        assert!(command.args(convert).arg(&path).arg(&raw).status().unwrap().success());
        let expected = if fstype == FsType::None { "" } else { fstype.word() };
        assert_eq!(blkid(&raw, "TYPE"), expected);
        let label = "a-very-long-label";
        let expected = match fstype {
            FsType::None => "",
            FsType::Xfs => &label[..12],
            FsType::Btrfs => label,
            _ => &label[..16],
        };
        assert_eq!(blkid(&raw, "LABEL"), expected, "{fstype:?}");
        let content = raw_content(&raw).unwrap();
        assert!(content.is_some(), "{fstype:?}");
    }
}

#[tokio::test]
async fn overlays_name_their_backing_file() {
    let (tool, log, dir) = (QemuImg::new(), CommandLog::default(), tempfile::tempdir().unwrap());
    let (base, over) = (dir.path().join("base,1.qcow2"), dir.path().join("over.qcow2"));
    let overlay = |over, base| tool.overlay(over, base, DiskFormat::Qcow2, 8 << 20, &log);
    let failure = overlay(&over, &base).await.unwrap_err();
    assert!(failure.message.contains("No such file"), "{failure}");
    tool.create(&base, 8, FsType::None, "", &log).await.unwrap();
    for _ in 0..2 {
        overlay(&over, &base).await.unwrap();
    }
    let info = tool.info(&over, &log).await.unwrap();
    assert_eq!((info.backing.as_ref(), info.virtual_bytes), (Some(&base), 8 << 20));
    let failure = overlay(&over, &over).await.unwrap_err();
    assert!(failure.message.contains("another file of that name"), "{failure}");
    assert_eq!(names(dir.path()), ["base,1.qcow2", "over.qcow2"]);
}

#[tokio::test]
async fn what_is_no_disk_is_refused() {
    let (tool, log, dir) = (QemuImg::new(), CommandLog::default(), tempfile::tempdir().unwrap());
    let letter = dir.path().join("letter.qcow2");
    for text in ["", "Dear friend,", &"x".repeat(1 << 20)] {
        std::fs::write(&letter, text).unwrap();
        let failure = tool.info(&letter, &log).await.unwrap_err();
        assert!(failure.message.contains("is no disk image"), "{failure}");
    }
    let failure = tool.info(dir.path(), &log).await.unwrap_err();
    assert!(failure.message.contains("it is no file"), "{failure}");
    let failure = tool.info(&dir.path().join("none"), &log).await.unwrap_err();
    assert!(failure.message.contains("No such file"), "{failure}");
}

#[tokio::test]
async fn a_seed_is_found_by_its_label_and_read_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (tool, dir) = (QemuImg::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("seed.img");
    let seed = Seed {
        instance_id: "vm-1-1".into(),
        hostname: "web-1".into(),
        login: "anna".into(),
        password_hash: "$6$salt$hash".into(),
        ssh_keys: Vec::new(),
    };
    for _ in 0..2 {
        tool.seed(&path, &seed).await.unwrap();
    }
    assert_eq!(blkid(&path, "LABEL"), "CIDATA");
    assert_eq!(blkid(&path, "TYPE"), "vfat");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(dir.path()), ["seed.img"]);
}
