//! What a guest writes to its serial line: it is shown inside its window and nowhere else, whatever
//! it is.

use hostler::domain::display::clean;
use hostler::ui::msg::Msg;

use hostler::ui::style::theme::Theme;
use proptest::prelude::*;
use ratatui::buffer::Buffer;

use super::fake_backend::PlainBackend;
use super::stage::Stage;

fn opened(size: (u16, u16)) -> Stage {
    let mut stage = Stage::new(PlainBackend::full(), size);
    stage.keys("c");
    stage.send(Msg::SerialOpened(3, Ok(())));
    stage
}

fn drawn(stage: &Stage) -> Buffer {
    stage.buffer(&Theme::load("terminal", true, false).unwrap())
}

/// Nothing but what can be seen is in any cell, and the window's frame is as it was.
fn is_kept_inside(stage: &Stage, before: &Buffer) {
    let buffer = drawn(stage);
    let area = *buffer.area();
    for place in area.positions() {
        let symbol = buffer[place].symbol();
        assert_eq!(clean(symbol), symbol, "{place:?}: {symbol:?}");
        let (right, bottom) = (area.right() - 1, area.bottom() - 1);
        if [0, right].contains(&place.x) || [0, bottom].contains(&place.y) {
            assert_eq!(buffer[place], before[place], "{place:?}");
        }
    }
}

/// What terminals have been attacked with.
const NASTY: &[&[u8]] = &[
    b"\x1b]0;title\x07\x1b]2;title\x1b\\\x1b]52;c;aGk=\x07\x1b]8;;http://x\x07link\x1b]8;;\x07",
    b"\x1b[?1049h\x1b[?1000h\x1b[?2004h\x1b[?25l\x1b[?6h\x1b[?7l\x1b[8;9999;9999t\x1b[21t",
    b"\x1b[99999999999999999999;99999999999999999999H\x1b[65535C\x1b[65535B\x1b[4294967296A",
    b"\x1b[10;5r\x1b[0;0r\x1b[65535;65535r\x1b[999L\x1b[999M\x1b[999P\x1b[999@\x1b[999X\x1bM\x1bD",
    b"\x1bc\x1b#8\x1b(0lqqk\x1b(B\x1b[!p\x1b[5n\x1b[6n\x1b[c\x1b[>c\x05\x1bZ",
    b"\x1b[38;2;999;-1;1m\x1b[48;5;999999m\x1b[;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;m",
    b"\x1bPq#0;2;0;0;0#0~~@@vv@@~~\x1b\\\x1b_Gf=24;AAAA\x1b\\\x1b^pm\x1b\\\x1bX",
    b"\xc2\x9b2J\xc2\x9d0;t\xc2\x9c\x9b\x9d\xff\xfe\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80",
    "e\u{301}\u{202e}gpj\u{200b}\u{200d}\u{feff}\u{2066}\u{e0041}\u{fe0f}🙂👨\u{200d}👩".as_bytes(),
    "日本語日本語\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}".as_bytes(),
    b"\x08\x08\x08\x7f\t\t\t\t\t\t\x0b\x0c\r\n\x00\x01\x02\x0e\x0f\x18\x1a",
];

#[test]
fn nothing_leaves_its_window() {
    for size in [(40, 10), (80, 24), (200, 50)] {
        let mut stage = opened(size);
        let before = drawn(&stage);
        for bytes in NASTY {
            stage.send(Msg::SerialOutput(3, bytes.to_vec()));
            is_kept_inside(&stage, &before);
            // What is cut in two means the same.
            for byte in *bytes {
                stage.send(Msg::SerialOutput(3, vec![*byte]));
            }
            is_kept_inside(&stage, &before);
        }
    }
}

#[test]
fn a_flood_is_shown_by_its_end_and_no_sequence_waits_for_more_than_it_can_have() {
    let mut stage = opened((80, 24));
    let before = drawn(&stage);
    let flood: Vec<u8> = NASTY.concat().repeat(2000);
    for piece in flood.chunks(4096) {
        stage.send(Msg::SerialOutput(3, piece.to_vec()));
    }
    for open in [&b"\x1b]0;"[..], b"\x1bP", b"\x1b["] {
        stage.send(Msg::SerialOutput(3, open.to_vec()));
        stage.send(Msg::SerialOutput(3, vec![b'1'; 1 << 20]));
    }
    stage.send(Msg::SerialOutput(3, b"\x18\x1b\\\x1bc\x1b[2J\x1b[Hlogin: ".to_vec()));
    is_kept_inside(&stage, &before);
    stage.shows("login: ");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_kept_inside(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "\\x1b\\[[0-9;?]{0,12}[@-~]".prop_map(String::into_bytes),
                "\\PC{1,20}".prop_map(String::into_bytes),
                prop::sample::select(NASTY).prop_map(<[u8]>::to_vec),
            ],
            1..20,
        ),
        size in (40_u16..90, 10_u16..30),
        other in (40_u16..90, 10_u16..30),
    ) {
        let mut stage = opened(size);
        for (at, bytes) in pieces.iter().enumerate() {
            if at == pieces.len() / 2 {
                stage.send(Msg::Resize(other.0, other.1));
            }
            stage.send(Msg::SerialOutput(3, bytes.clone()));
        }
        let mut empty = opened(size);
        empty.send(Msg::Resize(other.0, other.1));
        is_kept_inside(&stage, &drawn(&empty));
    }
}
