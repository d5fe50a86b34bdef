//! The children of an operation in the queue: how many of them may be under way at once.
//!
//! They are let in as they were accepted. One that is in counts until it is gone, also while it
//! waits for a resource or for a place in its lane. It knows nothing of resources, nor of lanes.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::Uid;

use super::Ticket;

/// The children of an operation.
#[derive(Debug)]
pub(super) struct Family {
    /// How many may be in at once.
    width: usize,
    all: BTreeMap<Ticket, Uid>,
    /// Those that are not let in yet.
    outside: BTreeSet<Ticket>,
}

impl Family {
    /// One without a member, of which so many may be in at once; all, where that is not said.
    pub(super) fn new(at_once: Option<u32>) -> Self {
        let width = at_once.map_or(usize::MAX, |width| width as usize);
        Self { width, all: BTreeMap::new(), outside: BTreeSet::new() }
    }

    fn inside(&self) -> usize {
        self.all.len() - self.outside.len()
    }

    /// Takes a child in at the end. Says whether it is let in, as one is that `began` before.
    pub(super) fn join(&mut self, ticket: Ticket, uid: Uid, began: bool) -> bool {
        let fits = began || self.inside() < self.width;
        self.all.insert(ticket, uid);
        if !fits {
            self.outside.insert(ticket);
        }
        fits
    }

    /// Takes a child out. Gives the one that is let in now.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Uid> {
        self.all.remove(&ticket);
        self.outside.remove(&ticket);
        if self.inside() >= self.width {
            return None;
        }
        let next = self.outside.pop_first()?;
        self.all.get(&next).copied()
    }

    /// Lets a child in, whether it fits or not. Says whether it was not.
    pub(super) fn let_in(&mut self, ticket: Ticket) -> bool {
        self.outside.remove(&ticket)
    }

    /// Lets nobody in any more, and those out again that have not `passed`. Gives them.
    pub(super) fn close(&mut self, passed: impl Fn(Uid) -> bool) -> Vec<Uid> {
        self.width = 0;
        let mut out = Vec::new();
        for (ticket, uid) in &self.all {
            if !passed(*uid) && self.outside.insert(*ticket) {
                out.push(*uid);
            }
        }
        out
    }

    /// Whether a child is not let in yet.
    pub(super) fn keeps_out(&self, ticket: Ticket) -> bool {
        self.outside.contains(&ticket)
    }

    /// Whether nobody is left.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
