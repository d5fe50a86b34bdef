//! Everything about what the keys are on, beside the list or in a window of its own.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line};
use super::{flight, operation};
use crate::domain::{Emphasis, Piece, Resource, State};
use crate::ui::columns::{amount, state};
use crate::ui::model::{Model, Row};
use crate::ui::theme::{Role, Theme};
use crate::ui::{special, text};

/// How wide the names of facts are.
pub const LABEL: usize = 9;

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
pub fn lines(model: &Model, theme: &Theme, width: u16) -> Vec<Line> {
    match model.shown() {
        Some(Row::Resource(resource)) => of_resource(model, theme, resource, width),
        Some(Row::Operation(selected)) => match &model.beside {
            Some(view) if view.uid == selected.uid => operation::lines(model, theme, view, width),
            _ => {
                let view = crate::ui::model::OperationView {
                    uid: selected.uid,
                    detail: Some(crate::domain::OperationDetail {
                        operation: selected.clone(),
                        steps: Vec::new(),
                        children: Vec::new(),
                    }),
                    scroll: 0,
                };
                operation::lines(model, theme, &view, width)
            }
        },
        None => Vec::new(),
    }
}

/// A fact: its name and its value, which goes on below itself where it is long.
pub fn fact(lines: &mut Vec<Line>, label: &str, value: &str, role: Role, width: u16) {
    let room = usize::from(width).saturating_sub(LABEL + 1).max(8);
    for (number, part) in text::wrap(value, room).into_iter().enumerate() {
        let label = if number == 0 { label } else { "" };
        lines.push(Line::new(format!("{label:<LABEL$} "), Role::Quiet).with(part, role));
    }
}

fn of_resource(model: &Model, theme: &Theme, resource: &Resource, width: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    let glyphs = theme.glyphs;
    match model.flight.touching(resource.id(), resource.name()) {
        Some(operation) => {
            let doing = model
                .catalogue
                .get(&operation.kind)
                .map_or(operation.kind.as_str(), |spec| spec.doing.as_ref());
            let (glyph, role) = match operation.state {
                State::Run => (glyphs.busy, Role::Busy),
                _ => (glyphs.wait, Role::Waiting),
            };
            let what = flight::what(operation);
            let head = format!("{glyph} {doing}");
            // What it says of itself may begin with the same word.
            let tail = match what.strip_prefix(doing) {
                Some(rest) => rest.to_owned(),
                None if what.is_empty() => what,
                None => format!(" · {what}"),
            };
            lines.push(Line::new(head, role).with(tail, Role::Text));
            if let Some(progress) = &operation.progress
                && let Some(fraction) = progress.fraction
            {
                lines.push(bar(theme, fraction, progress.step, progress.steps, width));
            }
        }
        None => {
            let (glyph, role) = state(&glyphs, resource);
            lines.push(Line::new(format!("{glyph} {}", resource.state().replace('_', " ")), role));
            if let Some(operation) = model.flight.failed_on(resource.id()) {
                let what =
                    format!("{} {}: {}", operation.uid, operation.kind, flight::what(operation));
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
        let value: String = detail.pieces.into_iter().map(|it| piece(model, it)).collect();
        fact(&mut lines, &detail.label, &value, role, width);
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

fn bar(theme: &Theme, fraction: f64, step: u32, steps: Option<u32>, width: u16) -> Line {
    let cells = usize::from(width / 3).max(6);
    let done = ((fraction.clamp(0.0, 1.0) * cells as f64).round() as usize).min(cells);
    let mut line = Line::new(theme.glyphs.bar_done.repeat(done), Role::Bar)
        .with(theme.glyphs.bar_rest.repeat(cells - done), Role::BarRest)
        .with(format!(" {:.0}%", fraction * 100.0), Role::Text);
    if let Some(steps) = steps {
        line = line.with(format!("   step {step} of {steps}"), Role::Quiet);
    }
    line
}
