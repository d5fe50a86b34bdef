//! An encoder and a clock that do what a test says, and ports on which nothing else works.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_core::Stream;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::fake::Clocks;
use crate::backend::engine::clock;
use crate::backend::ports::{
    Checksum, Clock, CommandLog, DiskInfo, DiskTool, Drive, EncodeJob, Encoded, Encoder, Guest,
    GuestEvent, GuestSpec, GuestStatus, GuestUsage, Hypervisor, ImageTool, MadeImage, MediaInfo,
    PortFuture, Ports, ProgressReport, Report, Seed, Toolbox,
};
use crate::domain::{Accelerator, BoxFuture, DiskFormat, Failure, FsType, Serial};

/// Ports with these two, and nothing else that works.
pub fn ports(encoder: &Arc<FakeEncoder>, clock: &Arc<FakeClock>) -> Ports {
    Ports {
        hypervisor: Arc::new(Absent),
        disks: Arc::new(Absent),
        images: Arc::new(Absent),
        encoder: encoder.clone(),
        clock: clock.clone(),
        toolbox: Arc::new(Absent),
    }
}

/// What a [`FakeEncoder`] does when it is asked to encode.
#[derive(Debug, Clone, Default)]
pub enum EncodeScript {
    /// It writes these bytes.
    #[default]
    Works,
    /// It writes half of them and fails.
    Fails,
    /// It writes half of them and never comes back, until it is asked again.
    Hangs,
}

/// An encoder that copies.
#[derive(Debug, Default)]
pub struct FakeEncoder {
    /// What it says of every source, but the size.
    pub media: Mutex<MediaInfo>,
    /// What it does next.
    pub next: Mutex<EncodeScript>,
    /// What it was asked, in order: `probe`, `encode`, `finish`, `remove_leftovers`.
    pub asked: Mutex<Vec<&'static str>>,
    /// Whether what it has started cannot be ended.
    pub stuck: Mutex<bool>,
    /// Told when an encoding hangs.
    pub hanging: Notify,
}

/// The file in a job's folder that says where the copy is made.
const PARTIAL: &str = "partial";

impl FakeEncoder {
    /// One that finds sound and pictures in everything.
    pub fn new() -> Arc<Self> {
        let media =
            MediaInfo { video: true, audio: true, duration_s: Some(12.5), ..Default::default() };
        Arc::new(Self { media: Mutex::new(media), ..Self::default() })
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap().clone()
    }

    fn note(&self, what: &'static str) {
        self.asked.lock().unwrap().push(what);
    }
}

impl Encoder for FakeEncoder {
    fn probe<'a>(&'a self, path: &'a Path, log: &'a CommandLog) -> PortFuture<'a, MediaInfo> {
        Box::pin(async move {
            self.note("probe");
            let begun = log.begin(format!("look at {}", path.display()));
            log.end(begun, "exit 0", "", 0);
            let bytes = std::fs::metadata(path).unwrap().len();
            Ok(MediaInfo { bytes, ..self.media.lock().unwrap().clone() })
        })
    }

    fn command_line(&self, job: &EncodeJob) -> String {
        format!("copy {} {}", job.source.display(), job.output.display())
    }

    fn encode<'a>(
        &'a self,
        job: &'a EncodeJob,
        report: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, Encoded> {
        Box::pin(async move {
            self.note("encode");
            let bytes = std::fs::read(&job.source).unwrap();
            std::fs::create_dir_all(&job.dir).unwrap();
            std::fs::write(job.dir.join(PARTIAL), partial(job).to_str().unwrap()).unwrap();
            std::fs::write(partial(job), &bytes[..bytes.len() / 2]).unwrap();
            report(ProgressReport { fraction: Some(0.5), ..ProgressReport::default() });
            let next = self.next.lock().unwrap().clone();
            match next {
                EncodeScript::Works => std::fs::write(partial(job), &bytes).unwrap(),
                EncodeScript::Fails => return Err(Failure::new("the encoder broke")),
                EncodeScript::Hangs => {
                    self.hanging.notify_one();
                    std::future::pending::<()>().await;
                }
            }
            let made = std::fs::metadata(partial(job)).unwrap();
            Ok(Encoded { speed: 2.0, bytes: made.len(), inode: made.ino() })
        })
    }

    fn finish<'a>(&'a self, job: &'a EncodeJob, _: &'a Encoded) -> PortFuture<'a, ()> {
        Box::pin(async move {
            self.note("finish");
            if partial(job).exists() {
                std::fs::rename(partial(job), &job.output).unwrap();
            }
            std::fs::remove_dir_all(&job.dir).unwrap();
            Ok(())
        })
    }

    fn remove_leftovers<'a>(&'a self, dir: &'a Path) -> PortFuture<'a, ()> {
        Box::pin(async move {
            self.note("remove_leftovers");
            if *self.stuck.lock().unwrap() {
                return Err(Failure::passing("what encodes does not end"));
            }
            // What was never made need not be removed.
            if let Ok(partial) = std::fs::read_to_string(dir.join(PARTIAL)) {
                let _ = std::fs::remove_file(partial);
            }
            let _ = std::fs::remove_dir_all(dir);
            Ok(())
        })
    }
}

/// Where the copy is made.
fn partial(job: &EncodeJob) -> PathBuf {
    let name = job.output.file_name().unwrap().to_string_lossy();
    job.output.with_file_name(format!(".{name}.partial"))
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub struct FakeClock(watch::Sender<Clocks>);

impl FakeClock {
    /// A clock that shows this, such as `2026-03-01T12:00:00Z`.
    pub fn at(time: &str) -> Arc<Self> {
        let clocks = Clocks { wall: time.parse().unwrap(), uptime: Duration::from_secs(100) };
        Arc::new(Self(watch::Sender::new(clocks)))
    }

    /// Lets time pass until it shows that; sets it back where that is over.
    pub fn set(&self, time: &str) {
        let time: Timestamp = time.parse().unwrap();
        self.0.send_modify(|clocks| match Duration::try_from(time.duration_since(clocks.wall)) {
            Ok(passes) => clocks.pass(passes),
            Err(_) => clocks.wall = time,
        });
    }

    /// Sets it, forwards or backwards, while no time passes.
    pub fn jump(&self, time: &str) {
        self.0.send_modify(|clocks| clocks.wall = time.parse().unwrap());
    }
}

impl Clock for FakeClock {
    fn uptime(&self) -> Duration {
        self.0.borrow().uptime
    }

    fn boot(&self) -> String {
        "a boot".to_owned()
    }
}

impl clock::Clock for FakeClock {
    fn now(&self) -> Timestamp {
        self.0.borrow().wall
    }

    fn until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut shows = self.0.subscribe();
            let before = *shows.borrow();
            // The sender is ours, so this ends only when the time has come or the clock was set.
            let _ = shows.wait_for(|clocks| clocks.end_wait(before, at)).await;
        })
    }
}

/// A port on which nothing works.
struct Absent;

fn absent<'a, T>() -> PortFuture<'a, T> {
    Box::pin(async { Err(Failure::new("there is none in this test")) })
}

type Events = Pin<Box<dyn Stream<Item = GuestEvent> + Send>>;

impl Toolbox for Absent {
    fn tools(&self) -> BoxFuture<'_, Vec<crate::domain::Tool>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

impl Hypervisor for Absent {
    fn accelerator(&self) -> PortFuture<'_, Accelerator> {
        absent()
    }
    fn launch<'a>(&'a self, _: &'a GuestSpec, _: &'a CommandLog) -> PortFuture<'a, String> {
        absent()
    }
    fn status<'a>(&'a self, _: &'a Guest) -> PortFuture<'a, GuestStatus> {
        absent()
    }
    fn watch<'a>(&'a self, _: &'a Guest) -> PortFuture<'a, Events> {
        absent()
    }
    fn power_button<'a>(&'a self, _: &'a Guest, _: &'a CommandLog) -> PortFuture<'a, ()> {
        absent()
    }
    fn reset<'a>(&'a self, _: &'a Guest, _: &'a CommandLog) -> PortFuture<'a, ()> {
        absent()
    }
    fn quit<'a>(&'a self, _: &'a Guest, _: &'a CommandLog) -> PortFuture<'a, ()> {
        absent()
    }
    fn withdraw<'a>(&'a self, _: &'a Guest, _: &'a str, _: &'a CommandLog) -> PortFuture<'a, ()> {
        absent()
    }
    fn attach<'a>(&'a self, _: &'a Guest, _: &'a Drive, _: &'a CommandLog) -> PortFuture<'a, ()> {
        absent()
    }
    fn detach<'a>(&'a self, _: &'a Guest, _: &'a str, _: &'a CommandLog) -> PortFuture<'a, ()> {
        absent()
    }
    fn plugged<'a>(&'a self, _: &'a Guest) -> PortFuture<'a, std::collections::BTreeSet<String>> {
        absent()
    }
    fn serial<'a>(&'a self, _: &'a Guest) -> PortFuture<'a, Serial> {
        absent()
    }
    fn dead(&self, _: Vec<Guest>) -> Vec<Guest> {
        Vec::new()
    }

    fn was_ended(&self, _: &Guest) -> bool {
        false
    }

    fn last_words(&self, _: &Guest) -> Option<String> {
        None
    }

    fn astray(&self, _: &Guest) -> Option<String> {
        None
    }

    fn usage(&self, _: &Guest) -> Option<GuestUsage> {
        None
    }
}

impl DiskTool for Absent {
    fn create<'a>(
        &'a self,
        _: &'a Path,
        _: u64,
        _: FsType,
        _: &'a str,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        absent()
    }
    fn overlay<'a>(
        &'a self,
        _: &'a Path,
        _: &'a Path,
        _: DiskFormat,
        _: u64,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        absent()
    }
    fn rebase<'a>(
        &'a self,
        _: &'a Path,
        _: &'a Path,
        _: DiskFormat,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        absent()
    }
    fn info<'a>(&'a self, _: &'a Path, _: &'a CommandLog) -> PortFuture<'a, DiskInfo> {
        absent()
    }
    fn seed<'a>(&'a self, _: &'a Path, _: &'a Seed) -> PortFuture<'a, ()> {
        absent()
    }
}

impl ImageTool for Absent {
    fn fetch<'a>(
        &'a self,
        _: &'a Path,
        _: &'a str,
        _: &'a Checksum,
        _: u64,
        _: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        absent()
    }
    fn import<'a>(
        &'a self,
        _: &'a Path,
        _: &'a Path,
        _: Option<&'a Path>,
        _: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        absent()
    }
    fn build<'a>(
        &'a self,
        _: &'a Path,
        _: &'a str,
        _: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        absent()
    }
    fn remove_leftovers<'a>(&'a self, _: &'a Path) -> PortFuture<'a, ()> {
        absent()
    }
}
