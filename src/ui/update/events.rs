//! What happened: patched into what is shown, and asked for again only where that is not enough.

use crate::domain::{
    Event, Fact, Operation, OperationDetail, Progress, Resource, ResourceId, Rows, State, Step,
    Submit, Uid,
};
use crate::ui::model::in_flight::PLOT_POINTS;
use crate::ui::model::notification::Severity;
use crate::ui::model::{Front, Model, special};
use crate::ui::msg::{Cmd, Fetch};
use crate::ui::tab::Tab;

/// Takes an event.
pub fn event(model: &mut Model, event: Event, cmds: &mut Vec<Cmd>) {
    let gap = model
        .heard
        .is_some_and(|(life, seq)| event.life != life || event.seq != seq.wrapping_add(1));
    model.heard = Some((event.life, event.seq));
    if let Fact::Lost { why } = event.fact {
        model.lost = Some(why);
        model.dirty = true;
        return;
    }
    if model.lost.take().is_some() {
        model.dirty = true;
    }
    if gap || matches!(event.fact, Fact::Missed) {
        again(model, cmds);
    }
    fact(model, event.fact);
}

/// Something was missed: everything visible is asked for again.
pub fn again(model: &mut Model, cmds: &mut Vec<Cmd>) {
    refresh(model);
    cmds.push(Cmd::Fetch(Fetch::Host));
    cmds.push(Cmd::Fetch(Fetch::Lanes));
    cmds.extend(model.details.keys().map(|uid| Cmd::Fetch(Fetch::Operation(*uid))));
}

/// Asks for everything visible again, at once.
pub fn refresh(model: &mut Model) {
    for pane in &mut model.panes {
        pane.refresh.want_now();
    }
    model.flight_refresh.want_now();
    model.counts_refresh.want_now();
    model.timeline_refresh.want_now();
}

/// Tells once what a batch of ours was refused.
fn tell_refused(model: &mut Model, uid: Uid, progress: &Progress) {
    let known = model.flight.get(uid).filter(|it| it.kind == Submit::BATCH);
    let Some(before) = known.map(|it| it.progress.as_ref().and_then(|it| it.detail.as_ref()))
    else {
        return;
    };
    if let Some(refused) = &progress.detail
        && before != Some(refused)
        && model.mine.contains(&uid)
    {
        model.notify(Severity::Error, format!("{uid}: {refused}"));
    }
}

fn fact(model: &mut Model, fact: Fact) {
    match fact {
        Fact::Operation(new) => operation(model, &new),
        Fact::Progress { uid, progress } => {
            tell_refused(model, uid, &progress);
            if model.flight.progress(uid, &progress) {
                model.dirty = true;
            }
            patch_operations(model, uid, |operation| operation.progress = Some(progress.clone()));
        }
        Fact::Step { uid, step } => {
            if let Some(Some(detail)) = model.details.get_mut(&uid) {
                take_step(detail, &step);
                model.dirty = true;
            }
        }
        Fact::Resource(new) => resource(model, &new),
        Fact::Gone(id) => gone(model, id),
        Fact::Usage { vm, cpu_percent, memory_mib } => usage(model, vm, cpu_percent, memory_mib),
        Fact::Lane(lane) => {
            match model.lanes.iter_mut().find(|other| other.name == lane.name) {
                Some(other) => *other = lane,
                None => model.lanes.push(lane),
            }
            // What waits may now wait for something else.
            if model.flight.waiting > 0 {
                model.flight_refresh.want();
            }
            model.dirty |= model.front == Front::Other;
        }
        Fact::Load(load) => {
            if let Some(host) = &mut model.host {
                host.load = load;
            }
            model.cpu.extend(load.cpu_percent);
            if model.cpu.len() > PLOT_POINTS {
                model.cpu.pop_front();
            }
            model.dirty = true;
        }
        Fact::Host(host) => {
            model.host = Some(host.as_ref().clone());
            model.dirty = true;
        }
        Fact::Notice { message } => {
            model.notify_aside(Severity::Info, message);
            model.dirty = true;
        }
        Fact::Missed | Fact::Lost { .. } => {}
    }
}

/// An operation was accepted or changed.
fn operation(model: &mut Model, new: &Operation) {
    model.dirty = true;
    if let Some(parent) = new.parent
        && let Some(Some(detail)) = model.details.get_mut(&parent)
    {
        take_child(detail, new);
    }
    // Why others wait, only the backend knows, and it may have changed with this one.
    if model.flight.take(new, &model.catalogue) || model.flight.waiting > 0 {
        model.flight_refresh.want();
    }
    if new.state.is_end() || new.state == State::Error {
        told(model, new);
    }
    if new.state == State::Pending && new.started.is_none() {
        model.counts_refresh.want();
    }
    let uid = new.uid;
    let shown = patch_operations(model, uid, |operation| *operation = new.clone());
    let Some(pane) = model.list_mut(Tab::Operations) else { return };
    // Shown or not, a filter or an order by state may now put it elsewhere.
    if !shown || !pane.filter.is_empty() || pane.sort.is_some() {
        pane.refresh.want();
    }
}

/// Says how an operation this console asked for ended.
fn told(model: &mut Model, operation: &Operation) {
    if !model.mine.contains(&operation.uid) {
        return;
    }
    let what = match (&operation.resource_name, model.catalogue.get(&operation.kind)) {
        (Some(name), Some(spec)) => format!("{} {name}", spec.title),
        (None, Some(spec)) => spec.title.to_string(),
        (_, None) => operation.kind.clone(),
    };
    let uid = operation.uid;
    match operation.state {
        State::Done => model.notify_aside(Severity::Success, format!("{uid} {what}: done")),
        State::Cancel => model.notify_aside(Severity::Info, format!("{uid} {what}: cancelled")),
        State::Error => {
            let why = operation.comment.as_deref().unwrap_or("failed");
            model.notify(Severity::Error, format!("{uid} {what}: {why}"));
        }
        State::Pending | State::Run => return,
    }
    if operation.state.is_end() {
        model.mine.retain(|mine| *mine != uid);
    }
}

/// Changes an operation wherever it is shown besides in flight. Returns whether its list shows it.
fn patch_operations(model: &mut Model, uid: Uid, change: impl Fn(&mut Operation)) -> bool {
    let mut shown = false;
    if let Some(pane) = model.list_mut(Tab::Operations)
        && let Rows::Operations(rows) = &mut pane.rows
        && let Some(operation) = rows.iter_mut().find(|operation| operation.uid == uid)
    {
        change(operation);
        shown = true;
    }
    model.dirty |= shown && model.tab == Tab::Operations;
    if let Some(Some(detail)) = model.details.get_mut(&uid) {
        change(&mut detail.operation);
        model.dirty = true;
    }
    shown
}

/// Takes a child as it stands now, at its place by number. One behind the last that is shown is
/// among those that are only counted, where there are such.
fn take_child(detail: &mut OperationDetail, child: &Operation) {
    let children = &mut detail.children;
    if detail.more_children > 0 && children.last().is_none_or(|last| last.uid < child.uid) {
        return;
    }
    match children.binary_search_by_key(&child.uid, |it| it.uid) {
        Ok(at) => children[at] = child.clone(),
        Err(at) => children.insert(at, child.clone()),
    }
}

fn take_step(detail: &mut OperationDetail, step: &Step) {
    let same = |other: &&mut Step| {
        other.attempt == step.attempt && other.number == step.number && other.name == step.name
    };
    match detail.steps.iter_mut().find(same) {
        Some(other) => *other = step.clone(),
        None => detail.steps.push(step.clone()),
    }
}

/// A resource was made or changed.
fn resource(model: &mut Model, new: &Resource) {
    let id = new.id();
    model.flight.look_at(new);
    if id.kind == special::TIMELINE {
        model.timeline_refresh.want();
    }
    if special::is_down(new) {
        model.usage.remove(&id.id);
    }
    model.names.insert(id, Some(new.name().to_owned()));
    let tab = Tab::Resources(id.kind);
    let Some(pane) = model.list_mut(tab) else { return };
    let mut shown = false;
    if let Rows::Resources(rows) = &mut pane.rows
        && let Some(row) = rows.iter_mut().find(|row| row.id() == id)
    {
        *row = special::keep_observed(new, row);
        shown = true;
    }
    let moved = !pane.filter.is_empty() || pane.sort.is_some();
    if !shown || moved {
        pane.refresh.want();
    }
    if !shown {
        model.counts_refresh.want();
    }
    model.dirty |= tab == model.tab;
}

fn gone(model: &mut Model, id: ResourceId) {
    let tab = Tab::Resources(id.kind);
    let Some(pane) = model.list_mut(tab) else { return };
    pane.refresh.want();
    pane.marks.remove(&id.id);
    model.flight.troubled.remove(&id);
    model.counts_refresh.want();
    if id.kind == special::TIMELINE {
        model.timeline_refresh.want();
    }
    if id.kind == special::OBSERVED {
        model.usage.remove(&id.id);
    }
    model.dirty |= tab == model.tab;
}

fn usage(model: &mut Model, vm: u64, cpu_percent: f32, memory_mib: u64) {
    const VMS_KEPT: usize = 256;
    if model.usage.len() >= VMS_KEPT && !model.usage.contains_key(&vm) {
        model.usage.pop_first();
    }
    let points = model.usage.entry(vm).or_default();
    points.push_back(cpu_percent);
    if points.len() > PLOT_POINTS {
        points.pop_front();
    }
    let tab = Tab::Resources(special::OBSERVED);
    let id = ResourceId::new(special::OBSERVED, vm);
    if let Some(pane) = model.list_mut(tab)
        && let Rows::Resources(rows) = &mut pane.rows
        && let Some(row) = rows.iter_mut().find(|row| row.id() == id)
        && special::observe(row, cpu_percent, memory_mib)
    {
        model.dirty |= model.tab == tab;
    }
}
