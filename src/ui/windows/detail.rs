//! Everything about the selected row, in a window of its own.

use super::scroll;
use super::window::{Response, Window, WindowKind, never};
use crate::ui::input::action::{Action, Scope};
use crate::ui::model::{Front, Model};
use crate::ui::msg::Cmd;
use crate::ui::style::canvas::Canvas;
use crate::ui::style::theme::Theme;
use crate::ui::view::detail;
use crate::ui::view::hints::{self, KeyHint};

/// The selected row.
pub const KIND: WindowKind = WindowKind { actions: &[], open: never };

/// Everything about the selected row.
#[derive(Debug, Default)]
pub struct DetailWindow {
    /// The first line shown.
    at: u16,
}

impl Window for DetailWindow {
    fn front(&self) -> Front {
        Front::Row
    }

    /// What can be done to the row can be done to it in its own window too.
    fn scopes(&self, model: &Model) -> Vec<Scope> {
        vec![Scope::Everywhere, Scope::Operation, Scope::Tab(model.tab)]
    }

    fn action(&mut self, action: &Action, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        // Only their number matters, so any theme does.
        let lines = detail::lines(model, &Theme::plain(), scroll::width(model)).len();
        scroll::action(&mut self.at, lines, action, model)
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        let lines = detail::lines(model, canvas.theme, scroll::width(model));
        scroll::draw(model, &detail::title(model), &lines, self.at, canvas);
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        hints::of_one(model, &self.scopes(model))
    }
}
