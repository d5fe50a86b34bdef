//! Asking for operations: on what is selected or marked, with a form or a question where needed.

use serde_json::Value as Json;

use crate::domain::{FieldType, OperationSpec, Params, Risk, Submit, Text};
use crate::ui::confirm::{Confirm, Stakes};
use crate::ui::console::Console;
use crate::ui::form::{Form, Purpose};
use crate::ui::layout::full;
use crate::ui::model::{Batch, Focus, Modal, Model, Request, Row, Tab, Tone};
use crate::ui::msg::Cmd;

use super::{form, refuses, tell};

/// Asks for an operation kind on what is selected or marked.
pub fn kind(model: &mut Model, kind: &str, cmds: &mut Vec<Cmd>) {
    if refuses(model) {
        return;
    }
    let Some(spec) = model.catalogue.get(kind).cloned() else {
        return tell(model, Tone::Bad, format!("this backend does not offer {kind}"));
    };
    let things = subjects(model, &spec);
    let subject = spec.subject.clone().filter(|_| !things.is_empty());
    if needs_form(&spec) || subject.is_none() {
        return open_form(model, &spec, &things, cmds);
    }
    let Some(subject) = subject else { return };
    let actor = model.actor.clone();
    let submits: Vec<Submit> = things
        .iter()
        .map(|(id, _)| Submit {
            kind: kind.to_owned(),
            params: Params::from_iter([(subject.to_string(), (*id).into())]),
            actor: actor.clone(),
            priority: 0,
        })
        .collect();
    let names = things.into_iter().map(|(_, name)| name).collect();
    let stakes = stakes(model, &spec, &submits);
    let unseen = model.means_marks() && !model.pane().marks_are_here();
    match Confirm::needed(&spec, stakes, names, submits.clone(), unseen) {
        Some(mut confirm) => {
            confirm.form = (spec.fields.len() > 1).then(|| kind.to_owned());
            model.modals.push(Modal::Confirm(Box::new(confirm)));
        }
        None => submit(model, submits, cmds),
    }
}

/// What a kind would be done to: the marked rows, or the selected one, and in its own window only
/// that one.
fn subjects(model: &Model, spec: &OperationSpec) -> Vec<(u64, String)> {
    let of = spec.subject.as_ref().and_then(|name| match spec.field(name)?.of {
        FieldType::Resource { of, .. } => Some(of),
        _ => None,
    });
    let pane = model.pane();
    if of.is_none() || of != model.tab.resource() || model.focus == Focus::Flight {
        return Vec::new();
    }
    if !model.means_marks() {
        return pane.current().map(|row| (row.id(), row.name())).into_iter().collect();
    }
    pane.marks.iter().map(|(id, mark)| (*id, mark.name.clone())).collect()
}

/// What is at stake when these are requested. What fires a task is as dangerous as what that task
/// asks for; of a task not at hand nothing is known, so that it is asked about.
pub fn stakes(model: &Model, spec: &OperationSpec, submits: &[Submit]) -> Stakes {
    let mut stakes = Stakes { risk: spec.risk, warning: spec.warning.to_string() };
    if spec.risk != Risk::OfTask {
        return stakes;
    }
    let pane = model.list(Tab::Resources(spec.resource));
    let fires = |submit: &Submit| {
        let id = submit.params.get(spec.subject.as_deref()?)?.as_u64()?;
        let mark = pane?.find(id).map(Row::mark).or_else(|| pane?.marks.get(&id).cloned());
        model.catalogue.get(&mark?.kind?)
    };
    stakes = Stakes { risk: Risk::None, warning: String::new() };
    for submit in submits {
        let Some(fired) = fires(submit) else {
            let warning = "What the task asks for is not known here: it may interrupt a guest.";
            return Stakes { risk: Risk::Disruptive, warning: warning.to_owned() };
        };
        let told = format!("{}: {}", fired.title, fired.warning);
        if fired.risk != Risk::None && !stakes.warning.contains(&told) {
            let space = if stakes.warning.is_empty() { "" } else { " " };
            stakes.warning += &format!("{space}{told}");
        }
        stakes.risk = stakes.risk.max(fired.risk);
    }
    stakes
}

/// Whether something must be said that has no default, or there is nothing to do without saying
/// what to change.
fn needs_form(spec: &OperationSpec) -> bool {
    let others = || spec.fields.iter().filter(|field| Some(&field.name) != spec.subject.as_ref());
    others().any(|field| field.required && field.default.is_null())
        || (spec.edits && others().next().is_some())
}

/// Opens the form of a kind, with what is selected already in it.
pub fn open_form(
    model: &mut Model,
    spec: &OperationSpec,
    things: &[(u64, String)],
    cmds: &mut Vec<Cmd>,
) {
    model.forms += 1;
    let number = model.forms;
    let purpose = match (&spec.subject, things) {
        (Some(field), [_, _, ..]) => {
            Purpose::Many { field: field.to_string(), things: things.to_vec() }
        }
        _ => Purpose::New,
    };
    let mut form = Form::new(number, spec, purpose, &model.catalogue);
    form.fill(&present(model, spec, things), &model.catalogue);
    form::select_here(model, &mut form);
    if let [only] = things {
        form::select_this(spec, only, &mut form);
    }
    form.begin();
    form.preview_due = Some(model.now);
    form::ask_candidates(&form, cmds);
    model.modals.push(Modal::Form(Box::new(form)));
}

/// For a kind that changes a thing: what it has now.
fn present(model: &Model, spec: &OperationSpec, things: &[(u64, String)]) -> Params {
    let mut params = Params::new();
    let row = match things {
        [(id, _)] => model.pane().find(*id),
        _ => model.pane().current(),
    };
    let Some(resource) = row.and_then(Row::resource) else { return params };
    if !spec.edits || resource.kind() != spec.resource {
        return params;
    }
    let Ok(Json::Object(whole)) = serde_json::to_value(resource) else { return params };
    for field in &spec.fields {
        let name = field.name.as_ref();
        let nested = || whole.values().find_map(|value| value.as_object()?.get(name));
        if let Some(value) = whole.get(name).or_else(nested) {
            params.insert(name.to_owned(), value.clone());
        }
    }
    params
}

/// Requests operations.
pub fn submit(model: &mut Model, submits: Vec<Submit>, cmds: &mut Vec<Cmd>) {
    for submit in &submits {
        unmark(model, submit);
    }
    if submits.len() > 1 && model.catalogue.get(BATCH).is_some() {
        cmds.push(Cmd::Submit(Box::new(as_one(submits))));
        return;
    }
    if submits.len() > 1 {
        let awaited = submits.iter().cloned().map(Request::Submit).collect();
        model.batches.push(Batch {
            done: "queued",
            asked: submits.len(),
            awaited,
            refused: Vec::new(),
        });
    }
    cmds.extend(submits.into_iter().map(|submit| Cmd::Submit(Box::new(submit))));
}

/// The kind that asks for several operations as one.
pub const BATCH: &str = "batch";

/// Several requests as one, which goes on when one of them fails: each was meant by itself.
fn as_one(submits: Vec<Submit>) -> Submit {
    let first = submits.first().cloned().unwrap_or_default();
    let operations: Vec<Json> = submits
        .into_iter()
        .map(|submit| serde_json::json!({ "kind": submit.kind, "params": submit.params }))
        .collect();
    let params =
        [("operations".to_owned(), operations.into()), ("on_error".to_owned(), "continue".into())];
    Submit { kind: BATCH.to_owned(), params: params.into_iter().collect(), ..first }
}

/// Takes the mark off what something is done to: the next key is not meant for it any more.
fn unmark(model: &mut Model, submit: &Submit) {
    let Some(spec) = model.catalogue.get(&submit.kind) else { return };
    let of = Tab::Resources(spec.resource);
    let subject = spec.subject.as_deref().and_then(|field| submit.params.get(field));
    if let Some(id) = subject.and_then(Json::as_u64)
        && let Some(pane) = model.list_mut(of)
    {
        pane.marks.remove(&id);
    }
}

/// Asks for the first of a switch's kinds that the state of the selected row allows, or that of any
/// marked one; for the last where it is neither.
pub fn switch(model: &mut Model, name: &str, cmds: &mut Vec<Cmd>) {
    let Some(of) = model.tab.resource() else { return };
    let Some(switch) = of.spec().switches.iter().find(|it| it.name == name) else { return };
    let states: Vec<String> = if model.means_marks() {
        model.pane().marked().into_values().map(|mark| mark.state).collect()
    } else {
        let row = model.pane().current().and_then(Row::resource);
        row.map(|resource| resource.state().to_owned()).into_iter().collect()
    };
    let fits = |wanted: &&Text| {
        let spec = model.catalogue.get(wanted);
        spec.is_some_and(|spec| states.iter().any(|is| spec.requires.iter().any(|it| it == is)))
    };
    let found = switch.kinds.iter().find(fits).or(switch.kinds.last());
    if let Some(found) = found.filter(|_| !states.is_empty()) {
        kind(model, found, cmds);
    }
}

/// Opens the selected guest's serial console.
pub fn serial(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let Some(resource) = model.pane().current().and_then(Row::resource) else { return };
    let (id, name) = (resource.id().id, resource.name().to_owned());
    if model.serial().is_none() {
        let state = resource.state();
        let text = format!("{name} is {state}: there is a serial console only while it runs");
        return tell(model, Tone::Bad, text);
    }
    if refuses(model) {
        return;
    }
    let area = full(model.size);
    let size = (area.width.saturating_sub(2), area.height.saturating_sub(2));
    model.modals.push(Modal::Console(Box::new(Console::new(id, name, size))));
    cmds.push(Cmd::SerialOpen(id));
}

/// Opens the form of a kind from anywhere, such as the first screen or the palette.
pub fn open_kind(model: &mut Model, kind_name: &str, cmds: &mut Vec<Cmd>) {
    if let Some(spec) = model.catalogue.get(kind_name) {
        let tab = Tab::Resources(spec.resource);
        if model.tab != tab && model.focus == Focus::List && spec.subject.is_none() {
            super::list::open_tab(model, tab, cmds);
        }
    }
    kind(model, kind_name, cmds);
}
