//! The queue: which operation may run next. Pure and synchronous; no store, no clock, no runtime.
//!
//! ```text
//!  accept ──▶ held ── commit ──▶ waiting ── start ──▶ running ── finish ──▶ (gone)
//!               └────────────── withdraw ──┴──▶ (gone)
//! ```
//!
//! An operation may start when it is on disk, when no earlier one holds or awaits a resource it
//! needs in a way that excludes it, and when its lane is open and has a place. Among those that
//! may, the one with the highest priority starts first, and among equals the one accepted first.
//! Operations on one resource therefore run in the order they were accepted, whatever their
//! priority. One that is relaunched is accepted anew, behind all others. What is under way asks no
//! lane: one that an earlier life began, and one that is only to be undone, start before all
//! others.
//!
//! An operation that waits for its children gives up its place in its lane, and lines up for one
//! again, where it was, once they have ended: it needs a place, but not an open lane. What it holds
//! keeps out everybody but its descendants, which stand in line within it (`lines`).
//!
//! No wait goes in a circle: nobody waits for one accepted later in the same line; a descendant of
//! one that holds anything needs nothing else but what it makes itself ([`Queue::uncovered`]), so
//! it waits for none outside that hold; who waits for children has no place that they could need;
//! and where only so many siblings are under way at once, their own children need nothing that
//! they do not hold, so that none waits for one that is not let in.

mod family;
mod lane;
mod line;
mod lines;
mod questions;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::domain::{Lane, LaneChange, LaneState, LockMode, ResourceId, Text, Uid};

use family::Family;
use lane::{LaneNumber, Lanes};
use lines::{EVERYBODY, LinePlace, Lines};

/// The widest a lane can be.
pub const WIDEST: u32 = 64;

/// What the queue knows of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueEntry {
    /// Its number.
    pub uid: Uid,
    /// Its kind, to tell like ones from unlike.
    pub kind: Text,
    /// The lane it runs in.
    pub lane: Text,
    /// Higher starts sooner.
    pub priority: i32,
    /// What it holds while it runs; each resource once.
    pub locks: Vec<(ResourceId, LockMode)>,
    /// The resource it is about, which is among its locks.
    pub subject: Option<ResourceId>,
    /// The state its subject is in when it is done.
    pub state_after: Option<Text>,
    /// The operation that asked for it, the one that asked for that, and so on.
    pub ancestors: Vec<Uid>,
    /// How many of its own children may be under way at once; `None`: all.
    pub at_once: Option<u32>,
    /// Whether an earlier life began it: it is under way, whatever its parent and its lane allow.
    pub began: bool,
}

/// An operation whose turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It starts.
    Start(Uid),
    /// It has its place in its lane again, and goes on.
    GoOn(Uid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QueueStage {
    Held,
    Waiting,
    Running,
    /// Waits for its children, without a place in its lane.
    Joining,
    /// Has waited for its children, and lines up for a place again.
    Returning,
}

impl QueueStage {
    const fn has_started(self) -> bool {
        matches!(self, Self::Running | Self::Joining | Self::Returning)
    }
}

/// The order of acceptance, from 1. Not the number: a relaunched operation keeps that.
type Ticket = u64;

/// Of what is known of an operation, what is needed as long as it is there.
#[derive(Debug)]
struct Queued {
    uid: Uid,
    lane: LaneNumber,
    priority: i32,
    locks: Box<[(ResourceId, LockMode)]>,
    ancestors: Box<[Uid]>,
    at_once: Option<u32>,
    began: bool,
    stage: QueueStage,
    ticket: Ticket,
    /// On how many of its resources it is not its turn yet; and one more while its parent has as
    /// many children under way as may be.
    blocked: usize,
    /// Within whose hold it stands in line, for each of its locks; empty where it has no ancestor.
    within: Box<[Ticket]>,
    /// Its parent, if that was in the queue when it was accepted; else [`EVERYBODY`].
    parent: Ticket,
    /// Whether it is only to be undone, which needs no place in its lane.
    cancelled: bool,
    /// Whether no further child of it is started.
    closed: bool,
}

impl Queued {
    /// How many of its children may be under way at once.
    const fn at_once(&self) -> Option<u32> {
        if self.closed { Some(0) } else { self.at_once }
    }

    /// Whether it starts whatever its lane says.
    const fn asks_no_lane(&self) -> bool {
        self.cancelled || (self.began && !self.stage.has_started())
    }

    /// Its places in line.
    fn places(&self) -> impl Iterator<Item = LinePlace> {
        self.locks.iter().enumerate().map(|(at, (resource, _))| LinePlace {
            resource: *resource,
            within: self.within.get(at).copied().unwrap_or(EVERYBODY),
            ticket: self.ticket,
        })
    }
}

/// Its place in a lane: the first starts first.
type LanePlace = (Reverse<i32>, Ticket, Uid);

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    lanes: Lanes,
    /// Apart from the table, which moves all it holds whenever it grows.
    queued: HashMap<Uid, Box<Queued>>,
    /// Who holds or awaits a resource.
    lines: Lines,
    /// The children of operations, by their parents' tickets; none is empty.
    families: HashMap<Ticket, Family>,
    /// On disk, and it is their turn on every resource: those that start whatever their lane says.
    under_way: BTreeSet<LanePlace>,
    last_ticket: Ticket,
}

impl Queue {
    /// A queue with these lanes: name and width, all open.
    pub fn new<'a>(lanes: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut queue = Self::default();
        for (name, width) in lanes {
            queue.lanes.find_or_open(&name.to_owned().into(), width);
        }
        queue
    }

    /// Takes an operation in, behind those on its resources. It is held until [`Queue::commit`].
    /// An operation of a lane that does not exist opens that lane with width 1.
    pub fn accept(&mut self, entry: QueueEntry) {
        let uid = entry.uid;
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let within = self.holds(&entry);
        let parent = entry.ancestors.first().and_then(|parent| self.queued.get(parent));
        let (parent, at_once) =
            parent.map_or((EVERYBODY, None), |parent| (parent.ticket, parent.at_once()));
        let mut blocked = 0;
        if parent != EVERYBODY {
            let family = self.families.entry(parent).or_insert_with(|| Family::new(at_once));
            blocked += usize::from(!family.join(ticket, uid, entry.began));
        }
        for (at, (resource, mode)) in entry.locks.iter().enumerate() {
            let (within, outer) = within.get(at).copied().unwrap_or((EVERYBODY, EVERYBODY));
            let place = LinePlace { resource: *resource, within, ticket };
            blocked += usize::from(!self.lines.join(place, outer, &entry, *mode));
        }
        let lane = self.lanes.find_or_open(&entry.lane, 1);
        self.lanes[lane].waiting += 1;
        let queued = Queued {
            uid,
            lane,
            priority: entry.priority,
            locks: entry.locks.into(),
            ancestors: entry.ancestors.into(),
            at_once: entry.at_once,
            began: entry.began,
            stage: QueueStage::Held,
            ticket,
            blocked,
            within: within.iter().map(|(ticket, _)| *ticket).collect(),
            parent,
            cancelled: false,
            closed: false,
        };
        self.queued.insert(uid, Box::new(queued));
    }

    /// For each lock of an operation: within whose hold it is to stand in line, and within whose
    /// that one stands.
    fn holds(&self, entry: &QueueEntry) -> Vec<(Ticket, Ticket)> {
        if entry.ancestors.is_empty() {
            return Vec::new();
        }
        let hold =
            |(resource, _): &(ResourceId, LockMode)| self.hold_of(&entry.ancestors, *resource);
        entry.locks.iter().map(hold).collect()
    }

    /// The operation is on disk: it may start when its turn comes.
    pub fn commit(&mut self, uid: Uid) {
        let Some(queued) =
            self.queued.get_mut(&uid).filter(|queued| queued.stage == QueueStage::Held)
        else {
            return;
        };
        queued.stage = QueueStage::Waiting;
        self.line_up(uid);
    }

    /// Keeps an operation that has not started from starting, in its place, until
    /// [`Queue::commit`]. Says whether it was there.
    pub fn hold(&mut self, uid: Uid) -> bool {
        if !self.awaits(uid) {
            return false;
        }
        self.step_back(uid);
        if let Some(queued) = self.queued.get_mut(&uid) {
            queued.stage = QueueStage::Held;
        }
        true
    }

    /// An operation that has not started in this life is only to be undone: it starts when its
    /// resources are free, whatever its lane says.
    pub fn mark_cancelled(&mut self, uid: Uid) {
        if !self.awaits(uid) {
            return;
        }
        self.step_back(uid);
        if let Some(queued) = self.queued.get_mut(&uid) {
            queued.cancelled = true;
            let family = self.families.get_mut(&queued.parent);
            if family.is_some_and(|family| family.let_in(queued.ticket)) {
                queued.blocked -= 1;
            }
        }
        self.line_up(uid);
    }

    /// Starts no further child of an operation.
    pub fn close_family(&mut self, parent: Uid) {
        let Some(parent) = self.queued.get_mut(&parent) else { return };
        parent.closed = true;
        let Some(family) = self.families.get_mut(&parent.ticket) else { return };
        let queued = &self.queued;
        let passed = |uid| {
            let child = queued.get(&uid);
            child.is_none_or(|it| it.stage.has_started() || it.cancelled || it.began)
        };
        for uid in family.close(passed) {
            self.step_back(uid);
            if let Some(queued) = self.queued.get_mut(&uid) {
                queued.blocked += 1;
            }
        }
    }

    /// A running operation waits for its children, and gives up its place in its lane meanwhile.
    /// Gives its lane where that is paused now, because this was the last to drain from it.
    pub fn give_up_place(&mut self, uid: Uid) -> Option<Lane> {
        let queued = self.queued.get_mut(&uid).filter(|it| it.stage == QueueStage::Running)?;
        queued.stage = QueueStage::Joining;
        let lane = &mut self.lanes[queued.lane];
        lane.waiting += 1;
        lane.free_place().then(|| Lane::from(&*lane))
    }

    /// An operation that waited for its children needs a place in its lane again.
    pub fn ask_for_place(&mut self, uid: Uid) {
        if let Some(queued) = self.queued.get_mut(&uid).filter(|it| it.stage == QueueStage::Joining)
        {
            queued.stage = QueueStage::Returning;
            self.line_up(uid);
        }
    }

    /// Takes out an operation that has not started. Says whether it was there.
    pub fn withdraw(&mut self, uid: Uid) -> bool {
        if !self.awaits(uid) {
            return false;
        }
        self.remove(uid);
        true
    }

    /// The next operation to run, or to go on, which counts as running from now on.
    pub fn start(&mut self) -> Option<Turn> {
        let (_, _, uid) = self.under_way.pop_first().or_else(|| self.lanes.pop_first())?;
        let queued = self.queued.get_mut(&uid)?;
        let turn = match queued.stage {
            QueueStage::Returning => Turn::GoOn(uid),
            _ => Turn::Start(uid),
        };
        queued.stage = QueueStage::Running;
        let lane = &mut self.lanes[queued.lane];
        lane.running += 1;
        lane.waiting -= 1;
        Some(turn)
    }

    /// A running operation has ended, whatever the end; its place and its resources are free. Gives
    /// its lane where that is paused now, because this was the last to drain from it.
    pub fn finish(&mut self, uid: Uid) -> Option<Lane> {
        let queued = self.queued.get(&uid).filter(|queued| queued.stage.has_started())?;
        let lane = queued.lane;
        let drains = self.lanes[lane].state == LaneState::Draining;
        self.remove(uid);
        let lane = &self.lanes[lane];
        (drains && lane.state == LaneState::Paused).then(|| lane.into())
    }

    /// Changes the priority of an operation that has not started. Says whether it could.
    pub fn prioritise(&mut self, uid: Uid, priority: i32) -> bool {
        if !self.awaits(uid) {
            return false;
        }
        self.step_back(uid);
        if let Some(queued) = self.queued.get_mut(&uid) {
            queued.priority = priority;
        }
        self.line_up(uid);
        true
    }

    /// Changes a lane. Gives it as it is then, if there is one of that name.
    pub fn change(&mut self, name: &str, change: LaneChange) -> Option<Lane> {
        let Lane { width, state, .. } = self.changed(name, change)?;
        let number = self.lanes.find(name)?;
        let lane = &mut self.lanes[number];
        (lane.width, lane.state) = (width, state);
        Some(Lane::from(&*lane))
    }

    /// Sets a lane as it was left, at start.
    pub fn restore(&mut self, name: &str, width: u32, state: LaneState) {
        let number = self.lanes.find_or_open(&name.to_owned().into(), 1);
        let lane = &mut self.lanes[number];
        lane.width = width.clamp(1, WIDEST);
        lane.state = state;
    }

    /// Puts an operation among those that start next, if it may.
    fn line_up(&mut self, uid: Uid) {
        let Some(queued) = self.queued.get(&uid) else { return };
        if queued.blocked > 0
            || !matches!(queued.stage, QueueStage::Waiting | QueueStage::Returning)
        {
            return;
        }
        let place = place(queued);
        let lane = &mut self.lanes[queued.lane];
        let next = match queued.stage {
            _ if queued.asks_no_lane() => &mut self.under_way,
            QueueStage::Returning => &mut lane.returning,
            _ => &mut lane.ready,
        };
        next.insert(place);
    }

    /// Takes an operation from among those that start next.
    fn step_back(&mut self, uid: Uid) {
        let Some(queued) = self.queued.get(&uid) else { return };
        let place = place(queued);
        self.under_way.remove(&place);
        self.lanes[queued.lane].step_back(&place);
    }

    /// Takes an operation out and lets those behind it move up.
    fn remove(&mut self, uid: Uid) {
        self.step_back(uid);
        let Some(gone) = self.queued.remove(&uid) else { return };
        let lane = &mut self.lanes[gone.lane];
        if gone.stage == QueueStage::Running {
            lane.free_place();
        } else {
            lane.waiting -= 1;
        }
        for place in gone.places() {
            for uid in self.lines.leave(place) {
                self.unblock(uid);
            }
        }
        if let Some(family) = self.families.get_mut(&gone.parent) {
            let next = family.leave(gone.ticket);
            if family.is_empty() {
                self.families.remove(&gone.parent);
            }
            if let Some(uid) = next {
                self.unblock(uid);
            }
        }
    }

    fn unblock(&mut self, uid: Uid) {
        if let Some(queued) = self.queued.get_mut(&uid) {
            queued.blocked -= 1;
            self.line_up(uid);
        }
    }
}

fn place(queued: &Queued) -> LanePlace {
    (Reverse(queued.priority), queued.ticket, queued.uid)
}
