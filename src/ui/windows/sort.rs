//! The columns a list can be sorted by.

use ratatui::layout::Rect;

use super::window::{Response, Window, WindowKind};
use crate::ui::changes::list;
use crate::ui::input::action::{Action, ActionRow, Scope};
use crate::ui::model::Model;
use crate::ui::model::layout::window;
use crate::ui::msg::Cmd;
use crate::ui::style::canvas::Canvas;
use crate::ui::style::theme::Role;
use crate::ui::view::hints::{self, KeyHint};

const SCOPE: Scope = Scope::Window("In the columns to sort by");

/// Opens it.
pub const OPEN: Action = Action::Window("sort");
const CLEAR: Action = Action::Window("sort_clear");

const ACTIONS: &[ActionRow] = &[
    (OPEN, "sort", "sort", "Choose the column to sort by.", Scope::Everywhere, 0),
    (
        Action::SortPrevious,
        "sort_previous",
        "sort left",
        "Sort by the column before.",
        Scope::Everywhere,
        0,
    ),
    (Action::SortNext, "sort_next", "sort right", "Sort by the next column.", Scope::Everywhere, 0),
    (CLEAR, "sort_clear", "usual order", "Take the usual order.", SCOPE, 0),
];

/// The columns to sort by.
pub const KIND: WindowKind = WindowKind {
    actions: ACTIONS,
    open: |_, model, _| Some(Box::new(SortWindow { at: list::sorted_by(model).unwrap_or(0) })),
};

/// The columns to sort by.
#[derive(Debug)]
pub struct SortWindow {
    /// The selected one.
    at: usize,
}

impl Window for SortWindow {
    fn scopes(&self, _model: &Model) -> Vec<Scope> {
        vec![Scope::Everywhere, SCOPE]
    }

    fn action(&mut self, action: &Action, model: &mut Model, cmds: &mut Vec<Cmd>) -> Response {
        let columns = model.tab.subject().columns();
        match *action {
            Action::Up => self.at = self.at.saturating_sub(1),
            Action::Down => self.at = (self.at + 1).min(columns.len() - 1),
            Action::Open => {
                let column = &columns[self.at.min(columns.len() - 1)];
                list::sort_by(model, &column.name, cmds);
                return Response::Close;
            }
            CLEAR => {
                list::unsort(model, cmds);
                return Response::Close;
            }
            Action::Back | Action::Quit | OPEN => return Response::Close,
            _ => {}
        }
        Response::Taken
    }

    fn draw(&self, model: &Model, canvas: &mut Canvas<'_>) {
        let g = canvas.glyphs();
        let columns = model.tab.subject().columns();
        let height = u16::try_from(columns.len() + 2).unwrap_or(u16::MAX);
        let area = window(model.size, 30, height);
        let inside = canvas.window(area, "Sort by", Role::Focus);
        let from = (self.at + 1).saturating_sub(usize::from(inside.height));
        canvas.shown(area, from, inside.height.into(), columns.len());
        let shown = columns.iter().enumerate().skip(from);
        for ((number, column), y) in shown.zip(inside.y..inside.bottom()) {
            let name = &column.title;
            canvas.text(inside.x + 2, y, inside.width.saturating_sub(4), name, Role::Text);
            if let Some(sort) = model.pane().sort.as_ref().filter(|sort| sort.column == column.name)
            {
                let arrow = if sort.descending { g.down } else { g.up };
                canvas.text(inside.right() - 3, y, 1, arrow, Role::Text);
            }
            if number == self.at {
                canvas.restyle(
                    Rect { x: inside.x, y, width: inside.width, height: 1 },
                    Role::Selected,
                );
            }
        }
    }

    fn hints(&self, model: &Model) -> Vec<KeyHint> {
        hints::of(
            model,
            &[
                (&[Action::Open], "sort, again turns it"),
                (&[CLEAR], "usual order"),
                (&[Action::Back], "close"),
            ],
        )
    }
}
