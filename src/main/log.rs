//! The log: lines on their way to a file, which can neither fail, nor wait, nor grow without end.
//!
//! ```text
//!  tracing ──▶ lines, at most so many ──▶ a thread ──▶ hostler.log ──(8 MiB)──▶ hostler.log.1
//!                └ full: dropped, counted              └ fails: dropped, counted, said later
//! ```
//!
//! Whoever writes a line never waits for a disk and never hears of a failure: a log that cannot be
//! written is no reason to do the work badly. Several processes may write to one file.
//!
//! Own code: `tracing-appender` starts a new file by the clock, not by its size, and tells nobody
//! how much it dropped.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, OFlags};
use tracing_subscriber::fmt::MakeWriter;

/// A log this long is put aside and a new one begun; the one before it goes.
const MOST_BYTES: u64 = 8 << 20;
/// How many lines may wait to be written.
const MOST_WAITING: usize = 8192;
/// How long the end of the process may wait for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The log of this process. A second one keeps the first.
static LOG: OnceLock<Log> = OnceLock::new();

/// Begins to log.
///
/// # Errors
/// When the file is none to log to. One that only cannot be written to now is tried again.
pub(crate) fn begin(path: &Path, level: &str) -> anyhow::Result<()> {
    if LOG.get().is_some() {
        return Ok(());
    }
    let filter = tracing_subscriber::EnvFilter::try_new(level)
        .with_context(|| format!("log.level {level:?} is no level"))?;
    let mut sink = Sink::new(path.to_owned());
    if let Err(error) = sink.open()
        && !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    {
        return Err(error).with_context(|| format!("cannot open the log {}", path.display()));
    }
    let (lines, waiting) = sync_channel(MOST_WAITING);
    let dropped = sink.dropped.clone();
    let writing = move || sink.run(&waiting);
    let thread = std::thread::Builder::new().name("hostler-log".to_owned());
    thread.spawn(writing).context("cannot start the log")?;
    let log = LOG.get_or_init(|| Log { lines, dropped });
    // A second call in one process keeps the first log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log)
        .with_ansi(false)
        .with_target(false)
        // It would say so on standard error, and panic where that is gone.
        .log_internal_errors(false)
        .try_init();
    Ok(())
}

/// Waits until every line written so far is in the file, but not for ever.
pub(crate) fn flush() {
    let Some(log) = LOG.get() else { return };
    let (done, told) = sync_channel(1);
    if log.lines.try_send(LogMessage::Flush(done)).is_ok() {
        let _ = told.recv_timeout(FLUSH_TIMEOUT);
    }
}

struct Log {
    lines: SyncSender<LogMessage>,
    dropped: Arc<AtomicU64>,
}

enum LogMessage {
    LineWriter(Vec<u8>),
    Flush(SyncSender<()>),
}

impl<'a> MakeWriter<'a> for &'static Log {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(self)
    }
}

/// Takes what is written of one event, in one piece, as one line.
struct LineWriter<'a>(&'a Log);

impl Write for LineWriter<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if self.0.lines.try_send(LogMessage::LineWriter(one_line(event))).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as one line, whatever is in it, so that nobody can forge another.
fn one_line(event: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(event.len() + 1);
    for byte in event.trim_ascii_end() {
        match byte {
            b'\n' => line.extend(b" | "),
            byte if byte.is_ascii_control() => line.push(b' '),
            byte => line.push(*byte),
        }
    }
    line.push(b'\n');
    line
}

/// The file, and what became of the lines for it.
struct Sink {
    path: PathBuf,
    /// The file, and its device and inode; nothing while it cannot be opened.
    file: Option<(File, (u64, u64))>,
    /// Lines there was no room for.
    dropped: Arc<AtomicU64>,
    /// Lines that could not be written since one could, and why.
    lost: u64,
    why: String,
    /// Whether the file may end in the middle of a line.
    torn: bool,
}

impl Sink {
    fn new(path: PathBuf) -> Self {
        let dropped = Arc::default();
        Self { path, file: None, dropped, lost: 0, why: String::new(), torn: false }
    }

    fn run(mut self, waiting: &Receiver<LogMessage>) {
        while let Ok(entry) = waiting.recv() {
            match entry {
                LogMessage::LineWriter(line) => self.take(&line),
                LogMessage::Flush(done) => drop(done.try_send(())),
            }
        }
    }

    fn take(&mut self, line: &[u8]) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 && self.lost == 0 {
            "they came too fast".clone_into(&mut self.why);
        }
        self.lost += dropped;
        let written = self.tell_of_loss().and_then(|()| self.write(line));
        if let Err(error) = written {
            self.file = None;
            self.lost += 1;
            self.why = error.to_string();
        }
    }

    fn tell_of_loss(&mut self) -> io::Result<()> {
        if self.lost > 0 {
            let now = jiff::Timestamp::now();
            let (lost, why) = (self.lost, &self.why);
            self.write(format!("{now}  WARN {lost} log lines were lost: {why}\n").as_bytes())?;
            self.lost = 0;
        }
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let there = std::fs::metadata(&self.path).ok();
        let id = there.as_ref().map(|there| (there.dev(), there.ino()));
        // Put aside by another process, or taken away by somebody.
        if self.file.as_ref().is_none_or(|(_, known)| Some(*known) != id) {
            self.open()?;
        }
        if there.is_some_and(|there| there.is_file() && there.len() > MOST_BYTES) {
            self.put_aside()?;
        }
        let Some((file, _)) = &mut self.file else { return Ok(()) };
        if std::mem::replace(&mut self.torn, true) {
            file.write_all(b"\n")?;
        }
        file.write_all(line)?;
        self.torn = false;
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            // A pipe that nobody reads would keep us waiting.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&self.path)
            .map_err(|error| match error.raw_os_error() {
                Some(code) if code == rustix::io::Errno::NXIO.raw_os_error() => irregular(),
                _ => error,
            })?;
        let found = file.metadata()?;
        if !found.is_file() && !found.file_type().is_char_device() {
            return Err(irregular());
        }
        self.file = Some((file, (found.dev(), found.ino())));
        Ok(())
    }

    /// Renames the file and begins a new one, unless another process is doing so.
    fn put_aside(&mut self) -> io::Result<()> {
        let Some((file, known)) = &self.file else { return Ok(()) };
        if rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        let there = std::fs::metadata(&self.path)?;
        if (there.dev(), there.ino()) == *known {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            std::fs::rename(&self.path, aside)?;
        }
        self.open()
    }
}

fn irregular() -> io::Error {
    io::Error::other("it is no regular file; move it away, or set log.file to another")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        assert_eq!(one_line(b"a\nb\x1b[31mc\n"), b"a | b [31mc\n");
    }

    #[test]
    fn what_is_lost_is_counted_and_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("not/yet/log");
        let mut sink = Sink::new(path.clone());
        for _ in 0..3 {
            sink.take(b"lost\n");
        }
        sink.dropped.fetch_add(2, Ordering::Relaxed);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        sink.take(b"here again\n");
        sink.take(b"and on\n");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("5 log lines were lost: No such file"), "{text}");
        assert_eq!(lines[1..], ["here again", "and on"]);
    }

    #[test]
    fn two_who_write_to_one_log_put_it_aside_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut one, mut two) = (Sink::new(path.clone()), Sink::new(path.clone()));
        one.take(b"one\n");
        two.take(b"two\n");
        File::options().append(true).open(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
        one.take(b"new one\n");
        two.take(b"new two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new one\nnew two\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
