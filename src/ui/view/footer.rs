//! The last line with the keys that apply now, and what is told for a while above it.

use ratatui::layout::Rect;

use super::hints;
use crate::ui::app::App;
use crate::ui::model::Model;
use crate::ui::model::notification::Severity;
use crate::ui::style::canvas::Canvas;
use crate::ui::style::text::{self, columns};
use crate::ui::style::theme::Role;

/// The last line: what is being typed, or which keys do what.
pub fn footer(app: &App, canvas: &mut Canvas<'_>, area: Rect) {
    let model = &app.model;
    if app.front().is_some_and(|front| front.draw_footer(model, canvas, area)) {
        return;
    }
    let mut at = canvas.text(1, area.y, area.width, &hints::marks(model), Role::Marked);
    if !model.pending.is_empty() {
        let keys: Vec<_> = model.pending.iter().map(ToString::to_string).collect();
        at = canvas.text(at, area.y, area.width, &format!("{} … ", keys.join(" ")), Role::Input);
    }
    let keys = app.front().map_or_else(|| hints::of_lists(model), |front| front.hints(model));
    for (key, title) in keys {
        let wide = columns(&key) + 1 + columns(&title);
        if at + wide > area.width {
            break;
        }
        at = canvas.text(at, area.y, wide, &key, Role::Key);
        at = canvas.text(at + 1, area.y, wide, &title, Role::Text) + 2;
    }
}

/// What is told for a while, on the line above the keys so that these stay in sight. What is too
/// long for one line takes up to three.
pub fn notification(model: &Model, canvas: &mut Canvas<'_>, footer: Rect) {
    let g = canvas.glyphs();
    let (told, role) = match (&model.lost, &model.notification) {
        (Some(why), _) => (format!("{} connection lost, trying again: {why}", g.bad), Role::Bad),
        (None, Some(told)) => {
            let (glyph, role) = match told.severity {
                Severity::Success => (g.good, Role::Good),
                Severity::Info => (g.dot, Role::Text),
                Severity::Error => (g.bad, Role::Bad),
            };
            (format!("{glyph} {}", told.text), role)
        }
        (None, None) => return,
    };
    above(canvas, footer, &told, role);
}

/// Writes a sentence above the last line, in up to three lines.
pub fn above(canvas: &mut Canvas<'_>, footer: Rect, told: &str, role: Role) {
    const MOST: usize = 3;
    let g = canvas.glyphs();
    let room = usize::from(footer.width.saturating_sub(6)).max(8);
    let mut lines = text::wrap(&text::clean(told), room);
    if lines.len() > MOST {
        lines.truncate(MOST);
        if let Some(last) = lines.last_mut() {
            let short = text::fit(last, room - 2, "").into_owned();
            *last = format!("{short} {}", g.more);
        }
    }
    let height = u16::try_from(lines.len()).unwrap_or(0);
    let longest = lines.iter().map(|line| columns(line)).max().unwrap_or(0);
    let top = footer.y.saturating_sub(height);
    for (line, y) in lines.iter().zip(top..footer.y) {
        // The last stands in the frame's line; above it nothing of what is behind looks out.
        let wide = if y + 1 == footer.y { columns(line) + 2 } else { longest.max(footer.width) };
        let place = Rect { x: 2, y, width: wide.min(footer.width.saturating_sub(3)), height: 1 };
        canvas.fill(place, Role::Text);
        canvas.text(3, y, longest, line, role);
    }
}
