//! The console in a real terminal: a pseudo-terminal whose screen is read back with vt100.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ::hostler::backend::{operations, settings::Settings};
use ::hostler::domain::Catalogue;
use ::hostler::ui::input::action::Action;
use ::hostler::ui::input::keymap::Keymap;
use ::hostler::ui::tab::Tab;
use ::hostler::ui::windows::actions;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tui_term::vt100;

use super::hostler::{GIVE_UP_AFTER, Sandbox};

/// What the shell of [`Screen::open_shell`] begins a line with.
pub const SHELL_PROMPT: &str = "shell> ";

/// The key that opens the list of that title, `Disks`: a new kind moves those behind it.
pub fn tab_key(title: &str) -> String {
    let kinds = operations::all(&Settings::new("/nowhere".into()));
    let catalogue = Catalogue::new(kinds.into_iter().map(|entry| entry.spec));
    let tab = Tab::all(&catalogue).into_iter().find(|tab| tab.title() == title);
    let tab = tab.unwrap_or_else(|| panic!("there is no list {title}"));
    let keymap = Keymap::new(actions(&catalogue), &[]).expect("the default key map");
    keymap.key(&Action::Tab(tab)).unwrap_or_else(|| panic!("no key opens the list {title}"))
}

/// What the terminal shows, and how much it was sent.
struct Shown {
    parser: vt100::Parser,
    bytes: u64,
    closed: bool,
}

/// A console in a terminal.
pub struct Screen {
    shown: Arc<(Mutex<Shown>, Condvar)>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    master: Box<dyn MasterPty + Send>,
    /// The terminal's modes before the console had it.
    modes: String,
}

impl Screen {
    /// Opens the console of a state directory on a terminal of that size.
    pub fn open(place: &Sandbox, columns: u16, rows: u16, arguments: &[&str]) -> Self {
        Self::open_with(place, columns, rows, arguments, &[])
    }

    /// The same, with some environment on top.
    pub fn open_with(
        place: &Sandbox,
        columns: u16,
        rows: u16,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_hostler"));
        command.args(arguments);
        Self::start(place, columns, rows, command, environment)
    }

    /// Opens another program than hostler, to compare with.
    pub fn open_other(place: &Sandbox, columns: u16, rows: u16, program: &[&str]) -> Self {
        let mut command = CommandBuilder::new(program[0]);
        command.args(&program[1..]);
        Self::start(place, columns, rows, command, &[])
    }

    /// Opens a shell that does job control and leaves the terminal's modes alone, on a terminal of
    /// that size, with `hostler` in its path.
    pub fn open_shell(place: &Sandbox, columns: u16, rows: u16) -> Self {
        let mut command = CommandBuilder::new("dash");
        command.arg("-i");
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_hostler"));
        let here = program.parent().expect("its directory").display();
        let path = format!("{here}:{}", std::env::var("PATH").expect("a path"));
        let environment = [("PATH", path.as_str()), ("ENV", "")];
        let mut screen = Self::start(place, columns, rows, command, &environment);
        // Quoted, so that what is typed is not taken for the prompt.
        screen.keys(&format!("PS1='{}''{}'\r", &SHELL_PROMPT[..2], &SHELL_PROMPT[2..]));
        screen.wait_for(SHELL_PROMPT);
        screen
    }

    fn start(
        place: &Sandbox,
        columns: u16,
        rows: u16,
        mut command: CommandBuilder,
        environment: &[(&str, &str)],
    ) -> Self {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).expect("a pseudo-terminal");
        let before = pair.master.get_termios().expect("its modes");
        command.env_remove("NO_COLOR");
        for (name, value) in [
            ("HOSTLER_STATE", place.dir().as_os_str()),
            ("HOSTLER_CONFIG", place.config().as_os_str()),
            ("TERM", "xterm-256color".as_ref()),
            ("LANG", "C.UTF-8".as_ref()),
            ("LC_ALL", "C.UTF-8".as_ref()),
        ] {
            command.env(name, value);
        }
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).expect("hostler");
        drop(pair.slave);
        let shown = Shown { parser: vt100::Parser::new(rows, columns, 0), bytes: 0, closed: false };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        let mut output = pair.master.try_clone_reader().expect("its output");
        let reading = shown.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            loop {
                let count = output.read(&mut buffer).unwrap_or(0);
                let (shown, changed) = &*reading;
                let mut shown = shown.lock().expect("the screen");
                shown.parser.process(&buffer[..count]);
                shown.bytes += count as u64;
                shown.closed = count == 0;
                changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        let keys = pair.master.take_writer().expect("its keyboard");
        let modes = format!("{before:?}");
        Self { shown, keys, child, master: pair.master, modes }
    }

    /// Types. `\x1b` is Escape, `\r` Enter, `\t` Tab.
    pub fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("typed");
        self.keys.flush().expect("typed");
    }

    /// Waits until the screen is as wanted; `what` says what is waited for.
    pub fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_until(Instant::now() + GIVE_UP_AFTER, what, wanted)
    }

    /// The same, for what takes a guest minutes on a slow box.
    pub fn wait_longer(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_until(Instant::now() + 600 * Duration::from_secs(1), what, wanted)
    }

    fn wait_until(&self, deadline: Instant, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let (shown, changed) = &*self.shown;
        let mut shown = shown.lock().expect("the screen");
        loop {
            let text = shown.parser.screen().contents();
            let closed = shown.closed;
            if wanted(&text) {
                return text;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || closed {
                // Let go first: the thread that reads must not suffer for this.
                drop(shown);
                assert!(closed, "waited in vain for {what}; the screen shows:\n{text}");
                panic!("the console ended while waiting for {what}:\n{text}");
            }
            // What is waited for may lie outside the screen as well, so it is looked at again.
            let nap = left.min(Duration::from_millis(250));
            shown = changed.wait_timeout(shown, nap).expect("the screen").0;
        }
    }

    /// Waits until a line of the screen holds all of these.
    pub fn wait_line(&self, words: &[&str]) -> String {
        self.wait(&format!("a line with {words:?}"), |screen| line(screen, words))
    }

    /// Waits until a text stands nowhere on the screen.
    pub fn wait_gone(&self, text: &str) -> String {
        self.wait(&format!("{text:?} to go"), |screen| !screen.contains(text))
    }

    /// Waits until a text stands somewhere on the screen.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait(&format!("{text:?}"), |screen| screen.contains(text))
    }

    /// What the screen shows now.
    pub fn text(&self) -> String {
        self.shown.0.lock().expect("the screen").parser.screen().contents()
    }

    /// How many bytes the terminal was sent so far.
    pub fn bytes(&self) -> u64 {
        self.shown.0.lock().expect("the screen").bytes
    }

    /// What the terminal shows, with colours and attributes, as the bytes that draw it.
    pub fn formatted(&self) -> String {
        let shown = self.shown.0.lock().expect("the screen");
        String::from_utf8_lossy(&shown.parser.screen().contents_formatted()).into_owned()
    }

    /// Asserts that the terminal is as it was before the console had it: the main screen, a
    /// cursor, no mouse, no bracketed paste, lines and echo.
    pub fn is_put_back(&self) {
        let shown = self.shown.0.lock().expect("the screen");
        let screen = shown.parser.screen();
        assert!(!screen.alternate_screen(), "still on the alternate screen");
        assert!(!screen.hide_cursor(), "no cursor");
        assert!(!screen.bracketed_paste(), "still in bracketed paste");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        let modes = self.master.get_termios().expect("its modes");
        assert_eq!(format!("{modes:?}"), self.modes);
    }

    /// Whether the terminal is on its alternate screen.
    pub fn is_alternate(&self) -> bool {
        self.shown.0.lock().expect("the screen").parser.screen().alternate_screen()
    }

    /// Makes the terminal another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        self.shown.0.lock().expect("the screen").parser.screen_mut().set_size(rows, columns);
        self.master.resize(size).expect("resized");
    }

    /// Waits until the console has ended and the last it wrote is read; gives its exit status.
    pub fn ended(&mut self) -> u32 {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("its end") {
                break status.exit_code();
            }
            assert!(Instant::now() < deadline, "it does not end and shows:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        };
        let (shown, changed) = &*self.shown;
        let shown = shown.lock().expect("the screen");
        let (shown, late) = changed
            .wait_timeout_while(shown, GIVE_UP_AFTER, |shown| !shown.closed)
            .expect("the screen");
        let text = shown.parser.screen().contents();
        assert!(!late.timed_out(), "somebody still holds the terminal, which shows:\n{text}");
        status
    }

    /// The console's process number.
    pub fn pid(&self) -> u32 {
        self.child.process_id().expect("a process")
    }
}

/// Whether a line of the screen holds all of these.
pub fn line(screen: &str, words: &[&str]) -> bool {
    screen.lines().any(|line| words.iter().all(|word| line.contains(word)))
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
