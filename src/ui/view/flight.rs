//! In flight: what runs and how far, what waits and why, what failed and needs a person.

use ratatui::layout::Rect;

use super::canvas::Canvas;
use crate::domain::{Operation, State};
use crate::ui::columns::operation_state;
use crate::ui::layout::layout;
use crate::ui::model::{Focus, Model};
use crate::ui::text;
use crate::ui::theme::Role;

/// The first operation shown, so that the selected one is in sight.
#[must_use]
pub fn top(model: &Model) -> usize {
    let rows = usize::from(layout(model).flight.height).max(1);
    if model.focus == Focus::Flight { (model.flight.place() + 1).saturating_sub(rows) } else { 0 }
}

/// Draws it.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>, area: Rect) {
    let top = top(model);
    for (line, operation) in model.flight.operations.iter().skip(top).enumerate() {
        let Some(y) = u16::try_from(line).ok().filter(|line| *line < area.height) else { break };
        let row = Rect { y: area.y + y, height: 1, ..area };
        draw_row(model, canvas, operation, row);
        if model.focus == Focus::Flight && top + line == model.flight.place() {
            canvas.restyle(row, Role::Selected);
        }
    }
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

fn draw_row(model: &Model, canvas: &mut Canvas<'_>, operation: &Operation, row: Rect) {
    let glyphs = canvas.glyphs();
    let (glyph, role) = operation_state(&glyphs, operation.state);
    let wide = row.width >= 70;
    let (kind_width, name_width) = match row.width {
        0..56 => (0, 11),
        56..90 => (12, 14),
        _ => (14, 22),
    };
    let right = row.right();
    let mut x = row.x + 1;
    canvas.text(x, row.y, 1, glyph, role);
    x += 2;
    let uid = operation.uid.to_string();
    let uid_width = if wide { 7 } else { 6 };
    canvas.text(x, row.y, uid_width, &uid, Role::Quiet);
    x += uid_width + 1;
    if kind_width > 0 {
        canvas.text(x, row.y, kind_width, &operation.kind, Role::Text);
        x += kind_width + 1;
        canvas.text(x, row.y, name_width, &about(operation), Role::Text);
    } else {
        let short = match about(operation) {
            name if name.is_empty() => operation.kind.clone(),
            name => name,
        };
        canvas.text(x, row.y, name_width, &short, Role::Text);
    }
    x += name_width + 1;
    let running = operation.state == State::Run;
    let bar = if !running {
        0
    } else if row.width >= 100 {
        16
    } else if wide {
        8
    } else {
        5
    };
    // Bar, percent and time left stand on the right.
    let figures = if !running {
        0
    } else if wide {
        bar + 1 + 4 + 1 + if row.width >= 90 { 12 } else { 7 }
    } else {
        bar + 1 + 4
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
    if let Some(fraction) = progress.and_then(|progress| progress.fraction) {
        canvas.bar(x, place.y, bar, fraction);
        let percent = format!("{:.0}%", (fraction * 100.0).clamp(0.0, 100.0));
        canvas.text_right(x + bar + 1, place.y, 4, &percent, Role::Text);
    } else if let Some(progress) = progress
        && let Some(steps) = progress.steps
    {
        let step = format!("{}/{steps}", progress.step);
        canvas.text_right(x, place.y, bar + 5, &step, Role::Quiet);
    }
    x += bar + 6;
    if place.right() <= x {
        return;
    }
    let room = place.right() - x - 1;
    let time = match progress.and_then(|progress| progress.left_s) {
        Some(left) if room >= 10 => format!("{} left", text::clock(left)),
        Some(left) => format!("-{}", text::clock(left)),
        None => {
            let since = operation.started.unwrap_or(operation.created);
            text::clock(text::seconds_between(since, model.now))
        }
    };
    canvas.text_right(x, place.y, room, &time, Role::Quiet);
}
