//! The console without a terminal: a model on a fake backend, driven by keys, looked at as text.

use std::collections::VecDeque;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use futures_util::FutureExt;
use hostler::domain::*;
use hostler::ui::app::App;
use hostler::ui::input::action::Action;
use hostler::ui::input::keymap::{Key, Keymap};
use hostler::ui::model::{Model, Preferences, Setup};
use hostler::ui::msg::{Cmd, Fetch, Msg};
use hostler::ui::screen::draw;
use hostler::ui::style::theme::Theme;
use hostler::ui::tab::Tab;
use hostler::ui::update::{start, update};
use hostler::ui::windows::actions;
use jiff::tz::TimeZone;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::fake_backend::{PlainBackend, catalogue, now};

/// A console on a fake backend, driven by keys.
pub struct Stage {
    pub app: App,
    pub fake: PlainBackend,
    /// What was asked for that the fake does not answer.
    pub cmds: Vec<Cmd>,
}

impl Stage {
    pub fn new(fake: PlainBackend, size: (u16, u16)) -> Self {
        Self::with(fake, size, |_| {})
    }

    pub fn with(fake: PlainBackend, size: (u16, u16), change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            size,
            now: now(),
            zone: TimeZone::UTC,
            catalogue: catalogue(),
            keymap: Keymap::new(actions(&catalogue()), &[]).unwrap(),
            read_only: false,
            embedded: true,
            actor: "console:root".to_owned(),
            preferences: Preferences::default(),
        };
        change(&mut setup);
        let mut stage = Self { app: App::new(Model::new(setup)), fake, cmds: Vec::new() };
        let cmds = start(&mut stage.app);
        stage.take(cmds);
        // The questions that were not asked together come when they are due.
        stage.wait();
        stage
    }

    /// Lets a second pass.
    pub fn wait(&mut self) {
        for _ in 0..3 {
            let later = self.app.model.now + jiff::SignedDuration::from_millis(300);
            self.send(Msg::Now(later));
            self.send(Msg::Wake);
        }
        self.send(Msg::Now(now()));
    }

    pub fn send(&mut self, msg: Msg) {
        let cmds = update(&mut self.app, msg);
        self.take(cmds);
    }

    fn take(&mut self, cmds: Vec<Cmd>) {
        for cmd in cmds {
            match cmd {
                Cmd::Fetch(fetch) => self.answer(fetch),
                other => self.cmds.push(other),
            }
        }
    }

    /// Has the fake answer a question.
    pub fn answer(&mut self, fetch: Fetch) {
        let reply = self.reply(fetch);
        self.send(reply);
    }

    fn reply(&self, fetch: Fetch) -> Msg {
        let reply = fetch.from(&self.fake).now_or_never().expect("an answer at once");
        Msg::Reply(reply)
    }

    /// The first questions that a key leads to, and that the answers to these lead to; at most so
    /// many.
    pub fn questions(&mut self, key: &str, most: usize) -> Vec<Fetch> {
        let mut asked = Vec::new();
        let mut open = VecDeque::from(update(&mut self.app, Self::pressed(key)));
        while let Some(cmd) = open.pop_front() {
            let Cmd::Fetch(fetch) = cmd else { continue };
            if asked.len() == most {
                break;
            }
            asked.push(fetch.clone());
            let reply = self.reply(fetch);
            open.extend(update(&mut self.app, reply));
        }
        asked
    }

    fn pressed(key: &str) -> Msg {
        let key: Key = key.parse().unwrap();
        Msg::Key(KeyEvent::new(key.code, key.modifiers))
    }

    fn press(&mut self, key: &str) {
        self.send(Self::pressed(key));
    }

    /// The key that opens the list of that word, `disks`: a new kind moves those behind it.
    pub fn tab(&self, word: &str) -> String {
        let tab = Tab::try_from(word.to_owned()).unwrap();
        let key = self.app.model.keymap.key(&Action::Tab(tab));
        key.unwrap_or_else(|| panic!("no key opens the list of {word}"))
    }

    /// Keys separated by spaces; `"text"` is typed as it is, `@disks` opens the list of disks.
    pub fn keys(&mut self, keys: &str) -> &mut Self {
        for key in keys.split(' ').filter(|key| !key.is_empty()) {
            match key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
                Some(text) => {
                    for character in text.chars() {
                        let code = KeyCode::Char(character);
                        self.send(Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)));
                    }
                }
                None => match key.strip_prefix('@') {
                    Some(word) if !word.is_empty() => self.press(&self.tab(word)),
                    _ => self.press(key),
                },
            }
        }
        self
    }

    pub fn event(&mut self, seq: u64, fact: Fact) {
        self.send(Msg::Event(Box::new(Event { life: 1, seq, at: now(), fact })));
    }

    pub fn buffer(&self, theme: &Theme) -> Buffer {
        let (width, height) = self.app.model.size;
        let mut buffer = Buffer::empty(Rect { x: 0, y: 0, width, height });
        draw(&self.app, theme, &mut buffer);
        buffer
    }

    pub fn text(&self) -> String {
        text(&self.buffer(&Theme::load("terminal", true, false).unwrap()))
    }

    /// The last line of the screen.
    pub fn footer(&self) -> String {
        self.text().lines().last().unwrap().to_owned()
    }

    /// Fails where a text stands nowhere on the screen.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let screen = self.text();
        assert!(screen.contains(text), "{text:?} is not on the screen:\n{screen}");
    }

    /// Fails where a text stands somewhere on the screen.
    #[track_caller]
    pub fn lacks(&self, text: &str) {
        let screen = self.text();
        assert!(!screen.contains(text), "{text:?} is on the screen:\n{screen}");
    }

    pub fn submitted(&self) -> Vec<Submit> {
        self.cmds
            .iter()
            .filter_map(|cmd| match cmd {
                Cmd::Submit(submit) => Some(submit.as_ref().clone()),
                _ => None,
            })
            .collect()
    }
}

/// What a buffer shows, without colours.
pub fn text(buffer: &Buffer) -> String {
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
