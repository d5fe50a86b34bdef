//! The help: every key, and a search in them.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tui_input::Input;

use super::scroll;
use super::window::{Response, Window, WindowKind};
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::input::{completion, edit};
use crate::ui::model::Model;
use crate::ui::msg::Cmd;
use crate::ui::style::canvas::{Canvas, StyledLine};
use crate::ui::style::text;
use crate::ui::style::theme::Role;
use crate::ui::view::hints::{KeyHint, hint};

/// Opens it.
pub const OPEN: Action = Action::HELP;

const ACTIONS: &[ActionRow] = &[(OPEN, "help", "help", "Show every key.", Scope::Everywhere, 82)];

/// The help.
pub const KIND: WindowKind =
    WindowKind { actions: ACTIONS, open: |_, _, _| Some(Box::new(Help::default())) };

/// Every key.
#[derive(Debug, Default)]
pub struct Help {
    /// The first line shown.
    at: u16,
    /// What is looked for.
    search: Input,
}

impl Window for Help {
    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        vec![Scope::Everywhere]
    }

    fn key(&mut self, key: KeyEvent, _model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        let is_text = matches!(key.code, KeyCode::Char(_) | KeyCode::Backspace)
            && !key.modifiers.contains(KeyModifiers::CONTROL);
        if !is_text {
            return Response::Ignored;
        }
        self.at = 0;
        if edit::edit(&mut self.search, key) { Response::Taken } else { Response::Ignored }
    }

    fn action(&mut self, action: &Action, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        let lines = lines(model, self.search.value(), scroll::width(model)).len();
        scroll::action(&mut self.at, lines, action, model)
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        let search = self.search.value();
        let title = match search {
            "" => "Help · type to search".to_owned(),
            search => format!("Help · {search}"),
        };
        let lines = lines(model, search, scroll::width(model));
        scroll::draw(model, &title, &lines, self.at, canvas);
    }

    fn hints(&self, _model: &Model) -> Vec<KeyHint> {
        vec![hint("↑↓", "scroll"), hint("a-z", "search"), hint("esc", "close")]
    }
}

/// Every key, as far as it matches what is looked for.
fn lines(model: &Model, search: &str, width: u16) -> Vec<StyledLine> {
    let search = search.to_lowercase();
    let palette = model.keymap.key(&Action::PALETTE).unwrap_or_default();
    let mut lines = Vec::new();
    let mut groups: Vec<(Scope, String)> =
        vec![(Scope::Tab(model.tab), format!("On {}", model.tab.title()))];
    for tab in model.panes.iter().map(|pane| pane.tab) {
        if tab != model.tab {
            groups.push((Scope::Tab(tab), format!("On {}", tab.title())));
        }
    }
    groups.insert(1, (Scope::Everywhere, "Everywhere".to_owned()));
    groups.insert(2, (Scope::Operation, "On an operation".to_owned()));
    for scope in model.keymap.entries().iter().flat_map(|entry| &entry.scopes) {
        if let Scope::Window(title) | Scope::Alone(title) = scope
            && !groups.iter().any(|(other, _)| other == scope)
        {
            groups.push((*scope, (*title).to_owned()));
        }
    }
    for (scope, title) in groups {
        let matching: Vec<_> = model
            .keymap
            .entries()
            .iter()
            .filter(|entry| entry.scopes.contains(&scope))
            .map(|entry| (model.keymap.keys(&entry.action).join(" "), entry))
            .filter(|(keys, entry)| {
                search.is_empty()
                    || entry.name.contains(&search)
                    || entry.doc.to_lowercase().contains(&search)
                    || keys.to_lowercase() == search
            })
            .collect();
        if matching.is_empty() {
            continue;
        }
        if !lines.is_empty() {
            lines.push(StyledLine::empty());
        }
        lines.push(StyledLine::new(title, Role::Title));
        for (keys, entry) in matching {
            // What has no key is asked for by its name in the palette.
            let (word, role) = match keys.as_str() {
                "" => (format!("{palette} {}", entry.name), Role::Quiet),
                _ => (keys, Role::Key),
            };
            beside(&mut lines, &word, role, &entry.doc, width);
        }
    }
    columns(model, &search, width, &mut lines);
    if lines.is_empty() {
        lines.push(StyledLine::new(format!("nothing is called '{search}'"), Role::Quiet));
    }
    lines
}

/// A word or two and what is said of it, side by side, each in as many lines as it needs.
fn beside(lines: &mut Vec<StyledLine>, word: &str, role: Role, told: &str, width: u16) {
    // The smallest screen leaves more room to what is said.
    let left = if width < 60 { 9 } else { 16 };
    let room = usize::from(width).saturating_sub(left + 3).max(10);
    let (words, told) = (text::wrap(word, left), text::wrap(told, room));
    for number in 0..words.len().max(told.len()) {
        let part = |lines: &[String]| lines.get(number).cloned().unwrap_or_default();
        let word = format!(" {:<left$}  ", part(&words));
        lines.push(StyledLine::new(word, role).with(part(&told), Role::Text));
    }
}

/// The names of the columns of each list, as far as they match.
fn columns(model: &Model, search: &str, width: u16, lines: &mut Vec<StyledLine>) {
    const TITLE: &str = "Columns a filter takes";
    let is_wanted = |(_, names): &(String, String)| {
        TITLE.to_lowercase().contains(search) || names.contains(search)
    };
    let all = model.panes.iter().map(|pane| {
        let names = completion::names(pane.tab.subject(), &Input::default());
        (pane.tab.title(), names.join(" "))
    });
    let mut wanted = all.filter(is_wanted).peekable();
    if wanted.peek().is_some() {
        if !lines.is_empty() {
            lines.push(StyledLine::empty());
        }
        lines.push(StyledLine::new(TITLE, Role::Title));
    }
    for (tab, names) in wanted {
        beside(lines, &tab, Role::Quiet, &names, width);
    }
}
