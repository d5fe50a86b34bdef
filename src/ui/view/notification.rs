//! What is told for a while, above the last line.

use ratatui::layout::Rect;

use crate::ui::model::Model;
use crate::ui::model::notification::Severity;
use crate::ui::style::canvas::Canvas;
use crate::ui::style::text::{self, columns};
use crate::ui::style::theme::Role;

/// What is told for a while, on the line above the keys so that these stay in sight. What is too
/// long for one line takes up to three.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>, footer: Rect) {
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
