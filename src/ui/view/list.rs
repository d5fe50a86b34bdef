//! The list of a tab: a window onto its rows, and in each row what is happening to it.

use ratatui::layout::Rect;

use super::columns::{cell, columns};
use super::{in_flight, special};
use crate::domain::{Column, Effect, Operation, State};
use crate::ui::input::action::{Action, Scope};
use crate::ui::model::{Focus, Model, Row};
use crate::ui::style::canvas::Canvas;
use crate::ui::style::text;
use crate::ui::style::theme::Role;

/// Draws headings and rows.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>, area: Rect) {
    let pane = model.pane();
    let columns = columns(model.tab, area.width);
    let places = spread(&columns, area);
    for (column, place) in columns.iter().zip(&places) {
        let title = column.head();
        if column.holds.is_amount() && column.refers_to.is_empty() {
            canvas.text_right(place.x, area.y, place.width, &title, Role::Quiet);
        } else {
            canvas.text(place.x, area.y, place.width, &title, Role::Quiet);
        }
    }
    let rows = area.height.saturating_sub(1);
    if pane.loaded && pane.total == 0 {
        let told = if pane.filter.is_empty() {
            nothing_yet(model)
        } else {
            "nothing matches; esc shows all".to_owned()
        };
        if rows > 0 {
            canvas.text(area.x + 2, area.y + 1, area.width.saturating_sub(3), &told, Role::Quiet);
        }
        return;
    }
    for line in 0..rows {
        let place = pane.top + u64::from(line);
        if place >= pane.total {
            break;
        }
        let y = area.y + 1 + line;
        let whole = Rect { y, height: 1, ..area };
        match pane.row(place) {
            Some(row) => draw_row(model, canvas, row, whole, &columns, &places),
            None => {
                let more = canvas.glyphs().more;
                canvas.text(area.x + 2, y, area.width, more, Role::Quiet);
            }
        }
        if place == pane.cursor {
            let focused = model.focus == Focus::List;
            let role = if focused { Role::Selected } else { Role::SelectedQuiet };
            canvas.restyle(whole, role);
            let cursor = canvas.glyphs().cursor;
            canvas.text(area.x, y, 1, cursor, role);
        }
    }
}

/// What stands in an empty list: that it is, and how to change that.
fn nothing_yet(model: &Model) -> String {
    let what = model.tab.many();
    let makes = model.keymap.footer(&[Scope::Tab(model.tab)]).into_iter().find(|(_, entry)| {
        let Action::Do(kind) = &entry.action else { return false };
        model.catalogue.get(kind).is_some_and(|spec| spec.effect == Effect::Creates)
    });
    match makes.filter(|_| !model.read_only) {
        Some((key, _)) => format!("no {what} yet: {key} makes the first"),
        None => format!("no {what} yet"),
    }
}

/// Where the columns stand: fixed ones have their width, the one without takes the rest.
fn spread(columns: &[&Column], area: Rect) -> Vec<Rect> {
    // Two for the selection and mark, and a gap after every column.
    let fixed: u16 = columns.iter().map(|column| column.width + 2).sum();
    let rest = area.width.saturating_sub(fixed + 2).max(1);
    let mut x = area.x + 2;
    columns
        .iter()
        .map(|column| {
            let width = if column.width == 0 { rest } else { column.width };
            let width = width.min(area.right().saturating_sub(x));
            let place = Rect { x, y: area.y, width, height: 1 };
            x = (x + width + 2).min(area.right());
            place
        })
        .collect()
}

fn draw_row(
    model: &Model,
    canvas: &mut Canvas<'_>,
    row: Row<'_>,
    area: Rect,
    columns: &[&Column],
    places: &[Rect],
) {
    let glyphs = canvas.glyphs();
    let pane = model.pane();
    let marked = pane.marks.contains_key(&row.id());
    let doing =
        row.resource().and_then(|resource| model.flight.touching(resource.id(), resource.name()));
    for (number, (column, place)) in columns.iter().zip(places).enumerate() {
        if let (Some(operation), "state") = (doing, column.name.as_ref()) {
            // The next column, when there is one, shows how far it is.
            let next = places.get(number + 1).copied();
            happening(model, canvas, operation, Rect { y: area.y, ..*place }, next);
            continue;
        }
        let took_over = doing.is_some_and(|operation| operation.state == State::Run)
            && number > 0
            && columns[number - 1].name == "state";
        if took_over {
            continue;
        }
        let (shown, role) = special::cell(model, &glyphs, row, column)
            .unwrap_or_else(|| cell(model, &glyphs, row, column));
        let role = if marked && number == 0 { Role::Marked } else { role };
        if column.holds.is_amount() && column.refers_to.is_empty() {
            canvas.text_right(place.x, area.y, place.width, &shown, role);
        } else {
            canvas.text(place.x, area.y, place.width, &shown, role);
        }
    }
    if marked {
        canvas.text(area.x + 1, area.y, 1, glyphs.mark, Role::Marked);
    }
}

/// What is happening to a row, in the place of its state.
fn happening(
    model: &Model,
    canvas: &mut Canvas<'_>,
    operation: &Operation,
    place: Rect,
    next: Option<Rect>,
) {
    let glyphs = canvas.glyphs();
    let doing = in_flight::doing(model, operation);
    if operation.state == State::Pending {
        let shown = format!("{} {doing}", glyphs.wait);
        canvas.text(place.x, place.y, place.width, &shown, Role::Waiting);
        return;
    }
    canvas.text(place.x, place.y, place.width, &format!("{} {doing}", glyphs.busy), Role::Busy);
    let Some(next) = next else { return };
    let fraction = operation.progress.as_ref().and_then(|progress| progress.fraction);
    match fraction {
        Some(fraction) if next.width >= 5 => {
            if next.width >= 12 {
                canvas.bar(next.x, place.y, next.width - 5, fraction);
                let percent = format!("{:.0}%", fraction * 100.0);
                canvas.text_right(next.right() - 4, place.y, 4, &percent, Role::Text);
            } else {
                canvas.bar(next.x, place.y, next.width, fraction);
            }
        }
        _ => {
            let since = operation.started.unwrap_or(operation.created);
            let shown = text::clock(text::seconds_between(since, model.now));
            canvas.text_right(next.x, place.y, next.width, &shown, Role::Quiet);
        }
    }
}
