//! Requests and changes: how dangerous they are, sending them, and what became of many.

use crate::domain::{Control, OperationSpec, Risk, Submit};
use crate::ui::model::notification::Severity;
use crate::ui::model::{Batch, Model, Pane, Request, Row};
use crate::ui::msg::Cmd;
use crate::ui::tab::Tab;

/// How dangerous something is, and what is lost.
#[derive(Debug, Clone)]
pub struct Hazard {
    /// How dangerous.
    pub risk: Risk,
    /// What is lost.
    pub warning: String,
}

/// Returns how dangerous it is to request these. What fires a task is as dangerous as what that
/// task asks for; of a task not at hand nothing is known, so that it is asked about.
pub fn hazard(model: &Model, spec: &OperationSpec, submits: &[Submit]) -> Hazard {
    let mut hazard = Hazard { risk: spec.risk, warning: spec.warning.to_string() };
    if spec.risk != Risk::OfTask {
        return hazard;
    }
    let pane = spec.resource.and_then(|of| model.list(Tab::Resources(of)));
    let fires = |submit: &Submit| {
        let id = spec.done_to(&submit.params)?.id;
        let mark = pane?.find(id).map(Row::mark).or_else(|| pane?.marks.get(&id).cloned());
        model.catalogue.get(&mark?.kind?)
    };
    hazard = Hazard { risk: Risk::None, warning: String::new() };
    for submit in submits {
        let Some(fired) = fires(submit) else {
            let warning = "What the task asks for is not known here: it may interrupt a guest.";
            return Hazard { risk: Risk::Disruptive, warning: warning.to_owned() };
        };
        let told = format!("{}: {}", fired.title, fired.warning);
        if fired.risk != Risk::None && !hazard.warning.contains(&told) {
            let space = if hazard.warning.is_empty() { "" } else { " " };
            hazard.warning += &format!("{space}{told}");
        }
        hazard.risk = hazard.risk.max(fired.risk);
    }
    hazard
}

/// Requests operations.
pub fn submit(model: &mut Model, submits: Vec<Submit>, cmds: &mut Vec<Cmd>) {
    for submit in &submits {
        unmark(model, submit);
    }
    if submits.len() > 1 && model.catalogue.get(Submit::BATCH).is_some() {
        // It goes on when one of them fails: each was meant by itself.
        cmds.push(Cmd::Submit(Box::new(Submit::batch(submits, true, None))));
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
