//! What comes from outside: keys, signals, and the end of the terminal.

use std::future::pending;
use std::os::fd::AsFd;

use crossterm::event::{Event as TerminalEvent, EventStream};
use futures_util::StreamExt;
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::task::AbortOnDropHandle;

use crate::watched_fd;

/// The signals a console answers to.
pub(super) struct Signals {
    pub(super) term: tokio::signal::unix::Signal,
    pub(super) hup: tokio::signal::unix::Signal,
    pub(super) cont: tokio::signal::unix::Signal,
    pub(super) stop: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes them over from the defaults.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
            cont: signal(SignalKind::from_raw(Signal::CONT.as_raw()))?,
            stop: signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?,
        })
    }
}

/// What the terminal says, and the task that reads it; that ends with this.
///
/// There is one for as long as the console lives: an [`EventStream`] that goes wakes the one that
/// comes after it, and where a key comes at that moment, that is told only with the next one.
pub(super) struct InputReader {
    /// What it says.
    pub(super) events: UnboundedReceiver<std::io::Result<TerminalEvent>>,
    _reading: AbortOnDropHandle<()>,
}

impl InputReader {
    /// Reads the terminal from now on.
    pub(super) fn new() -> Self {
        let (keys, events) = unbounded_channel();
        Self { events, _reading: AbortOnDropHandle::new(tokio::spawn(read(keys))) }
    }

    /// Forgets what it said until now.
    pub(super) fn forget(&mut self) {
        while self.events.try_recv().is_ok() {}
    }
}

/// Reads the terminal. A task of its own, because [`EventStream`] wakes only whoever polled it
/// first, and so cannot be drained without waiting.
async fn read(keys: UnboundedSender<std::io::Result<TerminalEvent>>) {
    let mut events = EventStream::new();
    while let Some(event) = events.next().await {
        let failed = event.is_err();
        if keys.send(event).is_err() || failed {
            return;
        }
    }
}

/// Ends when the terminal hangs up, whether or not a signal says so.
pub(super) async fn terminal_gone() {
    let stdin = std::io::stdin();
    let Ok(stdin) = stdin.as_fd().try_clone_to_owned() else { return pending().await };
    // What cannot be watched, such as a file, cannot hang up either.
    let Ok(watched) = watched_fd::watch(stdin, Interest::ERROR) else { return pending().await };
    loop {
        let Ok(mut ready) = watched.ready(Interest::ERROR).await else { return pending().await };
        if ready.ready().is_error() || ready.ready().is_read_closed() {
            return;
        }
        ready.clear_ready();
    }
}

/// Whether a shell would notice that this process stopped, and can bring it back. A terminal may
/// also have been opened for the console alone; stopped, it would hang there for ever.
pub(super) fn has_shell() -> bool {
    let Some(own) = ProcessStat::of(rustix::process::getpid().as_raw_pid()) else { return false };
    let mut parent = own.parent;
    // What was started together (`cargo run`) stops together; who started it is further up.
    while let Some(above) = ProcessStat::of(parent) {
        if above.session != own.session {
            return false;
        }
        if above.group != own.group {
            return true;
        }
        parent = above.parent;
    }
    false
}

/// Whether the terminal listens to this process now: it is in the foreground.
pub(super) fn has_terminal() -> bool {
    rustix::termios::tcgetpgrp(rustix::stdio::stdin())
        // Without a terminal, trying to take it tells more.
        .map_or(true, |front| front == rustix::process::getpgrp())
}

/// Where a process stands among the others, as job control sees it.
struct ProcessStat {
    parent: i32,
    group: i32,
    session: i32,
}

impl ProcessStat {
    /// From `/proc/PID/stat`, see proc(5): `PID (NAME) STATE PARENT GROUP SESSION …`.
    fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // A name may hold anything, parentheses too.
        let (_, after) = stat.rsplit_once(')')?;
        let mut numbers = after.split_whitespace().skip(1).map_while(|word| word.parse().ok());
        Some(Self { parent: numbers.next()?, group: numbers.next()?, session: numbers.next()? })
    }
}
