//! The lines at every resource: that of everybody, and those within what an operation holds.
//!
//! ```text
//! disk/3:  [ #4 batch ]      [ #9 ]  [ #11 ]     the line of everybody
//!             └─ [ #5 ] [ #6 ] [ #7 ]            the line within what #4 holds: its descendants
//! ```
//!
//! A descendant of an operation that holds a resource stands in a line within that hold, and so
//! before all who wait for the ancestor. Its turn has come when it is first there and its ancestor
//! is first outside. A place is kept for as long as anybody stands within it, also when who had it
//! is gone.

use std::collections::HashMap;

use crate::domain::{LockMode, ResourceId, Uid};

use super::line::Line;
use super::{QueueEntry, Ticket};

/// Stands for the line of everybody, where the ticket of a holder stands for that within its hold.
pub(super) const EVERYBODY: Ticket = 0;

/// The lines at every resource; none is empty.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: HashMap<(ResourceId, Ticket), Line>,
}

/// A place in a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinePlace {
    /// The resource.
    pub(super) resource: ResourceId,
    /// Within whose hold; [`EVERYBODY`] for none's.
    pub(super) within: Ticket,
    /// Whose place it is.
    pub(super) ticket: Ticket,
}

impl LinePlace {
    const fn with(self, ticket: Ticket) -> Self {
        Self { ticket, ..self }
    }
}

impl Lines {
    fn line(&self, resource: ResourceId, within: Ticket) -> Option<&Line> {
        self.lines.get(&(resource, within))
    }

    /// The place within whose hold others stand.
    fn outside(&self, place: LinePlace) -> Option<LinePlace> {
        let LinePlace { resource, within, .. } = place;
        let outer = self.line(resource, within)?.outer;
        (within != EVERYBODY).then_some(LinePlace { resource, within: outer, ticket: within })
    }

    /// Puts an operation at the end of a line. `outer` is the line in which the holder stands
    /// within whose hold it is. Says whether its turn has come.
    pub(super) fn join(
        &mut self,
        place: LinePlace,
        outer: Ticket,
        entry: &QueueEntry,
        mode: LockMode,
    ) -> bool {
        let LinePlace { resource, within, ticket } = place;
        let line = self.lines.entry((resource, within)).or_default();
        line.join(ticket, entry, mode, entry.subject == Some(resource));
        line.outer = outer;
        if within != EVERYBODY
            && let Some(line) = self.lines.get_mut(&(resource, outer))
        {
            line.held.insert(within);
        }
        self.is_turn_of(place)
    }

    /// Takes an operation out, but keeps its place while others stand within it. Gives those whose
    /// turn it is now and was not before.
    pub(super) fn leave(&mut self, place: LinePlace) -> Vec<Uid> {
        self.left(place).into_iter().map(|(_, uid)| uid).collect()
    }

    fn left(&mut self, place: LinePlace) -> Vec<(LinePlace, Uid)> {
        let LinePlace { resource, within, ticket } = place;
        let Some(line) = self.lines.get_mut(&(resource, within)) else { return Vec::new() };
        if line.held.contains(&ticket) {
            line.desert(ticket);
            return Vec::new();
        }
        let next = line.leave(ticket);
        let mut turns = Vec::new();
        if line.is_empty() {
            let outside = self.outside(place);
            self.lines.remove(&(resource, within));
            if let Some(outside) = outside
                && let Some(line) = self.lines.get_mut(&(resource, outside.within))
            {
                line.held.remove(&within);
                if line.is_deserted(within) {
                    turns = self.left(outside);
                }
            }
        } else if self.outside(place).is_none_or(|outside| self.is_turn_of(outside)) {
            for (ticket, uid) in next {
                self.turn_at(place.with(ticket), uid, &mut |place, uid| turns.push((place, uid)));
            }
        }
        turns
    }

    /// Whose turn it is with a place whose turn it is. Who has deserted it is gone, or stands in
    /// line anew.
    fn turn_at(&self, place: LinePlace, uid: Uid, see: &mut impl FnMut(LinePlace, Uid)) {
        let line = self.line(place.resource, place.within);
        if !line.is_some_and(|line| line.is_deserted(place.ticket)) {
            see(place, uid);
        }
        let Some(line) = self.line(place.resource, place.ticket).filter(|_| self.is_held(place))
        else {
            return;
        };
        for (ticket, uid) in line.turn() {
            let inside = LinePlace { resource: place.resource, within: place.ticket, ticket };
            self.turn_at(inside, uid, see);
        }
    }

    /// Whether others stand within a place.
    fn is_held(&self, place: LinePlace) -> bool {
        self.line(place.resource, place.within).is_some_and(|it| it.held.contains(&place.ticket))
    }

    /// Whether it is the turn of a place.
    pub(super) fn is_turn_of(&self, place: LinePlace) -> bool {
        let first = self
            .line(place.resource, place.within)
            .is_some_and(|line| line.is_turn_of(place.ticket));
        first && self.outside(place).is_none_or(|outside| self.is_turn_of(outside))
    }

    /// The first operation that keeps the one at a place waiting.
    pub(super) fn blocker(&self, place: LinePlace) -> Option<Uid> {
        let line = self.line(place.resource, place.within)?;
        match line.blocker(place.ticket) {
            Some((ticket, uid)) => Some(self.first_at(place.with(ticket)).unwrap_or(uid)),
            None => self.blocker(self.outside(place)?),
        }
    }

    /// The first within a place that is deserted.
    fn first_at(&self, place: LinePlace) -> Option<Uid> {
        let LinePlace { resource, within, ticket } = place;
        self.line(resource, within).filter(|line| line.is_deserted(ticket))?;
        let (first, uid) = self.line(resource, ticket)?.all().next()?;
        let inside = LinePlace { resource, within: ticket, ticket: first };
        Some(self.first_at(inside).unwrap_or(uid))
    }

    /// Everybody at a resource, those within a place after who has it.
    pub(super) fn all(&self, resource: ResourceId) -> Vec<Uid> {
        let mut all = Vec::new();
        self.walk(resource, EVERYBODY, &mut |line, ticket, uid| {
            if !line.is_deserted(ticket) {
                all.push(uid);
            }
        });
        all
    }

    fn walk(&self, resource: ResourceId, within: Ticket, see: &mut impl FnMut(&Line, Ticket, Uid)) {
        let Some(line) = self.line(resource, within) else { return };
        for (ticket, uid) in line.all() {
            see(line, ticket, uid);
            if line.held.contains(&ticket) {
                self.walk(resource, ticket, see);
            }
        }
    }

    /// Shows those at a resource whose turn it is, with whether they need it alone.
    pub(super) fn turn(&self, resource: ResourceId, see: &mut impl FnMut(Uid, bool)) {
        let Some(everybody) = self.line(resource, EVERYBODY) else { return };
        let mut see = |place: LinePlace, uid| {
            let line = self.line(resource, place.within);
            see(uid, line.is_some_and(|line| line.is_alone(place.ticket)));
        };
        for (ticket, uid) in everybody.turn() {
            self.turn_at(LinePlace { resource, within: EVERYBODY, ticket }, uid, &mut see);
        }
    }

    /// The first operation of a kind that is about the resource, of those in a line.
    pub(super) fn first_of(&self, resource: ResourceId, within: Ticket, kind: &str) -> Option<Uid> {
        let line = self.line(resource, within)?;
        line.first_of(kind)
            .or_else(|| line.held.iter().find_map(|held| self.first_of(resource, *held, kind)))
    }

    /// The state in which the last of a line that changes it leaves the resource.
    pub(super) fn projected_state(&self, resource: ResourceId, within: Ticket) -> Option<&str> {
        let line = self.line(resource, within)?;
        let last = line.last_change();
        // What an operation does to the resource at its end comes after what those within it do.
        let after = last.map_or(EVERYBODY, |(ticket, _)| ticket);
        let within = line.held.range(after + 1..).rev();
        within
            .map(|held| self.projected_state(resource, *held))
            .find(Option::is_some)
            .flatten()
            .or(last.map(|(_, state)| state))
    }

    /// Whether nobody stands anywhere.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}
