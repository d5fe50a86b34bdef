//! Which VM a living QEMU is: that of its folder and of the disks in their places, and no other.

use std::path::Path;

use hostler::backend::ports::{CommandLog, Drive, GuestEvent, GuestStatus, Hypervisor, ROOT_DISK};
use hostler::domain::DiskFormat;

use super::guest::TinyVm;
use super::{TINY_IMAGE, event, processes, qemu};

#[tokio::test(flavor = "multi_thread")]
async fn a_living_vm_belongs_to_its_folder_and_to_no_copy_of_that() {
    let (first, vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    first.launch(&vm.spec, &log).await.unwrap();
    let living = processes(&vm);
    let mut copy = vm.guest().clone();
    copy.dir = vm.file("copy");
    let mut cp = std::process::Command::new("cp");
    let copied = cp.arg("-a").args([&vm.guest().dir, &copy.dir]).status().unwrap();
    assert!(copied.success() && copy.dir.join("qemu.pid").exists());
    let second = qemu();
    assert_eq!(second.status(&copy).await.unwrap(), GuestStatus::Off);
    assert_eq!(second.usage(&copy), None);
    assert_eq!(second.dead(vec![vm.guest().clone(), copy.clone()]), [copy.clone()]);
    second.withdraw(&copy, &vm.spec.launch, &log).await.unwrap();
    second.quit(&copy, &log).await.unwrap();
    assert_eq!(processes(&vm), living);
    assert_eq!(first.status(vm.guest()).await.unwrap(), GuestStatus::Running);

    // It goes with its folder wherever that goes, also without its pidfile and sockets.
    let mut moved = vm.guest().clone();
    moved.dir = vm.file("moved");
    std::fs::rename(&vm.guest().dir, &moved.dir).unwrap();
    std::fs::create_dir(&vm.guest().dir).unwrap();
    let third = qemu();
    assert_eq!(third.status(vm.guest()).await.unwrap(), GuestStatus::Off);
    assert_eq!(third.status(&moved).await.unwrap(), GuestStatus::Running);
    for name in ["qemu.pid", "qmp.sock"] {
        std::fs::remove_file(moved.dir.join(name)).unwrap();
    }
    assert_eq!(third.status(&moved).await.unwrap(), GuestStatus::Unreachable);
    assert_eq!(third.dead(vec![vm.guest().clone(), moved.clone()]), [vm.guest().clone()]);
    third.quit(&moved, &log).await.unwrap();
    assert_eq!(third.dead(vec![moved.clone()]), [moved]);
    assert_eq!(processes(&vm), Vec::<i32>::new());
}

/// As when the state directory was copied with `cp -al`.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_of_hard_links_does_not_speak_to_the_vm_it_was_copied_from() {
    let (first, vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    first.launch(&vm.spec, &log).await.unwrap();
    let mut copy = vm.guest().clone();
    copy.dir = vm.file("copy");
    let mut cp = std::process::Command::new("cp");
    let copied = cp.arg("-al").args([&vm.guest().dir, &copy.dir]).status().unwrap();
    assert!(copied.success() && copy.dir.join("qmp.sock").exists());
    let second = qemu();
    assert_eq!(second.status(&copy).await.unwrap(), GuestStatus::Off);
    let mut events = second.watch(&copy).await.unwrap();
    assert_eq!(event(&mut events).await, GuestEvent::Gone);
    let failure = second.serial(&copy).await.err().unwrap();
    assert!(failure.message.starts_with("vm/1 does not run"), "{failure}");
    assert!(second.power_button(&copy, &log).await.is_err());
    second.quit(&copy, &log).await.unwrap();
    assert_eq!(processes(&vm).len(), 1);
    // The original is itself, whatever else its sockets are called.
    copy.dir = vm.file("another");
    let mut cp = std::process::Command::new("cp");
    assert!(cp.arg("-al").args([&vm.guest().dir, &copy.dir]).status().unwrap().success());
    assert_eq!(first.status(vm.guest()).await.unwrap(), GuestStatus::Running);
    assert!(first.serial(vm.guest()).await.is_ok());
    first.quit(vm.guest(), &log).await.unwrap();
}

/// Puts a copy of a file in its place, as whoever restores a backup does.
fn restore(file: &Path) {
    let backup = file.with_extension("backup");
    std::fs::copy(file, &backup).unwrap();
    std::fs::rename(backup, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_vm_whose_disk_was_replaced_is_named_and_not_taken_for_the_vm() {
    let (first, mut vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    let (root, disk) = (vm.guest().dir.join(ROOT_DISK), vm.file("disk.img"));
    std::fs::create_dir_all(&vm.guest().dir).unwrap();
    for path in [&root, &disk] {
        std::fs::File::create(path).unwrap().set_len(8 << 20).unwrap();
    }
    let drive = |device: &str, path: &Path| Drive {
        device: device.into(),
        path: path.to_owned(),
        format: DiskFormat::Raw,
    };
    vm.spec.root = Some(drive("root", &root));
    vm.spec.disks = vec![drive("disk-1", &disk)];
    first.launch(&vm.spec, &log).await.unwrap();
    let living = processes(&vm);
    let second = qemu();
    assert_eq!(second.astray(vm.guest()), None);
    // What is put back as it was is the VM's again.
    let kept = vm.file("kept");
    std::fs::hard_link(&disk, &kept).unwrap();
    restore(&disk);
    assert!(second.astray(vm.guest()).unwrap().contains("disk.img"));
    assert_eq!(second.status(vm.guest()).await.unwrap(), GuestStatus::Unreachable);
    std::fs::rename(&kept, &disk).unwrap();
    assert_eq!(second.status(vm.guest()).await.unwrap(), GuestStatus::Running);

    restore(&root);
    let mut events = second.watch(vm.guest()).await.unwrap();
    assert_eq!(second.status(vm.guest()).await.unwrap(), GuestStatus::Unreachable);
    let mut again = vm.spec.clone();
    again.launch = "another".into();
    let tried = CommandLog::default();
    let failure = second.launch(&again, &tried).await.unwrap_err();
    let (named, end) =
        (format!("(process {})", living[0]), format!("end that process with `kill {}`", living[0]));
    assert!(failure.message.contains(&named) && failure.message.contains(&end), "{failure}");
    assert!(failure.message.contains(&root.display().to_string()), "{failure}");
    for sockets in [true, false] {
        if !sockets {
            std::fs::remove_file(vm.guest().dir.join("qmp.sock")).unwrap();
        }
        assert_eq!(second.astray(vm.guest()).as_ref(), Some(&failure.message));
        assert_eq!(second.power_button(vm.guest(), &tried).await.unwrap_err(), failure);
        assert_eq!(second.serial(vm.guest()).await.err().as_ref(), Some(&failure));
    }
    second.withdraw(vm.guest(), "another", &tried).await.unwrap();
    assert_eq!((processes(&vm), tried.commands().len()), (living, 0));
    second.quit(vm.guest(), &log).await.unwrap();
    assert_eq!(event(&mut events).await, GuestEvent::Gone);
    assert_eq!((processes(&vm), second.astray(vm.guest())), (Vec::new(), None));
}

/// As whoever keeps the damaged disk does before the backup comes into its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_living_vm_whose_root_disk_was_moved_away_and_replaced_is_not_taken_for_the_vm() {
    let (qemu, mut vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    let root = vm.guest().dir.join(ROOT_DISK);
    std::fs::create_dir_all(&vm.guest().dir).unwrap();
    std::fs::File::create(&root).unwrap().set_len(8 << 20).unwrap();
    let drive = Drive { device: "root".into(), path: root.clone(), format: DiskFormat::Raw };
    vm.spec.root = Some(drive);
    qemu.launch(&vm.spec, &log).await.unwrap();
    std::fs::rename(&root, vm.file("damaged")).unwrap();
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Running);
    std::fs::copy(vm.file("damaged"), &root).unwrap();
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Unreachable);
    // Ended, it starts from what is there.
    qemu.quit(vm.guest(), &log).await.unwrap();
    qemu.launch(&vm.spec, &log).await.unwrap();
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Running);
    qemu.quit(vm.guest(), &log).await.unwrap();
}
