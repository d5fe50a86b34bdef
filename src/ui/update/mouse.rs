//! What the mouse does: the wheel moves, a click selects, a second click opens.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use crate::ui::action::Action;
use crate::ui::layout::layout;
use crate::ui::model::{Focus, Modal, Model};
use crate::ui::msg::Cmd;
use crate::ui::view::tab_places;

use super::{list, perform};

/// Rows one notch of the wheel moves.
const WHEEL: usize = 3;

/// Takes what the mouse did.
pub fn mouse(model: &mut Model, event: MouseEvent, cmds: &mut Vec<Cmd>) {
    let at = Position { x: event.column, y: event.row };
    match event.kind {
        MouseEventKind::ScrollUp => wheel(model, at, true, cmds),
        MouseEventKind::ScrollDown => wheel(model, at, false, cmds),
        MouseEventKind::Down(MouseButton::Left) if model.modals.is_empty() => {
            model.dirty = true;
            click(model, at, cmds);
        }
        _ => {}
    }
}

fn wheel(model: &mut Model, at: Position, up: bool, cmds: &mut Vec<Cmd>) {
    model.dirty = true;
    if let Some(Modal::Console(console)) = model.modals.last_mut() {
        console.scroll(if up { 3 } else { -3 });
        return;
    }
    if model.modals.is_empty() {
        model.focus = if layout(model).flight.contains(at) { Focus::Flight } else { Focus::List };
    } else if matches!(model.modals.last(), Some(Modal::Form(_) | Modal::Confirm(_))) {
        return;
    }
    let action = if up { Action::Up } else { Action::Down };
    for _ in 0..WHEEL {
        perform(model, &action, cmds);
    }
}

fn click(model: &mut Model, at: Position, cmds: &mut Vec<Cmd>) {
    let places = layout(model);
    if places.tabs.contains(at) {
        let tab = tab_places(model).into_iter().find(|(_, span)| span.contains(&at.x));
        if let Some((tab, _)) = tab {
            list::open_tab(model, tab, cmds);
        }
    } else if places.flight.contains(at) {
        let top = crate::ui::view::flight_top(model);
        let place = top + usize::from(at.y - places.flight.y);
        let again = model.focus == Focus::Flight && model.flight.place() == place;
        model.focus = Focus::Flight;
        model.flight.select(place);
        if again {
            perform(model, &Action::Open, cmds);
        }
    } else if rows(places.list).contains(at) {
        let place = model.pane().top + u64::from(at.y - places.list.y - 1);
        if place >= model.pane().total {
            return;
        }
        let again = model.focus == Focus::List && model.pane().cursor == place;
        model.focus = Focus::List;
        list::select(model, place);
        if again {
            perform(model, &Action::Open, cmds);
        }
    }
}

/// A list without its headings.
const fn rows(list: Rect) -> Rect {
    Rect { y: list.y + 1, height: list.height.saturating_sub(1), ..list }
}
