//! The key map: which keys do what, and that none does harm.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use hostler::domain::*;
use hostler::ui::Exit;
use hostler::ui::input::keymap::Keymap;
use hostler::ui::msg::{Cmd, Msg};
use hostler::ui::style::theme::Theme;
use hostler::ui::windows::actions;
use hostler::ui::windows::form::state::Form;
use hostler::ui::windows::palette::Palette;
use proptest::prelude::*;

use super::fake_backend::{PlainBackend, catalogue};
use super::stage::Stage;

#[test]
fn the_help_says_what_drain_does() {
    let mut stage = Stage::new(PlainBackend::full(), (120, 24));
    stage.keys("? \"drain\"");
    let text = stage.text();
    assert!(
        text.contains("Start nothing more in the lane; it is paused once nothing runs."),
        "{text}"
    );
}

#[test]
fn every_name_in_the_default_key_map_is_an_action_of_the_real_catalogue() {
    let names: Vec<String> = actions(&catalogue()).into_iter().map(|entry| entry.name).collect();
    let keymap: toml::Table = include_str!("../../assets/keymap.toml").parse().unwrap();
    for name in keymap.keys() {
        assert!(names.contains(name), "{name} is bound to a key, and nothing is called that");
    }
}

#[test]
fn the_keys_in_windows_are_in_the_key_map() {
    let rebound = |map: &str| {
        let files = [("mine.toml".to_owned(), map.to_owned())];
        Keymap::new(actions(&catalogue()), &files)
    };
    let keymap = rebound(
        "lane_pause = \"z\"\nanswer_yes = \"j\"\nsearch_down = \"ctrl-j\"\nsearch_take = \"f2\"\n\
         sort_clear = \"c\"\nleave_background = \"d\"\n",
    )
    .unwrap();
    let mut stage = Stage::with(PlainBackend::full(), (80, 24), |setup| setup.keymap = keymap);

    // The old key is nobody's, the new one does it, and what is on the screen says so.
    stage.keys("L p");
    assert!(stage.cmds.is_empty());
    assert!(stage.footer().contains("z pause"), "{}", stage.text());
    stage.keys("z");
    assert!(matches!(stage.cmds.pop(), Some(Cmd::Control(Control::Lane { .. }))));
    stage.keys("esc S y");
    stage.shows(" j  Yes ");
    assert!(stage.submitted().is_empty());
    stage.keys("j");
    assert_eq!(stage.submitted().len(), 1);
    // In the palette, and among the choices of a field.
    stage.keys(": \"vm\" ctrl-j enter");
    assert!(stage.app.front_as::<Palette>().is_some());
    stage.keys("esc n tab tab space ctrl-j f2");
    assert!(stage.app.front_as::<Form>().is_some_and(|form| !form.is_picking()));
    stage.keys("esc esc > o enter");
    assert!(stage.app.model.pane().sort.is_some());
    stage.keys("o c");
    assert!(stage.app.model.pane().sort.is_none());
    stage.keys("q");
    stage.shows("d  go on in the background");
    stage.keys("d");
    assert_eq!(stage.cmds.pop(), Some(Cmd::Exit(Exit::Background)));
    // The help shows them.
    stage.keys("? \"lane_pause\"");
    stage.shows(" z ");

    // Where keys can meet they may not be the same; where they cannot, they may.
    for (map, other) in [("lane_pause = \"q\"", "quit"), ("answer_yes = \"o\"", "answer_options")] {
        let refused = rebound(map).unwrap_err();
        assert!(refused.contains(other), "{refused}");
    }
    rebound("lane_pause = \"s\"\nsearch_take = \"ctrl-u\"").unwrap();
}

#[test]
fn the_serial_console_sends_keys_and_leaves_by_its_chord() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 24));
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
fn every_key_of_the_catalogue_asks_for_what_it_stands_at() {
    let keymap = Keymap::new(actions(&catalogue()), &[]).unwrap();
    for entry in keymap.entries().iter().filter(|entry| !entry.keys.is_empty()) {
        assert_eq!(keymap.keys(&entry.action), entry.keys, "{}", entry.name);
    }
}

#[test]
fn a_key_of_the_operators_own_is_not_lost_to_one_of_the_catalogue() {
    let mine =
        |map: &str| Keymap::new(actions(&catalogue()), &[("mine.toml".to_owned(), map.to_owned())]);
    let error = mine("help = \"S\"").unwrap_err();
    assert!(error.contains("'S'") && error.contains("vm_stop"), "{error}");
    assert!(mine("help = \"S\"\nvm_stop = \"Z\"").is_ok());
    // Names that another backend offers are none of a mistake.
    let files = [("mine.toml".to_owned(), "pool_scrub = \"Z\"".to_owned())];
    assert!(Keymap::new(actions(&catalogue()), &files).is_err());
    let others = ["pool_scrub".to_owned()];
    assert!(Keymap::with_others(actions(&catalogue()), &files, &others).is_ok());
}

fn any_key() -> impl Strategy<Value = KeyEvent> {
    let bound: Vec<char> = "nsSrcadXet x/:?DLovjkgGhlq123456*+-<>R yb".chars().collect();
    let code = prop_oneof![
        8 => any::<char>().prop_map(KeyCode::Char),
        20 => proptest::sample::select(bound).prop_map(KeyCode::Char),
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
        let fake = if bare { PlainBackend::bare() } else { PlainBackend::full() };
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

#[test]
fn the_help_says_how_what_has_no_key_is_asked_for() {
    let mut stage = Stage::new(PlainBackend::full(), (80, 250));
    stage.keys("?");
    for (word, told) in [(": batch", "Asks for several"), (": task_enable", "Lets a task fire")] {
        let text = stage.text();
        let line = text.lines().find(|line| line.contains(word)).unwrap_or_default();
        assert!(line.contains(told), "{word}: {text}");
    }
}
