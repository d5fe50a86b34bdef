//! Filling a form in.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::domain::{
    Control, FieldType, Filter, List, OperationSpec, Preview, Query, Resource, Rows, Subject,
};
use crate::ui::action::Action;
use crate::ui::confirm::Confirm;
use crate::ui::edit::edit;
use crate::ui::field::{Candidate, Pick, Widget};
use crate::ui::form::{Form, Purpose};
use crate::ui::model::{Modal, Model, Row};
use crate::ui::msg::{Ask, Cmd};

use super::{act, operate};

/// How many things a field offers without being searched.
const CANDIDATES: u32 = 500;

/// The form in front.
fn front(model: &mut Model) -> Option<&mut Form> {
    match model.modals.last_mut() {
        Some(Modal::Form(form)) => Some(form),
        _ => None,
    }
}

/// Asks for the things its fields may name.
pub fn ask_candidates(form: &Form, cmds: &mut Vec<Cmd>) {
    for entry in &form.entries {
        let Widget::Pick(pick) = &entry.widget else { continue };
        let Some((of, states)) = pick.live.as_ref().filter(|_| pick.options.is_empty()) else {
            continue;
        };
        // With one state the backend sorts out; with several the answer is sorted out here.
        let filter = match states.as_slice() {
            [state] => Filter::default().and_state(false, state),
            _ => Filter::default(),
        };
        let query = Query::List(List {
            of: Subject::Resources(*of),
            filter,
            sort: None,
            offset: 0,
            limit: CANDIDATES,
            around: None,
        });
        cmds.push(Cmd::Query(Ask::Candidates(form.number, entry.path.clone()), query));
    }
}

/// Puts the selected row into the first field that takes such a thing.
pub fn select_here(model: &Model, form: &mut Form) {
    let Some(Row::Resource(resource)) = model.pane().current() else { return };
    let state = resource.state();
    for entry in form.entries.iter_mut().filter(|entry| !entry.path.contains('.')) {
        let FieldType::Resource { of, states } = &entry.field.of else { continue };
        if *of != resource.kind() || !(states.is_empty() || states.iter().any(|s| s == state)) {
            continue;
        }
        if let Widget::Pick(pick) = &mut entry.widget {
            pick.chosen = Some(candidate(resource));
            return;
        }
    }
}

/// Puts a thing into the field that says what it is done to.
pub fn select_this(spec: &OperationSpec, (id, name): &(u64, String), form: &mut Form) {
    let subject = spec.subject.as_deref();
    let entry = form.entries.iter_mut().find(|entry| Some(entry.path.as_str()) == subject);
    if let Some(entry) = entry
        && let Widget::Pick(pick) = &mut entry.widget
        && pick.chosen.as_ref().is_none_or(|chosen| chosen.value != *id)
    {
        pick.chosen =
            Some(Candidate { value: (*id).into(), label: name.clone(), note: String::new() });
    }
}

fn candidate(resource: &Resource) -> Candidate {
    Candidate {
        value: resource.id().id.into(),
        label: resource.name().to_owned(),
        note: resource.note(),
    }
}

/// Takes the things a field may name.
pub fn candidates(model: &mut Model, number: u64, path: &str, rows: &Rows) {
    let now = model.now;
    let Rows::Resources(rows) = rows else { return };
    let Some(form) = model.modals.iter_mut().find_map(|modal| match modal {
        Modal::Form(form) if form.number == number => Some(form),
        _ => None,
    }) else {
        return;
    };
    let Some(at) = form.entries.iter().position(|entry| entry.path == path) else { return };
    let entry = &mut form.entries[at];
    let Widget::Pick(pick) = &mut entry.widget else { return };
    let Some((of, states)) = &pick.live else { return };
    pick.options = rows
        .iter()
        .filter(|row| row.kind() == *of)
        .filter(|row| states.is_empty() || states.iter().any(|state| state == row.state()))
        .map(candidate)
        .collect();
    let named = |option: &&Candidate, chosen: &Candidate| {
        option.value == chosen.value
            || chosen.value.as_str().is_some_and(|name| name == option.label)
    };
    // A thing given by number is shown by its name once that is known.
    if let Some(chosen) = &pick.chosen
        && let Some(known) = pick.options.iter().find(|option| named(option, chosen))
    {
        pick.chosen = Some(known.clone());
    }
    pick.find();
    let number = pick.options.len();
    let first = pick.options.first().cloned();
    if matches!(&entry.widget, Widget::Pick(pick) if pick.chosen.is_none())
        && form.may_choose(at, number)
        && let Widget::Pick(pick) = &mut form.entries[at].widget
    {
        pick.chosen = first;
        form.preview_due = Some(now);
    }
}

/// Asks what the form would do, once nothing was typed for a moment.
pub fn preview(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let (now, actor) = (model.now, model.actor.clone());
    let Some(form) = front(model) else { return };
    if form.preview_due.is_some_and(|due| due <= now) {
        form.preview_due = None;
        if let [submit] = form.submits(&actor).as_slice() {
            let ask = Ask::Preview(form.number, form.revision);
            cmds.push(Cmd::Query(ask, Query::Preview(submit.clone())));
        }
    }
}

/// Takes what the form would do, unless it has changed since.
pub fn previewed(model: &mut Model, number: u64, revision: u64, preview: Preview) {
    let Some(form) = front(model) else { return };
    if form.number != number || form.revision != revision {
        return;
    }
    // What is merely still missing is not worth red while it is being filled in.
    if let Some(refusal) = &preview.refusal
        && refusal.value.as_ref().is_some_and(|value| !value.is_empty())
    {
        form.refuse(refusal, false);
    }
    form.preview = Some(preview);
}

/// Takes the paths that begin with what is typed.
pub fn paths(model: &mut Model, typed: &str, paths: Vec<String>) {
    let Some(form) = front(model) else { return };
    if let Some(entry) = form.current()
        && matches!(&entry.widget, Widget::Line(input) if input.value() == typed)
    {
        entry.paths = paths;
    }
}

/// The form in front was changed.
fn changed(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let (now, catalogue) = (model.now, model.catalogue.clone());
    let Some(form) = front(model) else { return };
    form.changed(now, &catalogue);
    ask_candidates(form, cmds);
    if let Some(entry) = form.current()
        && entry.is_path()
        && let Widget::Line(input) = &entry.widget
    {
        let typed = input.value().to_owned();
        entry.paths.clear();
        cmds.push(Cmd::Paths(typed));
    }
}

/// Lets a key change the field it is in. Returns whether it did.
pub fn key(model: &mut Model, event: KeyEvent, cmds: &mut Vec<Cmd>) -> bool {
    let Some(form) = front(model) else { return false };
    if form.sending {
        return event.code != KeyCode::Esc;
    }
    let plain = !event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
    let is_list = form.current().is_some_and(|entry| matches!(entry.widget, Widget::Items));
    if is_list && plain && event.code == KeyCode::Char(' ') {
        items(model, &Action::FormAdd, cmds);
        return true;
    }
    let Some(entry) = front(model).and_then(Form::current) else { return false };
    let is_integer = matches!(entry.field.of, FieldType::Integer { .. });
    let took = match (&mut entry.widget, event.code) {
        // Where something must be chosen, enter leads to the choices before it sends anything.
        (Widget::Pick(pick), KeyCode::Enter)
            if entry.field.required && pick.chosen.is_none() && !pick.options.is_empty() =>
        {
            pick.open("");
            true
        }
        (Widget::Pick(pick), KeyCode::Left) => {
            pick.step(false);
            true
        }
        (Widget::Pick(pick), KeyCode::Right) => {
            pick.step(true);
            true
        }
        (Widget::Pick(pick), KeyCode::Char(' ')) if plain => {
            pick.open("");
            true
        }
        (Widget::Pick(pick), KeyCode::Char(character)) if plain => {
            pick.open(&character.to_string());
            true
        }
        (Widget::Pick(pick), KeyCode::Backspace | KeyCode::Delete) => {
            pick.chosen = None;
            true
        }
        (Widget::Flag(flag), KeyCode::Char(' ') | KeyCode::Left | KeyCode::Right) if plain => {
            *flag = !*flag;
            true
        }
        (Widget::Flag(flag), KeyCode::Char(letter @ ('y' | 'n'))) if plain => {
            *flag = letter == 'y';
            true
        }
        (Widget::Line(_), KeyCode::Left) if is_integer => {
            entry.add(-1);
            true
        }
        (Widget::Line(_), KeyCode::Right) if is_integer => {
            entry.add(1);
            true
        }
        (Widget::Line(input), KeyCode::Right | KeyCode::End | KeyCode::Tab)
            if input.cursor() == input.value().chars().count() && !entry.paths.is_empty() =>
        {
            *input = completed(input.value(), &entry.paths).into();
            true
        }
        (Widget::Lines { lines, at }, code) => lines_key(lines, at, code, event),
        (Widget::Line(input) | Widget::Secret { input, .. }, _) => edit(input, event),
        _ => false,
    };
    if took {
        changed(model, cmds);
    }
    took
}

/// Adds, removes or moves an item of the list the keys are in.
pub fn items(model: &mut Model, action: &Action, cmds: &mut Vec<Cmd>) {
    let catalogue = model.catalogue.clone();
    let Some(form) = front(model).filter(|form| !form.sending) else { return };
    let done = match action {
        Action::FormAdd => form.add_item(&catalogue),
        Action::FormRemove => form.remove_item(),
        Action::FormUp => form.move_item(false),
        Action::FormDown => form.move_item(true),
        _ => false,
    };
    if done {
        changed(model, cmds);
    }
}

/// What is being chosen for the field with the keys.
fn picking(model: &mut Model) -> Option<&mut Pick> {
    match &mut front(model)?.current()?.widget {
        Widget::Pick(pick) if pick.search.is_some() => Some(pick),
        _ => None,
    }
}

/// Does an action among the choices of a field.
pub fn pick(model: &mut Model, action: &Action, cmds: &mut Vec<Cmd>) {
    let Some(pick) = picking(model) else { return };
    let last = pick.matches.len().saturating_sub(1);
    match action {
        Action::SearchUp => pick.at = pick.at.saturating_sub(1),
        Action::SearchDown => pick.at = (pick.at + 1).min(last),
        Action::SearchPageUp => pick.at = pick.at.saturating_sub(10),
        Action::SearchPageDown => pick.at = (pick.at + 10).min(last),
        Action::SearchTake => pick.take(),
        Action::SearchClose | Action::SearchClear => pick.close(),
        _ => return,
    }
    changed(model, cmds);
}

/// Searches the choices of a field for what is typed. The key that leads to the next field takes
/// what is selected.
pub fn search_key(model: &mut Model, event: KeyEvent, cmds: &mut Vec<Cmd>) {
    let Some(pick) = picking(model) else { return };
    if event.code == KeyCode::Tab {
        pick.take();
    } else {
        if let Some(search) = &mut pick.search {
            edit(search, event);
        }
        pick.at = 0;
        pick.find();
    }
    changed(model, cmds);
}

/// What is typed with as much more as all paths that begin with it have in common; the first of
/// them where that is nothing.
fn completed(typed: &str, paths: &[String]) -> String {
    let Some((first, others)) = paths.split_first() else { return typed.to_owned() };
    let common = others.iter().fold(first.as_str(), |common, other| {
        let same = common.char_indices().zip(other.chars()).find(|((_, a), b)| a != b);
        let end = same.map_or(common.len().min(other.len()), |((at, _), _)| at);
        &common[..end]
    });
    if common.len() > typed.len() { common.to_owned() } else { first.clone() }
}

/// Keys in a field of several lines.
fn lines_key(
    lines: &mut Vec<tui_input::Input>,
    at: &mut usize,
    code: KeyCode,
    event: KeyEvent,
) -> bool {
    match code {
        KeyCode::Enter if !lines[*at].value().is_empty() => {
            *at += 1;
            lines.insert(*at, tui_input::Input::default());
        }
        KeyCode::Up if *at > 0 => *at -= 1,
        KeyCode::Down if *at + 1 < lines.len() => *at += 1,
        KeyCode::Backspace if lines[*at].value().is_empty() && lines.len() > 1 => {
            lines.remove(*at);
            *at = at.saturating_sub(1);
        }
        _ => return edit(&mut lines[*at], event),
    }
    true
}

/// Puts pasted text into the field with the keys.
pub fn paste(model: &mut Model, text: &str, cmds: &mut Vec<Cmd>) {
    let Some(entry) = front(model).and_then(Form::current) else { return };
    match &mut entry.widget {
        Widget::Line(input) | Widget::Secret { input, .. } => crate::ui::edit::paste(input, text),
        Widget::Lines { lines, at } => {
            for (number, line) in text.lines().enumerate() {
                if number > 0 {
                    *at += 1;
                    lines.insert(*at, tui_input::Input::default());
                }
                crate::ui::edit::paste(&mut lines[*at], line);
            }
        }
        Widget::Pick(pick) => pick.open(text.trim()),
        Widget::Flag(_) | Widget::Nested | Widget::Group | Widget::Items => {}
    }
    changed(model, cmds);
}

/// Sends the form, after a question where the kind is dangerous.
pub fn submit(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let actor = model.actor.clone();
    let Some(form) = front(model) else { return };
    if form.sending || !form.check() {
        return;
    }
    if let Purpose::Relaunch { uid, before } = &form.purpose {
        let params = form.changes(before);
        let control = Control::Relaunch { uid: *uid, params };
        form.sending = true;
        operate::control(model, vec![control], cmds);
        return;
    }
    let (submits, spec, things) = (form.submits(&actor), form.spec.clone(), form.things());
    let stakes = act::stakes(model, &spec, &submits);
    match Confirm::needed(&spec, stakes, things, submits.clone(), false) {
        Some(confirm) => model.modals.push(Modal::Confirm(Box::new(confirm))),
        None => send(model, submits, cmds),
    }
}

/// Sends what a form asks for; one request keeps the form open until it is answered.
pub fn send(model: &mut Model, submits: Vec<crate::domain::Submit>, cmds: &mut Vec<Cmd>) {
    if submits.len() > 1 {
        if front(model).is_some() {
            model.modals.pop();
        }
    } else if let Some(form) = front(model) {
        form.sending = true;
    }
    act::submit(model, submits, cmds);
}

/// Shows or masks what is typed into a secret field.
pub fn reveal(model: &mut Model) {
    if let Some(entry) = front(model).and_then(Form::current)
        && let Widget::Secret { shown, .. } = &mut entry.widget
    {
        *shown = !*shown;
    }
}

/// Shows or hides the fields rarely needed.
pub fn advanced(model: &mut Model) {
    let Some(form) = front(model) else { return };
    form.advanced = !form.advanced;
    if !form.visible().any(|place| place == form.at) {
        form.begin();
    }
}
