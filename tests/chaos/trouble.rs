//! The trouble: owners and tools that are killed, stopped, ended and replaced, tools in a mood, and
//! a disk that is full.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::arena::{Arena, signal};
use super::dice::Dice;
use super::tools::{Mood, Tools};

/// What can be done to those who only wanted to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    KillOwner,
    KillStarting,
    EndOwner,
    ReplaceOwner,
    KillHelper,
    StopHelper,
    StopOwner,
    Moody,
    FullDisk,
}

/// Each with how often it is done.
const DEEDS: [(u64, Deed); 9] = [
    (44, Deed::KillOwner),
    (6, Deed::KillStarting),
    (7, Deed::EndOwner),
    (6, Deed::ReplaceOwner),
    (16, Deed::KillHelper),
    (5, Deed::StopHelper),
    (3, Deed::StopOwner),
    (9, Deed::Moody),
    (4, Deed::FullDisk),
];

/// How much was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Processes killed with SIGKILL: owners and helpers.
    pub kills: u64,
    pub owners: u64,
    pub ended: u64,
    pub replaced: u64,
    pub stopped: u64,
    pub moods: u64,
    pub full: u64,
    /// Owners that ended by themselves.
    pub gave_up: u64,
}

/// What is to be put right again, and when.
enum Mend {
    Continue(u32),
    Mood(&'static str),
    Empty,
}

pub struct TroubleMaker {
    pub dice: Dice,
    pub done: Done,
    mends: Vec<(Instant, Mend)>,
    full: bool,
}

impl TroubleMaker {
    pub fn new(dice: Dice) -> Self {
        Self { dice, done: Done::default(), mends: Vec::new(), full: false }
    }

    /// Waits a little and does something.
    pub fn strike(&mut self, arena: &mut Arena) {
        // Mostly short, sometimes long enough for something to be finished.
        let pause = if self.dice.chance(80) { (10, 250) } else { (250, 1000) };
        let until = Instant::now() + Duration::from_millis(self.dice.number(pause.0, pause.1));
        self.mend(arena, until);
        if let Some(status) = arena.ended_by_itself() {
            self.done.gave_up += 1;
            if !self.full {
                let said = arena.last_words();
                arena.findings.add(format!("an owner ended by itself: {status}: {said}"));
            }
            arena.start();
        }
        arena.served(self.full);
        let for_a_while = Duration::from_millis(self.dice.number(100, 1200));
        let later = Instant::now() + for_a_while;
        match self.dice.weighted(&DEEDS) {
            Deed::KillOwner => self.kill_owner(arena),
            Deed::KillStarting => {
                self.kill_owner(arena);
                std::thread::sleep(Duration::from_millis(self.dice.number(0, 60)));
                self.kill_owner(arena);
            }
            Deed::EndOwner => {
                arena.end_owner();
                arena.start();
                self.done.ended += 1;
            }
            Deed::ReplaceOwner => {
                arena.replace_owner();
                self.done.replaced += 1;
            }
            Deed::KillHelper => {
                let helpers = arena.helpers();
                match self.dice.one_of(&helpers) {
                    Some((pid, _)) => {
                        signal(*pid, Signal::KILL);
                        self.done.kills += 1;
                    }
                    None => self.kill_owner(arena),
                }
            }
            deed @ (Deed::StopHelper | Deed::StopOwner) => {
                let helpers = arena.helpers();
                let helper = self.dice.one_of(&helpers).map(|(pid, _)| *pid);
                let stopped = if deed == Deed::StopOwner { arena.owner() } else { helper };
                if let Some(pid) = stopped {
                    signal(pid, Signal::STOP);
                    self.mends.push((later, Mend::Continue(pid)));
                    self.done.stopped += 1;
                }
            }
            Deed::Moody => {
                let tool = self.dice.one_of(&Tools::names()).copied();
                let mood = self.dice.one_of(&Mood::ALL).copied();
                if let Some((tool, mood)) = tool.zip(mood) {
                    arena.tools.mood(tool, Some(mood));
                    self.mends.push((later, Mend::Mood(tool)));
                    self.done.moods += 1;
                }
            }
            Deed::FullDisk if arena.is_small && !self.full => {
                arena.fill(self.dice.number(0, 300_000));
                self.full = true;
                self.mends.push((later, Mend::Empty));
                self.done.full += 1;
            }
            Deed::FullDisk => {}
        }
        // A stopped owner answers nobody.
        if self.mends.iter().any(|(_, mend)| matches!(mend, Mend::Continue(_))) {
            self.mend(arena, later);
        }
    }

    fn kill_owner(&mut self, arena: &mut Arena) {
        arena.kill_owner();
        arena.start();
        self.done.kills += 1;
        self.done.owners += 1;
    }

    /// Puts right what is due until then.
    fn mend(&mut self, arena: &Arena, until: Instant) {
        self.mends.sort_by_key(|(due, _)| std::cmp::Reverse(*due));
        while let Some((due, mend)) = self.mends.pop_if(|(due, _)| *due <= until) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            match mend {
                Mend::Continue(pid) => signal(pid, Signal::CONT),
                Mend::Mood(tool) => arena.tools.mood(tool, None),
                Mend::Empty => {
                    arena.empty();
                    self.full = false;
                }
            }
        }
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    /// Puts everything right; an owner answers afterwards.
    pub fn calm(&mut self, arena: &mut Arena) {
        for (_, mend) in &mut self.mends {
            if let Mend::Continue(pid) = mend {
                signal(*pid, Signal::CONT);
            }
        }
        self.mends.clear();
        for tool in Tools::names() {
            arena.tools.mood(tool, None);
        }
        arena.empty();
        self.full = false;
        if arena.ended_by_itself().is_some() {
            arena.start();
        }
        arena.served(false);
    }
}
