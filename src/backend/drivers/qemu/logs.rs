//! What QEMU and its guest leave in writing: the log of the serial line and QEMU's own. A guest
//! can write without end, so both are cut; what came last is never lost by that.
//!
//! ```text
//!  guest ──▶ serial.log ──▶ longer than it may be? ──▶ its end goes to serial.log.1
//!  QEMU ───▶ qemu.log                                   and it begins anew
//! ```
//!
//! The kernel tells when a log grows: one that does not costs nothing.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::accelerator::error_lines;
use super::command::Files;
use crate::backend::engine::store::plain;
use crate::backend::ports::Guest;
use crate::domain::Failure;
use crate::watched_fd;

/// How long a log may grow before it is cut, in bytes, unless somebody says otherwise.
pub const MAX_LOG_BYTES: u64 = 8 << 20;
/// How much of QEMU's log is read for its last words, in bytes.
const LAST: usize = 8 << 10;
/// How often a log that grows is looked at: whatever a guest writes in between is beyond its limit.
const OFTEN: Duration = Duration::from_secs(1);
/// How often logs are looked at on a box that has no watches left.
const SELDOM: Duration = Duration::from_secs(60);

/// Keeps the logs of a guest short for as long as what it returns lives.
pub fn keep_short(guest: &Guest, most: u64) -> AbortOnDropHandle<()> {
    let Files { serial_log, log, .. } = Files::of(guest);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let logs = [serial_log, log];
        let growth = Growth::of(&logs)
            .inspect_err(|error| tracing::warn!(%error, "the logs of a guest cannot be watched"));
        let mut told = false;
        loop {
            let all = logs.clone();
            let cut = spawn_blocking(move || all.iter().try_for_each(|log| cut(log, most))).await;
            // Once is enough: a full disk stays full for a while.
            if let Ok(Err(error)) = cut
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!(%error, "the logs of a guest cannot be cut");
            }
            match &growth {
                Ok(growth) if growth.seen().await.is_ok() => sleep(OFTEN).await,
                _ => sleep(SELDOM).await,
            }
        }
    }))
}

/// Makes room for the logs of a new launch: the serial line's goes on, and what the last QEMU said
/// is kept beside the new log, because it may tell why that one crashed.
///
/// # Errors
/// When a log cannot be written.
pub fn begin(guest: &Guest, most: u64) -> Result<(), Failure> {
    let Files { serial_log, log, .. } = Files::of(guest);
    for log in [&serial_log, &log] {
        cut(log, most).map_err(|error| Failure::small(format!("cut {}", log.display()), &error))?;
    }
    match log.metadata() {
        Ok(found) if found.len() > 0 => std::fs::rename(&log, kept(&log))
            .map_err(|error| Failure::small(format!("rename {}", log.display()), &error)),
        // The first launch, or one whose end has just been kept.
        _ => Ok(()),
    }
}

/// Where the end of a log is kept that was cut.
fn kept(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Cuts a log that has become longer than it may be: that much of its end is kept beside it.
fn cut(log: &Path, most: u64) -> io::Result<()> {
    let mut file = match plain::open(log, File::options().read(true).write(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    // QEMU does not append to its own log: once that is cut, QEMU goes on after a hole. What counts
    // is what it takes of the disk.
    if found.len().min(found.blocks() * 512) <= most {
        return Ok(());
    }
    let kept = kept(log);
    let mut new = kept.clone().into_os_string();
    new.push(".new");
    let mut beside =
        plain::open(new.as_ref(), File::options().write(true).create(true).truncate(true))?;
    file.seek(SeekFrom::Start(found.len().saturating_sub(most)))?;
    // To where the log ends by now, so that next to nothing is written between this and the cut.
    io::copy(&mut file, &mut beside)?;
    std::fs::rename(&new, &kept)?;
    file.set_len(0)
}

/// Files that tell when they grow.
struct Growth(AsyncFd<OwnedFd>);

impl Growth {
    fn of(files: &[PathBuf]) -> io::Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        for file in files {
            inotify::add_watch(&watch, file, inotify::WatchFlags::MODIFY)?;
        }
        watched_fd::watch(watch, Interest::READABLE).map(Self)
    }

    /// Returns when one has grown since this was asked last.
    async fn seen(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|watch| Ok(rustix::io::read(watch, &mut buffer)?));
            match read {
                // Whatever else there is to read says no more than this.
                Ok(Ok(_)) => while matches!(rustix::io::read(&self.0, &mut buffer), Ok(1..)) {},
                Ok(Err(error)) => return Err(error),
                Err(_) => continue,
            }
            return Ok(());
        }
    }
}

/// The last line QEMU said in its latest run, without its name in front.
#[must_use]
pub fn last_words(program: &str, guest: &Guest) -> Option<String> {
    let said = last(&Files::of(guest).log, LAST).ok()?;
    error_lines(program, &String::from_utf8_lossy(&said)).last().map(str::to_owned)
}

/// The last bytes of a log, whether it was cut or not; none when it is not there.
///
/// # Errors
/// When it cannot be read.
pub fn last(log: &Path, most: usize) -> io::Result<Vec<u8>> {
    let end = end_of(log, most)?;
    let mut before = end_of(&kept(log), most - end.len())?;
    before.extend(end);
    Ok(before)
}

/// The last bytes of a file; none when it is not there.
fn end_of(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut file = match plain::open(path, File::options().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most as u64)))?;
    let mut bytes = Vec::with_capacity(most);
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_that_is_cut_keeps_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("serial.log");
        let mut writer = File::options().append(true).create(true).open(&log).unwrap();
        cut(&log, 10_000).unwrap();
        writer.write_all(&b"0123456789\n".repeat(2000)).unwrap();
        cut(&log, 10_000).unwrap();
        assert_eq!(log.metadata().unwrap().len(), 0);
        let kept = std::fs::read(kept(&log)).unwrap();
        assert_eq!(kept.len(), 10_000);
        assert!(kept.ends_with(b"\n0123456789\n"));
        writer.write_all(b"the end\n").unwrap();
        assert_eq!(last(&log, 14).unwrap(), b"56789\nthe end\n"[..14].to_vec());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_writer_that_does_not_append_leaves_a_hole_and_is_cut_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("qemu.log");
        let mut writer = File::create(&log).unwrap();
        for round in 0..4 {
            writer.write_all(&b"0123456789\n".repeat(4000)).unwrap();
            writer.write_all(format!("qemu: round {round}\n").as_bytes()).unwrap();
            cut(&log, 16_384).unwrap();
            assert!(log.metadata().unwrap().blocks() * 512 <= 16_384, "round {round}");
            let said = std::fs::read_to_string(kept(&log)).unwrap();
            assert!(said.ends_with(&format!("qemu: round {round}\n")), "round {round}");
        }
        writer.write_all(b"qemu: the end\n").unwrap();
        let said = last(&log, 100).unwrap();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(error_lines("/usr/bin/qemu", &said).last(), Some("the end"));
    }
}
