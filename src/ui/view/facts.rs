//! Facts: a name and a value each, one below the other.

use crate::ui::style::canvas::StyledLine;
use crate::ui::style::text;
use crate::ui::style::theme::Role;

/// How wide the names of facts are.
pub const LABEL: usize = 9;

/// A fact: its name and its value, which goes on below itself where it is long.
pub fn fact(lines: &mut Vec<StyledLine>, label: &str, value: &str, role: Role, width: u16) {
    let room = usize::from(width).saturating_sub(LABEL + 1).max(8);
    for (number, part) in text::wrap(value, room).into_iter().enumerate() {
        let label = if number == 0 { label } else { "" };
        lines.push(StyledLine::new(format!("{label:<LABEL$} "), Role::Quiet).with(part, role));
    }
}
