//! What every message does to the model, and what is to be done about it.
//!
//! `update` is pure and synchronous: it reads no clock, asks nobody and draws nothing. The same
//! messages always lead to the same model.

mod act;
mod answers;
mod events;
mod form;
mod list;
mod mouse;
mod operate;
mod windows;

use crossterm::event::{KeyEvent, KeyEventKind};
use jiff::Timestamp;

use crate::domain::{Filter, List, Query, Subject};

use super::Exit;
use super::action::{Action, Scope};
use super::confirm::Ask as Question;
use super::keymap::{Found, Key};
use super::layout::layout;
use super::model::{Focus, Message, Modal, Model, Tab, Tone, is_due};
use super::msg::{Ask, Cmd, Msg};

/// How long a message stays.
const MESSAGE_STAYS: jiff::SignedDuration = jiff::SignedDuration::from_secs(6);

/// How long what went wrong stays: it wants to be read to its end.
const TROUBLE_STAYS: jiff::SignedDuration = jiff::SignedDuration::from_secs(15);

/// What is asked when the console opens, or comes back and what it had asked before is void.
pub fn start(model: &mut Model) -> Vec<Cmd> {
    let mut cmds = Vec::new();
    model.lost = None;
    model.heard = None;
    for pane in &mut model.panes {
        pane.asking = false;
    }
    model.stale.flight_asking = false;
    model.stale.counts_asking = false;
    model.stale.timeline_asking = false;
    events::again(model, &mut cmds);
    windows::reopen(model, &mut cmds);
    ask(model, &mut cmds);
    cmds
}

/// Everything visible is to be asked for again, at once.
fn everything(model: &mut Model) {
    for pane in &mut model.panes {
        pane.stale = true;
        pane.asked_at = Timestamp::UNIX_EPOCH;
    }
    model.stale.flight = true;
    model.stale.counts = true;
    model.stale.asked_at = Timestamp::UNIX_EPOCH;
    model.stale.timeline = true;
    model.stale.timeline_asked_at = Timestamp::UNIX_EPOCH;
}

/// What a message does.
pub fn update(model: &mut Model, msg: Msg) -> Vec<Cmd> {
    let mut cmds = Vec::new();
    match msg {
        Msg::Now(now) => model.now = now,
        Msg::Wake => wake(model, &mut cmds),
        Msg::Key(event) if event.kind != KeyEventKind::Release => {
            model.dirty = true;
            key(model, event, &mut cmds);
        }
        Msg::Key(_) => {}
        Msg::Paste(text) => {
            model.dirty = true;
            windows::paste(model, &text, &mut cmds);
        }
        Msg::Mouse(event) => mouse::mouse(model, event, &mut cmds),
        Msg::Resize(width, height) => {
            model.size = (width, height);
            model.dirty = true;
            windows::resized(model);
            list::keep_in_sight(model);
        }
        Msg::Event(event) => events::event(model, *event, &mut cmds),
        Msg::EventsEnded => {
            model.lost = Some("the backend stopped".to_owned());
            model.dirty = true;
        }
        Msg::Answer(ask, answer) => {
            model.dirty = true;
            answers::answer(model, ask, answer);
        }
        Msg::Submitted(submit, answer) => {
            model.dirty = true;
            answers::submitted(model, &submit, answer);
        }
        Msg::Controlled(control, answer) => {
            model.dirty = true;
            answers::controlled(model, &control, answer, &mut cmds);
        }
        Msg::SerialOpened(..)
        | Msg::SerialOutput(..)
        | Msg::SerialEnded(_)
        | Msg::SerialFailed(..) => windows::serial(model, msg),
        Msg::Paths(typed, paths) => {
            model.dirty = true;
            form::paths(model, &typed, paths);
        }
        Msg::Trouble(text) => {
            model.dirty = true;
            tell(model, Tone::Bad, text);
        }
    }
    list::look(model, &mut cmds);
    ask(model, &mut cmds);
    cmds
}

/// The time the model asked to be woken at has come.
fn wake(model: &mut Model, cmds: &mut Vec<Cmd>) {
    if model.message.as_ref().is_some_and(|message| message.until <= model.now) {
        model.message = None;
        model.dirty = true;
    }
    if model.flight.running > 0 {
        model.dirty = true;
    }
    form::preview(model, cmds);
}

/// Asks what is wanted and due; of each question at most one is under way.
fn ask(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let now = model.now;
    let height = layout(model).list_rows();
    let (tab, here) = (model.tab, model.here());
    let pane = model.pane_mut();
    if pane.stale && !pane.asking && is_due(pane.asked_at, now) {
        pane.stale = false;
        pane.asking = true;
        pane.asked_at = now;
        cmds.push(Cmd::Query(Ask::Rows(tab), Query::List(pane.question(height, &here))));
    }
    if is_due(model.stale.asked_at, now) {
        // Both go together, or the second would wait for its own turn.
        if model.stale.flight && !model.stale.flight_asking {
            model.stale.flight = false;
            model.stale.flight_asking = true;
            model.stale.asked_at = now;
            cmds.push(Cmd::Query(Ask::Flight, Query::InFlight));
        }
        if model.stale.counts && !model.stale.counts_asking {
            model.stale.counts = false;
            model.stale.counts_asking = true;
            model.stale.asked_at = now;
            cmds.push(Cmd::Query(Ask::Counts, Query::Counts));
        }
    }
    if model.timeline_due().is_some_and(|due| due <= now) {
        model.stale.timeline = false;
        model.stale.timeline_asking = true;
        model.stale.timeline_asked_at = now;
        cmds.push(Cmd::Query(Ask::Timeline, Query::Timeline));
    }
}

/// Says something at the bottom for a while.
fn tell(model: &mut Model, tone: Tone, text: impl Into<String>) {
    let stays = if tone == Tone::Bad { TROUBLE_STAYS } else { MESSAGE_STAYS };
    model.message = Some(Message { text: text.into(), tone, until: model.now + stays });
}

/// Says what nobody pressed a key for, unless what went wrong is still being read.
fn hint(model: &mut Model, tone: Tone, text: impl Into<String>) {
    let bad = |message: &Message| message.tone == Tone::Bad && message.until > model.now;
    if !model.message.as_ref().is_some_and(bad) {
        tell(model, tone, text);
    }
}

/// Where keys are looked up now.
#[must_use]
pub fn scopes(model: &Model) -> Vec<Scope> {
    match model.modals.last() {
        None if model.focus == Focus::Flight => vec![Scope::Everywhere, Scope::Operation],
        // What can be done to the row can be done to it in its own window too.
        None | Some(Modal::Detail { .. }) => {
            vec![Scope::Everywhere, Scope::Operation, Scope::Tab(model.tab)]
        }
        Some(Modal::Operation(_)) => vec![Scope::Everywhere, Scope::Operation],
        Some(Modal::Form(form)) if form.is_picking() => vec![Scope::Search],
        Some(Modal::Form(_)) => vec![Scope::Form],
        Some(Modal::Console(_)) => vec![Scope::Console],
        Some(Modal::Lanes { .. }) => vec![Scope::Everywhere, Scope::Lanes],
        Some(Modal::Sort { .. }) => vec![Scope::Everywhere, Scope::Sort],
        Some(Modal::Quit { .. }) => vec![Scope::Everywhere, Scope::Leave],
        Some(Modal::Confirm(confirm)) => match confirm.ask {
            Question::YesNo { .. } => vec![Scope::Question],
            Question::Type { .. } => vec![Scope::Search],
        },
        Some(Modal::Palette(_) | Modal::Filter { .. }) => vec![Scope::Search],
        Some(_) => vec![Scope::Everywhere],
    }
}

/// A key: the front window may take it as text, else the key map says what it asks for.
fn key(model: &mut Model, event: KeyEvent, cmds: &mut Vec<Cmd>) {
    if windows::take_key(model, event, cmds) {
        model.pending.clear();
        return;
    }
    model.pending.push(Key::from(event));
    let scopes = scopes(model);
    let found = match model.keymap.find(&scopes, &model.pending) {
        Found::Action(action) => Some(action.clone()),
        Found::Prefix => return,
        Found::Nothing => None,
    };
    model.pending.clear();
    match found {
        Some(action) => perform(model, &action, cmds),
        None => windows::unbound(model, event, cmds),
    }
}

/// Does an action.
fn perform(model: &mut Model, action: &Action, cmds: &mut Vec<Cmd>) {
    if windows::take_action(model, action, cmds) {
        return;
    }
    match action {
        Action::Up
        | Action::Down
        | Action::PageUp
        | Action::PageDown
        | Action::HalfUp
        | Action::HalfDown
        | Action::Top
        | Action::Bottom => list::go(model, action),
        Action::NextTab => list::open_tab(model, model.tab_after(1), cmds),
        Action::PreviousTab => list::open_tab(model, model.tab_after(model.panes.len() - 1), cmds),
        Action::Tab(tab) => list::open_tab(model, *tab, cmds),
        Action::Focus => {
            model.focus = match model.focus {
                Focus::List if !model.flight.operations.is_empty() => Focus::Flight,
                _ => Focus::List,
            };
            list::keep_in_sight(model);
        }
        Action::Open => list::open(model, cmds),
        Action::Back => list::back(model),
        Action::Mark => list::mark(model),
        Action::MarkRange => list::mark_range(model),
        Action::MarkAll => list::mark_all(model, cmds),
        Action::Filter => list::filter(model),
        Action::Sort => list::sort_menu(model),
        Action::SortNext => list::sort_step(model, true, cmds),
        Action::SortPrevious => list::sort_step(model, false, cmds),
        Action::Palette => windows::palette(model, cmds),
        Action::Help => {
            model.modals.push(Modal::Help { scroll: 0, search: tui_input::Input::default() });
        }
        Action::Doctor => model.modals.push(Modal::Doctor { scroll: 0 }),
        Action::Lanes => {
            model.modals.push(Modal::Lanes { at: 0 });
            cmds.push(Cmd::Query(Ask::Lanes, Query::Lanes));
        }
        Action::Failed => list::failed(model, cmds),
        Action::Refresh => {
            everything(model);
            cmds.push(Cmd::Redraw);
        }
        Action::Suspend => cmds.push(Cmd::Suspend),
        Action::Quit => quit(model, cmds),
        Action::Do(kind) => act::kind(model, kind, cmds),
        Action::Switch(name) => act::switch(model, name, cmds),
        Action::Serial => act::serial(model, cmds),
        Action::Cancel => operate::cancel(model, cmds),
        Action::Relaunch => operate::relaunch(model, cmds),
        Action::Sooner => operate::priority(model, 1, cmds),
        Action::Later => operate::priority(model, -1, cmds),
        // Whatever else there is belongs to a window, and none was there to take it.
        _ => {}
    }
}

/// Leaves, after a question where work would be affected.
fn quit(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let busy = model.flight.running + model.flight.waiting > 0;
    if model.embedded && busy {
        model.modals.push(Modal::Quit { at: 0 });
    } else {
        cmds.push(Cmd::Exit(Exit::Quit));
    }
}

/// An answer to the question about work in flight was chosen.
fn quit_with(model: &mut Model, answer: &Action, cmds: &mut Vec<Cmd>) {
    model.modals.pop();
    match answer {
        Action::LeaveBackground => cmds.push(Cmd::Exit(Exit::Background)),
        Action::LeaveStop => cmds.push(Cmd::Exit(Exit::Quit)),
        _ => {}
    }
}

/// The question for every row a tab's filter lets through, as far as a bulk action goes.
fn all_rows(model: &Model, limit: u32) -> Query {
    let pane = model.pane();
    Query::List(List {
        of: pane.tab.subject(),
        filter: pane.filter(&model.here()),
        sort: pane.sort.clone(),
        offset: 0,
        limit,
        around: None,
    })
}

/// Whether nothing may be asked for; says so.
fn refuses(model: &mut Model) -> bool {
    if model.read_only {
        tell(model, Tone::Bad, "read-only: everything can be seen, nothing can be asked for");
    }
    model.read_only
}

/// The list of a tab's things whose name contains what was typed.
fn named_like(tab: Tab, typed: &str, limit: u32) -> Query {
    let filter = Filter::words(typed.split_whitespace());
    Query::List(List {
        of: tab.resource().map_or(Subject::Operations, Subject::Resources),
        filter,
        sort: None,
        offset: 0,
        limit,
        around: None,
    })
}
