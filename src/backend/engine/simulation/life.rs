//! One life of the engine: from what is on the disk to the next crash, or until everything has come
//! to rest.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use crate::backend::engine::core::{Options, Parts};
use crate::backend::engine::{Engine, open};
use crate::domain::{LaneState, State, Uid};

use super::disk::SimulatedDisk;
use super::ground::Ground;
use super::kinds::{LANE_WIDTHS, kinds};
use super::people::People;
use super::witness::Witness;

/// How many times a simulation may look whether everything is at rest, and end something.
const LAST_LOOKS: u32 = 100;

/// How a life ended.
pub(super) enum Fate {
    /// It crashed, or was told to leave.
    Over,
    /// Everything was asked for and has come to rest.
    Rested,
    /// Something is wrong.
    Broken,
}

/// What is counted over all lives.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) accepted: Arc<AtomicU64>,
    pub(super) ended: u64,
    pub(super) lives: u64,
    pub(super) polls: u64,
}

/// A life.
struct Life {
    ground: Arc<Ground>,
    engine: Arc<Engine>,
    disk: Arc<SimulatedDisk>,
    witness: Witness,
    people: People,
    /// How often the task was polled that does nothing.
    idle: Arc<AtomicU64>,
    looks: u32,
}

/// Lives. Every task is polled alone, and after each the life is looked at, and may end. Called
/// inside a runtime that polls one task at a time, and drops all of them when this has returned.
pub(super) async fn live(ground: &Arc<Ground>, goal: u64, tally: &mut Tally) -> Fate {
    ground.clock.restart(Duration::from_secs(1));
    let restarted = ground.outside().restart(&ground.platter());
    ground.verdict.check(restarted);
    let disk = SimulatedDisk::open(ground);
    let opened = ground.platter().opened();
    let lanes = LANE_WIDTHS.iter().map(|(name, width)| ((*name).to_owned(), *width)).collect();
    let engine = open(Parts {
        options: Options { lanes, shown: |resource| resource },
        kinds: kinds(ground),
        clock: ground.clock.clone(),
        storage: disk.clone(),
        opened,
    });
    let witness = Witness::new(ground.clone(), engine.clone());
    engine.dispatch();
    let people = People::new(ground.clone(), engine.clone(), tally.accepted.clone());
    let idle = Arc::default();
    let ground = ground.clone();
    let mut life = Life { ground, engine, disk, witness, people, idle, looks: 0 };
    tokio::spawn(do_nothing(life.idle.clone()));
    let fate = life.run(goal, tally).await;
    tally.ended += life.witness.ended;
    tally.lives += 1;
    fate
}

impl Life {
    async fn run(&mut self, goal: u64, tally: &mut Tally) -> Fate {
        let chance = &self.ground.clone().chance;
        let long = if chance.happens(500) { 2_000 } else { 60_000 };
        let mut left = chance.number(1, long);
        let mut leaving = None;
        // How often in a row nothing was to be done.
        let mut quiet = 0;
        loop {
            let before = self.idle.load(Ordering::Relaxed);
            one_poll().await;
            tally.polls += 1;
            let looked = self.witness.look();
            self.ground.verdict.check(looked);
            if self.ground.verdict.is_broken() {
                return Fate::Broken;
            }
            if !chance.is_calm() && tally.accepted.load(Ordering::Relaxed) >= goal {
                chance.calm();
            }
            left = left.saturating_sub(1);
            if (left == 0 && !chance.is_calm()) || (self.engine.is_dead() && chance.happens(50)) {
                self.disk.cut_power();
                self.ground.verdict.note(tally.polls, || "the power goes".to_owned());
                return Fate::Over;
            }
            if leaving.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) {
                self.disk.close();
                return Fate::Over;
            }
            let is_quiet = self.idle.load(Ordering::Relaxed) > before;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet < 2 {
                if !chance.is_calm() && chance.happens(10) {
                    self.people.act();
                }
                continue;
            }
            quiet = 0;
            if self.disk.is_quiet() && !self.engine.is_dead() {
                let compared = self.witness.compare();
                self.ground.verdict.check(compared);
            }
            if !chance.is_calm() && leaving.is_none() && chance.happens(1) {
                let (engine, after) = (self.engine.clone(), chance.happens(500));
                self.ground.verdict.note(after, || "it is to leave".to_owned());
                leaving = Some(tokio::spawn(async move { engine.stop(after).await }));
            } else if !chance.is_calm() && chance.happens(400) {
                self.people.act();
            } else if !self.ground.clock.advance() && !self.go_on() {
                return Fate::Rested;
            }
        }
    }

    /// Nobody waits for anything. Says whether there is anything left to do; where nothing goes
    /// wrong any more, that ends.
    fn go_on(&mut self) -> bool {
        if !self.ground.chance.is_calm() || self.engine.is_dead() {
            self.people.act();
            return true;
        }
        let closed =
            self.engine.look(|live| live.queue().lanes().any(|it| it.state != LaneState::Open));
        if closed {
            self.people.open_lanes();
            return self.look_again();
        }
        let (failed, others): (Vec<_>, Vec<_>) = self.engine.look(|live| {
            let all = live.operations().map(|it| (it.uid, it.state));
            all.partition(|(_, state)| *state == State::Error)
        });
        let past_pivot = |uid| self.engine.look(|live| live.operation(uid).map(|it| it.past_pivot));
        if !others.is_empty() {
            let waits = |(uid, state)| {
                let wait = self.engine.look(|live| live.queue().wait_reason(uid));
                format!("{uid} is {state} and waits for {wait:?}")
            };
            let others: Vec<String> = others.into_iter().map(waits).collect();
            self.ground.verdict.breach(format!("no rest: {}", others.join(", ")));
        }
        let failed: Vec<Uid> = failed.into_iter().map(|(uid, _)| uid).collect();
        for uid in &failed {
            if past_pivot(*uid) == Some(true) {
                self.people.relaunch(*uid);
            } else {
                self.people.cancel(*uid);
            }
        }
        !failed.is_empty() && self.look_again()
    }

    fn look_again(&mut self) -> bool {
        self.looks += 1;
        if self.looks > LAST_LOOKS {
            self.ground.verdict.breach("not everything comes to an end".to_owned());
        }
        true
    }
}

/// Lets one task be polled.
async fn one_poll() {
    let mut polled = false;
    poll_fn(|cx| {
        if polled {
            return Poll::Ready(());
        }
        polled = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The task that has its turn whenever no other has: polled twice in a row, it tells that nothing
/// is to be done.
async fn do_nothing(polled: Arc<AtomicU64>) {
    poll_fn(|cx| {
        polled.fetch_add(1, Ordering::Relaxed);
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    })
    .await;
}
