//! The palette: fuzzy search over actions, kinds of operations, resources and operations.

use crossterm::event::KeyEvent;
use ratatui::layout::Rect;
use tui_input::Input;

use super::search::{self, CLEAR, CLOSE, TAKE};
use super::window::{Intent, Response, Window, WindowKind};
use crate::domain::{Filter, List, Page, Rows, Uid};
use crate::ui::input::action::{Action, ActionEntry, ActionRow, Scope};
use crate::ui::input::{edit, fuzzy};
use crate::ui::model::Model;
use crate::ui::model::layout::window;
use crate::ui::msg::{Cmd, Fetch, Msg, Reply};
use crate::ui::style::canvas::Canvas;
use crate::ui::style::text;
use crate::ui::style::theme::Role;
use crate::ui::tab::Tab;
use crate::ui::view::hints::{self, KeyHint};

/// Opens it.
pub const OPEN: Action = Action::PALETTE;

const ACTIONS: &[ActionRow] = &[(
    OPEN,
    "palette",
    "commands",
    "Find any action, thing or operation by its name or what it does.",
    Scope::Everywhere,
    81,
)];

/// How many rows of each tab are looked at.
const FOUND: u32 = 20;

/// The palette.
pub const KIND: WindowKind = WindowKind {
    actions: ACTIONS,
    open: |_, model, _| Some(Box::new(Palette::new(actions(model)))),
};

/// Something that can be found.
#[derive(Debug, Clone)]
struct Item {
    /// What is searched and shown.
    text: String,
    /// What it is, beside it.
    note: String,
    /// Its key, where it has one.
    key: String,
    /// What choosing it does.
    intent: Intent,
}

/// Fuzzy search over everything.
#[derive(Debug, Default)]
pub struct Palette {
    input: Input,
    /// The actions.
    actions: Vec<Item>,
    /// The rows the backend found for what is typed, per tab.
    found: Vec<(Tab, Vec<Item>)>,
    /// What matches, best first.
    matches: Vec<Item>,
    /// The selected match.
    at: usize,
}

impl Palette {
    fn new(actions: Vec<Item>) -> Self {
        let mut palette = Self { actions, ..Self::default() };
        palette.search();
        palette
    }

    /// Works out what matches what is typed.
    fn search(&mut self) {
        let typed = self.input.value().trim();
        let found = self.found.iter().flat_map(|(_, items)| items);
        let all = self.actions.iter().chain(found);
        let mut matches = if typed.is_empty() {
            all.take(fuzzy::MOST_MATCHES).cloned().collect()
        } else {
            fuzzy::rank_described(typed, all, |item| &item.text, |item| &item.note)
        };
        // An operation can be named outright, whether or not it was found.
        if let Some(uid) = typed.strip_prefix('#').and_then(|digits| digits.parse().ok()) {
            let item = Item {
                text: format!("#{uid}"),
                note: "look at this operation".into(),
                key: String::new(),
                intent: Intent::Show(Uid(uid)),
            };
            matches.insert(0, item);
        }
        self.matches = matches;
        self.at = self.at.min(self.matches.len().saturating_sub(1));
    }

    /// What is typed has changed: asks the backend for rows that match it as well.
    fn changed(&mut self, model: &Model, cmds: &mut Vec<Cmd>) {
        self.search();
        let typed = self.input.value().trim();
        if typed.is_empty() {
            self.found.clear();
            return;
        }
        for tab in model.panes.iter().map(|pane| pane.tab) {
            let list = List {
                of: tab.subject(),
                filter: Filter::words(typed.split_whitespace()),
                sort: None,
                offset: 0,
                limit: FOUND,
                around: None,
            };
            cmds.push(Cmd::Fetch(Fetch::Find(tab, typed.to_owned(), list)));
        }
    }

    /// Takes the rows of a tab that the backend found.
    fn take(&mut self, tab: Tab, page: &Page, model: &Model) {
        self.found.retain(|(other, _)| *other != tab);
        self.found.push((tab, items(tab, &page.rows)));
        self.found.sort_by_key(|(tab, _)| model.place(*tab));
        self.search();
    }
}

/// Returns the actions there are. What can be done to what is in front comes first, moving about
/// last.
fn actions(model: &Model) -> Vec<Item> {
    let mut entries: Vec<_> = model.keymap.entries().iter().collect();
    entries.sort_by_key(|entry| {
        (!entry.scopes.contains(&Scope::Tab(model.tab)), entry.footer == 0, entry.footer)
    });
    let wanted = entries.into_iter().filter(|entry| {
        let is_here = [Action::Up, Action::Down, Action::Open, Action::Back, OPEN];
        let is_allowed = !model.read_only || !entry.action.asks();
        let is_window = entry.scopes.iter().all(|scope| scope.is_window());
        is_allowed && !is_window && !is_here.contains(&entry.action)
    });
    let item = |entry: &ActionEntry| {
        let (text, intent) = match &entry.action {
            Action::Do(kind) => {
                let spec = model.catalogue.get(kind);
                let text = spec.map_or_else(|| kind.clone(), |it| format!("{} · {kind}", it.title));
                (text, Intent::Create(kind.clone()))
            }
            action => (entry.name.replace('_', " "), Intent::Act(action.clone())),
        };
        let key = model.keymap.key(&entry.action).unwrap_or_default();
        Item { text, note: entry.doc.clone(), key, intent }
    };
    wanted.map(item).collect()
}

/// Returns what can be found of rows of a tab.
fn items(tab: Tab, rows: &Rows) -> Vec<Item> {
    let item =
        |text, note: &str, intent| Item { text, note: note.to_owned(), key: String::new(), intent };
    match rows {
        Rows::Resources(rows) => rows
            .iter()
            .map(|row| {
                let text = format!("{} {}", row.name(), row.id());
                item(text, row.state(), Intent::GoTo(tab, row.id().id))
            })
            .collect(),
        Rows::Operations(rows) => rows
            .iter()
            .map(|row| {
                let name = row.resource_name.as_deref().unwrap_or_default();
                let text = format!("{} {} {name}", row.uid, row.kind);
                item(text, row.state.word(), Intent::Show(row.uid))
            })
            .collect(),
    }
}

impl Window for Palette {
    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        vec![search::SCOPE]
    }

    fn unbound(&mut self, key: KeyEvent, model: &mut Model, cmds: &mut Vec<Cmd>) -> Response {
        self.at = 0;
        self.found.clear();
        edit::edit(&mut self.input, key);
        self.changed(model, cmds);
        Response::Taken
    }

    fn action(&mut self, action: &Action, _model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        if let Some(at) = search::moved(self.at, action, self.matches.len()) {
            self.at = at;
            return Response::Taken;
        }
        match *action {
            CLOSE | CLEAR => Response::Close,
            TAKE => match self.matches.get(self.at) {
                Some(item) => Response::CloseAnd(item.intent.clone()),
                None => Response::Close,
            },
            _ => Response::Taken,
        }
    }

    fn paste(&mut self, text: &str, model: &mut Model, cmds: &mut Vec<Cmd>) {
        edit::paste(&mut self.input, text);
        self.changed(model, cmds);
    }

    fn message(&mut self, msg: &Msg, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        match msg {
            Msg::Reply(Reply::Find(tab, typed, Ok(page))) => {
                if self.input.value().trim() == typed {
                    self.take(*tab, page, model);
                }
                Response::Taken
            }
            _ => Response::Ignored,
        }
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        let area = window(model.size, 76, 18);
        let inside = canvas.window(area, "Commands", Role::Focus);
        let width = inside.width.saturating_sub(2);
        let x = inside.x + 1;
        let at = canvas.text(x, inside.y, width, ": ", Role::Key);
        canvas.input(at, inside.y, width.saturating_sub(2), &self.input, false);
        let rows = Rect { y: inside.y + 1, height: inside.height.saturating_sub(1), ..inside };
        let from = (self.at + 1).saturating_sub(usize::from(rows.height));
        canvas.shown(area, from, rows.height.into(), self.matches.len());
        let name_width = if width >= 60 { 26 } else { width * 3 / 5 };
        for ((number, found), y) in
            self.matches.iter().enumerate().skip(from).zip(rows.y..rows.bottom())
        {
            let key_width = u16::try_from(text::width(&found.key)).unwrap_or(0);
            canvas.text(x + 1, y, name_width, &found.text, Role::Text);
            let note = x + 1 + name_width + 2;
            let room = inside.right().saturating_sub(note + key_width + 3);
            canvas.text(note, y, room, &found.note, Role::Quiet);
            canvas.text_right(x, y, width.saturating_sub(1), &found.key, Role::Key);
            if number == self.at {
                canvas.restyle(
                    Rect { x: inside.x, y, width: inside.width, height: 1 },
                    Role::Selected,
                );
            }
        }
        if self.matches.is_empty() {
            canvas.text(x + 1, rows.y, width, "nothing matches", Role::Quiet);
        }
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        let choose = [search::UP, search::DOWN];
        hints::of(model, &[(&[TAKE], "go"), (&choose, "choose"), (&[CLOSE], "close")])
    }
}
