//! A guest's serial console: what it wrote, as a terminal shows it, and what keys send to it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Position;
use ratatui::widgets::Widget;
use tui_term::vt100::Parser;
use tui_term::widget::PseudoTerminal;

use super::window::{Response, Window, WindowKind, never};
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::model::Model;
use crate::ui::model::layout::full;
use crate::ui::model::notification::Severity;
use crate::ui::msg::{Cmd, Msg};
use crate::ui::style::canvas::Canvas;
use crate::ui::style::text::clean;
use crate::ui::style::theme::Role;
use crate::ui::view::hints::{self, KeyHint};

const SCOPE: Scope = Scope::Alone("In a serial console");

const LEAVE: Action = Action::Window("console_leave");
const UP: Action = Action::Window("console_up");
const DOWN: Action = Action::Window("console_down");

const ACTIONS: &[ActionRow] = &[
    (LEAVE, "console_leave", "leave", "Leave the serial console; the guest goes on.", SCOPE, 1),
    (UP, "console_up", "scroll up", "Look at what scrolled away.", SCOPE, 2),
    (DOWN, "console_down", "scroll down", "Scroll back down.", SCOPE, 0),
];

/// A guest's serial console.
pub const KIND: WindowKind = WindowKind { actions: ACTIONS, open: never };

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
    /// Opens the serial line of a VM, on a screen of that size in columns and rows.
    #[must_use]
    pub fn open(vm: u64, name: String, size: (u16, u16), cmds: &mut Vec<Cmd>) -> Self {
        cmds.push(Cmd::SerialOpen(vm));
        Self::new(vm, name, inside(size))
    }

    fn new(vm: u64, name: String, size: (u16, u16)) -> Self {
        let parser = Parser::new(size.1.max(1), size.0.max(2), SCROLLBACK);
        Self { vm, name, parser, recent: VecDeque::new(), open: false, ended: None }
    }

    /// Shows what the guest wrote.
    fn write(&mut self, bytes: &[u8]) {
        self.parser.process(bytes);
        self.recent.extend(bytes);
        self.recent.drain(..self.recent.len().saturating_sub(RECENT));
    }

    /// Gives the screen another size in columns and rows. For another width, what was written last
    /// is written anew: the emulator would keep half a wide character at its edge, and break when
    /// that is written over.
    fn set_size(&mut self, (columns, rows): (u16, u16)) {
        let (columns, rows) = (columns.max(2), rows.max(1));
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

    /// Scrolls up (or, negative, down) through what was written before.
    fn scroll(&mut self, rows: isize) {
        let at = self.parser.screen().scrollback().saturating_add_signed(rows);
        self.parser.screen_mut().set_scrollback(at);
    }

    /// What is sent to the guest for pasted text.
    fn pasted(&self, text: &str) -> Vec<u8> {
        let text = text.replace("\r\n", "\r").replace('\n', "\r");
        if self.parser.screen().bracketed_paste() {
            format!("\x1b[200~{text}\x1b[201~").into_bytes()
        } else {
            text.into_bytes()
        }
    }

    /// What a terminal sends for a key; `None` for keys that send nothing.
    fn typed(&self, key: KeyEvent) -> Option<Vec<u8>> {
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

impl Window for Console {
    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        vec![SCOPE]
    }

    fn unbound(&mut self, key: KeyEvent, _model: &mut Model, cmds: &mut Vec<Cmd>) -> Response {
        let leaves = matches!(key.code, KeyCode::Esc | KeyCode::Enter);
        if self.open {
            if let Some(bytes) = self.typed(key) {
                self.parser.screen_mut().set_scrollback(0);
                cmds.push(Cmd::SerialSend(bytes));
            }
        } else if self.ended.is_some() && leaves {
            cmds.push(Cmd::SerialClose);
            return Response::Close;
        }
        Response::Taken
    }

    fn action(&mut self, action: &Action, _model: &mut Model, cmds: &mut Vec<Cmd>) -> Response {
        match *action {
            LEAVE => {
                cmds.push(Cmd::SerialClose);
                return Response::Close;
            }
            UP => self.scroll(10),
            DOWN => self.scroll(-10),
            _ => {}
        }
        Response::Taken
    }

    fn paste(&mut self, text: &str, _model: &mut Model, cmds: &mut Vec<Cmd>) {
        if self.open {
            cmds.push(Cmd::SerialSend(self.pasted(text)));
        }
    }

    fn wheel(&mut self, up: bool) -> Response {
        self.scroll(if up { 3 } else { -3 });
        Response::Taken
    }

    fn message(&mut self, msg: &Msg, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        match msg {
            Msg::SerialOpened(vm, Ok(())) if *vm == self.vm => self.open = true,
            Msg::SerialOpened(vm, Err(error)) if *vm == self.vm => {
                self.ended = Some(error.to_string());
            }
            Msg::SerialOutput(vm, bytes) if *vm == self.vm => self.write(bytes),
            Msg::SerialEnded(vm) if *vm == self.vm => {
                self.open = false;
                self.ended = Some("the guest's serial line is closed".to_owned());
            }
            Msg::SerialFailed(vm, error) if *vm == self.vm => {
                model.notify(Severity::Error, error.to_string());
            }
            _ => return Response::Ignored,
        }
        Response::Taken
    }

    fn resize(&mut self, size: (u16, u16)) {
        self.set_size(inside(size));
    }

    /// The line begins with the last of what the guest wrote.
    fn reopen(&mut self, model: &Model, cmds: &mut Vec<Cmd>) {
        *self = Self::open(self.vm, std::mem::take(&mut self.name), model.size, cmds);
    }

    fn covers_all(&self) -> bool {
        true
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        let area = full(model.size);
        let leave = model.keymap.key(&LEAVE).unwrap_or_default();
        let title = format!("{} · serial console · {leave} leaves", self.name);
        let inside = canvas.window(area, &title, Role::Focus);
        let screen = self.parser.screen();
        let mut terminal = PseudoTerminal::new(screen);
        let mut cursor = tui_term::widget::Cursor::default();
        cursor.hide();
        terminal = terminal.cursor(cursor);
        terminal.render(inside, canvas.buffer());
        for place in inside.positions() {
            let Some(cell) = canvas.buffer().cell_mut(place) else { continue };
            // The terminal that was emulated keeps what has no width with the character before it.
            if let Cow::Owned(_) = clean(cell.symbol()) {
                cell.set_symbol("\u{fffd}");
            }
        }
        if screen.scrollback() > 0 {
            let told = format!(" {} lines up ", screen.scrollback());
            let wide = u16::try_from(told.len()).unwrap_or(0);
            canvas.text(area.right().saturating_sub(wide + 2), area.y, wide, &told, Role::Waiting);
        }
        match (&self.ended, self.open) {
            (Some(why), _) => {
                let told = format!(" {why} · enter leaves ");
                canvas.text(
                    area.x + 2,
                    area.bottom() - 1,
                    area.width.saturating_sub(4),
                    &told,
                    Role::Bad,
                );
            }
            (None, false) => {
                canvas.text(area.x + 2, area.bottom() - 1, 12, " opening ", Role::Waiting);
            }
            (None, true) => {
                let (row, column) = screen.cursor_position();
                if !screen.hide_cursor() && screen.scrollback() == 0 {
                    let at = Position { x: inside.x + column, y: inside.y + row };
                    canvas.cursor = inside.contains(at).then_some(at);
                }
            }
        }
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        hints::narrowed(hints::bound(model, &[SCOPE], |_| true), model.size.0)
    }
}

/// Returns the size of the guest's screen on a screen of that size.
fn inside(size: (u16, u16)) -> (u16, u16) {
    let area = full(size);
    (area.width.saturating_sub(2), area.height.saturating_sub(2))
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
        console.parser.process(b"\x1b[?1h");
        assert_eq!(console.typed(key(KeyCode::Up, KeyModifiers::NONE)).unwrap(), b"\x1bOA");
    }

    #[test]
    fn another_width_cuts_no_character_in_two() {
        let mut console = Console::new(1, "web-1".into(), (80, 24));
        console.write("\x1b[?1hlogin:\r\n\x1b[2;79H語".as_bytes());
        console.set_size((79, 24));
        console.write(b"\x1b[2;79Hx\x1b[2;78Hy");
        assert!(console.parser.screen().contents().starts_with("login:\n"));
        assert!(console.parser.screen().application_cursor());
        console.write(&[b'x'; 1 << 20]);
        assert_eq!(console.recent.len(), RECENT);
        console.set_size((80, 10));
        let shown = console.parser.screen().contents();
        assert!(shown.len() > 700 && shown.chars().all(|c| "x\n".contains(c)), "{shown}");
    }

    #[test]
    fn pastes_pass_bracketed_where_the_guest_asks() {
        let mut console = Console::new(1, "web-1".into(), (80, 24));
        assert_eq!(console.pasted("a\nb"), b"a\rb");
        console.parser.process(b"\x1b[?2004h");
        assert_eq!(console.pasted("a"), b"\x1b[200~a\x1b[201~");
    }
}
