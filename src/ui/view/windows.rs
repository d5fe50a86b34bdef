//! The smaller windows: help, doctor, lanes, sorting, questions, the serial console.

use std::borrow::Cow;

use tui_input::Input;
use tui_term::widget::PseudoTerminal;

use ratatui::layout::{Position, Rect};
use ratatui::widgets::Widget;

use super::canvas::{Canvas, Line};
use crate::domain::{LaneState, ToolState};
use crate::ui::action::{Action, Scope};
use crate::ui::confirm::{Ask, Confirm};
use crate::ui::console::Console;
use crate::ui::filter_line;
use crate::ui::layout::{full, window};
use crate::ui::model::{Model, QUIT_CHOICES};
use crate::ui::text;
use crate::ui::theme::{Role, Theme};

/// Draws lines in a full window, from the first one shown.
pub fn scrolled(model: &Model, title: &str, lines: &[Line], scroll: u16, canvas: &mut Canvas<'_>) {
    let area = full(model.size);
    let inside = canvas.window(area, title, Role::Focus);
    let room = usize::from(inside.height);
    let from = usize::from(scroll).min(lines.len().saturating_sub(room));
    let width = inside.width.saturating_sub(2);
    for (line, y) in lines.iter().skip(from).zip(inside.y..inside.bottom()) {
        canvas.line(inside.x + 1, y, width, line);
    }
    if lines.len() > room {
        let last = (from + room).min(lines.len());
        let place = format!(" {}-{last} of {} ", from + 1, lines.len());
        let wide = u16::try_from(place.len()).unwrap_or(0);
        let x = area.right().saturating_sub(wide + 2);
        canvas.text(x, area.bottom() - 1, wide, &place, Role::Quiet);
    }
}

/// Every key, as far as it matches what is looked for.
#[must_use]
pub fn help_lines(model: &Model, search: &str, width: u16) -> Vec<Line> {
    let search = search.to_lowercase();
    let mut lines = Vec::new();
    let mut groups: Vec<(Scope, String)> =
        vec![(Scope::Tab(model.tab), format!("On {}", model.tab.title()))];
    for tab in model.panes.iter().map(|pane| pane.tab) {
        if tab != model.tab {
            groups.push((Scope::Tab(tab), format!("On {}", tab.title())));
        }
    }
    groups.insert(1, (Scope::Everywhere, "Everywhere".to_owned()));
    groups.insert(2, (Scope::Operation, "On an operation".to_owned()));
    groups.push((Scope::Form, "In a form".to_owned()));
    groups.push((Scope::Console, "In a serial console".to_owned()));
    groups.push((Scope::Lanes, "In the lanes".to_owned()));
    groups.push((Scope::Sort, "In the columns to sort by".to_owned()));
    groups.push((Scope::Question, "In a question".to_owned()));
    groups.push((Scope::Leave, "Leaving with work in flight".to_owned()));
    groups.push((Scope::Search, "Where something is searched for or typed".to_owned()));
    for (scope, title) in groups {
        let matching: Vec<_> = model
            .keymap
            .entries()
            .iter()
            .filter(|entry| entry.scopes.contains(&scope))
            .map(|entry| (model.keymap.keys(&entry.action).join(" "), entry))
            .filter(|(keys, entry)| {
                search.is_empty()
                    || entry.name.contains(&search)
                    || entry.doc.to_lowercase().contains(&search)
                    || keys.to_lowercase() == search
            })
            .collect();
        if matching.is_empty() {
            continue;
        }
        if !lines.is_empty() {
            lines.push(Line::empty());
        }
        lines.push(Line::new(title, Role::Title));
        for (keys, entry) in matching {
            beside(&mut lines, &keys, Role::Key, &entry.doc, width);
        }
    }
    let columns = model.panes.iter().map(|pane| {
        let names = filter_line::names(pane.tab.subject(), &Input::default());
        (pane.tab.title(), names.join(" "))
    });
    let columns: Vec<_> = columns.collect();
    let title = "Columns a filter takes";
    let wanted = |names: &str| title.to_lowercase().contains(&search) || names.contains(&search);
    if columns.iter().any(|(_, names)| wanted(names)) {
        if !lines.is_empty() {
            lines.push(Line::empty());
        }
        lines.push(Line::new(title, Role::Title));
        for (tab, names) in columns.iter().filter(|(_, names)| wanted(names)) {
            beside(&mut lines, tab, Role::Quiet, names, width);
        }
    }
    if lines.is_empty() {
        lines.push(Line::new(format!("nothing is called '{search}'"), Role::Quiet));
    }
    lines
}

/// A word or two and what is said of it, side by side, each in as many lines as it needs.
fn beside(lines: &mut Vec<Line>, word: &str, role: Role, told: &str, width: u16) {
    // The smallest screen leaves more room to what is said.
    let left = if width < 60 { 9 } else { 16 };
    let room = usize::from(width).saturating_sub(left + 3).max(10);
    let (words, told) = (text::wrap(word, left), text::wrap(told, room));
    for number in 0..words.len().max(told.len()) {
        let part = |lines: &[String]| lines.get(number).cloned().unwrap_or_default();
        let word = format!(" {:<left$}  ", part(&words));
        lines.push(Line::new(word, role).with(part(&told), Role::Text));
    }
}

/// Draws the help.
pub fn help(model: &Model, scroll: u16, search: &Input, canvas: &mut Canvas<'_>) {
    let lines = help_lines(model, search.value(), full(model.size).width.saturating_sub(4));
    let title = if search.value().is_empty() {
        "Help · type to search".to_owned()
    } else {
        format!("Help · {}", search.value())
    };
    scrolled(model, &title, &lines, scroll, canvas);
}

/// What this box can and cannot do.
#[must_use]
pub fn doctor(model: &Model, theme: &Theme) -> Vec<Line> {
    let g = theme.glyphs;
    let Some(host) = &model.host else {
        return vec![Line::new("the box is being looked at", Role::Quiet)];
    };
    let width = usize::from(full(model.size).width.saturating_sub(6));
    let mut lines = vec![
        Line::new(format!("hostler {} on {}", host.version, host.name), Role::Title),
        Line::new("state in ", Role::Quiet).with(host.state_dir.display().to_string(), Role::Text),
        Line::empty(),
    ];
    match &host.accelerator {
        Some(accelerator) => {
            let (glyph, role) = if accelerator.name == "kvm" {
                (g.good, Role::Good)
            } else {
                (g.dot, Role::Waiting)
            };
            lines.push(Line::new(format!("{glyph} accelerator {}", accelerator.name), role));
            for part in text::wrap(&accelerator.why, width) {
                lines.push(Line::new(format!("  {part}"), Role::Quiet));
            }
        }
        None => lines.push(Line::new("accelerator not known yet", Role::Quiet)),
    }
    lines.push(Line::empty());
    for tool in &host.tools {
        match &tool.state {
            ToolState::Present { version } => lines.push(
                Line::new(format!("{} ", g.good), Role::Good)
                    .with(format!("{:<22} ", tool.name), Role::Text)
                    .with(version.clone(), Role::Quiet),
            ),
            ToolState::Missing { mend } => {
                lines.push(
                    Line::new(format!("{} ", g.bad), Role::Bad)
                        .with(format!("{:<22} ", tool.name), Role::Text)
                        .with("missing", Role::Bad),
                );
                for part in text::wrap(&format!("without it: {}", tool.purpose), width) {
                    lines.push(Line::new(format!("    {part}"), Role::Quiet));
                }
                for part in text::wrap(mend, width) {
                    lines.push(Line::new(format!("    $ {part}"), Role::Key));
                }
            }
        }
    }
    lines
}

/// Draws the lanes.
pub fn lanes(model: &Model, at: usize, canvas: &mut Canvas<'_>) {
    let g = canvas.glyphs();
    let height = u16::try_from(model.lanes.len().max(1) + 3).unwrap_or(u16::MAX);
    let inside = canvas.window(window(model.size, 40, height), "Lanes", Role::Focus);
    let x = inside.x + 2;
    let room = inside.width.saturating_sub(3);
    // Narrow enough for the smallest screen.
    let heading = "LANE    STATE      WIDTH RUN WAIT";
    canvas.text(x, inside.y, room, heading, Role::Quiet);
    for ((number, lane), y) in model.lanes.iter().enumerate().zip(inside.y + 1..inside.bottom()) {
        let (state, role) = match lane.state {
            LaneState::Open => (format!("{} open", g.play), Role::Good),
            LaneState::Paused => (format!("{} paused", g.paused), Role::Waiting),
            LaneState::Draining => (format!("{} draining", g.down), Role::Waiting),
        };
        canvas.text(x, y, 7, &lane.name, Role::Text);
        canvas.text(x + 8, y, 10, &state, role);
        for (place, figure) in [(19, lane.width), (23, lane.running), (28, lane.waiting)] {
            let column = room.saturating_sub(place).min(5);
            canvas.text_right(x + place, y, column, &figure.to_string(), Role::Text);
        }
        if number == at {
            canvas.restyle(Rect { x: inside.x, y, width: inside.width, height: 1 }, Role::Selected);
        }
    }
}

/// Draws the columns to sort by.
pub fn sort(model: &Model, at: usize, canvas: &mut Canvas<'_>) {
    let g = canvas.glyphs();
    let columns = model.tab.subject().columns();
    let height = u16::try_from(columns.len() + 2).unwrap_or(u16::MAX);
    let inside = canvas.window(window(model.size, 30, height), "Sort by", Role::Focus);
    let from = (at + 1).saturating_sub(usize::from(inside.height));
    let shown = columns.iter().enumerate().skip(from);
    for ((number, column), y) in shown.zip(inside.y..inside.bottom()) {
        canvas.text(inside.x + 2, y, inside.width.saturating_sub(4), &column.title, Role::Text);
        if let Some(sort) = model.pane().sort.as_ref().filter(|sort| sort.column == column.name) {
            let arrow = if sort.descending { g.down } else { g.up };
            canvas.text(inside.right() - 3, y, 1, arrow, Role::Text);
        }
        if number == at {
            canvas.restyle(Rect { x: inside.x, y, width: inside.width, height: 1 }, Role::Selected);
        }
    }
}

/// Draws a question before something dangerous.
pub fn confirm(model: &Model, confirm: &Confirm, canvas: &mut Canvas<'_>) {
    let width = model.size.0.min(64);
    let room = usize::from(width.saturating_sub(4));
    let mut lines: Vec<Line> = text::wrap(&confirm.warning, room)
        .into_iter()
        .map(|l| Line::new(l, Role::Warning))
        .collect();
    if !confirm.things.is_empty() {
        let most = usize::from(model.size.1.saturating_sub(9)).saturating_sub(lines.len()).max(1);
        lines.push(Line::empty());
        for thing in confirm.things.iter().take(most) {
            lines.push(Line::new(format!("  {} {thing}", canvas.glyphs().mark), Role::Text));
        }
        if confirm.things.len() > most {
            let more = confirm.things.len() - most;
            lines.push(Line::new(format!("  and {more} more"), Role::Quiet));
        }
    }
    let height = u16::try_from(lines.len() + 4).unwrap_or(u16::MAX);
    let area = window(model.size, width, height);
    let inside = canvas.window(area, &format!("{}?", confirm.title), Role::Bad);
    let x = inside.x + 1;
    let inner = inside.width.saturating_sub(2);
    for (line, y) in lines.iter().zip(inside.y..inside.bottom().saturating_sub(2)) {
        canvas.line(x, y, inner, line);
    }
    let y = inside.bottom().saturating_sub(1);
    match &confirm.ask {
        Ask::YesNo { yes } => {
            let (no_role, yes_role) =
                if *yes { (Role::Text, Role::Tab) } else { (Role::Tab, Role::Text) };
            let key = |action| model.keymap.key(&action).unwrap_or_default();
            let (no, yes) = (key(Action::AnswerNo), key(Action::AnswerYes));
            let at = canvas.text(x, y, inner, &format!(" {no}  No "), no_role);
            let at = canvas.text(at + 2, y, inner, &format!(" {yes}  Yes "), yes_role);
            if confirm.form.is_some() {
                let left = inside.right().saturating_sub(at + 3);
                let at = canvas.text(at + 3, y, left, &key(Action::AnswerOptions), Role::Key);
                canvas.text(at + 1, y, left.saturating_sub(2), "options", Role::Quiet);
            }
        }
        Ask::Type { word, input } => {
            let at =
                canvas.text(x, y, inner.saturating_sub(4), &format!("type {word}: "), Role::Text);
            canvas.input(at, y, inside.right().saturating_sub(at + 1), input, false);
        }
    }
}

/// Draws the question about work in flight.
pub fn quit(model: &Model, at: usize, canvas: &mut Canvas<'_>) {
    let inside = canvas.window(window(model.size, 48, 7), "Leave", Role::Focus);
    let flight = &model.flight;
    let told = format!("{} running, {} waiting. What of them?", flight.running, flight.waiting);
    let inner = inside.width.saturating_sub(2);
    canvas.text(inside.x + 1, inside.y, inner, &told, Role::Text);
    for ((number, (answer, what)), y) in
        QUIT_CHOICES.iter().enumerate().zip(inside.y + 2..inside.bottom())
    {
        let key = model.keymap.key(answer).unwrap_or_default();
        let next = canvas.text(inside.x + 2, y, inner, &key, Role::Key);
        canvas.text(next + 2, y, inner.saturating_sub(5), what, Role::Text);
        if number == at {
            canvas.restyle(Rect { x: inside.x, y, width: inside.width, height: 1 }, Role::Selected);
        }
    }
}

/// Draws a guest's serial console.
pub fn console(model: &Model, console: &Console, canvas: &mut Canvas<'_>) {
    let area = full(model.size);
    let leave = model.keymap.key(&Action::ConsoleLeave).unwrap_or_default();
    let title = format!("{} · serial console · {leave} leaves", console.name);
    let inside = canvas.window(area, &title, Role::Focus);
    let screen = console.parser.screen();
    let mut terminal = PseudoTerminal::new(screen);
    let mut cursor = tui_term::widget::Cursor::default();
    cursor.hide();
    terminal = terminal.cursor(cursor);
    terminal.render(inside, canvas.buffer());
    for place in inside.positions() {
        let Some(cell) = canvas.buffer().cell_mut(place) else { continue };
        // The terminal that was emulated keeps what has no width with the character before it.
        if let Cow::Owned(_) = text::clean(cell.symbol()) {
            cell.set_symbol("\u{fffd}");
        }
    }
    if screen.scrollback() > 0 {
        let told = format!(" {} lines up ", screen.scrollback());
        let wide = u16::try_from(told.len()).unwrap_or(0);
        canvas.text(area.right().saturating_sub(wide + 2), area.y, wide, &told, Role::Waiting);
    }
    match (&console.ended, console.open) {
        (Some(why), _) => {
            let told = format!(" {why} · enter leaves ");
            canvas.text(
                area.x + 2,
                area.bottom() - 1,
                area.width.saturating_sub(4),
                &told,
                Role::Bad,
            );
        }
        (None, false) => {
            canvas.text(area.x + 2, area.bottom() - 1, 12, " opening ", Role::Waiting);
        }
        (None, true) => {
            let (row, column) = screen.cursor_position();
            if !screen.hide_cursor() && screen.scrollback() == 0 {
                let at = Position { x: inside.x + column, y: inside.y + row };
                canvas.cursor = inside.contains(at).then_some(at);
            }
        }
    }
}
