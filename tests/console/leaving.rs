//! The screen goes and the work stays: a terminal that vanishes, a backend that dies, a person who
//! leaves.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::hostler::{Sandbox, alone, signal};
use super::screen::Screen;
use super::{form, media, send, shell, tab};

/// The screen may go, and the backend may die: guest and encoder go on, and are taken up again.
#[test]
fn the_work_outlives_screen_and_backend() {
    let _alone = alone();
    let mut place = Sandbox::new();
    let media = tempfile::tempdir().expect("a directory");
    let source = media::video(media.path(), "talk.mkv", 20, "640x360");
    let output = media.path().join("talk.mp4");

    // A console inside a tmux of its own, which is the terminal that will vanish.
    let tmux = Tmux::start(&place);
    place.wait("the console serves", || place.is_served());
    place.done("image_build", &["recipe=tiny"]);
    let password = place.secret("correct horse");
    place.done("vm_create", &["hostname=web-1", "os=tiny", &password]);
    let source = format!("source={}", source.display());
    let to = format!("output={}", output.display());
    place.ok(&["run", "encode", &source, "preset=mp4", &to]);
    let encode = place.newest("encode");
    place.wait("the encode is under way", || {
        let progress = place.operation(encode)["progress"]["fraction"].as_f64();
        progress.is_some_and(|fraction| fraction > 0.05)
    });
    let (guests, encoders) = (place.guests(), place.encoders());
    assert_eq!((guests.len(), encoders.len()), (1, 1));
    // Held, so that it is in the middle of its work however long the rest takes.
    signal(encoders[0], Signal::STOP);

    // The terminal vanishes: a backend in the background goes on, and consoles attach to it.
    drop(tmux);
    place.wait("a backend in the background", || place.backends().len() == 1 && place.is_served());
    let backend = place.backends()[0];
    assert_eq!((place.guests(), place.encoders()), (guests.clone(), encoders.clone()));
    let mut one = Screen::open(&place, 100, 30, &[]);
    one.wait_line(&["web-1", "running"]);
    one.wait_line(&["encode", "talk.mkv"]);
    let two = Screen::open(&place, 80, 24, &[]);
    two.wait_line(&["web-1", "running"]);
    assert_eq!(place.backends(), [backend], "they only attached");
    // What one asks for, the other sees.
    tab(&mut one, "Disks");
    form(&mut one, "n", "size mb");
    one.keys("data1\t8\tnone\r");
    send(&mut one);
    one.wait_line(&["data1", "free"]);
    let mut two = two;
    tab(&mut two, "Disks");
    two.wait_line(&["data1", "free"]);
    // The one that only attached leaves without a question.
    two.keys("q");
    assert_eq!(two.ended(), 0);
    two.is_put_back();

    // kill -9 in the middle of it all.
    signal(backend, Signal::KILL);
    one.wait_for("connection lost");
    place.wait("the backend is dead", || !place.is_served());
    assert_eq!((place.guests(), place.encoders()), (guests.clone(), encoders.clone()));
    place.serve(&[]);
    one.wait_gone("connection lost");
    tab(&mut one, "VMs");
    one.wait_line(&["web-1", "running"]);
    assert_eq!((place.guests(), place.encoders()), (guests.clone(), encoders.clone()));
    signal(encoders[0], Signal::CONT);
    tab(&mut one, "Encodings");
    one.wait_line(&["talk.mkv", "finished"]);
    assert_eq!(place.operation(encode)["state"], "DONE");
    let length = media::duration(&output);
    assert!((length - 20.0).abs() < 0.5, "{length}");
    assert_eq!(place.guests(), guests);
    // The guest answers as if nothing had happened.
    tab(&mut one, "VMs");
    one.keys("c");
    one.wait_for("serial console");
    one.wait_for("root@web-1:");
    shell(&mut one, "echo still-$((1+1))", "still-2");
}

/// A tmux server of its own, with a console in it. Dropped, it is killed and its terminal hangs up.
struct Tmux {
    name: String,
}

impl Tmux {
    fn start(place: &Sandbox) -> Self {
        let name = format!("hostler-{}", place.dir().file_name().expect("a name").display());
        // Its own environment is what the session gets.
        let from = place.command();
        let mut command = Command::new("tmux");
        for (key, value) in from.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let started = command
            .env_remove("TMUX")
            .args(["-L", &name, "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30"])
            .arg(format!("exec {}", env!("CARGO_BIN_EXE_hostler")))
            .status()
            .expect("tmux runs");
        assert!(started.success());
        Self { name }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let killed = Command::new("tmux")
            .args(["-L", &self.name, "kill-server"])
            .stderr(Stdio::null())
            .status();
        assert!(killed.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Leaving with work in flight asks what is to become of it.
#[test]
fn leaving_with_work_in_flight_asks() {
    let place = Sandbox::new();
    let mut screen = Screen::open(&place, 80, 24, &[]);
    screen.wait_for("Nothing here yet");
    place.ok(&["lane", "pause", "disk"]);
    place.ok(&["run", "disk_create", "name=later", "size_mb=1", "fstype=none"]);
    screen.wait_line(&["disk_create", "paused"]);
    screen.keys("q");
    screen.wait_for("1 waiting. What of them?");
    screen.keys("w");
    screen.wait_gone("What of them?");
    screen.keys("q");
    screen.wait_for("What of them?");
    let pid = screen.pid();
    screen.keys("b");
    assert_eq!(screen.ended(), 0);
    screen.is_put_back();
    let said: String = screen.text().lines().collect();
    assert!(said.contains("goes on in the background for 1 operation; `hostler"), "{said}");
    // A backend in the background has it now.
    assert!(place.is_served());
    assert!(!place.hostlers().contains(&pid));
    let uid = place.newest("disk_create");
    assert_eq!(place.operation(uid)["state"], "PENDING");
    place.ok(&["lane", "resume", "disk"]);
    place.ok(&["operation", "wait", &uid.to_string()]);
    assert_eq!(place.list("disks")[0]["name"], "later");
    place.ok(&["stop"]);
    place.wait("nothing of hostler runs", || place.hostlers().is_empty());
}

/// Who only looks leaves nobody behind who was not there.
#[test]
fn a_read_only_console_ends_the_backend_that_it_had_to_start() {
    let mut place = Sandbox::new();
    let task = ["run", "task_create", "name=t", "kind=disk_create", "params.name=a", "hour=3"];
    place.ok(&[&task[..], &["params.size_mb=2", "--wait"]].concat());
    place.ok(&["stop"]);
    place.wait("nothing of hostler runs", || place.hostlers().is_empty());

    let mut screen = Screen::open(&place, 100, 24, &["--read-only"]);
    screen.wait_for("no backend ran");
    screen.keys("q");
    assert_eq!(screen.ended(), 0);
    screen.is_put_back();
    let said: String = screen.text().lines().collect();
    assert!(said.contains("nobody looks after the box now"), "{said}");
    assert!(said.contains("to go on at the next start: 1 active task"), "{said}");
    assert!(place.hostlers().is_empty(), "{:?}", place.hostlers());

    // Nor does one that watches in a script; and the backend of somebody else it leaves alone.
    place.ok(&["--read-only", "operation", "wait", "1"]);
    assert!(place.hostlers().is_empty(), "{:?}", place.hostlers());
    place.serve(&[]);
    let mut screen = Screen::open(&place, 100, 24, &["--read-only"]);
    screen.wait_for("read-only");
    screen.keys("q");
    assert_eq!(screen.ended(), 0);
    assert!(place.is_served());
}
