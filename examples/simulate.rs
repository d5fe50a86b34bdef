//! Simulates the engine under a seed: `cargo run --release --example simulate -- --seed 7
//! --operations 1000000`. Says how many operations it did a second, or what it found and how to
//! repeat that.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it says is for people")]

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use hostler::backend::engine::simulation::{Breach, simulate};

/// Simulates the engine: every crash, every failure, every order of things that a seed holds.
#[derive(Parser)]
struct Arguments {
    /// What everything follows from; the time of day by default.
    #[arg(long)]
    seed: Option<u64>,
    /// How many operations are asked for before everything is to come to rest.
    #[arg(long, default_value_t = 100_000)]
    operations: u64,
    /// How many seeds, one after the other.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
}

fn main() -> ExitCode {
    let Arguments { seed, operations, seeds } = Arguments::parse();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |it| it.as_secs());
    let first = seed.unwrap_or_else(now);
    for seed in first..first.saturating_add(seeds) {
        let begun = Instant::now();
        match simulate(seed, operations, false) {
            Ok(figures) => {
                let took = begun.elapsed().as_secs_f64();
                let rate = figures.operations as f64 / took;
                println!(
                    "seed {seed}: {} operations in {took:.1} s, {rate:.0}/s; {} lives, {} polls, \
                     trace {:016x}",
                    figures.operations, figures.lives, figures.polls, figures.trace
                );
            }
            Err(breach) => {
                tell(seed, operations, &breach);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Says what is wrong, and what led there: the same seed once more, told.
fn tell(seed: u64, operations: u64, breach: &Breach) {
    if let Err(Breach { story, .. }) = simulate(seed, operations, true) {
        for line in story {
            eprintln!("{line}");
        }
    }
    eprintln!(
        "\nseed {seed}, after {} operations: {}\nrepeat it: cargo run --release --example simulate \
         -- --seed {seed} --operations {operations}",
        breach.after, breach.what
    );
}
