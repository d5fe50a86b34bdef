//! What the windows have in common that only show lines: scrolling, and what goes on behind them.

use crate::ui::input::action::Action;
use crate::ui::model::Model;
use crate::ui::model::layout::{full, layout};
use crate::ui::style::canvas::{Canvas, StyledLine};
use crate::ui::style::theme::Role;

use super::window::Response;
use super::{filter, sort};

/// Returns how wide the lines of such a window are.
#[must_use]
pub fn width(model: &Model) -> u16 {
    full(model.size).width.saturating_sub(4)
}

/// Scrolls a window of that many lines, whose first one shown is `at`, or closes it.
pub fn action(at: &mut u16, lines: usize, action: &Action, model: &Model) -> Response {
    let page = layout(model).list_rows().max(1);
    let to = match *action {
        Action::Up => at.saturating_sub(1),
        Action::Down => at.saturating_add(1),
        Action::PageUp => at.saturating_sub(page),
        Action::PageDown => at.saturating_add(page),
        Action::HalfUp => at.saturating_sub(page.div_ceil(2)),
        Action::HalfDown => at.saturating_add(page.div_ceil(2)),
        Action::Top => 0,
        Action::Bottom => u16::MAX,
        Action::Back | Action::Open | Action::Quit => return Response::Close,
        // What these change is hidden behind the window.
        Action::Mark
        | Action::MarkRange
        | Action::MarkAll
        | Action::SortNext
        | Action::SortPrevious
        | Action::Focus
        | filter::OPEN
        | sort::OPEN => return Response::Taken,
        // Cancel, relaunch, tabs and what the row's own keys do go on as ever.
        _ => return Response::Ignored,
    };
    let room = usize::from(full(model.size).height.saturating_sub(2));
    let limit = u16::try_from(lines.saturating_sub(room)).unwrap_or(u16::MAX);
    *at = to.min(limit);
    Response::Taken
}

/// Draws lines in a full window, from the first one shown.
pub fn draw(model: &Model, title: &str, lines: &[StyledLine], at: u16, canvas: &mut Canvas<'_>) {
    let area = full(model.size);
    let inside = canvas.window(area, title, Role::Focus);
    let room = usize::from(inside.height);
    let from = usize::from(at).min(lines.len().saturating_sub(room));
    let width = inside.width.saturating_sub(2);
    for (line, y) in lines.iter().skip(from).zip(inside.y..inside.bottom()) {
        canvas.line(inside.x + 1, y, width, line);
    }
    canvas.shown(area, from, room, lines.len());
}
