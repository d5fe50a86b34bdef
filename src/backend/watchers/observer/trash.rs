//! The trash and the clock: what lies there is removed when its time is over, which must not come
//! sooner because somebody set the clock.

use std::collections::{HashMap, HashSet};

use jiff::SignedDuration;

use super::Site;
use crate::backend::watchers::timekeeper::{Jump, Timekeeper};
use crate::domain::{Disk, DiskState, Resource, ResourceId};

/// How far the trash follows a clock that is set.
pub(super) struct Followed {
    keeper: Timekeeper,
    /// The disks that were in the trash when the clock was looked at last.
    seen: HashSet<u64>,
    /// By how much the clock was set, for the disks that are still to be told.
    owed: HashMap<u64, SignedDuration>,
    /// Whether this life has kept the time for the next one.
    kept: bool,
}

impl Followed {
    /// Follows from where an earlier life left the clock.
    pub(super) fn new(keeper: Timekeeper) -> Self {
        Self { keeper, seen: HashSet::new(), owed: HashMap::new(), kept: false }
    }

    /// Whether the time since when a disk is in the trash can be believed.
    pub(super) fn is_right_for(&self, disk: u64) -> bool {
        !self.owed.contains_key(&disk)
    }

    /// Moves the times of what lies in the trash along with a clock that was set, so that its age
    /// stays the time that passed. Between two boots of the box nobody knows how much that was:
    /// then the age begins anew rather than that anything is removed too early.
    pub(super) async fn follow(&mut self, site: &Site) {
        let disks = disks(site);
        if !self.kept {
            self.seen = disks.iter().map(|disk| disk.id).collect();
        }
        let jump = self.keeper.look(&*site.ports().clock);
        if let Some(jump) = jump {
            for disk in &disks {
                if let Some(by) = self.moves(jump, disk) {
                    *self.owed.entry(disk.id).or_default() += by;
                }
            }
        }
        self.seen = disks.iter().map(|disk| disk.id).collect();
        self.owed.retain(|disk, _| self.seen.contains(disk));
        for disk in disks {
            if let Some(by) = self.owed.get(&disk.id).copied()
                && tell(site, disk.id, by).await
            {
                self.owed.remove(&disk.id);
            }
        }
        if jump.is_some() || !self.kept {
            self.keep(site);
        }
    }

    /// How far a disk's time moves with the clock.
    fn moves(&self, jump: Jump, disk: &Disk) -> Option<SignedDuration> {
        if jump.is_ahead() {
            // Not beyond now, where a disk came into the trash after the clock was set.
            disk.trashed.map(|trashed| jump.to.duration_since(jump.from.max(trashed)))
        } else {
            // One that came after the clock was set back has the right time already.
            self.seen.contains(&disk.id).then(|| jump.by())
        }
    }

    /// Keeps what the clock shows for the next life.
    pub(super) fn keep(&mut self, site: &Site) {
        self.kept = true;
        // While a disk has not been told, the next life is to see that the clock was set.
        if self.owed.is_empty()
            && let Err(error) = self.keeper.keep(&site.settings().state_dir)
        {
            tracing::warn!(%error, "the time cannot be kept for the next start");
        }
    }
}

/// Moves the time since when a disk is in the trash. Says whether that was done: not while an
/// operation holds it.
async fn tell(site: &Site, id: u64, by: SignedDuration) -> bool {
    let id = ResourceId::new(Disk::KIND, id);
    let Some(lease) = site.engine.lease(id) else { return false };
    let Resource::Disk(disk) = lease.resource() else { return false };
    let trashed = disk.trashed.and_then(|at| at.checked_add(by).ok());
    let disk = Disk { trashed, ..disk.clone() };
    let told = lease.put(Resource::Disk(disk)).await;
    if let Err(error) = &told {
        tracing::warn!(%id, %error, "its time in the trash is not right yet");
    }
    told.is_ok()
}

/// The disks in the trash.
pub(super) fn disks(site: &Site) -> Vec<Disk> {
    site.engine.inventory(|inventory| {
        let disks = inventory.of(Disk::KIND).filter_map(|it| match &**it {
            Resource::Disk(disk) if disk.state == DiskState::Trashed => Some(disk.clone()),
            _ => None,
        });
        disks.collect()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::backend::ports::{GuestEvent, GuestStatus};
    use crate::backend::testing::harness::Harness;
    use crate::domain::{Disk, Fact, Vm};

    #[tokio::test]
    async fn nothing_is_purged_because_the_clock_was_set() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        harness.done("disk_delete", json!({ "disk": disk })).await;
        harness.fake.advance(Duration::from_secs(86_400));
        let before = harness.disk(disk).await.trashed.unwrap();
        let ten_years = SignedDuration::from_hours(24 * 3650);
        let id = ResourceId::new(Disk::KIND, disk);
        let is = |it: &Resource, at| matches!(it, Resource::Disk(it) if it.trashed == Some(at));
        let trashed_at = |at: Timestamp| move |it: &Resource| is(it, at);
        harness.fake.sets_clock(ten_years);
        harness.becomes(id, trashed_at(before + ten_years)).await;
        // It is set back a life later, in which something is seen to happen.
        harness.backend.leave(false).await;
        harness.fake.sets_clock(-ten_years);
        let mut harness = harness.restart().await;
        harness.becomes(id, trashed_at(before)).await;
        harness.fake.becomes(vm, GuestStatus::Paused, GuestEvent::Paused);
        harness.becomes(ResourceId::new(Vm::KIND, vm), |it| it.state() == "paused").await;
        assert_eq!(harness.disk(disk).await.state, DiskState::Trashed);
        harness.fake.advance(Duration::from_secs(6 * 86_400));
        while harness.resource(id).await.is_some() {
            harness.hears(|fact| matches!(fact, Fact::Gone(_)).then_some(())).await;
        }
    }
}
