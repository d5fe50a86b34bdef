//! The queue of one lane: how many of its operations run, and who starts next.

use std::collections::BTreeSet;

use crate::domain::LaneState;

use super::Place;

/// The queue of a lane.
#[derive(Debug)]
pub(super) struct LaneQueue {
    pub(super) width: u32,
    pub(super) state: LaneState,
    pub(super) running: u32,
    pub(super) waiting: u32,
    /// On disk, and it is their turn on every resource.
    pub(super) ready: BTreeSet<Place>,
}

impl LaneQueue {
    pub(super) fn new(width: u32) -> Self {
        Self { width, state: LaneState::Open, running: 0, waiting: 0, ready: BTreeSet::new() }
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
