//! A guest of a few megabytes for tests: the distribution's cloud kernel and a busybox initramfs.
//!
//! It boots in two or three seconds under emulation, says `guest is up` on its serial line, turns
//! off when its power button is pressed, tells the serial numbers of its disks whenever they
//! change (`disks: a b`), and gives a shell.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use hostler::backend::ports::{Guest, GuestSpec};
use hostler::domain::{ImageForm, Serial};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use uuid::Uuid;

/// Kernel modules the guest needs: its disks, and its power button.
const GUEST_MODULES: [&str; 5] = ["virtio_pci", "virtio_scsi", "sd_mod", "button", "evdev"];

const INIT: &str = r#"#!/bin/sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules); do insmod /lib/$module; done
for event in /dev/input/event*; do
    # Opened here, so that no press is lost once the guest says that it is up.
    exec 3<$event
    (dd bs=24 count=1 <&3 >/dev/null 2>&1 && echo "power button pressed" && poweroff -f) &
done
(
    before=none
    while :; do
        now=disks:
        for disk in /sys/block/sd*; do
            [ -e $disk ] && now="$now $(tail -c +5 $disk/device/vpd_pg80)"
        done
        [ "$now" = "$before" ] || echo "$now"
        before=$now
        sleep 0.2
    done
) &
echo "guest is up"
while :; do setsid cttyhack sh; done
"#;

/// A kernel and an initramfs, made once and kept in a temporary folder.
pub struct TinyImage {
    kernel: PathBuf,
    initrd: PathBuf,
}

impl TinyImage {
    /// Makes the image in `dir`.
    pub fn make(dir: &Path) -> Self {
        let kernel = newest("/boot", "vmlinuz-");
        let version = kernel.file_name().unwrap().to_str().unwrap().replace("vmlinuz-", "");
        let modules = Path::new("/lib/modules").join(&version);
        let root = dir.join("root");
        for folder in ["bin", "lib"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
        symlink("busybox", root.join("bin/sh")).unwrap();
        let mut order = String::new();
        for module in with_dependencies(&modules) {
            let name = Path::new(&module).file_name().unwrap().to_str().unwrap();
            fs::copy(modules.join(&module), root.join("lib").join(name)).unwrap();
            order.push_str(name);
            order.push('\n');
        }
        fs::write(root.join("modules"), order).unwrap();
        fs::write(root.join("init"), INIT).unwrap();
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).unwrap();
        let initrd = dir.join("initrd");
        pack(&root, &initrd);
        Self { kernel, initrd }
    }

    /// How it boots.
    pub fn form(&self) -> ImageForm {
        ImageForm::Direct {
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            append: "console=ttyS0 quiet panic=-1".into(),
        }
    }
}

/// The folder of a VM, with all that QEMU's options could trip over.
const ODD: &str = "vm, 1 = %d%s\n\"x\"";

/// A VM of a test. Its QEMU is killed when this is dropped, however the test ends.
pub struct TinyVm {
    /// What it is launched with.
    pub spec: GuestSpec,
    _dir: tempfile::TempDir,
}

impl TinyVm {
    /// A VM with 128 MiB that boots `image`, in a folder of its own.
    pub fn new(image: &TinyImage) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let guest = Guest { id: 1, uuid: Uuid::new_v4(), dir: dir.path().join(ODD) };
        let spec = GuestSpec {
            guest,
            name: "tiny".into(),
            memory_mib: 128,
            cpu: 1,
            form: image.form(),
            root: None,
            seed: None,
            disks: Vec::new(),
            forwards: Vec::new(),
            launch: "test".into(),
        };
        Self { spec, _dir: dir }
    }

    /// What the hypervisor knows it by.
    pub fn guest(&self) -> &Guest {
        &self.spec.guest
    }

    /// A file in the test's own folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self._dir.path().join(name)
    }

    /// Kills its QEMU as the kernel's out-of-memory killer would. Whether there was one.
    pub fn kill(&self) -> bool {
        self.processes()
            .into_iter()
            .filter(|(_, held)| pidfd_send_signal(held, Signal::KILL).is_ok())
            .count()
            > 0
    }

    /// The processes that were started for it; one that has ended has no command line.
    pub fn processes(&self) -> Vec<(Pid, OwnedFd)> {
        let uuid = self.spec.guest.uuid.to_string();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let ours = entries.filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            // Held first and looked at then, so that the number cannot change hands in between.
            let held = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            String::from_utf8_lossy(&line).contains(&uuid).then_some((pid, held))
        });
        ours.collect()
    }
}

impl Drop for TinyVm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads the serial line until `text` has appeared, and returns all that came until then.
/// Panics after a minute and a half, with what came.
pub async fn until(serial: &mut Serial, text: &str) -> String {
    let mut seen = String::new();
    let search = async {
        while !seen.contains(text) {
            let piece = serial.output.next().await;
            let piece = piece.unwrap_or_else(|| panic!("the line ended: {seen}"));
            seen.push_str(&String::from_utf8_lossy(&piece));
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(90), search).await;
    assert!(found.is_ok(), "no '{text}' on the serial line, but: {seen}");
    seen
}

/// The newest file of a folder that begins so.
fn newest(dir: &str, begin: &str) -> PathBuf {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = names
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with(begin) && name.contains("-cloud-")
        })
        .collect();
    found.sort();
    found.pop().expect("linux-image-cloud-amd64 is installed")
}

/// Paths of the modules, each after those it depends on.
fn with_dependencies(modules: &Path) -> Vec<String> {
    fn add(all: &str, name: &str, order: &mut Vec<String>, seen: &mut BTreeSet<String>) {
        let ending = format!("/{name}.ko");
        let line = all.lines().find(|line| line.split(':').next().unwrap().ends_with(&ending));
        // What is not listed is built in.
        let Some((path, needs)) = line.and_then(|line| line.split_once(':')) else { return };
        if !seen.insert(path.to_owned()) {
            return;
        }
        for need in needs.split_whitespace() {
            let stem = Path::new(need).file_stem().unwrap().to_str().unwrap();
            add(all, stem, order, seen);
        }
        order.push(path.to_owned());
    }
    let all = fs::read_to_string(modules.join("modules.dep")).unwrap();
    let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
    for name in GUEST_MODULES {
        add(&all, name, &mut order, &mut seen);
    }
    order
}

/// Packs a folder into an initramfs.
fn pack(root: &Path, initrd: &Path) {
    let mut names = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            names.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    names.sort();
    let list = root.with_extension("list");
    fs::write(&list, names.join("\n")).unwrap();
    let packed = Command::new("cpio")
        .args(["--create", "--format=newc", "--owner=0:0", "--quiet"])
        .current_dir(root)
        .stdin(fs::File::open(list).unwrap())
        .stdout(Stdio::from(fs::File::create(initrd).unwrap()))
        .status()
        .expect("cpio is installed");
    assert!(packed.success());
}
