//! Opening forms: what stands in them at first.

use serde_json::Value as Json;

use super::state::{Form, Purpose};
use super::update;
use crate::domain::{Operation, OperationSpec, Params};
use crate::ui::model::{Model, Owner, Row};
use crate::ui::msg::Cmd;

/// Opens the form of a kind, with what is selected already in it.
pub fn on(
    model: &mut Model,
    spec: &OperationSpec,
    things: &[(u64, String)],
    cmds: &mut Vec<Cmd>,
) -> Box<Form> {
    model.forms += 1;
    let number = model.forms;
    let purpose = match (&spec.subject, things) {
        (Some(field), [_, _, ..]) => {
            Purpose::Many { field: field.to_string(), things: things.to_vec() }
        }
        _ => Purpose::New,
    };
    let mut form = Form::new(number, spec, purpose, &model.catalogue);
    form.owner = Owner::of(model, spec).filter(|_| things.is_empty());
    form.fill(&present(model, spec, things), &model.catalogue);
    update::select_here(model, &mut form);
    if let [only] = things {
        update::select_this(spec, only, &mut form);
    }
    form.begin();
    form.untouch();
    form.preview_due = Some(model.now);
    update::ask_candidates(&form, cmds);
    Box::new(form)
}

/// For a kind that changes a thing: what it has now.
fn present(model: &Model, spec: &OperationSpec, things: &[(u64, String)]) -> Params {
    let mut params = Params::new();
    let row = match things {
        [(id, _)] => model.pane().find(*id),
        _ => model.pane().current(),
    };
    let Some(resource) = row.and_then(Row::resource) else { return params };
    if !spec.edits || Some(resource.kind()) != spec.resource {
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

/// Opens the form of a failed operation with what it was asked with.
pub fn relaunch(
    model: &mut Model,
    spec: &OperationSpec,
    operation: &Operation,
    cmds: &mut Vec<Cmd>,
) -> Box<Form> {
    model.forms += 1;
    let before = (*operation.params).clone();
    let purpose = Purpose::Relaunch { uid: operation.uid, before };
    let mut form = Form::new(model.forms, spec, purpose, &model.catalogue);
    form.fill(&operation.params, &model.catalogue);
    form.advanced = form.has_advanced_values(&operation.params);
    form.untouch();
    form.refusal.clone_from(&operation.comment);
    update::ask_candidates(&form, cmds);
    Box::new(form)
}
