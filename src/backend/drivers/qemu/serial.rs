//! The serial line of a VM, for any number of watchers.
//!
//! QEMU serves one client, so one connection is shared: what the guest writes goes to everybody,
//! what anybody types goes to the guest. It lasts as long as somebody listens. The log that QEMU
//! keeps gives the last lines from before.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use rustix::process::Pid;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender, WeakSender};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{Instant, sleep};

use super::command::Files;
use super::control::ControlSocket;
use super::living::Living;
use super::logs::last;
use crate::backend::ports::Guest;
use crate::domain::{BackendError, Failure, Serial, SerialInput};

/// How much of what was written before a watcher gets, in bytes.
const BEFORE: usize = 16 << 10;
/// How many pieces a watcher may be behind before it misses the oldest.
const MAX_PIECES_BEHIND: usize = 1024;
/// How long QEMU may take to accept a connection.
const SERVED: Duration = Duration::from_secs(5);
/// How many keystrokes may wait for a guest that does not read.
const TYPED: usize = 1024;

/// The shared line of a VM, while it is open.
#[derive(Debug, Default)]
pub struct SerialLine {
    open: tokio::sync::Mutex<Option<OpenLine>>,
}

/// An open line, as those know it who join.
#[derive(Debug)]
struct OpenLine {
    output: WeakSender<Vec<u8>>,
    input: mpsc::Sender<Vec<u8>>,
    /// The last that was written. Locked while a piece is sent, so that who joins neither misses
    /// a piece nor gets it twice.
    before: Arc<Mutex<VecDeque<u8>>>,
}

impl SerialLine {
    /// Joins the line, or opens it; `control` is the VM's turn at its control socket.
    ///
    /// # Errors
    /// When the VM does not run.
    pub async fn open(
        &self,
        guest: &Guest,
        control: &tokio::sync::Mutex<()>,
    ) -> Result<Serial, Failure> {
        let mut open = self.open.lock().await;
        if let Some(serial) = open.as_ref().and_then(OpenLine::join) {
            return Ok(serial);
        }
        let files = Files::of(guest);
        let stream = dial(guest, &files).await?;
        // Read once QEMU serves us: what is written at this very moment may be seen twice, but
        // nothing is missed.
        {
            let _turn = control.lock().await;
            served(guest).await?;
        }
        let before = last(&files.serial_log, BEFORE)
            .map_err(|error| Failure::io(format!("read {}", files.serial_log.display()), &error))?;
        let before = Arc::new(Mutex::new(VecDeque::from(before)));
        let (output, _) = broadcast::channel(MAX_PIECES_BEHIND);
        let (input, typed) = mpsc::channel(TYPED);
        let new = OpenLine { output: output.downgrade(), input, before: Arc::clone(&before) };
        let serial = new.join();
        let (reader, writer) = stream.into_split();
        let typing = tokio::spawn(type_in(writer, typed));
        tokio::spawn(async move {
            read_on(reader, output, &before).await;
            typing.abort();
        });
        *open = Some(new);
        serial.ok_or_else(|| Failure::passing("the serial line closed as it was opened"))
    }
}

/// Connects to the socket of the guest's serial line.
async fn dial(guest: &Guest, files: &Files) -> Result<UnixStream, Failure> {
    let failed = |error: io::Error| {
        Failure::new(format!("cannot open the serial line of vm/{}: {error}", guest.id))
    };
    let absent = || {
        Failure::new(match Living::find(guest) {
            Some(_) => format!(
                "vm/{} runs, but the socket of its serial line was removed; it is back when the VM \
                 is stopped and started",
                guest.id
            ),
            None => format!("vm/{} does not run, so its serial line is closed", guest.id),
        })
    };
    let stream = UnixStream::connect(&files.serial).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset => absent(),
        _ => failed(error),
    })?;
    let pid = stream.peer_cred().map_err(failed)?.pid().and_then(Pid::from_raw);
    // A hard link of a socket leads to the QEMU of the directory that was copied.
    match pid.and_then(|pid| Living::known(guest, pid)) {
        Some(_) => Ok(stream),
        None => Err(absent()),
    }
}

/// Waits until QEMU has taken our connection; until then what the guest writes passes us by.
async fn served(guest: &Guest) -> Result<(), Failure> {
    let mut control = ControlSocket::must(guest).await?;
    let late = Instant::now() + SERVED;
    while Instant::now() < late {
        let lines = control.ask("query-chardev", Value::Null).await?;
        let mut lines = lines.as_array().into_iter().flatten();
        let serial = lines.find(|line| line["label"] == "serial");
        let state = serial.and_then(|line| line["filename"].as_str()).unwrap_or_default();
        if !state.starts_with("disconnected:") {
            return Ok(());
        }
        // It has no event for that, and takes the connection in the next round of its main loop.
        sleep(Duration::from_millis(5)).await;
    }
    Err(Failure::passing(format!("QEMU does not serve the serial line of vm/{}", guest.id)))
}

impl OpenLine {
    fn join(&self) -> Option<Serial> {
        let before = self.before.lock();
        let receiver = self.output.upgrade()?.subscribe();
        let before: Vec<u8> = before.iter().copied().collect();
        let output = stream::iter((!before.is_empty()).then_some(before)).chain(pieces(receiver));
        let input = Box::new(SerialWriter { line: self.input.clone() });
        Some(Serial { output: Box::pin(output), input })
    }
}

/// Passes on what the guest writes until it is gone or nobody listens.
async fn read_on(mut reader: OwnedReadHalf, output: Sender<Vec<u8>>, before: &Mutex<VecDeque<u8>>) {
    let mut buffer = vec![0; 4096];
    loop {
        let count = tokio::select! {
            count = reader.read(&mut buffer) => count,
            // A watcher who joined at this very moment is served.
            () = output.closed() => if output.receiver_count() == 0 { return } else { continue },
        };
        let Ok(count @ 1..) = count else { return };
        let piece = &buffer[..count];
        let mut before = before.lock();
        before.extend(piece);
        let surplus = before.len().saturating_sub(BEFORE);
        before.drain(..surplus);
        // Failing means that nobody listens, which the select sees.
        let _ = output.send(piece.to_vec());
    }
}

async fn type_in(mut writer: OwnedWriteHalf, mut typed: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = typed.recv().await {
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn pieces(receiver: Receiver<Vec<u8>>) -> impl stream::Stream<Item = Vec<u8>> {
    stream::unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Ok(piece) => Some((piece, receiver)),
            Err(RecvError::Lagged(missed)) => {
                let note = format!("\r\n[{missed} pieces were missed]\r\n");
                Some((note.into_bytes(), receiver))
            }
            Err(RecvError::Closed) => None,
        }
    })
}

/// One of those who type into the line.
struct SerialWriter {
    line: mpsc::Sender<Vec<u8>>,
}

impl SerialInput for SerialWriter {
    fn send(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        self.line.try_send(bytes.to_vec()).map_err(|error| match error {
            TrySendError::Full(_) => {
                BackendError::failed("the guest does not read its serial line; try again later")
            }
            TrySendError::Closed(_) => BackendError::failed("the serial line is closed"),
        })
    }
}
