//! The keys the last line shows: which of them apply now, and as many as there is room for.

use crate::domain::State;
use crate::ui::input::action::{Action, ActionEntry, Scope};
use crate::ui::model::{Focus, Model, Owner, Row, Subjects};
use crate::ui::style::text::{self, columns, width};
use crate::ui::tab::Tab;

/// Returns how many marked rows the keys are meant for, where they are and there is room to say it.
#[must_use]
pub fn marks(model: &Model) -> String {
    if !model.means_marks() || model.size.0 < 60 {
        return String::new();
    }
    format!("{} marked: ", text::count(model.pane().marks.len() as u64))
}

/// A key and what it does, in a word or two.
pub type KeyHint = (String, String);

/// An arrow key as it looks on the keyboard.
fn arrow(key: String) -> String {
    match key.as_str() {
        "up" => "↑".to_owned(),
        "down" => "↓".to_owned(),
        _ => key,
    }
}

/// From this place in the footer on, keys lead everywhere else and stay in sight on any screen.
pub const ALWAYS: u8 = 79;

/// Returns the hint for a key that no key map changes.
#[must_use]
pub fn hint(key: &str, title: &str) -> KeyHint {
    (key.to_owned(), title.to_owned())
}

/// Returns the keys of these actions, whatever the key map says they are.
#[must_use]
pub fn of(model: &Model, keys: &[(&[Action], &str)]) -> Vec<KeyHint> {
    let shown = |actions: &[Action]| {
        let keys: Vec<_> =
            actions.iter().filter_map(|action| model.keymap.key(action)).map(arrow).collect();
        // Two arrows read as one sign.
        keys.join(if keys.iter().all(|key| "↑↓".contains(key.as_str())) { "" } else { "/" })
    };
    let hints = keys.iter().map(|(actions, title)| hint(&shown(actions), title));
    hints.filter(|(key, _)| !key.is_empty()).collect()
}

/// Returns the keys that apply in the lists.
#[must_use]
pub fn of_lists(model: &Model) -> Vec<KeyHint> {
    let room = model.size.0.saturating_sub(columns(&marks(model)));
    narrowed(bound(model, &model.scopes(), |_| true), room)
}

/// Returns the keys that matter where one row or operation is shown alone.
#[must_use]
pub fn of_one(model: &Model, scopes: &[Scope]) -> Vec<KeyHint> {
    let makes = |kind: &str| model.catalogue.get(kind).is_some_and(|it| it.subject.is_none());
    let mut keys = bound(model, scopes, |entry| match entry.action {
        Action::Do(ref kind) => !makes(kind),
        Action::PALETTE | Action::HELP => true,
        _ => !entry.scopes.contains(&Scope::Everywhere),
    });
    keys.insert(0, (hint("esc", "close"), 0));
    narrowed(keys, model.size.0)
}

/// Returns the keys of the key map that apply in these scopes, with their places in the footer.
#[must_use]
pub fn bound(
    model: &Model,
    scopes: &[Scope],
    wanted: impl Fn(&ActionEntry) -> bool,
) -> Vec<(KeyHint, u8)> {
    model
        .keymap
        .footer(scopes)
        .into_iter()
        .filter(|(_, entry)| wanted(entry) && fits(model, entry))
        .map(|(key, entry)| {
            let leads_back = entry.action == Action::Focus && model.focus == Focus::Flight;
            let title = if leads_back { "list".to_owned() } else { entry.title.clone() };
            ((key, title), entry.footer)
        })
        .collect()
}

/// Returns as many as there is room for; those that lead everywhere else go last.
#[must_use]
pub fn narrowed(keys: Vec<(KeyHint, u8)>, width_of_screen: u16) -> Vec<KeyHint> {
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
fn fits(model: &Model, entry: &ActionEntry) -> bool {
    use Action as A;
    let any = |is: &dyn Fn(&str) -> bool| {
        if !model.means_marks() {
            model.operation().is_some_and(|operation| is(operation.state.word()))
        } else if model.tab == Tab::Operations {
            model.pane().any_marked(is)
        } else {
            model.marked_operations().iter().any(|operation| is(operation.state.word()))
        }
    };
    match entry.action {
        ref action if model.read_only && action.asks() => false,
        A::Do(ref kind) => is_possible(model, kind),
        A::Switch(_) | A::Mark => model.pane().current().is_some() && model.focus == Focus::List,
        Action::FILTER => !model.is_bare(),
        A::Serial => !model.means_marks() && model.serial().is_some(),
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
    let is_of_row = spec.resource.is_some() && model.tab.resource() == spec.resource;
    match pane.current() {
        _ if model.means_marks() && is_of_row => pane.any_marked(|state| spec.allows(state)),
        _ if !pane.marks.is_empty() => true,
        Some(Row::Resource(_)) if is_of_row => !Subjects::of(model, spec).fitting.is_empty(),
        row => row.is_some() && Owner::of(model, spec).is_none_or(|it| !it.things.is_empty()),
    }
}
