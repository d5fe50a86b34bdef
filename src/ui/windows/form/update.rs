//! Filling a form in.

use std::ops::Bound;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::field::{Candidate, Pick, Widget};
use super::state::Form;
use crate::domain::{
    FieldType, Filter, FilterTest, List, OperationSpec, Preview, Resource, ResourceKind, Rows,
    Subject,
};
use crate::ui::changes::requests;
use crate::ui::input::action::Action;
use crate::ui::input::edit::{edit, paste as paste_line};
use crate::ui::model::{Model, Owner, Row};
use crate::ui::msg::{Cmd, Fetch};
use crate::ui::windows::confirm::Confirm;
use crate::ui::windows::search::{self, CLEAR, CLOSE, TAKE};
use crate::ui::windows::window::{Intent, Response};

/// How many things a field offers without being searched.
const CANDIDATES: u32 = 500;

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
        let filter = match form.owner_for(&entry.path) {
            Some(owner) => of_owner(*of, owner, filter),
            None => filter,
        };
        let list = List {
            of: Subject::Resources(*of),
            filter,
            sort: None,
            offset: 0,
            limit: CANDIDATES,
            around: None,
        };
        cmds.push(Cmd::Fetch(Fetch::Candidates(form.number, entry.path.clone(), list)));
    }
}

/// The same filter for what belongs to this, where a column says so; the answer is sorted out.
fn of_owner(of: ResourceKind, owner: &Owner, filter: Filter) -> Filter {
    let columns = &of.spec().columns;
    let Some(column) = columns.iter().find(|it| it.refers_to == owner.id.kind.word()) else {
        return filter;
    };
    let number = Bound::Included(owner.id.id as f64);
    let column = column.name.to_string();
    filter.and(false, FilterTest::Within { column, from: number, to: number })
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
pub fn candidates(form: &mut Form, path: &str, rows: &Rows, model: &Model) {
    let Rows::Resources(rows) = rows else { return };
    let Some(at) = form.entries.iter().position(|entry| entry.path == path) else { return };
    let owner = form.owner_for(path).cloned();
    let entry = &mut form.entries[at];
    let Widget::Pick(pick) = &mut entry.widget else { return };
    let Some((of, states)) = &pick.live else { return };
    pick.options = rows
        .iter()
        .filter(|row| row.kind() == *of)
        .filter(|row| owner.as_ref().is_none_or(|owner| owner.things.contains(&row.id())))
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
        && form.may_choose(at, number, &model.catalogue)
        && let Widget::Pick(pick) = &mut form.entries[at].widget
    {
        pick.chosen = first;
        form.preview_due = Some(model.now);
    }
}

/// Asks what the form would do, once nothing was typed for a moment.
pub fn preview(form: &mut Form, model: &Model, cmds: &mut Vec<Cmd>) {
    if form.preview_due.is_some_and(|due| due <= model.now) {
        form.preview_due = None;
        if let [submit] = form.submits(&model.actor).as_slice() {
            let fetch = Fetch::Preview(form.number, form.revision, submit.clone());
            cmds.push(Cmd::Fetch(fetch));
        }
    }
}

/// Takes what the form would do, unless it has changed since.
pub fn previewed(form: &mut Form, revision: u64, preview: &Preview) {
    if form.revision != revision {
        return;
    }
    form.forget_refusals();
    // What is merely still missing is not worth red while it is being filled in.
    if let Some(refusal) = &preview.refusal
        && refusal.value.as_ref().is_some_and(|value| !value.is_empty())
    {
        form.refuse(refusal, false);
    }
    form.preview = Some(preview.clone());
    form.preview_at = 0;
}

/// Takes the paths that begin with what is typed.
pub fn paths(form: &mut Form, typed: &str, paths: &[String]) {
    if let Some(entry) = form.current()
        && matches!(&entry.widget, Widget::Line(input) if input.value() == typed)
    {
        entry.paths = paths.to_vec();
    }
}

/// The form was changed.
fn changed(form: &mut Form, model: &Model, cmds: &mut Vec<Cmd>) {
    form.changed(model.now, &model.catalogue);
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
pub fn key(form: &mut Form, event: KeyEvent, model: &Model, cmds: &mut Vec<Cmd>) -> bool {
    if form.sending {
        return event.code != KeyCode::Esc;
    }
    let plain = !event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
    let is_list = form.current().is_some_and(|entry| matches!(entry.widget, Widget::Items));
    if is_list && plain && event.code == KeyCode::Char(' ') {
        items(form, ItemChange::Add, model, cmds);
        return true;
    }
    let Some(entry) = form.current() else { return false };
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
            entry.selected = false;
            true
        }
        (Widget::Lines { lines, at }, code) => lines_key(lines, at, code, event),
        (Widget::Line(_) | Widget::Secret { .. }, _) => entry.edit(event),
        _ => false,
    };
    if took {
        changed(form, model, cmds);
    }
    took
}

/// What a key does to the list the keys are in.
#[derive(Debug, Clone, Copy)]
pub enum ItemChange {
    /// Adds an item.
    Add,
    /// Takes the item out.
    Remove,
    /// Moves the item up.
    Up,
    /// Moves the item down.
    Down,
}

/// Adds, removes or moves an item of the list the keys are in.
pub fn items(form: &mut Form, change: ItemChange, model: &Model, cmds: &mut Vec<Cmd>) {
    if form.sending {
        return;
    }
    let done = match change {
        ItemChange::Add => form.add_item(&model.catalogue),
        ItemChange::Remove => form.remove_item(),
        ItemChange::Up => form.move_item(false),
        ItemChange::Down => form.move_item(true),
    };
    if done {
        changed(form, model, cmds);
    }
}

/// What is being chosen for the field with the keys.
fn picking(form: &mut Form) -> Option<&mut Pick> {
    match &mut form.current()?.widget {
        Widget::Pick(pick) if pick.search.is_some() => Some(pick),
        _ => None,
    }
}

/// Does an action among the choices of a field.
pub fn pick(form: &mut Form, action: &Action, model: &Model, cmds: &mut Vec<Cmd>) {
    let Some(pick) = picking(form) else { return };
    match *action {
        TAKE => return take(form, model, cmds),
        CLOSE | CLEAR => pick.close(),
        _ => match search::moved(pick.at, action, pick.matches.len()) {
            Some(at) => pick.at = at,
            None => return,
        },
    }
    changed(form, model, cmds);
}

/// Takes what is selected for the field with the keys; says so where what is typed matches nothing.
fn take(form: &mut Form, model: &Model, cmds: &mut Vec<Cmd>) {
    let Some(pick) = picking(form) else { return };
    match pick.take() {
        Ok(()) => changed(form, model, cmds),
        Err(why) => {
            if let Some(entry) = form.current() {
                entry.error = Some(why);
            }
        }
    }
}

/// Searches the choices of a field for what is typed. The keys that lead to the next field and to
/// the one before take what is selected, and lead there.
pub fn search_key(form: &mut Form, event: KeyEvent, model: &Model, cmds: &mut Vec<Cmd>) {
    if matches!(event.code, KeyCode::Tab | KeyCode::BackTab) {
        take(form, model, cmds);
        if !form.is_picking() {
            form.step(event.code == KeyCode::Tab);
        }
        return;
    }
    let Some(pick) = picking(form) else { return };
    if !pick.search.as_mut().is_some_and(|search| edit(search, event)) {
        return;
    }
    pick.at = 0;
    pick.find();
    changed(form, model, cmds);
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
pub fn paste(form: &mut Form, text: &str, model: &Model, cmds: &mut Vec<Cmd>) {
    let Some(entry) = form.current() else { return };
    match &mut entry.widget {
        Widget::Line(_) | Widget::Secret { .. } => entry.paste(text),
        Widget::Lines { lines, at } => {
            for (number, line) in text.lines().enumerate() {
                if number > 0 {
                    *at += 1;
                    lines.insert(*at, tui_input::Input::default());
                }
                paste_line(&mut lines[*at], line);
            }
        }
        Widget::Pick(pick) => pick.open(text.trim()),
        Widget::Flag(_) | Widget::Nested | Widget::Group | Widget::Items => {}
    }
    changed(form, model, cmds);
}

/// Sends the form, after a question where the kind is dangerous.
pub fn submit(form: &mut Form, model: &mut Model, cmds: &mut Vec<Cmd>) -> Response {
    if form.sending || !form.check() {
        return Response::Taken;
    }
    let submits = form.submits(&model.actor);
    let hazard = requests::hazard(model, &form.spec, &submits);
    let question = Confirm::needed(&form.spec, &hazard, form.things(), submits.clone(), false);
    // What is asked for once more is as dangerous as it was the first time, and may be another now.
    let relaunch = form.relaunch();
    match (question, relaunch) {
        (Some(mut confirm), relaunch) => {
            if let Some(owner) = &form.owner {
                confirm.title += &format!(" from {}", owner.name);
            }
            match relaunch {
                Some(control) => confirm.then = Intent::Control(vec![control]),
                None => confirm.ask(model, cmds),
            }
            Response::Open(Box::new(confirm))
        }
        (None, Some(control)) => {
            let response = sent(form, 1);
            requests::control(model, vec![control], cmds);
            response
        }
        (None, None) => {
            let response = sent(form, submits.len());
            requests::submit(model, submits, cmds);
            response
        }
    }
}

/// What the form asks for is sent: one request keeps it open until that is answered.
pub fn sent(form: &mut Form, requests: usize) -> Response {
    form.sending = requests == 1;
    if form.sending { Response::Taken } else { done(form) }
}

/// What the form asks for was asked for, and with that the question below it is answered.
pub const fn done(form: &Form) -> Response {
    if form.over_question { Response::CloseBoth } else { Response::Close }
}

/// Shows or masks what is typed into a secret field.
pub fn reveal(form: &mut Form) {
    if let Some(entry) = form.current()
        && let Widget::Secret { shown, .. } = &mut entry.widget
    {
        *shown = !*shown;
    }
}

/// Shows or hides the fields rarely needed.
pub fn advanced(form: &mut Form) {
    form.advanced = !form.advanced;
    if !form.visible().any(|place| place == form.at) {
        form.begin();
    }
}
