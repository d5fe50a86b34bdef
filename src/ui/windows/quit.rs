//! The question what is to become of work in flight when the console is left.

use ratatui::layout::Rect;

use super::window::{Response, Window, WindowKind, never};
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::model::Model;
use crate::ui::model::layout::window;
use crate::ui::msg::{Cmd, Exit};
use crate::ui::style::canvas::Canvas;
use crate::ui::style::theme::Role;
use crate::ui::view::hints::{self, KeyHint};

const SCOPE: Scope = Scope::Window("Leaving with work in flight");

const BACKGROUND: Action = Action::Window("leave_background");
const WAIT: Action = Action::Window("leave_wait");
const STOP: Action = Action::Window("leave_stop");

const ACTIONS: &[ActionRow] = &[
    (
        BACKGROUND,
        "leave_background",
        "background",
        "Leave; the work goes on in the background.",
        SCOPE,
        0,
    ),
    (WAIT, "leave_wait", "wait", "Stay here.", SCOPE, 0),
    (STOP, "leave_stop", "stop", "Leave once the running steps have ended.", SCOPE, 0),
];

/// The answers, in the order they are shown.
const CHOICES: [(Action, &str); 3] = [
    (BACKGROUND, "go on in the background"),
    (WAIT, "wait: stay here"),
    (STOP, "stop after the running steps"),
];

/// The question.
pub const KIND: WindowKind = WindowKind { actions: ACTIONS, open: never };

/// What to do with work in flight when leaving.
#[derive(Debug, Default)]
pub struct Quit {
    /// The selected answer.
    at: usize,
}

impl Window for Quit {
    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        vec![Scope::Everywhere, SCOPE]
    }

    fn action(&mut self, action: &Action, _model: &mut Model, cmds: &mut Vec<Cmd>) -> Response {
        let answer = match action {
            Action::Open => &CHOICES[self.at].0,
            other => other,
        };
        match *answer {
            Action::Up => self.at = self.at.saturating_sub(1),
            Action::Down | Action::Focus => self.at = (self.at + 1).min(CHOICES.len() - 1),
            BACKGROUND => {
                cmds.push(Cmd::Exit(Exit::Background));
                return Response::Close;
            }
            STOP => {
                cmds.push(Cmd::Exit(Exit::Quit));
                return Response::Close;
            }
            WAIT | Action::Back => return Response::Close,
            _ => {}
        }
        Response::Taken
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        let inside = canvas.window(window(model.size, 48, 7), "Leave", Role::Focus);
        let flight = &model.flight;
        let told = format!("{} running, {} waiting. What of them?", flight.running, flight.waiting);
        let inner = inside.width.saturating_sub(2);
        canvas.text(inside.x + 1, inside.y, inner, &told, Role::Text);
        for ((number, (answer, what)), y) in
            CHOICES.iter().enumerate().zip(inside.y + 2..inside.bottom())
        {
            let key = model.keymap.key(answer).unwrap_or_default();
            let next = canvas.text(inside.x + 2, y, inner, &key, Role::Key);
            canvas.text(next + 2, y, inner.saturating_sub(5), what, Role::Text);
            if number == self.at {
                canvas.restyle(
                    Rect { x: inside.x, y, width: inside.width, height: 1 },
                    Role::Selected,
                );
            }
        }
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        hints::of(model, &[(&[Action::Open], "choose"), (&[Action::Back], "stay")])
    }
}
