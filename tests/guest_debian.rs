//! A whole Debian: built from the distribution's own packages, created with a host name, a user and
//! a password, and logged into with them over its serial console.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "support/hostler.rs"]
mod hostler;
#[path = "support/screen.rs"]
mod screen;

use hostler::Sandbox;
use screen::{Screen, line};

const PASSWORD: &str = "correct-horse-9";

/// Answers the guest's questions for a name and a password.
fn log_in(screen: &mut Screen, name: &str, password: &str) {
    let asked = |text: &str| text.matches("Password:").count();
    let before = asked(&screen.text());
    screen.keys(&format!("{name}\r"));
    // What is typed before it asks is shown, and is no password.
    screen.wait_longer("the question for a password", |text| asked(text) > before);
    screen.keys(&format!("{password}\r"));
}

#[test]
fn the_user_and_password_asked_for_log_in() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.done("image_build", &["recipe=debian", "name=debian"]);
    let image = place.list("images")[0].clone();
    assert_eq!(image["state"], "ready");
    let password = place.secret(PASSWORD);
    place.done(
        "vm_create",
        &["hostname=web-7", "os=debian", "login=olga", "shares=4", "cpu=2", &password],
    );
    let vm = place.json(&["show", "vm/1"]);
    assert_eq!((&vm["memory_mib"], &vm["cpu"]), (&1024.into(), &2.into()), "{vm:#}");

    let mut screen = Screen::open(&place, 100, 50, &["serial", "vm/1"]);
    screen.wait_longer("the guest asks who it is", |text| line(text, &["web-7 login:"]));
    // cloud-init makes the user and sets the password; it says on this line when it is through.
    screen.wait_longer("cloud-init is through", |_| {
        let log = std::fs::read_to_string(place.dir().join("vms/1/serial.log"));
        log.is_ok_and(|log| log.contains("Cloud-init") && log.contains("finished at"))
    });
    screen.keys("\r");
    screen.wait_for("login:");

    // Not with another password.
    log_in(&mut screen, "olga", "wrong-horse-9");
    screen.wait_longer("it is refused", |text| text.contains("Login incorrect"));
    screen.wait("it asks again", |text| {
        text.split("Login incorrect").last().is_some_and(|rest| rest.contains("login:"))
    });
    // With the one asked for.
    log_in(&mut screen, "olga", PASSWORD);
    screen.wait_longer("a shell", |text| line(text, &["olga@web-7"]));
    screen.keys("clear; echo I-am-$(id -un)-on-$(hostname)-with-$(nproc)\r");
    screen.wait_longer("the host name", |text| text.contains("I-am-olga-on-web-7-with-2"));
    screen.keys("clear; echo $(($(grep MemTotal /proc/meminfo | tr -dc 0-9) / 1024))-MiB\r");
    let text = screen.wait_longer("its memory", |text| {
        text.lines()
            .any(|line| line.starts_with(|c: char| c.is_ascii_digit()) && line.contains("-MiB"))
    });
    let memory = text.lines().find_map(|line| line.split_once("-MiB")?.0.parse::<u64>().ok());
    assert!(memory.is_some_and(|mib| (850..=1024).contains(&mib)), "{memory:?}\n{text}");
    screen.keys("\x1d");
    assert_eq!(screen.ended(), 0);
    screen.is_put_back();

    // Its power button shuts it down.
    place.done("vm_stop", &["vm=1", "timeout_s=600"]);
    assert_eq!(place.json(&["show", "vm/1"])["state"], "halted");
    assert!(place.guests().is_empty());
}
