//! The line a filter is typed into, at the bottom of the screen.

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::layout::Rect;
use tui_input::Input;

use super::search::{self, CLEAR, CLOSE, TAKE};
use super::window::{Response, Window, WindowKind};
use crate::domain::Misread;
use crate::ui::changes::list::{self, View};
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::input::{completion, edit};
use crate::ui::model::{Front, Model};
use crate::ui::msg::Cmd;
use crate::ui::style::canvas::{Canvas, StyledLine};
use crate::ui::style::text;
use crate::ui::style::theme::Role;
use crate::ui::view::hints::KeyHint;
use crate::ui::view::notification;

/// Opens it.
pub const OPEN: Action = Action::FILTER;

const ACTIONS: &[ActionRow] = &[(
    OPEN,
    "filter",
    "filter",
    "Show only some rows: words, column:value, !=, ~, > or <, age<2h; - turns a term around.",
    Scope::Everywhere,
    80,
)];

/// The line a filter is typed into.
pub const KIND: WindowKind =
    WindowKind { actions: ACTIONS, open: |_, model, _| Some(Box::new(FilterWindow::new(model))) };

/// Typing a filter.
#[derive(Debug)]
pub struct FilterWindow {
    input: Input,
    /// Where the keys were before, and the filter there was.
    before: View,
}

impl FilterWindow {
    fn new(model: &Model) -> Self {
        Self { input: Input::from(model.pane().filter.as_str()), before: list::view(model) }
    }
}

impl FilterWindow {
    /// Shows the rows that what is typed lets through: what stands before the part that is not
    /// understood, where there is one.
    fn show(&self, model: &mut Model) {
        let typed = self.input.value();
        let end = model.misread(typed).map_or(typed.len(), |misread| misread.part.start);
        list::set_filter(model, &typed[..end]);
    }
}

impl Window for FilterWindow {
    fn front(&self) -> Front {
        Front::Filter(self.input.value().to_owned())
    }

    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        vec![search::SCOPE]
    }

    fn unbound(&mut self, key: KeyEvent, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        if key.code == KeyCode::Tab {
            completion::complete(model.tab.subject(), &mut self.input);
        } else {
            edit::edit(&mut self.input, key);
        }
        self.show(model);
        Response::Taken
    }

    fn action(&mut self, action: &Action, model: &mut Model, _cmds: &mut Vec<Cmd>) -> Response {
        match *action {
            // What is not understood is to be mended first.
            TAKE if model.misread(self.input.value()).is_some() => return Response::Taken,
            TAKE => {}
            CLOSE => list::go_back(model, &self.before),
            CLEAR => list::set_filter(model, ""),
            _ => return Response::Taken,
        }
        Response::Close
    }

    fn paste(&mut self, text: &str, model: &mut Model, _cmds: &mut Vec<Cmd>) {
        edit::paste(&mut self.input, text);
        self.show(model);
    }

    /// It is the last line.
    fn draw(&self, _model: &Model, _canvas: &mut Canvas<'_>) {}

    /// What is typed, and above it what the columns are called. What is not understood is pointed
    /// at, and told why.
    fn draw_footer(&self, model: &Model, canvas: &mut Canvas<'_>, area: Rect) -> bool {
        let misread = model.misread(self.input.value());
        let wrong = misread.as_ref().map(|misread| misread.why.to_string());
        // What is too long to stand beside what is typed stands above it.
        let half = usize::from(area.width / 2);
        let long = wrong.clone().filter(|why| text::width(why) > half);
        if let Some(why) = &long {
            notification::above(canvas, area, why, Role::Bad);
        } else if model.notification.is_none() && model.lost.is_none() {
            let names = completion::names(model.tab.subject(), &self.input).join(" ");
            let line = StyledLine::new(" columns ", Role::Quiet)
                .with(names, Role::Text)
                .with(" ", Role::Text);
            canvas.line(2, area.y.saturating_sub(1), area.width.saturating_sub(4), &line);
        }
        let at = canvas.text(1, area.y, area.width, "/", Role::Key);
        let rows = || match model.pane().total {
            1 => "1 row".to_owned(),
            total => format!("{} rows", text::count(total)),
        };
        let (told, role) = match wrong {
            Some(why) => (if long.is_some() { String::new() } else { why }, Role::Bad),
            None if area.width >= 70 => {
                (format!("{} · words, column:value != ~ > <, -not", rows()), Role::Quiet)
            }
            None => (rows(), Role::Quiet),
        };
        // What is typed keeps a third of the line.
        let most = usize::from(area.width - area.width / 3);
        let told = text::fit(&text::clean(&told), most, canvas.glyphs().more).into_owned();
        let wide = text::columns(&told) + 2;
        let room = area.width.saturating_sub(at + wide + 1);
        let hidden = canvas.input(at, area.y, room, &self.input, false);
        canvas.text(area.width.saturating_sub(wide), area.y, wide, &told, role);
        if let Some(Misread { part, .. }) = misread {
            let columns_to = |end: usize| text::width(&text::clean(&self.input.value()[..end]));
            let on_screen = |end: usize| {
                at + u16::try_from(columns_to(end).saturating_sub(hidden)).unwrap_or(room).min(room)
            };
            let (from, to) = (on_screen(part.start), on_screen(part.end));
            canvas.restyle(Rect { x: from, y: area.y, width: to - from, height: 1 }, Role::Bad);
        }
        true
    }

    fn hints(&self, _model: &Model) -> Vec<KeyHint> {
        Vec::new()
    }
}
