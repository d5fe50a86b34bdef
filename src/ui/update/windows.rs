//! Keys and actions in the windows over the lists.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::domain::{Control, LaneChange, LaneState, Uid};
use crate::ui::action::{Action, Scope};
use crate::ui::confirm::{Ask as Question, Confirm, Then};
use crate::ui::console::Console;
use crate::ui::edit;
use crate::ui::filter_line;
use crate::ui::layout::{full, layout};
use crate::ui::model::{Modal, Model, QUIT_CHOICES, Tone};
use crate::ui::msg::{Ask, Cmd, Msg};
use crate::ui::palette::{Candidate, Palette, Target};
use crate::ui::view;

use super::{act, form, list, named_like, operate, perform, quit_with, refuses, tell};

/// How many things of each tab the palette looks at.
const FOUND: u32 = 20;

/// Lets the front window take a key before the key map sees it. Returns whether it did.
pub fn take_key(model: &mut Model, event: KeyEvent, cmds: &mut Vec<Cmd>) -> bool {
    match model.modals.last_mut() {
        Some(Modal::Help { search, scroll }) => match event.code {
            KeyCode::Char(_) | KeyCode::Backspace
                if !event.modifiers.contains(KeyModifiers::CONTROL) =>
            {
                *scroll = 0;
                edit::edit(search, event)
            }
            _ => false,
        },
        // While something is chosen for a field, the keys are those of every search.
        Some(Modal::Form(form)) if !form.is_picking() || form.sending => {
            form_key(model, event, cmds)
        }
        _ => false,
    }
}

/// In a form the keys that leave it or move within it come first, then the field's own.
fn form_key(model: &mut Model, event: KeyEvent, cmds: &mut Vec<Cmd>) -> bool {
    if form::key(model, event, cmds) {
        return true;
    }
    if event.code == KeyCode::Esc {
        model.modals.pop();
        return true;
    }
    false
}

/// A key the key map knows nothing of: a guest's in its console, text where something is typed.
pub fn unbound(model: &mut Model, event: KeyEvent, cmds: &mut Vec<Cmd>) {
    match model.modals.last_mut() {
        Some(Modal::Console(console)) if console.open => {
            if let Some(bytes) = console.typed(event) {
                console.parser.screen_mut().set_scrollback(0);
                cmds.push(Cmd::SerialSend(bytes));
            }
        }
        Some(Modal::Console(console))
            if console.ended.is_some() && matches!(event.code, KeyCode::Esc | KeyCode::Enter) =>
        {
            close_console(model, cmds);
        }
        Some(Modal::Filter { input, .. }) => {
            if event.code == KeyCode::Tab {
                filter_line::complete(model.tab.subject(), input);
            } else {
                edit::edit(input, event);
            }
            let text = input.value().to_owned();
            list::set_filter(model, &text);
        }
        Some(Modal::Palette(palette)) => {
            palette.at = 0;
            palette.found.clear();
            edit::edit(&mut palette.input, event);
            palette.search();
            find(model, cmds);
        }
        Some(Modal::Confirm(confirm)) => {
            if let Question::Type { input, .. } = &mut confirm.ask {
                edit::edit(input, event);
            }
        }
        Some(Modal::Form(_)) => form::search_key(model, event, cmds),
        _ => {}
    }
}

fn close_console(model: &mut Model, cmds: &mut Vec<Cmd>) {
    model.modals.pop();
    cmds.push(Cmd::SerialClose);
}

/// Does an action in the front window. Returns whether the window took it.
pub fn take_action(model: &mut Model, action: &Action, cmds: &mut Vec<Cmd>) -> bool {
    let page = layout(model).list_rows().max(1);
    let limit = view::scroll_limit(model);
    match model.modals.last_mut() {
        None => false,
        Some(Modal::Console(console)) => {
            match action {
                Action::ConsoleLeave => close_console(model, cmds),
                Action::ConsoleUp => console.scroll(10),
                Action::ConsoleDown => console.scroll(-10),
                _ => {}
            }
            true
        }
        Some(Modal::Form(form)) if form.is_picking() => {
            form::pick(model, action, cmds);
            true
        }
        Some(Modal::Form(form)) => {
            match action {
                Action::FormNext => form.step(true),
                Action::FormPrevious => form.step(false),
                Action::FormSubmit => form::submit(model, cmds),
                Action::FormAdvanced => form::advanced(model),
                Action::FormReveal => form::reveal(model),
                Action::FormAdd | Action::FormRemove | Action::FormUp | Action::FormDown => {
                    form::items(model, action, cmds);
                }
                _ => {}
            }
            true
        }
        Some(
            Modal::Help { scroll, .. }
            | Modal::Doctor { scroll }
            | Modal::Detail { scroll }
            | Modal::Operation(crate::ui::model::OperationView { scroll, .. }),
        ) => {
            let at = *scroll;
            *scroll = match action {
                Action::Up => at.saturating_sub(1),
                Action::Down => at.saturating_add(1),
                Action::PageUp => at.saturating_sub(page),
                Action::PageDown => at.saturating_add(page),
                Action::HalfUp => at.saturating_sub(page.div_ceil(2)),
                Action::HalfDown => at.saturating_add(page.div_ceil(2)),
                Action::Top => 0,
                Action::Bottom => u16::MAX,
                Action::Back | Action::Open | Action::Quit => {
                    model.modals.pop();
                    return true;
                }
                // What these change is hidden behind the window.
                Action::Mark
                | Action::MarkRange
                | Action::MarkAll
                | Action::Filter
                | Action::Sort
                | Action::SortNext
                | Action::SortPrevious
                | Action::Focus => return true,
                // Cancel, relaunch, tabs and what the row's own keys do go on as ever.
                _ => return false,
            }
            .min(limit);
            true
        }
        Some(window) => {
            match window {
                Modal::Palette(_) => palette_action(model, action, cmds),
                Modal::Filter { .. } => filter_action(model, action),
                Modal::Confirm(_) => confirm_action(model, action, cmds),
                Modal::Quit { .. } => quit_action(model, action, cmds),
                Modal::Lanes { .. } => lanes_action(model, action, cmds),
                Modal::Sort { .. } => sort_action(model, action, cmds),
                _ => {}
            }
            true
        }
    }
}

/// Opens the palette.
pub fn palette(model: &mut Model, cmds: &mut Vec<Cmd>) {
    // What can be done to what is in front comes first, moving about last.
    let mut entries: Vec<_> = model.keymap.entries().iter().collect();
    entries.sort_by_key(|entry| {
        (!entry.scopes.contains(&Scope::Tab(model.tab)), entry.footer == 0, entry.footer)
    });
    let fixed = entries
        .into_iter()
        .filter(|entry| {
            !entry.scopes.iter().all(|scope| scope.is_window())
                && !matches!(
                    entry.action,
                    Action::Up | Action::Down | Action::Open | Action::Back | Action::Palette
                )
        })
        .map(|entry| Candidate {
            text: match &entry.action {
                Action::Do(kind) => model
                    .catalogue
                    .get(kind)
                    .map_or_else(|| kind.clone(), |spec| format!("{} · {kind}", spec.title)),
                _ => entry.name.replace('_', " "),
            },
            note: entry.doc.clone(),
            key: model.keymap.key(&entry.action).unwrap_or_default(),
            target: Target::Action(entry.action.clone()),
        })
        .collect();
    model.modals.push(Modal::Palette(Palette::new(fixed)));
    find(model, cmds);
}

/// Asks the backend for things that match what is typed.
fn find(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let Some(Modal::Palette(palette)) = model.modals.last_mut() else { return };
    let typed = palette.input.value().trim().to_owned();
    if typed.is_empty() {
        palette.found.clear();
        return;
    }
    for tab in model.panes.iter().map(|pane| pane.tab) {
        let query = named_like(tab, &typed, FOUND);
        cmds.push(Cmd::Query(Ask::Find(tab, typed.clone()), query));
    }
}

/// Does an action in the palette.
fn palette_action(model: &mut Model, action: &Action, cmds: &mut Vec<Cmd>) {
    let Some(Modal::Palette(palette)) = model.modals.last_mut() else { return };
    let last = palette.matches.len().saturating_sub(1);
    match action {
        Action::SearchUp => palette.at = palette.at.saturating_sub(1),
        Action::SearchDown => palette.at = (palette.at + 1).min(last),
        Action::SearchPageUp => palette.at = palette.at.saturating_sub(10),
        Action::SearchPageDown => palette.at = (palette.at + 10).min(last),
        Action::SearchClose | Action::SearchClear => {
            model.modals.pop();
        }
        Action::SearchTake => {
            let target = palette.matches.get(palette.at).map(|found| found.target.clone());
            model.modals.pop();
            match target {
                Some(Target::Action(Action::Do(kind))) => act::open_kind(model, &kind, cmds),
                Some(Target::Action(action)) => perform(model, &action, cmds),
                Some(Target::Row(tab, id)) => list::go_to(model, tab, id, cmds),
                Some(Target::Operation(uid)) => list::open_operation(model, Uid(uid), cmds),
                None => {}
            }
        }
        _ => {}
    }
}

/// Does an action while a filter is typed.
fn filter_action(model: &mut Model, action: &Action) {
    let Some(Modal::Filter { before, input }) = model.modals.last() else { return };
    let filter = match action {
        // What is not understood is to be mended first.
        Action::SearchTake if model.misread(input.value()).is_some() => return,
        Action::SearchTake => None,
        Action::SearchClose => Some(before.clone()),
        Action::SearchClear => Some(String::new()),
        _ => return,
    };
    model.modals.pop();
    if let Some(filter) = filter {
        list::set_filter(model, &filter);
    }
}

/// Does an action in a question.
fn confirm_action(model: &mut Model, action: &Action, cmds: &mut Vec<Cmd>) {
    let Some(Modal::Confirm(confirm)) = model.modals.last_mut() else { return };
    let given = confirm.is_given();
    let go = match (&mut confirm.ask, action) {
        (Question::YesNo { .. }, Action::AnswerYes) => true,
        (Question::YesNo { .. }, Action::AnswerNo) => false,
        (Question::YesNo { .. }, Action::AnswerSelected) => given,
        (Question::YesNo { yes }, Action::AnswerOther) => {
            *yes = !*yes;
            return;
        }
        (Question::YesNo { .. }, Action::AnswerOptions) => {
            if let Some(kind) = confirm.form.clone() {
                let confirm = confirm.clone();
                model.modals.pop();
                let things = things_of(model, &confirm);
                if let Some(spec) = model.catalogue.get(&kind).cloned() {
                    act::open_form(model, &spec, &things, cmds);
                }
            }
            return;
        }
        (Question::Type { .. }, Action::SearchTake) if given => true,
        (Question::Type { .. }, Action::SearchClose) => false,
        _ => return,
    };
    let Some(Modal::Confirm(confirm)) = model.modals.pop() else { return };
    if go {
        match confirm.then {
            Then::Submit(submits) => form::send(model, submits, cmds),
            Then::Control(controls) => operate::control(model, controls, cmds),
        }
    }
}

/// The numbers and names a question is about, for the form that takes its place.
fn things_of(model: &Model, confirm: &Confirm) -> Vec<(u64, String)> {
    let Then::Submit(submits) = &confirm.then else { return Vec::new() };
    let pane = model.pane();
    submits
        .iter()
        .filter_map(|submit| {
            let id = submit.params.values().find_map(serde_json::Value::as_u64)?;
            let mark = pane.marks.get(&id).cloned().or_else(|| Some(pane.find(id)?.mark()))?;
            Some((id, mark.name))
        })
        .collect()
}

/// Does an action in the question about work in flight.
fn quit_action(model: &mut Model, action: &Action, cmds: &mut Vec<Cmd>) {
    let Some(Modal::Quit { at }) = model.modals.last_mut() else { return };
    match action {
        Action::Up => *at = at.saturating_sub(1),
        Action::Down | Action::Focus => *at = (*at + 1).min(QUIT_CHOICES.len() - 1),
        Action::Open => {
            if let Some((answer, _)) = QUIT_CHOICES.get(*at) {
                quit_with(model, answer, cmds);
            }
        }
        Action::Back => {
            model.modals.pop();
        }
        Action::LeaveBackground | Action::LeaveWait | Action::LeaveStop => {
            quit_with(model, action, cmds);
        }
        _ => {}
    }
}

/// Does an action in the lanes.
fn lanes_action(model: &mut Model, action: &Action, cmds: &mut Vec<Cmd>) {
    let Some(Modal::Lanes { at }) = model.modals.last_mut() else { return };
    let last = model.lanes.len().saturating_sub(1);
    match action {
        Action::Up => *at = at.saturating_sub(1),
        Action::Down => *at = (*at + 1).min(last),
        Action::Back | Action::Open | Action::Quit | Action::Lanes => {
            model.modals.pop();
        }
        _ => {
            let Some(lane) = model.lanes.get(*at).cloned() else { return };
            let change = match action {
                Action::LanePause if lane.state == LaneState::Paused => LaneChange::Resume,
                Action::LanePause => LaneChange::Pause,
                Action::LaneResume => LaneChange::Resume,
                Action::LaneDrain => LaneChange::Drain,
                Action::LaneWiden => LaneChange::Width((lane.width + 1).min(64)),
                Action::LaneNarrow => LaneChange::Width(lane.width.saturating_sub(1).max(1)),
                _ => return,
            };
            if !refuses(model) {
                cmds.push(Cmd::Control(Control::Lane { name: lane.name, change }));
            }
        }
    }
}

/// Does an action in the columns to sort by.
fn sort_action(model: &mut Model, action: &Action, cmds: &mut Vec<Cmd>) {
    let columns = model.tab.subject().columns();
    let Some(Modal::Sort { at }) = model.modals.last_mut() else { return };
    match action {
        Action::Up => *at = at.saturating_sub(1),
        Action::Down => *at = (*at + 1).min(columns.len() - 1),
        Action::Open => {
            let column = &columns[(*at).min(columns.len() - 1)].name;
            model.modals.pop();
            list::sort_by(model, column, cmds);
        }
        Action::SortClear => {
            model.modals.pop();
            model.pane_mut().sort = None;
            list::hurry(model.pane_mut());
            cmds.push(Cmd::Save(model.choices()));
        }
        Action::Back | Action::Quit | Action::Sort => {
            model.modals.pop();
        }
        _ => {}
    }
}

/// Puts pasted text where the keys go.
pub fn paste(model: &mut Model, text: &str, cmds: &mut Vec<Cmd>) {
    match model.modals.last_mut() {
        Some(Modal::Form(_)) => form::paste(model, text, cmds),
        Some(Modal::Filter { input, .. }) => {
            edit::paste(input, text);
            let text = input.value().to_owned();
            list::set_filter(model, &text);
        }
        Some(Modal::Palette(palette)) => {
            edit::paste(&mut palette.input, text);
            palette.search();
            find(model, cmds);
        }
        Some(Modal::Confirm(confirm)) => {
            if let Question::Type { input, .. } = &mut confirm.ask {
                edit::paste(input, text);
            }
        }
        Some(Modal::Console(console)) if console.open => {
            cmds.push(Cmd::SerialSend(console.pasted(text)));
        }
        _ => {}
    }
}

/// Opens a guest's serial line again whose window is open: it begins with the last lines anew.
pub fn reopen(model: &mut Model, cmds: &mut Vec<Cmd>) {
    let size = full(model.size);
    for modal in &mut model.modals {
        if let Modal::Console(console) = modal {
            let size = (size.width.saturating_sub(2), size.height.saturating_sub(2));
            **console = Console::new(console.vm, std::mem::take(&mut console.name), size);
            cmds.push(Cmd::SerialOpen(console.vm));
        }
    }
}

/// The screen has another size: so has the guest's.
pub fn resized(model: &mut Model) {
    let area = full(model.size);
    for modal in &mut model.modals {
        if let Modal::Console(console) = modal {
            console.resize((area.width.saturating_sub(2), area.height.saturating_sub(2)));
        }
    }
}

/// What a guest's serial line says.
pub fn serial(model: &mut Model, msg: Msg) {
    let console = model.modals.iter_mut().find_map(|modal| match modal {
        Modal::Console(console) => Some(console),
        _ => None,
    });
    let Some(console) = console else { return };
    model.dirty = true;
    match msg {
        Msg::SerialOpened(vm, Ok(())) if vm == console.vm => console.open = true,
        Msg::SerialOpened(vm, Err(error)) if vm == console.vm => {
            console.ended = Some(error.to_string());
        }
        Msg::SerialOutput(vm, bytes) if vm == console.vm => console.write(&bytes),
        Msg::SerialEnded(vm) if vm == console.vm => {
            console.open = false;
            console.ended = Some("the guest's serial line is closed".to_owned());
        }
        Msg::SerialFailed(_, error) => tell(model, Tone::Bad, error.to_string()),
        _ => {}
    }
}
