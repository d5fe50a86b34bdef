//! The form of a kind of operation.

pub mod field;
pub mod open;
pub mod state;
pub mod update;
pub mod view;

use crossterm::event::{KeyCode, KeyEvent};
use jiff::Timestamp;

use self::field::Widget;
use self::state::Form;
use self::update::ItemChange;
use self::view::{PREVIEW_BACK, PREVIEW_ON};
use super::search::{self, CLOSE, TAKE};
use super::window::{Response, Window, WindowKind, never};
use crate::domain::{BackendError, Control};
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::model::Model;
use crate::ui::msg::{Cmd, Msg, Reply};
use crate::ui::style::canvas::Canvas;
use crate::ui::view::hints::{self, KeyHint, hint};

const SCOPE: Scope = Scope::Alone("In a form");

const NEXT: Action = Action::Window("form_next");
const PREVIOUS: Action = Action::Window("form_previous");
const SUBMIT: Action = Action::Window("form_submit");
const ADVANCED: Action = Action::Window("form_advanced");
const REVEAL: Action = Action::Window("form_reveal");
const ADD: Action = Action::Window("form_add");
const REMOVE: Action = Action::Window("form_remove");
const UP: Action = Action::Window("form_up");
const DOWN: Action = Action::Window("form_down");

/// What the key is called that shows the fields rarely needed.
const MORE_FIELDS: &str = "more fields";

const ACTIONS: &[ActionRow] = &[
    (NEXT, "form_next", "next", "Go to the next field.", SCOPE, 2),
    (PREVIOUS, "form_previous", "previous", "Go to the field before.", SCOPE, 0),
    (SUBMIT, "form_submit", "submit", "Queue it.", SCOPE, 1),
    (ADVANCED, "form_advanced", MORE_FIELDS, "Show or hide the fields rarely needed.", SCOPE, 7),
    (REVEAL, "form_reveal", "look", "Show or mask what is typed into a secret field.", SCOPE, 8),
    (ADD, "form_add", "add", "Add an item to the list.", SCOPE, 3),
    (REMOVE, "form_remove", "remove", "Take the item out of its list.", SCOPE, 4),
    (UP, "form_up", "up", "Move the item up in its list.", SCOPE, 5),
    (DOWN, "form_down", "down", "Move the item down in its list.", SCOPE, 6),
    (PREVIEW_BACK, "form_page_up", "page up", "Go back in what would happen.", SCOPE, 0),
    (PREVIEW_ON, "form_page_down", "page down", "Read on in what would happen.", SCOPE, 0),
];

/// The form.
pub const KIND: WindowKind = WindowKind { actions: ACTIONS, open: never };

impl Window for Form {
    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        vec![if self.is_picking() { search::SCOPE } else { SCOPE }]
    }

    /// Keys are the field's own before they are anything else. While something is chosen for a
    /// field, they are those of every search.
    fn key(&mut self, key: KeyEvent, model: &mut Model, cmds: &mut Vec<Cmd>) -> Response {
        if self.is_picking() && !self.sending {
            return Response::Ignored;
        }
        let was_leaving = std::mem::take(&mut self.leaving);
        if update::key(self, key, model, cmds) {
            return Response::Taken;
        }
        if key.code != KeyCode::Esc {
            return Response::Ignored;
        }
        if self.sending {
            return update::done(self);
        }
        self.leaving = !was_leaving && self.is_touched();
        if self.leaving { Response::Taken } else { Response::Close }
    }

    fn unbound(&mut self, key: KeyEvent, model: &mut Model, cmds: &mut Vec<Cmd>) -> Response {
        update::search_key(self, key, model, cmds);
        Response::Taken
    }

    fn action(&mut self, action: &Action, model: &mut Model, cmds: &mut Vec<Cmd>) -> Response {
        if self.is_picking() {
            update::pick(self, action, model, cmds);
            return Response::Taken;
        }
        match *action {
            NEXT => self.step(true),
            PREVIOUS => self.step(false),
            SUBMIT => return update::submit(self, model, cmds),
            ADVANCED => update::advanced(self),
            REVEAL => update::reveal(self),
            ADD => update::items(self, ItemChange::Add, model, cmds),
            REMOVE => update::items(self, ItemChange::Remove, model, cmds),
            UP => update::items(self, ItemChange::Up, model, cmds),
            DOWN => update::items(self, ItemChange::Down, model, cmds),
            PREVIEW_BACK | PREVIEW_ON => {
                self.preview_at = view::page(model, self, *action == PREVIEW_ON);
            }
            _ => {}
        }
        Response::Taken
    }

    fn paste(&mut self, text: &str, model: &mut Model, cmds: &mut Vec<Cmd>) {
        self.leaving = false;
        update::paste(self, text, model, cmds);
    }

    fn wheel(&mut self, _up: bool) -> Response {
        Response::Taken
    }

    fn message(&mut self, msg: &Msg, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        match msg {
            Msg::Reply(Reply::Candidates(form, path, Ok(page))) if *form == self.number => {
                let is_touched = self.is_touched();
                update::candidates(self, path, &page.rows, model);
                // What is chosen for the operator is nothing that he would lose.
                if !is_touched {
                    self.untouch();
                }
            }
            Msg::Reply(Reply::Preview(form, revision, Ok(preview))) if *form == self.number => {
                update::previewed(self, *revision, preview);
            }
            Msg::Paths(typed, paths) => update::paths(self, typed, paths),
            Msg::Submitted(_, answer) if self.sending => {
                return self.answered(answer.as_ref().map(drop));
            }
            Msg::Controlled(Control::Relaunch { .. }, answer) if self.sending => {
                return self.answered(answer.as_ref().map(drop));
            }
            _ => return Response::Ignored,
        }
        Response::Taken
    }

    fn confirmed(&mut self, requests: usize) -> Response {
        update::sent(self, requests)
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.preview_due
    }

    fn wake(&mut self, model: &mut Model, cmds: &mut Vec<Cmd>) {
        update::preview(self, model, cmds);
    }

    fn replaces(&self) -> bool {
        self.over_question
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        view::draw(model, self, canvas);
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        if self.is_picking() {
            let choose = [search::UP, search::DOWN];
            let mut keys = hints::of(model, &[(&[TAKE], "take"), (&choose, "choose")]);
            keys.push(hint("a-z", "search"));
            keys.extend(hints::of(model, &[(&[CLOSE], "close")]));
            return keys;
        }
        let is_secret = self
            .entries
            .get(self.at)
            .is_some_and(|entry| matches!(entry.widget, Widget::Secret { .. }));
        let list = self.list_here();
        let item = list.and_then(|(list, number)| Some((list, number?)));
        let mut keys = hints::bound(model, &[SCOPE], |entry| match entry.action {
            ADVANCED => self.has_advanced(),
            REVEAL => is_secret,
            ADD => list.is_some(),
            REMOVE => item.is_some(),
            UP => item.is_some_and(|(_, number)| number > 0),
            DOWN => {
                item.is_some_and(|(list, number)| number + 1 < self.items(&self.entries[list].path))
            }
            _ => true,
        });
        if self.advanced
            && let Some(((_, title), _)) = keys.iter_mut().find(|(key, _)| key.1 == MORE_FIELDS)
        {
            *title = "fewer fields".to_owned();
        }
        keys.push((hint("esc", "cancel"), hints::ALWAYS));
        hints::narrowed(keys, model.size.0)
    }
}

impl Form {
    /// Takes the answer to what it sent.
    fn answered(&mut self, answer: Result<(), &BackendError>) -> Response {
        self.sending = false;
        match answer {
            Ok(()) => return update::done(self),
            Err(BackendError::Refused(refusal)) => self.refuse(refusal, true),
            Err(other) => self.refusal = Some(other.to_string()),
        }
        Response::Taken
    }
}
