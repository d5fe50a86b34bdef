//! The socket a server listens on: made, closed, and every connection on it counted.
//!
//! It closes so that nobody is turned away half-way. The path goes first, so that whoever comes
//! after that finds nobody; a connection that was not taken yet is reset by the kernel, which tells
//! its client that nothing was heard; and one that was taken is served to its end.
//!
//! A socket that somebody removed is made anew, or nobody could come any more.
//!
//! Whoever connects must say what it wants: of those that have not, only so many are kept, the
//! oldest goes for the next, and none stays for long.

use std::collections::VecDeque;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::fs::inotify;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::{SocketAddr, UCred, pipe};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::address::Address;
use crate::file::gone;

/// How long a client may take to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most connections on which nothing was asked yet.
const MAX_UNHEARD: usize = 64;
/// The most connections; one more is told so.
const MAX_CONNECTIONS: usize = 512;

/// How many connections there are room for. The store, the guests and the tools need files too.
#[derive(Debug)]
struct Capacity {
    unheard: usize,
    connections: usize,
}

impl Capacity {
    /// What there is with as many files open as this process may have.
    fn of_process() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Self { unheard: MAX_UNHEARD.min(files / 8), connections: MAX_CONNECTIONS.min(files / 3) }
    }
}

/// A socket that is listened on until it is told to close.
#[derive(Debug)]
pub(super) struct Socket {
    /// Nothing once it is closed.
    listener: Option<(UnixListener, TaskTrackerToken)>,
    path: PathBuf,
    /// Device and inode of what lies there.
    made: (u64, u64),
    /// Tells that something in its folder came or went. Not a pipe, but read as one. Nothing where
    /// that cannot be watched.
    changes: Option<pipe::Receiver>,
    close: CancellationToken,
    open: TaskTracker,
    /// Those that may not have said yet what they want, the oldest first.
    unheard: VecDeque<Arc<Visit>>,
    capacity: Capacity,
}

impl Socket {
    /// Makes the socket, mode 0600, and replaces one that lies there.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let changes = watch(path).inspect_err(|error| {
            tracing::warn!(%error, "whether {} stays there is not watched", path.display());
        });
        let (listener, made) = listen(path)?;
        let open = TaskTracker::new();
        let listener = Some((listener, open.token()));
        let (path, close) = (path.to_owned(), CancellationToken::new());
        let (changes, unheard) = (changes.ok(), VecDeque::new());
        let capacity = Capacity::of_process();
        Ok(Self { listener, path, made, changes, close, open, unheard, capacity })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What closes it.
    pub(super) fn closer(&self) -> Closer {
        Closer { close: self.close.clone(), open: self.open.clone() }
    }

    /// Lets a client in.
    fn welcome(&mut self, stream: UnixStream) -> Connection {
        // One that has been heard, or has gone, needs no looking after.
        self.unheard.retain(|visit| !visit.is_heard() && Arc::strong_count(visit) > 1);
        if self.unheard.len() >= self.capacity.unheard
            && let Some(oldest) = self.unheard.pop_front()
        {
            oldest.enough.cancel();
        }
        let surplus = self.open.len() > self.capacity.connections + self.capacity.unheard;
        let visit = Arc::new(Visit { surplus, ..Visit::default() });
        self.unheard.push_back(visit.clone());
        let enough = Box::pin(visit.enough.clone().cancelled_owned());
        let deadline = Box::pin(tokio::time::sleep(REQUEST_TIMEOUT));
        let patience = Some(Patience { enough, deadline });
        Connection { stream, visit, patience, _open: self.open.token() }
    }

    /// Makes the socket anew where it was removed, or another lies in its place.
    fn look(&mut self) {
        let is_there = place(&self.path).is_ok_and(|found| found == self.made);
        if is_there || self.listener.is_none() {
            return;
        }
        let path = self.path.display();
        match listen(&self.path) {
            Ok((listener, made)) => {
                tracing::warn!("the socket {path} was taken away and is made anew");
                self.listener = Some((listener, self.open.token()));
                self.made = made;
            }
            // The next change in the folder is the next occasion.
            Err(error) => tracing::error!(%error, "the socket {path} cannot be made anew"),
        }
    }

    fn shut(&mut self) {
        // The path goes before the listener does.
        if self.listener.is_some()
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!(%error, "the socket {} stays behind", self.path.display());
        }
        self.listener = None;
    }
}

/// Closes a [`Socket`].
#[derive(Debug)]
pub(super) struct Closer {
    close: CancellationToken,
    open: TaskTracker,
}

impl Closer {
    /// Lets nobody in any more, and returns when the last one has gone.
    pub(super) async fn close(&self) {
        self.close.cancel();
        self.open.close();
        self.open.wait().await;
    }
}

impl axum::serve::Listener for Socket {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Some((listener, _)) = &mut self.listener else { return pending().await };
            tokio::select! {
                biased;
                () = self.close.cancelled() => self.shut(),
                (stream, address) = axum::serve::Listener::accept(listener) => {
                    return (self.welcome(stream), address);
                }
                () = changed(&mut self.changes) => self.look(),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Some((listener, _)) => listener.local_addr(),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }
}

/// What is known of a client.
#[derive(Debug, Default)]
pub(super) struct Visit {
    heard: AtomicBool,
    /// Set when its place is needed for another.
    enough: CancellationToken,
    /// Whether it is one too many.
    pub(super) surplus: bool,
}

impl Visit {
    /// It has said what it wants, and may stay for as long as that takes.
    pub(super) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    fn is_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }
}

/// A connection, which counts as open for as long as it lives.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    visit: Arc<Visit>,
    /// Nothing once it was heard.
    patience: Option<Patience>,
    _open: TaskTrackerToken,
}

/// What ends a connection on which nothing is asked.
#[derive(Debug)]
struct Patience {
    enough: Pin<Box<WaitForCancellationFutureOwned>>,
    deadline: Pin<Box<tokio::time::Sleep>>,
}

impl Connection {
    /// Who is at the other end, as the kernel says.
    pub(super) fn peer(&self) -> io::Result<UCred> {
        self.stream.peer_cred()
    }

    pub(super) fn visit(&self) -> Arc<Visit> {
        self.visit.clone()
    }

    /// Ready when nobody waits any longer for what is wanted.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.visit.is_heard() {
            self.patience = None;
        }
        let Some(Patience { enough, deadline }) = &mut self.patience else { return Poll::Pending };
        if enough.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        deadline.as_mut().poll(cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            return Poll::Ready(read);
        }
        ready!(self.poll_patience(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Makes a socket, and tells what it is.
fn listen(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    // Beside, then renamed: at no moment is there a socket in place that others may open.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}"));
    for place in [path, &beside] {
        is_replaceable(place)?;
    }
    remove(&beside)?;
    let put = || {
        let listener = UnixListener::bind(Address::of(&beside)?.path())?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
        let made = place(&beside)?;
        std::fs::rename(&beside, path)?;
        Ok((listener, made))
    };
    // The error that matters is the first.
    put().inspect_err(|_| _ = remove(&beside))
}

/// Refuses to replace what lies at a place unless it is a socket, or nothing is in it.
fn is_replaceable(path: &Path) -> io::Result<()> {
    let is_ours = match std::fs::symlink_metadata(path) {
        Ok(found) => found.file_type().is_socket() || found.is_file() && found.len() == 0,
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(error),
    };
    if is_ours {
        return Ok(());
    }
    let path = path.display();
    Err(io::Error::other(format!("{path} is no socket; look what it is and move it away")))
}

/// Device and inode of what lies at a path.
fn place(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Watches what comes and goes in the folder of a socket.
fn watch(path: &Path) -> io::Result<pipe::Receiver> {
    use inotify::{CreateFlags as Create, WatchFlags as Watch};
    let inotify = inotify::init(Create::CLOEXEC | Create::NONBLOCK)?;
    let what = Watch::DELETE | Watch::MOVED_FROM | Watch::MOVED_TO | Watch::ONLYDIR;
    inotify::add_watch(&inotify, path.parent().unwrap_or(path), what)?;
    pipe::Receiver::from_owned_fd_unchecked(inotify)
}

/// Returns when something came or went.
async fn changed(changes: &mut Option<pipe::Receiver>) {
    let Some(watched) = changes else { return pending().await };
    if watched.readable().await.is_err() {
        *changes = None;
        return;
    }
    let mut told = [0; 4096];
    while watched.try_read(&mut told).is_ok_and(|read| read > 0) {}
}

fn remove(path: &Path) -> io::Result<()> {
    gone(std::fs::remove_file(path))
}
