//! Moving in the lists, filtering, sorting and marking.

use std::collections::BTreeSet;

use crate::domain::{List, Page, Params, Resource, ResourceId, Sort, State, Uid};
use crate::ui::input::action::Action;
use crate::ui::model::layout::layout;
use crate::ui::model::notification::Severity;
use crate::ui::model::{Focus, Model, Pane, Row};
use crate::ui::msg::{Cmd, Fetch};
use crate::ui::tab::Tab;

/// At most this many rows are marked at once.
const MARKS: u32 = List::MOST;

/// Moves the selection.
pub fn go(model: &mut Model, action: &Action) {
    let page = if model.focus == Focus::Flight {
        u64::from(layout(model).flight.height)
    } else {
        u64::from(layout(model).list_rows())
    }
    .max(1);
    let (here, total) = if model.focus == Focus::Flight {
        (model.flight.place() as u64, model.flight.operations.len() as u64)
    } else {
        (model.pane().cursor, model.pane().total)
    };
    let place = match action {
        Action::Up => here.saturating_sub(1),
        Action::Down => here + 1,
        Action::PageUp => here.saturating_sub(page),
        Action::PageDown => here + page,
        Action::HalfUp => here.saturating_sub(page.div_ceil(2)),
        Action::HalfDown => here + page.div_ceil(2),
        Action::Top => 0,
        _ => total.saturating_sub(1),
    }
    .min(total.saturating_sub(1));
    if model.focus == Focus::Flight {
        model.flight.select(usize::try_from(place).unwrap_or(usize::MAX));
    } else {
        select(model, place);
    }
}

/// Selects the row at a place.
pub fn select(model: &mut Model, place: u64) {
    let pane = model.pane_mut();
    pane.cursor = place;
    pane.selected = pane.current().map(Row::id);
    keep_in_sight(model);
}

/// Moves the window so that the selection is on the screen, and asks for rows not at hand.
pub fn keep_in_sight(model: &mut Model) {
    let height = u64::from(layout(model).list_rows().max(1));
    let pane = model.pane_mut();
    pane.cursor = pane.cursor.min(pane.total.saturating_sub(1));
    if pane.cursor < pane.top {
        pane.top = pane.cursor;
    } else if pane.cursor >= pane.top + height {
        pane.top = pane.cursor + 1 - height;
    }
    pane.top = pane.top.min(pane.total.saturating_sub(height));
    let end = (pane.top + height).min(pane.total);
    let at_hand = pane.offset <= pane.top && end <= pane.offset + pane.len() as u64;
    if pane.loaded && !at_hand {
        pane.refresh.want_now();
    }
}

/// Takes the rows the backend answered with. The selection stays on its row.
pub fn take(model: &mut Model, tab: Tab, page: Page) {
    let Some(pane) = model.list_mut(tab) else { return };
    pane.total = page.total;
    pane.offset = page.offset;
    pane.rows = page.rows;
    pane.loaded = true;
    let found = pane
        .selected
        .and_then(|id| pane.iter().find(|(_, row)| row.id() == id).map(|(place, _)| place));
    match found {
        Some(place) => {
            // The row stays where it is on the screen, and the rest moves around it.
            pane.top = (pane.top + place).saturating_sub(pane.cursor);
            pane.cursor = place;
        }
        None => {
            pane.cursor = pane.cursor.min(pane.total.saturating_sub(1));
            pane.selected = pane.current().map(Row::id);
        }
    }
    if tab == model.tab {
        keep_in_sight(model);
    }
}

/// Asks for what is shown beside the list needs: the steps of an operation, the names of what a
/// resource is tied to.
pub fn look(model: &mut Model, cmds: &mut Vec<Cmd>) {
    if let Some(Row::Operation(operation)) = model.shown() {
        let uid = operation.uid;
        let beside = layout(model).detail.is_some();
        if beside && model.beside != Some(uid) {
            model.beside = Some(uid);
            model.details.entry(uid).or_default();
            cmds.push(Cmd::Fetch(Fetch::Operation(uid)));
        }
    }
    let named = named(model);
    for id in &named {
        if !model.names.contains_key(id) {
            model.names.insert(*id, None);
            cmds.push(Cmd::Fetch(Fetch::Name(*id)));
        }
    }
    forget(model, &named);
}

/// The resources that are called by name on the screen: those that its rows refer to, and beside
/// them the selected one; and what the operations were asked for with whose details are open.
fn named(model: &Model) -> BTreeSet<ResourceId> {
    let pane = model.pane();
    let columns = model.tab.subject().columns();
    let height = match columns.iter().any(|column| !column.refers_to.is_empty()) {
        true => u64::from(layout(model).list_rows()),
        false => 0,
    };
    let rows = (pane.top..pane.top + height).filter_map(|place| pane.row(place));
    let rows = rows.chain(model.shown()).filter_map(Row::resource);
    let details = model.details.values().flatten().map(|detail| &detail.operation);
    let asked = details.map(|operation| (&*operation.kind, &*operation.params));
    let asks = model.shown().and_then(Row::resource).and_then(Resource::asks_for);
    rows.flat_map(Resource::refers_to)
        .chain(asked.chain(asks).flat_map(|(kind, params)| given(model, kind, params)))
        .collect()
}

/// The first resources that a kind is asked for with. A batch may name a thousand, and each is
/// asked for by itself.
fn given<'a>(
    model: &'a Model,
    kind: &str,
    params: &'a Params,
) -> impl Iterator<Item = ResourceId> + use<'a> {
    const MOST: usize = 100;
    let spec = model.catalogue.get(kind).into_iter();
    spec.flat_map(|spec| spec.resources_named(params, Some(&model.catalogue)))
        .filter_map(|(of, argument)| Some(ResourceId::new(of, argument.value.as_u64()?)))
        .take(MOST)
}

/// Forgets names that are not on the screen where more are known than are kept: forgotten, one
/// that is would be asked for again at once.
fn forget(model: &mut Model, named: &BTreeSet<ResourceId>) {
    const KEPT: usize = 1024;
    let mut over = model.names.len().saturating_sub(KEPT);
    if over == 0 {
        return;
    }
    model.names.retain(|id, _| {
        let is_kept = over == 0 || named.contains(id);
        over -= usize::from(!is_kept);
        is_kept
    });
}

/// Opens a tab.
pub fn open_tab(model: &mut Model, tab: Tab, cmds: &mut Vec<Cmd>) {
    model.focus = Focus::List;
    if model.tab == tab {
        return;
    }
    model.tab = tab;
    model.pane_mut().range = None;
    model.pane_mut().refresh.want_now();
    cmds.push(Cmd::Save(model.preferences()));
}

/// Returns the operation that opening means, if it is one that is selected.
#[must_use]
pub fn opened_operation(model: &Model) -> Option<Uid> {
    let is_operation = model.focus == Focus::Flight || model.tab == Tab::Operations;
    model.operation().filter(|_| is_operation).map(|operation| operation.uid)
}

/// Something that needs a person.
#[derive(PartialEq)]
enum Problem {
    /// An operation that failed, by its place in flight.
    Operation(usize),
    /// A resource.
    Resource(ResourceId),
}

/// Goes to the next that needs a person, around the end: operations that failed, the newest
/// first, then VMs that crashed and tasks that did not do what they should.
pub fn failed(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let flight = &model.flight;
    let rows = flight.rows().map(|(operation, _)| operation).enumerate();
    let mut failed: Vec<_> = rows.filter(|(_, it)| it.state == State::Error).collect();
    failed.sort_by_key(|(_, it)| std::cmp::Reverse((it.finished, it.uid)));
    let troubles: Vec<Problem> = failed
        .into_iter()
        .map(|(place, _)| Problem::Operation(place))
        .chain(flight.troubled.iter().copied().map(Problem::Resource))
        .collect();
    let here = match model.focus {
        Focus::Flight => Some(Problem::Operation(flight.place())),
        Focus::List => {
            model.pane().current().and_then(Row::resource).map(|it| Problem::Resource(it.id()))
        }
    };
    let at = troubles.iter().position(|trouble| Some(trouble) == here.as_ref());
    let next = at.map_or(0, |at| (at + 1) % troubles.len());
    match troubles.get(next) {
        None => model.notify(Severity::Success, "nothing needs a person"),
        Some(Problem::Operation(place)) => {
            model.focus = Focus::Flight;
            model.flight.select(*place);
            keep_in_sight(model);
        }
        Some(Problem::Resource(id)) => go_to(model, Tab::Resources(id.kind), id.id, cmds),
    }
}

/// Goes to a row wherever it is in its list, which shows everything then.
pub fn go_to(model: &mut Model, tab: Tab, id: u64, cmds: &mut Vec<Cmd>) {
    open_tab(model, tab, cmds);
    set_filter(model, "");
    let pane = model.pane_mut();
    pane.selected = Some(id);
    pane.refresh.want_now();
}

/// Leaves one thing: the range, the marks, the filter, what is in flight.
pub fn back(model: &mut Model) {
    if model.focus == Focus::Flight {
        model.focus = Focus::List;
        return;
    }
    let pane = model.pane_mut();
    if pane.range.take().is_some() {
    } else if !pane.marks.is_empty() {
        pane.marks.clear();
    } else if !pane.filter.is_empty() {
        set_filter(model, "");
    }
    model.notification = None;
}

/// Whether the keys are where nothing is marked; says so.
fn is_unmarked(model: &mut Model) -> bool {
    let is_flight = model.focus == Focus::Flight;
    if is_flight {
        let text = "rows are marked in the lists; operations in flight are in theirs";
        model.notify(Severity::Info, text);
    }
    is_flight
}

/// Marks the row, or takes its mark away, and goes on to the next.
pub fn mark(model: &mut Model) {
    if is_unmarked(model) {
        return;
    }
    let pane = model.pane_mut();
    let here = pane.cursor;
    let Some((id, mark)) = pane.as_marks(here..=here).next() else { return };
    if pane.marks.remove(&id).is_none() {
        pane.marks.insert(id, mark);
    }
    pane.cursor = (pane.cursor + 1).min(pane.total.saturating_sub(1));
    pane.selected = pane.current().map(Row::id);
    keep_in_sight(model);
}

/// What is told while a range of marks is begun.
const RANGE_BEGUN: &str = "range begun: go to its other end and press the key again";

/// Begins a range of marks, or marks every row from where it began to here.
pub fn mark_range(model: &mut Model) {
    if is_unmarked(model) {
        return;
    }
    let pane = model.pane_mut();
    let Some(began) = pane.range.take() else {
        pane.range = Some(pane.cursor);
        model.notify(Severity::Info, RANGE_BEGUN);
        return;
    };
    let (from, to) = (began.min(pane.cursor), began.max(pane.cursor));
    let inside: Vec<_> = pane.as_marks(from..=to).collect();
    let missing = (to - from + 1).saturating_sub(inside.len() as u64);
    pane.marks.extend(inside);
    model.notification.take_if(|told| told.text == RANGE_BEGUN);
    if missing > 0 {
        model.notify(
            Severity::Error,
            format!("{missing} rows of the range are not at hand; narrow the list with a filter"),
        );
    }
}

/// Marks every row the filter lets through.
pub fn mark_all(model: &mut Model, cmds: &mut Vec<Cmd>) {
    if is_unmarked(model) {
        return;
    }
    let pane = model.pane();
    let list = List {
        of: pane.tab.subject(),
        filter: pane.filter(&model.here()),
        sort: pane.sort.clone(),
        offset: 0,
        limit: MARKS,
        around: None,
    };
    cmds.push(Cmd::Fetch(Fetch::Marks(pane.tab, list)));
}

/// Takes the rows to mark.
pub fn marked(model: &mut Model, tab: Tab, page: &Page) {
    let mut whole = Pane::new(tab);
    whole.rows = page.rows.clone();
    let Some(pane) = model.list_mut(tab) else { return };
    pane.marks.extend(whole.as_marks(..));
    let number = pane.marks.len();
    if page.total > u64::from(MARKS) {
        model.notify(
            Severity::Error,
            format!("only the first {number} of {} are marked", page.total),
        );
    }
}

/// Shows only what a filter lets through. One that is not understood changes nothing; the line it
/// is typed into says so.
pub fn set_filter(model: &mut Model, text: &str) {
    let text = text.trim();
    if model.misread(text).is_some() {
        return;
    }
    let pane = model.pane_mut();
    if pane.filter != text {
        text.clone_into(&mut pane.filter);
        pane.range = None;
        pane.refresh.want_now();
    }
}

/// Where the keys are in a list, and what it shows.
#[derive(Debug, Clone)]
pub struct View {
    filter: String,
    selected: Option<u64>,
    cursor: u64,
    top: u64,
}

/// Returns where the keys are in the open list.
#[must_use]
pub fn view(model: &Model) -> View {
    let Pane { filter, selected, cursor, top, .. } = model.pane();
    View { filter: filter.clone(), selected: *selected, cursor: *cursor, top: *top }
}

/// Takes the keys back to where they were in the open list, and shows what it showed then.
pub fn go_back(model: &mut Model, view: &View) {
    let pane = model.pane_mut();
    if pane.filter == view.filter && pane.selected == view.selected {
        return;
    }
    set_filter(model, &view.filter);
    let pane = model.pane_mut();
    (pane.selected, pane.cursor, pane.top) = (view.selected, view.cursor, view.top);
    pane.refresh.want_now();
}

/// Returns the place among the columns of the one the list is sorted by.
#[must_use]
pub fn sorted_by(model: &Model) -> Option<usize> {
    let sort = model.pane().sort.as_ref()?;
    model.tab.subject().columns().iter().position(|column| column.name == sort.column)
}

/// Takes the usual order.
pub fn unsort(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let pane = model.pane_mut();
    pane.sort = None;
    pane.refresh.want_now();
    cmds.push(Cmd::Save(model.preferences()));
}

/// Sorts by a column; the other way round if it already was.
pub fn sort_by(model: &mut Model, column: &str, cmds: &mut Vec<Cmd>) {
    let pane = model.pane_mut();
    let descending =
        pane.sort.as_ref().is_some_and(|sort| sort.column == column && !sort.descending);
    pane.sort = Some(Sort { column: column.to_owned(), descending });
    pane.refresh.want_now();
    cmds.push(Cmd::Save(model.preferences()));
}

/// Sorts by the next column, or the one before.
pub fn sort_step(model: &mut Model, forward: bool, cmds: &mut Vec<Cmd>) {
    let columns = model.tab.subject().columns();
    let number = columns.len();
    let at = sorted_by(model);
    let next = match (at, forward) {
        (None, true) => 0,
        (None, false) => number - 1,
        (Some(at), true) => (at + 1) % number,
        (Some(at), false) => (at + number - 1) % number,
    };
    model.pane_mut().sort = None;
    let column = &columns[next];
    sort_by(model, &column.name, cmds);
    model.notify(Severity::Info, format!("sorted by {}", column.title));
}
