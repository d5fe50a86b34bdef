//! The last line: what is being typed, or the keys that apply now.

use ratatui::layout::Rect;

use crate::ui::app::App;
use crate::ui::style::canvas::Canvas;
use crate::ui::style::text::columns;
use crate::ui::style::theme::Role;
use crate::ui::view::hints;

/// Draws it in its place.
pub fn draw(app: &App, canvas: &mut Canvas<'_>, area: Rect) {
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
