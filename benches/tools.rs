//! What hostler costs on top of the tools it drives: the same commands by hand, in turns.
//!
//! `cargo bench --bench tools` prints one line a figure, with the limit beside it.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench that cannot measure ends, and what it measured goes to standard output"
)]

#[path = "../tests/support/hostler.rs"]
mod hostler;
#[path = "../tests/support/media.rs"]
mod media;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ::hostler::domain::{Backend, Event, Fact, State, Submit, Uid};
use ::hostler::wire::client::Client;
use futures_util::StreamExt;
use hostler::Sandbox;
use serde_json::json;

fn main() {
    vm_create();
    encode();
}

/// Submits and waits for the end; gives the number, and the seconds until it was told what is
/// waited for.
fn timed(
    place: &Sandbox,
    kind: &str,
    params: &serde_json::Value,
    reached: impl Fn(&Fact) -> bool,
) -> (Uid, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = Client::connect(&place.dir().join("hostler.sock")).await.expect("attached");
        let mut events = client.subscribe();
        // The stream says so when it is open.
        while !matches!(events.next().await, Some(Event { fact: Fact::Missed, .. })) {}
        let params = params.as_object().expect("an object").clone();
        let clock = Instant::now();
        let submit = Submit { kind: kind.into(), params, ..Submit::default() };
        let uid = client.submit(submit).await.expect("accepted").uid;
        let mut took = None;
        loop {
            let fact = events.next().await.expect("an event").fact;
            if took.is_none() && reached(&fact) {
                took = Some(clock.elapsed().as_secs_f64());
            }
            let Fact::Operation(operation) = fact else { continue };
            if operation.uid == uid
                && operation.state != State::Pending
                && operation.state != State::Run
            {
                assert_eq!(operation.state, State::Done, "{:?}", operation.comment);
                return (uid, took.expect("told on the way"));
            }
        }
    })
}

/// The commands an operation ran, as the console shows them.
fn commands(place: &Sandbox, uid: Uid) -> Vec<String> {
    let detail = place.json(&["show", &format!("operation/{}", uid.0)]);
    let steps = detail["steps"].as_array().expect("steps");
    steps
        .iter()
        .flat_map(|step| step["commands"].as_array().expect("commands"))
        .map(|command| command["line"].as_str().expect("a line").to_owned())
        .collect()
}

/// `vm_create` to a running QEMU, beside the same commands by hand.
fn vm_create() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    place.done("image_build", &["recipe=tiny"]);
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for turn in 0..15 {
        let params = json!({
            "hostname": format!("web-{turn}"), "os": "tiny", "password": "correct horse",
        });
        let runs = |fact: &Fact| matches!(fact, Fact::Resource(it) if it.state() == "running");
        let (uid, took) = timed(&place, "vm_create", &params, runs);
        ours.push(took);
        let mut lines: Vec<String> =
            commands(&place, uid).into_iter().filter(|line| line.starts_with("qemu")).collect();
        let vms = place.list("vms");
        let id = vms[0]["id"].as_u64().expect("a number");
        let dir = place.dir().join("vms").join(id.to_string());
        let seed: Vec<_> = files(&dir).into_iter().filter(|file| file.contains("seed")).collect();
        let kept: Vec<_> =
            seed.iter().map(|file| (file.clone(), std::fs::read(file).expect("a seed"))).collect();
        let vm = format!("vm={id}");
        place.done("vm_stop", &[&vm, "force=yes"]);
        place.done("vm_delete", &[&vm]);
        std::fs::create_dir_all(&dir).expect("its folder");
        for (file, bytes) in kept {
            std::fs::write(file, bytes).expect("its seed");
        }
        // By hand one writes in place, not beside.
        let partial = format!("{}/.root.qcow2.partial-", dir.display());
        for line in &mut lines {
            if let Some((before, after)) = line.split_once(&partial) {
                let rest = after.split_once("/qcow2").expect("the partial file").1;
                *line = format!("{before}{}/root.qcow2{rest}", dir.display());
            }
        }
        let clock = Instant::now();
        for line in &lines {
            let status = Command::new("sh").arg("-c").arg(line).current_dir(&dir).status();
            assert!(status.expect("sh runs").success(), "{line}");
        }
        by_hand.push(clock.elapsed().as_secs_f64());
        for pid in place.guests() {
            let pid = rustix::process::Pid::from_raw(pid.try_into().expect("a pid"));
            let pid = pid.expect("a process");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        }
        std::fs::remove_dir_all(&dir).expect("gone");
    }
    let (ours, by_hand) = (median(ours), median(by_hand));
    println!("vm_create to a running QEMU:  {:>7.1} ms", ours * 1e3);
    println!("the same commands by hand:    {:>7.1} ms", by_hand * 1e3);
    println!("ratio:                        {:>7.2}    (at most 1.1)", ours / by_hand);
}

/// `encode`, beside the bare ffmpeg command it shows: a minute of video, in turns, each first in
/// every other one.
fn encode() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    let folder = tempfile::tempdir().expect("a directory");
    let source = media::video(folder.path(), "source.mkv", 60, "1280x720");
    let run = |name: &str| {
        let output = folder.path().join(name);
        let params = json!({ "source": source, "preset": "mp4", "output": output });
        let done = |fact: &Fact| matches!(fact, Fact::Operation(it) if it.state == State::Done);
        timed(&place, "encode", &params, done)
    };
    // The first one shows the command, and warms the caches for both.
    let (uid, _) = run("first.mp4");
    let lines = commands(&place, uid);
    let line = lines.iter().find(|line| line.starts_with("ffmpeg ")).expect("an ffmpeg command");
    let id = place.list("encodings").len();
    std::fs::create_dir_all(place.dir().join("encodings").join(id.to_string())).expect("a folder");
    let by_hand = || {
        let clock = Instant::now();
        let output = Command::new("sh").arg("-c").arg(line).current_dir(folder.path()).output();
        let output = output.expect("sh runs");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        clock.elapsed().as_secs_f64()
    };
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for turn in 0..4 {
        if turn % 2 == 0 {
            bare.push(by_hand());
        }
        ours.push(run(&format!("{turn}.mp4")).1);
        if turn % 2 == 1 {
            bare.push(by_hand());
        }
    }
    // As many as these are no crowd: what disturbs makes slower, so the fastest of each is the
    // truest.
    let fastest = |values: Vec<f64>| values.into_iter().fold(f64::INFINITY, f64::min);
    let (ours, bare) = (fastest(ours), fastest(bare));
    println!("encode of a minute:           {ours:>7.2} s");
    println!("the bare ffmpeg command:      {bare:>7.2} s");
    println!("over it by:                   {:>7.2} %  (at most 1)", (ours / bare - 1.0) * 100.0);
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a folder").flatten();
    entries.map(|entry| entry.path().to_string_lossy().into_owned()).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
