//! In flight: what runs and how far, what waits and why, what failed and needs a person.

use ratatui::layout::Rect;

use crate::domain::{Operation, State};
use crate::ui::model::layout::layout;
use crate::ui::model::{Focus, Model};
use crate::ui::style::canvas::Canvas;
use crate::ui::style::text::{self, columns};
use crate::ui::style::theme::Role;
use crate::ui::view::columns::operation_state;

/// The first operation shown, so that the selected one is in sight.
#[must_use]
pub fn top(model: &Model) -> usize {
    let rows = usize::from(layout(model).flight.height).max(1);
    if model.focus == Focus::Flight { (model.flight.place() + 1).saturating_sub(rows) } else { 0 }
}

/// Draws it.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>, area: Rect) {
    let top = top(model);
    let shown: Vec<_> = model.flight.rows().skip(top).take(usize::from(area.height)).collect();
    let widths = Widths::of(&shown, area.width);
    for ((number, shown), y) in shown.into_iter().enumerate().zip(area.y..) {
        let row = Rect { y, height: 1, ..area };
        draw_row(model, canvas, shown, row, widths);
        if model.focus == Focus::Flight && top + number == model.flight.place() {
            canvas.restyle(row, Role::Selected);
        }
    }
}

/// How wide the first columns are: as wide as what is shown needs, so that the rest is left for
/// what is going on.
#[derive(Clone, Copy)]
struct Widths {
    uid: u16,
    /// None on narrow screens, where the name stands alone.
    kind: u16,
    name: u16,
}

impl Widths {
    fn of(shown: &[(&Operation, usize)], width: u16) -> Self {
        let (kind, name) = match width {
            0..56 => (0, 11),
            56..90 => (12, 14),
            _ => (14, 22),
        };
        let widest = |text: &dyn Fn(&Operation, usize) -> String, most: u16| {
            let widths = shown.iter().map(|(operation, depth)| columns(&text(operation, *depth)));
            widths.max().unwrap_or(0).min(most)
        };
        Self {
            uid: widest(&|operation, _| operation.uid.to_string(), 8),
            kind: widest(&|operation, depth| indent(depth) + &operation.kind, kind),
            name: widest(&|operation, depth| label(operation, depth, kind == 0), name),
        }
    }
}

/// What stands for an operation: what it is about or, where its kind is not shown beside that and
/// it is about nothing yet, its kind.
fn label(operation: &Operation, depth: usize, alone: bool) -> String {
    let name = match about(operation) {
        name if name.is_empty() && alone => operation.kind.clone(),
        name => name,
    };
    if alone { indent(depth) + &name } else { name }
}

/// What moves an operation to the right of the one that asked for it.
fn indent(depth: usize) -> String {
    "  ".repeat(depth.min(3))
}

/// What an operation is about: what is shown after its kind.
#[must_use]
pub fn about(operation: &Operation) -> String {
    match (&operation.resource_name, operation.resource) {
        (Some(name), _) => name.clone(),
        (None, Some(resource)) => resource.to_string(),
        (None, None) => String::new(),
    }
}

/// What is happening to what an operation is about: what it does there, or that it waits to.
#[must_use]
pub fn doing(model: &Model, operation: &Operation) -> String {
    let spec = model.catalogue.get(&operation.kind);
    match (spec, operation.state) {
        (Some(spec), State::Pending) => format!("{} waits", spec.title.to_lowercase()),
        (Some(spec), _) => spec.doing.to_string(),
        (None, _) => operation.kind.clone(),
    }
}

/// What an operation is doing, waiting for, or failed with.
#[must_use]
pub fn what(operation: &Operation) -> String {
    match operation.state {
        State::Run if operation.cancelling => "cancelling".to_owned(),
        State::Run => match (&operation.wait, &operation.progress) {
            (Some(wait), _) => wait.to_string(),
            (None, Some(progress)) => match &progress.detail {
                Some(detail) => format!("{} · {detail}", progress.phase),
                None => progress.phase.clone(),
            },
            (None, None) => String::new(),
        },
        State::Pending => {
            operation.wait.as_ref().map_or_else(|| "waits".to_owned(), ToString::to_string)
        }
        State::Error => operation.comment.clone().unwrap_or_else(|| "failed".to_owned()),
        State::Done | State::Cancel => String::new(),
    }
}

fn draw_row(
    model: &Model,
    canvas: &mut Canvas<'_>,
    (operation, depth): (&Operation, usize),
    row: Rect,
    widths: Widths,
) {
    let glyphs = canvas.glyphs();
    let (glyph, role) = operation_state(&glyphs, operation.state);
    let right = row.right();
    canvas.text(row.x + 1, row.y, 1, glyph, role);
    let mut x = row.x + 3;
    let gap = if row.width >= 90 { 2 } else { 1 };
    for (text, width, role) in [
        (operation.uid.to_string(), widths.uid, Role::Quiet),
        (indent(depth) + &operation.kind, widths.kind, Role::Text),
        (label(operation, depth, widths.kind == 0), widths.name, Role::Text),
    ] {
        if width > 0 {
            canvas.text(x, row.y, width, &text, role);
            x += width + gap;
        }
    }
    let running = operation.state == State::Run;
    // Bar, percent and time left stand on the right.
    let (bar, figures) = match row.width {
        _ if !running => (0, 0),
        // On narrow screens words say more than a bar beside its own percentage.
        0..70 => (0, 4),
        70..90 => (0, 4 + 11),
        _ => (16, 17 + 4 + 13),
    };
    let edge = right.saturating_sub(figures + u16::from(figures > 0));
    let role = if operation.state == State::Error { Role::Bad } else { Role::Text };
    let role = if operation.state == State::Pending { Role::Waiting } else { role };
    canvas.text(x, row.y, edge.saturating_sub(x), &what(operation), role);
    if running {
        draw_figures(
            model,
            canvas,
            operation,
            Rect { x: right - figures, width: figures, ..row },
            bar,
        );
    }
}

fn draw_figures(
    model: &Model,
    canvas: &mut Canvas<'_>,
    operation: &Operation,
    place: Rect,
    bar: u16,
) {
    let progress = operation.progress.as_ref();
    let mut x = place.x;
    let before = if bar > 0 { bar + 1 } else { 0 };
    if let Some(fraction) = progress.and_then(|progress| progress.fraction) {
        canvas.bar(x, place.y, bar, fraction);
        let percent = format!("{:.0}%", (fraction * 100.0).clamp(0.0, 100.0));
        canvas.text_right(x + before, place.y, 4, &percent, Role::Text);
    } else if let Some(progress) = progress
        && let Some(steps) = progress.steps
    {
        let step = format!("{}/{steps}", progress.step);
        canvas.text_right(x, place.y, before + 4, &step, Role::Quiet);
    }
    x += before + 5;
    if place.right() <= x {
        return;
    }
    let room = place.right() - x;
    let time = match progress.and_then(|progress| progress.left_s) {
        Some(left) => format!("{} left", text::clock(left)),
        None => {
            let since = operation.started.unwrap_or(operation.created);
            text::clock(text::seconds_between(since, model.now))
        }
    };
    canvas.text_right(x, place.y, room, &time, Role::Quiet);
}
