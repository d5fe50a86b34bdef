//! What happened: patched into what is shown, and asked for again only where that is not enough.

use crate::domain::{
    Event, Fact, Operation, Progress, Resource, ResourceId, Rows, State, Step, Uid,
};
use crate::ui::model::{Modal, Model, OperationView, PLOT_POINTS, Tab, Tone};
use crate::ui::msg::{Ask, Cmd};
use crate::ui::special;

use super::list::remember;
use super::{everything, hint, tell};

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
    use crate::domain::Query;
    everything(model);
    cmds.push(Cmd::Query(Ask::Host, Query::Host));
    cmds.push(Cmd::Query(Ask::Lanes, Query::Lanes));
    let views = model.modals.iter().filter_map(|modal| match modal {
        Modal::Operation(view) => Some(view.uid),
        _ => None,
    });
    let uids: Vec<Uid> = views.chain(model.beside.as_ref().map(|view| view.uid)).collect();
    for uid in uids {
        cmds.push(Cmd::Query(Ask::Operation(uid.0), Query::Operation { uid }));
    }
}

/// Tells once what a batch of ours was refused.
fn tell_refused(model: &mut Model, uid: Uid, progress: &Progress) {
    let known = model.flight.get(uid).filter(|it| it.kind == super::act::BATCH);
    let Some(before) = known.map(|it| it.progress.as_ref().and_then(|it| it.detail.as_ref()))
    else {
        return;
    };
    if let Some(refused) = &progress.detail
        && before != Some(refused)
        && model.mine.contains(&uid)
    {
        tell(model, Tone::Bad, format!("{uid}: {refused}"));
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
            for view in views(model, uid) {
                take_step(view, &step);
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
            model.stale.flight |= model.flight.waiting > 0;
            model.dirty |= matches!(model.modals.last(), Some(Modal::Lanes { .. }));
        }
        Fact::Load(load) => {
            if let Some(host) = &mut model.host {
                host.load = load;
            }
            model.cpu.push_back(load.cpu_percent);
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
            hint(model, Tone::Plain, message);
            model.dirty = true;
        }
        Fact::Missed | Fact::Lost { .. } => {}
    }
}

/// An operation was accepted or changed.
fn operation(model: &mut Model, new: &Operation) {
    model.dirty = true;
    if let Some(parent) = new.parent {
        for view in views(model, parent) {
            take_child(view, new);
        }
    }
    // Why others wait, only the backend knows, and it may have changed with this one.
    if model.flight.take(new, &model.catalogue) || model.flight.waiting > 0 {
        model.stale.flight = true;
    }
    if new.state.is_end() || new.state == State::Error {
        told(model, new);
    }
    if new.state == State::Pending && new.started.is_none() {
        model.stale.counts = true;
    }
    let uid = new.uid;
    let shown = patch_operations(model, uid, |operation| *operation = new.clone());
    let Some(pane) = model.list_mut(Tab::Operations) else { return };
    // Shown or not, a filter or an order by state may now put it elsewhere.
    if !shown || !pane.filter.is_empty() || pane.sort.is_some() {
        pane.stale = true;
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
        State::Done => hint(model, Tone::Good, format!("{uid} {what}: done")),
        State::Cancel => hint(model, Tone::Plain, format!("{uid} {what}: cancelled")),
        State::Error => {
            let why = operation.comment.as_deref().unwrap_or("failed");
            tell(model, Tone::Bad, format!("{uid} {what}: {why}"));
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
    for view in views(model, uid) {
        if let Some(detail) = &mut view.detail {
            change(&mut detail.operation);
        }
    }
    shown
}

/// Everywhere an operation's steps are shown.
fn views(model: &mut Model, uid: Uid) -> impl Iterator<Item = &mut OperationView> {
    let beside = model.beside.as_mut().filter(|view| view.uid == uid);
    let windows = model.modals.iter_mut().filter_map(move |modal| match modal {
        Modal::Operation(view) if view.uid == uid => Some(view),
        _ => None,
    });
    let dirty = &mut model.dirty;
    beside.into_iter().chain(windows).inspect(move |_| *dirty = true)
}

/// Takes a child as it stands now, at its place by number.
fn take_child(view: &mut OperationView, child: &Operation) {
    let Some(detail) = &mut view.detail else { return };
    let children = &mut detail.children;
    match children.binary_search_by_key(&child.uid, |it| it.uid) {
        Ok(at) => children[at] = child.clone(),
        Err(at) => children.insert(at, child.clone()),
    }
}

fn take_step(view: &mut OperationView, step: &Step) {
    let Some(detail) = &mut view.detail else { return };
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
    model.stale.timeline |= id.kind == special::TIMELINE;
    remember(model, id, Some(new.name().to_owned()));
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
        pane.stale = true;
    }
    if !shown {
        model.stale.counts = true;
    }
    model.dirty |= tab == model.tab;
}

fn gone(model: &mut Model, id: ResourceId) {
    let tab = Tab::Resources(id.kind);
    let Some(pane) = model.list_mut(tab) else { return };
    pane.stale = true;
    pane.marks.remove(&id.id);
    model.flight.troubled.remove(&id);
    model.stale.counts = true;
    model.stale.timeline |= id.kind == special::TIMELINE;
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
