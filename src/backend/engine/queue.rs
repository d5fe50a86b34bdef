//! The queue: which operation may run next. Pure and synchronous; no store, no clock, no runtime.
//!
//! ```text
//!  accept ──▶ held ── commit ──▶ waiting ── start ──▶ running ── finish ──▶ (gone)
//!               └────────────── withdraw ──┴──▶ (gone)
//! ```
//!
//! An operation may start when it is on disk, when no earlier one holds or awaits a resource it
//! needs in a way that excludes it, and when its lane has a place. Among those that may, the one
//! with the highest priority starts first, and among equals the one accepted first. Operations on
//! one resource therefore run in the order they were accepted, whatever their priority. One that is
//! relaunched is accepted anew, behind all others.

mod line;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::{Lane, LaneChange, LaneState, LockMode, ResourceId, Text, Uid, Wait};

use line::Line;

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Held,
    Waiting,
    Running,
}

/// The order of acceptance. Not the number: a relaunched operation keeps that.
type Ticket = u64;

#[derive(Debug)]
struct Queued {
    entry: QueueEntry,
    stage: Stage,
    ticket: Ticket,
    /// On how many of its resources it is not its turn yet.
    blocked: usize,
    /// Whether it is only to be undone, which needs no place in its lane.
    cancelled: bool,
}

/// Its place in a lane: the first starts first.
type Place = (Reverse<i32>, Ticket, Uid);

#[derive(Debug)]
struct LaneQueue {
    width: u32,
    state: LaneState,
    running: u32,
    waiting: u32,
    /// On disk, and it is their turn on every resource.
    ready: BTreeSet<Place>,
}

impl LaneQueue {
    fn new(width: u32) -> Self {
        Self { width, state: LaneState::Open, running: 0, waiting: 0, ready: BTreeSet::new() }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    lanes: BTreeMap<Text, LaneQueue>,
    /// Apart from the table, which moves all it holds whenever it grows.
    queued: HashMap<Uid, Box<Queued>>,
    /// Who holds or awaits a resource; none is empty.
    lines: HashMap<ResourceId, Line>,
    /// On disk and only to be undone, and it is their turn on every resource.
    cancelled: BTreeSet<Place>,
    last_ticket: Ticket,
}

impl Queue {
    /// A queue with these lanes: name and width, all open.
    pub fn new<'a>(lanes: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let lanes = lanes
            .into_iter()
            .map(|(name, width)| (name.to_owned().into(), LaneQueue::new(width)))
            .collect();
        Self { lanes, ..Self::default() }
    }

    /// Takes an operation in, behind those on its resources. It is held until [`Queue::commit`].
    /// An operation of a lane that does not exist opens that lane with width 1.
    pub fn accept(&mut self, entry: QueueEntry) {
        let uid = entry.uid;
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let mut blocked = 0;
        for (resource, mode) in &entry.locks {
            let line = self.lines.entry(*resource).or_default();
            line.join(ticket, &entry, *mode, entry.subject == Some(*resource));
            blocked += usize::from(!line.is_turn_of(ticket));
        }
        self.lane(&entry.lane).waiting += 1;
        let queued = Queued { entry, stage: Stage::Held, ticket, blocked, cancelled: false };
        self.queued.insert(uid, Box::new(queued));
    }

    /// The operation is on disk: it may start when its turn comes.
    pub fn commit(&mut self, uid: Uid) {
        let Some(queued) = self.queued.get_mut(&uid).filter(|queued| queued.stage == Stage::Held)
        else {
            return;
        };
        queued.stage = Stage::Waiting;
        self.line_up(uid);
    }

    /// Keeps an operation that has not started from starting, in its place, until
    /// [`Queue::commit`]. Says whether it was there.
    pub fn hold(&mut self, uid: Uid) -> bool {
        self.step_back(uid);
        match self.queued.get_mut(&uid).filter(|queued| queued.stage != Stage::Running) {
            Some(queued) => {
                queued.stage = Stage::Held;
                true
            }
            None => false,
        }
    }

    /// An operation that has not started in this life is only to be undone: it starts when its
    /// resources are free, whatever its lane says.
    pub fn mark_cancelled(&mut self, uid: Uid) {
        self.step_back(uid);
        if let Some(queued) = self.queued.get_mut(&uid) {
            queued.cancelled = true;
        }
        self.line_up(uid);
    }

    /// Takes out an operation that has not started. Says whether it was there.
    pub fn withdraw(&mut self, uid: Uid) -> bool {
        if self.queued.get(&uid).is_none_or(|queued| queued.stage == Stage::Running) {
            return false;
        }
        self.remove(uid);
        true
    }

    /// The next operation to run, which counts as running from now on.
    pub fn start(&mut self) -> Option<Uid> {
        let (_, _, uid) = self.cancelled.pop_first().or_else(|| {
            self.lanes
                .values_mut()
                .filter(|lane| lane.state == LaneState::Open && lane.running < lane.width)
                .filter(|lane| !lane.ready.is_empty())
                .min_by_key(|lane| lane.ready.first().copied())?
                .ready
                .pop_first()
        })?;
        if let Some(queued) = self.queued.get_mut(&uid) {
            queued.stage = Stage::Running;
            let lane = queued.entry.lane.clone();
            let lane = self.lane(&lane);
            lane.running += 1;
            lane.waiting -= 1;
        }
        Some(uid)
    }

    /// A running operation has ended, whatever the end; its place and its resources are free. Gives
    /// its lane where that is paused now, because this was the last to drain from it.
    pub fn finish(&mut self, uid: Uid) -> Option<Lane> {
        let queued = self.queued.get(&uid).filter(|queued| queued.stage == Stage::Running)?;
        let drains = self.lanes.get(&queued.entry.lane)?.state == LaneState::Draining;
        let draining = drains.then(|| queued.entry.lane.clone());
        self.remove(uid);
        let name = draining?;
        self.lanes().find(|lane| lane.name == name && lane.state == LaneState::Paused)
    }

    /// Changes the priority of an operation that has not started. Says whether it could.
    pub fn prioritise(&mut self, uid: Uid, priority: i32) -> bool {
        if self.queued.get(&uid).is_none_or(|it| it.stage == Stage::Running) {
            return false;
        }
        self.step_back(uid);
        if let Some(queued) = self.queued.get_mut(&uid) {
            queued.entry.priority = priority;
        }
        self.line_up(uid);
        true
    }

    /// Changes a lane. Gives it as it is then, if there is one of that name.
    pub fn change(&mut self, name: &str, change: LaneChange) -> Option<Lane> {
        let Lane { width, state, .. } = self.changed(name, change)?;
        let lane = self.lanes.get_mut(name)?;
        (lane.width, lane.state) = (width, state);
        self.changed(name, change)
    }

    /// A lane as a change would make it.
    #[must_use]
    pub fn changed(&self, name: &str, change: LaneChange) -> Option<Lane> {
        let mut lane = self.lanes().find(|lane| lane.name == name)?;
        match change {
            LaneChange::Pause => lane.state = LaneState::Paused,
            LaneChange::Resume => lane.state = LaneState::Open,
            LaneChange::Drain if lane.running == 0 => lane.state = LaneState::Paused,
            LaneChange::Drain => lane.state = LaneState::Draining,
            LaneChange::Width(width) => lane.width = width.clamp(1, WIDEST),
        }
        Some(lane)
    }

    /// Sets a lane as it was left, at start.
    pub fn restore(&mut self, name: &str, width: u32, state: LaneState) {
        let lane = self.lane(&name.to_owned().into());
        lane.width = width.clamp(1, WIDEST);
        lane.state = state;
    }

    /// Why an operation that has not started does not start; `None` when it is about to.
    #[must_use]
    pub fn wait_reason(&self, uid: Uid) -> Option<Wait> {
        let queued = self.queued.get(&uid).filter(|queued| queued.stage != Stage::Running)?;
        let holder = queued.entry.locks.iter().find_map(|(resource, _)| {
            let uid = self.lines.get(resource)?.blocker(queued.ticket)?;
            Some(Wait::Operation { uid, resource: *resource })
        });
        if holder.is_some() {
            return holder;
        }
        if queued.cancelled {
            return None;
        }
        let lane = self.lanes.get(&queued.entry.lane)?;
        let name = queued.entry.lane.to_string();
        match lane.state {
            LaneState::Paused | LaneState::Draining => Some(Wait::LanePaused { lane: name }),
            LaneState::Open if lane.running >= lane.width => Some(Wait::LaneFull { lane: name }),
            LaneState::Open => None,
        }
    }

    /// A like operation on the same subject that has not ended.
    #[must_use]
    pub fn find_duplicate(&self, kind: &str, subject: ResourceId) -> Option<Uid> {
        self.lines.get(&subject)?.first_of(kind)
    }

    /// The state a resource will be in when everything accepted so far is done, where one of those
    /// operations changes it.
    #[must_use]
    pub fn projected_state(&self, resource: ResourceId) -> Option<&str> {
        self.lines.get(&resource)?.will_be()
    }

    /// Whether an operation has not started.
    #[must_use]
    pub fn awaits(&self, uid: Uid) -> bool {
        self.queued.get(&uid).is_some_and(|queued| queued.stage != Stage::Running)
    }

    /// Who awaits a resource and has not started, in the order they were accepted.
    pub fn awaiting(&self, resource: ResourceId) -> impl Iterator<Item = Uid> {
        let all = self.lines.get(&resource).into_iter().flat_map(Line::all);
        all.filter(|uid| !self.runs(*uid))
    }

    /// Who runs and holds a resource, alone or with others.
    pub fn holders(&self, resource: ResourceId) -> impl Iterator<Item = Uid> {
        let turn = self.lines.get(&resource).into_iter().flat_map(Line::turn);
        turn.filter(|uid| self.runs(*uid))
    }

    /// The resources an operation holds or awaits.
    pub fn locks(&self, uid: Uid) -> impl Iterator<Item = ResourceId> {
        let locks = self.queued.get(&uid).map(|queued| queued.entry.locks.as_slice());
        locks.unwrap_or_default().iter().map(|(resource, _)| *resource)
    }

    /// Whether a running operation holds a resource for itself.
    #[must_use]
    pub fn is_held(&self, resource: ResourceId) -> bool {
        self.lines.get(&resource).and_then(Line::alone).is_some_and(|uid| self.runs(uid))
    }

    /// Every lane, by name.
    pub fn lanes(&self) -> impl Iterator<Item = Lane> {
        self.lanes.iter().map(|(name, lane)| Lane {
            name: name.to_string(),
            width: lane.width,
            state: lane.state,
            running: lane.running,
            waiting: lane.waiting,
        })
    }

    /// How many run and how many wait, in all lanes.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.lanes.values().fold((0, 0), |(running, waiting), lane| {
            (running + u64::from(lane.running), waiting + u64::from(lane.waiting))
        })
    }

    fn lane(&mut self, name: &Text) -> &mut LaneQueue {
        self.lanes.entry(name.clone()).or_insert_with(|| LaneQueue::new(1))
    }

    fn runs(&self, uid: Uid) -> bool {
        self.queued.get(&uid).is_some_and(|queued| queued.stage == Stage::Running)
    }

    /// Puts an operation among those that start next, if it may.
    fn line_up(&mut self, uid: Uid) {
        let Some(queued) = self.queued.get(&uid) else { return };
        if queued.blocked > 0 || queued.stage != Stage::Waiting {
            return;
        }
        let (lane, place) = (queued.entry.lane.clone(), place(queued));
        if queued.cancelled {
            self.cancelled.insert(place);
        } else {
            self.lane(&lane).ready.insert(place);
        }
    }

    /// Takes an operation from among those that start next.
    fn step_back(&mut self, uid: Uid) {
        let Some(queued) = self.queued.get(&uid) else { return };
        let (lane, place) = (queued.entry.lane.clone(), place(queued));
        self.cancelled.remove(&place);
        self.lane(&lane).ready.remove(&place);
    }

    /// Takes an operation out and lets those behind it move up.
    fn remove(&mut self, uid: Uid) {
        self.step_back(uid);
        let Some(gone) = self.queued.remove(&uid) else { return };
        let lane = self.lane(&gone.entry.lane);
        if gone.stage == Stage::Running {
            lane.running -= 1;
            if lane.running == 0 && lane.state == LaneState::Draining {
                lane.state = LaneState::Paused;
            }
        } else {
            lane.waiting -= 1;
        }
        for (resource, _) in &gone.entry.locks {
            let Some(line) = self.lines.get_mut(resource) else { continue };
            let next = line.leave(gone.ticket);
            if line.is_empty() {
                self.lines.remove(resource);
            }
            for uid in next {
                let Some(queued) = self.queued.get_mut(&uid) else { continue };
                queued.blocked -= 1;
                self.line_up(uid);
            }
        }
    }
}

fn place(queued: &Queued) -> Place {
    (Reverse(queued.entry.priority), queued.ticket, queued.entry.uid)
}
