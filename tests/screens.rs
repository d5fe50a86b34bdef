//! What the operator sees and what keys do: every pane and window at the sizes and in the colours
//! it must work in, without a terminal or a backend.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set its stage should stop there, helpers included"
)]

#[path = "screens/events.rs"]
mod events;
#[path = "support/fake_backend.rs"]
mod fake_backend;
#[path = "screens/filters.rs"]
mod filters;
#[path = "screens/forms.rs"]
mod forms;
#[path = "screens/in_flight.rs"]
mod in_flight;
#[path = "screens/keys.rs"]
mod keys;
#[path = "screens/lists.rs"]
mod lists;
#[path = "screens/many.rs"]
mod many;
#[path = "screens/plots.rs"]
mod plots;
#[path = "screens/questions.rs"]
mod questions;
#[path = "screens/serial.rs"]
mod serial;
#[path = "support/stage.rs"]
mod stage;

use fake_backend::PlainBackend;
use hostler::ui::msg::Msg;
use hostler::ui::style::theme::Theme;
use hostler::ui::windows::console::Console;
use stage::{Stage, text};

/// Every pane and window: its name, whether the box is bare, and the keys that lead there, as
/// [`Stage::keys`] reads them.
const SCENES: &[(&str, bool, &str)] = &[
    ("vms", false, "j"),
    ("disks", false, "@disks"),
    ("tasks", false, "@tasks"),
    ("encodings", false, "@encodings"),
    ("operations", false, "@operations j"),
    ("images", false, "@images"),
    ("welcome", true, ""),
    ("in_flight", false, "tab j"),
    ("detail", false, "G k enter"),
    ("operation", false, "@operations j enter"),
    ("form", false, "n \"web-9\" tab \"secret\" tab"),
    ("form_picker", false, "n tab tab space"),
    (
        "form_list",
        false,
        "n \"web-9\" enter \"correct-horse\" ctrl-o up up space \"80\" ctrl-n \"443\" tab",
    ),
    ("form_nested", false, "@tasks n \"nightly\" tab \"vm_stop\" enter"),
    ("palette", false, ": \"start\""),
    ("filter", false, "/ \"state:running\""),
    ("filter_names", false, "/ \"s\""),
    ("filter_misread", false, "/ \"state:running\" space \"memory>big\""),
    ("marks", false, "space space"),
    ("sort", false, "o j"),
    ("confirm", false, "S"),
    ("confirm_destructive", false, "/ \"db-2\" enter X"),
    ("confirm_many", false, "* X"),
    ("lanes", false, "L"),
    ("help", false, "?"),
    ("doctor", true, "D"),
    ("quit", false, "q"),
    ("console", false, "c"),
];

const SIZES: [(u16, u16); 3] = [(80, 24), (200, 50), (40, 10)];

fn scene(bare: bool, keys: &str, size: (u16, u16)) -> Stage {
    let fake = if bare { PlainBackend::bare() } else { PlainBackend::full() };
    let mut stage = Stage::new(fake, size);
    stage.keys(keys);
    if stage.app.front_as::<Console>().is_some() {
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

/// What keys alone do not lead to: at every size, in colour, without and in ASCII.
fn assert_looks(name: &str, scene: impl Fn((u16, u16)) -> Stage) {
    for (width, height) in SIZES {
        let stage = scene((width, height));
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), stage.text());
    }
    for (look, colour, ascii) in
        [("colour", true, false), ("no_color", false, false), ("ascii", false, true)]
    {
        let buffer = scene((80, 24)).buffer(&Theme::load("terminal", colour, ascii).unwrap());
        assert!(!ascii || text(&buffer).is_ascii(), "{name}: {}", text(&buffer));
        insta::assert_snapshot!(format!("{name}_{look}"), format!("{buffer:?}"));
    }
}

#[test]
fn a_screen_too_small_says_so() {
    let stage = Stage::new(PlainBackend::full(), (39, 10));
    stage.shows("hostler needs 40");
}
