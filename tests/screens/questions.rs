//! What is asked before something dangerous, and what may not be asked for at all.

use hostler::domain::*;
use hostler::ui::Exit;
use hostler::ui::msg::Cmd;

use super::fake_backend::Fake;
use super::stage::Stage;

#[test]
fn disruptive_asks_with_no_preselected() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("S enter");
    assert_eq!(stage.submitted(), []);
    stage.keys("S y");
    assert_eq!(stage.submitted()[0].kind, "vm_stop");
}

#[test]
fn destructive_wants_the_name_typed() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("X \"buil\" enter");
    assert_eq!(stage.submitted(), []);
    stage.keys("\"d\" enter");
    assert_eq!(stage.submitted()[0].params["vm"], 3);
}

#[test]
fn running_a_task_asks_what_the_kind_asks_that_it_fires() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("3 / \"reboot\" enter t");
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
    stage.keys("esc g 1 : \"task_run\" enter ctrl-s");
    assert_eq!(stage.submitted(), [], "{}", stage.text());
}

#[test]
fn leaving_with_work_in_flight_asks_only_where_the_backend_would_go() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("q");
    assert_eq!(stage.cmds, []);
    stage.keys("b");
    assert_eq!(stage.cmds, [Cmd::Exit(Exit::Background)]);
    let mut stage = Stage::with(Fake::full(), (80, 24), |setup| setup.embedded = false);
    stage.keys("q");
    assert_eq!(stage.cmds, [Cmd::Exit(Exit::Quit)]);
}

#[test]
fn cancel_of_what_runs_asks_and_priority_is_for_what_waits() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("tab x y");
    assert!(matches!(stage.cmds.as_slice(), [Cmd::Control(Control::Cancel { .. })]));
    stage.cmds.clear();
    stage.keys("j j +");
    assert_eq!(stage.cmds, [Cmd::Control(Control::Priority { uid: Uid(48_212), priority: 1 })]);
}

#[test]
fn read_only_asks_for_nothing() {
    let mut stage = Stage::with(Fake::full(), (80, 24), |setup| setup.read_only = true);
    stage.keys("s S X n r c tab x + R L p esc");
    assert!(stage.cmds.iter().all(|cmd| matches!(cmd, Cmd::Save(_))), "{:?}", stage.cmds);
    assert!(stage.text().contains("read-only"));
}
