//! What happens to a VM by itself, told to any number of watchers.
//!
//! QEMU tells its events to one client, so one connection is shared by all watchers of a VM; it
//! lasts as long as somebody watches.

use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender, WeakSender};
use tokio::time::timeout;

use super::command::Files;
use super::living::{Living, gone};
use super::logs;
use super::qmp::{Qmp, QmpError, QmpEvent};
use crate::backend::ports::{Guest, GuestEvent};
use crate::domain::Failure;

/// How many events a watcher may be behind before it misses the oldest.
const MAX_EVENTS_BEHIND: usize = 256;
/// How long a process may take to end after it has closed its socket.
const END: Duration = Duration::from_secs(30);

/// The shared connection of a VM, while there is one.
#[derive(Debug, Default)]
pub struct QmpEvents {
    line: Mutex<Option<WeakSender<GuestEvent>>>,
    opening: tokio::sync::Mutex<()>,
}

/// Events as a watcher gets them.
pub type QmpEventStream = Pin<Box<dyn Stream<Item = GuestEvent> + Send>>;

impl QmpEvents {
    /// Watches a guest, and keeps its logs short meanwhile. One that does not run has nothing to
    /// tell but that it is gone.
    ///
    /// # Errors
    /// When QEMU is there and does not answer.
    pub async fn watch(&self, guest: &Guest, log_bytes: u64) -> Result<QmpEventStream, Failure> {
        let _turn = self.opening.lock().await;
        if let Some(receiver) = self.join() {
            return Ok(until_gone(receiver));
        }
        let qmp = match Qmp::connect(&Files::of(guest).events).await {
            // A hard link of a socket leads to the QEMU of the directory that was copied.
            Ok(qmp) if Living::known(guest, qmp.pid()).is_some() => qmp,
            Ok(_) | Err(QmpError::Nobody | QmpError::Closed) => {
                // One that cannot be spoken to can still be seen to end.
                let end = Living::find(guest).map(|living| gone(living.into_pidfd()));
                let kept_short = end.is_some().then(|| logs::keep_short(guest, log_bytes));
                return Ok(Box::pin(stream::once(async move {
                    let _kept_short = kept_short;
                    if let Some(end) = end
                        && let Err(error) = end.await
                    {
                        tracing::warn!(%error, "the end of a QEMU cannot be waited for");
                    }
                    GuestEvent::Gone
                })));
            }
            Err(error) => {
                let vm = guest.id;
                return Err(Failure::passing(format!("cannot watch vm/{vm}: QEMU: {error}")));
            }
        };
        let (sender, receiver) = broadcast::channel(MAX_EVENTS_BEHIND);
        *self.line.lock() = Some(sender.downgrade());
        let kept_short = logs::keep_short(guest, log_bytes);
        tokio::spawn(async move {
            read_on(qmp, sender).await;
            drop(kept_short);
        });
        Ok(until_gone(receiver))
    }

    fn join(&self) -> Option<Receiver<GuestEvent>> {
        let line = self.line.lock();
        let receiver = line.as_ref()?.upgrade()?.subscribe();
        Some(receiver)
    }
}

/// Passes events on until QEMU is gone or nobody watches.
async fn read_on(mut qmp: Qmp, sender: Sender<GuestEvent>) {
    let mut halted = false;
    loop {
        let heard = tokio::select! {
            heard = qmp.event() => heard,
            // A watcher who joined at this very moment is served.
            () = sender.closed() => if sender.receiver_count() == 0 { return } else { continue },
        };
        match heard {
            Ok(event) => {
                if let Some(told) = translate(&event, &mut halted) {
                    // Failing means that nobody watches, which the select sees.
                    let _ = sender.send(told);
                }
            }
            Err(QmpError::Strange(line)) => tracing::warn!(line, "QEMU sent an odd event"),
            Err(_) => break,
        }
    }
    // The socket is closed before the process has let go of its disks.
    if timeout(END, gone(qmp.into_pidfd())).await.is_err() {
        tracing::warn!("a QEMU closed its socket and lives on");
    }
    let _ = sender.send(GuestEvent::Gone);
}

/// An event in our words. `halted`: the guest has shut down, and the pause that QEMU tells of next
/// belongs to it.
fn translate(event: &QmpEvent, halted: &mut bool) -> Option<GuestEvent> {
    let by_guest = event.data["guest"] == Value::Bool(true);
    match event.name.as_str() {
        "SHUTDOWN" if by_guest => {
            *halted = true;
            Some(GuestEvent::ShutDown)
        }
        "RESET" => Some(GuestEvent::Reset { by_guest }),
        "STOP" if !*halted => Some(GuestEvent::Paused),
        "RESUME" => {
            *halted = false;
            Some(GuestEvent::Resumed)
        }
        _ => None,
    }
}

fn until_gone(receiver: Receiver<GuestEvent>) -> QmpEventStream {
    Box::pin(stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(event) => return Some((event, receiver)),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a watcher was too slow for its VM's events");
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_shutdown_is_no_pause_and_a_reboot_is_no_stop() {
        let mut halted = false;
        let mut told =
            |name: &str, data: Value| translate(&QmpEvent { name: name.into(), data }, &mut halted);
        let reboot = told("RESET", json!({"guest": true, "reason": "guest-reset"}));
        assert_eq!(reboot, Some(GuestEvent::Reset { by_guest: true }));
        assert_eq!(told("STOP", Value::Null), Some(GuestEvent::Paused));
        assert_eq!(told("RESUME", Value::Null), Some(GuestEvent::Resumed));
        let down = told("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"}));
        assert_eq!(down, Some(GuestEvent::ShutDown));
        assert_eq!(told("STOP", Value::Null), None);
        let reset = told("RESET", json!({"guest": false, "reason": "host-qmp-system-reset"}));
        assert_eq!(reset, Some(GuestEvent::Reset { by_guest: false }));
        assert_eq!(told("RESUME", Value::Null), Some(GuestEvent::Resumed));
        assert_eq!(told("SHUTDOWN", json!({"guest": false, "reason": "host-qmp-quit"})), None);
    }
}
