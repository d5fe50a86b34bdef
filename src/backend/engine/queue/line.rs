//! The line at one resource: who holds or awaits it, and whose turn it is.
//!
//! ```text
//!   turn           then      then
//! [ A shares · B shares ]  [ C alone ]  [ D shares · E shares · F shares ]
//! ```
//!
//! One that needs the resource alone has a turn for itself; those that share it have theirs
//! together, up to the next that needs it alone. The line knows where the first turn ends, and
//! whoever leaves can only move that end towards the back. So every question is answered by looking
//! a place up, however long the line is. It knows nothing of lanes, nor of who has started, nor of
//! other lines.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{LockMode, Text, Uid};

use super::{QueueEntry, Ticket};

/// The line at one resource.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Everybody, in the order they were accepted.
    all: BTreeMap<Ticket, Uid>,
    /// Those that need it alone.
    alone: BTreeSet<Ticket>,
    /// Those that are about it, by kind. There are few kinds.
    about: Vec<(Text, BTreeMap<Ticket, Uid>)>,
    /// The states in which those that are about it leave it.
    state_after: BTreeMap<Ticket, Text>,
    /// Those within whose hold others stand, in a line of their own.
    pub(super) held: BTreeSet<Ticket>,
    /// Those of them that are gone themselves.
    deserted: BTreeSet<Ticket>,
    /// The line in which stands who has the place within which this one is.
    pub(super) outer: Ticket,
}

impl Line {
    /// Puts an operation at the end. `about`: the resource is its subject.
    pub(super) fn join(&mut self, ticket: Ticket, entry: &QueueEntry, mode: LockMode, about: bool) {
        self.all.insert(ticket, entry.uid);
        if mode == LockMode::Exclusive {
            self.alone.insert(ticket);
        }
        if !about {
            return;
        }
        match self.about.iter_mut().find(|(kind, _)| *kind == entry.kind) {
            Some((_, like)) => {
                like.insert(ticket, entry.uid);
            }
            None => self.about.push((entry.kind.clone(), [(ticket, entry.uid)].into())),
        }
        if let Some(state) = &entry.state_after {
            self.state_after.insert(ticket, state.clone());
        }
    }

    /// Takes an operation out. Gives those whose turn it is now and was not before.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Vec<(Ticket, Uid)> {
        let end = self.end_of_turn();
        self.forget(ticket);
        self.all.remove(&ticket);
        self.alone.remove(&ticket);
        self.deserted.remove(&ticket);
        self.all.range(end..self.end_of_turn()).map(|(ticket, uid)| (*ticket, *uid)).collect()
    }

    /// Takes an operation out, but keeps its place for those who stand within it.
    pub(super) fn desert(&mut self, ticket: Ticket) {
        self.forget(ticket);
        self.deserted.insert(ticket);
    }

    /// Whether who had a place is gone.
    pub(super) fn is_deserted(&self, ticket: Ticket) -> bool {
        self.deserted.contains(&ticket)
    }

    /// Forgets what an operation would do.
    fn forget(&mut self, ticket: Ticket) {
        self.state_after.remove(&ticket);
        self.about.retain_mut(|(_, like)| {
            like.remove(&ticket);
            !like.is_empty()
        });
    }

    /// The first ticket whose turn it is not, whether anybody has it or not.
    fn end_of_turn(&self) -> Ticket {
        match (self.all.first_key_value(), self.alone.first()) {
            (Some((first, _)), Some(alone)) if first == alone => first + 1,
            (_, Some(alone)) => *alone,
            (_, None) => Ticket::MAX,
        }
    }

    /// Whether it is an operation's turn.
    pub(super) fn is_turn_of(&self, ticket: Ticket) -> bool {
        ticket < self.end_of_turn()
    }

    /// Those whose turn it is.
    pub(super) fn turn(&self) -> impl Iterator<Item = (Ticket, Uid)> {
        self.all.range(..self.end_of_turn()).map(|(ticket, uid)| (*ticket, *uid))
    }

    /// Whether an operation needs the resource alone.
    pub(super) fn is_alone(&self, ticket: Ticket) -> bool {
        self.alone.contains(&ticket)
    }

    /// The first operation that keeps this one waiting.
    pub(super) fn blocker(&self, ticket: Ticket) -> Option<(Ticket, Uid)> {
        let first = if self.alone.contains(&ticket) {
            self.all.first_key_value().map(|(first, _)| first)
        } else {
            self.alone.first()
        };
        let first = first.filter(|first| **first < ticket)?;
        Some((*first, *self.all.get(first)?))
    }

    /// Everybody, in the order they were accepted.
    pub(super) fn all(&self) -> impl Iterator<Item = (Ticket, Uid)> {
        self.all.iter().map(|(ticket, uid)| (*ticket, *uid))
    }

    /// The first operation of a kind that is about the resource.
    pub(super) fn first_of(&self, kind: &str) -> Option<Uid> {
        let (_, like) = self.about.iter().find(|(of, _)| of == kind)?;
        like.values().next().copied()
    }

    /// The last that changes the resource, and the state in which it leaves it.
    pub(super) fn last_change(&self) -> Option<(Ticket, &str)> {
        self.state_after.last_key_value().map(|(ticket, state)| (*ticket, &**state))
    }

    /// Whether nobody is left.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
