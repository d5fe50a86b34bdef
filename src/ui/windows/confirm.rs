//! The question before something dangerous, as risky as its catalogue entry says.

use crossterm::event::KeyEvent;
use tui_input::Input;

use super::search::{self, CLOSE, TAKE};
use super::window::{Intent, Response, Window, WindowKind, never};
use crate::domain::{OperationSpec, Risk, Submit};
use crate::ui::changes::requests::Hazard;
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::input::edit;
use crate::ui::model::Model;
use crate::ui::model::layout::window;
use crate::ui::msg::{Cmd, Fetch, Msg, Reply};
use crate::ui::style::canvas::{Canvas, StyledLine};
use crate::ui::style::text;
use crate::ui::style::theme::Role;
use crate::ui::view::hints::{self, KeyHint};

const SCOPE: Scope = Scope::Alone("In a question");

const YES: Action = Action::Window("answer_yes");
const NO: Action = Action::Window("answer_no");
const OTHER: Action = Action::Window("answer_other");
const SELECTED: Action = Action::Window("answer_selected");
const OPTIONS: Action = Action::Window("answer_options");

const ACTIONS: &[ActionRow] = &[
    (YES, "answer_yes", "yes", "Yes.", SCOPE, 0),
    (NO, "answer_no", "no", "No.", SCOPE, 0),
    (OTHER, "answer_other", "other", "Select the other answer.", SCOPE, 0),
    (SELECTED, "answer_selected", "take", "Give the selected answer.", SCOPE, 0),
    (OPTIONS, "answer_options", "options", "Change how it is done.", SCOPE, 0),
];

/// A question before something dangerous.
pub const KIND: WindowKind = WindowKind { actions: ACTIONS, open: never };

/// What must be answered before it goes on.
#[derive(Debug, Clone)]
pub enum Challenge {
    /// Yes or no; no is preselected.
    YesNo {
        /// Whether yes is selected.
        yes: bool,
    },
    /// The word must be typed.
    Type {
        /// The word.
        word: String,
        /// What is typed so far.
        input: Input,
        /// Whether it was given although it is something else.
        wrong: bool,
    },
}

/// A question before something dangerous.
#[derive(Debug, Clone)]
pub struct Confirm {
    /// What would be done: `Stop web-3`.
    pub title: String,
    /// What is lost.
    pub warning: String,
    /// What would happen, a sentence each, once the backend has said so.
    pub effects: Vec<String>,
    /// The number that the backend was asked with what would happen; 0 where it was not.
    pub asked: u64,
    /// What it would be done to, when it is more than one.
    pub things: Vec<String>,
    /// What must be answered.
    pub challenge: Challenge,
    /// What happens then.
    pub then: Intent,
    /// The kind whose form can be opened instead, to change how it is done.
    pub form: Option<String>,
}

impl Confirm {
    /// The question a kind of operation asks for when it is done to these things; `None` when it
    /// may go on without one. `unseen`: it is not done to what is selected, so that it is asked
    /// whether this is what is meant.
    #[must_use]
    pub fn needed(
        spec: &OperationSpec,
        hazard: &Hazard,
        things: Vec<String>,
        submits: Vec<Submit>,
        unseen: bool,
    ) -> Option<Self> {
        let many = things.len() > 1;
        let challenge = match hazard.risk {
            Risk::None if !many && !unseen => return None,
            Risk::None | Risk::Disruptive | Risk::OfTask => Challenge::YesNo { yes: false },
            Risk::Destructive => {
                let word = match things.as_slice() {
                    [only] => only.clone(),
                    many => many.len().to_string(),
                };
                Challenge::Type { word, input: Input::default(), wrong: false }
            }
        };
        let title = match things.as_slice() {
            [] => spec.title.to_string(),
            [only] if unseen => format!("{} {only}, which is marked", spec.title),
            [only] => format!("{} {only}", spec.title),
            many => format!("{} these {}", spec.title, many.len()),
        };
        Some(Self {
            title,
            warning: hazard.warning.clone(),
            effects: Vec::new(),
            asked: 0,
            things: if many { things } else { Vec::new() },
            challenge,
            then: Intent::Submit(submits),
            form: None,
        })
    }

    /// Asks the backend what would happen, where it is about one request.
    pub fn ask(&mut self, model: &mut Model, cmds: &mut Vec<Cmd>) {
        let Intent::Submit(submits) = &self.then else { return };
        let [submit] = submits.as_slice() else { return };
        model.forms += 1;
        self.asked = model.forms;
        cmds.push(Cmd::Fetch(Fetch::Preview(self.asked, 0, submit.clone())));
    }

    /// Returns the numbers and names of what it is about, for the form that takes its place.
    fn subjects(&self, model: &Model) -> Vec<(u64, String)> {
        let Intent::Submit(submits) = &self.then else { return Vec::new() };
        let pane = model.pane();
        submits
            .iter()
            .filter_map(|submit| {
                let id = submit.params.values().find_map(serde_json::Value::as_u64)?;
                let mark = pane.marks.get(&id).cloned().or_else(|| Some(pane.find(id)?.mark()))?;
                Some((id, mark.name))
            })
            .collect()
    }

    /// Whether what is typed is what must be typed, or yes is selected.
    fn is_given(&self) -> bool {
        match &self.challenge {
            Challenge::YesNo { yes } => *yes,
            Challenge::Type { word, input, .. } => input.value().trim() == word,
        }
    }
}

impl Window for Confirm {
    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        match self.challenge {
            Challenge::YesNo { .. } => vec![SCOPE],
            Challenge::Type { .. } => vec![search::SCOPE],
        }
    }

    fn unbound(&mut self, key: KeyEvent, _model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        if let Challenge::Type { input, wrong, .. } = &mut self.challenge
            && edit::edit(input, key)
        {
            *wrong = false;
        }
        Response::Taken
    }

    fn action(&mut self, action: &Action, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        let is_given = self.is_given();
        let goes_on = match (&mut self.challenge, action) {
            (Challenge::YesNo { .. }, &YES) => true,
            (Challenge::YesNo { .. }, &NO) => false,
            (Challenge::YesNo { .. }, &SELECTED) => is_given,
            (Challenge::YesNo { yes }, &OTHER) => {
                *yes = !*yes;
                return Response::Taken;
            }
            (Challenge::YesNo { .. }, &OPTIONS) => {
                return match self.form.clone() {
                    Some(kind) => Response::CloseAnd(Intent::Fill(kind, self.subjects(model))),
                    None => Response::Taken,
                };
            }
            (Challenge::Type { .. }, &TAKE) if is_given => true,
            (Challenge::Type { input, wrong, .. }, &TAKE) => {
                *wrong = !input.value().trim().is_empty();
                return Response::Taken;
            }
            (Challenge::Type { .. }, &CLOSE) => false,
            _ => return Response::Taken,
        };
        if goes_on { Response::CloseAnd(self.then.clone()) } else { Response::Close }
    }

    fn paste(&mut self, text: &str, _model: &mut Model, _cmds: &mut Vec<Cmd>) {
        if let Challenge::Type { input, wrong, .. } = &mut self.challenge {
            edit::paste(input, text);
            *wrong = false;
        }
    }

    fn wheel(&mut self, _up: bool) -> Response {
        Response::Taken
    }

    fn message(&mut self, msg: &Msg, _model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        match msg {
            Msg::Reply(Reply::Preview(asked, _, Ok(preview))) if *asked == self.asked => {
                // What is refused does none of what it would do.
                if preview.refusal.is_none() {
                    self.effects.clone_from(&preview.effects);
                }
                Response::Taken
            }
            _ => Response::Ignored,
        }
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        let width = model.size.0.min(64);
        let room = usize::from(width.saturating_sub(4));
        let mut lines: Vec<StyledLine> = text::wrap(&self.warning, room)
            .into_iter()
            .map(|l| StyledLine::new(l, Role::Warning))
            .collect();
        if !self.effects.is_empty() {
            lines.push(StyledLine::empty());
            let told = self.effects.iter().flat_map(|effect| text::wrap(effect, room));
            lines.extend(told.map(|l| StyledLine::new(l, Role::Text)));
        }
        if !self.things.is_empty() {
            let most =
                usize::from(model.size.1.saturating_sub(9)).saturating_sub(lines.len()).max(1);
            lines.push(StyledLine::empty());
            for thing in self.things.iter().take(most) {
                lines.push(StyledLine::new(
                    format!("  {} {thing}", canvas.glyphs().mark),
                    Role::Text,
                ));
            }
            if self.things.len() > most {
                let more = self.things.len() - most;
                lines.push(StyledLine::new(format!("  and {more} more"), Role::Quiet));
            }
        }
        let height = u16::try_from(lines.len() + 4).unwrap_or(u16::MAX);
        let area = window(model.size, width, height);
        let inside = canvas.window(area, &format!("{}?", self.title), Role::Bad);
        let x = inside.x + 1;
        let inner = inside.width.saturating_sub(2);
        let most = usize::from(inside.height.saturating_sub(2)).max(1);
        if lines.len() > most {
            lines.truncate(most - 1);
            lines.push(StyledLine::new(canvas.glyphs().more, Role::Quiet));
        }
        for (line, y) in lines.iter().zip(inside.y..inside.bottom().saturating_sub(2)) {
            canvas.line(x, y, inner, line);
        }
        let y = inside.bottom().saturating_sub(1);
        match &self.challenge {
            Challenge::YesNo { yes } => {
                let (no_role, yes_role) =
                    if *yes { (Role::Text, Role::Tab) } else { (Role::Tab, Role::Text) };
                let key = |action| model.keymap.key(&action).unwrap_or_default();
                let (no, yes) = (key(NO), key(YES));
                let at = canvas.text(x, y, inner, &format!(" {no}  No "), no_role);
                let at = canvas.text(at + 2, y, inner, &format!(" {yes}  Yes "), yes_role);
                if self.form.is_some() {
                    let left = inside.right().saturating_sub(at + 3);
                    let at = canvas.text(at + 3, y, left, &key(OPTIONS), Role::Key);
                    canvas.text(at + 1, y, left.saturating_sub(2), "options", Role::Quiet);
                }
            }
            Challenge::Type { word, input, wrong } => {
                if *wrong {
                    let told = format!("that is not {word}");
                    canvas.text(x, y.saturating_sub(1), inner, &told, Role::Bad);
                }
                let at = canvas.text(
                    x,
                    y,
                    inner.saturating_sub(4),
                    &format!("type {word}: "),
                    Role::Text,
                );
                canvas.input(at, y, inside.right().saturating_sub(at + 1), input, false);
            }
        }
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        match self.challenge {
            Challenge::YesNo { .. } if self.form.is_some() => {
                hints::of(model, &[(&[YES], "yes"), (&[NO], "no"), (&[OPTIONS], "options")])
            }
            Challenge::YesNo { .. } => hints::of(model, &[(&[YES], "yes"), (&[NO], "no")]),
            Challenge::Type { .. } => hints::of(model, &[(&[TAKE], "go on"), (&[CLOSE], "no")]),
        }
    }
}
