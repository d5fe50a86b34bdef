//! The question before something dangerous, as risky as its catalogue entry says.

use crossterm::event::{KeyCode, KeyEvent};
use tui_input::Input;

use super::search::{self, CLOSE, TAKE};
use super::window::{Intent, Response, Window, WindowKind, never};
use crate::domain::{OperationSpec, Preview, Risk, Submit};
use crate::ui::changes::requests::{self, Hazard};
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::input::edit;
use crate::ui::model::Model;
use crate::ui::model::layout::window;
use crate::ui::msg::{Cmd, Fetch, Msg, Reply};
use crate::ui::style::canvas::{Canvas, StyledLine};
use crate::ui::style::text;
use crate::ui::style::theme::Role;
use crate::ui::view::hints::{self, KeyHint, hint};

const SCOPE: Scope = Scope::Alone("In a question");

const YES: Action = Action::Window("answer_yes");
const NO: Action = Action::Window("answer_no");
const OTHER: Action = Action::Window("answer_other");
const SELECTED: Action = Action::Window("answer_selected");
const OPTIONS: Action = Action::Window("answer_options");
const READ_BACK: Action = Action::Window("answer_page_up");
const READ_ON: Action = Action::Window("answer_page_down");

/// The most things that are named.
const MOST_THINGS: usize = 200;

const ACTIONS: &[ActionRow] = &[
    (YES, "answer_yes", "yes", "Yes.", SCOPE, 0),
    (NO, "answer_no", "no", "No.", SCOPE, 0),
    (OTHER, "answer_other", "other", "Select the other answer.", SCOPE, 0),
    (SELECTED, "answer_selected", "take", "Give the selected answer.", SCOPE, 0),
    (OPTIONS, "answer_options", "options", "Change how it is done.", SCOPE, 0),
    (READ_BACK, "answer_page_up", "page up", "Go up a page.", SCOPE, 0),
    (READ_ON, "answer_page_down", "page down", "Go down a page.", SCOPE, 0),
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
        /// What the word is, where it is no name: `, the number of VMs`.
        what: String,
        /// What is typed so far.
        input: Input,
        /// Whether it was given although it is something else.
        wrong: bool,
    },
    /// Nothing: it is sure to be refused.
    Refused(String),
}

impl Default for Challenge {
    fn default() -> Self {
        Self::YesNo { yes: false }
    }
}

impl Challenge {
    /// The challenge to type what this is done to: its name, or its kind and number where not every
    /// keyboard has that name; how many there are; the kind where it is done to nothing.
    fn typed(spec: &OperationSpec, things: &[String], submits: &[Submit]) -> Self {
        let is_typable = |name: &&String| {
            name.bytes().all(|byte| matches!(byte, b' '..=b'~')) && name.trim() == *name
        };
        match (things, submits) {
            ([], _) => Self::word(spec.kind.to_string(), String::new()),
            ([only], submits) => {
                let number = || Some(spec.done_to(&submits.first()?.params)?.to_string());
                let name = Some(only).filter(is_typable).cloned();
                let word = name.or_else(number).unwrap_or_else(|| spec.kind.to_string());
                Self::word(word, String::new())
            }
            (many, _) => {
                let of = spec.resource.map_or("operations", |of| &*of.spec().many);
                Self::number(many.len(), of)
            }
        }
    }

    /// The challenge to type how many `things` there are.
    #[must_use]
    pub fn number(number: usize, things: &str) -> Self {
        Self::word(number.to_string(), format!(", the number of {things}"))
    }

    fn word(word: String, what: String) -> Self {
        Self::Type { word, what, input: Input::default(), wrong: false }
    }
}

/// A question before something dangerous.
#[derive(Debug, Clone, Default)]
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
    /// The first line shown, where there is no room for all.
    pub at: usize,
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
            Risk::None | Risk::Disruptive | Risk::OfTask => Challenge::default(),
            Risk::Destructive => Challenge::typed(spec, &things, &submits),
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
            things: if many { things } else { Vec::new() },
            challenge,
            then: Intent::Submit(submits),
            ..Self::default()
        })
    }

    /// Asks the backend what would happen.
    pub fn ask(&mut self, model: &mut Model, cmds: &mut Vec<Cmd>) {
        let Intent::Submit(submits) = &self.then else { return };
        let Some(submit) = requests::as_one(model, submits.clone()) else { return };
        model.forms += 1;
        self.asked = model.forms;
        cmds.push(Cmd::Fetch(Fetch::Preview(self.asked, 0, submit)));
    }

    /// Takes what the backend says would happen.
    fn told(&mut self, preview: &Preview) {
        match &preview.refusal {
            // What is refused does none of what it would do, and need not be answered.
            Some(refusal) => {
                self.effects = Vec::new();
                self.challenge = Challenge::Refused(refusal.message.clone());
            }
            None => self.effects.clone_from(&preview.effects),
        }
    }

    /// Returns the numbers and names of what it is about, for the form that opens over it.
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
            Challenge::Refused(_) => false,
        }
    }
}

impl Window for Confirm {
    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        match self.challenge {
            Challenge::YesNo { .. } | Challenge::Refused(_) => vec![SCOPE],
            Challenge::Type { .. } => vec![search::SCOPE],
        }
    }

    fn unbound(&mut self, key: KeyEvent, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        // Letters are what is typed here.
        let typed = matches!(self.challenge, Challenge::Type { .. });
        if let Some(kind) = self.form.clone().filter(|_| typed && key.code == KeyCode::Tab) {
            return Response::StayAnd(Intent::Fill(kind, self.subjects(model)));
        }
        if let Challenge::Type { input, wrong, .. } = &mut self.challenge
            && edit::edit(input, key)
        {
            *wrong = false;
        }
        Response::Taken
    }

    fn action(&mut self, action: &Action, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        let page = room(model).max(1);
        match *action {
            READ_BACK | search::PAGE_UP => {
                self.at = self.at.saturating_sub(page);
                return Response::Taken;
            }
            READ_ON | search::PAGE_DOWN => {
                let last = self.lines(model, "").len().saturating_sub(page);
                self.at = (self.at + page).min(last);
                return Response::Taken;
            }
            _ => {}
        }
        let is_given = self.is_given();
        let goes_on = match (&mut self.challenge, action) {
            (Challenge::YesNo { .. }, &YES) => true,
            (Challenge::YesNo { .. }, &NO) => false,
            (Challenge::YesNo { .. }, &SELECTED) => is_given,
            (Challenge::YesNo { yes }, &OTHER) => {
                *yes = !*yes;
                return Response::Taken;
            }
            (Challenge::YesNo { .. } | Challenge::Refused(_), &OPTIONS) => {
                return match self.form.clone() {
                    Some(kind) => Response::StayAnd(Intent::Fill(kind, self.subjects(model))),
                    None => Response::Taken,
                };
            }
            (Challenge::Type { .. }, &TAKE) if is_given => true,
            (Challenge::Type { input, wrong, .. }, &TAKE) => {
                *wrong = !input.value().trim().is_empty();
                return Response::Taken;
            }
            (Challenge::Type { .. }, &CLOSE) => false,
            (Challenge::Refused(_), &(YES | NO | SELECTED)) => false,
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
                self.told(preview);
                Response::Taken
            }
            _ => Response::Ignored,
        }
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        let lines = self.lines(model, canvas.glyphs().mark);
        let height = u16::try_from(lines.len() + FRAME).unwrap_or(u16::MAX);
        let area = window(model.size, width(model), height);
        let mark = if matches!(self.challenge, Challenge::Refused(_)) { "" } else { "?" };
        let inside = canvas.window(area, &format!("{}{mark}", self.title), Role::Bad);
        let x = inside.x + 1;
        let inner = inside.width.saturating_sub(2);
        let shown = room(model).min(lines.len());
        let from = self.at.min(lines.len() - shown);
        for (line, y) in lines.iter().skip(from).take(shown).zip(inside.y..) {
            canvas.line(x, y, inner, line);
        }
        canvas.shown(area, from, shown, lines.len());
        let y = inside.bottom().saturating_sub(1);
        let mut end = match &self.challenge {
            Challenge::YesNo { yes } => {
                let (no_role, yes_role) =
                    if *yes { (Role::Text, Role::Tab) } else { (Role::Tab, Role::Text) };
                let key = |action| model.keymap.key(&action).unwrap_or_default();
                let (no, yes) = (key(NO), key(YES));
                let at = canvas.text(x, y, inner, &format!(" {no}  No "), no_role);
                canvas.text(at + 2, y, inner, &format!(" {yes}  Yes "), yes_role)
            }
            Challenge::Type { word, what, input, wrong } => {
                if *wrong {
                    let told = format!("that is not {word}");
                    canvas.text(x, y.saturating_sub(1), inner, &told, Role::Bad);
                }
                let asked = format!("type {word}{what}: ");
                let at = canvas.text(x, y, inner.saturating_sub(4), &asked, Role::Text);
                let options = self.options(model).map_or(0, |key| key.len() + 12);
                let room = inside.right().saturating_sub(at + 1);
                let room = room.saturating_sub(u16::try_from(options).unwrap_or(0)).max(4);
                canvas.input(at, y, room, input, false);
                at + room
            }
            Challenge::Refused(_) => {
                let no = model.keymap.key(&NO).unwrap_or_default();
                canvas.text(x, y, inner, &format!(" {no}  Close "), Role::Tab)
            }
        };
        if let Some(key) = self.options(model) {
            let left = inside.right().saturating_sub(end + 3);
            end = canvas.text(end + 3, y, left, &key, Role::Key);
            canvas.text(end + 1, y, left.saturating_sub(2), "options", Role::Quiet);
        }
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        let mut keys = match self.challenge {
            Challenge::YesNo { .. } => hints::of(model, &[(&[YES], "yes"), (&[NO], "no")]),
            Challenge::Type { .. } => hints::of(model, &[(&[TAKE], "go on"), (&[CLOSE], "no")]),
            Challenge::Refused(_) => hints::of(model, &[(&[NO], "close")]),
        };
        keys.extend(self.options(model).map(|key| hint(&key, "options")));
        if self.lines(model, "").len() > room(model) {
            let pages: [Action; 2] = match self.challenge {
                Challenge::Type { .. } => [search::PAGE_UP, search::PAGE_DOWN],
                _ => [READ_BACK, READ_ON],
            };
            keys.extend(hints::of(model, &[(&pages, "read on")]));
        }
        keys
    }
}

/// How many lines of the window are not for what is told: its frame and the answer.
const FRAME: usize = 4;

/// How wide the window is.
fn width(model: &Model) -> u16 {
    model.size.0.min(64)
}

/// How many lines there is room for.
fn room(model: &Model) -> usize {
    usize::from(model.size.1.saturating_sub(2)).saturating_sub(FRAME).max(1)
}

impl Confirm {
    /// The key that leads to the form, where there is one.
    fn options(&self, model: &Model) -> Option<String> {
        self.form.as_ref()?;
        match self.challenge {
            Challenge::Type { .. } => Some("tab".to_owned()),
            Challenge::YesNo { .. } | Challenge::Refused(_) => model.keymap.key(&OPTIONS),
        }
    }

    /// What is told before it is answered.
    fn lines(&self, model: &Model, mark: &str) -> Vec<StyledLine> {
        let room = usize::from(width(model).saturating_sub(4));
        let wrapped = |text: &str, role| {
            let lines = text::wrap(text, room).into_iter();
            lines.map(|line| StyledLine::new(line, role)).collect::<Vec<_>>()
        };
        let mut things: Vec<StyledLine> = self
            .things
            .iter()
            .take(MOST_THINGS)
            .map(|thing| StyledLine::new(format!("  {mark} {thing}"), Role::Text))
            .collect();
        if self.things.len() > MOST_THINGS {
            let more = self.things.len() - MOST_THINGS;
            things.push(StyledLine::new(format!("  and {more} more"), Role::Quiet));
        }
        let first = match &self.challenge {
            Challenge::Refused(why) => wrapped(why, Role::Bad),
            _ if self.warning.is_empty() => Vec::new(),
            _ => wrapped(&self.warning, Role::Warning),
        };
        let effects = self.effects.iter().flat_map(|effect| wrapped(effect, Role::Text)).collect();
        let parts: [Vec<StyledLine>; 3] = [first, things, effects];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(&StyledLine::empty())
    }
}
