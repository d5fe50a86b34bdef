//! The image tool behind the port: fetches, imports and builds what VMs are created from.
//!
//! What comes from outside is looked at before QEMU opens it. Every file of an image appears whole
//! or not at all; what is still being written ends in `.partial`.

pub(super) mod checksum;
mod copy;
mod cpio;
mod debian;
mod fetch;
mod mounts;
mod recognise;
mod redirect;
mod tiny;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sha2::Digest;

use super::atomic_file;
use super::process;
use super::room::HeadRoom;
use super::supervise::{Supervised, Supervision};
use crate::backend::ports::{
    Checksum, CommandLog, ImageTool, MadeImage, PortFuture, ProgressReport, Report,
};
use crate::domain::{DiskFormat, Failure, ImageForm};

use copy::{Hasher, StopFlag};
pub use fetch::Limits;
use recognise::{Content, recognise};

pub(super) use tiny::{find_busybox as static_busybox, newest_kernel as cloud_kernel};

/// The names disks of images have once they are whole and looked at.
const DISKS: [&str; 3] = ["disk.qcow2", "disk.raw", "disk.iso"];

/// Fetches, imports and builds images.
#[derive(Debug, Clone)]
pub struct Images {
    supervision: Supervision,
    limits: Limits,
}

impl Images {
    /// With long tools run under `supervision`.
    #[must_use]
    pub fn new(supervision: Supervision) -> Self {
        Self { supervision, limits: Limits::default() }
    }

    /// The same with other limits.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

impl ImageTool for Images {
    fn fetch<'a>(
        &'a self,
        dir: &'a Path,
        url: &'a str,
        checksum: &'a Checksum,
        max_bytes: u64,
        report: Report<'a>,
        log: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        Box::pin(async move {
            make_dir(dir)?;
            let whole = DISKS.iter().map(|name| dir.join(name)).find(|path| path.exists());
            let wanted = fetch::Wanted { url, checksum, max_bytes };
            if let Some(whole) = whole.filter(|_| wanted.is_of(dir)) {
                fetch::verify(dir, &whole, &wanted, &self.limits, report).await?;
                return adopt(dir, &whole, report, log).await;
            }
            let partial = fetch::fetch(dir, &wanted, &self.limits, report).await?;
            let made = adopt(dir, &partial, report, log).await;
            if made.is_err() {
                fetch::forget(dir)?;
            }
            // The operator knows the address, not the file it was written to.
            made.map_err(|failure| Failure {
                message: failure.message.replace(&partial.display().to_string(), url),
                ..failure
            })
        })
    }

    fn import<'a>(
        &'a self,
        dir: &'a Path,
        source: &'a Path,
        initrd: Option<&'a Path>,
        report: Report<'a>,
        log: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        Box::pin(async move {
            match (recognise(source)?, initrd) {
                (Content::Kernel, None) => Err(Failure::new(format!(
                    "{} is a kernel, which does not boot without an initial ramdisk; name its \
                     initrd too",
                    source.display()
                ))),
                (Content::Kernel, Some(initrd)) => {
                    make_dir(dir)?;
                    bring(source, dir.join("kernel"), self.limits.reserve, report).await?;
                    bring(initrd, dir.join("initrd"), self.limits.reserve, report).await?;
                    let dir = dir.to_owned();
                    blocking(move || made_direct(&dir, "console=ttyS0")).await
                }
                (_, Some(_)) => Err(Failure::new(format!(
                    "{} is no kernel, so an initrd is of no use with it; leave the initrd out",
                    source.display()
                ))),
                (_, None) => {
                    make_dir(dir)?;
                    let partial = dir.join("import.partial");
                    copied(source, partial.clone(), self.limits.reserve, report).await?;
                    adopt(dir, &partial, report, log).await
                }
            }
        })
    }

    fn build<'a>(
        &'a self,
        dir: &'a Path,
        recipe: &'a str,
        report: Report<'a>,
        log: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        Box::pin(async move {
            match recipe {
                "tiny" => {
                    let dir = dir.to_owned();
                    blocking(move || tiny::build(&dir)).await
                }
                "debian" => {
                    let room = self.limits.reserve.check(existing(dir), debian::BUILD_BYTES);
                    room.map_err(|error| Failure::io("build debian", &error))?;
                    debian::build(&self.supervision, dir, report, log).await
                }
                _ => {
                    Err(Failure::new(format!("there is no recipe {recipe}; choose tiny or debian")))
                }
            }
        })
    }

    fn obstacle(&self, recipe: &str) -> Option<String> {
        match recipe {
            "debian" => debian::obstacle(),
            _ => None,
        }
    }

    fn remove_leftovers<'a>(&'a self, dir: &'a Path) -> PortFuture<'a, ()> {
        Box::pin(async move {
            Supervised::at(&dir.join("job")).remove().await?;
            let dir = dir.to_owned();
            blocking(move || debian::remove_tree(&dir)).await
        })
    }
}

/// The nearest folder above that is there already.
fn existing(dir: &Path) -> &Path {
    dir.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"))
}

/// Looks at a file that was brought into `dir`, and gives it the name it stays under.
async fn adopt(
    dir: &Path,
    partial: &Path,
    report: Report<'_>,
    log: &CommandLog,
) -> Result<MadeImage, Failure> {
    let length = || {
        std::fs::metadata(partial)
            .map(|found| found.len())
            .map_err(|error| Failure::io(format!("read {}", partial.display()), &error))
    };
    let (name, format, virtual_bytes) = match recognise(partial)? {
        Content::Qcow2 { virtual_bytes } => ("disk.qcow2", Some(DiskFormat::Qcow2), virtual_bytes),
        Content::Raw => ("disk.raw", Some(DiskFormat::Raw), length()?),
        Content::Iso => ("disk.iso", None, 0),
        Content::Kernel => {
            return Err(Failure::new(format!(
                "{} is no disk image: it is a kernel",
                partial.display()
            )));
        }
    };
    if let Some(format) = format {
        // Its own look is deeper than ours, and safe now that no other file is named.
        let arguments =
            ["info".as_ref(), "-f".as_ref(), format.word().as_ref(), partial.as_os_str()];
        let ended = process::run(log, "qemu-img", &arguments).await?;
        if !ended.ok {
            let why = ended.error_line();
            return Err(Failure::new(format!(
                "{} is no disk image: {why}; get it again and relaunch",
                partial.display()
            )));
        }
    }
    let path = dir.join(name);
    let (from, to) = (partial.to_owned(), path.clone());
    blocking(move || {
        atomic_file::publish(&from, &to)
            .map_err(|error| Failure::io(format!("write {}", to.display()), &error))
    })
    .await?;
    let form = match format {
        Some(format) => ImageForm::Disk { path, format },
        None => ImageForm::Iso { path },
    };
    describe(form, virtual_bytes, report).await
}

/// Copies a file from outside to its place in the image.
async fn bring(
    source: &Path,
    target: PathBuf,
    reserve: HeadRoom,
    report: Report<'_>,
) -> Result<(), Failure> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let partial = target.with_file_name(format!(".{name}.partial"));
    copied(source, partial.clone(), reserve, report).await?;
    blocking(move || {
        atomic_file::publish(&partial, &target)
            .map_err(|error| Failure::io(format!("write {}", target.display()), &error))
    })
    .await
}

/// Copies a file and reports how far that is.
async fn copied(
    source: &Path,
    target: PathBuf,
    reserve: HeadRoom,
    report: Report<'_>,
) -> Result<(), Failure> {
    let source = source.to_owned();
    let length = std::fs::metadata(&source).map(|found| found.len()).unwrap_or_default();
    metered(length, "copying", report, move |stop, tell| {
        copy::copy(&source, &target, reserve, stop, tell)
            .map_err(|error| Failure::io(format!("copy {}", source.display()), &error))
    })
    .await
}

/// The hash of a file, reported as it goes.
async fn hashed(path: &Path, hasher: Hasher, report: Report<'_>) -> Result<String, Failure> {
    let path = path.to_owned();
    let length = std::fs::metadata(&path).map(|found| found.len()).unwrap_or_default();
    metered(length, "verifying", report, move |stop, tell| {
        copy::hash(&path, hasher, stop, tell)
            .map_err(|error| Failure::io(format!("read {}", path.display()), &error))
    })
    .await
}

/// What is told of a finished image.
async fn describe(
    form: ImageForm,
    virtual_bytes: u64,
    report: Report<'_>,
) -> Result<MadeImage, Failure> {
    let sha256 = hashed(form.files()[0], Hasher::Sha256(sha2::Sha256::new()), report).await?;
    Ok(MadeImage { bytes: room(&form.files())?, form, virtual_bytes, sha256 })
}

/// The image of `kernel` and `initrd` in `dir`. Blocks.
fn made_direct(dir: &Path, append: &str) -> Result<MadeImage, Failure> {
    let (kernel, initrd) = (dir.join("kernel"), dir.join("initrd"));
    let sha256 =
        copy::hash(&kernel, Hasher::Sha256(sha2::Sha256::new()), &AtomicBool::new(false), |_| {})
            .map_err(|error| Failure::io(format!("read {}", kernel.display()), &error))?;
    let form = ImageForm::Direct { kernel, initrd, append: append.to_owned() };
    Ok(MadeImage { bytes: room(&form.files())?, form, virtual_bytes: 0, sha256 })
}

/// What files take on the box, in bytes.
fn room(files: &[&Path]) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt;
    files
        .iter()
        .map(|path| {
            // Blocks are counted in units of 512 bytes, see stat(2).
            std::fs::metadata(path)
                .map(|found| found.blocks() * 512)
                .map_err(|error| Failure::io(format!("read {}", path.display()), &error))
        })
        .sum()
}

fn make_dir(dir: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(dir)
        .map_err(|error| Failure::small(format!("make {}", dir.display()), &error))
}

/// Runs what may block where it does no harm.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    crate::backend::engine::work::blocking(work)
        .await
        .map_err(|error| Failure::new(format!("hostler has a fault: {error}")))?
}

/// Runs what may block and tells how many of `length` bytes are behind it. It stops when the future
/// is dropped.
async fn metered<T: Send + 'static>(
    length: u64,
    what: &'static str,
    report: Report<'_>,
    work: impl FnOnce(&AtomicBool, &dyn Fn(u64)) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let stop = StopFlag::default();
    let flag: Arc<AtomicBool> = stop.flag();
    let (tell, mut told) = tokio::sync::watch::channel(0_u64);
    let work = blocking(move || work(&flag, &move |done| _ = tell.send_replace(done)));
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Ok(()) = told.changed() => {
                let done = *told.borrow_and_update();
                let fraction = (length > 0).then(|| (done as f64 / length as f64).min(1.0));
                let detail = Some(what.to_owned());
                report(ProgressReport { fraction, detail, ..ProgressReport::default() });
            }
        }
    }
}
