//! Copies big files: as a clone where the filesystem can, else without their holes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::SeekFrom;
use sha2::{Digest, Sha256, Sha512};

use crate::backend::drivers::room::HeadRoom;
use crate::domain::display::hex;
use crate::file;

/// How much is copied between two looks at whether to go on, in bytes.
const PIECE: u64 = 4 << 20;

/// Tells a blocking piece of work to stop when the future that waits for it is dropped.
#[derive(Debug, Default)]
pub(super) struct StopFlag(std::sync::Arc<AtomicBool>);

impl StopFlag {
    /// What the work looks at.
    pub(super) fn flag(&self) -> std::sync::Arc<AtomicBool> {
        self.0.clone()
    }
}

impl Drop for StopFlag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn go_on(stop: &AtomicBool) -> io::Result<()> {
    if stop.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
}

/// Copies `from` to `to` and tells how many bytes of the file are behind it. Stops before the
/// filesystem is full. Blocks.
pub(super) fn copy(
    from: &Path,
    to: &Path,
    reserve: HeadRoom,
    stop: &AtomicBool,
    tell: impl Fn(u64),
) -> io::Result<()> {
    let source = file::open(from)?;
    let length = source.metadata()?.len();
    let mut target = File::create(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        tell(length);
        return Ok(());
    }
    let dir = to.parent().unwrap_or(Path::new("."));
    reserve.check(dir, data(&source)?)?;
    target.set_len(length)?;
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(&source, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(&source, SeekFrom::Hole(data))?;
        rustix::fs::seek(&source, SeekFrom::Start(data))?;
        rustix::fs::seek(&target, SeekFrom::Start(data))?;
        at = data;
        while at < hole {
            go_on(stop)?;
            // Others write there too.
            reserve.check(dir, 0)?;
            let copied = io::copy(&mut (&source).take(PIECE.min(hole - at)), &mut target)?;
            if copied == 0 {
                return Err(io::Error::other("it was cut short meanwhile"));
            }
            at += copied;
            tell(at);
        }
    }
    tell(length);
    target.flush()
}

/// How much of a file is no hole, in bytes.
fn data(file: &File) -> io::Result<u64> {
    let found = file.metadata()?;
    // Blocks are counted in units of 512 bytes, see stat(2).
    Ok(found.len().min(found.blocks().saturating_mul(512)))
}

/// A hash under way.
pub(super) enum Hasher {
    /// 64 hexadecimal digits.
    Sha256(Sha256),
    /// 128 hexadecimal digits.
    Sha512(Sha512),
}

/// The hash of a file, in hexadecimal. Blocks.
pub(super) fn hash(
    path: &Path,
    mut hasher: Hasher,
    stop: &AtomicBool,
    tell: impl Fn(u64),
) -> io::Result<String> {
    let mut file = file::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        go_on(stop)?;
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        match &mut hasher {
            Hasher::Sha256(hasher) => hasher.update(&buffer[..count]),
            Hasher::Sha512(hasher) => hasher.update(&buffer[..count]),
        }
        done += count as u64;
        tell(done);
    }
    Ok(match hasher {
        Hasher::Sha256(hasher) => hex(&hasher.finalize()),
        Hasher::Sha512(hasher) => hex(&hasher.finalize()),
    })
}
