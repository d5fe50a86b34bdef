//! Speaks QMP, QEMU's machine protocol: one JSON document per line over a unix socket.
//!
//! A reply carries the `id` of its command; events come in between and are kept until asked for.
//! QEMU serves one client per socket: a second one connects, and is greeted when the first leaves.
//! This file knows the protocol and nothing of what the commands mean.
//!
//! Own code: the `qapi` crates bring all of QMP as generated types, of which a dozen commands would
//! be used. What takes care here they leave to their caller: one client a socket, who it is that
//! answers there, and telling a QEMU that is slow from one that is gone.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, timeout_at};

/// How long QEMU may take to greet or to answer.
const QMP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before asking again at a socket whose queue is full: nothing tells when there
/// is a place in it.
const CONNECT_RETRY: Duration = Duration::from_millis(20);

/// How much is shown of an answer that is none, in characters.
const MAX_SHOWN: usize = 200;

/// Why QEMU could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// Nobody listens at the socket.
    #[error("nobody listens on its socket")]
    Nobody,
    /// QEMU understood and refused, in its own words.
    #[error("{desc}")]
    Refused {
        /// The class of the error: `GenericError`, `DeviceNotFound`, `CommandNotFound`.
        class: String,
        /// What a person can read.
        desc: String,
    },
    /// QEMU is there and says nothing: it hangs, or another program holds its socket.
    #[error(
        "it did not answer for {} s: it hangs, or another program holds its socket; stop it with \
         force=true where it stays so",
        QMP_TIMEOUT.as_secs()
    )]
    Silent,
    /// The connection ended while an answer was awaited.
    #[error("it went away before it answered")]
    Closed,
    /// What came is no QMP.
    #[error("it answered something that is no QMP: {0}")]
    Strange(String),
    /// A failed system call.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// An event of QEMU's: its name and its data.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpEvent {
    /// `SHUTDOWN`, `RESET`, `DEVICE_DELETED`.
    pub name: String,
    /// What belongs to it; an object, or null.
    pub data: Value,
}

/// A connection to QEMU, past greeting and negotiation.
#[derive(Debug)]
pub struct Qmp {
    lines: Lines<BufReader<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    events: VecDeque<QmpEvent>,
    next: u64,
    pid: Pid,
    pidfd: OwnedFd,
}

impl Qmp {
    /// Connects and waits for the greeting.
    ///
    /// # Errors
    /// [`QmpError::Nobody`] when there is no QEMU behind the socket.
    pub async fn connect(socket: &Path) -> Result<Self, QmpError> {
        let deadline = Instant::now() + QMP_TIMEOUT;
        let stream = dial(socket, deadline).await?;
        // The process is held by a descriptor: numbers are used again, descriptors are not.
        let pid = stream.peer_cred()?.pid().and_then(Pid::from_raw).ok_or(QmpError::Nobody)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| QmpError::Nobody)?;
        let (reader, writer) = stream.into_split();
        let lines = BufReader::new(reader).lines();
        let mut qmp = Self { lines, writer, events: VecDeque::new(), next: 0, pid, pidfd };
        loop {
            let mut line =
                timeout_at(deadline, qmp.read()).await.map_err(|_| QmpError::Silent)??;
            if line.get("QMP").is_some() {
                break;
            }
            // What the one before us hung up on comes first, and is not for us.
            if event(&mut line).is_none() {
                return Err(QmpError::Strange(line.to_string()));
            }
        }
        qmp.execute("qmp_capabilities", Value::Null).await?;
        Ok(qmp)
    }

    /// The process at the other end.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// The process at the other end, held so that its number cannot become another's.
    pub fn into_pidfd(self) -> OwnedFd {
        self.pidfd
    }

    /// Says one command and waits for its answer. `arguments` is an object, or null for none.
    ///
    /// # Errors
    /// [`QmpError::Refused`] when QEMU will not; anything else breaks the connection.
    pub async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let id = self.next;
        self.next += 1;
        let mut request = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let deadline = Instant::now() + QMP_TIMEOUT;
        let line = format!("{request}\n");
        timeout_at(deadline, self.writer.write_all(line.as_bytes()))
            .await
            .map_err(|_| QmpError::Silent)?
            .map_err(closed)?;
        loop {
            let mut answer =
                timeout_at(deadline, self.read()).await.map_err(|_| QmpError::Silent)??;
            if let Some(event) = event(&mut answer) {
                self.events.push_back(event);
            } else if answer["id"] == id {
                return outcome(answer);
            }
        }
    }

    /// The next event, waited for as long as it takes. Safe to drop: no event is lost.
    ///
    /// # Errors
    /// [`QmpError::Closed`] when QEMU is gone.
    pub async fn event(&mut self) -> Result<QmpEvent, QmpError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let mut line = self.read().await?;
            self.events.extend(event(&mut line));
        }
    }

    async fn read(&mut self) -> Result<Value, QmpError> {
        let line = self.lines.next_line().await.map_err(closed)?.ok_or(QmpError::Closed)?;
        parse(&line)
    }
}

/// A line that QEMU said: all of them are JSON objects.
pub(in crate::backend::drivers) fn parse(line: &str) -> Result<Value, QmpError> {
    match serde_json::from_str::<Value>(line) {
        Ok(said) if said.is_object() => Ok(said),
        _ => Err(QmpError::Strange(line.chars().take(MAX_SHOWN).collect())),
    }
}

/// Connects, and waits for a place in the queue where QEMU's is full.
async fn dial(socket: &Path, deadline: Instant) -> Result<UnixStream, QmpError> {
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) => match error.kind() {
                // Nobody can listen at a path that is too long for a socket either.
                io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::InvalidInput => return Err(QmpError::Nobody),
                io::ErrorKind::WouldBlock if Instant::now() < deadline => {
                    sleep(CONNECT_RETRY).await;
                }
                io::ErrorKind::WouldBlock => return Err(QmpError::Silent),
                _ => return Err(closed(error)),
            },
        }
    }
}

pub(in crate::backend::drivers) fn event(line: &mut Value) -> Option<QmpEvent> {
    let name = line.get("event")?.as_str()?.to_owned();
    Some(QmpEvent { name, data: line["data"].take() })
}

pub(in crate::backend::drivers) fn outcome(mut answer: Value) -> Result<Value, QmpError> {
    if let Some(error) = answer.get("error") {
        let text = |key: &str| error[key].as_str().unwrap_or("unknown").to_owned();
        return Err(QmpError::Refused { class: text("class"), desc: text("desc") });
    }
    Ok(answer["return"].take())
}

/// A QEMU that dies with unread commands, or before it has taken a connection, resets that: an end
/// like any other.
fn closed(error: io::Error) -> QmpError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => QmpError::Closed,
        _ => QmpError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// A server that greets, negotiates and then says `script` for the next command.
    async fn server(listener: UnixListener, script: &'static str) {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        // What an earlier connection did not hear comes before the greeting.
        writer.write_all(b"{\"event\": \"SHUTDOWN\"}\n{\"QMP\": {}}\n").await.unwrap();
        lines.next_line().await.unwrap();
        writer.write_all(b"{\"return\": {}, \"id\": 0}\n").await.unwrap();
        lines.next_line().await.unwrap();
        writer.write_all(script.as_bytes()).await.unwrap();
    }

    async fn asked(script: &'static str) -> (Qmp, Result<Value, QmpError>) {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(server(listener, script));
        let mut qmp = Qmp::connect(&socket).await.unwrap();
        let answer = qmp.execute("query-status", Value::Null).await;
        server.await.unwrap();
        (qmp, answer)
    }

    #[tokio::test]
    async fn events_between_command_and_answer_are_kept() {
        let script = "{\"event\": \"STOP\"}\n\
             {\"event\": \"RESET\", \"data\": {\"guest\": true}}\n\
             {\"return\": {\"status\": \"running\"}, \"id\": 1}\n";
        let (mut qmp, answer) = asked(script).await;
        assert_eq!(answer.unwrap()["status"], "running");
        assert_eq!(qmp.event().await.unwrap(), QmpEvent { name: "STOP".into(), data: Value::Null });
        assert_eq!(qmp.event().await.unwrap().data["guest"], true);
        assert!(matches!(qmp.event().await, Err(QmpError::Closed)));
    }

    #[tokio::test]
    async fn another_commands_answer_is_not_ours() {
        let script = "{\"return\": 1, \"id\": 77}\n{\"return\": 2, \"id\": 1}\n";
        assert_eq!(asked(script).await.1.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_refusal_is_in_qemus_words() {
        let script =
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such bus\"}, \"id\": 1}\n";
        assert_eq!(asked(script).await.1.unwrap_err().to_string(), "no such bus");
    }

    #[tokio::test]
    async fn an_end_and_rubbish_are_told_apart() {
        assert!(matches!(asked("").await.1, Err(QmpError::Closed)));
        assert!(matches!(asked("hello\n").await.1, Err(QmpError::Strange(_))));
        let nobody = Qmp::connect(Path::new("/no/such/socket")).await;
        assert!(matches!(nobody, Err(QmpError::Nobody)));
    }
}
