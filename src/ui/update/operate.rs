//! What is done to operations: call them off, queue them again, move them in their lane. To the
//! marked ones in their list, to those of the rows that are marked in another, or to the one the
//! keys mean.

use std::collections::BTreeSet;

use crate::domain::{Control, Effect, Operation, Params, Risk, State, Submit, Uid};
use crate::ui::model::notification::Severity;
use crate::ui::model::{MarkedRow, Model, Row};
use crate::ui::msg::Cmd;
use crate::ui::tab::Tab;
use crate::ui::windows::confirm::{Challenge, Confirm};
use crate::ui::windows::form::open;
use crate::ui::windows::window::{Intent, OpenedWindow};

use crate::ui::changes::requests;

/// The operations something is to be done to.
enum Targets {
    /// The operation the keys mean.
    One(Box<Operation>),
    /// The marked ones.
    Marked(Vec<(Uid, MarkedRow)>),
}

/// Returns what keys mean, if it may be changed; says why not.
fn targets(model: &mut Model) -> Option<Targets> {
    if model.refuses() {
        return None;
    }
    if model.means_marks() && !model.pane().marks_are_here() {
        let marked: Vec<(Uid, MarkedRow)> = if model.tab == Tab::Operations {
            model.pane().marked().into_iter().map(|(id, mark)| (Uid(id), mark)).collect()
        } else {
            let operations = model.marked_operations().into_iter();
            operations.map(|it| (it.uid, Row::Operation(it).mark())).collect()
        };
        if marked.is_empty() {
            let text = "no operation is happening to the marked rows, and none failed on them";
            model.notify(Severity::Info, text);
            return None;
        }
        return Some(Targets::Marked(marked));
    }
    let operation = model.operation().cloned();
    if operation.is_none() && model.pane().current().is_some() {
        model
            .notify(Severity::Info, "no operation is happening to this row, and none failed on it");
    }
    operation.map(|operation| Targets::One(Box::new(operation)))
}

/// Those of the marked operations that are in a state in which it can be done; says so where none
/// is.
fn fitting(
    model: &mut Model,
    marked: Vec<(Uid, MarkedRow)>,
    is: impl Fn(&str) -> bool,
    needs: &str,
) -> Vec<(Uid, MarkedRow)> {
    let all = marked.len();
    let fitting: Vec<_> = marked.into_iter().filter(|(_, mark)| is(&mark.state)).collect();
    if fitting.is_empty() {
        let what = many(model);
        model.notify(Severity::Error, format!("none of the {all} {what} {needs}"));
    }
    fitting
}

/// What marks are on, as operations.
fn many(model: &Model) -> &'static str {
    if model.tab == Tab::Operations { "marked operations" } else { "operations of the marked rows" }
}

/// How many marks are left when it is done to these operations.
fn left(model: &Model, fitting: &[(Uid, MarkedRow)]) -> usize {
    let marks = model.pane().marks.len();
    if model.tab == Tab::Operations {
        return marks - fitting.len();
    }
    let operations = fitting.iter().filter_map(|(uid, _)| model.flight.get(*uid));
    let rows: BTreeSet<u64> = operations.flat_map(|it| model.marks_of(it)).collect();
    marks - rows.len()
}

/// Asks whether something is to be done to marked operations.
fn ask(
    model: &Model,
    verb: &str,
    warning: &str,
    fitting: &[(Uid, MarkedRow)],
    control: impl Fn(Uid) -> Control,
) -> Confirm {
    let mut warning = match left(model, fitting) {
        0 => warning.to_owned(),
        1 => format!("{warning} One more is marked, and left as it is."),
        left => format!("{warning} {left} more are marked, and left as they are."),
    };
    if model.tab != Tab::Operations && model.flight.is_partial() {
        warning += " There is more in flight than is known here, which is left as it is too.";
    }
    let number = fitting.len();
    let title = match number {
        1 if model.tab == Tab::Operations => format!("{verb} the marked operation"),
        1 => format!("{verb} the one operation of the marked rows"),
        _ => format!("{verb} {number} {}", many(model)),
    };
    Confirm {
        title,
        warning,
        things: fitting.iter().map(|(_, mark)| mark.name.clone()).collect(),
        then: Intent::Control(fitting.iter().map(|(uid, _)| control(*uid)).collect()),
        ..Confirm::default()
    }
}

/// Calls operations off. What already ran is lost, so that is asked first.
pub fn cancel(model: &mut Model, cmds: &mut Vec<Cmd>) -> OpenedWindow {
    let operation = match targets(model)? {
        Targets::One(operation) => operation,
        Targets::Marked(marked) => {
            let ended = [State::Done.word(), State::Cancel.word()];
            let open = fitting(model, marked, |state| !ended.contains(&state), "is still open");
            if open.is_empty() {
                return None;
            }
            let running = open.iter().filter(|(_, mark)| mark.state == State::Run.word());
            let running: Vec<_> = running.map(|(uid, _)| (*uid, at_hand(model, *uid))).collect();
            let failed = open.iter().any(|(_, mark)| mark.state == State::Error.word());
            let warning = lost(model, &running, failed);
            let question = ask(model, "Cancel", &warning, &open, |uid| Control::Cancel { uid });
            return Some(Box::new(question));
        }
    };
    let uid = operation.uid;
    let cancel = Control::Cancel { uid };
    if let Some(why) = operation.no_way_back() {
        model.notify(Severity::Error, why);
        return None;
    }
    match operation.state {
        State::Done | State::Cancel => {
            model.notify(Severity::Error, format!("{uid} is {} already", operation.state));
            None
        }
        State::Pending => {
            requests::control(model, vec![cancel], cmds);
            None
        }
        State::Run | State::Error => Some(Box::new(Confirm {
            title: format!("Cancel {uid} {}", title(model, &operation)),
            warning: match operation.state {
                State::Run => lost(model, &[(uid, Some(&operation))], false),
                _ => lost(model, &[], true),
            },
            then: Intent::Control(vec![cancel]),
            ..Confirm::default()
        })),
    }
}

/// What is lost with operations that are called off: some that run, as far as they are at hand, and
/// some that failed. Of one that failed nothing runs any more: what it had done was undone then.
fn lost(model: &Model, running: &[(Uid, Option<&Operation>)], failed: bool) -> String {
    let mut told = Vec::new();
    let asked =
        |parent: Uid| model.flight.operations.iter().filter(move |it| it.parent == Some(parent));
    let (parents, alone): (Vec<_>, Vec<_>) =
        running.iter().copied().partition(|(uid, _)| asked(*uid).next().is_some());
    if !parents.is_empty() {
        // One that asked for others does nothing besides: it is they that run.
        let mut doing: Vec<Option<&str>> = Vec::new();
        let mut open = parents;
        while let Some((uid, operation)) = open.pop() {
            match asked(uid).next() {
                Some(_) => {
                    let runs = asked(uid).filter(|it| it.state == State::Run);
                    open.extend(runs.map(|it| (it.uid, Some(it))));
                }
                None => doing.push(operation.map(|it| &*it.kind)),
            }
        }
        told.push(match undone(model, &doing) {
            None => {
                "Of the operations it asked for, those that wait are called off; those that have \
                 ended stay as they are."
            }
            Some(Undoing::Whole) => {
                "Of the operations it asked for, those that run or wait are called off and what \
                 they have done so far is undone; those that have ended stay as they are."
            }
            Some(Undoing::Partial) => {
                "Of the operations it asked for, those that run or wait are called off and what \
                 can be undone of them is undone, but what a guest was told, it still does; those \
                 that have ended stay as they are."
            }
        });
    }
    let doing: Vec<_> = alone.iter().map(|(_, it)| it.map(|it| &*it.kind)).collect();
    told.extend(undone(model, &doing).map(|undone| match undone {
        Undoing::Whole => "What has been done so far is undone.",
        Undoing::Partial => "What can be undone is undone; what a guest was told, it still does.",
    }));
    if failed {
        told.push("What failed is given up: it cannot be relaunched afterwards.");
    }
    told.join(" ")
}

/// How much is undone of what operations have done that are called off.
enum Undoing {
    Whole,
    Partial,
}

/// How much is undone of what running operations of these kinds have done; `None`: none runs.
fn undone(model: &Model, doing: &[Option<&str>]) -> Option<Undoing> {
    let lasts = doing.iter().any(|kind| may_last(model, *kind));
    (!doing.is_empty()).then_some(if lasts { Undoing::Partial } else { Undoing::Whole })
}

/// Whether what an operation of a kind has done may last, because it told a guest to do it. One
/// that changes something may, and so may one that asks for others.
fn may_last(model: &Model, kind: Option<&str>) -> bool {
    let spec = kind.and_then(|kind| model.catalogue.get(kind));
    spec.is_none_or(|spec| spec.effect == Effect::Changes)
}

fn title(model: &Model, operation: &Operation) -> String {
    let kind = model
        .catalogue
        .get(&operation.kind)
        .map_or_else(|| operation.kind.clone(), |spec| spec.title.to_string());
    match &operation.resource_name {
        Some(name) => format!("({kind} {name})"),
        None => format!("({kind})"),
    }
}

/// Opens the form of a failed operation with what it was asked with; asks whether marked ones are
/// to run again as they were.
pub fn relaunch(model: &mut Model, cmds: &mut Vec<Cmd>) -> OpenedWindow {
    let operation = match targets(model)? {
        Targets::One(operation) => *operation,
        Targets::Marked(marked) => {
            let failed = fitting(model, marked, |state| state == State::Error.word(), "failed");
            match failed.as_slice() {
                [] => return None,
                // Its form, if what it was asked with is at hand.
                [(uid, _)] => match at_hand(model, *uid) {
                    Some(operation) => operation.clone(),
                    None => return Some(Box::new(again(model, &failed))),
                },
                _ => return Some(Box::new(again(model, &failed))),
            }
        }
    };
    let uid = operation.uid;
    if operation.state != State::Error {
        let text =
            format!("{uid} is {}: only an operation in ERROR can be relaunched", operation.state);
        model.notify(Severity::Error, text);
        return None;
    }
    let Some(spec) = model.catalogue.get(&operation.kind).cloned() else {
        let text = format!("this backend does not offer {}", operation.kind);
        model.notify(Severity::Error, text);
        return None;
    };
    if let Some(why) = spec.beyond_us() {
        model.notify(Severity::Error, why);
        return None;
    }
    Some(open::relaunch(model, &spec, &operation, cmds))
}

/// Asks whether marked operations are to run again. As far as they are at hand, they are as
/// dangerous as they were the first time.
fn again(model: &Model, failed: &[(Uid, MarkedRow)]) -> Confirm {
    let warning = "They run again, asked for what they were asked for.";
    let mut question = ask(model, "Relaunch", warning, failed, as_it_was);
    let at_hand: Vec<&Operation> =
        failed.iter().filter_map(|(uid, _)| at_hand(model, *uid)).collect();
    let submits = at_hand.iter().map(|it| Submit {
        kind: it.kind.clone(),
        params: (*it.params).clone(),
        ..Submit::default()
    });
    let hazard = requests::hazard_of_all(model, submits);
    if hazard.risk != Risk::None {
        question.warning += &format!(" {}", hazard.warning);
    }
    // What is not at hand may be anything.
    if hazard.risk == Risk::Destructive || at_hand.len() < failed.len() {
        question.challenge = Challenge::number(failed.len(), "operations");
    }
    question
}

/// An operation of that number, if all of it is known here.
fn at_hand(model: &Model, uid: Uid) -> Option<&Operation> {
    let listed = match model.list(Tab::Operations).and_then(|pane| pane.find(uid.0)) {
        Some(Row::Operation(operation)) => Some(operation),
        _ => None,
    };
    listed.or_else(|| model.flight.get(uid))
}

fn as_it_was(uid: Uid) -> Control {
    Control::Relaunch { uid, params: Params::new() }
}

/// Lets waiting operations run sooner or later.
pub fn priority(model: &mut Model, by: i32, cmds: &mut Vec<Cmd>) {
    let operation = match targets(model) {
        None => return,
        Some(Targets::One(operation)) => operation,
        Some(Targets::Marked(marked)) => {
            let waits = |state: &str| state == State::Pending.word();
            let waiting = fitting(model, marked, waits, "waits");
            let moved = |(uid, mark): &(Uid, MarkedRow)| Control::Priority {
                uid: *uid,
                priority: mark.priority.saturating_add(by),
            };
            return requests::control(model, waiting.iter().map(moved).collect(), cmds);
        }
    };
    let uid = operation.uid;
    if operation.state == State::Pending {
        let priority = operation.priority.saturating_add(by);
        requests::control(model, vec![Control::Priority { uid, priority }], cmds);
    } else {
        let text =
            format!("{uid} is {}: only a waiting operation has a place to change", operation.state);
        model.notify(Severity::Error, text);
    }
}
