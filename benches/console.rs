//! What the console costs: first frame, key to frame, bytes and processor time at rest, memory.
//!
//! `cargo bench --bench console` runs the real program in a pseudo-terminal over a store with a
//! million operations and prints one line a figure, with the limit beside it.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench that cannot measure ends, and what it measured goes to standard output"
)]

#[path = "../tests/support/hostler.rs"]
mod hostler;
#[path = "../tests/support/media.rs"]
mod media;
#[path = "../tests/support/screen.rs"]
mod screen;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::hostler::domain::{Backend, Submit};
use ::hostler::wire::client::Client;
use futures_util::StreamExt;
use hostler::Sandbox;
use screen::Screen;

/// Operations in the store.
const STORED_OPERATIONS: u64 = 1_000_000;
/// Says that this program is to be the least that has a screen.
const LEAST: &str = "least";
/// Events told a second while keys are measured.
const EVENTS_PER_SECOND: u64 = 1_000;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(LEAST) {
        return least();
    }
    let place = million();
    first_frame(&place);
    at_rest(&place);
    keys(place);
    ten_in_flight();
}

/// A state directory with a million operations that are done.
fn million() -> Sandbox {
    let place = Sandbox::new();
    // Nothing that only looks makes a store.
    place.ok(&["run", "disk_create", "name=first", "size_mb=1", "fstype=none", "--wait"]);
    let connection = rusqlite::Connection::open(place.dir().join("hostler.db")).expect("the store");
    let insert = format!(
        "WITH RECURSIVE n(uid) AS \
         (SELECT 2 UNION ALL SELECT uid + 1 FROM n WHERE uid < {STORED_OPERATIONS}) \
         INSERT INTO operation (uid, kind, state, params, resource, resource_name, actor, \
         priority, attempt, cancelling, created, started, finished, updated) \
         SELECT uid, 'vm_reboot', 2, '{{\"vm\":3}}', 'vm/3', 'web-3', 'console:root', 0, 0, 0, \
         1700000000000 + uid, 1700000000000 + uid, 1700000000000 + uid, 1700000000000 + uid \
         FROM n"
    );
    connection.execute_batch(&insert).expect("a million operations");
    place
}

/// The least that has a screen: takes the terminal, draws one frame, and gives the terminal back at
/// the first key.
fn least() {
    let mut terminal = ratatui::init();
    let drawn = terminal.draw(|frame| frame.render_widget("Operations", frame.area()));
    let drawn = drawn.map(|_| crossterm::event::read());
    ratatui::restore();
    let _: crossterm::event::Event = drawn.expect("a frame").expect("a key");
}

/// From exec to the first frame, in turns with the least that has one.
fn first_frame(place: &Sandbox) {
    let (mut ours, mut leasts) = (Vec::new(), Vec::new());
    let this = std::env::current_exe().expect("this program");
    for _ in 0..21 {
        ours.push(to_first_frame(|| Screen::open(place, 200, 50, &[])));
        let program = [this.to_str().expect("its path"), LEAST];
        leasts.push(to_first_frame(|| Screen::open_other(place, 200, 50, &program)));
    }
    let [least, _] = median_and_worst(leasts);
    let [ours, worst] = median_and_worst(ours);
    println!("first frame of an empty program:{least:>8.1} ms median");
    println!(
        "first frame, {STORED_OPERATIONS} operations: {ours:>7.1} ms median, {worst:.1} ms worst \
         (at most 12 where that is 5)"
    );
}

/// How long it takes until the first frame stands, in milliseconds.
fn to_first_frame(open: impl FnOnce() -> Screen) -> f64 {
    let clock = Instant::now();
    let mut screen = open();
    screen.wait_for("Operations");
    let time = clock.elapsed().as_secs_f64() * 1e3;
    quit(&mut screen);
    time
}

fn median_and_worst(mut times: Vec<f64>) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[times.len() - 1]]
}

/// Nothing happens: nothing may be written, hardly anything may be done.
fn at_rest(place: &Sandbox) {
    let mut screen = Screen::open(place, 120, 40, &[]);
    screen.wait_for("Operations");
    screen.keys("5");
    screen.wait_for("vm_reboot");
    // Probes and the first samples come in; rest begins when nothing was written for a while.
    let mut seen = screen.bytes();
    let mut quiet = Instant::now();
    while quiet.elapsed() < Duration::from_secs(8) {
        std::thread::sleep(Duration::from_millis(100));
        if screen.bytes() != seen {
            seen = screen.bytes();
            quiet = Instant::now();
        }
    }
    let (before, clock) = (busy(screen.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(30));
    let share = (busy(screen.pid()) - before) / clock.elapsed().as_secs_f64() * 100.0;
    println!("bytes written in 30 s at rest:  {:>8}    (0)", screen.bytes() - seen);
    println!("processor time at rest:         {share:>8.2} %  (under 0.1)");
    println!("resident memory:                {:>8.1} MiB (at most 18)", resident(screen.pid()));
    quit(&mut screen);
}

/// A key to its frame while events come in.
fn keys(mut place: Sandbox) {
    place.serve(&[]);
    let task = "task_create";
    place.done(task, &["name=beat", "kind=disk_create", "params.name=x", "params.size_mb=16"]);
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::new(AtomicU64::new(0));
    let flood = {
        let (stop, told, socket) = (stop.clone(), told.clone(), place.dir().join("hostler.sock"));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let client = Client::connect(&socket).await.expect("attached");
                let mut events = client.subscribe();
                let begun = Instant::now();
                let mut turn = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    // As many as are due by now, so that the rate holds whatever one costs.
                    let due = (begun.elapsed().as_secs_f64() * EVENTS_PER_SECOND as f64) as u64;
                    if told.load(Ordering::Relaxed) < due {
                        turn += 1;
                        let kind =
                            if turn.is_multiple_of(2) { "task_enable" } else { "task_disable" };
                        let params = serde_json::json!({ "task": 1 });
                        let params = params.as_object().expect("an object").clone();
                        let submit = Submit { kind: kind.into(), params, ..Submit::default() };
                        client.submit(submit).await.expect("accepted");
                    }
                    while let Ok(Some(_)) =
                        tokio::time::timeout(Duration::from_micros(200), events.next()).await
                    {
                        told.fetch_add(1, Ordering::Relaxed);
                    }
                }
                told.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
            })
        })
    };
    let mut screen = Screen::open(&place, 120, 40, &[]);
    screen.wait_for("Operations");
    let mut times = Vec::new();
    for _ in 0..150 {
        for (key, wanted) in [("?", true), ("\x1b", false)] {
            let clock = Instant::now();
            screen.keys(key);
            screen.wait("the help", |text| text.contains("Help") == wanted);
            if wanted {
                times.push(clock.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let rate = flood.join().expect("the flood");
    times.sort_by(f64::total_cmp);
    println!(
        "key to frame at {rate:.0} events/s:    {:>8.2} ms median, {:.2} ms p99 (at most 5)",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
    println!("resident memory, attached:      {:>8.1} MiB (at most 18)", resident(screen.pid()));
    quit(&mut screen);
}

/// Ten encodings at once at 120×40.
fn ten_in_flight() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    let folder = tempfile::tempdir().expect("a directory");
    let source = media::video(folder.path(), "source.mkv", 600, "640x360");
    place.ok(&["lane", "width", "encode", "10"]);
    for number in 0..10 {
        let source = format!("source={}", source.display());
        let output = format!("output={}/{number}.webm", folder.path().display());
        place.ok(&["run", "encode", &source, "preset=webm", &output]);
    }
    let mut screen = Screen::open(&place, 120, 40, &[]);
    screen.wait_for("encode");
    std::thread::sleep(Duration::from_secs(5));
    let (before, clock) = (screen.bytes(), Instant::now());
    std::thread::sleep(Duration::from_secs(20));
    let rate = (screen.bytes() - before) as f64 / clock.elapsed().as_secs_f64();
    println!("ten encodings in flight, 120x40: {rate:>7.0} B/s (under 1500)");
    quit(&mut screen);
}

fn quit(screen: &mut Screen) {
    screen.keys("q");
    screen.ended();
}

/// Processor time a process has used, in seconds.
fn busy(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: f64 =
        fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// Memory a process has resident, in MiB.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kib: f64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib / 1024.0
}
