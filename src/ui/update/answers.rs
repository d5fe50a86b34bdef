//! Answers of the backend.

use crate::domain::{Accepted, BackendError, Control, Effect, Result, Submit, Uid};
use crate::ui::model::notification::Severity;
use crate::ui::model::{Model, Request};
use crate::ui::msg::{Cmd, Fetch, Reply};

use crate::ui::changes::{list, requests};

/// How many of its own operations a console remembers.
const OWN: usize = 256;

/// Takes the answer to a question.
pub fn reply(model: &mut Model, reply: Reply) {
    match reply {
        Reply::Rows(tab, page) => {
            let mut is_current = true;
            if let Some(pane) = model.list_mut(tab) {
                pane.refresh.answered();
                // With another filter it says nothing of where the keys are to be now.
                is_current = pane.asked_filter == pane.filter;
            }
            if let Some(page) = good(model, page).filter(|_| is_current) {
                list::take(model, tab, page);
            }
        }
        Reply::Marks(tab, page) => {
            if let Some(page) = good(model, page) {
                list::marked(model, tab, &page);
            }
        }
        Reply::InFlight(flight) => {
            model.flight_refresh.answered();
            if let Some(flight) = good(model, flight) {
                model.flight.replace(flight, &model.catalogue);
            }
        }
        Reply::Counts(counts) => {
            model.counts_refresh.answered();
            if let Some(counts) = good(model, counts) {
                model.counts = Some(counts);
            }
        }
        Reply::Timeline(timeline) => {
            model.timeline_refresh.answered();
            if let Some(timeline) = good(model, timeline) {
                model.timeline = Some(timeline);
                list::keep_in_sight(model);
            }
        }
        Reply::Lanes(lanes) => {
            if let Some(lanes) = good(model, lanes) {
                model.lanes = lanes;
            }
        }
        Reply::Host(host) => {
            if let Some(host) = good(model, host) {
                if model.cpu.is_empty() {
                    model.cpu.extend(host.load.cpu_percent);
                }
                model.host = Some(*host);
            }
        }
        Reply::Operation(detail) => {
            if let Some(detail) = good(model, detail)
                && let Some(shown) = model.details.get_mut(&detail.operation.uid)
            {
                *shown = Some(*detail);
            }
        }
        // A name that is gone is shown as its number.
        Reply::Name(_, Err(BackendError::NotFound { .. })) => {}
        Reply::Name(id, resource) => {
            if let Some(resource) = good(model, resource) {
                model.names.insert(id, Some(resource.name().to_owned()));
            }
        }
        // These are for the windows that asked.
        Reply::Candidates(_, _, page) | Reply::Find(_, _, page) => drop(good(model, page)),
        Reply::Preview(_, _, preview) => drop(good(model, preview)),
    }
}

/// Returns what a question was answered with; tells why where it was not.
fn good<T>(model: &mut Model, answer: Result<T>) -> Option<T> {
    match answer {
        Ok(answer) => return Some(answer),
        Err(BackendError::Unreachable { message }) => model.lost = Some(message),
        Err(error) => model.notify(Severity::Error, error.to_string()),
    }
    None
}

/// Remembers an operation whose end is to be told. Only so many are kept.
fn asked(model: &mut Model, uid: Uid) {
    if model.mine.len() == OWN {
        model.mine.pop_front();
    }
    model.mine.push_back(uid);
}

/// Takes the answer to a request; `told` says that a window shows why it was refused.
pub fn submitted(model: &mut Model, submit: &Submit, answer: Result<Accepted>, told: bool) {
    let spec = model.catalogue.get(&submit.kind);
    let title = spec.map_or_else(|| submit.kind.clone(), |spec| spec.title.to_string());
    let creates = spec.is_some_and(|spec| spec.effect == Effect::Creates);
    let accepted = match answer {
        Ok(accepted) => accepted,
        Err(_) if told => return,
        Err(error) => return model.notify(Severity::Error, format!("{title}: {error}")),
    };
    let name = accepted.resource.and_then(|id| model.names.get(&id)?.clone());
    let name = name.map(|name| format!(" {name}")).unwrap_or_default();
    let name = match submit.parts() {
        Some(parts) => format!(" of {} operations", parts.len()),
        None => name,
    };
    model.notify(Severity::Info, format!("{} {title}{name}: queued", accepted.uid));
    let is_here = accepted.resource.filter(|id| model.tab.resource() == Some(id.kind));
    if let Some(id) = is_here.filter(|_| creates) {
        let pane = model.pane_mut();
        pane.selected = Some(id.id);
        pane.refresh.want_now();
    }
}

/// Takes the answer to a request as far as it is one of many, and remembers the operation, whose
/// end is to be told. Returns whether it is one of many.
pub fn submitted_of_many(model: &mut Model, submit: &Submit, answer: &Result<Accepted>) -> bool {
    if let Ok(accepted) = answer {
        asked(model, accepted.uid);
    }
    let refused = answer.as_ref().err().map(ToString::to_string);
    requests::answered(model, &Request::Submit(submit.clone()), refused)
}

/// Takes the answer to a change; `told` says that a window shows why it was refused.
pub fn controlled(
    model: &mut Model,
    control: &Control,
    answer: Result<()>,
    told: bool,
    cmds: &mut Vec<Cmd>,
) {
    let text = match (answer, control) {
        (Err(_), _) if told => return,
        (Err(error), _) => return model.notify(Severity::Error, error.to_string()),
        (Ok(()), Control::Cancel { uid }) => format!("{uid}: cancelling"),
        (Ok(()), Control::Relaunch { uid, .. }) => format!("{uid}: queued again"),
        (Ok(()), Control::Priority { uid, priority }) => format!("{uid}: priority {priority}"),
        (Ok(()), Control::Lane { .. }) => return cmds.push(Cmd::Fetch(Fetch::Lanes)),
    };
    model.notify(Severity::Info, text);
}

/// Takes the answer to a change as far as it is one of many, and remembers an operation that runs
/// again. Returns whether it is one of many.
pub fn controlled_of_many(model: &mut Model, control: &Control, answer: &Result<()>) -> bool {
    if let (Control::Relaunch { uid, .. }, Ok(())) = (control, answer) {
        asked(model, *uid);
    }
    let refused = answer.as_ref().err().map(ToString::to_string);
    !matches!(control, Control::Lane { .. })
        && requests::answered(model, &Request::Control(control.clone()), refused)
}
