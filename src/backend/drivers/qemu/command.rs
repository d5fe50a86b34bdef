//! The command line of a VM: what it is made of, in QEMU's words. Pure: nothing is run here.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::backend::engine::store::plain;
use crate::backend::ports::{Drive, Guest, GuestSpec};
use crate::domain::{DiskFormat, Failure, Forward, ImageForm};

/// The name of QEMU's own log.
const QEMU_LOG: &str = "qemu.log";
/// A unix socket's path may have this many bytes; the kernel's structure has room for one more.
const LONGEST_SOCKET: usize = 107;

/// The files of a VM in its own folder.
#[derive(Debug, Clone)]
pub struct Files {
    /// Where commands are said.
    pub control: PathBuf,
    /// Where events are heard.
    pub events: PathBuf,
    /// The serial line.
    pub serial: PathBuf,
    /// All that the serial line ever said.
    pub serial_log: PathBuf,
    /// Holds the number of the process, locked by it.
    pub pidfile: PathBuf,
    /// QEMU's standard error until it has read its command line.
    pub stderr: PathBuf,
    /// Is there once we have begun to end it, until it is launched anew.
    pub ended: PathBuf,
    /// QEMU's log, and its standard error from then on: without a log a daemon has none.
    pub log: PathBuf,
}

impl Files {
    /// The files of a guest.
    #[must_use]
    pub fn of(guest: &Guest) -> Self {
        let file = |name: &str| guest.dir.join(name);
        Self {
            control: file("qmp.sock"),
            events: file("events.sock"),
            serial: file("serial.sock"),
            serial_log: file("serial.log"),
            pidfile: file("qemu.pid"),
            stderr: file("qemu.stderr"),
            ended: file("qemu.ended"),
            log: file(QEMU_LOG),
        }
    }

    /// Looks whether the sockets' paths are short enough for the kernel.
    ///
    /// # Errors
    /// One sentence that says by how much they are not.
    pub fn check(&self) -> Result<(), Failure> {
        let longest = self.events.as_os_str().len().max(self.serial.as_os_str().len());
        if longest <= LONGEST_SOCKET {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the path {} has {longest} bytes and a socket's may have {LONGEST_SOCKET}; choose a \
             state directory with a shorter path",
            self.events.display()
        )))
    }

    /// Looks whether what lies under these names is what QEMU keeps there: it waits for ever for
    /// whoever reads a pipe, follows links, and removes whatever is in a socket's place.
    ///
    /// # Errors
    /// One sentence that says what is something else.
    pub fn are_ours(&self) -> Result<(), Failure> {
        let plain = [&self.serial_log, &self.log, &self.stderr, &self.pidfile, &self.ended];
        let sockets = [&self.control, &self.events, &self.serial];
        let all = plain.map(|it| (it, false)).into_iter().chain(sockets.map(|it| (it, true)));
        for (path, socket) in all {
            let found = match std::fs::symlink_metadata(path) {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(Failure::io(format!("look at {}", path.display()), &error));
                }
            };
            let why = match socket {
                true => plain::why_no_socket(&found),
                false => plain::why_foreign(&found),
            };
            if let Some(why) = why {
                return Err(Failure::new(plain::refusal(path, &why)));
            }
        }
        Ok(())
    }
}

/// The arguments QEMU is launched with, in the VM's folder.
#[must_use]
pub fn arguments(spec: &GuestSpec, accelerator: &str) -> Vec<OsString> {
    let files = Files::of(&spec.guest);
    let mut line = CommandLine::default();

    line.option("-name", OptionValue::of("guest=").escaped(&spec.name));
    line.option("-uuid", OptionValue::of(&spec.guest.uuid.to_string()));
    line.flag("-daemonize");
    line.option("-pidfile", OptionValue::path(&files.pidfile));
    // Relative to its folder: in a path QEMU would put its number in the place of a '%d', and take
    // no other '%'.
    line.option("-D", OptionValue::of(QEMU_LOG));

    line.flag("-nodefaults");
    line.flag("-no-user-config");
    line.option("-machine", OptionValue::of("q35"));
    line.option("-accel", OptionValue::of(accelerator));
    line.option("-cpu", OptionValue::of("max"));
    line.option("-smp", OptionValue::of(&spec.cpu.to_string()));
    line.option("-m", OptionValue::of(&format!("{}M", spec.memory_mib)));
    // The cause of a shutdown stays to be read, a reset brings the guest back, and a guest that
    // panics does what its own kernel was told to do.
    line.option("-action", OptionValue::of("reboot=reset,shutdown=pause,panic=none"));

    for (name, socket) in [("control", &files.control), ("events", &files.events)] {
        let value = OptionValue::of(&format!("socket,id={name},server=on,wait=off,path="));
        line.option("-chardev", value.escaped(socket));
        line.option("-mon", OptionValue::of(&format!("chardev={name},mode=control")));
    }
    let value = OptionValue::of("socket,id=serial,server=on,wait=off,logappend=on,logfile=")
        .escaped(&files.serial_log)
        .and(",path=")
        .escaped(&files.serial);
    line.option("-chardev", value);
    line.option("-serial", OptionValue::of("chardev:serial"));

    line.option("-display", OptionValue::of("none"));
    line.option("-device", OptionValue::of("VGA"));
    line.option("-device", OptionValue::of("virtio-rng-pci"));
    line.option("-device", OptionValue::of("virtio-balloon-pci,id=balloon"));
    let mut network = "user,id=net0".to_owned();
    for Forward { port, guest, protocol } in &spec.forwards {
        network += &format!(",hostfwd={}:127.0.0.1:{port}-:{guest}", protocol.word());
    }
    line.option("-netdev", OptionValue::of(&network));
    // Without its ROM: nothing is booted from the network, and seconds are saved.
    let net = format!("virtio-net-pci,netdev=net0,romfile=,mac={}", mac(&spec.guest.uuid));
    line.option("-device", OptionValue::of(&net));

    line.option("-device", OptionValue::of("virtio-scsi-pci,id=scsi"));
    boot(&mut line, spec);
    if let Some(seed) = &spec.seed {
        line.block("seed", seed, DiskFormat::Raw, true);
        line.option("-device", OptionValue::of("scsi-hd,drive=seed,id=seed,serial=seed"));
    }
    for disk in &spec.disks {
        line.disk(disk, "");
    }
    line.0
}

/// The root disk comes before the CD: an empty one is passed over, and an installed one is booted.
fn boot(line: &mut CommandLine, spec: &GuestSpec) {
    // A kernel that QEMU loads itself takes the first place in the boot order.
    let order = match &spec.form {
        ImageForm::Disk { .. } | ImageForm::Iso { .. } => ",bootindex=0",
        ImageForm::DirectDisk { .. } | ImageForm::Direct { .. } => "",
    };
    if let Some(root) = &spec.root {
        line.disk(root, order);
    }
    match &spec.form {
        ImageForm::Disk { .. } => {}
        ImageForm::DirectDisk { kernel, initrd, append, .. }
        | ImageForm::Direct { kernel, initrd, append } => {
            line.option("-kernel", OptionValue::path(kernel));
            line.option("-initrd", OptionValue::path(initrd));
            line.option("-append", OptionValue::of(append));
        }
        ImageForm::Iso { path } => {
            line.block("cd", path, DiskFormat::Raw, true);
            // On the AHCI controller every q35 has, which installers of any age know.
            line.option("-device", OptionValue::of("ide-cd,drive=cd,id=cd,bootindex=1"));
        }
    }
}

/// A network address that is the same at every launch, in QEMU's own range.
fn mac(uuid: &Uuid) -> String {
    let bytes = uuid.as_bytes();
    format!("52:54:00:{:02x}:{:02x}:{:02x}", bytes[13], bytes[14], bytes[15])
}

/// A command line that grows.
#[derive(Default)]
struct CommandLine(Vec<OsString>);

impl CommandLine {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    fn option(&mut self, option: &str, value: OptionValue) {
        self.0.extend([option.into(), value.0]);
    }

    fn block(&mut self, node: &str, path: &Path, format: DiskFormat, read_only: bool) {
        let read_only = if read_only { "on" } else { "off" };
        let value = OptionValue::of(&format!("driver={},node-name=", format.word()))
            .escaped(node)
            .and(&format!(",read-only={read_only},discard=unmap,file.driver=file,file.filename="))
            .escaped(path);
        self.option("-blockdev", value);
    }

    fn disk(&mut self, drive: &Drive, more: &str) {
        self.block(&drive.device, &drive.path, drive.format, false);
        let value = OptionValue::of("scsi-hd,drive=")
            .escaped(&drive.device)
            .and(",id=")
            .escaped(&drive.device)
            .and(",serial=")
            .escaped(&drive.device)
            .and(more);
        self.option("-device", value);
    }
}

/// An option's value that grows.
struct OptionValue(OsString);

impl OptionValue {
    fn of(text: &str) -> Self {
        Self(text.into())
    }

    fn path(path: &Path) -> Self {
        Self(path.into())
    }

    fn and(mut self, text: &str) -> Self {
        self.0.push(text);
        self
    }

    /// Appends what comes from outside. A comma would begin the next key, so QEMU wants it twice.
    fn escaped(mut self, text: impl AsRef<std::ffi::OsStr>) -> Self {
        let mut bytes = Vec::new();
        for &byte in text.as_ref().as_bytes() {
            bytes.push(byte);
            if byte == b',' {
                bytes.push(byte);
            }
        }
        self.0.push(std::ffi::OsStr::from_bytes(&bytes));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dir: &str) -> GuestSpec {
        GuestSpec {
            guest: Guest { id: 3, uuid: Uuid::from_u128(0xab_cdef), dir: dir.into() },
            name: "web,1".into(),
            memory_mib: 512,
            cpu: 2,
            form: ImageForm::Iso { path: "/i,1.iso".into() },
            root: Some(Drive {
                device: "root".into(),
                path: "/d/r.qcow2".into(),
                format: DiskFormat::Qcow2,
            }),
            seed: Some("/d/seed.img".into()),
            disks: Vec::new(),
            forwards: Vec::new(),
            launch: "1.0.0".into(),
        }
    }

    fn line(spec: &GuestSpec) -> String {
        let words = arguments(spec, "tcg");
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn commas_cannot_smuggle_options_in() {
        let line = line(&spec("/vm,x"));
        assert!(line.contains("-name guest=web,,1 "), "{line}");
        assert!(line.contains("path=/vm,,x/qmp.sock "), "{line}");
        assert!(line.contains("file.filename=/i,,1.iso "), "{line}");
        assert!(line.contains("-pidfile /vm,x/qemu.pid "), "{line}");
    }

    #[test]
    fn a_cd_comes_after_the_root_disk() {
        let line = line(&spec("/vm"));
        assert!(line.contains("scsi-hd,drive=root,id=root,serial=root,bootindex=0"), "{line}");
        assert!(line.contains("ide-cd,drive=cd,id=cd,bootindex=1"), "{line}");
        assert!(line.contains("driver=raw,node-name=seed,read-only=on"), "{line}");
        assert!(line.contains("mac=52:54:00:ab:cd:ef"), "{line}");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_said_in_one_sentence() {
        let dir = "/".repeat(LONGEST_SOCKET - "/events.sock".len());
        assert!(Files::of(&spec(&dir).guest).check().is_ok());
        let failure = Files::of(&spec(&format!("{dir}x")).guest).check().unwrap_err();
        assert!(failure.message.contains("has 108 bytes"), "{failure}");
    }

    #[test]
    fn what_is_no_log_and_no_socket_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::of(&spec(dir.path().to_str().unwrap()).guest);
        files.are_ours().unwrap();
        std::fs::write(&files.log, "qemu: said something").unwrap();
        drop(std::os::unix::net::UnixListener::bind(&files.control).unwrap());
        files.are_ours().unwrap();
        let mode = rustix::fs::Mode::RUSR;
        for log in [&files.serial_log, &files.log, &files.stderr, &files.pidfile] {
            let _ = std::fs::remove_file(log);
            rustix::fs::mknodat(rustix::fs::CWD, log, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            let said = files.are_ours().unwrap_err().message;
            assert!(
                said.contains(log.to_str().unwrap()) && said.contains("move it away"),
                "{said}"
            );
            std::fs::remove_file(log).unwrap();
        }
        std::fs::write(&files.serial, "dear all").unwrap();
        assert!(files.are_ours().unwrap_err().message.contains("is no socket"));
    }
}
