//! A guest's serial console: what it wrote, as a terminal shows it, and what keys send to it.

use std::collections::VecDeque;
use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_term::vt100::Parser;

/// Lines kept above the screen.
const SCROLLBACK: usize = 2000;
/// How much of what was written last is kept as it was, in bytes.
const RECENT: usize = 256 << 10;

/// A guest's serial console, open in its window.
pub struct Console {
    /// The VM's number.
    pub vm: u64,
    /// The VM's name.
    pub name: String,
    /// What a terminal would show.
    pub parser: Parser,
    /// What the guest wrote last.
    recent: VecDeque<u8>,
    /// Whether the line is open.
    pub open: bool,
    /// Why it is closed, once it was open or failed to open.
    pub ended: Option<String>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("vm", &self.vm).finish_non_exhaustive()
    }
}

impl Console {
    /// A console for a VM, with a screen of that size in columns and rows.
    #[must_use]
    pub fn new(vm: u64, name: String, size: (u16, u16)) -> Self {
        let parser = Parser::new(size.1.max(1), size.0.max(2), SCROLLBACK);
        Self { vm, name, parser, recent: VecDeque::new(), open: false, ended: None }
    }

    /// Gives the screen another size. For another width, what was written last is written anew: the
    /// emulator would keep half a wide character at its edge, and break when that is written over.
    pub fn resize(&mut self, size: (u16, u16)) {
        let (rows, columns) = (size.1.max(1), size.0.max(2));
        let screen = self.parser.screen_mut();
        if screen.size().1 == columns {
            screen.set_size(rows, columns);
            return;
        }
        let (modes, scrolled) = (screen.input_mode_formatted(), screen.scrollback());
        self.parser = Parser::new(rows, columns, SCROLLBACK);
        self.parser.process(&modes);
        let (first, rest) = self.recent.as_slices();
        self.parser.process(first);
        self.parser.process(rest);
        self.parser.screen_mut().set_scrollback(scrolled);
    }

    /// Shows what the guest wrote.
    pub fn write(&mut self, bytes: &[u8]) {
        self.parser.process(bytes);
        self.recent.extend(bytes);
        self.recent.drain(..self.recent.len().saturating_sub(RECENT));
    }

    /// Scrolls up (or, negative, down) through what was written before.
    pub fn scroll(&mut self, rows: isize) {
        let at = self.parser.screen().scrollback().saturating_add_signed(rows);
        self.parser.screen_mut().set_scrollback(at);
    }

    /// What is sent to the guest for pasted text.
    #[must_use]
    pub fn pasted(&self, text: &str) -> Vec<u8> {
        let text = text.replace("\r\n", "\r").replace('\n', "\r");
        if self.parser.screen().bracketed_paste() {
            format!("\x1b[200~{text}\x1b[201~").into_bytes()
        } else {
            text.into_bytes()
        }
    }

    /// What a terminal sends for a key; `None` for keys that send nothing.
    #[must_use]
    pub fn typed(&self, key: KeyEvent) -> Option<Vec<u8>> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let mut bytes = match key.code {
            KeyCode::Char(character) if control => vec![control_byte(character)?],
            KeyCode::Char(character) => character.to_string().into_bytes(),
            KeyCode::Enter => b"\r".to_vec(),
            KeyCode::Tab => b"\t".to_vec(),
            KeyCode::BackTab => b"\x1b[Z".to_vec(),
            KeyCode::Backspace => vec![0x7f],
            KeyCode::Esc => vec![0x1b],
            KeyCode::Up => self.arrow(b'A'),
            KeyCode::Down => self.arrow(b'B'),
            KeyCode::Right => self.arrow(b'C'),
            KeyCode::Left => self.arrow(b'D'),
            KeyCode::Home => self.arrow(b'H'),
            KeyCode::End => self.arrow(b'F'),
            KeyCode::Insert => b"\x1b[2~".to_vec(),
            KeyCode::Delete => b"\x1b[3~".to_vec(),
            KeyCode::PageUp => b"\x1b[5~".to_vec(),
            KeyCode::PageDown => b"\x1b[6~".to_vec(),
            KeyCode::F(number @ 1..=4) => vec![0x1b, b'O', b'P' + (number - 1)],
            KeyCode::F(number @ 5..=12) => {
                let code = [15, 17, 18, 19, 20, 21, 23, 24][usize::from(number - 5)];
                format!("\x1b[{code}~").into_bytes()
            }
            _ => return None,
        };
        if key.modifiers.contains(KeyModifiers::ALT) {
            bytes.insert(0, 0x1b);
        }
        Some(bytes)
    }

    fn arrow(&self, letter: u8) -> Vec<u8> {
        let middle = if self.parser.screen().application_cursor() { b'O' } else { b'[' };
        vec![0x1b, middle, letter]
    }
}

/// The control character a letter makes with Ctrl.
fn control_byte(character: char) -> Option<u8> {
    match character.to_ascii_lowercase() {
        letter @ 'a'..='z' => Some(letter as u8 - b'a' + 1),
        ' ' | '@' | '2' => Some(0),
        '[' | '3' => Some(0x1b),
        '\\' | '4' => Some(0x1c),
        ']' | '5' => Some(0x1d),
        '^' | '6' => Some(0x1e),
        '_' | '/' | '7' => Some(0x1f),
        '?' | '8' => Some(0x7f),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sent_as_a_terminal_sends_them() {
        let mut console = Console::new(1, "web-1".into(), (80, 24));
        let key = |code, modifiers| KeyEvent::new(code, modifiers);
        for (code, modifiers, bytes) in [
            (KeyCode::Char('a'), KeyModifiers::NONE, &b"a"[..]),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, b"\x03"),
            (KeyCode::Char('x'), KeyModifiers::ALT, b"\x1bx"),
            (KeyCode::Enter, KeyModifiers::NONE, b"\r"),
            (KeyCode::Backspace, KeyModifiers::NONE, b"\x7f"),
            (KeyCode::Up, KeyModifiers::NONE, b"\x1b[A"),
            (KeyCode::F(5), KeyModifiers::NONE, b"\x1b[15~"),
            (KeyCode::F(1), KeyModifiers::NONE, b"\x1bOP"),
        ] {
            assert_eq!(console.typed(key(code, modifiers)).unwrap(), bytes);
        }
        console.write(b"\x1b[?1h");
        assert_eq!(console.typed(key(KeyCode::Up, KeyModifiers::NONE)).unwrap(), b"\x1bOA");
    }

    #[test]
    fn another_width_cuts_no_character_in_two() {
        let mut console = Console::new(1, "web-1".into(), (80, 24));
        console.write("\x1b[?1hlogin:\r\n\x1b[2;79H語".as_bytes());
        console.resize((79, 24));
        console.write(b"\x1b[2;79Hx\x1b[2;78Hy");
        assert!(console.parser.screen().contents().starts_with("login:\n"));
        assert!(console.parser.screen().application_cursor());
        console.write(&[b'x'; 1 << 20]);
        assert_eq!(console.recent.len(), RECENT);
        console.resize((80, 10));
        let shown = console.parser.screen().contents();
        assert!(shown.len() > 700 && shown.chars().all(|c| "x\n".contains(c)), "{shown}");
    }

    #[test]
    fn pastes_pass_bracketed_where_the_guest_asks() {
        let mut console = Console::new(1, "web-1".into(), (80, 24));
        assert_eq!(console.pasted("a\nb"), b"a\rb");
        console.write(b"\x1b[?2004h");
        assert_eq!(console.pasted("a"), b"\x1b[200~a\x1b[201~");
    }
}
