//! An operation with its steps, in a window of its own.

use super::scroll;
use super::window::{Response, Window, WindowKind, never};
use crate::domain::{OperationDetail, Uid};
use crate::ui::input::action::{Action, Scope};
use crate::ui::model::{Front, Model};
use crate::ui::msg::{Cmd, Fetch};
use crate::ui::style::canvas::{Canvas, StyledLine};
use crate::ui::style::theme::Theme;
use crate::ui::view::hints::{self, KeyHint};
use crate::ui::view::operation;

/// An operation.
pub const KIND: WindowKind = WindowKind { actions: &[], open: never };

/// An operation with its steps.
#[derive(Debug)]
pub struct OperationWindow {
    uid: Uid,
    /// The first line shown.
    at: u16,
}

impl OperationWindow {
    /// Returns the window of an operation, and asks for its steps.
    #[must_use]
    pub fn new(uid: Uid, model: &mut Model, cmds: &mut Vec<Cmd>) -> Self {
        model.details.entry(uid).or_default();
        cmds.push(Cmd::Fetch(Fetch::Operation(uid)));
        Self { uid, at: 0 }
    }

    fn lines(&self, model: &Model, theme: &Theme) -> Vec<StyledLine> {
        let detail: Option<&OperationDetail> =
            model.details.get(&self.uid).and_then(Option::as_ref);
        operation::lines(model, theme, detail, scroll::width(model))
    }
}

impl Window for OperationWindow {
    fn front(&self) -> Front {
        Front::Operation(self.uid)
    }

    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        vec![Scope::Everywhere, Scope::Operation]
    }

    fn action(&mut self, action: &Action, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        let lines = self.lines(model, &Theme::plain()).len();
        scroll::action(&mut self.at, lines, action, model)
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        let title = format!("Operation {}", self.uid);
        scroll::draw(model, &title, &self.lines(model, canvas.theme), self.at, canvas);
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        hints::of_one(model, &self.scopes(model))
    }
}
