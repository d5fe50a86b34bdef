//! The lanes: how many operations of each run, and who starts next.
//!
//! Everybody in the queue knows their lane by its number, which stays: looking a name up and
//! keeping it would cost more than all the rest.
//!
//! A lane knows nothing of resources, nor of families.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Index, IndexMut};

use crate::domain::{Lane, LaneState, Text};

use super::LanePlace;

/// One lane.
#[derive(Debug)]
pub(super) struct LaneQueue {
    name: Text,
    pub(super) width: u32,
    pub(super) state: LaneState,
    pub(super) running: u32,
    pub(super) waiting: u32,
    /// On disk, and it is their turn on every resource.
    pub(super) ready: BTreeSet<LanePlace>,
    /// They have waited for their children: they go on also where nothing new is started.
    pub(super) returning: BTreeSet<LanePlace>,
}

impl LaneQueue {
    const fn new(name: Text, width: u32) -> Self {
        Self {
            name,
            width,
            state: LaneState::Open,
            running: 0,
            waiting: 0,
            ready: BTreeSet::new(),
            returning: BTreeSet::new(),
        }
    }

    pub(super) fn name(&self) -> String {
        self.name.to_string()
    }

    /// Whether it has a place for one more.
    pub(super) const fn has_place(&self) -> bool {
        self.running < self.width
    }

    /// Its first, where it may start one or let one go on.
    fn first(&self) -> Option<&LanePlace> {
        let new = self.ready.first().filter(|_| self.state == LaneState::Open);
        new.into_iter().chain(self.returning.first()).min().filter(|_| self.has_place())
    }

    /// Takes one from among those that start or go on next.
    pub(super) fn step_back(&mut self, place: &LanePlace) {
        self.ready.remove(place);
        self.returning.remove(place);
    }

    /// Frees the place of one that ran. Says whether the lane is paused now, because this was the
    /// last to drain from it.
    pub(super) fn free_place(&mut self) -> bool {
        self.running -= 1;
        let drained = self.running == 0 && self.state == LaneState::Draining;
        if drained {
            self.state = LaneState::Paused;
        }
        drained
    }
}

impl From<&LaneQueue> for Lane {
    fn from(lane: &LaneQueue) -> Self {
        Self {
            name: lane.name(),
            width: lane.width,
            state: lane.state,
            running: lane.running,
            waiting: lane.waiting,
        }
    }
}

/// Which lane it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneNumber(usize);

/// All lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    all: Vec<LaneQueue>,
    by_name: BTreeMap<Text, LaneNumber>,
}

impl Lanes {
    /// The lane of that name.
    pub(super) fn find(&self, name: &str) -> Option<LaneNumber> {
        self.by_name.get(name).copied()
    }

    /// The lane of that name; it opens with this width where there is none.
    pub(super) fn find_or_open(&mut self, name: &Text, width: u32) -> LaneNumber {
        self.find(name).unwrap_or_else(|| {
            let number = LaneNumber(self.all.len());
            self.all.push(LaneQueue::new(name.clone(), width));
            self.by_name.insert(name.clone(), number);
            number
        })
    }

    /// Each of them, in the order they were opened.
    pub(super) fn iter(&self) -> impl Iterator<Item = &LaneQueue> {
        self.all.iter()
    }

    /// Each of them, by name.
    pub(super) fn by_name(&self) -> impl Iterator<Item = &LaneQueue> {
        self.by_name.values().map(|number| &self[*number])
    }

    /// Takes out the one that starts, or goes on, before all others.
    pub(super) fn pop_first(&mut self) -> Option<LanePlace> {
        let first = |(at, lane): (usize, &LaneQueue)| Some((*lane.first()?, at));
        let (first, at) = self.all.iter().enumerate().filter_map(first).min()?;
        self.all.get_mut(at)?.step_back(&first);
        Some(first)
    }
}

impl Index<LaneNumber> for Lanes {
    type Output = LaneQueue;

    fn index(&self, number: LaneNumber) -> &LaneQueue {
        &self.all[number.0]
    }
}

impl IndexMut<LaneNumber> for Lanes {
    fn index_mut(&mut self, number: LaneNumber) -> &mut LaneQueue {
        &mut self.all[number.0]
    }
}
