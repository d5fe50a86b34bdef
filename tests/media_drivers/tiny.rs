//! The tiny image, built and booted under plain QEMU.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use hostler::backend::drivers::image::Images;
use hostler::backend::ports::{CommandLog, ImageTool, MadeImage};
use hostler::domain::ImageForm;

use super::supervision;

/// A guest whose serial line is ours.
struct TinyGuest {
    qemu: Child,
    keys: ChildStdin,
    screen: BufReader<ChildStdout>,
}

impl TinyGuest {
    fn boot(image: &MadeImage, more: &[&str]) -> Self {
        let ImageForm::Direct { kernel, initrd, append } = &image.form else {
            panic!("{image:?} is no kernel with an initrd");
        };
        let mut qemu = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg", "-m", "256", "-display", "none", "-serial", "stdio"])
            .args(["-monitor", "none", "-no-reboot", "-nodefaults"])
            .args(["-device", "virtio-scsi-pci", "-device", "virtio-net-pci,netdev=n"])
            .args(["-netdev", "user,id=n"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", append])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, screen) = (qemu.stdin.take().unwrap(), qemu.stdout.take().unwrap());
        Self { qemu, keys, screen: BufReader::new(screen) }
    }

    /// Reads on until a line holds `text`, and returns that line.
    fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = Vec::new();
            let count = self.screen.read_until(b'\n', &mut line).unwrap();
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            assert!(count > 0, "the guest went without saying {text:?}:\n{seen}");
            if line.contains(text) {
                return line;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
    }

    fn types(&mut self, line: &str) {
        writeln!(self.keys, "{line}").unwrap();
    }
}

impl Drop for TinyGuest {
    fn drop(&mut self) {
        self.qemu.kill().and_then(|()| self.qemu.wait()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_boots_takes_its_name_and_switches_itself_off() {
    let dir = tempfile::tempdir().unwrap();
    let (images, log) = (Images::new(supervision()), CommandLog::default());
    let image = images.build(&dir.path().join("tiny"), "tiny", &|_| {}, &log).await.unwrap();

    // A seed as cloud-init reads it, written as JSON.
    let seed = dir.path().join("seed");
    let run = |program: &str, arguments: &[&str]| {
        let ran = Command::new(program).args(arguments).stdout(Stdio::null()).status().unwrap();
        assert!(ran.success(), "{program} {arguments:?}");
    };
    std::fs::create_dir(&seed).unwrap();
    std::fs::write(seed.join("meta-data"), r#"{"instance-id":"i-1","local-hostname":"web-1"}"#)
        .unwrap();
    std::fs::write(seed.join("user-data"), "#cloud-config\n{\"hostname\": \"other\"}\n").unwrap();
    let (raw, disk) = (dir.path().join("seed.raw"), dir.path().join("disk.raw"));
    let from = format!(
        r#"json:{{"driver":"vvfat","dir":"{}","label":"CIDATA","floppy":true}}"#,
        seed.display()
    );
    run("qemu-img", &["convert", "-O", "raw", &from, raw.to_str().unwrap()]);
    run("qemu-img", &["create", "-q", "-f", "raw", disk.to_str().unwrap(), "200M"]);
    run("mke2fs", &["-q", "-t", "ext4", "-L", "data", disk.to_str().unwrap()]);

    let drive = |name: &str, path: &std::path::Path| {
        format!("file={},format=raw,if=none,id={name}", path.display())
    };
    let mut guest = TinyGuest::boot(
        &image,
        &[
            "-drive",
            &drive("seed", &raw),
            "-device",
            "scsi-hd,drive=seed",
            "-drive",
            &drive("disk", &disk),
            "-device",
            "scsi-hd,drive=disk,serial=hostler-disk-1",
        ],
    );
    assert_eq!(guest.until(" tiny"), "web-1 tiny");
    guest.types("mount $(findfs LABEL=data) /mnt; echo mounted $(grep -c /mnt /proc/mounts)");
    guest.until("mounted 1");
    guest.types(
        "until ip -4 addr show eth0 | grep -o 'inet 10[^/]*'; do sleep 0.1; done; ls /dev/disk",
    );
    guest.until("inet 10.");
    guest.types("exit");
    assert_eq!(guest.until(" tiny"), "web-1 tiny", "the shell comes again");
    guest.types("poweroff");
    assert!(guest.qemu.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_is_the_same_every_time_and_obeys_the_power_button() {
    let dir = tempfile::tempdir().unwrap();
    let (images, log) = (Images::new(supervision()), CommandLog::default());
    let one = images.build(&dir.path().join("one"), "tiny", &|_| {}, &log).await.unwrap();
    images.build(&dir.path().join("two"), "tiny", &|_| {}, &log).await.unwrap();
    images.build(&dir.path().join("two"), "tiny", &|_| {}, &log).await.unwrap();
    let bytes = |which: &str| std::fs::read(dir.path().join(which).join("initrd")).unwrap();
    assert!(bytes("one") == bytes("two"));
    let mut files: Vec<_> = std::fs::read_dir(dir.path().join("two"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["initrd", "kernel"]);

    let socket = dir.path().join("monitor");
    let monitor = format!("unix:{},server=on,wait=off", socket.display());
    let mut guest = TinyGuest::boot(&one, &["-qmp", &monitor]);
    assert_eq!(guest.until(" tiny"), "tiny tiny");
    let mut qmp = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    writeln!(qmp, r#"{{"execute":"qmp_capabilities"}}{{"execute":"system_powerdown"}}"#).unwrap();
    assert!(guest.qemu.wait().unwrap().success());

    images.remove_leftovers(&dir.path().join("one")).await.unwrap();
    images.remove_leftovers(&dir.path().join("one")).await.unwrap();
    assert!(!dir.path().join("one").exists());
}
