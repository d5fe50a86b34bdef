//! The loop: drain everything that came in, update, do what is to be done, draw once if needed.
//!
//! A key after a pause is drawn at once; otherwise there is at most one frame per
//! [`ConsoleOptions::frame`]. Nothing ticks: the loop sleeps until something comes or the model's
//! next moment is due.

mod effects;
mod preferences;
mod signals;

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::Event as TerminalEvent;
use futures_util::{FutureExt, StreamExt};
use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use self::effects::Effects;
use self::preferences::remembered;
use self::signals::{InputReader, Signals, has_shell, has_terminal, terminal_gone};
use super::app::App;
use super::model::{Model, Setup};
use super::msg::{Cmd, Exit, Msg};
use super::screen::draw;
use super::terminal::{TerminalGuard, last_words};
use super::update::{start, update};
use super::windows::actions;
use crate::domain::{Backend, Catalogue};
use crate::time_zone;
use crate::ui::input::keymap::Keymap;
use crate::ui::style::theme::{Theme, ascii_wanted};

/// How the console is opened.
#[derive(Debug, Clone)]
pub struct ConsoleOptions {
    /// A theme that comes with the program, or a TOML file's path.
    pub theme: String,
    /// Key maps that change the default one, each as the file's name and its text.
    pub keymap: Vec<(String, String)>,
    /// Actions that key maps may name although the backend does not offer them.
    pub others: Vec<String>,
    /// Everything can be seen, nothing can be asked for.
    pub read_only: bool,
    /// Whether the mouse is used.
    pub mouse: bool,
    /// Whether only ASCII is drawn; from locale and terminal where it is `None`.
    pub ascii: Option<bool>,
    /// Whether colours are drawn; from `NO_COLOR` where it is `None`.
    pub colour: Option<bool>,
    /// The least time between two frames that no key asked for.
    pub frame: Duration,
    /// Where sorting and the open tab are remembered; not at all where it is `None`.
    pub preferences: Option<PathBuf>,
    /// Who asks, in requests, such as `console:root`.
    pub actor: String,
}

impl Default for ConsoleOptions {
    fn default() -> Self {
        Self {
            theme: "terminal".to_owned(),
            keymap: Vec::new(),
            others: Vec::new(),
            read_only: false,
            mouse: true,
            ascii: None,
            colour: None,
            frame: Duration::from_millis(33),
            preferences: None,
            actor: "console".to_owned(),
        }
    }
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
    /// A panic, and where.
    #[error(
        "the console broke, which is a defect worth reporting: {0}; no work is lost, start hostler \
         again"
    )]
    Broken(String),
}

/// What an operator sees and does, from the first screen to the last. It outlives the backend it
/// looks at: after Ctrl-Z it may look at another one on the same state directory.
pub struct Session {
    app: App,
    theme: Theme,
    screen: TerminalGuard,
    /// From the first time the terminal is taken: one for all backends, see [`InputReader`].
    input: Option<InputReader>,
    signals: Signals,
    msgs: UnboundedSender<Msg>,
    replies: UnboundedReceiver<Msg>,
    preferences: Option<PathBuf>,
    frame: Duration,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("app", &self.app).finish_non_exhaustive()
    }
}

impl Session {
    /// Reads theme and key map for a backend that offers these kinds of operations. The terminal is
    /// left alone until [`Session::run`].
    ///
    /// # Errors
    /// When a theme or key map is wrong, or there is no terminal.
    pub fn new(catalogue: Catalogue, options: ConsoleOptions) -> Result<Self, UiError> {
        let theme = theme(&options).map_err(UiError::Settings)?;
        let keymap = Keymap::with_others(actions(&catalogue), &options.keymap, &options.others);
        let keymap = keymap.map_err(UiError::Settings)?;
        let (preferences, error) = remembered(options.preferences.as_deref());
        let screen = TerminalGuard::new(options.mouse);
        let (msgs, replies) = unbounded_channel();
        if let Some(error) = error {
            // The receiver is in this very function.
            let _ = msgs.send(Msg::Error(error));
        }
        let model = Model::new(Setup {
            size: screen.size().map_err(UiError::Terminal)?,
            now: Timestamp::now(),
            zone: time_zone::here(),
            catalogue,
            keymap,
            read_only: options.read_only,
            embedded: false,
            actor: options.actor,
            preferences,
        });
        Ok(Self {
            app: App::new(model),
            theme,
            screen,
            input: None,
            signals: Signals::new().map_err(UiError::Terminal)?,
            msgs,
            replies,
            preferences: options.preferences,
            frame: options.frame,
        })
    }

    /// Shows a backend until the operator leaves or the terminal goes. Where it lives in this
    /// process (`embedded`), leaving with work in flight asks. Call this from `block_on`: the
    /// thread it runs on is the one whose panics put the terminal back.
    ///
    /// # Errors
    /// When the terminal cannot be used, or the console breaks.
    pub async fn run(
        &mut self,
        backend: Arc<dyn Backend>,
        embedded: bool,
    ) -> Result<Exit, UiError> {
        self.app.model.begin(embedded);
        self.screen.enter().map_err(UiError::Terminal)?;
        let (width, height) = self.screen.size().map_err(UiError::Terminal)?;
        update(&mut self.app, Msg::Resize(width, height));
        let effects = Effects::new(backend, self.msgs.clone(), self.preferences.clone());
        // After a panic only `last_words` is looked at.
        let ended = AssertUnwindSafe(event_loop(self, effects)).catch_unwind().await;
        let Ok(exit) = ended else { return Err(UiError::Broken(last_words())) };
        // What is typed from now on is for whoever started us.
        if exit != Exit::Stop {
            self.input = None;
        }
        // After a hang-up there is no terminal to give back, and saying so helps nobody.
        if let (Err(error), true) = (self.screen.leave(), exit != Exit::HangUp) {
            return Err(UiError::Terminal(error));
        }
        Ok(exit)
    }

    /// Stops this process as job control wants it, until the shell's `fg`. Returns whether the
    /// console is wanted again: it may also be told to end.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub async fn stop(&mut self) -> Result<bool, UiError> {
        loop {
            // What was typed since the console went was not for it; what comes after `fg` is.
            if let Some(input) = &mut self.input {
                input.forget();
            }
            // Not SIGTSTP, which is ours to answer to.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)
                .map_err(|error| UiError::Terminal(error.into()))?;
            tokio::select! {
                biased;
                // A shell that goes takes its stopped jobs along: SIGHUP, then SIGCONT.
                _ = self.signals.hup.recv() => return Ok(false),
                _ = self.signals.term.recv() => return Ok(false),
                _ = self.signals.cont.recv() => {}
            }
            // After `bg` there is no terminal to take.
            if has_terminal() {
                return Ok(true);
            }
        }
    }
}

/// The theme, for this terminal and locale.
fn theme(options: &ConsoleOptions) -> Result<Theme, String> {
    let term = std::env::var("TERM").ok();
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let ascii = options.ascii.unwrap_or_else(|| ascii_wanted(term.as_deref(), locale.as_deref()));
    let colour = options
        .colour
        .unwrap_or_else(|| std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    Theme::load(&options.theme, colour, ascii)
}

/// What woke the loop.
enum Wakeup {
    Msg(Msg),
    Input(Option<std::io::Result<TerminalEvent>>),
    Continued,
    Frame,
    Leave(Exit),
}

async fn event_loop(session: &mut Session, mut effects: Effects) -> Exit {
    let Session { app, theme, screen, input, signals, replies, frame, .. } = session;
    let input = &mut input.get_or_insert_with(InputReader::new).events;
    let gone = terminal_gone();
    tokio::pin!(gone);
    let mut buffer = Buffer::empty(Rect::default());
    let begun = start(app);
    // The first frame does not wait for what the questions set going: it shows nothing of that.
    if show(app, theme, screen, &mut buffer).is_err() {
        return Exit::HangUp;
    }
    let mut drawn = Some(Instant::now());
    let mut keyed: Option<Instant> = None;
    let mut events = Some(effects.subscribe());
    for cmd in begun {
        effects.take(cmd);
    }
    loop {
        // Draw first, so that what the last round changed is seen before sleeping.
        let now = Instant::now();
        let due = drawn.map_or(now, |drawn| drawn + *frame);
        if app.model.dirty && due <= now {
            if show(app, theme, screen, &mut buffer).is_err() {
                return Exit::HangUp;
            }
            drawn = Some(now);
        }
        let wake = app.wake_at().map(|at| now + until(at));
        let frame_at = app.model.dirty.then_some(due);
        let woken = tokio::select! {
            biased;
            _ = signals.hup.recv() => Wakeup::Leave(Exit::HangUp),
            _ = signals.term.recv() => Wakeup::Leave(Exit::Told),
            () = &mut gone => Wakeup::Leave(Exit::HangUp),
            _ = signals.cont.recv() => Wakeup::Continued,
            _ = signals.stop.recv() => match has_shell() {
                true => Wakeup::Leave(Exit::Stop),
                false => Wakeup::Msg(Msg::Error(NO_SHELL.to_owned())),
            },
            event = input.recv() => Wakeup::Input(event),
            Some(msg) = replies.recv() => Wakeup::Msg(msg),
            event = next(&mut events) => Wakeup::Msg(event),
            () = sleep_until(frame_at) => Wakeup::Frame,
            () = sleep_until(wake) => Wakeup::Msg(Msg::Wake),
        };
        // Everything else that is there already is taken along, and drawn together.
        let mut batch = vec![Msg::Now(Timestamp::now())];
        let mut key = false;
        match woken {
            Wakeup::Frame => continue,
            Wakeup::Leave(exit) => return exit,
            // Stopped by a signal that nobody can answer to (SIGSTOP).
            Wakeup::Continued => {
                if screen.enter().is_err() {
                    return Exit::HangUp;
                }
                app.model.dirty = true;
                drawn = None;
                let size = screen.size().ok();
                batch.extend(size.map(|(width, height)| Msg::Resize(width, height)));
            }
            Wakeup::Msg(msg) => batch.push(msg),
            Wakeup::Input(event) => match event {
                Some(Ok(event)) => key |= take_input(event, &mut batch),
                Some(Err(_)) | None => return Exit::HangUp,
            },
        }
        let mut more = || replies.try_recv().ok().or_else(|| next(&mut events).now_or_never());
        while batch.len() < MOST_AT_ONCE
            && let Some(msg) = more()
        {
            batch.push(msg);
        }
        while batch.len() < MOST_AT_ONCE {
            match input.try_recv() {
                Ok(Ok(event)) => key |= take_input(event, &mut batch),
                Ok(Err(_)) | Err(TryRecvError::Disconnected) => return Exit::HangUp,
                Err(TryRecvError::Empty) => break,
            }
        }
        for msg in batch {
            for cmd in update(app, msg) {
                match cmd {
                    Cmd::Exit(exit) => return exit,
                    Cmd::Redraw => {
                        break_down("redraw");
                        if screen.forget().is_err() {
                            return Exit::HangUp;
                        }
                        app.model.dirty = true;
                    }
                    Cmd::Suspend => suspend(&effects),
                    cmd => effects.take(cmd),
                }
            }
        }
        // A key is answered at once, unless keys come faster than frames may.
        let now = Instant::now();
        if key && keyed.is_none_or(|keyed| keyed + *frame <= now) {
            keyed = Some(now);
            drawn = None;
        }
    }
}

/// Does what the terminal itself does on Ctrl-Z as long as the key is nobody's: the signal comes to
/// us as well, and is answered in [`turn`].
fn suspend(effects: &Effects) {
    let stop = rustix::process::Signal::TSTP;
    if let Err(error) = rustix::process::kill_current_process_group(stop) {
        effects.tell(format!("the console cannot be stopped: {error}"));
    }
}

/// At most this many messages are taken together, so that a flood cannot keep a frame from coming.
const MOST_AT_ONCE: usize = 1024;

fn show(
    app: &mut App,
    theme: &Theme,
    screen: &mut TerminalGuard,
    buffer: &mut Buffer,
) -> std::io::Result<()> {
    let (width, height) = app.model.size;
    let area = Rect { x: 0, y: 0, width, height };
    if buffer.area == area {
        buffer.reset();
    } else {
        *buffer = Buffer::empty(area);
    }
    let cursor = draw(app, theme, buffer);
    app.model.dirty = false;
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

/// Why the console does not stop.
const NO_SHELL: &str = "no shell started this console, so nothing could bring it back";

/// Panics here when the environment asks for it.
#[cfg(feature = "failpoints")]
fn break_down(point: &str) {
    assert_ne!(std::env::var("HOSTLER_PANIC").as_deref(), Ok(point), "asked for");
}

#[cfg(not(feature = "failpoints"))]
const fn break_down(_: &str) {}
