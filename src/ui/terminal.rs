//! The terminal: raw mode, the alternate screen, mouse and paste modes, and putting it all back.
//!
//! A frame is a [`Buffer`]. Only what differs from the frame before is written, in one write,
//! bracketed by synchronised output; when nothing differs, nothing is written at all.

use std::backtrace::Backtrace;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::Once;
use std::thread::{self, ThreadId};

use crossterm::{
    QueueableCommand, cursor,
    event::{DisableBracketedPaste, EnableBracketedPaste},
    style::{Attribute, SetAttribute, force_color_output},
    terminal::{self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate},
};
use parking_lot::Mutex;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

/// Button presses, drags and wheel in the extended encoding; never plain movement.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1002h\x1b[?1006h";
const MOUSE_OFF: &[u8] = b"\x1b[?1006l\x1b[?1002l\x1b[?1000l";

/// What one frame is gathered in before it is written.
const FRAME_BYTES: usize = 64 * 1024;

/// The thread that holds the terminal: only its panics put it back.
static HOLDER: Mutex<Option<ThreadId>> = Mutex::new(None);
/// What the last panic of that thread said.
static LAST_WORDS: Mutex<Option<String>> = Mutex::new(None);

/// The terminal while it belongs to the console.
pub struct TerminalGuard {
    /// A frame being gathered.
    bytes: Vec<u8>,
    shown: Buffer,
    cursor: Option<Position>,
    mouse: bool,
}

impl TerminalGuard {
    /// A screen for this terminal, which is not taken yet: see [`TerminalGuard::enter`].
    pub fn new(mouse: bool) -> Self {
        // Which colours there are is the theme's business alone: crossterm would take bold and
        // reverse away together with the colours.
        force_color_output(true);
        restore_on_panic();
        Self {
            bytes: Vec::with_capacity(FRAME_BYTES),
            shown: Buffer::default(),
            cursor: None,
            mouse,
        }
    }

    /// Takes the terminal (again) and forgets what it shows.
    ///
    /// # Errors
    /// When standard output is no terminal or it refuses raw mode.
    pub fn enter(&mut self) -> io::Result<()> {
        terminal::enable_raw_mode()?;
        *HOLDER.lock() = Some(thread::current().id());
        self.bytes
            .queue(terminal::EnterAlternateScreen)?
            .queue(cursor::Hide)?
            .queue(EnableBracketedPaste)?;
        if self.mouse {
            self.bytes.write_all(MOUSE_ON)?;
        }
        self.forget()?;
        self.send()
    }

    /// Gives the terminal back as it was.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn leave(&mut self) -> io::Result<()> {
        // A panic may have given it back already.
        let holder = HOLDER.lock().take();
        if holder.is_some() { give_back() } else { Ok(()) }
    }

    /// The terminal's size in columns and rows.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        terminal::size()
    }

    /// Forgets what is shown, so that the next frame is drawn whole.
    ///
    /// # Errors
    /// Never in practice: it only queues.
    pub fn forget(&mut self) -> io::Result<()> {
        self.shown = Buffer::default();
        self.cursor = None;
        self.bytes.queue(SetAttribute(Attribute::Reset))?.queue(Clear(ClearType::All))?;
        Ok(())
    }

    /// Shows a frame. Writes only what changed, and nothing if nothing did.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn show(&mut self, frame: &Buffer, cursor: Option<Position>) -> io::Result<()> {
        if self.shown.area != frame.area {
            self.forget()?;
            self.shown = Buffer::empty(Rect { x: 0, y: 0, ..frame.area });
        }
        let changed = self.shown.diff(frame);
        if changed.is_empty() && cursor == self.cursor {
            return Ok(());
        }
        self.bytes.queue(BeginSynchronizedUpdate)?;
        if self.cursor.is_some() {
            self.bytes.queue(cursor::Hide)?;
        }
        CrosstermBackend::new(&mut self.bytes).draw(changed.into_iter())?;
        if let Some(at) = cursor {
            self.bytes.queue(cursor::MoveTo(at.x, at.y))?.queue(cursor::Show)?;
        }
        self.bytes.queue(EndSynchronizedUpdate)?;
        self.cursor = cursor;
        self.shown.clone_from(frame);
        self.send()
    }

    /// Writes what was gathered, in one write as long as the terminal takes it.
    fn send(&mut self) -> io::Result<()> {
        let sent = write_raw(&mut io::stdout().lock(), &self.bytes);
        self.bytes.clear();
        self.bytes.shrink_to(FRAME_BYTES);
        sent
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        // There is nobody left to tell when even this fails.
        let _ = self.leave();
    }
}

/// Writes past the line buffer of standard output: a frame has no line ends to wait for.
fn write_raw(_held: &mut io::StdoutLock<'_>, mut bytes: &[u8]) -> io::Result<()> {
    let out = rustix::stdio::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(out, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut wait = [rustix::event::PollFd::new(&out, rustix::event::PollFlags::OUT)];
                rustix::event::poll(&mut wait, None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Puts the terminal back from any state.
fn give_back() -> io::Result<()> {
    let mut bytes = Vec::new();
    bytes.write_all(MOUSE_OFF)?;
    bytes
        .queue(EndSynchronizedUpdate)?
        .queue(DisableBracketedPaste)?
        .queue(SetAttribute(Attribute::Reset))?
        .queue(cursor::Show)?
        .queue(terminal::LeaveAlternateScreen)?;
    let written = write_raw(&mut io::stdout().lock(), &bytes);
    terminal::disable_raw_mode()?;
    written
}

/// What the panic said that took the terminal away from us.
pub fn last_words() -> String {
    LAST_WORDS.lock().take().unwrap_or_else(|| "no message".to_owned())
}

/// Puts the terminal back when the thread that holds it panics, and keeps what the panic says for
/// [`last_words`]. What any other thread panics about goes to the log: the screen is no place for
/// it.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let Some(holder) = *HOLDER.lock() else { return before(panic) };
            let words = words(panic);
            tracing::error!("panic: {words}\n{}", Backtrace::capture());
            if holder == thread::current().id() {
                *HOLDER.lock() = None;
                // The panic itself is what matters now; a terminal that is gone cannot be told.
                let _ = give_back();
                *LAST_WORDS.lock() = Some(words);
            }
        }));
    });
}

/// What a panic says, and where: `index out of bounds (src/ui/view.rs:12)`.
fn words(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let said = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    match panic.location() {
        Some(at) => format!("{said} ({}:{})", at.file(), at.line()),
        None => said.to_owned(),
    }
}
