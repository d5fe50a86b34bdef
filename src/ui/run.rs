//! The loop: drain everything that came in, update, do what is to be done, draw once if needed.
//!
//! A key after a pause is drawn at once; otherwise there is at most one frame per
//! [`Options::frame`]. Nothing ticks: the loop sleeps until something comes or the model's next
//! moment is due.

use std::future::pending;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event as TerminalEvent, EventStream};
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::action::table;
use super::keymap::Keymap;
use super::model::{Choices, Model, Setup};
use super::msg::{Cmd, Msg};
use super::terminal::Screen;
use super::theme::{Theme, ascii_wanted};
use super::update::{start, update};
use super::view::draw;
use crate::domain::{Backend, Serial};

/// How the console is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// A theme that comes with the program, or a TOML file's path.
    pub theme: String,
    /// Key maps that change the default one, each as the file's name and its text.
    pub keymap: Vec<(String, String)>,
    /// Everything can be seen, nothing can be asked for.
    pub read_only: bool,
    /// Whether the mouse is used.
    pub mouse: bool,
    /// Whether only ASCII is drawn; from locale and terminal where it is `None`.
    pub ascii: Option<bool>,
    /// Whether colours are drawn; from `NO_COLOR` where it is `None`.
    pub colour: Option<bool>,
    /// Whether pictures may be drawn. There are none yet.
    pub pictures: bool,
    /// The least time between two frames that no key asked for.
    pub frame: Duration,
    /// The backend lives in this process, so leaving with work in flight asks.
    pub embedded: bool,
    /// Where sorting and the open tab are remembered; not at all where it is `None`.
    pub choices: Option<PathBuf>,
    /// Who asks, in requests, such as `console:root`.
    pub actor: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            theme: "terminal".to_owned(),
            keymap: Vec::new(),
            read_only: false,
            mouse: true,
            ascii: None,
            colour: None,
            pictures: true,
            frame: Duration::from_millis(33),
            embedded: false,
            choices: None,
            actor: "console".to_owned(),
        }
    }
}

/// Why the console closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The operator left, with nothing in flight or wanting it stopped after the running steps;
    /// or the process was asked to end (SIGTERM).
    Quit,
    /// The operator left and wants what is in flight to go on in the background.
    Background,
    /// The terminal vanished: nobody decided anything, so the work goes on.
    HangUp,
}

/// Why the console could not be opened or went wrong.
#[derive(Debug, thiserror::Error)]
pub enum UiError {
    /// The theme or the key map is wrong; the sentence names file and key.
    #[error("{0}")]
    Settings(String),
    /// The terminal would not do.
    #[error("the terminal cannot be used: {0}; is standard output a terminal?")]
    Terminal(#[source] std::io::Error),
}

/// What is under way outside the model.
struct Hands {
    backend: Arc<dyn Backend>,
    msgs: UnboundedSender<Msg>,
    serial: Option<OpenSerial>,
    choices: Option<PathBuf>,
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

/// Runs the console until the operator leaves or the terminal goes. Call it from `block_on`: the
/// thread it runs on is the one whose panics put the terminal back.
///
/// # Errors
/// When a theme or key map is wrong, or the terminal cannot be used.
pub async fn run(backend: Arc<dyn Backend>, options: Options) -> Result<Exit, UiError> {
    let term = std::env::var("TERM").ok();
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let ascii = options.ascii.unwrap_or_else(|| ascii_wanted(term.as_deref(), locale.as_deref()));
    let colour = options
        .colour
        .unwrap_or_else(|| std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    let theme = Theme::load(&options.theme, colour, ascii).map_err(UiError::Settings)?;
    let catalogue = backend.catalogue();
    let keymap = Keymap::new(table(&catalogue), &options.keymap).map_err(UiError::Settings)?;
    let (choices, trouble) = remembered(options.choices.as_deref());

    let mut signals = Signals::new().map_err(UiError::Terminal)?;
    let mut screen = Screen::open(options.mouse).map_err(UiError::Terminal)?;
    let mut model = Model::new(Setup {
        size: screen.size().map_err(UiError::Terminal)?,
        now: Timestamp::now(),
        zone: TimeZone::system(),
        catalogue,
        keymap,
        read_only: options.read_only,
        embedded: options.embedded,
        actor: options.actor.clone(),
        choices,
    });
    let (msgs, replies) = unbounded_channel();
    if let Some(trouble) = trouble {
        // The receiver is in this very function.
        let _ = msgs.send(Msg::Trouble(trouble));
    }
    let mut hands =
        Hands { backend: Arc::clone(&backend), msgs, serial: None, choices: options.choices };
    let exit =
        turn(&mut model, &theme, &mut screen, &mut hands, replies, &mut signals, options.frame)
            .await;
    // After a hang-up there is no terminal to give back, and saying so helps nobody.
    if let (Err(error), true) = (screen.leave(), exit != Exit::HangUp) {
        return Err(UiError::Terminal(error));
    }
    Ok(exit)
}

/// The signals a console answers to.
struct Signals {
    term: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
    cont: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
            cont: signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?,
        })
    }
}

/// What woke the loop.
enum Woken {
    Msg(Msg),
    Input(Option<std::io::Result<TerminalEvent>>),
    Continued,
    Frame,
    Leave(Exit),
}

async fn turn(
    model: &mut Model,
    theme: &Theme,
    screen: &mut Screen,
    hands: &mut Hands,
    mut replies: UnboundedReceiver<Msg>,
    signals: &mut Signals,
    frame: Duration,
) -> Exit {
    let (keys, mut input) = unbounded_channel();
    let _reader = Reader(tokio::spawn(read(keys)));
    let mut events = Some(hands.backend.subscribe());
    let gone = terminal_gone();
    tokio::pin!(gone);
    let mut buffer = Buffer::empty(Rect::default());
    let mut drawn: Option<Instant> = None;
    let mut keyed: Option<Instant> = None;
    for cmd in start(model) {
        hands.take(cmd);
    }
    loop {
        // Draw first, so that what the last round changed is seen before sleeping.
        let now = Instant::now();
        let due = drawn.map_or(now, |drawn| drawn + frame);
        if model.dirty && due <= now {
            if show(model, theme, screen, &mut buffer).is_err() {
                return Exit::HangUp;
            }
            drawn = Some(now);
        }
        let wake = model.wake_at().map(|at| now + until(at));
        let frame_at = model.dirty.then_some(due);
        let woken = tokio::select! {
            biased;
            _ = signals.hup.recv() => Woken::Leave(Exit::HangUp),
            _ = signals.term.recv() => Woken::Leave(Exit::Quit),
            () = &mut gone => Woken::Leave(Exit::HangUp),
            _ = signals.cont.recv() => Woken::Continued,
            event = input.recv() => Woken::Input(event),
            Some(msg) = replies.recv() => Woken::Msg(msg),
            event = next(&mut events) => Woken::Msg(event),
            () = sleep_until(frame_at) => Woken::Frame,
            () = sleep_until(wake) => Woken::Msg(Msg::Wake),
        };
        // Everything else that is there already is taken along, and drawn together.
        let mut batch = vec![Msg::Now(Timestamp::now())];
        let mut key = false;
        match woken {
            Woken::Frame => continue,
            Woken::Leave(exit) => return exit,
            Woken::Continued => {
                if screen.enter().is_err() {
                    return Exit::HangUp;
                }
                model.dirty = true;
                drawn = None;
                if let Ok((width, height)) = screen.size() {
                    batch.push(Msg::Resize(width, height));
                }
            }
            Woken::Msg(msg) => batch.push(msg),
            Woken::Input(event) => match event {
                Some(Ok(event)) => key |= take_input(event, &mut batch),
                Some(Err(_)) | None => return Exit::HangUp,
            },
        }
        while batch.len() < MOST_AT_ONCE {
            if let Ok(msg) = replies.try_recv() {
                batch.push(msg);
            } else if let Some(msg) = next(&mut events).now_or_never() {
                batch.push(msg);
            } else {
                break;
            }
        }
        while batch.len() < MOST_AT_ONCE {
            match input.try_recv() {
                Ok(Ok(event)) => key |= take_input(event, &mut batch),
                Ok(Err(_)) | Err(TryRecvError::Disconnected) => return Exit::HangUp,
                Err(TryRecvError::Empty) => break,
            }
        }
        for msg in batch {
            for cmd in update(model, msg) {
                match cmd {
                    Cmd::Exit(exit) => return exit,
                    Cmd::Redraw => {
                        if screen.forget().is_err() {
                            return Exit::HangUp;
                        }
                        model.dirty = true;
                    }
                    Cmd::Suspend => {
                        if suspend(screen).is_err() {
                            return Exit::HangUp;
                        }
                        model.dirty = true;
                        drawn = None;
                    }
                    cmd => hands.take(cmd),
                }
            }
        }
        // A key is answered at once, unless keys come faster than frames may.
        let now = Instant::now();
        if key && keyed.is_none_or(|keyed| keyed + frame <= now) {
            keyed = Some(now);
            drawn = None;
        }
    }
}

/// The task that reads the terminal; it ends with the console.
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
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

/// At most this many messages are taken together, so that a flood cannot keep a frame from coming.
const MOST_AT_ONCE: usize = 1024;

fn show(
    model: &mut Model,
    theme: &Theme,
    screen: &mut Screen,
    buffer: &mut Buffer,
) -> std::io::Result<()> {
    let (width, height) = model.size;
    let area = Rect { x: 0, y: 0, width, height };
    if buffer.area == area {
        buffer.reset();
    } else {
        *buffer = Buffer::empty(area);
    }
    let cursor = draw(model, theme, buffer);
    model.dirty = false;
    screen.show(buffer, cursor)
}

/// Turns what the terminal sent into a message. Returns whether it was something pressed.
fn take_input(event: TerminalEvent, batch: &mut Vec<Msg>) -> bool {
    let msg = match event {
        TerminalEvent::Key(key) => Msg::Key(key),
        TerminalEvent::Paste(text) => Msg::Paste(text),
        TerminalEvent::Mouse(mouse) => Msg::Mouse(mouse),
        TerminalEvent::Resize(width, height) => Msg::Resize(width, height),
        TerminalEvent::FocusGained | TerminalEvent::FocusLost => return false,
    };
    batch.push(msg);
    true
}

/// The next event of the backend; for ever, once there are no more.
async fn next(events: &mut Option<crate::domain::EventStream>) -> Msg {
    let Some(stream) = events else { return pending().await };
    match stream.next().await {
        Some(event) => Msg::Event(Box::new(event)),
        None => {
            *events = None;
            Msg::EventsEnded
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

/// How long until a moment, none when it is past.
fn until(at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}

/// Ends when the terminal hangs up, whether or not a signal says so.
async fn terminal_gone() {
    let stdin = std::io::stdin();
    let Ok(stdin) = stdin.as_fd().try_clone_to_owned() else { return pending().await };
    // What cannot be watched, such as a file, cannot hang up either.
    // An OwnedFd is closed by nobody else, which is all the replacement's `unsafe` would promise.
    #[allow(deprecated)]
    let Ok(watched) = AsyncFd::with_interest(stdin, Interest::ERROR) else {
        return pending().await;
    };
    loop {
        let Ok(mut ready) = watched.ready(Interest::ERROR).await else { return pending().await };
        if ready.ready().is_error() || ready.ready().is_read_closed() {
            return;
        }
        ready.clear_ready();
    }
}

/// Gives the terminal back and stops until the shell's `fg`.
fn suspend(screen: &mut Screen) -> std::io::Result<()> {
    screen.leave()?;
    rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)?;
    // This goes on only after SIGCONT, whose handler takes the terminal again as well; twice does
    // no harm.
    screen.enter()
}

/// What is remembered from last time, and why it is not.
fn remembered(file: Option<&Path>) -> (Choices, Option<String>) {
    let Some(file) = file else { return (Choices::default(), None) };
    match std::fs::read_to_string(file) {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(choices) => (choices, None),
            Err(error) => {
                let told =
                    format!("{} is not understood and is begun anew: {error}", file.display());
                (Choices::default(), Some(told))
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (Choices::default(), None),
        Err(error) => {
            (Choices::default(), Some(format!("cannot read {}: {error}", file.display())))
        }
    }
}

impl Hands {
    /// Does what `update` wants done, and sends what comes of it back as a message.
    fn take(&mut self, cmd: Cmd) {
        let backend = Arc::clone(&self.backend);
        let msgs = self.msgs.clone();
        // The loop owns the receiver; once it has ended, nobody waits for answers.
        let answer = move |msg| drop(msgs.send(msg));
        match cmd {
            Cmd::Query(ask, query) => {
                tokio::spawn(async move { answer(Msg::Answer(ask, backend.query(query).await)) });
            }
            Cmd::Submit(submit) => {
                tokio::spawn(async move {
                    let accepted = backend.submit((*submit).clone()).await;
                    answer(Msg::Submitted(submit, accepted));
                });
            }
            Cmd::Control(control) => {
                tokio::spawn(async move {
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
            Cmd::Save(choices) => {
                let Some(file) = self.choices.clone() else { return };
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = save(&file, &choices) {
                        let told = format!("cannot remember this in {}: {error}", file.display());
                        answer(Msg::Trouble(told));
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

/// Writes beside, then renames.
fn save(file: &Path, choices: &Choices) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let beside = file.with_extension("partial");
    std::fs::write(&beside, serde_json::to_vec_pretty(choices)?)?;
    std::fs::rename(&beside, file)
}
