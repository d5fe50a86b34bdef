//! Asking for operations: on what is selected or marked, with a form or a question where needed.

use crate::domain::{FieldType, OperationSpec, Params, Resource, Submit};
use crate::ui::model::notification::Severity;
use crate::ui::model::{Focus, Model, Row, Tab};
use crate::ui::msg::Cmd;
use crate::ui::windows::confirm::Confirm;
use crate::ui::windows::console::Console;
use crate::ui::windows::form::open;
use crate::ui::windows::window::Window;

use super::{list, requests};

/// The window that comes up, if any does.
type Opened = Option<Box<dyn Window>>;

/// Asks for an operation kind on what is selected or marked.
pub fn kind(model: &mut Model, kind: &str, cmds: &mut Vec<Cmd>) -> Opened {
    if model.refuses() {
        return None;
    }
    let Some(spec) = model.catalogue.get(kind).cloned() else {
        model.notify(Severity::Error, format!("this backend does not offer {kind}"));
        return None;
    };
    let things = subjects(model, &spec);
    let subject = spec.subject.clone().filter(|_| !things.is_empty());
    let Some(subject) = subject.filter(|_| !needs_form(&spec)) else {
        return Some(open::on(model, &spec, &things, cmds));
    };
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
    let hazard = requests::hazard(model, &spec, &submits);
    let unseen = model.means_marks() && !model.pane().marks_are_here();
    let Some(mut confirm) = Confirm::needed(&spec, &hazard, names, submits.clone(), unseen) else {
        requests::submit(model, submits, cmds);
        return None;
    };
    confirm.form = (spec.fields.len() > 1).then(|| kind.to_owned());
    Some(Box::new(confirm))
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

/// Whether something must be said that has no default, or there is nothing to do without saying
/// what to change.
fn needs_form(spec: &OperationSpec) -> bool {
    let others = || spec.fields.iter().filter(|field| Some(&field.name) != spec.subject.as_ref());
    others().any(|field| field.required && field.default.is_null())
        || (spec.kind.ends_with("_update") && others().next().is_some())
}

/// Lets the selected task fire by itself, or stops it from doing so. Of marked tasks, all are
/// stopped as long as any is active.
pub fn toggle(model: &mut Model, cmds: &mut Vec<Cmd>) -> Opened {
    let active = match model.pane().current() {
        _ if model.means_marks() => {
            model.pane().marked().values().any(|mark| mark.state == "active")
        }
        Some(Row::Resource(Resource::Task(task))) => task.active,
        _ => return None,
    };
    kind(model, if active { "task_disable" } else { "task_enable" }, cmds)
}

/// Opens the selected VM's serial console.
pub fn serial(model: &mut Model, cmds: &mut Vec<Cmd>) -> Opened {
    let Some(Row::Resource(Resource::Vm(vm))) = model.pane().current() else { return None };
    let vm = vm.clone();
    if model.serial_vm().is_none() {
        let text = format!(
            "{} is {}: there is a serial console only while it runs",
            vm.name,
            vm.state.word()
        );
        model.notify(Severity::Error, text);
        return None;
    }
    if model.refuses() {
        return None;
    }
    Some(Box::new(Console::open(vm.id, vm.name, model.size, cmds)))
}

/// Opens the form of a kind from anywhere, such as the first screen or the palette.
pub fn open_kind(model: &mut Model, kind_name: &str, cmds: &mut Vec<Cmd>) -> Opened {
    if let Some(spec) = model.catalogue.get(kind_name) {
        let tab = Tab::of(spec.resource);
        if model.tab != tab && model.focus == Focus::List && spec.subject.is_none() {
            list::open_tab(model, tab, cmds);
        }
    }
    kind(model, kind_name, cmds)
}
