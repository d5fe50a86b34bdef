//! Asking for operations: on what is selected or marked, with a form or a question where needed.

use serde_json::Value as Json;

use crate::domain::{
    Control, FieldType, Operation, OperationSpec, Params, Resource, State, Submit,
};
use crate::ui::confirm::{Ask as Question, Confirm, Then};
use crate::ui::console::Console;
use crate::ui::form::{Form, Purpose};
use crate::ui::layout::full;
use crate::ui::model::{Batch, Focus, Modal, Model, Row, Tab, Tone};
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
    match Confirm::needed(&spec, names, submits.clone()) {
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
    let one = matches!(model.modals.last(), Some(Modal::Detail { .. }));
    if pane.marks.is_empty() || one {
        return pane.current().map(|row| (row.id(), row.name())).into_iter().collect();
    }
    pane.marks.iter().map(|(id, name)| (*id, name.clone())).collect()
}

/// Whether something must be said that has no default, or there is nothing to do without saying
/// what to change.
fn needs_form(spec: &OperationSpec) -> bool {
    let others = || spec.fields.iter().filter(|field| Some(&field.name) != spec.subject.as_ref());
    others().any(|field| field.required && field.default.is_null())
        || (spec.kind.ends_with("_update") && others().next().is_some())
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
    form.fill(&present(model, spec), &model.catalogue);
    form::select_here(model, &mut form);
    form.begin();
    form.preview_due = Some(model.now);
    form::ask_candidates(&form, cmds);
    model.modals.push(Modal::Form(Box::new(form)));
}

/// For a kind that changes the selected thing: what it has now.
fn present(model: &Model, spec: &OperationSpec) -> Params {
    let mut params = Params::new();
    let Some(resource) = model.pane().current().and_then(Row::resource) else { return params };
    if !spec.kind.ends_with("_update") || resource.kind() != spec.resource {
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
    if submits.len() > 1 {
        model.batch = Some(Batch { left: submits.len(), ..Batch::default() });
    }
    cmds.extend(submits.into_iter().map(|submit| Cmd::Submit(Box::new(submit))));
}

/// Lets the selected task fire by itself, or stops it from doing so.
pub fn toggle(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let active = match model.pane().current() {
        Some(Row::Resource(Resource::Task(task))) => task.active,
        _ => return,
    };
    kind(model, if active { "task_disable" } else { "task_enable" }, cmds);
}

/// Opens the selected VM's serial console.
pub fn serial(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let Some(Row::Resource(Resource::Vm(vm))) = model.pane().current() else { return };
    let vm = vm.clone();
    if model.serial_vm().is_none() {
        let text = format!(
            "{} is {}: there is a serial console only while it runs",
            vm.name,
            vm.state.word()
        );
        return tell(model, Tone::Bad, text);
    }
    if refuses(model) {
        return;
    }
    let (id, name) = (vm.id, vm.name.clone());
    let area = full(model.size);
    let size = (area.width.saturating_sub(2), area.height.saturating_sub(2));
    model.modals.push(Modal::Console(Box::new(Console::new(id, name, size))));
    cmds.push(Cmd::SerialOpen(id));
}

/// The operation meant, and whether it may be changed; says why not.
fn operation(model: &mut Model) -> Option<Operation> {
    if refuses(model) {
        return None;
    }
    let operation = model.operation().cloned();
    if operation.is_none() && model.pane().current().is_some() {
        tell(model, Tone::Plain, "no operation is happening to this row, and none failed on it");
    }
    operation
}

/// Calls an operation off. What already ran is lost, so that is asked first.
pub fn cancel(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let Some(operation) = operation(model) else { return };
    let uid = operation.uid;
    let control = Control::Cancel { uid };
    match operation.state {
        State::Done | State::Cancel => {
            tell(model, Tone::Bad, format!("{uid} is {} already", operation.state));
        }
        State::Pending => cmds.push(Cmd::Control(control)),
        State::Run | State::Error => {
            model.modals.push(Modal::Confirm(Box::new(Confirm {
                title: format!("Cancel {uid} {}", title(model, &operation)),
                warning: "What it has done so far is undone.".to_owned(),
                things: Vec::new(),
                ask: Question::YesNo { yes: false },
                then: Then::Control(control),
                form: None,
            })));
        }
    }
}

fn title(model: &Model, operation: &Operation) -> String {
    let kind = model
        .catalogue
        .get(&operation.kind)
        .map_or_else(|| operation.kind.clone(), |spec| spec.title.to_string());
    match &operation.resource_name {
        Some(name) => format!("({kind} {name})"),
        None => format!("({kind})"),
    }
}

/// Opens the form of a failed operation with what it was asked with.
pub fn relaunch(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let Some(operation) = operation(model) else { return };
    let uid = operation.uid;
    if operation.state != State::Error {
        let text =
            format!("{uid} is {}: only an operation in ERROR can be relaunched", operation.state);
        return tell(model, Tone::Bad, text);
    }
    let Some(spec) = model.catalogue.get(&operation.kind).cloned() else {
        return tell(model, Tone::Bad, format!("this backend does not offer {}", operation.kind));
    };
    model.forms += 1;
    let purpose = Purpose::Relaunch { uid, before: (*operation.params).clone() };
    let mut form = Form::new(model.forms, &spec, purpose, &model.catalogue);
    form.fill(&operation.params, &model.catalogue);
    form.refusal.clone_from(&operation.comment);
    form::ask_candidates(&form, cmds);
    model.modals.push(Modal::Form(Box::new(form)));
}

/// Lets a waiting operation run sooner or later.
pub fn priority(model: &mut Model, by: i32, cmds: &mut Vec<Cmd>) {
    let Some(operation) = operation(model) else { return };
    let uid = operation.uid;
    if operation.state == State::Pending {
        let priority = operation.priority.saturating_add(by);
        cmds.push(Cmd::Control(Control::Priority { uid, priority }));
    } else {
        let text =
            format!("{uid} is {}: only a waiting operation has a place to change", operation.state);
        tell(model, Tone::Bad, text);
    }
}

/// Opens the form of a kind from anywhere, such as the first screen or the palette.
pub fn open_kind(model: &mut Model, kind_name: &str, cmds: &mut Vec<Cmd>) {
    if let Some(spec) = model.catalogue.get(kind_name) {
        let tab = Tab::of(spec.resource);
        if model.tab != tab && model.focus == Focus::List && spec.subject.is_none() {
            super::list::open_tab(model, tab, cmds);
        }
    }
    kind(model, kind_name, cmds);
}
