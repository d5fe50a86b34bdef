//! An image with a boot loader of its own, as clouds publish them: imported from a file, booted by
//! the guest's firmware, rebooted, and powered down, watched over its serial console.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "support/hostler.rs"]
mod hostler;
#[path = "support/screen.rs"]
mod screen;

use std::path::{Path, PathBuf};
use std::process::Command;

use hostler::Sandbox;
use screen::Screen;

/// Where GRUB for the PC's firmware lives, on Debian and Ubuntu.
const GRUB: &str = "/usr/lib/grub/i386-pc";
/// What GRUB does, told to its core: it says so on the serial line, then boots the kernel beside
/// it.
const GRUB_ORDERS: &str = "\
serial --unit=0 --speed=115200
terminal_output serial
echo GRUB is at work
linux (hd0,msdos1)/kernel console=ttyS0 quiet panic=10
initrd (hd0,msdos1)/initrd
boot
";
const SECTOR_BYTES: usize = 512;
/// Where the only partition begins; what is before it is the boot loader's.
const PARTITION: usize = 1 << 20;
const DISK: usize = 64 << 20;

fn run(program: &str, arguments: &[&str]) {
    let ran = Command::new(program).args(arguments).output().expect(program);
    let complaint = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{program} {arguments:?}: {complaint}");
}

/// Makes a disk that boots by itself from what is in `tree`: a kernel and an initrd. Its first
/// sector holds GRUB's beginning and the partition table, then comes the rest of GRUB, then one
/// partition with ext2. Given as a qcow2 file.
fn bootable(dir: &Path, tree: &Path) -> PathBuf {
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (orders, core, raw, packed) =
        (file("orders"), file("core"), file("disk.raw"), file("disk.qcow2"));
    std::fs::write(&orders, GRUB_ORDERS).expect("the orders");
    let mut arguments = vec!["-O", "i386-pc", "-p", "/", "-c", &orders, "-o", &core];
    arguments.extend(["biosdisk", "part_msdos", "ext2", "serial", "terminal", "echo", "linux"]);
    arguments.extend(["boot"]);
    run("grub-mkimage", &arguments);

    let mut disk = std::fs::read(format!("{GRUB}/boot.img")).expect("GRUB's first sector");
    assert_eq!(disk.len(), SECTOR_BYTES);
    disk.extend(std::fs::read(&core).expect("GRUB's core"));
    assert!(disk.len() <= PARTITION, "GRUB fits before the partition");
    // Where the partition table belongs, GRUB's file has code that only diskettes need. The first
    // entry: bootable, Linux, its beginning and length in sectors.
    disk[0x1be..0x1fe].fill(0);
    let sectors =
        |bytes: usize| u32::try_from(bytes / SECTOR_BYTES).expect("a small disk").to_le_bytes();
    let entry = &mut disk[0x1be..0x1ce];
    (entry[0], entry[4]) = (0x80, 0x83);
    entry[8..12].copy_from_slice(&sectors(PARTITION));
    entry[12..16].copy_from_slice(&sectors(DISK - PARTITION));
    disk[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    disk.resize(DISK, 0);
    std::fs::write(&raw, disk).expect("the disk");

    let tree = tree.to_str().expect("text");
    let size = format!("{}k", (DISK - PARTITION) / 1024);
    let offset = format!("offset={PARTITION}");
    run("mke2fs", &["-q", "-F", "-t", "ext2", "-d", tree, "-E", &offset, &raw, &size]);
    run("qemu-img", &["convert", "-c", "-O", "qcow2", &raw, &packed]);
    packed.into()
}

#[test]
fn a_disk_with_a_boot_loader_boots() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    // Any kernel and initrd would do; these are small, and take the guest's name from the seed.
    place.done("image_build", &["recipe=tiny"]);
    let work = tempfile::tempdir().expect("a directory");
    let tree = work.path().join("tree");
    std::fs::create_dir(&tree).expect("a tree");
    for name in ["kernel", "initrd"] {
        std::fs::copy(place.dir().join("images/1").join(name), tree.join(name)).expect(name);
    }
    let disk = bootable(work.path(), &tree);

    place.done("image_import", &["name=cloud", &format!("source={}", disk.display())]);
    let image = place.json(&["show", "image/2"]);
    assert_eq!(image["form"]["form"], "disk", "{image:#}");
    assert_eq!(image["virtual_bytes"], DISK, "{image:#}");
    // The file it came from is no longer needed.
    drop(work);

    let password = place.secret("correct horse");
    place.done("vm_create", &["hostname=web-9", "os=cloud", &password]);
    let mut screen = Screen::open(&place, 100, 30, &["serial", "vm/1"]);
    screen.wait_for("root@web-9:");
    let log = std::fs::read_to_string(place.dir().join("vms/1/serial.log")).expect("a log");
    assert!(log.contains("GRUB is at work"), "{log}");
    // The disk it booted from is its own, and can be written to; the seed is beside it.
    let inside = "clear; for disk in a b; do mount -t ext2 /dev/sd${disk}1 /mnt; done 2>/dev/null; \
                  echo kept >/mnt/mark && sync && ls /mnt /sys/block; echo seen-$((1+1))\r";
    screen.keys(inside);
    let seen = screen.wait_for("seen-2");
    for word in ["mark", "kernel", "sda", "sdb"] {
        assert!(seen.contains(word), "{word}:\n{seen}");
    }
    screen.keys("\x1d");
    assert_eq!(screen.ended(), 0);

    // It comes back by the same way after a reboot, and obeys the power button.
    place.done("vm_reboot", &["vm=1"]);
    place.wait("the guest is up again", || {
        let log = std::fs::read_to_string(place.dir().join("vms/1/serial.log"));
        log.is_ok_and(|log| log.matches("web-9 tiny").count() == 2)
    });
    let log = std::fs::read_to_string(place.dir().join("vms/1/serial.log")).expect("a log");
    assert_eq!(log.matches("GRUB is at work").count(), 2, "{log}");
    place.done("vm_stop", &["vm=1"]);
    assert_eq!(place.json(&["show", "vm/1"])["state"], "halted");
}
