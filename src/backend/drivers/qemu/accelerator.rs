//! Finds out which accelerator guests really run under.
//!
//! That `/dev/kvm` opens says little: under nested virtualisation QEMU may abort there, or spin for
//! ever. So a guest of a few bytes is booted on the very machine that VMs get, and its answer
//! is remembered for this boot of the box and this version of QEMU.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::timeout;
use uuid::Uuid;

use crate::backend::drivers::process;
use crate::backend::ports::CommandLog;
use crate::domain::{Accelerator, Failure};

/// A boot sector that adds up the numbers from 1 to 1000 and tells the result:
///
/// ```text
/// 00  31 c0     xor  ax, ax
/// 02  b9 e8 03  mov  cx, 1000
/// 05  01 c8     add  ax, cx
/// 07  e2 fc     loop 05
/// 09  e6 f4     out  0xf4, al     ; isa-debug-exit ends QEMU
/// 0b  f4        hlt
/// 0c  eb fd     jmp  0b
/// ```
const PROBE: [u8; 14] = *b"\x31\xc0\xb9\xe8\x03\x01\xc8\xe2\xfc\xe6\xf4\xf4\xeb\xfd";
/// What QEMU ends with when the guest ran: `al << 1 | 1`, and 500500 ends in 0x14.
const RAN: i32 = 0x14 << 1 | 1;
/// The firmware wants a disk it finds plausible, in bytes.
const PROBE_DISK: usize = 1 << 20;

/// A second for the guest, and half of one for QEMU to start.
const KVM_PATIENCE: Duration = Duration::from_millis(1500);
/// Emulation always works, however slowly.
const TCG_PATIENCE: Duration = Duration::from_secs(30);

/// What one probe said, and for which boot, which QEMU and which `/dev/kvm` it holds.
#[derive(Serialize, Deserialize)]
struct Remembered {
    boot: String,
    version: String,
    device: String,
    accelerator: Accelerator,
}

/// Finds the accelerator, or remembers it from `dir`.
///
/// # Errors
/// When QEMU is not installed, or runs guests under no accelerator at all.
pub async fn find(program: &str, dir: &Path) -> Result<Accelerator, Failure> {
    let version = version(program).await?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let device = match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => "it opens".to_owned(),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => "/dev/kvm does not exist".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "/dev/kvm may not be opened; join the group kvm".to_owned()
            }
            _ => format!("/dev/kvm does not open: {error}"),
        },
    };
    let file = dir.join("accelerator.json");
    // A file that cannot be read is as good as none: the probe is run again.
    let remembered = crate::file::read_text(&file)
        .ok()
        .and_then(|text| serde_json::from_str::<Remembered>(&text).ok())
        .filter(|it| (&it.boot, &it.version, &it.device) == (&boot, &version, &device));
    if let Some(remembered) = remembered {
        return Ok(remembered.accelerator);
    }

    let disk = dir.join("probe.img");
    let failed = |error| Failure::io(format!("write {}", disk.display()), &error);
    std::fs::create_dir_all(dir).and_then(|()| write_probe(&disk)).map_err(failed)?;
    let accelerator = probe(program, &disk, &device).await?;
    let remembered = Remembered { boot, version, device, accelerator };
    let partial = file.with_extension(Uuid::new_v4().simple().to_string());
    serde_json::to_vec_pretty(&remembered)
        .map_err(io::Error::from)
        .and_then(|bytes| std::fs::write(&partial, bytes))
        .and_then(|()| std::fs::rename(&partial, &file))
        .map_err(|error| Failure::io(format!("write {}", file.display()), &error))?;
    Ok(remembered.accelerator)
}

async fn probe(program: &str, disk: &Path, device: &str) -> Result<Accelerator, Failure> {
    let why = if device == "it opens" {
        match run(program, disk, "kvm", KVM_PATIENCE).await? {
            Ok(()) => {
                let why = "a probe guest ran under KVM".to_owned();
                return Ok(Accelerator { name: "kvm".into(), why });
            }
            Err(how) => format!("/dev/kvm opens, but a probe guest never ran: {how}"),
        }
    } else {
        device.to_owned()
    };
    match run(program, disk, "tcg", TCG_PATIENCE).await? {
        Ok(()) => Ok(Accelerator {
            name: "tcg".into(),
            why: format!("{why}; guests are emulated, and many times slower"),
        }),
        Err(how) => Err(Failure::new(format!(
            "{program} runs no guests on this box: {why}; under emulation: {how}"
        ))),
    }
}

/// Boots the probe guest; the inner error says how it failed.
async fn run(
    program: &str,
    disk: &Path,
    accelerator: &str,
    patience: Duration,
) -> Result<Result<(), String>, Failure> {
    let mut file =
        std::ffi::OsString::from("driver=raw,node-name=probe,read-only=on,file.driver=file");
    // Commas are doubled, as QEMU wants them.
    file.push(",file.filename=");
    file.push(disk.to_string_lossy().replace(',', ",,"));
    let child = Command::new(program)
        .args(["-nodefaults", "-no-user-config", "-machine", "q35", "-cpu", "max", "-m", "64M"])
        .args(["-accel", accelerator, "-display", "none"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .args(["-device", "virtio-scsi-pci", "-blockdev"])
        .arg(file)
        .args(["-device", "scsi-hd,drive=probe,bootindex=0"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| process::not_started(program, &error))?;
    bound(&child, patience);
    let Ok(output) = timeout(patience, child.wait_with_output()).await else {
        return Ok(Err(format!("it was silent for {:.1} s", patience.as_secs_f32())));
    };
    let output = output.map_err(|error| Failure::io(format!("wait for {program}"), &error))?;
    if output.status.code() == Some(RAN) {
        return Ok(Ok(()));
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let how = process::ended(output.status);
    Ok(Err(
        first_error(program, &stderr).map_or_else(|| how.clone(), |said| format!("{how}, {said}"))
    ))
}

/// Bounds the processor time of a probe: one that spins is ended by the kernel, should we be killed
/// before we can.
fn bound(child: &tokio::process::Child, patience: Duration) {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    if let Some(pid) = pid {
        let bound = Some(patience.as_secs() + 1);
        let bound = Rlimit { current: bound, maximum: bound };
        // Without it the probe is what it was before: ended by us.
        let _ = prlimit(Some(pid), Resource::Cpu, bound);
    }
}

/// What QEMU complained of: the first line that is no warning, without the program's name.
#[must_use]
pub fn first_error(program: &str, stderr: &str) -> Option<String> {
    error_lines(program, stderr).find(|line| !line.contains("warning:")).map(str::to_owned)
}

/// The lines QEMU said, without the program's name and without what a hole in a file reads as.
pub fn error_lines<'t>(program: &str, said: &'t str) -> impl Iterator<Item = &'t str> {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    said.lines()
        .map(|line| line.trim_start_matches('\0'))
        .map(move |line| line.strip_prefix(&*name).map_or(line, |it| it.trim_start_matches(": ")))
        .filter(|line| !line.trim().is_empty())
}

/// Renamed into place, because another console may probe at the same time.
fn write_probe(disk: &Path) -> io::Result<()> {
    let mut sector = vec![0; PROBE_DISK];
    sector[..PROBE.len()].copy_from_slice(&PROBE);
    // The mark of a boot sector.
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    let partial = disk.with_extension(Uuid::new_v4().simple().to_string());
    std::fs::write(&partial, sector)?;
    std::fs::rename(&partial, disk)
}

async fn version(program: &str) -> Result<String, Failure> {
    let log = CommandLog::default();
    let ended = process::run_ok(&log, "ask QEMU's version", program, &["--version"]).await?;
    Ok(ended.stdout.lines().next().unwrap_or_default().to_owned())
}
