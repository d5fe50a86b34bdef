//! What the mouse does: the wheel moves, a click selects, a second click opens.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use crate::ui::app::App;
use crate::ui::changes::list;
use crate::ui::input::action::Action;
use crate::ui::model::layout::layout;
use crate::ui::model::{Focus, Model};
use crate::ui::msg::Cmd;
use crate::ui::view::{in_flight, shell};
use crate::ui::windows::window::Response;

/// Rows one notch of the wheel moves.
const WHEEL: usize = 3;

/// Takes what the mouse did. Returns the actions it means.
pub fn mouse(app: &mut App, event: MouseEvent, cmds: &mut Vec<Cmd>) -> Vec<Action> {
    let at = Position { x: event.column, y: event.row };
    match event.kind {
        MouseEventKind::ScrollUp => wheel(app, at, true),
        MouseEventKind::ScrollDown => wheel(app, at, false),
        MouseEventKind::Down(MouseButton::Left) if app.windows().is_empty() => {
            app.model.dirty = true;
            let opens = click(&mut app.model, at, cmds);
            opens.then_some(Action::Open).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn wheel(app: &mut App, at: Position, up: bool) -> Vec<Action> {
    app.model.dirty = true;
    let taken = app.with_front(|window, _| window.wheel(up));
    match taken {
        Some(Response::Ignored) => {}
        Some(_) => return Vec::new(),
        None => {
            let is_in_flight = layout(&app.model).flight.contains(at);
            app.model.focus = if is_in_flight { Focus::Flight } else { Focus::List };
        }
    }
    vec![if up { Action::Up } else { Action::Down }; WHEEL]
}

/// Selects what is clicked. Returns whether it was selected already, so that it is to be opened.
fn click(model: &mut Model, at: Position, cmds: &mut Vec<Cmd>) -> bool {
    let places = layout(model);
    if places.tabs.contains(at) {
        let tab = shell::tab_places(model).into_iter().find(|(_, span)| span.contains(&at.x));
        if let Some((tab, _)) = tab {
            list::open_tab(model, tab, cmds);
        }
    } else if places.flight.contains(at) {
        let place = in_flight::top(model) + usize::from(at.y - places.flight.y);
        let again = model.focus == Focus::Flight && model.flight.place() == place;
        model.focus = Focus::Flight;
        model.flight.select(place);
        return again;
    } else if rows(places.list).contains(at) {
        let place = model.pane().top + u64::from(at.y - places.list.y - 1);
        if place >= model.pane().total {
            return false;
        }
        let again = model.focus == Focus::List && model.pane().cursor == place;
        model.focus = Focus::List;
        list::select(model, place);
        return again;
    }
    false
}

/// A list without its headings.
const fn rows(list: Rect) -> Rect {
    Rect { y: list.y + 1, height: list.height.saturating_sub(1), ..list }
}
