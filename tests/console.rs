//! The console as an operator has it: in a terminal, driven by its own keys, with real tools
//! underneath.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "support/hostler.rs"]
mod hostler;
#[path = "console/leaving.rs"]
mod leaving;
#[path = "support/media.rs"]
mod media;
#[path = "support/screen.rs"]
mod screen;

use std::path::Path;

use hostler::{Sandbox, alone};
use screen::{Screen, line, tab_key};

const ESCAPE: &str = "\x1b";
const ENTER: &str = "\r";
const CTRL_C: &str = "\x03";
const LEAVE_SERIAL: &str = "\x1d";

/// Opens a tab and waits until it is open: its title stands in the frame around its list.
fn tab(screen: &mut Screen, title: &str) {
    screen.keys(&tab_key(title));
    screen.wait(title, |text| {
        text.lines().nth(2).is_some_and(|line| line.contains(&format!(" {title} ")))
    });
}

/// Opens a form from a list and waits until it is there.
fn form(screen: &mut Screen, key: &str, field: &str) {
    screen.keys(key);
    screen.wait_line(&[field]);
    screen.wait_for("cancel");
}

/// Sends the form in front and waits until it has gone.
fn send(screen: &mut Screen) {
    screen.keys(ENTER);
    screen.wait("the form to be sent", |text| !line(text, &["enter submit"]));
}

/// The first thing on the screen that looks like a UUID.
fn uuid(text: &str) -> Option<String> {
    let is_uuid =
        |word: &&str| word.len() == 36 && word.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
    text.split(|c: char| c.is_whitespace() || c == '│').find(is_uuid).map(str::to_owned)
}

/// Types a command into the guest's shell and waits for what must come of it.
fn shell(screen: &mut Screen, command: &str, answer: &str) -> String {
    screen.keys(command);
    screen.keys(ENTER);
    screen.wait_for(answer)
}

/// What the guest calls this boot.
fn boot_id(screen: &mut Screen) -> String {
    screen.keys("clear; cat /proc/sys/kernel/random/boot_id\r");
    uuid(&screen.wait("a boot id", |text| uuid(text).is_some())).expect("a boot id")
}

/// Everything an operator does on a first day, from the empty screen to an empty box.
#[test]
fn a_day_at_the_console() {
    let _alone = alone();
    let place = Sandbox::new();
    let media = tempfile::tempdir().expect("a directory");
    let mut screen = Screen::open(&place, 80, 24, &[]);

    // An empty box says what can be done and where to begin.
    screen.wait_for("Nothing here yet");
    screen.wait_for("build an OS image here");

    make_an_image_and_a_task(&mut screen);
    make_a_vm(&mut screen, &place);
    reboot(&mut screen, &place);
    plug_a_disk_in_and_out(&mut screen);
    stop(&mut screen, &place);
    encode_a_video(&mut screen, media.path());

    // By now, or within its minute, the task has fired by itself.
    tab(&mut screen, "Disks");
    screen.keys(ESCAPE);
    screen.wait_gone("/data1");
    screen.wait_line(&["tick", "free"]);
    let made = place.list("operations");
    let made = made.iter().find(|operation| operation["resource_name"] == "tick").expect("it");
    assert_eq!(made["actor"], "task/1", "{made:#}");

    // With nothing in flight, leaving asks nothing and leaves nothing.
    tab(&mut screen, "Tasks");
    screen.keys("e");
    screen.wait_line(&["every-minute", "inactive"]);
    screen.wait_for("nothing");
    screen.keys("q");
    assert_eq!(screen.ended(), 0);
    screen.is_put_back();
    assert!(place.hostlers().is_empty(), "{:?}", place.hostlers());
    assert!(!place.log().contains("correct horse"));
}

/// The first image, and a task that fires every minute.
fn make_an_image_and_a_task(screen: &mut Screen) {
    // An image.
    tab(screen, "Images");
    form(screen, "n", "recipe");
    screen.wait_line(&["recipe", "tiny"]);
    send(screen);
    screen.wait_line(&["tiny", "ready"]);

    // A task for every minute; that it fires is seen further down, in its own time.
    tab(screen, "Tasks");
    form(screen, "n", "kind");
    screen.keys("every-minute\tdisk_create");
    screen.wait_for("disk_create");
    screen.keys(ENTER);
    screen.wait_for("size mb");
    screen.keys("\ttick\t4\tnone\r\t\x15*");
    screen.wait_for("Fires next on");
    send(screen);
    screen.wait_line(&["every-minute", "active"]);
}

/// A VM, with nothing given but a name and a password.
fn make_a_vm(screen: &mut Screen, place: &Sandbox) {
    // A virtual machine, with nothing typed but a name and a password.
    tab(screen, "VMs");
    form(screen, "n", "hostname");
    screen.wait_line(&["os", "tiny"]);
    screen.keys("web-1\tcorrect horse");
    let typed = screen.wait_for("MiB of memory");
    assert!(!typed.contains("correct"), "the password is masked");
    send(screen);
    screen.wait_line(&["web-1", "running"]);
    assert_eq!(place.guests().len(), 1);
}

/// Its serial console, before and after a reboot.
fn reboot(screen: &mut Screen, place: &Sandbox) {
    // Its serial console.
    screen.keys("c");
    screen.wait_for("serial console");
    screen.wait_for("root@web-1:");
    shell(screen, "echo it-is-$((6*7)); touch /tmp/mark", "it-is-42");
    let first = boot_id(screen);
    screen.keys(LEAVE_SERIAL);
    screen.wait_gone("serial console");

    // A reboot asks first, and the safe answer is preselected.
    screen.keys("r");
    screen.wait_for("Reboot web-1?");
    screen.keys(ENTER);
    screen.wait_gone("Reboot web-1?");
    screen.keys("r");
    screen.wait_for("Reboot web-1?");
    screen.keys("y");
    tab(screen, "Operations");
    screen.wait_line(&["vm_reboot", "web-1", "DONE"]);
    let log = place.dir().join("vms/1/serial.log");
    place.wait("the guest is up again", || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.matches("web-1 tiny").count() == 2)
    });
    tab(screen, "VMs");
    screen.keys("c");
    screen.wait_for("serial console");
    shell(screen, "clear; test -e /tmp/mark || echo fresh-$((1+1))", "fresh-2");
    assert_ne!(boot_id(screen), first);
    screen.keys(LEAVE_SERIAL);
    screen.wait_gone("serial console");
}

/// A disk in the running guest.
fn plug_a_disk_in_and_out(screen: &mut Screen) {
    // A disk, plugged in while the guest runs.
    tab(screen, "Disks");
    form(screen, "n", "size mb");
    screen.keys("data1\t32");
    send(screen);
    screen.wait_line(&["data1", "free"]);
    screen.keys("/data1\r");
    form(screen, "a", "vm");
    screen.wait_line(&["vm", "web-1"]);
    send(screen);
    screen.wait_line(&["data1", "attached"]);
    tab(screen, "VMs");
    screen.keys("c");
    screen.wait_for("serial console");
    let inside = "until d=$(findfs LABEL=data1); do :; done 2>/dev/null; \
                  mount -t ext4 $d /mnt && echo kept >/mnt/file && sync; \
                  cat /mnt/file; umount /mnt && echo on-${d%?}-$((1+1))";
    shell(screen, inside, "on-/dev/sd-2");
    screen.wait_for("kept");
    screen.keys(LEAVE_SERIAL);
    screen.wait_gone("serial console");

    // And unplugged again.
    tab(screen, "Disks");
    screen.keys("d");
    screen.wait_for("Detach data1 from web-1?");
    screen.keys("y");
    screen.wait_line(&["data1", "free"]);
    tab(screen, "VMs");
    screen.keys("c");
    screen.wait_for("serial console");
    shell(screen, "clear; findfs LABEL=data1 || echo gone-$((1+1))", "gone-2");
    screen.keys(LEAVE_SERIAL);
    screen.wait_gone("serial console");
}

/// The end of the guest.
fn stop(screen: &mut Screen, place: &Sandbox) {
    // Shut down by its power button.
    screen.keys("S");
    screen.wait_for("Stop web-1?");
    screen.keys("y");
    screen.wait_line(&["web-1", "halted"]);
    assert!(place.guests().is_empty(), "no QEMU is left");
}

/// An encoding, and what can be read of it.
fn encode_a_video(screen: &mut Screen, media: &Path) {
    // A video.
    tab(screen, "Encodings");
    form(screen, "n", "source");
    let source = media::video(media, "talk.mkv", 3, "320x240");
    let output = media.join("talk.webm");
    screen.keys(&format!("{}\twebm", source.display()));
    screen.wait_for("WebM: VP9");
    screen.keys(&format!("\r\t{}", output.display()));
    screen.wait_for("libvpx-vp9");
    send(screen);
    screen.wait_line(&["talk.mkv", "finished"]);
    let length = media::duration(&output);
    assert!((length - 3.0).abs() < 0.5, "{length}");

    // What ran for it can be read.
    tab(screen, "Operations");
    screen.keys("/kind:encode\r");
    screen.wait_line(&["encode", "DONE"]);
    screen.keys(ENTER);
    screen.wait_for("probe");
    screen.wait_for("ffprobe");
    screen.keys(ESCAPE);
    screen.wait_gone("ffprobe");
    screen.keys(ESCAPE);
    screen.wait_gone("/kind:encode");
}

/// A backend with three blank disks.
fn three_disks() -> Sandbox {
    let mut place = Sandbox::new();
    place.serve(&[]);
    for name in ["alpha", "beta", "gamma"] {
        place.done("disk_create", &[&format!("name={name}"), "size_mb=1", "fstype=none"]);
    }
    place
}

#[test]
fn filter_marks_palette_and_help() {
    let place = three_disks();
    let mut screen = Screen::open(&place, 100, 30, &[]);
    tab(&mut screen, "Disks");
    screen.wait_line(&["gamma", "free"]);

    // A filter, as it is typed; escape takes it back.
    screen.keys("/name~mm");
    screen.wait("only gamma", |text| {
        line(text, &["gamma", "free"]) && !line(text, &["alpha", "free"])
    });
    screen.keys(ENTER);
    screen.wait_for("/name~mm");
    screen.keys(ESCAPE);
    screen.wait_line(&["alpha", "free"]);
    // A column there is not is named.
    screen.keys("/colour:red");
    screen.wait_for("no column 'colour'");
    screen.keys(CTRL_C);
    screen.wait_line(&["alpha", "free"]);

    // Sorting, and the choice is remembered by the next console.
    screen.keys("o");
    screen.wait_for("Sort by");
    screen.keys(ENTER);
    screen.wait_gone("Sort by");

    // Marks make one question of three, and the answer must be typed.
    screen.keys("*");
    screen.wait_for("3 marked");
    screen.keys("X");
    screen.wait_for("Delete these 3?");
    screen.keys("2\r");
    screen.keys("\x7f3");
    screen.wait_for("type 3, the number of disks: 3");
    screen.keys(ENTER);
    screen.wait("all three in the trash", |text| {
        ["alpha", "beta", "gamma"].iter().all(|name| line(text, &[name, "trashed"]))
    });

    // The palette finds what there is and what can be done.
    screen.keys(":");
    screen.wait_for("choose");
    screen.keys("doctor");
    screen.wait_line(&["doctor", "D"]);
    screen.keys(ENTER);
    screen.wait_for("accelerator");
    screen.wait_for("ffmpeg");
    screen.keys(ESCAPE);
    screen.wait_gone("accelerator");
    screen.keys(":");
    screen.wait_for("choose");
    screen.keys("beta");
    screen.wait_line(&["beta disk/2", "trashed"]);
    screen.keys(ESCAPE);
    screen.wait_gone("beta disk/2");

    // The help knows every key, and searches.
    screen.keys("?");
    screen.wait_for("type to search");
    screen.keys("serial");
    screen.wait_line(&["ctrl-]", "Leave the serial console"]);
    screen.keys(ESCAPE);
    screen.wait_gone("Help");
    screen.keys("q");
    assert_eq!(screen.ended(), 0);
    screen.is_put_back();
}

/// It fits every terminal, and follows when the terminal changes.
#[test]
fn every_size_of_terminal() {
    let place = three_disks();
    for (columns, rows) in [(80, 24), (40, 10), (200, 50)] {
        let mut screen = Screen::open(&place, columns, rows, &[]);
        tab(&mut screen, "Disks");
        let text = screen.wait_line(&["gamma", "free"]);
        let wide = text.lines().map(|line| line.trim_end().chars().count()).max();
        assert_eq!(wide, Some(usize::from(columns)), "the frame fills the width:\n{text}");
        assert_eq!(text.lines().count(), usize::from(rows), "and the height:\n{text}");
        screen.keys("q");
        assert_eq!(screen.ended(), 0);
    }
    let mut screen = Screen::open(&place, 80, 24, &[]);
    tab(&mut screen, "Disks");
    screen.wait_line(&["gamma", "free"]);
    screen.resize(120, 40);
    screen.wait("the wider frame", |text| {
        text.lines().nth(2).is_some_and(|line| line.trim_end().chars().count() == 120)
    });
    screen.wait_line(&["gamma", "free"]);
    screen.resize(30, 8);
    screen.wait_for("hostler needs 40");
    screen.resize(80, 24);
    screen.wait_line(&["gamma", "free"]);
}

/// Without colours nothing is lost, and where only ASCII can be drawn only ASCII is.
#[test]
fn no_colour_and_ascii() {
    let place = three_disks();
    let coloured = |text: &str| {
        text.split("\x1b[").skip(1).any(|escape| {
            let Some((codes, _)) = escape.split_once('m') else { return false };
            codes.split(';').any(|code| matches!(code.parse(), Ok(30..=38 | 40..=48 | 90..=107)))
        })
    };
    let mut screen = Screen::open(&place, 80, 24, &[]);
    tab(&mut screen, "Disks");
    screen.wait_line(&["gamma", "free"]);
    assert!(coloured(&screen.formatted()), "with colours");
    assert!(!screen.text().is_ascii());

    let mut screen = Screen::open_with(&place, 80, 24, &[], &[("NO_COLOR", "1")]);
    tab(&mut screen, "Disks");
    screen.wait_line(&["gamma", "free"]);
    assert!(!coloured(&screen.formatted()), "{:?}", screen.formatted());

    let plain = [("LC_ALL", "C"), ("LANG", "C")];
    let mut screen = Screen::open_with(&place, 80, 24, &[], &plain);
    tab(&mut screen, "Disks");
    let text = screen.wait_line(&["gamma", "free"]);
    assert!(text.is_ascii(), "{text}");
    screen.keys("?");
    let text = screen.wait_for("Help");
    assert!(text.is_ascii(), "{text}");
}

/// Read-only shows everything and asks for nothing.
#[test]
fn read_only_refuses() {
    let place = three_disks();
    let before = place.list("operations").len();
    let mut screen = Screen::open(&place, 100, 30, &["--read-only"]);
    tab(&mut screen, "Disks");
    screen.wait_line(&["gamma", "free"]);
    assert!(screen.text().contains("read-only"), "the header says so");
    for key in ["n", "X", "a"] {
        screen.keys(key);
        screen.wait_for("nothing can be asked for");
        // Redrawn, so that the next refusal is seen to be the next one's.
        screen.keys(ESCAPE);
        screen.wait_gone("nothing can be asked for");
    }
    screen.keys("q");
    assert_eq!(screen.ended(), 0);
    assert_eq!(place.list("operations").len(), before);
}

/// A tool that is missing keeps nobody out: the first screen says which, and how to get it.
#[test]
fn a_missing_tool_is_told_on_the_first_screen() {
    let place = Sandbox::new();
    let tools = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir("/usr/bin").expect("programs").flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with("ff") {
            std::os::unix::fs::symlink(entry.path(), tools.path().join(name)).expect("a link");
        }
    }
    let path = tools.path().to_string_lossy().into_owned();
    let mut screen = Screen::open_with(&place, 80, 24, &[], &[("PATH", &path)]);
    screen.wait_line(&["Missing on this box", "ffmpeg"]);
    screen.wait_for("apt-get install -y ffmpeg");
    screen.keys("D");
    screen.wait_line(&["ffmpeg", "missing"]);
    screen.keys("qq");
    assert_eq!(screen.ended(), 0);
}
