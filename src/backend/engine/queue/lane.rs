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
}

impl LaneQueue {
    const fn new(name: Text, width: u32) -> Self {
        let state = LaneState::Open;
        Self { name, width, state, running: 0, waiting: 0, ready: BTreeSet::new() }
    }

    pub(super) fn name(&self) -> String {
        self.name.to_string()
    }

    /// Its first, where it may start one.
    pub(super) fn next(&self) -> Option<&LanePlace> {
        let may_start = self.state == LaneState::Open && self.running < self.width;
        self.ready.first().filter(|_| may_start)
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

    /// The lane whose first starts before those of all others.
    pub(super) fn next(&mut self) -> Option<&mut LaneQueue> {
        let next = |(at, lane): (usize, &LaneQueue)| Some((*lane.next()?, at));
        let (_, at) = self.all.iter().enumerate().filter_map(next).min()?;
        self.all.get_mut(at)
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
