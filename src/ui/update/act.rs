//! Asking for operations: on what is selected or marked, with a form or a question where needed.

use crate::domain::{OperationSpec, Params, Submit, Text};
use crate::ui::model::notification::Severity;
use crate::ui::model::{Focus, Model, Owner, Row, Subjects};
use crate::ui::msg::Cmd;
use crate::ui::tab::Tab;
use crate::ui::windows::confirm::Confirm;
use crate::ui::windows::console::Console;
use crate::ui::windows::form::open;
use crate::ui::windows::window::OpenedWindow;

use crate::ui::changes::{list, requests};

/// Asks for an operation kind on what is selected or marked.
pub fn kind(model: &mut Model, kind: &str, cmds: &mut Vec<Cmd>) -> OpenedWindow {
    if model.refuses() {
        return None;
    }
    let Some(spec) = model.catalogue.get(kind).cloned() else {
        model.notify(Severity::Error, format!("this backend does not offer {kind}"));
        return None;
    };
    if let Some(why) = spec.beyond_us() {
        model.notify(Severity::Error, why);
        return None;
    }
    let subjects = Subjects::of(model, &spec);
    let why = subjects.why();
    let (things, others) = (subjects.fitting, subjects.refused.len());
    if things.is_empty() && others > 0 {
        model.notify(Severity::Error, why);
        return None;
    }
    if let Some(why) = Owner::of(model, &spec).and_then(|owner| owner.lacks(&spec)) {
        model.notify(Severity::Error, why);
        return None;
    }
    let others = match others {
        0 => String::new(),
        1 => format!("One more is marked, and left as it is: {why}."),
        _ => format!("{others} more are marked, and left as they are: {why}."),
    };
    let subject = spec.subject.clone().filter(|_| !things.is_empty());
    let Some(subject) = subject.filter(|_| !needs_form(&spec)) else {
        if !others.is_empty() {
            model.notify(Severity::Info, others);
        }
        return Some(open::on(model, &spec, &things, cmds));
    };
    let actor = model.actor.clone();
    let submits: Vec<Submit> = things
        .iter()
        .map(|(id, _)| Submit {
            kind: kind.to_owned(),
            params: Params::from_iter([(subject.to_string(), (*id).into())]),
            actor: actor.clone(),
            ..Submit::default()
        })
        .collect();
    let owner = match things.as_slice() {
        [(id, _)] => model.pane().find(*id).and_then(Row::resource),
        _ => None,
    };
    let owner = owner.and_then(|it| Owner::name_for(model, &spec, it)).map(ToOwned::to_owned);
    let names = things.into_iter().map(|(_, name)| name).collect();
    let hazard = requests::hazard(model, &spec, &submits);
    let unseen = model.means_marks() && !model.pane().marks_are_here();
    let Some(mut confirm) = Confirm::needed(&spec, &hazard, names, submits.clone(), unseen) else {
        requests::submit(model, submits, cmds);
        return None;
    };
    if !others.is_empty() {
        confirm.warning = format!("{} {others}", confirm.warning).trim_start().to_owned();
    }
    if let Some(owner) = owner {
        confirm.title += &format!(" from {owner}");
    }
    confirm.form = (spec.fields.len() > 1).then(|| kind.to_owned());
    confirm.ask(model, cmds);
    Some(Box::new(confirm))
}

/// Whether something must be said that has no default, or there is nothing to do without saying
/// what to change.
fn needs_form(spec: &OperationSpec) -> bool {
    let others = || spec.fields.iter().filter(|field| Some(&field.name) != spec.subject.as_ref());
    others().any(|field| field.required && field.default.is_null())
        || (spec.edits && others().next().is_some())
}

/// Asks for the first of a switch's kinds that the state of the selected row allows, or that of any
/// marked one; for the last where it is neither.
pub fn switch(model: &mut Model, name: &str, cmds: &mut Vec<Cmd>) -> OpenedWindow {
    let switch = model.tab.resource()?.spec().switches.iter().find(|it| it.name == name)?;
    let states: Vec<String> = if model.means_marks() {
        model.pane().marked().into_iter().map(|(_, mark)| mark.state).collect()
    } else {
        let row = model.pane().current().and_then(Row::resource);
        row.map(|resource| resource.state().to_owned()).into_iter().collect()
    };
    let fits = |wanted: &&Text| {
        let spec = model.catalogue.get(wanted);
        spec.is_some_and(|spec| states.iter().any(|is| spec.requires.iter().any(|it| it == is)))
    };
    let found = switch.kinds.iter().find(fits).or(switch.kinds.last());
    found.filter(|_| !states.is_empty()).and_then(|found| kind(model, found, cmds))
}

/// Opens the selected guest's serial console.
pub fn serial(model: &mut Model, cmds: &mut Vec<Cmd>) -> OpenedWindow {
    let resource = model.pane().current().and_then(Row::resource)?;
    let (id, name) = (resource.id().id, resource.name().to_owned());
    if model.serial().is_none() {
        let state = resource.state();
        let text = format!("{name} is {state}: there is a serial console only while it runs");
        model.notify(Severity::Error, text);
        return None;
    }
    if model.refuses() {
        return None;
    }
    Some(Box::new(Console::open(id, name, model.size, cmds)))
}

/// Opens the form of a kind from anywhere, such as the first screen or the palette.
pub fn open_kind(model: &mut Model, kind_name: &str, cmds: &mut Vec<Cmd>) -> OpenedWindow {
    if let Some(spec) = model.catalogue.get(kind_name) {
        let tab = spec.resource.map(Tab::Resources);
        if let Some(tab) = tab.filter(|tab| model.tab != *tab)
            && model.focus == Focus::List
            && spec.subject.is_none()
        {
            list::open_tab(model, tab, cmds);
        }
    }
    kind(model, kind_name, cmds)
}
