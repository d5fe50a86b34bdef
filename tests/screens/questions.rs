//! What is asked before something dangerous, and what may not be asked for at all.

use hostler::domain::*;
use hostler::ui::Exit;
use hostler::ui::msg::{Cmd, Msg, Reply};
use hostler::ui::windows::confirm::Confirm;

use super::fake_backend::PlainBackend;
use super::stage::Stage;

#[test]
fn disruptive_asks_with_no_preselected() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("S enter");
    assert_eq!(stage.submitted(), []);
    stage.keys("S y");
    assert_eq!(stage.submitted()[0].kind, "vm_stop");
}

#[test]
fn destructive_wants_the_name_typed() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("/ \"db-2\" enter X \"db-\" enter");
    assert_eq!(stage.submitted(), []);
    stage.shows("that is not db-2");
    stage.keys("\"2\" enter");
    assert_eq!(stage.submitted()[0].params["vm"], 2);
}

#[test]
fn a_question_about_one_thing_says_what_would_happen() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("S");
    stage.shows("vm_stop would be queued in its lane.");
    let asked = stage.app.front_as::<Confirm>().unwrap().asked;
    // A late answer to another question is none to this one.
    let late = Preview { effects: vec!["All is lost.".to_owned()], ..Preview::default() };
    stage.send(Msg::Reply(Reply::Preview(asked - 1, 0, Ok(late.clone()))));
    stage.lacks("All is lost.");
    // What is refused does none of what it would do.
    let refused = Some(Refusal::new(Reason::State, "it is held"));
    let refused = Preview { refusal: refused, ..late.clone() };
    stage.send(Msg::Reply(Reply::Preview(asked, 0, Ok(refused))));
    stage.lacks("All is lost.");
    stage.send(Msg::Reply(Reply::Preview(asked, 0, Ok(late))));
    stage.shows("All is lost.");
    stage.keys("n space space S");
    stage.shows("Stop these 2");
    stage.lacks("would be queued");
}

#[test]
fn running_a_task_asks_what_the_kind_asks_that_it_fires() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("@tasks / \"reboot\" enter t");
    assert_eq!(stage.submitted(), []);
    let text = stage.text();
    assert!(text.contains("Run now nightly-reboot?"), "{text}");
    assert!(text.contains("Reboot: Whatever runs in the guest is ended;"), "{text}");
    stage.keys("enter t y");
    assert_eq!(stage.submitted()[0].kind, "task_run");
    // An encoding harms nobody.
    stage.cmds.clear();
    stage.keys("/ ctrl-u \"encode\" enter t");
    assert_eq!(stage.submitted().len(), 1);
    // From its form just as well; and what is not at hand is not taken for harmless.
    stage.cmds.clear();
    stage.keys("esc g @vms : \"task_run\" enter ctrl-s");
    assert_eq!(stage.submitted(), [], "{}", stage.text());
}

#[test]
fn leaving_with_work_in_flight_asks_only_where_the_backend_would_go() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("q");
    assert_eq!(stage.cmds, []);
    stage.keys("b");
    assert_eq!(stage.cmds, [Cmd::Exit(Exit::Background)]);
    let mut stage = Stage::with(PlainBackend::full(), (80, 24), |setup| setup.embedded = false);
    stage.keys("q");
    assert_eq!(stage.cmds, [Cmd::Exit(Exit::Quit)]);
}

#[test]
fn cancel_of_what_runs_asks_and_priority_is_for_what_waits() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("tab x y");
    assert!(matches!(stage.cmds.as_slice(), [Cmd::Control(Control::Cancel { .. })]));
    stage.cmds.clear();
    stage.keys("j j +");
    assert_eq!(stage.cmds, [Cmd::Control(Control::Priority { uid: Uid(48_212), priority: 1 })]);
}

#[test]
fn cancel_of_what_failed_promises_no_undo_and_says_that_it_is_final() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("tab x");
    stage.shows("What has been done so far is undone.");
    stage.keys("n j x");
    let text = stage.text();
    assert!(text.contains("What can be undone is undone; what a guest was told"), "{text}");
    stage.keys("n G x");
    let text = stage.text();
    assert!(text.contains("Cancel #48190") && !text.contains("is undone"), "{text}");
    assert!(text.contains("it cannot be relaunched afterwards"), "{text}");
}

#[test]
fn read_only_asks_for_nothing() {
    let mut stage = Stage::with(PlainBackend::full(), (80, 24), |setup| setup.read_only = true);
    stage.keys("s S X n r c tab x + R L p esc");
    assert!(stage.cmds.iter().all(|cmd| matches!(cmd, Cmd::Save(_))), "{:?}", stage.cmds);
    stage.shows("read-only");
}

#[test]
fn what_is_sure_to_be_refused_is_said_before_the_question() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("/ \"db-2\" enter r");
    let text = stage.text();
    assert!(text.contains("vm/2 'db-2' is halted; vm_reboot needs it running"), "{text}");
    assert!(stage.app.front().is_none(), "no question: {text}");
    assert!(!text.lines().last().unwrap().contains("r reboot"), "nor is it offered: {text}");
    // One that is being stopped already.
    stage.keys("/ ctrl-u \"web-3\" enter S");
    let text = stage.text();
    assert!(text.contains("vm_stop of vm/7 is pending already as #48212"), "{text}");
    assert!(stage.app.front().is_none(), "no question: {text}");
    // What will be in the right state by then is not refused.
    stage.keys("s");
    assert_eq!(stage.submitted()[0].kind, "vm_start");
    // Nor does a form open that could only be refused.
    stage.keys("@disks / \"data1\" enter X");
    stage.shows("disk_delete needs it free");
    assert!(stage.app.front().is_none());
}

#[test]
fn the_palette_of_a_read_only_console_offers_no_changes() {
    let mut stage = Stage::with(PlainBackend::full(), (80, 24), |setup| setup.read_only = true);
    stage.keys(": \"reboot\"");
    assert!(!stage.text().contains("vm_reboot ·") && !stage.text().contains("· vm_reboot"));
    stage.keys("ctrl-u \"cancel\"");
    stage.lacks("Call the operation off");
    stage.keys("ctrl-u \"filter\"");
    stage.shows("Show only some rows");
}
