//! Answers of the backend.

use crate::domain::{
    Accepted, Answer, BackendError, Control, Query, Rows, Submit, backend::unexpected,
};
use crate::ui::model::{Batch, Modal, Model, Request, Row, Tab, Tone};
use crate::ui::msg::{Ask, Cmd};
use crate::ui::palette::{Candidate, Target};

use super::list::{self, hurry};
use super::{form, tell};

/// How many of its own operations a console remembers.
const MINE: usize = 256;

/// Takes an answer to a query.
pub fn answer(model: &mut Model, ask: Ask, answer: Result<Answer, BackendError>) {
    match &ask {
        Ask::Rows(tab) => {
            if let Some(pane) = model.list_mut(*tab) {
                pane.asking = false;
            }
        }
        Ask::Flight => model.stale.flight_asking = false,
        Ask::Counts => model.stale.counts_asking = false,
        Ask::Timeline => model.stale.timeline_asking = false,
        _ => {}
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return failed(model, &ask, &error),
    };
    match (ask, answer) {
        (Ask::Rows(tab), Answer::Page(page)) => list::take(model, tab, page),
        (Ask::Mark(tab), Answer::Page(page)) => list::marked(model, tab, &page),
        (Ask::Flight, Answer::InFlight(flight)) => {
            let catalogue = model.catalogue.clone();
            model.flight.replace(flight, &catalogue);
        }
        (Ask::Counts, Answer::Counts(counts)) => model.counts = Some(counts),
        (Ask::Timeline, Answer::Timeline(timeline)) => {
            model.timeline = Some(timeline);
            list::keep_in_sight(model);
        }
        (Ask::Lanes, Answer::Lanes(lanes)) => model.lanes = lanes,
        (Ask::Host, Answer::Host(host)) => {
            if model.cpu.is_empty() {
                model.cpu.push_back(host.load.cpu_percent);
            }
            model.host = Some(*host);
        }
        (Ask::Operation(_), Answer::Operation(detail)) => {
            let uid = detail.operation.uid;
            if let Some(view) = model.beside.as_mut().filter(|view| view.uid == uid) {
                view.detail = Some((*detail).clone());
            }
            for modal in &mut model.modals {
                if let Modal::Operation(view) = modal
                    && view.uid == uid
                {
                    view.detail = Some((*detail).clone());
                }
            }
        }
        (Ask::Name(id), Answer::Resource(resource)) => {
            list::remember(model, id, Some(resource.name().to_owned()));
        }
        (Ask::Candidates(number, path), Answer::Page(page)) => {
            form::candidates(model, number, &path, &page.rows);
        }
        (Ask::Preview(number, revision), Answer::Preview(preview)) => {
            form::previewed(model, number, revision, preview);
        }
        (Ask::Find(tab, typed), Answer::Page(page)) => found(model, tab, &typed, &page.rows),
        (_, answer) => tell(model, Tone::Bad, unexpected(&answer).to_string()),
    }
}

/// A question could not be answered.
fn failed(model: &mut Model, ask: &Ask, error: &BackendError) {
    match (ask, error) {
        // A name that is gone is shown as its number.
        (Ask::Name(_), BackendError::NotFound { .. }) => {}
        (_, BackendError::Unreachable { message }) => model.lost = Some(message.clone()),
        _ => tell(model, Tone::Bad, error.to_string()),
    }
}

/// Things the backend found for the palette.
fn found(model: &mut Model, tab: Tab, typed: &str, rows: &Rows) {
    let order: Vec<Tab> = model.panes.iter().map(|pane| pane.tab).collect();
    let Some(Modal::Palette(palette)) = model.modals.last_mut() else { return };
    if palette.input.value().trim() != typed {
        return;
    }
    let mut pane = crate::ui::model::Pane::new(tab);
    pane.rows = rows.clone();
    let candidates = pane
        .iter()
        .map(|(_, row)| match row {
            Row::Resource(resource) => Candidate {
                text: format!("{} {}", resource.name(), resource.id()),
                note: resource.state().to_owned(),
                key: String::new(),
                target: Target::Row(tab, row.id()),
            },
            Row::Operation(operation) => Candidate {
                text: format!(
                    "{} {} {}",
                    operation.uid,
                    operation.kind,
                    operation.resource_name.as_deref().unwrap_or_default()
                ),
                note: operation.state.word().to_owned(),
                key: String::new(),
                target: Target::Operation(row.id()),
            },
        })
        .collect();
    palette.found.retain(|(other, _)| *other != tab);
    palette.found.push((tab, candidates));
    palette.found.sort_by_key(|(tab, _)| order.iter().position(|other| other == tab));
    palette.search();
}

/// Remembers an operation whose end is to be told. Only so many are kept.
fn asked(model: &mut Model, uid: crate::domain::Uid) {
    if model.mine.len() == MINE {
        model.mine.pop_front();
    }
    model.mine.push_back(uid);
}

/// Takes the answer to a request.
pub fn submitted(model: &mut Model, submit: &Submit, answer: Result<Accepted, BackendError>) {
    let kind = submit.kind.as_str();
    let request = Request::Submit(submit.clone());
    let sending = |modal: &Modal| matches!(modal, Modal::Form(form) if form.sending);
    let place = model.modals.iter().rposition(sending);
    let title = model.catalogue.get(kind).map_or_else(|| kind.to_owned(), |s| s.title.to_string());
    match answer {
        Ok(accepted) => {
            if let Some(place) = place {
                model.modals.truncate(place);
            }
            asked(model, accepted.uid);
            if batched(model, &request, None) {
                return;
            }
            let name = accepted.resource.and_then(|id| model.names.get(&id)?.clone());
            let name = name.map(|name| format!(" {name}")).unwrap_or_default();
            let parts = submit.params.get("operations").and_then(|it| it.as_array());
            let name = match parts.filter(|_| kind == super::act::BATCH) {
                Some(parts) => format!(" of {} operations", parts.len()),
                None => name,
            };
            tell(model, Tone::Plain, format!("{} {title}{name}: queued", accepted.uid));
            let made = accepted.resource.filter(|id| model.tab.resource() == Some(id.kind));
            let creates = model
                .catalogue
                .get(kind)
                .is_some_and(|spec| spec.effect == crate::domain::Effect::Creates);
            if let Some(id) = made.filter(|_| creates) {
                let pane = model.pane_mut();
                pane.selected = Some(id.id);
                hurry(pane);
            }
        }
        Err(error) => {
            if batched(model, &request, Some(error.to_string())) {
                return;
            }
            let Some(Modal::Form(form)) = place.map(|place| &mut model.modals[place]) else {
                return tell(model, Tone::Bad, format!("{title}: {error}"));
            };
            form.sending = false;
            match &error {
                BackendError::Refused(refusal) => form.refuse(refusal, true),
                other => form.refusal = Some(other.to_string()),
            }
        }
    }
}

/// Counts an answer to one of several requests made together; tells once all are there.
fn batched(model: &mut Model, request: &Request, refused: Option<String>) -> bool {
    let awaited = model.batches.iter_mut().enumerate().find_map(|(number, batch)| {
        let place = batch.awaited.iter().position(|awaited| awaited == request)?;
        Some((number, place, batch))
    });
    let Some((number, place, batch)) = awaited else { return false };
    batch.awaited.remove(place);
    batch.refused.extend(refused);
    if batch.awaited.is_empty() {
        let batch = model.batches.remove(number);
        let tone = if batch.refused.is_empty() { Tone::Plain } else { Tone::Bad };
        tell(model, tone, outcome(&batch));
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

/// Takes the answer to a change.
pub fn controlled(
    model: &mut Model,
    control: &Control,
    answer: Result<(), BackendError>,
    cmds: &mut Vec<Cmd>,
) {
    let sending = |modal: &Modal| matches!(modal, Modal::Form(form) if form.sending);
    let place = model.modals.iter().rposition(sending);
    if let (Control::Relaunch { uid, .. }, Ok(())) = (control, &answer) {
        asked(model, *uid);
    }
    let is_one_of_many = !matches!(control, Control::Lane { .. });
    let refused = answer.as_ref().err().map(ToString::to_string);
    if is_one_of_many && batched(model, &Request::Control(control.clone()), refused) {
        return;
    }
    match answer {
        Ok(()) => {
            if let (Some(place), Control::Relaunch { .. }) = (place, control) {
                model.modals.truncate(place);
            }
            match control {
                Control::Cancel { uid } => {
                    tell(model, Tone::Plain, format!("{uid}: cancelling"));
                }
                Control::Relaunch { uid, .. } => {
                    tell(model, Tone::Plain, format!("{uid}: queued again"));
                }
                Control::Priority { uid, priority } => {
                    tell(model, Tone::Plain, format!("{uid}: priority {priority}"));
                }
                Control::Lane { .. } => cmds.push(Cmd::Query(Ask::Lanes, Query::Lanes)),
            }
        }
        Err(error) => {
            if let Some(Modal::Form(form)) = place.map(|place| &mut model.modals[place]) {
                form.sending = false;
                match &error {
                    BackendError::Refused(refusal) => form.refuse(refusal, true),
                    other => form.refusal = Some(other.to_string()),
                }
            } else {
                tell(model, Tone::Bad, error.to_string());
            }
        }
    }
}
