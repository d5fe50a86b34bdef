//! What the windows have in common in which something is searched for or typed: their keys.

use crate::ui::input::action::{Action, ActionRow, Scope};

/// Where something is searched for or typed, and every other key is text.
pub const SCOPE: Scope = Scope::Alone("Where something is searched for or typed");

/// Goes up a row.
pub const UP: Action = Action::Window("search_up");
/// Goes down a row.
pub const DOWN: Action = Action::Window("search_down");
/// Goes up a page.
pub const PAGE_UP: Action = Action::Window("search_page_up");
/// Goes down a page.
pub const PAGE_DOWN: Action = Action::Window("search_page_down");
/// Takes what is selected or typed.
pub const TAKE: Action = Action::Window("search_take");
/// Closes it and leaves all as it was.
pub const CLOSE: Action = Action::Window("search_close");
/// Closes it and takes the filter away.
pub const CLEAR: Action = Action::Window("search_clear");

/// The actions.
pub const ACTIONS: &[ActionRow] = &[
    (UP, "search_up", "up", "Go up a row.", SCOPE, 0),
    (DOWN, "search_down", "down", "Go down a row.", SCOPE, 0),
    (PAGE_UP, "search_page_up", "page up", "Go up a page.", SCOPE, 0),
    (PAGE_DOWN, "search_page_down", "page down", "Go down a page.", SCOPE, 0),
    (TAKE, "search_take", "take", "Take what is selected or typed.", SCOPE, 0),
    (CLOSE, "search_close", "close", "Close, and leave all as it was.", SCOPE, 0),
    (CLEAR, "search_clear", "clear", "Close, and take the filter away.", SCOPE, 0),
];

/// Returns the row an action leads to among so many; `None` when it moves nowhere.
#[must_use]
pub fn moved(at: usize, action: &Action, rows: usize) -> Option<usize> {
    const PAGE: usize = 10;
    let to = match *action {
        UP => at.saturating_sub(1),
        DOWN => at + 1,
        PAGE_UP => at.saturating_sub(PAGE),
        PAGE_DOWN => at + PAGE,
        _ => return None,
    };
    Some(to.min(rows.saturating_sub(1)))
}
