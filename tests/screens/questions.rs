//! What is asked before something dangerous, and what may not be asked for at all.

use hostler::domain::*;
use hostler::ui::Exit;
use hostler::ui::msg::{Cmd, Msg, Reply};
use hostler::ui::windows::confirm::Confirm;
use hostler::ui::windows::form::state::Form;
use serde_json::json;

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
    stage.send(Msg::Reply(Reply::Preview(asked, 0, Ok(late))));
    stage.shows("All is lost.");
    stage.keys("n space space S");
    stage.shows("Stop these 2");
    stage.shows("batch would be queued in its lane.");
}

#[test]
fn what_would_be_refused_is_said_instead_of_asked() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    for keys in ["S", "/ ctrl-u \"db-2\" enter X"] {
        stage.keys(keys);
        let asked = stage.app.front_as::<Confirm>().unwrap().asked;
        let refused = Some(Refusal::new(Reason::State, "it is held"));
        let refused = Preview { refusal: refused, ..Preview::default() };
        stage.send(Msg::Reply(Reply::Preview(asked, 0, Ok(refused))));
        stage.shows("it is held");
        stage.lacks("Yes");
        stage.lacks("type db-2");
        stage.keys("y");
        assert!(stage.app.front().is_none());
        assert_eq!(stage.submitted(), []);
    }
}

#[test]
fn what_must_be_typed_is_on_every_keyboard() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    // Nothing is destroyed without its output.
    stage.keys("@encodings / \"intro\" enter X");
    stage.shows("Delete intro.mov → mp4?");
    stage.shows("Yes");
    stage.keys("o");
    stage.keys("tab space enter");
    stage.shows("The encoded file is removed for good.");
    stage.shows("type encoding/2: ");
    stage.keys("\"encoding/2\" enter");
    let [submit] = stage.submitted().try_into().unwrap();
    assert_eq!((&submit.params["encoding"], &submit.params["output"]), (&2.into(), &true.into()));
    // Of several it is how many there are.
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("* X");
    stage.shows("type 4, the number of VMs: ");
}

#[test]
fn how_it_is_done_can_be_changed_where_something_is_typed() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let specs = stage.app.model.catalogue.iter().cloned().map(|mut spec| {
        if spec.kind == "vm_stop" {
            spec.risk = Risk::Destructive;
        }
        spec
    });
    stage.app.model.catalogue = Catalogue::new(specs.collect::<Vec<_>>());
    stage.keys("S");
    stage.shows("tab options");
    stage.keys("tab");
    assert!(stage.app.front_as::<Form>().is_some(), "{}", stage.text());
}

#[test]
fn a_question_without_a_warning_begins_with_what_it_is_about() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("/ \"state:halted\" enter * s");
    let text = stage.text();
    let title = text.lines().position(|line| line.contains("Start these 2?")).unwrap();
    assert!(text.lines().nth(title + 1).unwrap().contains("◆ db-2"), "{text}");
}

#[test]
fn a_question_too_long_for_the_screen_can_be_read_to_its_end() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    for keys in ["S", "/ \"db-2\" enter X"] {
        stage.keys(keys);
        let asked = stage.app.front_as::<Confirm>().unwrap().asked;
        let effects = (1..=40).map(|number| format!("Effect {number}.")).collect();
        let long = Preview { effects, ..Preview::default() };
        stage.send(Msg::Reply(Reply::Preview(asked, 0, Ok(long))));
        stage.lacks("Effect 40.");
        stage.keys("pagedown pagedown pagedown pagedown");
        stage.shows("Effect 40.");
        stage.keys("pageup");
        stage.lacks("Effect 40.");
        stage.keys("esc");
    }
}

/// A task that deletes a VM, which the operator may make, change or switch on.
fn deleting_task() -> PlainBackend {
    let mut fake = PlainBackend::full();
    for resource in &mut fake.resources {
        if let Resource::Task(task) = resource {
            (task.active, task.kind) = (false, "vm_delete".to_owned());
            task.params = Params::from_iter([("vm".to_owned(), 2.into())]);
        }
    }
    fake
}

#[test]
fn letting_a_task_fire_asks_what_the_kind_asks_that_it_fires() {
    let mut stage = Stage::new(deleting_task(), (80, 24));
    stage.keys("@tasks e");
    stage.shows("Enable nightly-reboot?");
    stage.shows("Delete: Its root disk and everything on it is lost for good.");
    stage.shows("task_enable would be queued");
    assert_eq!(stage.submitted(), []);
    stage.keys("\"nightly-reboot\" enter");
    assert_eq!(stage.submitted()[0].kind, "task_enable");
    stage.cmds.clear();
    stage.keys("u ctrl-s");
    stage.shows("Change nightly-reboot?");
    assert_eq!(stage.submitted(), []);
    // Marked and out of sight it is as dangerous.
    stage.keys("esc esc * e");
    stage.shows("type 2, the number of tasks: ");
}

#[test]
fn for_a_task_nothing_dangerous_is_chosen_for_the_operator() {
    let mut fake = PlainBackend::full();
    fake.resources.retain(|it| it.kind() != Vm::KIND || it.name() == "db-2");
    let mut stage = Stage::new(fake, (80, 24));
    stage.keys("@tasks n \"wipe\" tab \"vm_delete\" enter");
    let vm = |stage: &Stage| stage.app.front_as::<Form>().unwrap().params()["params"].clone();
    assert_eq!(vm(&stage), json!({}));
    stage.keys("tab space enter");
    assert_eq!(vm(&stage), json!({ "vm": 2 }));
    stage.keys("ctrl-s");
    stage.shows("New task wipe?");
    stage.shows("Delete: Its root disk");
    assert_eq!(stage.submitted(), []);
    stage.keys("\"wipe\" enter");
    assert_eq!(stage.submitted()[0].kind, "task_create");
    // What asks nothing is chosen as ever.
    stage.keys("esc n \"start\" tab \"vm_start\" enter");
    assert_eq!(vm(&stage)["vm"], 2);
}

#[test]
fn a_batch_from_its_form_is_as_dangerous_as_what_it_asks_for() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys(": \"batch\" enter \"vm_delete\" enter tab \"db-2\" enter ctrl-s");
    stage.shows("Delete: Its root disk");
    stage.shows("type batch: ");
    assert_eq!(stage.submitted(), []);
}

#[test]
fn what_a_parent_asked_for_and_has_ended_is_not_said_to_be_undone() {
    let mut fake = PlainBackend::full();
    let mut parent = fake.operations[0].clone();
    (parent.uid, parent.kind, parent.state) = (Uid(50_000), "batch".to_owned(), State::Run);
    (parent.resource, parent.resource_name, parent.progress) = (None, None, None);
    for operation in &mut fake.operations {
        if operation.state == State::Run {
            operation.parent = Some(parent.uid);
        }
    }
    fake.operations.insert(0, parent);
    let mut stage = Stage::new(fake, (80, 24));
    stage.keys("tab x");
    let text = stage.text().replace("│", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("Cancel #50000"), "{text}");
    // One of the two reboots a guest.
    for told in [
        "Of the operations it asked for, those that run or wait are",
        "called off and what can be undone of them is undone, but",
        "what a guest was told, it still does; those that have ended",
        "stay as they are.",
    ] {
        assert!(text.contains(told), "{text}");
    }
    assert!(!text.contains("What has been done so far is undone."), "{text}");
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
fn what_is_asked_for_once_more_is_asked_about_as_the_first_time() {
    let backend = |failed: &[(u64, &str)]| {
        let mut fake = PlainBackend::full();
        let params = json!({ "vm": 1, "force": false, "timeout_s": 120 });
        let params = params.as_object().cloned().unwrap();
        let uids = failed.iter().map(|(uid, _)| Uid(*uid)).collect::<Vec<_>>();
        let pattern = fake.operations.iter().find(|it| it.state == State::Error).cloned().unwrap();
        fake.operations.retain(|it| it.uid != pattern.uid && !uids.contains(&it.uid));
        fake.operations.extend(failed.iter().map(|(uid, kind)| Operation {
            uid: Uid(*uid),
            kind: (*kind).to_owned(),
            resource: Some(ResourceId::new(Vm::KIND, 1)),
            resource_name: Some("db-1".to_owned()),
            params: params.clone().into(),
            ..pattern.clone()
        }));
        fake
    };
    let mut stage = Stage::new(backend(&[(48_190, "vm_stop")]), (80, 24));
    stage.keys("@operations / \"state:error\" enter R ctrl-s");
    assert_eq!(stage.cmds.iter().filter(|cmd| matches!(cmd, Cmd::Control(_))).count(), 0);
    stage.shows("Stop db-1?");
    stage.keys("y");
    let again = Control::Relaunch { uid: Uid(48_190), params: Params::new() };
    assert!(stage.cmds.contains(&Cmd::Control(again.clone())), "{:?}", stage.cmds);
    // The form is open until that is answered, as where nothing is asked.
    stage.shows("relaunch #48190");
    stage.send(Msg::Controlled(again, Ok(())));
    assert!(!stage.text().contains("relaunch #48190"), "{}", stage.text());

    let failed = [(48_190, "vm_stop"), (48_189, "vm_delete")];
    let mut stage = Stage::new(backend(&failed), (80, 24));
    stage.keys("@operations / \"state:error\" enter * R");
    let text = stage.text();
    assert!(text.contains("Relaunch 2 marked operations?"), "{text}");
    assert!(text.contains("type 2, the number of operations"), "{text}");
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
fn what_only_goes_forward_is_not_asked_to_be_cancelled() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("tab");
    let first = stage.app.model.flight.operations[0].clone();
    stage.event(1, Fact::Operation(Operation { past_pivot: true, ..first }.into()));
    stage.keys("x");
    stage.shows("what it has begun cannot be taken back");
    stage.lacks("What has been done so far is undone");
    stage.keys("y");
    assert!(!stage.cmds.iter().any(|cmd| matches!(cmd, Cmd::Control(_))), "{:?}", stage.cmds);
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
    stage.shows("disk_delete needs it free; detach it first");
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

#[test]
fn the_palette_finds_what_is_described_below_what_is_named() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 40));
    stage.keys(": \"trash\"");
    stage.shows("disk_delete");
    stage.shows("disk_restore");
    stage.keys("ctrl-u \"disk\"");
    let text = stage.text();
    let line = |what: &str| text.lines().position(|line| line.contains(what)).unwrap();
    // What only speaks of disks comes after what is called so.
    assert!(line("disk_purge") < line("vm_delete"), "{text}");
}

#[test]
fn a_read_only_console_with_a_backend_of_its_own_says_so_and_leaves_without_a_question() {
    let mut stage = Stage::with(PlainBackend::full(), (80, 24), |setup| setup.read_only = true);
    stage.app.model.begin(false);
    stage.lacks("no backend ran");
    stage.app.model.begin(true);
    stage.shows("no backend ran");
    stage.keys("q");
    assert_eq!(stage.cmds, [Cmd::Exit(Exit::Quit)]);
}

#[test]
fn the_options_of_a_question_lead_back_to_it_until_they_are_sent() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("S o");
    assert!(stage.app.front_as::<Form>().is_some());
    stage.lacks("Stop build?");
    assert_eq!(stage.text().matches('┘').count(), 2, "{}", stage.text());
    stage.keys("esc");
    stage.shows("Stop build?");
    assert!(stage.app.front_as::<Confirm>().is_some(), "{}", stage.text());
    stage.keys("o ctrl-s y");
    let [submit] = stage.submitted().try_into().unwrap();
    stage.send(Msg::Submitted(Box::new(submit), Ok(Accepted::default())));
    assert!(stage.app.front().is_none(), "{}", stage.text());
    // So with several, which are sent as one.
    stage.keys("space space S o ctrl-s y");
    assert_eq!(stage.submitted().len(), 2);
    assert!(stage.app.front().is_none(), "{}", stage.text());
}
