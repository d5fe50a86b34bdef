//! Requests and changes: how dangerous they are, sending them, and what became of many.

use crate::domain::{Control, FieldType, OperationSpec, ResourceId, Risk, Submit};
use crate::ui::model::notification::Severity;
use crate::ui::model::{Batch, Model, Pane, Request, Row};
use crate::ui::msg::Cmd;
use crate::ui::tab::Tab;

/// How dangerous something is, and what is lost.
#[derive(Debug, Clone, Default)]
pub struct Hazard {
    /// How dangerous.
    pub risk: Risk,
    /// What is lost.
    pub warning: String,
}

impl Hazard {
    /// That of a request and of another made with it.
    fn and(mut self, other: &Self) -> Self {
        if other.risk != Risk::None && !self.warning.contains(&other.warning) {
            let space = if self.warning.is_empty() { "" } else { " " };
            self.warning += &format!("{space}{}", other.warning);
        }
        self.risk = self.risk.max(other.risk);
        self
    }

    /// The same where it is that of another kind than the one asked for.
    fn of(mut self, spec: &OperationSpec) -> Self {
        if self.risk != Risk::None {
            self.warning = format!("{}: {}", spec.title, self.warning);
        }
        self
    }
}

/// Returns how dangerous it is to request these. What makes, changes or fires a task is as
/// dangerous as what that task asks for, and several asked for as one are as dangerous as these.
pub fn hazard(model: &Model, spec: &OperationSpec, submits: &[Submit]) -> Hazard {
    let hazards = submits.iter().map(|submit| of_one(model, spec, submit));
    hazards.fold(Hazard::default(), |all, one| all.and(&one))
}

/// Returns how dangerous it is to request these, of whatever kinds.
pub fn hazard_of_all(model: &Model, submits: impl IntoIterator<Item = Submit>) -> Hazard {
    let hazards = submits.into_iter().filter_map(|submit| {
        let spec = model.catalogue.get(&submit.kind)?;
        Some(of_one(model, spec, &submit).of(spec))
    });
    hazards.fold(Hazard::default(), |all, one| all.and(&one))
}

fn of_one(model: &Model, spec: &OperationSpec, submit: &Submit) -> Hazard {
    if let Some(parts) = submit.parts() {
        return hazard_of_all(model, parts);
    }
    let (risk, warning) = spec.hazard(&submit.params);
    if risk != Risk::OfTask {
        return Hazard { risk, warning: warning.to_owned() };
    }
    match fired(model, spec, submit) {
        Some((fired, submit)) => of_one(model, fired, &submit).of(fired),
        // Of a task not at hand nothing is known, so that it is asked about.
        None => Hazard {
            risk: Risk::Disruptive,
            warning: "What the task asks for is not known here: it may interrupt a guest."
                .to_owned(),
        },
    }
}

/// What a task will ask for that this makes, changes or fires.
fn fired<'a>(
    model: &'a Model,
    spec: &OperationSpec,
    submit: &Submit,
) -> Option<(&'a OperationSpec, Submit)> {
    let given = spec.fields.iter().find_map(|field| {
        let FieldType::Params { of } = &field.of else { return None };
        let params = submit.params.get(&*field.name).and_then(|params| params.as_object());
        Some((submit.params.get(&**of)?.as_str()?.to_owned(), params.cloned().unwrap_or_default()))
    });
    let (kind, params) = match given {
        Some(given) => given,
        None => {
            let ResourceId { kind, id } = spec.done_to(&submit.params)?;
            let pane = model.list(Tab::Resources(kind))?;
            let mark = pane.find(id).map(Row::mark).or_else(|| pane.marks.get(&id).cloned())?;
            (mark.kind?, mark.params)
        }
    };
    let fired = model.catalogue.get(&kind)?;
    (fired.risk != Risk::OfTask).then(|| (fired, Submit { kind, params, ..Submit::default() }))
}

/// Requests operations.
pub fn submit(model: &mut Model, submits: Vec<Submit>, cmds: &mut Vec<Cmd>) {
    for submit in &submits {
        unmark(model, submit);
    }
    if submits.len() > 1 {
        if let Some(batch) = as_one(model, submits.clone()) {
            cmds.push(Cmd::Submit(Box::new(batch)));
            return;
        }
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

/// Returns the one request that these come to; `None` where an older backend takes them one by one.
#[must_use]
pub fn as_one(model: &Model, mut submits: Vec<Submit>) -> Option<Submit> {
    if submits.len() == 1 {
        return submits.pop();
    }
    // It goes on when one of them fails: each was meant by itself.
    let batch = || Submit::batch(submits, true, None);
    model.catalogue.get(Submit::BATCH).is_some().then(batch)
}

/// Takes the mark off what something is done to: the next key is not meant for it any more.
fn unmark(model: &mut Model, submit: &Submit) {
    let Some(spec) = model.catalogue.get(&submit.kind) else { return };
    if let Some(id) = spec.done_to(&submit.params)
        && let Some(pane) = model.list_mut(Tab::Resources(id.kind))
    {
        pane.marks.remove(&id.id);
    }
}

/// Changes these. What was done to a marked operation takes its mark off, except for its priority,
/// which is seldom right the first time.
pub fn control(model: &mut Model, controls: Vec<Control>, cmds: &mut Vec<Cmd>) {
    let done = match controls.first() {
        Some(Control::Cancel { .. }) => "being cancelled",
        Some(Control::Relaunch { .. }) => "queued again",
        _ => "moved",
    };
    if controls.len() > 1 {
        let awaited = controls.iter().cloned().map(Request::Control).collect();
        let asked = controls.len();
        model.batches.push(Batch { done, asked, awaited, refused: Vec::new() });
    }
    unmark_rows(model, &controls);
    if let Some(pane) = model.list_mut(Tab::Operations) {
        mark_again(pane, &controls);
    }
    cmds.extend(controls.into_iter().map(Cmd::Control));
}

/// Takes the marks off operations that are called off or run again, and lets others know their new
/// priority.
fn mark_again(pane: &mut Pane, controls: &[Control]) {
    let marks = &mut pane.marks;
    for control in controls {
        match control {
            Control::Cancel { uid } | Control::Relaunch { uid, .. } => {
                marks.remove(&uid.0);
            }
            Control::Priority { uid, priority } => {
                if let Some(mark) = marks.get_mut(&uid.0) {
                    mark.priority = *priority;
                }
            }
            Control::Lane { .. } => {}
        }
    }
}

/// Takes the marks off the rows whose operations are called off or run again.
fn unmark_rows(model: &mut Model, controls: &[Control]) {
    let operations = controls.iter().filter_map(|control| match control {
        Control::Cancel { uid } | Control::Relaunch { uid, .. } => model.flight.get(*uid),
        Control::Priority { .. } | Control::Lane { .. } => None,
    });
    let rows: Vec<u64> = operations.flat_map(|it| model.marks_of(it)).collect();
    let marks = &mut model.pane_mut().marks;
    for row in rows {
        marks.remove(&row);
    }
}

/// Counts an answer to one of several requests made together; tells once all are there.
pub fn answered(model: &mut Model, request: &Request, refused: Option<String>) -> bool {
    let awaited = model.batches.iter_mut().enumerate().find_map(|(number, batch)| {
        let place = batch.awaited.iter().position(|awaited| awaited == request)?;
        Some((number, place, batch))
    });
    let Some((number, place, batch)) = awaited else { return false };
    batch.awaited.remove(place);
    batch.refused.extend(refused);
    if batch.awaited.is_empty() {
        let batch = model.batches.remove(number);
        let severity = if batch.refused.is_empty() { Severity::Info } else { Severity::Error };
        model.notify(severity, outcome(&batch));
    }
    true
}

/// What became of requests made together: how many were refused of how many, and each reason, the
/// commonest first.
fn outcome(batch: &Batch) -> String {
    /// More would not be read to the end.
    const REASONS: usize = 2;
    let Batch { done, asked, refused, .. } = batch;
    let accepted = asked - refused.len();
    let mut reasons: Vec<(usize, &str)> = Vec::new();
    for why in refused {
        match reasons.iter_mut().find(|(_, other)| other == why) {
            Some((times, _)) => *times += 1,
            None => reasons.push((1, why)),
        }
    }
    if reasons.is_empty() {
        return format!("{accepted} {done}");
    }
    reasons.sort_by_key(|(times, _)| std::cmp::Reverse(*times));
    let mut told: Vec<String> = reasons
        .iter()
        .take(REASONS)
        .map(|(times, why)| match times {
            1 => (*why).to_owned(),
            _ => format!("{why} ({times} times)"),
        })
        .collect();
    if reasons.len() > REASONS {
        told.push(format!("and {} more", reasons.len() - REASONS));
    }
    let (refused, why) = (refused.len(), told.join(" · "));
    format!("{refused} of {asked} refused, {accepted} {done}: {why}")
}
