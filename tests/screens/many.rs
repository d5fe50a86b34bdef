//! What is done to many rows at once, and what is told of it.

use hostler::domain::*;
use hostler::ui::model::Row;
use hostler::ui::msg::{Cmd, Msg};
use hostler::ui::windows::form::state::Form;

use super::fake_backend::PlainBackend;
use super::stage::Stage;
use super::{assert_looks, stage};

fn refused(message: &str) -> BackendError {
    Refusal::new(Reason::State, message).into()
}

/// A stage before an older backend, which takes requests one by one.
fn one_by_one(size: (u16, u16)) -> Stage {
    let mut stage = Stage::new(PlainBackend::full(), size);
    let catalogue = &mut stage.app.model.catalogue;
    *catalogue = Catalogue::new(catalogue.iter().filter(|it| it.kind != "batch").cloned());
    stage
}

/// Three VMs were marked and asked to start, and two of them were refused.
fn two_of_three_refused(size: (u16, u16)) -> Stage {
    let mut stage = one_by_one(size);
    stage.keys("space space space S y");
    let submits = stage.submitted();
    assert_eq!(submits.len(), 3);
    for (number, submit) in submits.into_iter().enumerate() {
        let answer = match number {
            0 => Ok(Accepted { uid: Uid(48_213), ..Accepted::default() }),
            _ => Err(refused(&format!(
                "vm/{number} 'web-{number}' is halted; vm_stop needs it running or paused"
            ))),
        };
        stage.send(Msg::Submitted(Box::new(submit), answer));
    }
    stage
}

#[test]
fn what_was_refused_of_many_is_counted_and_told_why() {
    let mut stage = two_of_three_refused((80, 24));
    let told = "2 of 3 refused, 1 queued: vm/1 'web-1' is halted";
    stage.shows(told);
    stage.shows("vm/2 'web-2'");
    // That the one was done does not take the place of what went wrong.
    let mut done = stage.fake.operations[0].clone();
    (done.uid, done.state) = (Uid(48_213), State::Done);
    stage.event(1, Fact::Operation(done.into()));
    stage.shows(told);
}

#[test]
fn one_reason_is_told_once_and_other_answers_are_not_counted() {
    let mut stage = one_by_one((80, 24));
    stage.keys("space space S y");
    let many = stage.submitted();
    // Something else is asked for before the answers are there.
    stage.keys("G S y");
    let single = stage.submitted().pop().unwrap();
    assert!(!many.contains(&single));
    stage.send(Msg::Submitted(
        Box::new(single),
        Ok(Accepted { uid: Uid(9), ..Accepted::default() }),
    ));
    stage.shows("#9 Stop: queued");
    for submit in many {
        stage.send(Msg::Submitted(Box::new(submit), Err(refused("the disk is full"))));
    }
    let told = "2 of 2 refused, 0 queued: the disk is full (2 times)";
    stage.shows(told);
    assert!(stage.app.model.batches.is_empty());
}

#[test]
fn a_long_notice_leaves_no_pieces_beside_it() {
    assert_looks("notice_long", two_of_three_refused);
    let text = stage::text(
        &two_of_three_refused((80, 24))
            .buffer(&hostler::ui::style::theme::Theme::load("terminal", true, false).unwrap()),
    );
    let first = text.lines().find(|line| line.contains("2 of 3 refused")).unwrap();
    assert!(first.starts_with("│ ") && first.ends_with(" │"), "{first}");
}

#[test]
fn marks_mean_the_operations_of_their_rows() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let all = stage.app.model.pane().total;
    stage.keys("*");
    let footer = stage.footer();
    assert!(footer.contains("x cancel"), "{footer}");
    let meant: Vec<Uid> = stage.app.model.marked_operations().iter().map(|it| it.uid).collect();
    assert!(meant.contains(&Uid(48_211)) && meant.len() > 1, "{meant:?}");
    stage.keys("x");
    let text = stage.text();
    let title = format!("Cancel {} operations of the marked rows?", meant.len());
    assert!(text.contains(&title) && text.contains("#48211 vm_reboot web-3"), "{text}");
    stage.keys("y");
    let cancelled: Vec<Cmd> = std::mem::take(&mut stage.cmds);
    let expected: Vec<Cmd> =
        meant.iter().map(|uid| Cmd::Control(Control::Cancel { uid: *uid })).collect();
    assert_eq!(cancelled, expected);
    // The rows it was about are marked no more, the others still are.
    let left = stage.app.model.pane().marks.len() as u64;
    assert!(left > 0 && left < all, "{left}");
    assert!(stage.app.model.marked_operations().is_empty());
    stage.keys("R");
    stage.shows("none failed on them");
}

#[test]
fn the_one_that_failed_on_a_marked_row_is_opened_with_what_it_was_asked_with() {
    let mut fake = PlainBackend::full();
    let is_of_a_vm = |id: ResourceId| id.kind == Vm::KIND;
    let ended = fake.operations.iter_mut().find(|operation| {
        operation.state == State::Done && operation.resource.is_some_and(is_of_a_vm)
    });
    let ended = ended.unwrap();
    ended.state = State::Error;
    let uid = ended.uid;
    let mut stage = Stage::new(fake, (80, 24));
    stage.keys("* R");
    assert!(stage.app.front_as::<Form>().is_some(), "{}", stage.text());
    stage.shows(&format!("relaunch {uid}"));
}

#[test]
fn what_is_shown_beside_the_list_follows_the_keys_into_what_is_in_flight() {
    let mut stage = Stage::new(PlainBackend::full(), (120, 40));
    stage.lacks("Operation #48190");
    stage.keys("!");
    let text = stage.text();
    assert!(text.contains("Operation #48190") && text.contains("Steps"), "{text}");
    stage.keys("k");
    stage.lacks("Operation #48190");
    stage.keys("esc");
    stage.lacks("Operation #");
}

#[test]
fn marks_make_it_many_with_one_question() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("space space S");
    stage.shows("Stop these 2");
    stage.keys("y");
    let submit = stage.submitted().pop().unwrap();
    assert_eq!((submit.kind.as_str(), &submit.params["on_error"]), ("batch", &"continue".into()));
    assert_eq!(submit.params["operations"].as_array().unwrap().len(), 2);
    stage.send(Msg::Submitted(
        Box::new(submit),
        Ok(Accepted { uid: Uid(9), ..Accepted::default() }),
    ));
    stage.shows("#9 Batch of 2 operations: queued");
    stage.keys("* X");
    stage.shows("type 4");
}

#[test]
fn marked_operations_are_cancelled_relaunched_and_moved_together() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let controls = |stage: &mut Stage| {
        let cmds = std::mem::take(&mut stage.cmds).into_iter();
        let controls = cmds.filter_map(|cmd| match cmd {
            Cmd::Control(control) => Some(control),
            _ => None,
        });
        controls.collect::<Vec<_>>()
    };
    stage.keys("@operations *");
    let marked = stage.app.model.pane().marks.len();
    assert_eq!(marked, 93);
    let footer = stage.footer();
    assert!(footer.starts_with(" 93 marked: x cancel"), "{footer}");

    // Only what waits has a place to change, and it stays marked for the next press.
    stage.keys("+");
    assert_eq!(controls(&mut stage), [Control::Priority { uid: Uid(48_212), priority: 1 }]);
    assert_eq!(stage.app.model.pane().marks.len(), marked);
    // Only what has not ended can be called off, with one question for all.
    stage.keys("x");
    assert_eq!(controls(&mut stage), []);
    let text = stage.text();
    assert!(text.contains("Cancel 4 marked operations?"), "{text}");
    assert!(text.contains("89 more are marked") && text.contains("#48190 disk_create"), "{text}");
    stage.keys("y");
    let cancelled = [48_212, 48_211, 48_209, 48_190].map(|uid| Control::Cancel { uid: Uid(uid) });
    assert_eq!(controls(&mut stage), cancelled);
    for control in cancelled {
        stage.send(Msg::Controlled(control, Ok(())));
    }
    stage.shows("4 being cancelled");
    assert!(!stage.app.model.pane().marks.contains_key(&48_212));

    // One that failed is opened with what it was asked with, as without marks.
    stage.keys("* G R");
    stage.shows("#48190");
    stage.keys("esc");
    assert_eq!(controls(&mut stage), []);
    let mut fake = PlainBackend::full();
    for operation in &mut fake.operations[3..6] {
        operation.state = State::Error;
    }
    let mut stage = Stage::new(fake, (80, 24));
    stage.keys("@operations / \"state:error\" enter * R y");
    let again = [48_190, 48_188, 48_187]
        .map(|uid| Control::Relaunch { uid: Uid(uid), params: Params::new() });
    assert_eq!(controls(&mut stage), again);
    assert!(stage.app.model.pane().marks.is_empty());
}

#[test]
fn a_mark_never_takes_a_key_in_silence() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    // Two that are halted: the first is marked, the second has the keys.
    stage.keys("/ \"state:halted\" enter space s");
    assert_eq!(stage.submitted(), []);
    let marked = stage.app.model.pane().marks.values().next().unwrap().name.clone();
    let text = stage.text();
    assert!(text.contains(&format!("Start {marked}, which is marked?")), "{text}");
    stage.keys("y");
    let marked = *stage.submitted()[0].params["vm"].as_u64().as_ref().unwrap();
    // What was done to it took the mark off: the next key is for the row it is pressed on.
    stage.cmds.clear();
    stage.keys("s");
    let [submit] = stage.submitted().try_into().unwrap();
    assert_ne!(submit.params["vm"].as_u64(), Some(marked));
    assert!(stage.app.model.pane().marks.is_empty());
    // A mark on the very row that has the keys asks nothing.
    stage.cmds.clear();
    stage.keys("G space s");
    assert_eq!(stage.submitted().len(), 1);
    assert!(stage.app.model.pane().marks.is_empty());
}

#[test]
fn a_question_about_marked_rows_names_those_it_is_done_to_in_the_order_of_the_list() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 50));
    stage.keys("* S");
    let text = stage.text();
    // Two are halted, one is invalid, and one is being stopped already.
    assert!(text.contains("Stop these 10?"), "{text}");
    assert!(text.contains("4 more are marked") && text.contains("vm/2 'db-2' is halted"), "{text}");
    assert!(!text.contains("◆ db-2") && !text.contains("◆ web-3"), "{text}");
    stage.keys("y");
    let submit = stage.submitted().pop().unwrap();
    let asked: Vec<u64> = submit.params["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| operation["params"]["vm"].as_u64().unwrap())
        .collect();
    let Rows::Resources(rows) = &stage.app.model.pane().rows else { panic!() };
    let shown: Vec<u64> = rows.iter().map(|row| row.id().id).collect();
    let in_order: Vec<u64> = shown.iter().copied().filter(|id| asked.contains(id)).collect();
    assert_eq!(asked, in_order);
    assert_ne!(asked, {
        let mut sorted = asked.clone();
        sorted.sort_unstable();
        sorted
    });
    // What it was not done to stays marked.
    assert_eq!(stage.app.model.pane().marks.len(), 4);
    stage.cmds.clear();
    stage.keys("S");
    assert_eq!(stage.submitted(), []);
    stage.shows("vm_stop needs it running or paused");
}

#[test]
fn a_range_that_is_marked_is_begun_no_more() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("v");
    stage.shows("range begun");
    stage.keys("j j v");
    stage.lacks("range begun");
    assert_eq!(stage.app.model.pane().marks.len(), 3);
    // What else was told meanwhile is still to be read.
    stage.keys("v j");
    stage.send(Msg::Error("the line broke".to_owned()));
    stage.keys("v");
    stage.shows("the line broke");
}

#[test]
fn the_keys_for_marked_rows_are_those_for_what_they_are_now() {
    let mut stage = Stage::new(PlainBackend::full(), (120, 40));
    stage.keys("/ \"state:halted\" enter space");
    assert!(
        stage.footer().contains("s start") && !stage.footer().contains("S stop"),
        "{}",
        stage.footer()
    );
    let marked = *stage.app.model.pane().marks.keys().next().unwrap();
    let Some(Row::Resource(Resource::Vm(vm))) = stage.app.model.pane().find(marked) else {
        panic!("no VM")
    };
    let started = Resource::Vm(Vm { state: VmState::Running, ..vm.clone() });
    stage.event(1, Fact::Resource(started.into()));
    assert!(
        stage.footer().contains("S stop") && !stage.footer().contains("s start"),
        "{}",
        stage.footer()
    );
}

#[test]
fn that_rows_are_marked_is_in_sight_beside_a_long_filter() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let words = "name~a ".repeat(12);
    stage.keys("space /");
    stage.keys(&format!("\"{}\"", words.trim_end().replace(' ', "\" space \"")));
    stage.keys("enter");
    stage.shows("◆ 1 marked");
}
