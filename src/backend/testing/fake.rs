//! Fakes for tests: a hypervisor, a disk tool, an image tool and a clock that work in memory and
//! with small real files, note every call, and can be told to go wrong at a given one.

mod clocks;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream;
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, watch};

pub use clocks::Clocks;

use crate::backend::ports::{
    Checksum, CommandLog, DiskInfo, DiskTool, Drive, EncodeJob, Encoded, Encoder, Guest,
    GuestEvent, GuestSpec, GuestStatus, GuestUsage, Hypervisor, ImageTool, MadeImage, MediaInfo,
    PortFuture, Ports, ProgressReport, Report, Seed, Toolbox,
};
use crate::domain::{
    Accelerator, BoxFuture, DiskFormat, Failure, FsType, ImageForm, Serial, Tool, ToolState,
};

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It fails and has done nothing.
    Before,
    /// It finds no room, for so many calls in a row.
    NoRoom(u32),
    /// It has done its work, and fails.
    After,
    /// It has done its work, and never returns.
    Hang,
}

/// A QEMU in memory.
#[derive(Debug, Clone)]
pub struct Process {
    /// What its guest is doing.
    pub status: GuestStatus,
    /// The devices plugged in.
    pub plugged: BTreeSet<String>,
    launch: String,
    presses: u32,
    events: broadcast::Sender<GuestEvent>,
}

struct AdmissionContext {
    calls: Vec<String>,
    /// At which call, counted from when it was asked for, and how.
    trouble: Option<(usize, Trouble)>,
    processes: BTreeMap<u64, Process>,
    /// After how many presses of the power button guests shut down; 0 for never.
    obeys_after: u32,
    usage: GuestUsage,
}

/// Everything that is faked. Its clones are one and the same.
#[derive(Clone)]
pub struct Fake {
    world: Arc<Mutex<AdmissionContext>>,
    hung: Arc<Notify>,
    clocks: Arc<watch::Sender<Clocks>>,
}

impl Default for Fake {
    fn default() -> Self {
        let world = AdmissionContext {
            calls: Vec::new(),
            trouble: None,
            processes: BTreeMap::new(),
            obeys_after: 1,
            usage: GuestUsage { cpu_ms: 0, memory_mib: 64 },
        };
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        Self {
            world: Arc::new(Mutex::new(world)),
            hung: Arc::default(),
            clocks: Arc::new(watch::Sender::new(Clocks { wall: start, uptime: Duration::ZERO })),
        }
    }
}

impl Fake {
    /// Ports that all lead here; there is no encoder.
    pub fn ports(&self) -> Ports {
        Ports {
            hypervisor: Arc::new(self.clone()),
            disks: Arc::new(self.clone()),
            images: Arc::new(self.clone()),
            encoder: Arc::new(NoEncoder),
            clock: Arc::new(self.clone()),
            toolbox: Arc::new(self.clone()),
        }
    }

    fn world(&self) -> MutexGuard<'_, AdmissionContext> {
        self.world.lock().unwrap()
    }

    /// The calls made since this was asked last.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world().calls)
    }

    /// The call with that number from now, counted from 0, goes wrong.
    pub fn trouble(&self, at: usize, trouble: Trouble) {
        self.world().trouble = Some((at, trouble));
    }

    /// Returns when a call hangs.
    pub async fn hung(&self) {
        self.hung.notified().await;
    }

    /// The processes that live.
    pub fn processes(&self) -> BTreeMap<u64, Process> {
        self.world().processes.clone()
    }

    /// After how many presses of the power button guests shut down; 0 for never.
    pub fn obeys_after(&self, presses: u32) {
        self.world().obeys_after = presses;
    }

    /// A guest comes to be in a state by itself.
    pub fn becomes(&self, vm: u64, status: GuestStatus, event: GuestEvent) {
        let mut world = self.world();
        let process = world.processes.get_mut(&vm).unwrap();
        process.status = status;
        // Nobody need be watching.
        let _ = process.events.send(event);
        if status == GuestStatus::Off {
            world.processes.remove(&vm);
        }
    }

    /// A process that nobody launched.
    pub fn orphan(&self, vm: u64) {
        let process = Process {
            status: GuestStatus::Running,
            plugged: BTreeSet::new(),
            launch: String::new(),
            presses: 0,
            events: broadcast::Sender::new(16),
        };
        self.world().processes.insert(vm, process);
    }

    async fn call<T>(
        &self,
        call: String,
        effect: impl FnOnce(&mut AdmissionContext) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (result, trouble) = {
            let mut world = self.world();
            world.calls.push(call.clone());
            let trouble = match &mut world.trouble {
                Some((0, trouble)) => Some(*trouble),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            };
            if trouble.is_some() {
                world.trouble = None;
            }
            if let Some(Trouble::NoRoom(left)) = trouble {
                if left > 1 {
                    world.trouble = Some((0, Trouble::NoRoom(left - 1)));
                }
                return Err(Failure::no_room(format!("no room for {call}")));
            }
            if trouble == Some(Trouble::Before) {
                return Err(Failure::new(format!("told to fail before {call}")));
            }
            (effect(&mut world), trouble)
        };
        match trouble {
            Some(Trouble::After) => Err(Failure::new(format!("told to fail after {call}"))),
            Some(Trouble::Hang) => {
                self.hung.notify_one();
                std::future::pending().await
            }
            _ => result,
        }
    }
}

impl AdmissionContext {
    fn process(&mut self, guest: &Guest) -> Result<&mut Process, Failure> {
        self.processes
            .get_mut(&guest.id)
            .ok_or_else(|| Failure::new(format!("vm/{} does not run; start it first", guest.id)))
    }
}

impl Hypervisor for Fake {
    fn accelerator(&self) -> PortFuture<'_, Accelerator> {
        Box::pin(async { Ok(Accelerator { name: "tcg".into(), why: "this is a fake".into() }) })
    }

    fn launch<'a>(&'a self, spec: &'a GuestSpec, _: &'a CommandLog) -> PortFuture<'a, String> {
        Box::pin(self.call(format!("launch vm/{}", spec.guest.id), |world| {
            for file in spec.root.iter().chain(&spec.disks).map(|drive| &drive.path) {
                if !file.exists() {
                    return Err(Failure::new(format!("{} does not exist", file.display())));
                }
            }
            write(&spec.guest.dir.join("qemu.log"), "qemu")?;
            let process = world.processes.entry(spec.guest.id).or_insert_with(|| Process {
                status: GuestStatus::Running,
                plugged: spec.disks.iter().map(|drive| drive.device.clone()).collect(),
                launch: spec.launch.clone(),
                presses: 0,
                events: broadcast::Sender::new(16),
            });
            process.status = GuestStatus::Running;
            Ok("tcg".to_owned())
        }))
    }

    fn status<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, GuestStatus> {
        let status = self.world().processes.get(&guest.id).map_or(GuestStatus::Off, |it| it.status);
        Box::pin(async move { Ok(status) })
    }

    fn watch<'a>(
        &'a self,
        guest: &'a Guest,
    ) -> PortFuture<'a, Pin<Box<dyn Stream<Item = GuestEvent> + Send>>> {
        let events = self.world().processes.get(&guest.id).map(|it| it.events.subscribe());
        Box::pin(async move {
            let Some(events) = events else {
                let gone: Pin<Box<dyn Stream<Item = _> + Send>> =
                    Box::pin(stream::iter([GuestEvent::Gone]));
                return Ok(gone);
            };
            let events: Pin<Box<dyn Stream<Item = _> + Send>> =
                Box::pin(stream::unfold(events, |mut events| async move {
                    events.recv().await.ok().map(|event| (event, events))
                }));
            Ok(events)
        })
    }

    fn power_button<'a>(&'a self, guest: &'a Guest, _: &'a CommandLog) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("power_button vm/{}", guest.id), |world| {
            let obeys_after = world.obeys_after;
            let process = world.process(guest)?;
            process.presses += 1;
            if process.presses == obeys_after {
                process.status = GuestStatus::ShutDown;
                let _ = process.events.send(GuestEvent::ShutDown);
            }
            Ok(())
        }))
    }

    fn reset<'a>(&'a self, guest: &'a Guest, _: &'a CommandLog) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("reset vm/{}", guest.id), |world| {
            let process = world.process(guest)?;
            process.status = GuestStatus::Running;
            process.presses = 0;
            let _ = process.events.send(GuestEvent::Reset { by_guest: false });
            Ok(())
        }))
    }

    fn quit<'a>(&'a self, guest: &'a Guest, _: &'a CommandLog) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("quit vm/{}", guest.id), |world| {
            if let Some(process) = world.processes.remove(&guest.id) {
                let _ = process.events.send(GuestEvent::Gone);
            }
            Ok(())
        }))
    }

    fn withdraw<'a>(
        &'a self,
        guest: &'a Guest,
        launch: &'a str,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("withdraw vm/{}", guest.id), move |world| {
            if world.processes.get(&guest.id).is_some_and(|it| it.launch == launch)
                && let Some(process) = world.processes.remove(&guest.id)
            {
                let _ = process.events.send(GuestEvent::Gone);
            }
            Ok(())
        }))
    }

    fn attach<'a>(
        &'a self,
        guest: &'a Guest,
        drive: &'a Drive,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("attach {} vm/{}", drive.device, guest.id), |world| {
            world.process(guest)?.plugged.insert(drive.device.clone());
            Ok(())
        }))
    }

    fn detach<'a>(
        &'a self,
        guest: &'a Guest,
        device: &'a str,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("detach {device} vm/{}", guest.id), |world| {
            world.process(guest)?.plugged.remove(device);
            Ok(())
        }))
    }

    fn plugged<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, BTreeSet<String>> {
        let plugged = self.world().process(guest).map(|it| it.plugged.clone());
        Box::pin(async { plugged })
    }

    fn serial<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, Serial> {
        let why = format!("vm/{} has no serial line: it is a fake", guest.id);
        Box::pin(async move { Err(Failure::new(why)) })
    }

    fn last_words(&self, guest: &Guest) -> Option<String> {
        let log = std::fs::read_to_string(guest.dir.join("qemu.log")).ok()?;
        log.lines().last().map(str::to_owned)
    }

    fn usage(&self, guest: &Guest) -> Option<GuestUsage> {
        let world = self.world();
        world.processes.contains_key(&guest.id).then_some(world.usage)
    }
}

fn write(path: &Path, what: &str) -> Result<(), Failure> {
    std::fs::write(path, what)
        .map_err(|error| Failure::io(format!("write {}", path.display()), &error))
}

impl DiskTool for Fake {
    fn create<'a>(
        &'a self,
        path: &'a Path,
        size_mb: u64,
        fstype: FsType,
        _: &'a str,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("create {size_mb} MB {}", fstype.word()), move |_| {
            write(path, &format!("disk of {size_mb}"))
        }))
    }

    fn overlay<'a>(
        &'a self,
        path: &'a Path,
        backing: &'a Path,
        _: DiskFormat,
        _: u64,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        let content = format!("overlay of {}", backing.display());
        Box::pin(self.call("overlay".into(), move |_| write(path, &content)))
    }

    fn rebase<'a>(
        &'a self,
        path: &'a Path,
        backing: &'a Path,
        format: DiskFormat,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        self.overlay(path, backing, format, 0, log)
    }

    fn info<'a>(&'a self, path: &'a Path, _: &'a CommandLog) -> PortFuture<'a, DiskInfo> {
        let content = std::fs::read_to_string(path).unwrap_or_default();
        let size_mb = content.strip_prefix("disk of ").and_then(|size| size.parse::<u64>().ok());
        let info = DiskInfo {
            format: "qcow2".into(),
            virtual_bytes: size_mb.unwrap_or(1024) << 20,
            actual_bytes: content.len() as u64,
            backing: content.strip_prefix("overlay of ").map(Into::into),
        };
        Box::pin(async move { Ok(info) })
    }

    fn seed<'a>(&'a self, path: &'a Path, seed: &'a Seed) -> PortFuture<'a, ()> {
        Box::pin(self.call("seed".to_owned(), |_| {
            write(path, &format!("{} {} {}", seed.hostname, seed.login, seed.password_hash))
        }))
    }
}

impl Fake {
    fn make<'a>(
        &'a self,
        call: String,
        dir: &'a Path,
        report: Report<'a>,
    ) -> PortFuture<'a, MadeImage> {
        Box::pin(self.call(call, move |_| {
            report(ProgressReport { fraction: Some(0.5), ..ProgressReport::default() });
            std::fs::create_dir_all(dir)
                .map_err(|error| Failure::io(format!("make {}", dir.display()), &error))?;
            let path: PathBuf = dir.join("disk.qcow2");
            write(&path, "image")?;
            Ok(MadeImage {
                form: ImageForm::Disk { path, format: DiskFormat::Qcow2 },
                bytes: 5,
                virtual_bytes: 1 << 30,
                sha256: "00".repeat(32),
            })
        }))
    }
}

impl ImageTool for Fake {
    fn fetch<'a>(
        &'a self,
        dir: &'a Path,
        url: &'a str,
        checksum: &'a Checksum,
        _: u64,
        report: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        self.make(format!("fetch {url} {checksum:?}"), dir, report)
    }

    fn import<'a>(
        &'a self,
        dir: &'a Path,
        source: &'a Path,
        _: Option<&'a Path>,
        report: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        self.make(format!("import {}", source.display()), dir, report)
    }

    fn build<'a>(
        &'a self,
        dir: &'a Path,
        recipe: &'a str,
        report: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        self.make(format!("build {recipe}"), dir, report)
    }

    fn remove_leftovers<'a>(&'a self, dir: &'a Path) -> PortFuture<'a, ()> {
        Box::pin(self.call("discard".to_owned(), move |_| match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::io(format!("remove {}", dir.display()), &error))
            }
            _ => Ok(()),
        }))
    }
}

impl Toolbox for Fake {
    fn tools(&self) -> BoxFuture<'_, Vec<Tool>> {
        Box::pin(async {
            vec![Tool {
                name: "qemu-img".into(),
                purpose: "makes disks".into(),
                state: ToolState::Present { version: "0".into() },
            }]
        })
    }
}

/// No encoder: whoever needs one brings his own.
struct NoEncoder;

impl Encoder for NoEncoder {
    fn probe<'a>(&'a self, _: &'a Path, _: &'a CommandLog) -> PortFuture<'a, MediaInfo> {
        Box::pin(async { Err(none()) })
    }

    fn command_line(&self, _: &EncodeJob) -> String {
        String::new()
    }

    fn encode<'a>(
        &'a self,
        _: &'a EncodeJob,
        _: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, Encoded> {
        Box::pin(async { Err(none()) })
    }

    fn finish<'a>(&'a self, _: &'a EncodeJob, _: &'a Encoded) -> PortFuture<'a, ()> {
        Box::pin(async { Err(none()) })
    }

    fn remove_leftovers<'a>(&'a self, _: &'a EncodeJob) -> PortFuture<'a, ()> {
        Box::pin(async { Err(none()) })
    }
}

fn none() -> Failure {
    Failure::new("there is no encoder here")
}
