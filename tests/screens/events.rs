//! What the backend tells, and what is asked of it in turn.

use hostler::domain::*;
use hostler::ui::msg::{Cmd, Fetch, Msg};
use hostler::ui::tab::Tab;
use hostler::ui::update::{start, update};

use super::fake_backend::{PlainBackend, now};
use super::stage::Stage;

#[test]
fn the_selection_stays_on_its_row_when_rows_come() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("j j j");
    let before = stage.app.model.pane().selected;
    let mut new = stage.fake.resources[0].clone();
    if let Resource::Vm(vm) = &mut new {
        vm.id = 99;
        vm.name = "aaa".to_owned();
    }
    stage.fake.resources.push(new.clone());
    stage.event(1, Fact::Resource(std::sync::Arc::new(new)));
    stage.wait();
    assert_eq!(stage.app.model.pane().total, 15);
    assert_eq!(stage.app.model.pane().selected, before);
    assert_eq!(stage.app.model.pane().cursor, 4);
}

#[test]
fn a_gap_or_a_new_life_asks_for_everything_again() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let load = Fact::Load(Load::default());
    stage.event(1, load.clone());
    stage.fake.resources.clear();
    stage.event(2, load.clone());
    assert_eq!(stage.app.model.pane().total, 14);
    stage.event(4, load);
    assert_eq!(stage.app.model.pane().total, 0);
}

#[test]
fn progress_is_patched_without_asking() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let progress = Progress { fraction: Some(0.77), ..Progress::default() };
    let event =
        Event { life: 1, seq: 1, at: now(), fact: Fact::Progress { uid: Uid(48_211), progress } };
    let cmds = update(&mut stage.app, Msg::Event(Box::new(event)));
    assert_eq!(cmds, []);
    assert!(stage.app.model.dirty);
    stage.shows("77%");
}

#[test]
fn events_about_what_is_not_shown_draw_nothing() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.app.model.dirty = false;
    stage.event(1, Fact::Usage { vm: 4711, cpu_percent: 3.0, memory_mib: 100 });
    stage.event(2, Fact::Progress { uid: Uid(1), progress: Progress::default() });
    assert!(!stage.app.model.dirty);
}

#[test]
fn an_idle_console_sleeps() {
    let mut stage = Stage::new(PlainBackend::bare(), (80, 24));
    stage.app.model.dirty = false;
    assert_eq!(stage.app.wake_at(), None);
    stage.send(Msg::Wake);
    assert!(!stage.app.model.dirty);
}

#[test]
fn at_most_one_question_for_rows_is_under_way() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    let asks =
        |cmds: &[Cmd]| cmds.iter().filter(|cmd| matches!(cmd, Cmd::Fetch(Fetch::Rows(..)))).count();
    let mut asked = 0;
    for seq in 1..200 {
        let later = stage.app.model.now + jiff::SignedDuration::from_millis(5);
        asked += asks(&update(&mut stage.app, Msg::Now(later)));
        let fact = Fact::Gone(ResourceId::new(Vm::KIND, seq));
        let event = Event { life: 1, seq, at: now(), fact };
        asked += asks(&update(&mut stage.app, Msg::Event(Box::new(event))));
    }
    assert_eq!(asked, 1);
}

/// After Ctrl-Z and `fg` what was asked before is void, maybe of another backend.
#[test]
fn a_console_that_comes_back_asks_for_everything_again() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
    stage.keys("c");
    stage.send(Msg::EventsEnded);
    stage.shows("connection lost");
    let cmds = start(&mut stage.app);
    for wanted in [Fetch::Host, Fetch::Lanes, Fetch::InFlight, Fetch::Counts] {
        assert!(cmds.contains(&Cmd::Fetch(wanted.clone())), "{wanted:?} of {cmds:?}");
    }
    let vms = Tab::Resources(Vm::KIND);
    let is_rows = |cmd: &Cmd| matches!(cmd, Cmd::Fetch(Fetch::Rows(tab, _)) if *tab == vms);
    assert!(cmds.iter().any(is_rows), "{cmds:?}");
    assert!(cmds.iter().any(|cmd| matches!(cmd, Cmd::SerialOpen(_))), "{cmds:?}");
    stage.lacks("connection lost");
}

#[test]
fn keys_go_to_the_list_when_what_is_in_flight_has_ended() {
    let mut fake = PlainBackend::full();
    fake.operations.retain(|operation| operation.uid == Uid(48_211));
    let mut stage = Stage::new(fake, (80, 24));
    stage.keys("tab");
    let mut done = stage.fake.operations[0].clone();
    done.state = State::Done;
    stage.event(1, Fact::Operation(done.into()));
    let before = stage.app.model.pane().cursor;
    stage.keys("j");
    assert_eq!(stage.app.model.pane().cursor, before + 1, "{}", stage.text());
}

#[test]
fn what_stands_still_shows_no_load_and_what_waits_says_so() {
    let mut stage = Stage::new(PlainBackend::full(), (120, 40));
    stage.keys("/ \"web-1\" enter");
    stage.event(1, Fact::Usage { vm: 5, cpu_percent: 61.0, memory_mib: 300 });
    assert!(stage.text().contains("load") && stage.text().contains("61%"), "{}", stage.text());
    let Some(Resource::Vm(vm)) = stage.fake.resources.iter().find(|it| it.name() == "web-1") else {
        panic!()
    };
    let halted = Vm { state: VmState::Halted, started: None, ..vm.clone() };
    stage.event(2, Fact::Resource(std::sync::Arc::new(halted.into())));
    let text = stage.text();
    assert!(!text.contains("61%") && !text.contains("resident "), "{text}");

    // An encoding that waits for its lane.
    let mut encode = stage.fake.operations.iter().find(|it| it.kind == "encode").unwrap().clone();
    (encode.state, encode.progress) = (State::Pending, None);
    encode.wait = Some(Wait::LanePaused { lane: "encode".to_owned(), draining: true });
    stage.event(3, Fact::Operation(encode.into()));
    stage.keys("@encodings");
    let text = stage.text();
    assert!(text.contains("encode waits") && text.contains("lane encode is draining"), "{text}");
}
