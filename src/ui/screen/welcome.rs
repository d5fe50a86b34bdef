//! The first screen on an empty box: what can be done, what is missing, where to begin.

use ratatui::layout::Rect;

use crate::domain::ToolState;
use crate::ui::input::action::Action;
use crate::ui::model::Model;
use crate::ui::style::canvas::{Canvas, StyledLine};
use crate::ui::style::text;
use crate::ui::style::theme::Role;
use crate::ui::tab::Tab;
use crate::ui::windows::{doctor, help};

/// Draws it in the place of the list.
pub fn draw(model: &Model, canvas: &mut Canvas<'_>, area: Rect) {
    let width = area.width.saturating_sub(3);
    let room = usize::from(width).max(8);
    let mut lines = Vec::new();
    // On a small screen what to press matters more than what it is all for.
    let is_small = area.height < 14;
    let mut place = Vec::new();
    if let Some(host) = &model.host {
        let is_used = model.counts.as_ref().is_some_and(|counts| counts.operations > 0);
        let dir = host.state_dir.display();
        let told = match is_used {
            true => format!("Nothing here yet, in the state directory {dir}."),
            false => format!("Nothing here yet: nobody has used the state directory {dir}."),
        };
        place.extend(text::wrap(&told, room).into_iter().map(|l| StyledLine::new(l, Role::Title)));
    }
    if !is_small {
        lines.append(&mut place);
        lines.push(StyledLine::new("What this console does:", Role::Title));
        let intros = model.catalogue.resources().iter().map(|kind| &kind.spec().intro);
        for what in intros.filter(|intro| !intro.is_empty()) {
            lines.push(StyledLine::new(format!(" {} {what}", canvas.glyphs().dot), Role::Text));
        }
        lines.push(StyledLine::empty());
    }
    let missing: Vec<_> = model.host.iter().flat_map(crate::domain::host::Host::missing).collect();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|tool| tool.name.as_str()).collect();
        let told = format!("{} Missing on this box: {}", canvas.glyphs().bad, names.join(", "));
        lines.extend(text::wrap(&told, room).into_iter().map(|l| StyledLine::new(l, Role::Bad)));
        let mut mends: Vec<&str> = missing
            .iter()
            .filter_map(|tool| match &tool.state {
                ToolState::Missing { mend } => Some(mend.as_str()),
                ToolState::Present { .. } => None,
            })
            .collect();
        mends.dedup();
        for mend in mends {
            let parts = text::wrap(mend, room.saturating_sub(4));
            for (number, part) in parts.into_iter().enumerate() {
                let prompt = if number == 0 { "  $ " } else { "    " };
                lines.push(StyledLine::new(prompt, Role::Quiet).with(part, Role::Key));
            }
        }
        lines.push(StyledLine::empty());
    }
    lines.push(StyledLine::new("To begin:", Role::Title));
    let key = |action: &Action| model.keymap.key(action);
    let firsts = model.catalogue.iter().filter(|spec| !spec.hint.first.is_empty());
    for spec in firsts.filter(|_| !model.read_only) {
        // What is about no resource is begun on any list.
        let tab = spec.resource.map_or(Some(String::new()), |of| {
            key(&Action::Tab(Tab::Resources(of))).map(|tab| format!("{tab} "))
        });
        if let Some((tab, key)) = tab.zip(key(&Action::Do(spec.kind.to_string()))) {
            let line = StyledLine::new(format!(" {tab}{key} "), Role::Key);
            lines.push(line.with(format!(" {}", spec.hint.first), Role::Text));
        }
    }
    let one = |action: &Action, what: &str| {
        let key = key(action)?;
        Some(StyledLine::new(format!(" {key:<3} "), Role::Key).with(format!(" {what}"), Role::Text))
    };
    lines.extend(one(&doctor::OPEN, "what this box can and cannot do"));
    lines.extend(one(&help::OPEN, "every key"));
    lines.append(&mut place);
    for (line, y) in lines.iter().zip(area.y..area.bottom()) {
        canvas.line(area.x + 2, y, width, line);
    }
}
