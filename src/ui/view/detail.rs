//! Everything about what the keys are on, beside the list or in a window of its own.

use ratatui::layout::Rect;

use super::columns::{amount, state};
use super::facts::fact;
use super::{in_flight, operation, special};
use crate::domain::{Emphasis, OperationDetail, Piece, Resource, State};
use crate::ui::model::{Model, Row};
use crate::ui::style::canvas::{Canvas, StyledLine};
use crate::ui::style::theme::{Role, Theme};

/// What stands over it.
#[must_use]
pub fn title(model: &Model) -> String {
    match model.shown() {
        Some(Row::Resource(resource)) => format!("{} · {}", resource.name(), resource.id()),
        Some(Row::Operation(operation)) => format!("Operation {}", operation.uid),
        None => "Detail".to_owned(),
    }
}

/// Draws it beside the list.
pub fn beside(model: &Model, canvas: &mut Canvas<'_>, area: Rect) {
    let width = area.width.saturating_sub(2);
    for (line, y) in lines(model, canvas.theme, width).iter().zip(area.y..area.bottom()) {
        canvas.line(area.x + 1, y, width, line);
    }
}

/// Its lines.
#[must_use]
pub fn lines(model: &Model, theme: &Theme, width: u16) -> Vec<StyledLine> {
    match model.shown() {
        Some(Row::Resource(resource)) => of_resource(model, theme, resource, width),
        Some(Row::Operation(selected)) => match model.details.get(&selected.uid) {
            Some(detail) => operation::lines(model, theme, detail.as_ref(), width),
            None => {
                let detail = OperationDetail {
                    operation: selected.clone(),
                    steps: Vec::new(),
                    children: Vec::new(),
                    more_children: 0,
                };
                operation::lines(model, theme, Some(&detail), width)
            }
        },
        None => Vec::new(),
    }
}

fn of_resource(model: &Model, theme: &Theme, resource: &Resource, width: u16) -> Vec<StyledLine> {
    let mut lines = Vec::new();
    let glyphs = theme.glyphs;
    match model.flight.touching(resource.id(), resource.name()) {
        Some(operation) => {
            let doing = in_flight::doing(model, operation);
            let (glyph, role) = match operation.state {
                State::Run => (glyphs.busy, Role::Busy),
                _ => (glyphs.wait, Role::Waiting),
            };
            let what = in_flight::what(operation);
            let head = format!("{glyph} {doing}");
            // What it says of itself may begin with the same word.
            let same = match operation.state {
                State::Pending => "waits",
                _ => doing.as_str(),
            };
            let tail = match what.strip_prefix(same) {
                Some(rest) => rest.to_owned(),
                None if what.is_empty() => what,
                None => format!(" · {what}"),
            };
            lines.push(StyledLine::new(head, role).with(tail, Role::Text));
            if let Some(progress) = &operation.progress
                && let Some(fraction) = progress.fraction
            {
                lines.push(bar(theme, fraction, progress.step, progress.steps, width));
            }
        }
        None => {
            let (glyph, role) = state(&glyphs, resource);
            lines.push(StyledLine::new(
                format!("{glyph} {}", resource.state().replace('_', " ")),
                role,
            ));
            if let Some(operation) = model.flight.failed_on(resource.id()) {
                let what =
                    format!("{} {}: {}", operation.uid, operation.kind, in_flight::what(operation));
                fact(&mut lines, "failed", &what, Role::Bad, width);
            }
        }
    }
    lines.extend(special::before(model, theme, resource, width));
    for detail in resource.details() {
        let role = match detail.emphasis {
            Emphasis::Plain => Role::Text,
            Emphasis::Quiet => Role::Quiet,
            Emphasis::Warning => Role::Warning,
            Emphasis::Bad => Role::Bad,
        };
        let mut value: String = detail.pieces.into_iter().map(|it| piece(model, it)).collect();
        value.extend(special::more(model, resource, &detail.label));
        fact(&mut lines, &detail.label, &value, role, width);
    }
    if let Some((kind, params)) = resource.asks_for() {
        let given = operation::given(model, theme, kind, params, |id| model.name(id));
        for (number, line) in given.iter().enumerate() {
            fact(&mut lines, if number == 0 { "with" } else { "" }, line, Role::Quiet, width);
        }
    }
    lines.extend(special::after(model, theme, resource, width));
    lines
}

fn piece(model: &Model, piece: Piece) -> String {
    match piece {
        Piece::Text(text) => text,
        Piece::Amount(number, unit) => amount(model, number, unit),
        Piece::Name(id) => model.name(id),
    }
}

fn bar(theme: &Theme, fraction: f64, step: u32, steps: Option<u32>, width: u16) -> StyledLine {
    let cells = usize::from(width / 3).max(6);
    let done = ((fraction.clamp(0.0, 1.0) * cells as f64).round() as usize).min(cells);
    let mut line = StyledLine::new(theme.glyphs.bar_done.repeat(done), Role::Bar)
        .with(theme.glyphs.bar_rest.repeat(cells - done), Role::BarRest)
        .with(format!(" {:.0}%", fraction * 100.0), Role::Text);
    if let Some(steps) = steps {
        line = line.with(format!("   step {step} of {steps}"), Role::Quiet);
    }
    line
}
