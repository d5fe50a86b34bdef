//! Chaos: a mixed load over every kind through the real program and its socket, while owners and
//! tools are killed, stopped, ended and replaced, tools fail, hang or are missing, and the disk is
//! full. At the end everything is put right and at rest, and nothing may be lost, done twice or
//! left over.
//!
//! `make test` runs a short form; `make chaos SEED=7 KILLS=1000` runs as much as is wanted. The
//! seed makes the same dice fall again; when each falls is up to the machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "chaos/arena.rs"]
mod arena;
#[path = "chaos/dice.rs"]
mod dice;
#[path = "support/kinds.rs"]
mod kinds;
#[path = "chaos/load.rs"]
mod load;
#[path = "support/media.rs"]
mod media;
#[path = "support/publisher.rs"]
mod publisher;
#[path = "chaos/tools.rs"]
mod tools;
#[path = "chaos/trouble.rs"]
mod trouble;
#[path = "chaos/verdict.rs"]
mod verdict;
#[path = "chaos/watcher.rs"]
mod watcher;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hostler::domain::{
    Backend, BackendExt, Control, LaneChange, Operation, State, Submit, question,
};
use hostler::wire::client::Client;
use rustix::process::Signal;

use arena::{Arena, signal};
use dice::Dice;
use kinds::{Thing, Things};
use load::{Ledger, LoadGenerator, RequestOutcome, Sources};
use trouble::TroubleMaker;
use verdict::Rest;
use watcher::Watcher;

/// What the short form uses.
const SEED: u64 = 7;
const KILLS: u64 = 20;
/// How long everything may take to come to rest. Far more than it does.
const REST: Duration = Duration::from_secs(300);

#[test]
fn nothing_is_lost_or_done_twice_or_left_over() {
    let told = |name: &str, usual| match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().expect("a number"),
        _ => usual,
    };
    let (seed, kills) = (told("HOSTLER_CHAOS_SEED", SEED), told("HOSTLER_CHAOS_KILLS", KILLS));
    eprintln!("chaos: SEED={seed} KILLS={kills}");
    let things = Things::new();
    let mut arena = Arena::new();
    let sources = Sources {
        videos: vec![
            media::video(&arena.media(), "clip-short.mkv", 1, "64x48"),
            media::video(&arena.media(), "clip-long.mkv", 6, "320x240"),
        ],
        disk: things.value(Thing::DiskImage).as_str().expect("a path").into(),
        url: things.value(Thing::Published).as_str().expect("a URL").to_owned(),
        outputs: arena.media(),
    };
    arena.start();
    arena.served(false);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let client = Arc::new(runtime.block_on(Client::connect(&arena.socket())).expect("a client"));
    let mut watcher = Watcher::start(&arena);
    let (ledger, stop) =
        (Arc::new(Mutex::new(Ledger::default())), Arc::new(AtomicBool::new(false)));
    let load = LoadGenerator {
        dice: Dice::new(seed, 1),
        client: client.clone(),
        sources,
        ledger: ledger.clone(),
        stop: stop.clone(),
        catalogue: kinds::catalogue(),
        asked: 0,
        resources: Vec::new(),
        flight: Vec::new(),
        fresh: VecDeque::new(),
    };
    runtime.block_on(make_base(&client, &ledger));
    let load = runtime.spawn(load.run());

    let mut trouble = TroubleMaker::new(Dice::new(seed, 2));
    let began = Instant::now();
    let mut told = Instant::now();
    while trouble.done.kills < kills {
        trouble.strike(&mut arena);
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            say(&trouble, &ledger, began);
        }
        if let Some(said) = watcher.has_ended() {
            arena.findings.add(said);
            watcher = Watcher::start(&arena);
        }
    }
    stop.store(true, Ordering::Relaxed);
    trouble.calm(&mut arena);
    runtime.block_on(load).expect("the load ends");
    say(&trouble, &ledger, began);

    runtime.block_on(come_to_rest(&arena, &client));
    judge(&mut arena, &runtime, &client, &ledger.lock().expect("the ledger"));
    let events = watcher.stop();
    eprintln!("  {events} events were seen; {:.0} s in all", began.elapsed().as_secs_f64());
    let findings = arena.findings.all();
    if !findings.is_empty() {
        let log = arena.log();
        let (room, outside) = arena.keep();
        panic!(
            "SEED={seed} KILLS={kills} found {}:\n{}\nwhat is left lies in {} and {}; the log \
             ends with:\n{log}",
            findings.len(),
            findings.join("\n"),
            room.display(),
            outside.display(),
        );
    }
}

/// Builds the image that guests are made from, in peace.
async fn make_base(client: &Client, ledger: &Mutex<Ledger>) {
    let params = serde_json::json!({ "name": load::BASE });
    let submit = Submit {
        kind: "image_build".to_owned(),
        params: params.as_object().expect("an object").clone(),
        actor: "chaos-base".to_owned(),
        ..Submit::default()
    };
    let accepted = client.submit(submit).await.expect("the image is accepted");
    let told = ("image_build".to_owned(), RequestOutcome::Accepted(accepted.uid));
    ledger.lock().expect("the ledger").asked.insert("chaos-base".to_owned(), told);
    while in_flight(client).await != Some(0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Says what has been done so far.
fn say(trouble: &TroubleMaker, ledger: &Mutex<Ledger>, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let ledger = ledger.lock().expect("the ledger");
    let accepted = ledger
        .asked
        .values()
        .filter(|(_, told)| matches!(told, RequestOutcome::Accepted(_)))
        .count();
    let done = &trouble.done;
    eprintln!(
        "  {seconds:.0} s: {} kills ({:.1}/s, {} of owners), {} ended, {} replaced, {} stopped, {} \
         moods, {} full disks, {} gave up; {} submits ({:.1}/s), {accepted} accepted, {} cancels \
         ({:.1}/s), {} relaunches, {} other changes",
        done.kills,
        done.kills as f64 / seconds,
        done.owners,
        done.ended,
        done.replaced,
        done.stopped,
        done.moods,
        done.full,
        done.gave_up,
        ledger.asked.len(),
        ledger.asked.len() as f64 / seconds,
        ledger.cancels,
        ledger.cancels as f64 / seconds,
        ledger.relaunches,
        ledger.others,
    );
}

/// Opens every lane, waits until nothing is in flight, and calls off what failed.
async fn come_to_rest(arena: &Arena, client: &Client) {
    let settings = hostler::backend::settings::Settings::new("/nowhere".into());
    for (name, width) in settings.lanes {
        for change in [LaneChange::Resume, LaneChange::Width(width.max(2))] {
            let lane = Control::Lane { name: name.clone(), change };
            if let Err(error) = client.control(lane).await {
                arena.findings.add(format!("lane {name} cannot be opened: {error}"));
            }
        }
    }
    let deadline = Instant::now() + REST;
    while in_flight(client).await != Some(0) {
        // Whoever hangs since the dice said so would do so for an hour.
        for (pid, words) in arena.helpers() {
            if words[0] == "sleep" {
                signal(pid, Signal::KILL);
            }
        }
        if Instant::now() >= deadline {
            return arena.findings.add("not everything came to rest");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let failed = failed(client).await;
    eprintln!("  at rest; {} failed and are called off", failed.len());
    for operation in failed {
        let (uid, kind) = (operation.uid, &operation.kind);
        if let Err(error) = client.control(Control::Cancel { uid }).await {
            arena.findings.add(format!("{uid} {kind} cannot be called off: {error}"));
        }
    }
    while in_flight(client).await != Some(0) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for operation in self::failed(client).await {
        let comment = operation.comment.unwrap_or_default();
        let (uid, kind) = (operation.uid, operation.kind);
        arena.findings.add(format!("{uid} {kind} was called off and is in ERROR: {comment}"));
    }
}

/// The operations that are in ERROR.
async fn failed(client: &Client) -> Vec<Operation> {
    let mut all = load::operations(client).await.unwrap_or_default();
    all.retain(|operation| operation.state == State::Error);
    all
}

/// How many operations run or wait.
async fn in_flight(client: &Client) -> Option<u64> {
    let flight = client.ask(question::GetInFlight).await.ok()?;
    Some(flight.running + flight.waiting)
}

/// Compares what there is with what was said, before and after one more start.
fn judge(arena: &mut Arena, runtime: &tokio::runtime::Runtime, client: &Client, ledger: &Ledger) {
    let rest = match runtime.block_on(Rest::look(client)) {
        Ok(rest) => rest,
        Err(error) => return arena.findings.add(format!("at rest, it cannot be asked: {error}")),
    };
    let mut ends: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for operation in &rest.operations {
        *ends.entry(&operation.kind).or_default().entry(operation.state.word()).or_default() += 1;
    }
    for (kind, ends) in ends {
        eprintln!("  {kind}: {ends:?}");
    }
    rest.compare(ledger, &arena.findings);
    rest.compare_starts(arena);
    rest.compare_processes(arena);
    rest.compare_files(arena);
    verdict::doctor(arena);
    let ends = |rest: &Rest| -> Vec<(u64, State)> {
        rest.operations.iter().map(|operation| (operation.uid.0, operation.state)).collect()
    };
    arena.end_owner();
    arena.start();
    arena.served(false);
    match runtime.block_on(Rest::look(client)) {
        Ok(again) if ends(&again) == ends(&rest) => {}
        Ok(_) => arena.findings.add("one more start changed how operations ended"),
        Err(error) => arena.findings.add(format!("after one more start: {error}")),
    }
}
