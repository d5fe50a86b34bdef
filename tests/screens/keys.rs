//! What keys do, from what is typed to what is asked of the backend.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use hostler::domain::*;
use hostler::ui::Exit;
use hostler::ui::action::table;
use hostler::ui::keymap::Keymap;
use hostler::ui::model::{Modal, Row, Tab};
use hostler::ui::msg::{Cmd, Msg};
use hostler::ui::theme::Theme;
use proptest::prelude::*;

use super::fake_backend::{Fake, catalogue};
use super::stage::Stage;

#[test]
fn a_vm_is_created_in_under_ten_keys_besides_name_and_password() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("n \"web-9\" enter \"correct-horse\" enter");
    let [submit] = stage.submitted().try_into().unwrap();
    assert_eq!(submit.kind, "vm_create");
    assert_eq!(submit.params["hostname"], "web-9");
    assert_eq!(submit.params["password"], "correct-horse");
    assert_eq!(submit.params["os"], 1);
    assert_eq!(submit.params["shares"], 4);
    assert!(!stage.text().contains("correct-horse"));
}

#[test]
fn what_is_wrong_is_said_while_it_is_typed_and_nothing_is_sent() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("n \"-web\"");
    assert!(stage.text().contains("begins with a letter"));
    stage.keys("ctrl-s");
    assert_eq!(stage.submitted(), []);
}

#[test]
fn a_refusal_is_shown_at_its_field() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("n \"web-1\" enter \"correct-horse\" enter");
    let submit = stage.submitted().remove(0);
    let refusal =
        Refusal::field(Reason::Existence, "hostname", "web-1", "a VM named web-1 is there already");
    stage.send(Msg::Submitted(Box::new(submit), Err(refusal.into())));
    assert!(stage.text().contains("a VM named web-1 is there already"));
    assert!(matches!(stage.model.modals.last(), Some(Modal::Form(form)) if !form.sending));
}

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
fn the_form_of_a_marked_row_is_about_that_row() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("3 space enter");
    assert!(matches!(stage.model.modals.last(), Some(Modal::Detail { .. })));
    stage.keys("esc");
    let marked = *stage.model.pane().marks.keys().next().unwrap();
    assert_ne!(stage.model.pane().selected, Some(marked));
    stage.keys(": \"task_update\" enter ctrl-s");
    assert_eq!(stage.submitted()[0].params["task"], marked);
}

#[test]
fn running_a_task_asks_what_the_kind_asks_that_it_fires() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("3 / \"reboot\" enter t");
    assert_eq!(stage.submitted(), []);
    let text = stage.text();
    assert!(text.contains("Run now nightly-reboot?"), "{text}");
    assert!(text.contains("Reboot: What runs in the guest is interrupted."), "{text}");
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
fn the_help_says_what_drain_does() {
    let mut stage = Stage::new(Fake::full(), (120, 24));
    stage.keys("? \"drain\"");
    let text = stage.text();
    assert!(
        text.contains("Start nothing more in the lane; it is paused once nothing runs."),
        "{text}"
    );
}

#[test]
fn what_is_told_leaves_the_keys_in_sight_however_long_it_is() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    let message = "a long sentence ".repeat(12) + "with an end";
    stage.event(1, Fact::Notice { message });
    let text = stage.text();
    let last = text.lines().last().unwrap();
    assert!(last.contains("? help") && last.contains("n new"), "{last}");
    assert!(text.contains("with an end"), "{text}");
}

#[test]
fn the_footer_shows_only_what_the_row_allows() {
    let mut stage = Stage::new(Fake::full(), (120, 40));
    let last = |stage: &Stage| stage.text().lines().last().unwrap().to_owned();
    assert!(last(&stage).contains("S stop") && !last(&stage).contains("s start"));
    stage.keys("/ \"state:halted\" enter");
    assert!(last(&stage).contains("s start") && !last(&stage).contains("S stop"));
    let bare = Stage::new(Fake::bare(), (120, 40));
    assert!(!last(&bare).contains("stop") && last(&bare).contains("n new"));
}

#[test]
fn a_failed_operation_is_one_key_away_from_anywhere() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("6 D !");
    assert_eq!(stage.model.operation().map(|operation| operation.uid), Some(Uid(48_190)));
    stage.keys("enter");
    assert!(stage.text().contains("Operation #48190"));
}

#[test]
fn what_crashed_or_did_not_fire_is_found_like_what_failed() {
    let mut fake = Fake::full();
    let mut crashed = None;
    for resource in &mut fake.resources {
        match resource {
            Resource::Vm(vm) if vm.name == "db-1" => {
                vm.state = VmState::Crashed;
                crashed = Some(vm.id);
            }
            Resource::Vm(vm) if vm.state == VmState::Invalid => vm.state = VmState::Halted,
            Resource::Task(task) => {
                task.problem = (task.id == 2).then(|| "a firing was refused".to_owned());
            }
            _ => {}
        }
    }
    let mut stage = Stage::new(fake, (120, 40));
    assert!(stage.text().lines().next().unwrap().contains("✖3"), "{}", stage.text());
    let at = |stage: &Stage| (stage.model.tab, stage.model.pane().selected);
    // Around the end, and out of a list that is filtered.
    stage.keys("/ \"web\" enter !");
    assert_eq!(stage.model.operation().map(|operation| operation.uid), Some(Uid(48_190)));
    stage.keys("!");
    assert_eq!(at(&stage), (Tab::Resources(Vm::KIND), crashed));
    assert_eq!(stage.model.pane().current().map(Row::name), Some("db-1".to_owned()));
    stage.keys("!");
    assert_eq!(at(&stage), (Tab::Resources(Task::KIND), Some(2)));
    stage.keys("!");
    assert_eq!(stage.model.operation().map(|operation| operation.uid), Some(Uid(48_190)));
    // What is mended while we look on is found no more.
    let mended = stage.fake.resources.iter().find_map(|resource| match resource {
        Resource::Vm(vm) if Some(vm.id) == crashed => {
            Some(Resource::Vm(Vm { state: VmState::Running, ..vm.clone() }))
        }
        _ => None,
    });
    stage.event(1, Fact::Resource(mended.unwrap().into()));
    stage.keys("!");
    assert_eq!(at(&stage), (Tab::Resources(Task::KIND), Some(2)));
}

#[test]
fn a_row_leads_to_the_operation_that_happens_to_it() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("/ \"web-3\" enter x y");
    let cancel = Cmd::Control(Control::Cancel { uid: Uid(48_211) });
    assert_eq!(stage.cmds, [cancel]);
    stage.cmds.clear();
    stage.keys("esc g x");
    assert_eq!(stage.cmds, []);
    assert!(stage.text().contains("no operation is happening to this row"));
}

#[test]
fn enter_on_an_empty_required_choice_opens_its_list() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("3 n \"nightly\" tab enter");
    assert!(stage.text().contains("vm_reboot"), "{}", stage.text());
    stage.keys("esc ctrl-s");
    assert!(stage.text().contains("needed"), "{}", stage.text());
}

#[test]
fn tab_completes_a_path_as_far_as_it_is_certain() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("4 n \"/srv/c\"");
    let found = ["/srv/clip-1.mov", "/srv/clip-2.mov"].map(str::to_owned).to_vec();
    stage.send(Msg::Paths("/srv/c".to_owned(), found));
    stage.keys("tab");
    assert!(stage.text().contains("/srv/clip- "), "{}", stage.text());
    assert!(stage.text().contains("source"));
}

#[test]
fn read_only_asks_for_nothing() {
    let mut stage = Stage::with(Fake::full(), (80, 24), |setup| setup.read_only = true);
    stage.keys("s S X n r c tab x + R L p esc");
    assert!(stage.cmds.iter().all(|cmd| matches!(cmd, Cmd::Save(_))), "{:?}", stage.cmds);
    assert!(stage.text().contains("read-only"));
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
fn a_failed_operation_is_relaunched_with_only_what_was_changed() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("tab G R tab left ctrl-s");
    let [Cmd::Control(Control::Relaunch { uid, params })] = stage.cmds.as_slice() else {
        panic!("{:?}", stage.cmds);
    };
    assert_eq!(*uid, Uid(48_190));
    assert_eq!(params.get("size_mb"), Some(&4095.into()));
    assert!(!params.contains_key("name"));
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
fn the_row_says_what_is_happening_to_it() {
    let stage = Stage::new(Fake::full(), (80, 24));
    let text = stage.text();
    let row = text.lines().find(|line| line.contains("web-3") && !line.contains('#')).unwrap();
    assert!(row.contains("rebooting"), "{row}");
}

#[test]
fn control_characters_in_names_never_reach_the_screen() {
    let mut fake = Fake::full();
    if let Resource::Vm(vm) = &mut fake.resources[0] {
        vm.name = "a\u{1b}[31mevil\u{202e}".to_owned();
    }
    let stage = Stage::new(fake, (80, 24));
    let text = stage.text();
    assert!(text.contains("a\u{fffd}[31mevil\u{fffd}"));
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn the_serial_console_sends_keys_and_leaves_by_its_chord() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("c");
    stage.send(Msg::SerialOpened(3, Ok(())));
    stage.keys("q ctrl-c");
    stage.send(Msg::Paste("a\nb".to_owned()));
    stage.keys("ctrl-]");
    assert_eq!(
        stage.cmds,
        [
            Cmd::SerialOpen(3),
            Cmd::SerialSend(b"q".to_vec()),
            Cmd::SerialSend(b"\x03".to_vec()),
            Cmd::SerialSend(b"a\rb".to_vec()),
            Cmd::SerialClose,
        ]
    );
}

#[test]
fn every_kind_has_a_form_and_every_default_stands_in_it() {
    use hostler::ui::form::{Form, Purpose};
    for spec in &catalogue() {
        let form = Form::new(1, spec, Purpose::New, &catalogue());
        let params = form.params();
        for field in &spec.fields {
            if !field.default.is_null() {
                assert_eq!(params.get(field.name.as_ref()), Some(&field.default), "{}", spec.kind);
            }
        }
    }
}

#[test]
fn every_name_in_the_default_key_map_is_an_action_of_the_real_catalogue() {
    use hostler::backend::{operations, settings::Settings};
    let kinds = operations::all(&Settings::new("/nowhere".into()));
    let real = Catalogue::new(kinds.into_iter().map(|entry| entry.spec));
    let names: Vec<String> = table(&real).into_iter().map(|entry| entry.name).collect();
    let keymap: toml::Table = include_str!("../../assets/keymap.toml").parse().unwrap();
    for name in keymap.keys() {
        assert!(names.contains(name), "{name} is bound to a key, and nothing is called that");
    }
}

#[test]
fn every_key_of_the_real_catalogue_asks_for_what_it_stands_at() {
    use hostler::backend::{operations, settings::Settings};
    let kinds = operations::all(&Settings::new("/nowhere".into()));
    let real = Catalogue::new(kinds.into_iter().map(|entry| entry.spec));
    let keymap = Keymap::new(table(&real), &[]).unwrap();
    for entry in keymap.entries().iter().filter(|entry| !entry.keys.is_empty()) {
        assert_eq!(keymap.keys(&entry.action), entry.keys, "{}", entry.name);
    }
}

#[test]
fn a_key_of_the_operators_own_is_not_lost_to_one_of_the_catalogue() {
    let mine =
        |map: &str| Keymap::new(table(&catalogue()), &[("mine.toml".to_owned(), map.to_owned())]);
    let error = mine("help = \"S\"").unwrap_err();
    assert!(error.contains("'S'") && error.contains("vm_stop"), "{error}");
    assert!(mine("help = \"S\"\nvm_stop = \"Z\"").is_ok());
    // Names that another backend offers are none of a mistake.
    let files = [("mine.toml".to_owned(), "pool_scrub = \"Z\"".to_owned())];
    assert!(Keymap::new(table(&catalogue()), &files).is_err());
    let others = ["pool_scrub".to_owned()];
    assert!(Keymap::with_others(table(&catalogue()), &files, &others).is_ok());
}

#[test]
fn the_keys_in_windows_are_in_the_key_map() {
    let rebound = |map: &str| {
        let files = [("mine.toml".to_owned(), map.to_owned())];
        Keymap::new(table(&catalogue()), &files)
    };
    let keymap = rebound(
        "lane_pause = \"z\"\nanswer_yes = \"j\"\nsearch_down = \"ctrl-j\"\nsearch_take = \"f2\"\n\
         sort_clear = \"c\"\nleave_background = \"d\"\n",
    )
    .unwrap();
    let mut stage = Stage::with(Fake::full(), (80, 24), |setup| setup.keymap = keymap);

    // The old key is nobody's, the new one does it, and what is on the screen says so.
    stage.keys("L p");
    assert!(stage.cmds.is_empty());
    assert!(stage.text().lines().last().unwrap().contains("z pause"), "{}", stage.text());
    stage.keys("z");
    assert!(matches!(stage.cmds.pop(), Some(Cmd::Control(Control::Lane { .. }))));
    stage.keys("esc S y");
    assert!(stage.text().contains(" j  Yes "), "{}", stage.text());
    assert!(stage.submitted().is_empty());
    stage.keys("j");
    assert_eq!(stage.submitted().len(), 1);
    // In the palette, and among the choices of a field.
    stage.keys(": \"vm\" ctrl-j enter");
    assert!(matches!(stage.model.modals.last(), Some(Modal::Palette(_))));
    stage.keys("esc n tab tab space ctrl-j f2");
    assert!(matches!(stage.model.modals.last(), Some(Modal::Form(form)) if !form.is_picking()));
    stage.keys("esc > o enter");
    assert!(stage.model.pane().sort.is_some());
    stage.keys("o c");
    assert!(stage.model.pane().sort.is_none());
    stage.keys("q");
    assert!(stage.text().contains("d  go on in the background"), "{}", stage.text());
    stage.keys("d");
    assert_eq!(stage.cmds.pop(), Some(Cmd::Exit(Exit::Background)));
    // The help shows them.
    stage.keys("? \"lane_pause\"");
    assert!(stage.text().contains(" z "), "{}", stage.text());

    // Where keys can meet they may not be the same; where they cannot, they may.
    for (map, other) in [("lane_pause = \"q\"", "quit"), ("answer_yes = \"o\"", "answer_options")] {
        let refused = rebound(map).unwrap_err();
        assert!(refused.contains(other), "{refused}");
    }
    rebound("lane_pause = \"s\"\nsearch_take = \"ctrl-u\"").unwrap();
}

/// What is typed most: keys that are bound, and text.
const TYPED_KEYS: &str = "nsSrcadXet x/:?DLovjkgGhlq123456*+-<>R yb";

fn any_key() -> impl Strategy<Value = KeyEvent> {
    let code = prop_oneof![
        8 => any::<char>().prop_map(KeyCode::Char),
        20 => proptest::sample::select(TYPED_KEYS.chars().collect::<Vec<_>>())
            .prop_map(KeyCode::Char),
        12 => proptest::sample::select(vec![
            KeyCode::Enter, KeyCode::Esc, KeyCode::Tab, KeyCode::BackTab, KeyCode::Up,
            KeyCode::Down, KeyCode::Left, KeyCode::Right, KeyCode::Home, KeyCode::End,
            KeyCode::PageUp, KeyCode::PageDown, KeyCode::Backspace, KeyCode::Delete, KeyCode::F(1),
        ]),
    ];
    let modifiers = prop_oneof![
        5 => Just(KeyModifiers::NONE),
        1 => Just(KeyModifiers::CONTROL),
        1 => Just(KeyModifiers::ALT),
    ];
    (code, modifiers).prop_map(|(code, modifiers)| KeyEvent::new(code, modifiers))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_keys_at_any_size_panic(
        keys in proptest::collection::vec(any_key(), 0..60),
        width in 0_u16..220,
        height in 0_u16..60,
        bare: bool,
    ) {
        let fake = if bare { Fake::bare() } else { Fake::full() };
        let mut stage = Stage::new(fake, (80, 24));
        let theme = Theme::load("terminal", true, false).unwrap();
        for (number, key) in keys.into_iter().enumerate() {
            stage.send(Msg::Key(key));
            if number == 20 {
                stage.send(Msg::Resize(width, height));
            }
            stage.buffer(&theme);
        }
    }
}
