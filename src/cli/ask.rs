//! What comes from the keyboard: secrets, answers, and a guest's serial line.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{CliContext, CliError};
use crate::domain::Serial;
use crate::file::MOST_TEXT_BYTES;

/// Where secrets come from.
pub trait Keyboard {
    /// Whether somebody can be asked.
    fn is_terminal(&self) -> bool;

    /// Asks without showing what is typed.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    fn secret(&mut self, prompt: &str) -> std::io::Result<String>;

    /// One line of standard input, without its end.
    ///
    /// # Errors
    /// When it cannot be read.
    fn line(&mut self) -> std::io::Result<String>;
}

/// The real one.
#[derive(Debug, Clone, Copy)]
pub struct Terminal;

impl Keyboard for Terminal {
    fn is_terminal(&self) -> bool {
        std::io::stdin().is_terminal()
    }

    fn secret(&mut self, prompt: &str) -> std::io::Result<String> {
        rpassword::prompt_password(prompt)
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        std::io::stdin().lock().take(MOST_TEXT_BYTES).read_line(&mut line)?;
        if line.len() as u64 == MOST_TEXT_BYTES {
            return Err(std::io::Error::other("the line has no end"));
        }
        Ok(line.trim_end_matches(['\n', '\r']).to_owned())
    }
}

/// One that asks for no secret where it `asks` not: what a request would do depends on none, and
/// nobody is to wait for somebody who types. What is given on standard input is read all the same.
pub(super) struct MaybeAsked<'k> {
    pub(super) keyboard: &'k mut dyn Keyboard,
    pub(super) asks: bool,
}

impl Keyboard for MaybeAsked<'_> {
    fn is_terminal(&self) -> bool {
        self.keyboard.is_terminal()
    }

    fn secret(&mut self, prompt: &str) -> std::io::Result<String> {
        // As good as any that is long enough.
        if self.asks { self.keyboard.secret(prompt) } else { Ok("x".repeat(64)) }
    }

    fn line(&mut self) -> std::io::Result<String> {
        self.keyboard.line()
    }
}

/// Asks on a terminal whether it is to be done to what a filter picks, so many `of` a kind;
/// elsewhere nobody can be asked.
///
/// # Errors
/// When nobody could be asked, or the answer is no.
pub(super) fn confirmed(
    doing: &str,
    number: usize,
    of: &str,
    session: &mut CliContext<'_>,
) -> Result<(), CliError> {
    let picked = format!("{number} {of}");
    if !session.keyboard.is_terminal() {
        let what = if number == 1 { "it" } else { "them" };
        return Err(CliError::Usage(format!(
            "the filter picks {picked}; add --yes to {doing} {what} without being asked"
        )));
    }
    write!(session.err, "{doing} {picked}? [y/N] ")?;
    session.err.flush()?;
    match session.keyboard.line()?.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::Failed("nothing was done".to_owned())),
    }
}

/// Ctrl-], which leaves the serial line, as in telnet and `virsh console`.
const LEAVE_KEY: u8 = 0x1d;

/// How long the guest may answer once the input has ended, as that of a script does.
const AFTER_INPUT: Duration = Duration::from_secs(2);

/// Puts the terminal back, however this ends.
struct RawMode(bool);

impl RawMode {
    fn enter() -> std::io::Result<Self> {
        let terminal = std::io::stdin().is_terminal();
        if terminal {
            crossterm::terminal::enable_raw_mode()?;
        }
        Ok(Self(terminal))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = crossterm::terminal::disable_raw_mode()
        {
            tracing::warn!("cannot put the terminal back: {error}; type reset");
        }
    }
}

/// Makes a terminal plain again: no bracketed paste, no mouse, the main screen, a cursor, no
/// colours. (xterm's control sequences DECSET 2004, 1000, 1002, 1006, 47, 25 and SGR.)
const PUT_BACK: &[u8] = b"\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1006l\x1b[?47l\x1b[?25h\x1b[m";

/// Connects the terminal with a guest's serial line until Ctrl-], the guest's end, or a little
/// after that of the input.
pub(super) async fn passthrough(
    mut line: Serial,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), CliError> {
    writeln!(err, "Ctrl-] leaves the serial line.")?;
    let raw = RawMode::enter()?;
    let (sender, mut typed) = mpsc::unbounded_channel();
    // A thread of its own: a read from the terminal cannot be called off, and must not hold up
    // the end of the program.
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut last = None;
    let ended = loop {
        tokio::select! {
            written = line.output.next() => match written {
                Some(bytes) => {
                    out.write_all(&bytes)?;
                    out.flush()?;
                }
                None => break "the guest's end of the serial line is closed",
            },
            () = tokio::time::sleep_until(last.unwrap_or_else(Instant::now)), if last.is_some() => {
                break "the input has ended";
            }
            keys = typed.recv(), if last.is_none() => match keys {
                Some(keys) => {
                    let leave = keys.iter().position(|&key| key == LEAVE_KEY);
                    line.input.send(&keys[..leave.unwrap_or(keys.len())])?;
                    if leave.is_some() {
                        break "left the serial line";
                    }
                }
                None => last = Some(Instant::now() + AFTER_INPUT),
            },
        }
    };
    // What the guest's shell and editors switched on is ours to switch off: they are still there.
    out.write_all(PUT_BACK)?;
    out.flush()?;
    drop(raw);
    writeln!(err, "\nhostler: {ended}")?;
    Ok(())
}
