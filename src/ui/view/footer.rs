//! The last line with the keys that apply now, and what is told for a while above it.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line};
use super::shell::columns;
use tui_input::Input;

use crate::domain::{LaneState, Misread, State};
use crate::ui::action::{Action, Entry, Scope};
use crate::ui::confirm::Ask;
use crate::ui::field::Widget;
use crate::ui::filter_line;
use crate::ui::model::{Focus, Modal, Model, Row, Tab, Tone};
use crate::ui::text::{self, width};
use crate::ui::theme::Role;
use crate::ui::update::scopes;

/// The last line: what is being typed, or which keys do what.
pub fn footer(model: &Model, canvas: &mut Canvas<'_>, area: Rect) {
    if let Some(Modal::Filter { input, .. }) = model.modals.last() {
        return filter(model, canvas, area, input);
    }
    let mut at = 1;
    let marks = marks(model);
    at = canvas.text(at, area.y, area.width, &marks, Role::Marked);
    if !model.pending.is_empty() {
        let keys: Vec<_> = model.pending.iter().map(ToString::to_string).collect();
        at = canvas.text(at, area.y, area.width, &format!("{} … ", keys.join(" ")), Role::Input);
    }
    for (key, title) in keys(model) {
        let wide = columns(&key) + 1 + columns(&title);
        if at + wide > area.width {
            break;
        }
        at = canvas.text(at, area.y, wide, &key, Role::Key);
        at = canvas.text(at + 1, area.y, wide, &title, Role::Text) + 2;
    }
}

/// The line a filter is typed into, and above it what the columns are called. What is not
/// understood is pointed at, and told why.
fn filter(model: &Model, canvas: &mut Canvas<'_>, area: Rect, input: &Input) {
    let misread = model.misread(input.value());
    if model.message.is_none() && model.lost.is_none() {
        let names = filter_line::names(model.tab.subject(), input).join(" ");
        let line =
            Line::new(" columns ", Role::Quiet).with(names, Role::Text).with(" ", Role::Text);
        canvas.line(2, area.y.saturating_sub(1), area.width.saturating_sub(4), &line);
    }
    let at = canvas.text(1, area.y, area.width, "/", Role::Key);
    let rows = || match model.pane().total {
        1 => "1 row".to_owned(),
        total => format!("{} rows", text::count(total)),
    };
    let (told, role) = match &misread {
        Some(misread) => (misread.why.to_string(), Role::Bad),
        None if area.width >= 70 => {
            (format!("{} · words, column:value != ~ > <, -not", rows()), Role::Quiet)
        }
        None => (rows(), Role::Quiet),
    };
    // What is typed keeps a third of the line.
    let most = usize::from(area.width - area.width / 3);
    let told = text::fit(&text::clean(&told), most, canvas.glyphs().more).into_owned();
    let wide = columns(&told) + 2;
    let room = area.width.saturating_sub(at + wide + 1);
    let hidden = canvas.input(at, area.y, room, input, false);
    canvas.text(area.width.saturating_sub(wide), area.y, wide, &told, role);
    if let Some(Misread { part, .. }) = misread {
        let columns_to = |end: usize| width(&text::clean(&input.value()[..end]));
        let on_screen = |end: usize| {
            at + u16::try_from(columns_to(end).saturating_sub(hidden)).unwrap_or(room).min(room)
        };
        let (from, to) = (on_screen(part.start), on_screen(part.end));
        canvas.restyle(Rect { x: from, y: area.y, width: to - from, height: 1 }, Role::Bad);
    }
}

/// What is told for a while, on the line above the keys so that these stay in sight. What is too
/// long for one line takes up to three.
pub fn message(model: &Model, canvas: &mut Canvas<'_>, footer: Rect) {
    const MOST: usize = 3;
    let g = canvas.glyphs();
    let (told, role) = match (&model.lost, &model.message) {
        (Some(why), _) => (format!("{} connection lost, trying again: {why}", g.bad), Role::Bad),
        (None, Some(message)) => {
            let (glyph, role) = match message.tone {
                Tone::Good => (g.good, Role::Good),
                Tone::Plain => (g.dot, Role::Text),
                Tone::Bad => (g.bad, Role::Bad),
            };
            (format!("{glyph} {}", message.text), role)
        }
        (None, None) => return,
    };
    let room = usize::from(footer.width.saturating_sub(6)).max(8);
    let mut lines = text::wrap(&text::clean(&told), room);
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

/// How many marked rows the keys are meant for, where they are and there is room to say it.
fn marks(model: &Model) -> String {
    if !model.means_marks() || model.size.0 < 60 {
        return String::new();
    }
    format!("{} marked: ", text::count(model.pane().marks.len() as u64))
}

/// A key and what it does, in a word or two.
type KeyHint = (String, String);

/// An arrow key as it looks on the keyboard.
fn arrow(key: String) -> String {
    match key.as_str() {
        "up" => "↑".to_owned(),
        "down" => "↓".to_owned(),
        _ => key,
    }
}

/// From this place in the footer on, keys lead everywhere else and stay in sight on any screen.
const ALWAYS: u8 = 79;

fn hint(key: &str, title: &str) -> KeyHint {
    (key.to_owned(), title.to_owned())
}

/// The keys that apply now.
fn keys(model: &Model) -> Vec<KeyHint> {
    use Action as A;
    // What is asked of the operator has its keys shown from the map, whatever they are.
    let of = |keys: &[(&[Action], &str)]| {
        let shown = |actions: &[Action]| {
            let keys: Vec<_> =
                actions.iter().filter_map(|action| model.keymap.key(action)).map(arrow).collect();
            // Two arrows read as one sign.
            keys.join(if keys.iter().all(|key| "↑↓".contains(key.as_str())) { "" } else { "/" })
        };
        let hints = keys.iter().map(|(actions, title)| hint(&shown(actions), title));
        hints.filter(|(key, _)| !key.is_empty()).collect()
    };
    let (moves, close) = ([A::SearchUp, A::SearchDown], [A::SearchClose]);
    match model.modals.last() {
        Some(Modal::Help { .. }) => {
            vec![hint("↑↓", "scroll"), hint("a-z", "search"), hint("esc", "close")]
        }
        Some(Modal::Doctor { .. }) => of(&[(&[A::Down, A::Up], "scroll"), (&[A::Back], "close")]),
        Some(Modal::Lanes { at }) => {
            let lane = model.lanes.get(*at).map(|lane| lane.state);
            let turn = if lane == Some(LaneState::Paused) { "resume" } else { "pause" };
            of(&[
                (&[A::LanePause], turn),
                (&[A::LaneDrain], "drain"),
                (&[A::LaneWiden, A::LaneNarrow], "width"),
                (&[A::Back], "close"),
            ])
        }
        Some(Modal::Sort { .. }) => of(&[
            (&[A::Open], "sort, again turns it"),
            (&[A::SortClear], "usual order"),
            (&[A::Back], "close"),
        ]),
        Some(Modal::Palette(_)) => {
            of(&[(&[A::SearchTake], "go"), (&moves, "choose"), (&close, "close")])
        }
        Some(Modal::Confirm(confirm)) => match (&confirm.ask, &confirm.form) {
            (Ask::YesNo { .. }, form) => {
                let mut keys = of(&[(&[A::AnswerYes], "yes"), (&[A::AnswerNo], "no")]);
                if form.is_some() {
                    keys.extend(of(&[(&[A::AnswerOptions], "options")]));
                }
                keys
            }
            (Ask::Type { .. }, _) => of(&[(&[A::SearchTake], "go on"), (&close, "no")]),
        },
        Some(Modal::Quit { .. }) => of(&[(&[A::Open], "choose"), (&[A::Back], "stay")]),
        Some(Modal::Form(form)) if form.is_picking() => {
            let mut keys = of(&[(&[A::SearchTake], "take"), (&moves, "choose")]);
            keys.push(hint("a-z", "search"));
            keys.extend(of(&[(&close, "close")]));
            keys
        }
        Some(Modal::Form(_)) => {
            let mut keys = bound(model, |_| true);
            keys.push((hint("esc", "cancel"), ALWAYS));
            narrowed(keys, model.size.0)
        }
        Some(Modal::Operation(_) | Modal::Detail { .. }) => {
            // In its own window a thing's keys are what matters.
            let mut keys = bound(model, |entry| {
                let makes = |kind: &str| {
                    model.catalogue.get(kind).is_some_and(|spec| spec.subject.is_none())
                };
                match &entry.action {
                    Action::Do(kind) => !makes(kind),
                    Action::Palette | Action::Help => true,
                    _ => !entry.scopes.contains(&Scope::Everywhere),
                }
            });
            keys.insert(0, (hint("esc", "close"), 0));
            narrowed(keys, model.size.0)
        }
        Some(Modal::Console(_) | Modal::Filter { .. }) | None => {
            let room = model.size.0.saturating_sub(columns(&marks(model)));
            narrowed(bound(model, |_| true), room)
        }
    }
}

/// The keys of the key map that apply now, with their places in the footer.
fn bound(model: &Model, wanted: impl Fn(&Entry) -> bool) -> Vec<(KeyHint, u8)> {
    model
        .keymap
        .footer(&scopes(model))
        .into_iter()
        .filter(|(_, entry)| wanted(entry) && fits(model, entry))
        .map(|(key, entry)| {
            let leads_back = entry.action == Action::Focus && model.focus == Focus::Flight;
            let title = if leads_back { "list".to_owned() } else { entry.title.clone() };
            ((key, title), entry.footer)
        })
        .collect()
}

/// As many as there is room for; those that lead everywhere else go last.
fn narrowed(keys: Vec<(KeyHint, u8)>, width_of_screen: u16) -> Vec<KeyHint> {
    let wide = |(key, title): &KeyHint| width(key) + width(title) + 3;
    let tail: usize =
        keys.iter().filter(|(_, place)| *place >= ALWAYS).map(|(hint, _)| wide(hint)).sum();
    let mut room = usize::from(width_of_screen).saturating_sub(tail);
    let mut shown = Vec::new();
    for (hint, place) in keys {
        if place >= ALWAYS {
            shown.push(hint);
            continue;
        }
        // The first that does not fit ends it: a gap in a known order would be harder to read.
        room = room.saturating_sub(wide(&hint));
        if room > 0 {
            shown.push(hint);
        }
    }
    shown
}

/// Whether an action makes sense for what is in front, so that the footer may show it.
fn fits(model: &Model, entry: &Entry) -> bool {
    use Action as A;
    let form = || match model.modals.last() {
        Some(Modal::Form(form)) => Some(form),
        _ => None,
    };
    let any = |is: &dyn Fn(&str) -> bool| {
        if !model.means_marks() {
            model.operation().is_some_and(|operation| is(operation.state.word()))
        } else if model.tab == Tab::Operations {
            model.pane().marks.values().any(|mark| is(&mark.state))
        } else {
            model.marked_operations().iter().any(|operation| is(operation.state.word()))
        }
    };
    match &entry.action {
        A::FormAdvanced => form().is_some_and(|form| form.has_advanced()),
        A::FormReveal => form()
            .and_then(|form| form.entries.get(form.at))
            .is_some_and(|entry| matches!(entry.widget, Widget::Secret { .. })),
        A::FormAdd => form().is_some_and(|form| form.list_here().is_some()),
        A::FormRemove => form().is_some_and(|form| matches!(form.list_here(), Some((_, Some(_))))),
        A::FormUp => form()
            .is_some_and(|form| matches!(form.list_here(), Some((_, Some(number))) if number > 0)),
        A::FormDown => form().is_some_and(|form| match form.list_here() {
            Some((list, Some(number))) => number + 1 < form.items(&form.entries[list].path),
            _ => false,
        }),
        A::Do(_) | A::Cancel | A::Relaunch | A::Sooner | A::Later | A::Switch(_)
            if model.read_only =>
        {
            false
        }
        A::Do(kind) => is_possible(model, kind),
        A::Switch(_) | A::Mark => model.pane().current().is_some() && model.focus == Focus::List,
        A::Filter => !model.is_bare(),
        A::Serial => !model.read_only && !model.means_marks() && model.serial().is_some(),
        A::Cancel => any(&|state| ![State::Done, State::Cancel].map(State::word).contains(&state)),
        A::Relaunch => any(&|state| state == State::Error.word()),
        A::Sooner | A::Later => any(&|state| state == State::Pending.word()),
        A::Focus => !model.flight.operations.is_empty(),
        A::Failed => model.flight.troubles() > 0,
        _ => true,
    }
}

/// Whether a kind can be done to what is selected, as far as its state says.
fn is_possible(model: &Model, kind: &str) -> bool {
    let Some(spec) = model.catalogue.get(kind) else { return false };
    if spec.subject.is_none() {
        return !model.means_marks();
    }
    let pane = model.pane();
    match pane.current() {
        _ if !pane.marks.is_empty() => true,
        Some(Row::Resource(resource)) if resource.kind() == spec.resource => {
            spec.requires.is_empty() || spec.requires.iter().any(|word| word == resource.state())
        }
        row => row.is_some(),
    }
}
