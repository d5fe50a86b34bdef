//! The parts that are always there: header, tabs, the lines between panes.

use std::ops::Range;

use ratatui::layout::Rect;

use crate::domain::{LaneState, ToolState};
use crate::ui::model::layout::Layout;
use crate::ui::model::{Focus, Model};
use crate::ui::style::canvas::{Canvas, StyledLine, spark};
use crate::ui::style::text::{self, columns, width};
use crate::ui::style::theme::Role;
use crate::ui::tab::Tab;
use crate::ui::view::columns::lane_state;

/// The first line: the box, what it can do, how loaded it is, how much is in flight.
pub fn header(model: &Model, canvas: &mut Canvas<'_>, area: Rect) {
    let g = canvas.glyphs();
    let flight = &model.flight;
    // What waits there would wait for ever, and nothing else on the screen says so.
    let mut right = StyledLine::default();
    for state in [LaneState::Paused, LaneState::Draining] {
        let lanes: Vec<_> = model.lanes.iter().filter(|it| it.state == state).collect();
        let named = match lanes.as_slice() {
            [] => continue,
            [lane] => lane.name.clone(),
            lanes => format!("{} lanes", lanes.len()),
        };
        let (sign, role) = lane_state(&g, state);
        right = right.with(format!("{sign} {named}  "), role);
    }
    let counts = [
        (g.play, flight.running, Role::Busy),
        (g.wait, flight.waiting, Role::Waiting),
        (g.bad, flight.troubles(), Role::Bad),
    ];
    for (glyph, number, role) in counts {
        let role = if number == 0 { Role::Quiet } else { role };
        right = right.with(format!("{glyph}{} ", text::count(number)), role);
    }
    let right_width: u16 = right.0.iter().map(|(piece, _)| columns(piece)).sum();
    let room = area.width.saturating_sub(right_width + 1);
    canvas.line(area.right().saturating_sub(right_width), area.y, right_width, &right);

    let at = canvas.text(1, area.y, room, "hostler", Role::Title);
    let Some(host) = &model.host else { return };
    let at = canvas.text(at + 2, area.y, room.saturating_sub(at + 2), &host.name, Role::Text);
    if model.read_only {
        let at =
            canvas.text(at + 2, area.y, room.saturating_sub(at + 2), "read-only", Role::Warning);
        return load(model, canvas, area, at, room);
    }
    load(model, canvas, area, at, room);
}

/// What the box can do and how loaded it is, as far as there is room.
fn load(model: &Model, canvas: &mut Canvas<'_>, area: Rect, mut at: u16, room: u16) {
    let Some(host) = &model.host else { return };
    let g = canvas.glyphs();
    let mut parts: Vec<StyledLine> = Vec::new();
    if let Some(accelerator) = &host.accelerator {
        let role = if accelerator.name == "kvm" { Role::Good } else { Role::Waiting };
        let mark = if accelerator.name == "kvm" { g.good } else { g.dot };
        parts.push(StyledLine::new(format!("{} {mark}", accelerator.name), role));
    }
    let missing = host.missing().count();
    if missing > 0 {
        parts.push(StyledLine::new(format!("{} {missing} missing", g.bad), Role::Bad));
    }
    let cpu = host.load.cpu_percent.map(|percent| format!("{percent:.0}%"));
    let cpu = cpu.unwrap_or_else(|| g.none.to_owned());
    let load = host.load;
    let memory = text::share(load.memory_used, load.memory_total);
    let pool = text::share(load.pool_used, load.pool_total);
    // Before the first look at the box there is nothing to say about it.
    let is_known = load.memory_total > 0;
    let mut cpu_line = StyledLine::new("cpu ", Role::Quiet);
    if area.width >= 90 {
        cpu_line =
            cpu_line.with(spark(&g, model.cpu.iter().copied(), 8), Role::Bar).with(" ", Role::Text);
    }
    if is_known {
        parts.push(cpu_line.with(cpu, Role::Text));
        parts.push(StyledLine::new("mem ", Role::Quiet).with(memory, Role::Text));
        parts.push(StyledLine::new("pool ", Role::Quiet).with(pool, Role::Text));
    }
    if area.width >= 96
        && let Some(ToolState::Present { version }) =
            host.tools.iter().find(|tool| tool.name == "ffmpeg").map(|tool| &tool.state)
    {
        let version = version.split('-').next().unwrap_or(version);
        parts.insert(
            1.min(parts.len()),
            StyledLine::new("ffmpeg ", Role::Quiet).with(version, Role::Text),
        );
    }
    let gap = if area.width >= 110 { 3 } else { 2 };
    for part in parts {
        let wide: u16 = part.0.iter().map(|(piece, _)| columns(piece)).sum();
        if at + gap + wide > room {
            break;
        }
        at = canvas.line(at + gap, area.y, wide, &part);
    }
}

/// The longest and the shortest a title on a tab is cut to where there is room for less.
const LONGEST_TITLE: usize = 16;
const SHORTEST_TITLE: usize = 4;

/// What stands on each tab and where.
fn tab_texts(model: &Model) -> Vec<(Tab, String)> {
    let number = |tab: Tab| {
        let counts = model.counts.as_ref()?;
        match tab.resource() {
            Some(kind) => {
                counts.resources.iter().find(|(other, _)| *other == kind).map(|(_, number)| *number)
            }
            None => Some(counts.operations),
        }
    };
    let wide = |texts: &[(Tab, String)]| {
        texts.iter().map(|(_, text)| width(text) + 1).sum::<usize>()
            <= usize::from(model.size.0) + 1
    };
    let tabs = || model.panes.iter().map(|pane| pane.tab).enumerate();
    let long: Vec<_> = tabs()
        .map(|(place, tab)| {
            let count = number(tab).map(|number| format!(" {}", text::about(number)));
            (tab, format!(" {} {}{} ", place + 1, tab.title(), count.unwrap_or_default()))
        })
        .collect();
    if wide(&long) {
        return long;
    }
    // What is counted says more than the end of a word.
    for letters in (SHORTEST_TITLE..=LONGEST_TITLE).rev() {
        let tight: Vec<_> = tabs()
            .map(|(place, tab)| {
                let title = tab.title();
                let count = number(tab).map(|number| format!(" {}", text::about(number)));
                let title = text::fit(&title, letters, "").into_owned();
                (tab, format!(" {} {}{}", place + 1, title, count.unwrap_or_default()))
            })
            .collect();
        if wide(&tight) {
            return tight;
        }
    }
    let named: Vec<_> =
        tabs().map(|(place, tab)| (tab, format!(" {} {} ", place + 1, tab.title()))).collect();
    if wide(&named) {
        return named;
    }
    long.into_iter()
        .enumerate()
        .map(|(place, (tab, text))| {
            let open = tab == model.tab;
            (tab, if open { text } else { format!(" {} ", place + 1) })
        })
        .collect()
}

/// Which columns belong to which tab.
#[must_use]
pub fn tab_places(model: &Model) -> Vec<(Tab, Range<u16>)> {
    let mut at = 0;
    tab_texts(model)
        .into_iter()
        .map(|(tab, text)| {
            let from = at;
            at += columns(&text);
            let span = from..at;
            at += 1;
            (tab, span)
        })
        .collect()
}

/// The line of tabs.
pub fn tabs(model: &Model, canvas: &mut Canvas<'_>, area: Rect) {
    let places = tab_places(model);
    let last = places.len().saturating_sub(1);
    for (number, ((tab, text), (_, span))) in tab_texts(model).into_iter().zip(places).enumerate() {
        let role = if tab == model.tab { Role::Tab } else { Role::Text };
        let room = area.width.saturating_sub(span.start);
        canvas.text(span.start, area.y, room, &text, role);
        if number < last && span.end < area.width {
            let glyph = canvas.glyphs().vertical;
            canvas.text(span.end, area.y, 1, glyph, Role::Border);
        }
    }
}

/// The lines around and between list, detail and in flight, with their titles.
pub fn frame(model: &Model, canvas: &mut Canvas<'_>, places: &Layout) {
    let g = canvas.glyphs();
    let frame = places.frame;
    canvas.frame(frame, Role::Border);
    let between = places.flight.y.saturating_sub(1);
    canvas.horizontal(frame.x + 1, between, frame.width.saturating_sub(2), Role::Border);
    canvas.text(frame.x, between, 1, g.tee_left, Role::Border);
    canvas.text(frame.right() - 1, between, 1, g.tee_right, Role::Border);
    if let Some(detail) = places.detail {
        let x = detail.x - 1;
        canvas.vertical(x, detail.y, detail.height, Role::Border);
        canvas.text(x, frame.y, 1, g.tee_down, Role::Border);
        canvas.text(x, between, 1, g.tee_up, Role::Border);
        let title = format!(" {} ", super::detail::title(model));
        canvas.text(x + 2, frame.y, detail.width.saturating_sub(2), &title, Role::Title);
    }
    list_title(model, canvas, places);
    flight_title(model, canvas, places, between);
}

fn list_title(model: &Model, canvas: &mut Canvas<'_>, places: &Layout) {
    let pane = model.pane();
    let g = canvas.glyphs();
    let end = places.list.right();
    let title_role = if model.focus == Focus::List { Role::Title } else { Role::Quiet };
    let mut title = StyledLine::new(format!(" {} ", model.tab.title()), title_role);
    // Before what may be so long that it is cut: what is marked need not be among the rows shown.
    if !pane.marks.is_empty() {
        let marks = pane.marks.len();
        title =
            title.with(format!("{0}{0} {1} {marks} marked ", g.horizontal, g.mark), Role::Marked);
    }
    if model.is_misread() {
        // What is typed means nothing yet: what was understood before still holds.
        let shown = if pane.filter.is_empty() { "all rows" } else { &*format!("/{}", pane.filter) };
        title = title
            .with(format!("{0}{0} ", g.horizontal), Role::Border)
            .with(format!("still {shown} "), Role::Warning);
    } else if !pane.filter.is_empty() {
        let shown = format!("{0}{0} /{1} ", g.horizontal, pane.filter);
        title = title.with(shown, Role::Waiting);
    }
    if let Some(sort) = &pane.sort {
        let arrow = if sort.descending { g.down } else { g.up };
        let known = model.tab.subject().column(&sort.column);
        let column = known.map_or(sort.column.as_str(), |column| &column.title);
        title = title.with(format!("{0}{0} {1} {arrow} ", g.horizontal, column), Role::Quiet);
    }
    let at = canvas.line(2, places.frame.y, end.saturating_sub(3), &title);
    if pane.total > u64::from(places.list_rows()) {
        let place = format!(" {}/{} ", text::count(pane.cursor + 1), text::count(pane.total));
        let wide = columns(&place);
        if at + wide + 1 < end {
            canvas.text(end - wide - 1, places.frame.y, wide, &place, Role::Quiet);
        }
    }
}

fn flight_title(model: &Model, canvas: &mut Canvas<'_>, places: &Layout, y: u16) {
    let flight = &model.flight;
    let all = flight.running + flight.waiting + flight.failed;
    let focused = model.focus == Focus::Flight;
    let role = if focused { Role::Title } else { Role::Quiet };
    let room = places.frame.width.saturating_sub(4);
    let at = canvas.text(2, y, room, " In flight ", role);
    let shown = places.flight.height;
    let rest = if all == 0 {
        "· nothing ".to_owned()
    } else if all > u64::from(shown) {
        format!("· {} of {} ", shown, text::count(all))
    } else {
        return;
    };
    canvas.text(at, y, room.saturating_sub(at), &rest, Role::Quiet);
}
