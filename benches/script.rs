//! What a script's command costs beside a backend that runs: from exec to exit.
//!
//! `cargo bench --bench script` runs the real program, each command in turns with `--version`,
//! which is the least it can do, and prints one line a figure with the limit beside it.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench that cannot measure ends, and what it measured goes to standard output"
)]

#[path = "../tests/support/hostler.rs"]
mod hostler;

use std::process::Stdio;
use std::time::Instant;

use hostler::Sandbox;

/// How often each command is run.
const TURNS: usize = 300;
/// What is measured, by its name in the report. The last two submit: they do hardly anything, and
/// each undoes what the other did.
const COMMANDS: [(&str, &[&str]); 4] = [
    ("--version", &["--version"]),
    ("list operations --limit 20", &["list", "operations", "--limit", "20"]),
    ("run, no tool", &["run", "task_disable", "task=1"]),
    ("run, no tool", &["run", "task_enable", "task=1"]),
];

fn main() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    let task = ["name=beat", "kind=disk_create", "params.name=x", "params.size_mb=16"];
    place.done("task_create", &task);
    let mut times = COMMANDS.map(|_| Vec::with_capacity(TURNS));
    for _ in 0..TURNS {
        for ((_, arguments), times) in COMMANDS.iter().zip(&mut times) {
            times.push(took(&place, arguments));
        }
    }
    let [version, list, disable, enable] = times;
    let [least, list, run] = [version, list, [disable, enable].concat()].map(median);
    println!("{:<28} {least:>6.2} ms median", COMMANDS[0].0);
    for ((name, _), time) in COMMANDS[1..].iter().zip([list, run]) {
        let ratio = time / least;
        println!(
            "{name:<28} {time:>6.2} ms median, {ratio:.2} of that (at most 3.5 where that is 2.3)"
        );
    }
}

/// Runs a command that must end well; returns how long it took, in milliseconds.
fn took(place: &Sandbox, arguments: &[&str]) -> f64 {
    let mut command = place.command();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let clock = Instant::now();
    let status = command.status().expect("hostler runs");
    let time = clock.elapsed().as_secs_f64() * 1e3;
    assert!(status.success(), "hostler {arguments:?} ended with {status}: {}", place.log());
    time
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
