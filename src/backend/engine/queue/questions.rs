//! What can be asked of the queue. Nothing here changes it.

use crate::domain::{Lane, LaneChange, LaneState, LockMode, ResourceId, Uid, Wait};

use super::lines::EVERYBODY;
use super::{Queue, QueueStage, Queued, Ticket, WIDEST};

impl Queue {
    /// The nearest of these ancestors that holds or awaits a resource, and within whose hold it
    /// does.
    pub(super) fn hold_of(&self, ancestors: &[Uid], resource: ResourceId) -> (Ticket, Ticket) {
        let mut queued = ancestors.iter().filter_map(|ancestor| self.queued.get(ancestor));
        queued
            .find_map(|it| it.places().find(|place| place.resource == resource))
            .map_or((EVERYBODY, EVERYBODY), |place| (place.ticket, place.within))
    }

    /// The first of these locks that a child of the first of these ancestors may not have, because
    /// families could wait for each other in a circle with it: one that is not covered by what the
    /// nearest ancestor holds that holds anything; and any at all where one above the first, up to
    /// that one, lets only so many of its children be under way at once. It would stand in line
    /// behind those that are not let in before its own parent has ended. What an operation makes
    /// itself is not counted: nobody else can need it yet.
    #[must_use]
    pub fn uncovered(
        &self,
        ancestors: &[Uid],
        locks: &[(ResourceId, LockMode)],
    ) -> Option<(Uid, ResourceId)> {
        let queued = ancestors.iter().filter_map(|ancestor| self.queued.get(ancestor));
        let mut parent = None;
        for Queued { uid, locks: held, at_once, .. } in queued.map(|it| &**it) {
            if let (Some(parent), Some(_), Some((id, _))) = (parent, at_once, locks.first()) {
                return Some((parent, *id));
            }
            if held.is_empty() {
                parent.get_or_insert(*uid);
                continue;
            }
            let covers = |(resource, mode): &(ResourceId, LockMode)| {
                held.iter().any(|(it, held)| {
                    it == resource && (*held == LockMode::Exclusive || *mode == LockMode::Shared)
                })
            };
            return locks.iter().find(|lock| !covers(lock)).map(|(id, _)| (*uid, *id));
        }
        None
    }

    /// Whether an operation runs and has its place in its lane.
    #[must_use]
    pub fn has_place(&self, uid: Uid) -> bool {
        self.queued.get(&uid).is_some_and(|queued| queued.stage == QueueStage::Running)
    }

    /// Whether an operation waits until its parent has fewer children under way.
    #[must_use]
    pub fn is_kept_out(&self, uid: Uid) -> bool {
        self.queued.get(&uid).is_some_and(|queued| {
            let family = self.families.get(&queued.parent);
            family.is_some_and(|family| family.keeps_out(queued.ticket))
        })
    }

    /// Whether no further child of an operation is started.
    #[must_use]
    pub fn is_closed(&self, parent: Uid) -> bool {
        self.queued.get(&parent).is_some_and(|parent| parent.closed)
    }

    /// A lane as a change would make it.
    #[must_use]
    pub fn changed(&self, name: &str, change: LaneChange) -> Option<Lane> {
        let mut lane = Lane::from(&self.lanes[self.lanes.find(name)?]);
        match change {
            LaneChange::Pause => lane.state = LaneState::Paused,
            LaneChange::Resume => lane.state = LaneState::Open,
            LaneChange::Drain if lane.running == 0 => lane.state = LaneState::Paused,
            LaneChange::Drain => lane.state = LaneState::Draining,
            LaneChange::Width(width) => lane.width = width.clamp(1, WIDEST),
        }
        Some(lane)
    }

    /// Why an operation does not start, or does not go on; `None` when it is about to, and while it
    /// waits for its children.
    #[must_use]
    pub fn wait_reason(&self, uid: Uid) -> Option<Wait> {
        let queued = self.queued.get(&uid)?;
        if matches!(queued.stage, QueueStage::Running | QueueStage::Joining) {
            return None;
        }
        let holder = queued.places().find_map(|place| {
            let uid = self.lines.blocker(place)?;
            Some(Wait::Operation { uid, resource: place.resource })
        });
        if holder.is_some() {
            return holder;
        }
        if queued.asks_no_lane() {
            return None;
        }
        if self.is_kept_out(uid) {
            return Some(Wait::Siblings { parent: *queued.ancestors.first()? });
        }
        let lane = &self.lanes[queued.lane];
        let returns = queued.stage == QueueStage::Returning;
        if lane.state != LaneState::Open && !returns {
            let draining = lane.state == LaneState::Draining;
            return Some(Wait::LanePaused { lane: lane.name(), draining });
        }
        (!lane.has_place()).then(|| Wait::LaneFull { lane: lane.name() })
    }

    /// A like operation on the same subject that has not ended. For one with `ancestors` only those
    /// count that it would stand in line with.
    #[must_use]
    pub fn find_duplicate(
        &self,
        kind: &str,
        subject: ResourceId,
        ancestors: &[Uid],
    ) -> Option<Uid> {
        let (within, _) = self.hold_of(ancestors, subject);
        self.lines.first_of(subject, within, kind)
    }

    /// The state a resource will be in when everything accepted so far is done, where one of those
    /// operations changes it. For one with `ancestors` only those count that it would stand in line
    /// with.
    #[must_use]
    pub fn projected_state(&self, resource: ResourceId, ancestors: &[Uid]) -> Option<&str> {
        let (within, _) = self.hold_of(ancestors, resource);
        self.lines.projected_state(resource, within)
    }

    /// Whether an operation has not started.
    #[must_use]
    pub fn awaits(&self, uid: Uid) -> bool {
        self.queued.get(&uid).is_some_and(|queued| !queued.stage.has_started())
    }

    /// Who awaits a resource and has not started, in the order they were accepted.
    pub fn awaiting(&self, resource: ResourceId) -> impl Iterator<Item = Uid> {
        self.lines.all(resource).into_iter().filter(|uid| !self.runs(*uid))
    }

    /// Who runs and holds a resource, alone or with others.
    pub fn holders(&self, resource: ResourceId) -> impl Iterator<Item = Uid> {
        let mut turn = Vec::new();
        self.lines.turn(resource, &mut |uid, _| turn.push(uid));
        turn.into_iter().filter(|uid| self.runs(*uid))
    }

    /// The resources an operation holds or awaits.
    pub fn locks(&self, uid: Uid) -> impl Iterator<Item = ResourceId> {
        let locks = self.queued.get(&uid).map(|queued| &*queued.locks);
        locks.unwrap_or_default().iter().map(|(resource, _)| *resource)
    }

    /// Whether a running operation holds a resource for itself.
    #[must_use]
    pub fn is_held(&self, resource: ResourceId) -> bool {
        let mut is_held = false;
        self.lines.turn(resource, &mut |uid, alone| is_held |= alone && self.runs(uid));
        is_held
    }

    /// Every lane, by name.
    pub fn lanes(&self) -> impl Iterator<Item = Lane> {
        self.lanes.by_name().map(Lane::from)
    }

    /// How many run and how many wait, in all lanes.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.lanes.iter().fold((0, 0), |(running, waiting), lane| {
            (running + u64::from(lane.running), waiting + u64::from(lane.waiting))
        })
    }

    pub(super) fn runs(&self, uid: Uid) -> bool {
        self.queued.get(&uid).is_some_and(|queued| queued.stage.has_started())
    }
}
