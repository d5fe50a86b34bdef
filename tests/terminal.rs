//! The operator's terminal: given back however the console ends, breaks or is stopped, and the work
//! goes on all the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "support/hostler.rs"]
mod hostler;
#[path = "support/media.rs"]
mod media;
#[path = "support/screen.rs"]
mod screen;

use std::path::PathBuf;

use hostler::{Sandbox, alone, signal};
use rustix::process::Signal;
use screen::{SHELL_PROMPT, Screen, tab_key};

const INTERRUPT: &str = "\x03";
const CTRL_Z: &str = "\x1a";
const CTRL_L: &str = "\x0c";

/// An encoding that is under way and held in the middle of its work.
struct HeldEncoding {
    uid: u64,
    encoder: u32,
    output: PathBuf,
    _media: tempfile::TempDir,
}

impl HeldEncoding {
    fn begin(place: &Sandbox) -> Self {
        let media = tempfile::tempdir().expect("a directory");
        let source = media::video(media.path(), "talk.mkv", 20, "640x360");
        let output = media.path().join("talk.mp4");
        place.wait("the console serves", || place.is_served());
        let source = format!("source={}", source.display());
        let to = format!("output={}", output.display());
        place.ok(&["run", "encode", &source, "preset=mp4", &to]);
        place.wait("the encoder is at work", || place.encoders().len() == 1);
        let encoder = place.encoders()[0];
        signal(encoder, Signal::STOP);
        Self { uid: place.newest("encode"), encoder, output, _media: media }
    }

    /// Asserts that it is still the same encoder that works, and that a backend without a screen
    /// has it.
    fn is_in_the_background(&self, place: &Sandbox) {
        assert!(place.is_served());
        assert_eq!(place.backends().len(), 1);
        assert_eq!(place.encoders(), [self.encoder]);
        assert_eq!(place.operation(self.uid)["state"], "RUN");
    }

    /// Lets it go on, to a good end.
    fn finish(&self, place: &Sandbox) {
        signal(self.encoder, Signal::CONT);
        place.ok(&["operation", "wait", &self.uid.to_string()]);
        assert_eq!(place.operation(self.uid)["state"], "DONE");
        let length = media::duration(&self.output);
        assert!((length - 20.0).abs() < 0.5, "{length}");
    }
}

/// With nothing in flight a console that ends leaves nothing behind.
#[test]
fn an_end_with_nothing_in_flight() {
    let place = Sandbox::new();
    for end in [Signal::TERM, Signal::INT] {
        let mut screen = Screen::open(&place, 80, 24, &[]);
        screen.wait_for("Nothing here yet");
        assert!(screen.is_alternate());
        match end {
            // In raw mode the interrupt key is a key like any other, and leaves as `q` does.
            Signal::INT => screen.keys(INTERRUPT),
            other => signal(screen.pid(), other),
        }
        assert_eq!(screen.ended(), 0);
        screen.is_put_back();
        assert!(place.hostlers().is_empty(), "nothing was in flight, so nothing stays");
    }
}

/// SIGTERM ends the console alone: nobody said anything about the work.
#[test]
fn sigterm_with_work_in_flight() {
    let _alone = alone();
    let place = Sandbox::new();
    let mut screen = Screen::open(&place, 80, 24, &[]);
    let encoding = HeldEncoding::begin(&place);
    screen.wait_line(&["encode", "talk.mkv"]);
    signal(screen.pid(), Signal::TERM);
    assert_eq!(screen.ended(), 0);
    screen.is_put_back();
    encoding.is_in_the_background(&place);
    encoding.finish(&place);
}

/// A defect in the console costs the screen, and nothing else.
#[cfg(feature = "failpoints")]
#[test]
fn a_panic_in_the_console() {
    let _alone = alone();
    let place = Sandbox::new();
    let breaks = [("HOSTLER_PANIC", "redraw")];
    let mut screen = Screen::open_with(&place, 100, 30, &[], &breaks);
    let encoding = HeldEncoding::begin(&place);
    screen.wait_line(&["encode", "talk.mkv"]);
    screen.keys(CTRL_L);
    assert_eq!(screen.ended(), 1);
    screen.is_put_back();
    let told = screen.text();
    // Lines are broken where the terminal ends.
    let sentence = told.replace('\n', "");
    assert!(sentence.contains("hostler: the console broke, which is a defect"), "{told}");
    assert!(sentence.contains("(src/ui/run.rs:"), "{told}");
    assert!(sentence.contains("no work is lost, start hostler again"), "{told}");
    assert!(!told.contains("panicked"), "nothing but the sentence: {told}");
    assert!(place.log().contains("panic: "), "{}", place.log());
    encoding.is_in_the_background(&place);

    // One that is only attached breaks alone.
    let mut screen = Screen::open_with(&place, 100, 30, &[], &breaks);
    screen.wait_line(&["encode", "talk.mkv"]);
    screen.keys(CTRL_L);
    assert_eq!(screen.ended(), 1);
    screen.is_put_back();
    encoding.is_in_the_background(&place);
    encoding.finish(&place);
}

/// Whether a process is stopped, as job control stops it: see proc(5).
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, after)| after.starts_with('T'))
}

fn at_the_prompt(text: &str) -> bool {
    text.trim_end().ends_with(SHELL_PROMPT.trim_end())
}

/// Waits until the shell has the terminal, as it was, and clears it.
fn shell_is_back(place: &Sandbox, screen: &mut Screen, console: u32) {
    place.wait("the console is stopped", || is_stopped(console));
    screen.wait("the shell's prompt", at_the_prompt);
    screen.is_put_back();
    screen.keys("clear; echo a-shell-$((6*7))\r");
    screen.wait_for("a-shell-42");
}

/// Ctrl-Z gives the shell back, the work goes on without the console, and `fg` brings back what
/// was on the screen.
#[test]
fn ctrl_z_and_fg() {
    let _alone = alone();
    let place = Sandbox::new();
    let mut screen = Screen::open_shell(&place, 80, 24);
    screen.keys("hostler\r");
    screen.wait_for("Nothing here yet");
    let console = place.hostlers()[0];
    let encoding = HeldEncoding::begin(&place);
    let place_of = |text: &str, word: &str| text.lines().position(|line| line.contains(word));
    screen.keys(&tab_key("Operations"));
    screen.wait_line(&["encode", "RUN"]);
    screen.keys("/kind:encode\r");
    let before = screen.wait_for("/kind:encode");

    screen.keys(CTRL_Z);
    shell_is_back(&place, &mut screen, console);
    encoding.is_in_the_background(&place);
    encoding.finish(&place);
    assert!(is_stopped(console));
    screen.keys("fg\r");
    let after = screen.wait_line(&["encode", "DONE"]);
    assert!(screen.is_alternate());
    assert_eq!(place_of(&after, "/kind:encode"), place_of(&before, "/kind:encode"), "{after}");
    assert_eq!(after.lines().count(), 24, "{after}");

    // Now it is attached to the backend in the background, and is stopped from outside.
    signal(console, Signal::TSTP);
    shell_is_back(&place, &mut screen, console);
    // In the background there is no terminal to draw on, so it stops again.
    screen.keys("bg\r");
    screen.wait_for("[1] hostler");
    place.wait("it stopped again", || is_stopped(console));
    screen.keys("fg\r");
    screen.wait_line(&["encode", "DONE"]);
    screen.keys("q");
    screen.wait("the shell's prompt", at_the_prompt);
    screen.keys("exit\r");
    assert_eq!(screen.ended(), 0);
    screen.is_put_back();
}

/// Stopped with nothing to be done, a console keeps nobody from the state directory; and what is
/// done there meanwhile it shows when it comes back.
#[test]
fn a_stopped_console_is_in_nobodys_way() {
    let place = Sandbox::new();
    let mut screen = Screen::open_shell(&place, 80, 24);
    screen.keys("hostler\r");
    screen.wait_for("Nothing here yet");
    let console = place.hostlers()[0];
    screen.keys(CTRL_Z);
    shell_is_back(&place, &mut screen, console);
    assert!(place.backends().is_empty(), "nothing was in flight, so nothing stays");
    place.done("disk_create", &["name=meanwhile", "size_mb=1", "fstype=none"]);
    screen.keys("fg\r2");
    screen.wait_line(&["meanwhile", "free"]);
    // It has the state directory again, and serves it.
    place.wait("the console serves", || place.is_served());
    assert_eq!(place.list("disks")[0]["name"], "meanwhile");
    assert_eq!(place.hostlers(), [console]);

    // A shell that goes takes its jobs along.
    screen.keys(CTRL_Z);
    shell_is_back(&place, &mut screen, console);
    drop(screen);
    place.wait("it has gone", || place.hostlers().is_empty());
}

/// Where no shell could bring it back, Ctrl-Z says so instead of hanging for ever.
#[test]
fn ctrl_z_without_a_shell() {
    let place = Sandbox::new();
    let mut screen = Screen::open(&place, 80, 24, &[]);
    screen.wait_for("Nothing here yet");
    screen.keys(CTRL_Z);
    screen.wait_for("no shell started this console");
    assert!(screen.is_alternate());
    screen.keys("q");
    assert_eq!(screen.ended(), 0);
    screen.is_put_back();
}
