//! The simulation: years of the engine under one seed in one thread, with everything that can go
//! wrong, and a look at it after every step.
//!
//! ```text
//!            ┌───────────────── one life ─────────────────┐
//!  people ──▶ the engine ──▶ kinds ──▶ what is outside    │ crash: all of it is gone
//!            │     │                      ▲               │
//!            │     ▼                      │               │
//!            │  the disk ──▶ the platter ─┴─ the witness  │ the platter and what is outside stay
//!            └────────────────────────────────────────────┘
//! ```
//!
//! Every task is polled alone; after each poll the power may go. What must hold:
//!
//! - what was answered is on the disk;
//! - a step that is recorded is never taken again, and none is undone that was refused or belongs
//!   to what ends as DONE;
//! - what ends otherwise leaves nothing that was not said to be left;
//! - nobody works with what another has for itself, or before one that asked for it earlier;
//! - every event comes once, in order, and tells what could follow from the one before;
//! - no child is on the disk without its parent and the record of it, or under way after it;
//! - how far a parent is follows from how far its children are;
//! - who asks again with the same key gets the same answer, and nothing is done twice for it;
//! - what is pruned has ended, and nothing that is under way hangs on it;
//! - memory, disk and events are one whenever everything is answered;
//! - once nothing goes wrong any more, everything comes to rest.
//!
//! Time, chance and the order of tasks follow from the seed alone: a run that finds something is
//! repeated by its seed. The module is always there, because examples see the library as it is;
//! nothing in the program calls it.

mod chance;
mod disk;
mod families;
mod ground;
mod kinds;
mod life;
mod outside;
mod people;
mod platter;
#[cfg(test)]
mod tests;
mod time;
mod verdict;
mod witness;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ground::Ground;
use life::{Fate, Tally};

/// What a simulation has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Operations that people asked for and got an answer to.
    pub operations: u64,
    /// Operations whose end was told.
    pub ended: u64,
    /// How often the engine began anew.
    pub lives: u64,
    /// How often a task was polled, and everything looked at after.
    pub polls: u64,
    /// Tells two runs apart in which not the same happened.
    pub trace: u64,
}

/// What a simulation has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// What is wrong.
    pub what: String,
    /// After how many accepted operations.
    pub after: u64,
    /// What led there, a line each, where it was to be told.
    pub story: Vec<String>,
}

/// Simulates until so many operations were accepted and everything has come to rest. If it is to be
/// `told`, what led to a breach is kept, which takes its time.
///
/// # Errors
/// What is wrong, if anything is.
pub fn simulate(seed: u64, operations: u64, told: bool) -> Result<Figures, Breach> {
    let mut tally = Tally::default();
    let failed = |what, after, story| Breach { what, after, story };
    let ground = Ground::new(seed, told).map_err(|what| failed(what, 0, Vec::new()))?;
    let ground = Arc::new(ground);
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .event_interval(1)
            .build()
            .map_err(|error| failed(error.to_string(), 0, Vec::new()))?;
        let fate = runtime.block_on(life::live(&ground, operations, &mut tally));
        drop(runtime);
        let accepted = tally.accepted.load(Ordering::Relaxed);
        match fate {
            Fate::Over => {}
            Fate::Rested => {
                return Ok(Figures {
                    operations: accepted,
                    ended: tally.ended,
                    lives: tally.lives,
                    polls: tally.polls,
                    trace: ground.verdict.trace(),
                });
            }
            Fate::Broken => {
                let what = ground.verdict.found().unwrap_or_default();
                return Err(failed(what, accepted, ground.verdict.story()));
            }
        }
    }
}
