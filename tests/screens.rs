//! What the operator sees and what keys do: every pane and window at the sizes and in the colours
//! it must work in, without a terminal or a backend.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set its stage should stop there, helpers included"
)]

#[path = "support/fake_backend.rs"]
mod fake_backend;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use fake_backend::{Fake, catalogue, now};
use hostler::domain::*;
use hostler::ui::Exit;
use hostler::ui::action::table;
use hostler::ui::keymap::{Key, Keymap};
use hostler::ui::model::{Choices, Modal, Model, Setup, Tab};
use hostler::ui::msg::{Ask, Cmd, Msg};
use hostler::ui::theme::Theme;
use hostler::ui::update::{start, update};
use hostler::ui::view::draw;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// A console on a fake backend, driven by keys.
struct Stage {
    model: Model,
    fake: Fake,
    /// What was asked for that the fake does not answer.
    cmds: Vec<Cmd>,
}

impl Stage {
    fn new(fake: Fake, size: (u16, u16)) -> Self {
        Self::with(fake, size, |_| {})
    }

    fn with(fake: Fake, size: (u16, u16), change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            size,
            now: now(),
            zone: TimeZone::UTC,
            catalogue: catalogue(),
            keymap: Keymap::new(table(&catalogue()), &[]).unwrap(),
            read_only: false,
            embedded: true,
            actor: "console:root".to_owned(),
            choices: Choices::default(),
        };
        change(&mut setup);
        let mut stage = Self { model: Model::new(setup), fake, cmds: Vec::new() };
        let cmds = start(&mut stage.model);
        stage.take(cmds);
        // The questions that were not asked together come when they are due.
        stage.wait();
        stage
    }

    /// Lets a second pass.
    fn wait(&mut self) {
        for _ in 0..3 {
            let later = self.model.now + jiff::SignedDuration::from_millis(300);
            self.send(Msg::Now(later));
            self.send(Msg::Wake);
        }
        self.send(Msg::Now(now()));
    }

    fn send(&mut self, msg: Msg) {
        let cmds = update(&mut self.model, msg);
        self.take(cmds);
    }

    fn take(&mut self, cmds: Vec<Cmd>) {
        for cmd in cmds {
            match cmd {
                Cmd::Query(ask, query) => {
                    let answer = self.fake.answer(&query);
                    self.send(Msg::Answer(ask, answer));
                }
                other => self.cmds.push(other),
            }
        }
    }

    fn press(&mut self, key: &str) {
        let key: Key = key.parse().unwrap();
        self.send(Msg::Key(KeyEvent::new(key.code, key.modifiers)));
    }

    /// Keys separated by spaces; `"text"` is typed as it is.
    fn keys(&mut self, keys: &str) -> &mut Self {
        for key in keys.split(' ').filter(|key| !key.is_empty()) {
            match key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
                Some(text) => {
                    for character in text.chars() {
                        let code = KeyCode::Char(character);
                        self.send(Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)));
                    }
                }
                None => self.press(key),
            }
        }
        self
    }

    fn event(&mut self, seq: u64, fact: Fact) {
        self.send(Msg::Event(Box::new(Event { life: 1, seq, at: now(), fact })));
    }

    fn buffer(&self, theme: &Theme) -> Buffer {
        let (width, height) = self.model.size;
        let mut buffer = Buffer::empty(Rect { x: 0, y: 0, width, height });
        draw(&self.model, theme, &mut buffer);
        buffer
    }

    fn text(&self) -> String {
        text(&self.buffer(&Theme::load("terminal", true, false).unwrap()))
    }

    fn submitted(&self) -> Vec<Submit> {
        self.cmds
            .iter()
            .filter_map(|cmd| match cmd {
                Cmd::Submit(submit) => Some(submit.as_ref().clone()),
                _ => None,
            })
            .collect()
    }
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let mut text = String::new();
    for row in buffer.content.chunks(width) {
        let mut skip = 0;
        let mut line = String::new();
        for cell in row {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            line.push_str(cell.symbol());
            skip = unicode_width::UnicodeWidthStr::width(cell.symbol()).saturating_sub(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Every pane and window: its name, whether the box is bare, and the keys that lead there.
const SCENES: &[(&str, bool, &str)] = &[
    ("vms", false, "j"),
    ("disks", false, "2"),
    ("tasks", false, "3"),
    ("encodings", false, "4"),
    ("operations", false, "5 j"),
    ("images", false, "6"),
    ("welcome", true, ""),
    ("in_flight", false, "tab j"),
    ("detail", false, "G k enter"),
    ("operation", false, "5 j enter"),
    ("form", false, "n \"web-9\" tab \"secret\" tab"),
    ("form_picker", false, "n tab tab space"),
    ("form_nested", false, "3 n \"nightly\" tab \"vm_stop\" enter"),
    ("palette", false, ": \"start\""),
    ("filter", false, "/ \"state:running\""),
    ("marks", false, "space space"),
    ("sort", false, "o j"),
    ("confirm", false, "S"),
    ("confirm_destructive", false, "X"),
    ("confirm_many", false, "space space X"),
    ("lanes", false, "L"),
    ("help", false, "?"),
    ("doctor", true, "D"),
    ("quit", false, "q"),
    ("console", false, "c"),
];

const SIZES: [(u16, u16); 3] = [(80, 24), (200, 50), (40, 10)];

fn scene(bare: bool, keys: &str, size: (u16, u16)) -> Stage {
    let fake = if bare { Fake::bare() } else { Fake::full() };
    let mut stage = Stage::new(fake, size);
    stage.keys(keys);
    if let Some(Modal::Console(_)) = stage.model.modals.last() {
        stage.send(Msg::SerialOpened(3, Ok(())));
        stage.send(Msg::SerialOutput(
            3,
            b"\x1b[1mDebian GNU/Linux 12\x1b[0m build ttyS0\r\n\r\nbuild login: ".to_vec(),
        ));
    }
    stage.wait();
    stage
}

#[test]
fn every_pane_and_window_at_every_size() {
    for (name, bare, keys) in SCENES {
        for (width, height) in SIZES {
            let stage = scene(*bare, keys, (width, height));
            insta::assert_snapshot!(format!("{name}_{width}x{height}"), stage.text());
        }
    }
}

#[test]
fn every_pane_and_window_in_colour_without_and_in_ascii() {
    let looks = [
        ("colour", Theme::load("terminal", true, false).unwrap()),
        ("no_color", Theme::load("terminal", false, false).unwrap()),
        ("ascii", Theme::load("terminal", false, true).unwrap()),
    ];
    for (name, bare, keys) in SCENES {
        let stage = scene(*bare, keys, (80, 24));
        for (look, theme) in &looks {
            let buffer = stage.buffer(theme);
            if *look == "ascii" {
                assert!(text(&buffer).is_ascii(), "{name}: {}", text(&buffer));
            }
            insta::assert_snapshot!(format!("{name}_{look}"), format!("{buffer:?}"));
        }
    }
}

#[test]
fn a_screen_too_small_says_so() {
    let stage = Stage::new(Fake::full(), (39, 10));
    assert!(stage.text().contains("hostler needs 40"));
}

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
fn marks_make_it_many_with_one_question() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("space space S");
    assert!(stage.text().contains("Stop these 2"));
    stage.keys("y");
    assert_eq!(stage.submitted().len(), 2);
    stage.keys("* X");
    assert!(stage.text().contains("type 14"));
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
fn the_selection_stays_on_its_row_when_rows_come() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("j j j");
    let before = stage.model.pane().selected;
    let mut new = stage.fake.resources[0].clone();
    if let Resource::Vm(vm) = &mut new {
        vm.id = 99;
        vm.name = "aaa".to_owned();
    }
    stage.fake.resources.push(new.clone());
    stage.event(1, Fact::Resource(std::sync::Arc::new(new)));
    stage.wait();
    assert_eq!(stage.model.pane().total, 15);
    assert_eq!(stage.model.pane().selected, before);
    assert_eq!(stage.model.pane().cursor, 4);
}

#[test]
fn a_gap_or_a_new_life_asks_for_everything_again() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    let load = Fact::Load(Load::default());
    stage.event(1, load.clone());
    stage.fake.resources.clear();
    stage.event(2, load.clone());
    assert_eq!(stage.model.pane().total, 14);
    stage.event(4, load);
    assert_eq!(stage.model.pane().total, 0);
}

#[test]
fn progress_is_patched_without_asking() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    let progress = Progress { fraction: Some(0.77), ..Progress::default() };
    let event =
        Event { life: 1, seq: 1, at: now(), fact: Fact::Progress { uid: Uid(48_211), progress } };
    let cmds = update(&mut stage.model, Msg::Event(Box::new(event)));
    assert_eq!(cmds, []);
    assert!(stage.model.dirty);
    assert!(stage.text().contains("77%"));
}

#[test]
fn events_about_what_is_not_shown_draw_nothing() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.model.dirty = false;
    stage.event(1, Fact::Usage { vm: 4711, cpu_percent: 3.0, memory_mib: 100 });
    stage.event(2, Fact::Progress { uid: Uid(1), progress: Progress::default() });
    assert!(!stage.model.dirty);
}

#[test]
fn an_idle_console_sleeps() {
    let mut stage = Stage::new(Fake::bare(), (80, 24));
    stage.model.dirty = false;
    assert_eq!(stage.model.wake_at(), None);
    stage.send(Msg::Wake);
    assert!(!stage.model.dirty);
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
fn filters_and_sorting_are_asked_of_the_backend_and_remembered() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    stage.keys("/ \"web\" enter");
    assert_eq!(stage.model.pane().total, 4);
    stage.keys("esc / \"colour:red\"");
    assert!(stage.text().contains("no column 'colour'"));
    stage.keys("esc > >");
    assert!(
        matches!(stage.cmds.last(), Some(Cmd::Save(choices)) if choices.sort[&Tab::Vms].column == "name")
    );
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
    let keymap: toml::Table = include_str!("../assets/keymap.toml").parse().unwrap();
    for name in keymap.keys() {
        assert!(names.contains(name), "{name} is bound to a key, and nothing is called that");
    }
}

#[test]
fn at_most_one_question_for_rows_is_under_way() {
    let mut stage = Stage::new(Fake::full(), (80, 24));
    let asks =
        |cmds: &[Cmd]| cmds.iter().filter(|cmd| matches!(cmd, Cmd::Query(Ask::Rows(_), _))).count();
    let mut asked = 0;
    for seq in 1..200 {
        let later = stage.model.now + jiff::SignedDuration::from_millis(5);
        asked += asks(&update(&mut stage.model, Msg::Now(later)));
        let fact = Fact::Gone(ResourceId::new(ResourceKind::Vm, seq));
        let event = Event { life: 1, seq, at: now(), fact };
        asked += asks(&update(&mut stage.model, Msg::Event(Box::new(event))));
    }
    assert_eq!(asked, 1);
}

fn any_key() -> impl Strategy<Value = KeyEvent> {
    let code = prop_oneof![
        8 => any::<char>().prop_map(KeyCode::Char),
        20 => proptest::sample::select("nsSrcadXet x/:?DLovjkgGhlq123456*+-<>R yb".chars().collect::<Vec<_>>())
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
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

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
