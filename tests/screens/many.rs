//! What is done to many rows at once, and what is told of it.

use hostler::domain::*;
use hostler::ui::model::Modal;
use hostler::ui::msg::{Cmd, Msg};

use super::fake_backend::Fake;
use super::stage::Stage;
use super::{assert_looks, stage};

fn refused(message: &str) -> BackendError {
    Refusal::new(Reason::State, message).into()
}

/// Three VMs were marked and asked to start, and two of them were refused.
fn two_of_three_refused(size: (u16, u16)) -> Stage {
    let mut stage = Stage::new(Fake::full(), size);
    stage.keys("space space space s y");
    let submits = stage.submitted();
    assert_eq!(submits.len(), 3);
    for (number, submit) in submits.into_iter().enumerate() {
        let answer = match number {
            0 => Ok(Accepted { uid: Uid(48_213), resource: None }),
            _ => Err(refused(&format!(
                "vm/{number} 'web-{number}' is running; vm_start needs it halted or crashed"
            ))),
        };
        stage.send(Msg::Submitted(Box::new(submit), answer));
    }
    stage
}

#[test]
fn what_was_refused_of_many_is_counted_and_told_why() {
    let mut stage = two_of_three_refused((80, 24));
    let told = "2 of 3 refused, 1 queued: vm/1 'web-1' is running";
    assert!(stage.text().contains(told), "{}", stage.text());
    assert!(stage.text().contains("vm/2 'web-2'"), "{}", stage.text());
    // That the one was done does not take the place of what went wrong.
    let mut done = stage.fake.operations[0].clone();
    (done.uid, done.state) = (Uid(48_213), State::Done);
    stage.event(1, Fact::Operation(done.into()));
    assert!(stage.text().contains(told), "{}", stage.text());
}

#[test]
fn one_reason_is_told_once_and_other_answers_are_not_counted() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("space space S y");
    let many = stage.submitted();
    // Something else is asked for before the answers are there.
    stage.keys("G s");
    let single = stage.submitted().pop().unwrap();
    assert!(!many.contains(&single));
    stage.send(Msg::Submitted(Box::new(single), Ok(Accepted { uid: Uid(9), resource: None })));
    assert!(stage.text().contains("#9 Start: queued"), "{}", stage.text());
    for submit in many {
        stage.send(Msg::Submitted(Box::new(submit), Err(refused("the disk is full"))));
    }
    let told = "2 of 2 refused, 0 queued: the disk is full (2 times)";
    assert!(stage.text().contains(told), "{}", stage.text());
    assert!(stage.model.batches.is_empty());
}

#[test]
fn a_long_notice_leaves_no_pieces_beside_it() {
    assert_looks("notice_long", two_of_three_refused);
    let text = stage::text(
        &two_of_three_refused((80, 24))
            .buffer(&hostler::ui::theme::Theme::load("terminal", true, false).unwrap()),
    );
    let first = text.lines().find(|line| line.contains("2 of 3 refused")).unwrap();
    assert!(first.starts_with("│ ") && first.ends_with(" │"), "{first}");
}

#[test]
fn marks_mean_the_operations_of_their_rows() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    let all = stage.model.pane().total;
    stage.keys("*");
    let footer = stage.text().lines().last().unwrap().to_owned();
    assert!(footer.contains("x cancel"), "{footer}");
    let meant: Vec<Uid> = stage.model.marked_operations().iter().map(|it| it.uid).collect();
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
    let left = stage.model.pane().marks.len() as u64;
    assert!(left > 0 && left < all, "{left}");
    assert!(stage.model.marked_operations().is_empty());
    stage.keys("R");
    assert!(stage.text().contains("none failed on them"), "{}", stage.text());
}

#[test]
fn the_one_that_failed_on_a_marked_row_is_opened_with_what_it_was_asked_with() {
    let mut fake = Fake::full();
    let is_of_a_vm = |id: ResourceId| id.kind == ResourceKind::Vm;
    let ended = fake.operations.iter_mut().find(|operation| {
        operation.state == State::Done && operation.resource.is_some_and(is_of_a_vm)
    });
    let ended = ended.unwrap();
    ended.state = State::Error;
    let uid = ended.uid;
    let mut stage = Stage::new(fake, (80, 24));
    stage.keys("* R");
    assert!(matches!(stage.model.modals.last(), Some(Modal::Form(_))), "{}", stage.text());
    assert!(stage.text().contains(&format!("relaunch {uid}")), "{}", stage.text());
}

#[test]
fn what_is_shown_beside_the_list_follows_the_keys_into_what_is_in_flight() {
    let mut stage = Stage::new(Fake::full(), (120, 40));
    assert!(!stage.text().contains("Operation #48190"));
    stage.keys("!");
    let text = stage.text();
    assert!(text.contains("Operation #48190") && text.contains("Steps"), "{text}");
    stage.keys("k");
    assert!(!stage.text().contains("Operation #48190"), "{}", stage.text());
    stage.keys("esc");
    assert!(!stage.text().contains("Operation #"), "{}", stage.text());
}
