//! What a window over the lists is. It knows no single window.

use std::any::Any;
use std::fmt::Debug;

use crossterm::event::KeyEvent;
use jiff::Timestamp;
use ratatui::layout::Rect;

use crate::domain::{Control, Submit, Uid};
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::model::{Front, Model};
use crate::ui::msg::{Cmd, Msg};
use crate::ui::style::canvas::Canvas;
use crate::ui::tab::Tab;
use crate::ui::view::hints::KeyHint;

/// A window over the lists. Only the front one is given keys.
pub trait Window: Any + Debug {
    /// Returns what the lists behind it need to know of it.
    fn front(&self) -> Front {
        Front::Other
    }

    /// Returns where keys are looked up.
    fn scopes(&self, model: &Model) -> Vec<Scope>;

    /// Takes a key before the key map sees it.
    fn key(&mut self, _key: KeyEvent, _model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        Response::Ignored
    }

    /// Takes a key that the key map knows nothing of.
    fn unbound(&mut self, _key: KeyEvent, _model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        Response::Taken
    }

    /// Does an action.
    fn action(&mut self, action: &Action, model: &mut Model, cmds: &mut Vec<Cmd>) -> Response;

    /// Takes pasted text.
    fn paste(&mut self, _text: &str, _model: &mut Model, _cmds: &mut Vec<Cmd>) {}

    /// Takes a notch of the mouse's wheel; ignored, it moves as the arrow keys do.
    fn wheel(&mut self, _up: bool) -> Response {
        Response::Ignored
    }

    /// Takes a message that is not a key: an answer, what a guest wrote.
    fn message(&mut self, _msg: &Msg, _model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        Response::Ignored
    }

    /// Takes the answer to a question it asked: so many requests or changes are to be made.
    fn confirmed(&mut self, _requests: usize) -> Response {
        Response::Taken
    }

    /// The screen has another size.
    fn resize(&mut self, _size: (u16, u16)) {}

    /// The backend is a new one: what the old one held open for the window is to be opened again.
    fn reopen(&mut self, _model: &Model, _cmds: &mut Vec<Cmd>) {}

    /// Returns when it wants to be woken.
    fn wake_at(&self) -> Option<Timestamp> {
        None
    }

    /// The time it wanted to be woken at may have come.
    fn wake(&mut self, _model: &mut Model, _cmds: &mut Vec<Cmd>) {}

    /// Whether nothing of what is behind it is in sight, so that no clock there needs to go on.
    fn covers_all(&self) -> bool {
        false
    }

    /// Whether it stands in the place of the window behind it, which is not drawn.
    fn replaces(&self) -> bool {
        false
    }

    /// Draws it.
    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>);

    /// Draws the last line in place of the keys. Returns whether it did.
    fn draw_footer(&self, _model: &Model, _canvas: &mut Canvas<'_>, _area: Rect) -> bool {
        false
    }

    /// Returns the keys the last line shows.
    fn hints(&self, model: &Model) -> Vec<KeyHint>;
}

/// What a window made of what it was given.
#[derive(Debug)]
pub enum Response {
    /// Nothing: whatever is behind it may have it.
    Ignored,
    /// All there was to make of it.
    Taken,
    /// It closes.
    Close,
    /// It closes, and with it the window behind it.
    CloseBoth,
    /// It closes, and this is done in its place.
    CloseAnd(Intent),
    /// It stays, and this is done in front of it.
    StayAnd(Intent),
    /// Another window opens over it.
    Open(Box<dyn Window>),
}

/// What is to be done once a window has closed.
#[derive(Debug, Clone)]
pub enum Intent {
    /// This action.
    Act(Action),
    /// The form of a kind of operation is opened, from anywhere.
    Create(String),
    /// The form of a kind of operation on these, by number and name, is opened over the question
    /// whether that is to be done.
    Fill(String, Vec<(u64, String)>),
    /// The keys go to a row.
    GoTo(Tab, u64),
    /// An operation is shown.
    Show(Uid),
    /// These are requested.
    Submit(Vec<Submit>),
    /// These are changed.
    Control(Vec<Control>),
}

impl Default for Intent {
    /// Nothing is.
    fn default() -> Self {
        Self::Control(Vec::new())
    }
}

/// The window that comes up, if any does.
pub type OpenedWindow = Option<Box<dyn Window>>;

/// A kind of window.
#[derive(Debug)]
pub struct WindowKind {
    /// Its actions: those that open it, and those that mean something in it.
    pub actions: &'static [ActionRow],
    /// Does one of its actions while it is not in front: opens it, as a rule.
    pub open: fn(&Action, &mut Model, &mut Vec<Cmd>) -> OpenedWindow,
}

/// For a kind of window that no action opens: it comes up by itself.
pub fn never(_: &Action, _: &mut Model, _: &mut Vec<Cmd>) -> OpenedWindow {
    None
}
