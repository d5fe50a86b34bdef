//! The whole screen: the panes, the windows over them, the last line.

mod footer;
mod welcome;

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::app::App;
use super::model::layout::{layout, too_small};
use super::style::canvas::Canvas;
use super::style::theme::{Role, Theme};
use super::view::{detail, in_flight, list, notification, shell, timeline};

/// Draws everything. Returns where the terminal's cursor stands, if it is to be seen.
pub fn draw(app: &App, theme: &Theme, buffer: &mut Buffer) -> Option<Position> {
    let model = &app.model;
    let mut canvas = Canvas::new(buffer, theme);
    let area = canvas.area();
    canvas.fill(area, Role::Text);
    if too_small(model.size) {
        canvas.text(0, 0, area.width, "hostler needs 40×10", Role::Text);
        canvas.text(0, 1, area.width, "make this larger", Role::Quiet);
        return None;
    }
    let places = layout(model);
    shell::header(model, &mut canvas, places.header);
    shell::tabs(model, &mut canvas, places.tabs);
    shell::frame(model, &mut canvas, &places);
    if model.is_bare() {
        welcome::draw(model, &mut canvas, places.list);
    } else {
        list::draw(model, &mut canvas, places.list);
    }
    if let (Some(area), Some(timeline)) = (places.timeline, &model.timeline) {
        timeline::draw(model, timeline, &mut canvas, area);
    }
    if let Some(area) = places.detail {
        detail::beside(model, &mut canvas, area);
    }
    in_flight::draw(model, &mut canvas, places.flight);
    let windows = app.windows();
    for (place, window) in windows.iter().enumerate() {
        if !windows.get(place + 1).is_some_and(|next| next.replaces()) {
            window.draw(model, &mut canvas);
        }
    }
    notification::draw(model, &mut canvas, places.footer);
    footer::draw(app, &mut canvas, places.footer);
    canvas.cursor
}
