//! What every message does to the model and the windows, and what is to be done about it.
//!
//! `update` is pure and synchronous: it reads no clock, asks nobody and draws nothing. The same
//! messages always lead to the same screen.

pub mod act;
pub mod answers;
pub mod events;
mod mouse;
pub mod operate;

use crossterm::event::{KeyEvent, KeyEventKind};

use super::app::App;
use super::changes::{list, requests};
use super::input::action::Action;
use super::input::keymap::{Key, Lookup};
use super::model::layout::layout;
use super::model::{Focus, Model};
use super::msg::{Cmd, Exit, Fetch, Msg};
use super::tab::Tab;
use super::windows::detail::DetailWindow;
use super::windows::operation::OperationWindow;
use super::windows::quit::Quit;
use super::windows::window::{Intent, OpenedWindow, Response};
use super::windows::{self};

/// What is asked when the console opens, or comes back and what it had asked before is void.
pub fn start(app: &mut App) -> Vec<Cmd> {
    let mut cmds = Vec::new();
    let model = &mut app.model;
    model.lost = None;
    model.heard = None;
    for pane in &mut model.panes {
        pane.refresh.answered();
    }
    model.flight_refresh.answered();
    model.counts_refresh.answered();
    model.timeline_refresh.answered();
    events::again(model, &mut cmds);
    for place in 0..app.windows().len() {
        app.with(place, |window, model| window.reopen(model, &mut cmds));
    }
    ask(&mut app.model, &mut cmds);
    cmds
}

/// What a message does.
pub fn update(app: &mut App, msg: Msg) -> Vec<Cmd> {
    let mut cmds = Vec::new();
    take(app, msg, &mut cmds);
    // Where nothing is left, keys would do nothing.
    if app.model.flight.operations.is_empty() {
        app.model.focus = Focus::List;
    }
    list::look(&mut app.model, &mut cmds);
    let shown: Vec<_> = app.shown_operations().chain(app.model.beside).collect();
    app.model.details.retain(|uid, _| shown.contains(uid));
    ask(&mut app.model, &mut cmds);
    cmds
}

fn take(app: &mut App, msg: Msg, cmds: &mut Vec<Cmd>) {
    let model = &mut app.model;
    match msg {
        Msg::Now(now) => model.now = now,
        Msg::Wake => wake(app, cmds),
        Msg::Key(event) if event.kind != KeyEventKind::Release => {
            model.dirty = true;
            key(app, event, cmds);
        }
        Msg::Key(_) => {}
        Msg::Paste(text) => {
            model.dirty = true;
            app.with_front(|window, model| window.paste(&text, model, cmds));
        }
        Msg::Mouse(event) => {
            for action in mouse::mouse(app, event, cmds) {
                perform(app, &action, cmds);
            }
        }
        Msg::Resize(width, height) => {
            model.size = (width, height);
            model.dirty = true;
            for place in 0..app.windows().len() {
                app.with(place, |window, model| window.resize(model.size));
            }
            list::keep_in_sight(&mut app.model);
        }
        Msg::Event(event) => events::event(model, *event, cmds),
        Msg::EventsEnded => {
            model.lost = Some("the backend stopped".to_owned());
            model.dirty = true;
        }
        Msg::Submitted(submit, answer) => {
            model.dirty = true;
            if !answers::submitted_of_many(model, &submit, &answer) {
                let msg = Msg::Submitted(submit.clone(), answer.clone());
                let told = offer(app, &msg, cmds);
                answers::submitted(&mut app.model, &submit, answer, told);
            }
        }
        Msg::Controlled(control, answer) => {
            model.dirty = true;
            if !answers::controlled_of_many(model, &control, &answer) {
                let msg = Msg::Controlled(control.clone(), answer.clone());
                let told = offer(app, &msg, cmds);
                answers::controlled(&mut app.model, &control, answer, told, cmds);
            }
        }
        Msg::Error(text) => {
            model.dirty = true;
            model.notify(super::model::notification::Severity::Error, text);
        }
        Msg::Reply(reply) => {
            model.dirty = true;
            let msg = Msg::Reply(reply);
            offer(app, &msg, cmds);
            if let Msg::Reply(reply) = msg {
                answers::reply(&mut app.model, reply);
            }
        }
        Msg::SerialOpened(..)
        | Msg::SerialOutput(..)
        | Msg::SerialEnded(_)
        | Msg::SerialFailed(..)
        | Msg::Paths(..) => app.model.dirty |= offer(app, &msg, cmds),
    }
}

/// The time the model asked to be woken at has come.
fn wake(app: &mut App, cmds: &mut Vec<Cmd>) {
    let model = &mut app.model;
    if model.notification.as_ref().is_some_and(|it| it.until <= model.now) {
        model.notification = None;
        model.dirty = true;
    }
    if model.flight.running > 0 {
        model.dirty = true;
    }
    app.with_front(|window, model| window.wake(model, cmds));
}

/// Asks what is wanted and due; of each question at most one is under way.
fn ask(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let now = model.now;
    let height = layout(model).list_rows();
    let (tab, here) = (model.tab, model.here());
    let pane = model.pane_mut();
    if pane.refresh.ask(now) {
        pane.asked_filter.clone_from(&pane.filter);
        cmds.push(Cmd::Fetch(Fetch::Rows(tab, pane.question(height, &here))));
    }
    if model.flight_refresh.ask(now) {
        cmds.push(Cmd::Fetch(Fetch::InFlight));
    }
    if model.counts_refresh.ask(now) {
        cmds.push(Cmd::Fetch(Fetch::Counts));
    }
    if model.shows_timeline() && model.timeline_refresh.ask(now) {
        cmds.push(Cmd::Fetch(Fetch::Timeline));
    }
}

/// Offers a message to the windows, the front one first. Returns whether one took it.
fn offer(app: &mut App, msg: &Msg, cmds: &mut Vec<Cmd>) -> bool {
    (0..app.windows().len()).rev().any(|place| {
        let response = app.with(place, |window, model| window.message(msg, model, cmds));
        respond(app, place, response, cmds)
    })
}

/// Does what a window at a place wants. Returns whether it took what it was given.
fn respond(app: &mut App, place: usize, response: Option<Response>, cmds: &mut Vec<Cmd>) -> bool {
    match response {
        None | Some(Response::Ignored) => return false,
        Some(Response::Taken) => {}
        Some(Response::Close) => app.close_from(place),
        Some(Response::CloseBoth) => app.close_from(place.saturating_sub(1)),
        Some(Response::StayAnd(then)) => follow(app, then, cmds),
        Some(Response::CloseAnd(then)) => {
            app.close_from(place);
            follow(app, then, cmds);
        }
        Some(Response::Open(window)) => app.open(window),
    }
    true
}

/// Does what a window wanted done when it closed.
fn follow(app: &mut App, intent: Intent, cmds: &mut Vec<Cmd>) {
    let model = &mut app.model;
    match intent {
        Intent::Act(action) => perform(app, &action, cmds),
        Intent::Create(kind) => {
            let tab = model.tab;
            let window = act::open_kind(model, &kind, cmds);
            if model.tab != tab {
                app.close_from(0);
            }
            open(app, window);
        }
        Intent::Fill(kind, subjects) => {
            if let Some(spec) = model.catalogue.get(&kind).cloned() {
                let mut form = windows::form::open::on(model, &spec, &subjects, cmds);
                form.over_question = true;
                app.open(form);
            }
        }
        Intent::GoTo(tab, id) => {
            list::go_to(model, tab, id, cmds);
            app.close_from(0);
        }
        Intent::Show(uid) => {
            let window = OperationWindow::new(uid, model, cmds);
            app.open(Box::new(window));
        }
        Intent::Submit(submits) => {
            let front = app.windows().len().saturating_sub(1);
            let response = app.with_front(|window, _| window.confirmed(submits.len()));
            respond(app, front, response, cmds);
            requests::submit(&mut app.model, submits, cmds);
        }
        Intent::Control(controls) => {
            let front = app.windows().len().saturating_sub(1);
            let response = app.with_front(|window, _| window.confirmed(controls.len()));
            respond(app, front, response, cmds);
            requests::control(&mut app.model, controls, cmds);
        }
    }
}

/// A key: the front window may take it as text, else the key map says what it asks for.
fn key(app: &mut App, event: KeyEvent, cmds: &mut Vec<Cmd>) {
    let front = app.windows().len().saturating_sub(1);
    let response = app.with_front(|window, model| window.key(event, model, cmds));
    if respond(app, front, response, cmds) {
        app.model.pending.clear();
        return;
    }
    app.model.pending.push(Key::from(event));
    let action = match app.model.keymap.find(&app.scopes(), &app.model.pending) {
        Lookup::Action(action) => Some(action.clone()),
        Lookup::Prefix => return,
        Lookup::Nothing => None,
    };
    app.model.pending.clear();
    match action {
        Some(action) => perform(app, &action, cmds),
        None => {
            let response = app.with_front(|window, model| window.unbound(event, model, cmds));
            respond(app, front, response, cmds);
        }
    }
}

/// Does an action, in the front window or else behind it.
fn perform(app: &mut App, action: &Action, cmds: &mut Vec<Cmd>) {
    let front = app.windows().len().saturating_sub(1);
    // What was told of something else is done with, once anything but looking about is.
    let now = app.model.now;
    if !action.moves() && app.model.notification.as_ref().is_some_and(|it| it.is_stale(now)) {
        app.model.notification = None;
    }
    let response = app.with_front(|window, model| window.action(action, model, cmds));
    if respond(app, front, response, cmds) {
        return;
    }
    let model = &mut app.model;
    match action {
        Action::Up
        | Action::Down
        | Action::PageUp
        | Action::PageDown
        | Action::HalfUp
        | Action::HalfDown
        | Action::Top
        | Action::Bottom => list::go(model, action),
        Action::NextTab => open_tab(app, app.model.tab_after(1), cmds),
        Action::PreviousTab => open_tab(app, app.model.tab_after(app.model.panes.len() - 1), cmds),
        Action::Tab(tab) => open_tab(app, *tab, cmds),
        Action::Focus => {
            model.focus = match model.focus {
                Focus::List if !model.flight.operations.is_empty() => Focus::Flight,
                _ => Focus::List,
            };
            list::keep_in_sight(model);
        }
        Action::Open => open_selected(app, cmds),
        Action::Back => list::back(model),
        Action::Mark => list::mark(model),
        Action::MarkRange => list::mark_range(model),
        Action::MarkAll => list::mark_all(model, cmds),
        Action::SortNext => list::sort_step(model, true, cmds),
        Action::SortPrevious => list::sort_step(model, false, cmds),
        Action::Failed => {
            list::failed(model, cmds);
            app.close_from(0);
        }
        Action::Refresh => {
            events::refresh(model);
            cmds.push(Cmd::Redraw);
        }
        Action::Suspend => cmds.push(Cmd::Suspend),
        Action::Quit if model.asks_before_leaving() => {
            app.open(Box::new(Quit::default()));
        }
        Action::Quit => cmds.push(Cmd::Exit(Exit::Quit)),
        Action::Do(kind) => {
            let window = act::kind(model, kind, cmds);
            open(app, window);
        }
        Action::Switch(name) => {
            let window = act::switch(model, name, cmds);
            open(app, window);
        }
        Action::Serial => {
            let window = act::serial(model, cmds);
            open(app, window);
        }
        Action::Cancel => {
            let window = operate::cancel(model, cmds);
            open(app, window);
        }
        Action::Relaunch => {
            let window = operate::relaunch(model, cmds);
            open(app, window);
        }
        Action::Sooner => operate::priority(model, 1, cmds),
        Action::Later => operate::priority(model, -1, cmds),
        Action::Window(_) => {
            let does = |kind: &&windows::window::WindowKind| {
                kind.actions.iter().any(|(other, ..)| other == action)
            };
            let window =
                windows::ALL.iter().find(does).and_then(|kind| (kind.open)(action, model, cmds));
            open(app, window);
        }
    }
}

fn open(app: &mut App, window: OpenedWindow) {
    if let Some(window) = window {
        app.open(window);
    }
}

fn open_tab(app: &mut App, tab: Tab, cmds: &mut Vec<Cmd>) {
    app.close_from(0);
    list::open_tab(&mut app.model, tab, cmds);
}

/// Opens what is selected in a window of its own.
fn open_selected(app: &mut App, cmds: &mut Vec<Cmd>) {
    let model = &mut app.model;
    if let Some(uid) = list::opened_operation(model) {
        let window = OperationWindow::new(uid, model, cmds);
        app.open(Box::new(window));
    } else if model.shown().and_then(super::model::Row::resource).is_some() {
        app.open(Box::new(DetailWindow::default()));
    }
}
