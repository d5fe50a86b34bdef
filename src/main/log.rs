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

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use hostler::domain::display::clean;
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

/// Begins to log: into the state directory only while that is the one it is now.
///
/// # Errors
/// When the file is none to log to. One that only cannot be written to now is tried again.
pub(crate) fn begin(path: &Path, level: &str, state_dir: &Path) -> anyhow::Result<()> {
    if LOG.get().is_some() {
        return Ok(());
    }
    let filter = tracing_subscriber::EnvFilter::try_new(level)
        .with_context(|| format!("log.level {level:?} is no level"))?;
    let mut sink = Sink::new(path.to_owned());
    if path.starts_with(state_dir) {
        let found = std::fs::metadata(state_dir).ok();
        sink.home = found.map(|found| (state_dir.to_owned(), id(&found)));
    }
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
    Line(Vec<u8>),
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
        if self.0.lines.try_send(LogMessage::Line(one_line(event))).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as one line, whatever is in it, so that nobody can forge another, and nobody who looks
/// at the log is deceived.
fn one_line(event: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(event);
    let lines: Vec<_> = text.trim_end().lines().map(clean).collect();
    let mut line = lines.join(" | ");
    line.push('\n');
    line.into_bytes()
}

/// The file, and what became of the lines for it.
struct Sink {
    path: PathBuf,
    /// The directory in which alone it may lie: another in its place is somebody else's.
    home: Option<(PathBuf, Id)>,
    /// The file; nothing while it cannot be opened.
    file: Option<(File, Id)>,
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
        Self { path, home: None, file: None, dropped, lost: 0, why: String::new(), torn: false }
    }

    fn run(mut self, waiting: &Receiver<LogMessage>) {
        while let Ok(message) = waiting.recv() {
            match message {
                LogMessage::Line(line) => self.take(&line),
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
        let there = std::fs::symlink_metadata(&self.path).ok();
        let found = there.as_ref().map(id);
        // Put aside by another process, taken away by somebody, or given another name.
        let is_it = |(_, known): &(File, _)| Some(*known) == found;
        if !self.file.as_ref().is_some_and(is_it) || !there.as_ref().is_some_and(is_ours) {
            self.open()?;
        }
        if there.is_some_and(|there| there.len() > MOST_BYTES) {
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

    /// Opens the file, or makes it. What is there and is no file of its own is not even opened: a
    /// link leads into another's file, a pipe keeps us waiting, a device does who knows what.
    fn open(&mut self) -> io::Result<()> {
        if let Some((home, known)) = &self.home
            && std::fs::metadata(home).map(|found| id(&found))? != *known
        {
            return Err(io::Error::other("its directory was replaced"));
        }
        match std::fs::symlink_metadata(&self.path) {
            Ok(there) if !is_ours(&there) => return Err(irregular()),
            _ => {}
        }
        let file = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            // It may have become something else meanwhile.
            .custom_flags(OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed())
            .open(&self.path)?;
        let found = file.metadata()?;
        if !is_ours(&found) {
            return Err(irregular());
        }
        self.file = Some((file, id(&found)));
        Ok(())
    }

    /// Renames the file and begins a new one, unless another process is doing so.
    fn put_aside(&mut self) -> io::Result<()> {
        let Some((file, known)) = &self.file else { return Ok(()) };
        if rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(());
        }
        let there = std::fs::symlink_metadata(&self.path)?;
        if id(&there) == *known {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            std::fs::rename(&self.path, aside)?;
        }
        self.open()
    }
}

/// A device and an inode on it: what makes one file or directory no other.
type Id = (u64, u64);

fn id(found: &Metadata) -> Id {
    (found.dev(), found.ino())
}

/// Whether it is a file that has no other name, under which it would be somebody else's.
fn is_ours(found: &Metadata) -> bool {
    found.is_file() && found.nlink() == 1
}

fn irregular() -> io::Error {
    io::Error::other(
        "it is no regular file with one name; move it away, or set log.file to another",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let line = |event: &str| String::from_utf8(one_line(event.as_bytes())).unwrap();
        assert_eq!(line("a\nb\x1b[31mc\n"), "a | b\u{fffd}[31mc\n");
        assert_eq!(line("a\u{9b}m\u{202e}b"), "a\u{fffd}m\u{fffd}b\n");
        assert_eq!(one_line(b"\xff"), "\u{fffd}\n".as_bytes());
    }

    #[test]
    fn nothing_is_written_through_a_link_or_into_what_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, precious) = (dir.path().join("log"), dir.path().join("precious"));
        let fifo = |path: &Path| {
            rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR).unwrap();
        };
        let become_it: [&dyn Fn(&Path); 4] = [
            &|path| std::os::unix::fs::symlink("precious", path).unwrap(),
            &|path| std::fs::hard_link(&precious, path).unwrap(),
            &|path| std::os::unix::fs::symlink("/dev/null", path).unwrap(),
            &fifo,
        ];
        for become_it in become_it {
            std::fs::write(&precious, "precious").unwrap();
            become_it(&path);
            let mut sink = Sink::new(path.clone());
            assert!(sink.open().unwrap_err().to_string().contains("one name"), "at the start");
            sink.take(b"at the start\n");
            std::fs::remove_file(&path).unwrap();
            sink.take(b"kept\n");
            std::fs::remove_file(&path).unwrap();
            become_it(&path);
            sink.take(b"while it is written\n");
            assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
            assert_eq!(sink.lost, 1);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_second_name_given_later_is_not_written_under() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("log"), dir.path().join("other"));
        let mut sink = Sink::new(path.clone());
        sink.take(b"one\n");
        std::fs::hard_link(&path, &other).unwrap();
        sink.take(b"two\n");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "one\n");
        std::fs::remove_file(&other).unwrap();
        sink.take(b"three\n");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("1 log lines were lost") && text.ends_with("three\n"), "{text}");
    }

    #[test]
    fn nothing_is_written_into_a_directory_that_replaced_ours() {
        let dir = tempfile::tempdir().unwrap();
        let (home, moved) = (dir.path().join("state"), dir.path().join("moved"));
        std::fs::create_dir(&home).unwrap();
        let mut sink = Sink::new(home.join("log"));
        sink.home = Some((home.clone(), id(&std::fs::metadata(&home).unwrap())));
        sink.take(b"one\n");
        std::fs::rename(&home, &moved).unwrap();
        std::fs::create_dir(&home).unwrap();
        sink.take(b"two\n");
        assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(moved.join("log")).unwrap(), "one\n");
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
