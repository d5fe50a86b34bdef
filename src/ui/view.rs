//! Drawing: the model onto a buffer. Nothing here decides, waits or asks.

pub(super) mod canvas;
pub(super) mod detail;
mod flight;
mod footer;
mod form;
mod list;
mod operation;
mod palette;
mod shell;
mod timeline;
mod welcome;
mod windows;

pub use canvas::{Canvas, Line};
pub use flight::top as flight_top;
pub use shell::tab_places;

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use super::layout::{full, layout, too_small};
use super::model::{Modal, Model};
use super::theme::{Role, Theme};

/// Draws everything. Returns where the terminal's cursor stands, if it is to be seen.
pub fn draw(model: &Model, theme: &Theme, buffer: &mut Buffer) -> Option<Position> {
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
    flight::draw(model, &mut canvas, places.flight);
    for modal in &model.modals {
        draw_modal(model, modal, &mut canvas);
    }
    footer::message(model, &mut canvas, places.footer);
    footer::footer(model, &mut canvas, places.footer);
    canvas.cursor
}

fn draw_modal(model: &Model, modal: &Modal, canvas: &mut Canvas<'_>) {
    match modal {
        Modal::Help { scroll, search } => windows::help(model, *scroll, search, canvas),
        Modal::Doctor { scroll } => {
            windows::scrolled(
                model,
                "Doctor",
                &windows::doctor(model, canvas.theme),
                *scroll,
                canvas,
            );
        }
        Modal::Detail { scroll } => {
            let width = full(model.size).width.saturating_sub(4);
            let lines = detail::lines(model, canvas.theme, width);
            windows::scrolled(model, &detail::title(model), &lines, *scroll, canvas);
        }
        Modal::Operation(view) => {
            let width = full(model.size).width.saturating_sub(4);
            let lines = operation::lines(model, canvas.theme, view, width);
            let title = format!("Operation {}", view.uid);
            windows::scrolled(model, &title, &lines, view.scroll, canvas);
        }
        Modal::Lanes { at } => windows::lanes(model, *at, canvas),
        Modal::Sort { at } => windows::sort(model, *at, canvas),
        Modal::Palette(palette) => palette::draw(model, palette, canvas),
        // The filter is typed into the footer.
        Modal::Filter { .. } => {}
        Modal::Form(form) => form::draw(model, form, canvas),
        Modal::Confirm(confirm) => windows::confirm(model, confirm, canvas),
        Modal::Quit { at } => windows::quit(model, *at, canvas),
        Modal::Console(console) => windows::console(model, console, canvas),
    }
}

/// How far the front window can be scrolled.
#[must_use]
pub fn scroll_limit(model: &Model) -> u16 {
    let area = full(model.size);
    let Some(modal) = model.modals.last() else { return 0 };
    // Only the number of lines matters here, so any theme does.
    let theme = Theme::plain();
    let width = area.width.saturating_sub(4);
    let lines = match modal {
        Modal::Help { search, .. } => windows::help_lines(model, search.value(), width).len(),
        Modal::Doctor { .. } => windows::doctor(model, &theme).len(),
        Modal::Detail { .. } => detail::lines(model, &theme, width).len(),
        Modal::Operation(view) => operation::lines(model, &theme, view, width).len(),
        _ => 0,
    };
    let room = usize::from(area.height.saturating_sub(2));
    u16::try_from(lines.saturating_sub(room)).unwrap_or(u16::MAX)
}
