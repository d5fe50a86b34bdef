//! What `update` wants done: every command becomes a task whose outcome comes back as a message.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::preferences::save;
use crate::domain::{Backend, EventStream, Serial};
use crate::ui::msg::{Cmd, Msg};

/// How many requests are under way at once: a connection each where the backend is another process.
const REQUESTS: usize = 32;

/// What is under way outside the model.
pub(super) struct Effects {
    backend: Arc<dyn Backend>,
    requests: Arc<Semaphore>,
    msgs: UnboundedSender<Msg>,
    serial: Option<OpenSerial>,
    preferences: Option<PathBuf>,
}

/// A serial line that is open or being opened.
struct OpenSerial {
    typed: UnboundedSender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Drop for OpenSerial {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Effects {
    /// Returns the effects on a backend; what comes of them goes to `msgs`.
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        msgs: UnboundedSender<Msg>,
        preferences: Option<PathBuf>,
    ) -> Self {
        let requests = Arc::new(Semaphore::new(REQUESTS));
        Self { backend, requests, msgs, serial: None, preferences }
    }

    /// What the backend tells from now on.
    pub(super) fn subscribe(&self) -> EventStream {
        self.backend.subscribe()
    }

    /// Says that something outside the backend failed.
    pub(super) fn tell(&self, error: String) {
        // As with answers: once the loop has ended, nobody waits for it.
        let _ = self.msgs.send(Msg::Error(error));
    }

    /// Does what `update` wants done, and sends what comes of it back as a message.
    pub(super) fn take(&mut self, cmd: Cmd) {
        let backend = Arc::clone(&self.backend);
        let msgs = self.msgs.clone();
        // The loop owns the receiver; once it has ended, nobody waits for answers.
        let answer = move |msg| drop(msgs.send(msg));
        match cmd {
            Cmd::Fetch(fetch) => {
                tokio::spawn(async move { answer(Msg::Reply(fetch.from(&*backend).await)) });
            }
            Cmd::Submit(submit) => {
                let requests = self.requests.clone();
                tokio::spawn(async move {
                    // Nobody closes it.
                    let _permit = requests.acquire().await;
                    let accepted = backend.submit((*submit).clone()).await;
                    answer(Msg::Submitted(submit, accepted));
                });
            }
            Cmd::Control(control) => {
                let requests = self.requests.clone();
                tokio::spawn(async move {
                    let _permit = requests.acquire().await;
                    let done = backend.control(control.clone()).await;
                    answer(Msg::Controlled(control, done));
                });
            }
            Cmd::SerialOpen(vm) => self.serial = Some(open_serial(backend, self.msgs.clone(), vm)),
            Cmd::SerialSend(bytes) => {
                if let Some(serial) = &self.serial {
                    // A line that has closed says so by itself.
                    let _ = serial.typed.send(bytes);
                }
            }
            Cmd::SerialClose => self.serial = None,
            Cmd::Paths(typed) => {
                tokio::task::spawn_blocking(move || {
                    let paths = paths(&typed);
                    answer(Msg::Paths(typed, paths));
                });
            }
            Cmd::Save(preferences) => {
                let Some(file) = self.preferences.clone() else { return };
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = save(&file, &preferences) {
                        let told = format!("cannot remember this in {}: {error}", file.display());
                        answer(Msg::Error(told));
                    }
                });
            }
            // The loop does these itself.
            Cmd::Redraw | Cmd::Suspend | Cmd::Exit(_) => {}
        }
    }
}

fn open_serial(backend: Arc<dyn Backend>, msgs: UnboundedSender<Msg>, vm: u64) -> OpenSerial {
    let (typed, mut to_send) = unbounded_channel::<Vec<u8>>();
    let task = tokio::spawn(async move {
        let answer = |msg| drop(msgs.send(msg));
        let Serial { mut output, mut input } = match backend.serial(vm).await {
            Ok(serial) => serial,
            Err(error) => return answer(Msg::SerialOpened(vm, Err(error))),
        };
        answer(Msg::SerialOpened(vm, Ok(())));
        loop {
            tokio::select! {
                bytes = output.next() => match bytes {
                    Some(bytes) => answer(Msg::SerialOutput(vm, bytes)),
                    None => return answer(Msg::SerialEnded(vm)),
                },
                bytes = to_send.recv() => match bytes {
                    Some(bytes) => {
                        if let Err(error) = input.send(&bytes) {
                            answer(Msg::SerialFailed(vm, error));
                        }
                    }
                    None => return,
                },
            }
        }
    });
    OpenSerial { typed, task }
}

/// Paths that begin with what is typed, directories with a slash at their end, at most 50.
fn paths(typed: &str) -> Vec<String> {
    let Some((directory, beginning)) = typed.rsplit_once('/') else { return Vec::new() };
    let directory = format!("{directory}/");
    // What cannot be listed has nothing to offer.
    let Ok(entries) = std::fs::read_dir(&directory) else { return Vec::new() };
    let mut paths: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            if !name.starts_with(beginning) || (name.starts_with('.') && beginning.is_empty()) {
                return None;
            }
            let slash = if entry.path().is_dir() { "/" } else { "" };
            Some(format!("{directory}{name}{slash}"))
        })
        .filter(|path| path != typed)
        .take(50)
        .collect();
    paths.sort();
    paths
}
