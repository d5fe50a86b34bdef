//! The palette: what is typed, and what matches it.

use ratatui::layout::Rect;

use crate::ui::model::Model;
use crate::ui::model::layout::window;
use crate::ui::style::canvas::Canvas;
use crate::ui::style::text;
use crate::ui::style::theme::Role;
use crate::ui::windows::palette::Palette;

/// Draws it.
pub fn draw(model: &Model, palette: &Palette, canvas: &mut Canvas<'_>) {
    let area = window(model.size, 76, 18);
    let inside = canvas.window(area, "Commands", Role::Focus);
    let width = inside.width.saturating_sub(2);
    let x = inside.x + 1;
    let at = canvas.text(x, inside.y, width, ": ", Role::Key);
    canvas.input(at, inside.y, width.saturating_sub(2), &palette.input, false);
    let rows = Rect { y: inside.y + 1, height: inside.height.saturating_sub(1), ..inside };
    let from = (palette.at + 1).saturating_sub(usize::from(rows.height));
    let name_width = if width >= 60 { 26 } else { width * 3 / 5 };
    for ((number, found), y) in
        palette.matches.iter().enumerate().skip(from).zip(rows.y..rows.bottom())
    {
        let key_width = u16::try_from(text::width(&found.key)).unwrap_or(0);
        canvas.text(x + 1, y, name_width, &found.text, Role::Text);
        let note = x + 1 + name_width + 2;
        let room = inside.right().saturating_sub(note + key_width + 3);
        canvas.text(note, y, room, &found.note, Role::Quiet);
        canvas.text_right(x, y, width.saturating_sub(1), &found.key, Role::Key);
        if number == palette.at {
            canvas.restyle(Rect { x: inside.x, y, width: inside.width, height: 1 }, Role::Selected);
        }
    }
    if palette.matches.is_empty() {
        canvas.text(x + 1, rows.y, width, "nothing matches", Role::Quiet);
    }
}
