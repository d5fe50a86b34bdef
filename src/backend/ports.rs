//! Ports: what operations may ask the world for.
//!
//! Operations know these traits and never the drivers behind them. Every method may be called
//! twice for the same thing, because a crash can come between an effect and its record: each looks
//! before it acts, and finding the work done already is success.
//!
//! Dropping a future of a port stops waiting. Short tools are killed with it; what is meant to
//! outlive the console (QEMU, ffmpeg, an image build) goes on, and is found again by the next call.

#![warn(missing_docs)]

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{
    Accelerator, BoxFuture, Disk, DiskFormat, Failure, Forward, FsType, ImageForm, Serial, Tool,
};

use super::engine::clock;
pub use super::engine::report::{Begun, CommandLog, ProgressReport, Report};

/// What a port's call comes back with.
pub type PortFuture<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// Everything operations may ask for.
#[derive(Clone)]
pub struct Ports {
    /// Runs virtual machines.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Makes disks and seeds.
    pub disks: Arc<dyn DiskTool>,
    /// Fetches, imports and builds images.
    pub images: Arc<dyn ImageTool>,
    /// Encodes.
    pub encoder: Arc<dyn Encoder>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Looks for the programs that are driven.
    pub toolbox: Arc<dyn Toolbox>,
}

/// A VM as the hypervisor knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Guest {
    /// Its number.
    pub id: u64,
    /// What it is known again by.
    pub uuid: Uuid,
    /// Its own folder: sockets, pidfile, logs, root disk, seed.
    pub dir: PathBuf,
}

/// The name of a VM's root disk, in its folder.
pub const ROOT_DISK: &str = "root.qcow2";

/// A disk as a guest gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    /// The id of its device, which the guest sees as the serial number.
    pub device: String,
    /// Its file.
    pub path: PathBuf,
    /// How its bytes lie in the file.
    pub format: DiskFormat,
}

impl From<&Disk> for Drive {
    fn from(disk: &Disk) -> Self {
        Self { device: disk.device_id(), path: disk.path.clone(), format: disk.format }
    }
}

/// Everything needed to launch a VM.
#[derive(Debug, Clone, PartialEq)]
pub struct GuestSpec {
    /// Which.
    pub guest: Guest,
    /// Its name, for the process list.
    pub name: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Virtual processors.
    pub cpu: u32,
    /// How it boots. For the forms with a disk, `root` is the overlay to use in its place.
    pub form: ImageForm,
    /// The root disk.
    pub root: Option<Drive>,
    /// The cloud-init seed.
    pub seed: Option<PathBuf>,
    /// The attached disks.
    pub disks: Vec<Drive>,
    /// The ports of the box that lead to it.
    pub forwards: Vec<Forward>,
    /// What names this launch, for [`Hypervisor::withdraw`]: no other launch has the same.
    pub launch: String,
}

/// What the hypervisor finds a VM doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestStatus {
    /// There is no process.
    Off,
    /// The guest's processors turn.
    Running,
    /// The guest's processors stand still; somebody paused it.
    Paused,
    /// The guest has shut itself down; the process is still there to be asked and then quit.
    ShutDown,
    /// QEMU stopped it for an error of its own: a full disk, a broken image.
    Broken,
    /// There is a process, and it is not spoken to: its sockets were removed, or it has gone
    /// astray, see [`Hypervisor::astray`].
    Unreachable,
}

/// What happens to a VM by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestEvent {
    /// It was reset: by us, or by its own reboot (`by_guest`).
    Reset {
        /// Whether the guest did it itself.
        by_guest: bool,
    },
    /// The guest has shut down.
    ShutDown,
    /// The guest was paused.
    Paused,
    /// The guest goes on.
    Resumed,
    /// The process is gone. Always the last event.
    Gone,
}

/// How much of the box a VM uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestUsage {
    /// Processor time used since the process began, in milliseconds.
    pub cpu_ms: u64,
    /// Memory resident, in MiB.
    pub memory_mib: u64,
}

/// What runs virtual machines. Written so that Incus or libvirt can stand behind it.
pub trait Hypervisor: Send + Sync {
    /// Which accelerator guests run under: probed once with a real guest, then remembered for this
    /// boot and this version of the hypervisor.
    fn accelerator(&self) -> PortFuture<'_, Accelerator>;

    /// Starts a VM, or finds it started. Returns the accelerator's name when its processors turn.
    fn launch<'a>(&'a self, spec: &'a GuestSpec, log: &'a CommandLog) -> PortFuture<'a, String>;

    /// What a VM is doing.
    fn status<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, GuestStatus>;

    /// What happens to a VM from now on; ends after [`GuestEvent::Gone`].
    fn watch<'a>(
        &'a self,
        guest: &'a Guest,
    ) -> PortFuture<'a, Pin<Box<dyn Stream<Item = GuestEvent> + Send>>>;

    /// Presses the power button once. The guest may ignore it.
    fn power_button<'a>(&'a self, guest: &'a Guest, log: &'a CommandLog) -> PortFuture<'a, ()>;

    /// Starts a VM anew within its process, also one that has shut down.
    fn reset<'a>(&'a self, guest: &'a Guest, log: &'a CommandLog) -> PortFuture<'a, ()>;

    /// Ends the process: a power cut for a guest that is still up. Returns when it is gone.
    fn quit<'a>(&'a self, guest: &'a Guest, log: &'a CommandLog) -> PortFuture<'a, ()>;

    /// Ends the process that one launch started, known by its [`GuestSpec::launch`], or finds that
    /// there is none. Any other process of the VM is left alone.
    fn withdraw<'a>(
        &'a self,
        guest: &'a Guest,
        launch: &'a str,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()>;

    /// Plugs a disk into a running VM, or finds it plugged in.
    fn attach<'a>(
        &'a self,
        guest: &'a Guest,
        drive: &'a Drive,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()>;

    /// Unplugs a disk from a running VM, or finds it gone. Returns when the guest has let go of it.
    fn detach<'a>(
        &'a self,
        guest: &'a Guest,
        device: &'a str,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()>;

    /// The ids of the devices plugged into a running VM, its disks' among them.
    fn plugged<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, BTreeSet<String>>;

    /// Opens the serial line. Any number may watch one VM at once.
    fn serial<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, Serial>;

    /// Returns those of these VMs of which no process lives. No guest is asked: one may hang.
    fn dead(&self, guests: Vec<Guest>) -> Vec<Guest>;

    /// Whether the latest run of a VM was ended by [`Hypervisor::quit`] or
    /// [`Hypervisor::withdraw`], also for an earlier life, or where nobody waited for it any more.
    fn was_ended(&self, guest: &Guest) -> bool;

    /// The last line the hypervisor itself said about a VM in its latest run, where it said any.
    fn last_words(&self, guest: &Guest) -> Option<String>;

    /// Why the process of a VM is not that VM at work, and what to do: other disks were put in the
    /// places of those that it has. One sentence; `None` when there is no such process.
    fn astray(&self, guest: &Guest) -> Option<String>;

    /// How much of the box a VM uses; `None` when it does not run.
    fn usage(&self, guest: &Guest) -> Option<GuestUsage>;
}

/// What `qemu-img info` tells of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskInfo {
    /// How its bytes lie: `qcow2`, `raw`, or another word of QEMU's.
    pub format: String,
    /// Its size as a guest sees it, in bytes.
    pub virtual_bytes: u64,
    /// What it takes on the box, in bytes.
    pub actual_bytes: u64,
    /// The file it is an overlay of.
    pub backing: Option<PathBuf>,
}

/// What cloud-init is told on a VM's first boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seed {
    /// Changes when a VM is to be initialised anew.
    pub instance_id: String,
    /// The host name.
    pub hostname: String,
    /// The user account, with sudo.
    pub login: String,
    /// Its password, hashed as `crypt(3)` does.
    pub password_hash: String,
    /// Its SSH keys, one line each.
    pub ssh_keys: Vec<String>,
}

/// What makes disks and seeds. Every file appears whole or not at all.
pub trait DiskTool: Send + Sync {
    /// Makes a qcow2 disk of `size_mb` MiB with a filesystem on the whole of it.
    fn create<'a>(
        &'a self,
        path: &'a Path,
        size_mb: u64,
        fstype: FsType,
        label: &'a str,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()>;

    /// Makes a qcow2 overlay of another disk of `bytes` as a guest sees it; takes the same time
    /// whatever that is. Both may be moved together.
    fn overlay<'a>(
        &'a self,
        path: &'a Path,
        backing: &'a Path,
        format: DiskFormat,
        bytes: u64,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()>;

    /// Tells an overlay that is not in use where the disk under it is now, or finds that it knows.
    fn rebase<'a>(
        &'a self,
        path: &'a Path,
        backing: &'a Path,
        format: DiskFormat,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()>;

    /// What a disk's file is. Fails with a clear sentence when it is none.
    fn info<'a>(&'a self, path: &'a Path, log: &'a CommandLog) -> PortFuture<'a, DiskInfo>;

    /// What is wrong with the bookkeeping of a qcow2 disk; `None` when nothing is, or when it is in
    /// use and cannot be looked at. Reads only.
    fn check<'a>(&'a self, path: &'a Path, log: &'a CommandLog) -> PortFuture<'a, Option<String>> {
        let _ = (path, log);
        Box::pin(async { Ok(None) })
    }

    /// Makes the disk cloud-init reads on a VM's first boot. Readable by the owner alone.
    fn seed<'a>(&'a self, path: &'a Path, seed: &'a Seed) -> PortFuture<'a, ()>;
}

/// Files that make up an image, ready to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct MadeImage {
    /// How it boots.
    pub form: ImageForm,
    /// Bytes its files take on the box.
    pub bytes: u64,
    /// Size of its disk as a guest sees it; 0 where it has none.
    pub virtual_bytes: u64,
    /// SHA-256 of its main file.
    pub sha256: String,
}

/// Where a checksum comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    /// A file that lists checksums by file name (`SHA256SUMS`, `SHA512SUMS`, `CHECKSUM`).
    List {
        /// Its URL.
        url: String,
    },
    /// The SHA-256 itself, in hexadecimal.
    Sha256(String),
    /// Nothing to compare with.
    Unchecked,
}

/// What fetches, imports and builds images. `dir` is the image's own folder and is made.
pub trait ImageTool: Send + Sync {
    /// Downloads a disk image of at most so many bytes, goes on where an earlier call stopped, and
    /// verifies it.
    fn fetch<'a>(
        &'a self,
        dir: &'a Path,
        url: &'a str,
        checksum: &'a Checksum,
        max_bytes: u64,
        report: Report<'a>,
        log: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage>;

    /// Takes over a local qcow2, raw or ISO file, or a kernel with an initrd.
    fn import<'a>(
        &'a self,
        dir: &'a Path,
        source: &'a Path,
        initrd: Option<&'a Path>,
        report: Report<'a>,
        log: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage>;

    /// Builds an image from the distribution's own packages: `tiny` or `debian`.
    fn build<'a>(
        &'a self,
        dir: &'a Path,
        recipe: &'a str,
        report: Report<'a>,
        log: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage>;

    /// Why a recipe cannot be built on this box whatever is asked for, as a whole sentence.
    fn obstacle(&self, recipe: &str) -> Option<String> {
        let _ = recipe;
        None
    }

    /// Ends what a call on `dir` left running, and removes the folder.
    fn remove_leftovers<'a>(&'a self, dir: &'a Path) -> PortFuture<'a, ()>;
}

/// What ffprobe tells of a file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MediaInfo {
    /// Its length in seconds, where it says so.
    pub duration_s: Option<f64>,
    /// Its size in bytes.
    pub bytes: u64,
    /// The container's name, as ffprobe has it.
    pub container: String,
    /// Whether it has a video stream that is no cover picture.
    pub video: bool,
    /// Whether it has an audio stream.
    pub audio: bool,
    /// Pixels across and down, where it has video.
    pub size: Option<(u32, u32)>,
    /// Frames per second, where it has video.
    pub fps: Option<f64>,
    /// How long its first video stream is, in seconds, where it says so.
    #[serde(default)]
    pub video_s: Option<f64>,
    /// How long its first audio stream is, in seconds, where it says so.
    #[serde(default)]
    pub audio_s: Option<f64>,
    /// Whether `duration_s` is no more than a guess from the bit rate.
    #[serde(default)]
    pub guessed: bool,
}

impl MediaInfo {
    /// How long an encoding of the streams that are wanted must be, in seconds: as long as the
    /// longest of them. `None` where the file does not say, or says what it does not know.
    #[must_use]
    pub fn length(&self, video: bool, audio: bool) -> Option<f64> {
        if self.guessed {
            return None;
        }
        let wanted: Vec<Option<f64>> = [
            (video && self.video).then_some(self.video_s),
            (audio && self.audio).then_some(self.audio_s),
        ]
        .into_iter()
        .flatten()
        .collect();
        if wanted.is_empty() || wanted.iter().any(Option::is_none) {
            return self.duration_s;
        }
        wanted.into_iter().flatten().reduce(f64::max)
    }
}

/// One run of the encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodeJob {
    /// The job's own folder: logs, progress, pid. Made when it is not there.
    pub dir: PathBuf,
    /// The file that is encoded.
    pub source: PathBuf,
    /// The file it becomes; it appears when it is whole. Written beside it until then.
    pub output: PathBuf,
    /// The encoder's arguments between source and output, from the preset.
    pub arguments: Vec<String>,
    /// What the source was found to be.
    pub media: MediaInfo,
}

/// What an encoder has made and verified.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Encoded {
    /// The mean speed in seconds of media per second.
    pub speed: f64,
    /// The size of its file.
    pub bytes: u64,
    /// The number of its file in its filesystem, which a rename does not change: tells our output
    /// from a stranger's of the same name.
    pub inode: u64,
}

impl Encoded {
    /// Whether a file is what was made.
    #[must_use]
    pub fn is(&self, file: &std::fs::Metadata) -> bool {
        file.is_file() && (file.len(), file.ino()) == (self.bytes, self.inode)
    }
}

/// What encodes. Written so that a batch system can stand behind it.
pub trait Encoder: Send + Sync {
    /// What a file is. Fails with a clear sentence when it is no audio or video.
    fn probe<'a>(&'a self, path: &'a Path, log: &'a CommandLog) -> PortFuture<'a, MediaInfo>;

    /// The exact command that a job runs.
    fn command_line(&self, job: &EncodeJob) -> String;

    /// Encodes into a file of its own, or finds the encoder at work or finished. Returns when it
    /// ended well and what it wrote is as long as the source and has the streams it must have.
    fn encode<'a>(
        &'a self,
        job: &'a EncodeJob,
        report: Report<'a>,
        log: &'a CommandLog,
    ) -> PortFuture<'a, Encoded>;

    /// Makes what was verified the output, or finds that done, and removes the job's folder. The
    /// output is on disk under its name when this returns.
    fn finish<'a>(&'a self, job: &'a EncodeJob, encoded: &'a Encoded) -> PortFuture<'a, ()>;

    /// Ends what `encode` left running in a job's folder and removes that and what it wrote.
    fn remove_leftovers<'a>(&'a self, dir: &'a Path) -> PortFuture<'a, ()>;
}

/// By how much the clock on the wall may be off the time that passed before it counts as set:
/// clocks drift, and are put right little by little.
pub const CLOCK_SET: SignedDuration = SignedDuration::from_mins(5);

/// The clocks of the box. What the engine needs of them is its own [`clock::Clock`]; its `until`
/// ends early when the clock was set by more than [`CLOCK_SET`].
pub trait Clock: clock::Clock {
    /// How long the box has been up, awake or asleep: goes on evenly, whoever sets the clock.
    fn uptime(&self) -> Duration;
    /// Names this boot of the box: uptimes can be compared within one.
    fn boot(&self) -> String;
}

/// What looks for the programs that are driven.
pub trait Toolbox: Send + Sync {
    /// Every tool, in the order `doctor` shows them, and whether it is there.
    fn tools(&self) -> BoxFuture<'_, Vec<Tool>>;
}
