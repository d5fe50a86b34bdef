//! The socket a server listens on: made, closed, and every connection on it counted.
//!
//! It closes so that nobody is turned away half-way. The path goes first, so that whoever comes
//! after that finds nobody; a connection that was not taken yet is reset by the kernel, which tells
//! its client that nothing was heard; and one that was taken is served to its end.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::{SocketAddr, UCred};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A socket that is listened on until it is told to close.
#[derive(Debug)]
pub(super) struct Socket {
    /// Nothing once it is closed.
    listener: Option<(UnixListener, TaskTrackerToken)>,
    path: PathBuf,
    close: CancellationToken,
    open: TaskTracker,
}

impl Socket {
    /// Makes the socket, mode 0600, and replaces one that lies there.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        // Beside, then renamed: at no moment is there a socket in place that others may open.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}"));
        remove(&beside)?;
        let listener = UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&beside, path)?;
        let open = TaskTracker::new();
        let listener = Some((listener, open.token()));
        Ok(Self { listener, path: path.to_owned(), close: CancellationToken::new(), open })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What closes it.
    pub(super) fn closer(&self) -> Closer {
        Closer { close: self.close.clone(), open: self.open.clone() }
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
                () = self.close.cancelled() => {}
                (stream, address) = axum::serve::Listener::accept(listener) => {
                    return (Connection { stream, _open: self.open.token() }, address);
                }
            }
            self.shut();
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.listener {
            Some((listener, _)) => listener.local_addr(),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }
}

/// A connection, which counts as open for as long as it lives.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    _open: TaskTrackerToken,
}

impl Connection {
    /// Who is at the other end, as the kernel says.
    pub(super) fn peer(&self) -> io::Result<UCred> {
        self.stream.peer_cred()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
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

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
