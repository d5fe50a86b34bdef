//! The trash and the clock: what lies there is removed when its time is over, which must not come
//! sooner because somebody set the clock.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::Site;
use crate::backend::engine::store::known::KnownPath;
use crate::backend::watchers::timekeeper::{Jump, Timekeeper};
use crate::domain::{Disk, DiskState, Resource, ResourceId};

/// How far the trash follows a clock that is set.
pub(super) struct Followed {
    keeper: Timekeeper,
    /// By how much the clock was set, for the disks that are still to be told.
    owed: HashMap<u64, SignedDuration>,
    /// Whether this life has kept the time for the next one.
    kept: bool,
    /// Where it is kept: another directory in that place is not ours to write to.
    home: Option<KnownPath>,
}

impl Followed {
    /// Follows from where an earlier life left the clock.
    pub(super) fn new(keeper: Timekeeper, site: &Site) -> Self {
        // One that cannot be looked at cannot be written to either.
        let home = KnownPath::at("state directory", &site.settings().state_dir).ok();
        Self { keeper, owed: HashMap::new(), kept: false, home }
    }

    /// What the clock showed when it was looked at last. By that, nothing has become old because
    /// the clock was set since.
    pub(super) fn shown(&self) -> Timestamp {
        self.keeper.wall()
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
        let jump = self.keeper.look(&*site.ports().clock);
        if let Some(jump) = jump {
            for disk in &disks {
                if let Some(by) = moves(jump, disk, kept_for(site)) {
                    *self.owed.entry(disk.id).or_default() += by;
                }
            }
        }
        self.owed.retain(|id, _| disks.iter().any(|disk| disk.id == *id));
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

    /// Keeps what the clock shows for the next life.
    pub(super) fn keep(&mut self, site: &Site) {
        self.kept = true;
        // While a disk has not been told, the next life is to see that the clock was set.
        if self.owed.is_empty()
            && self.home.as_ref().is_some_and(KnownPath::holds)
            && let Err(error) = self.keeper.keep(&site.settings().state_dir)
        {
            tracing::warn!(%error, "the time cannot be kept for the next start");
        }
    }
}

/// How far a disk's time moves with the clock, where disks are kept for so long. None is too old
/// at once by that: then its age begins anew.
fn moves(jump: Jump, disk: &Disk, keep: SignedDuration) -> Option<SignedDuration> {
    let trashed = disk.trashed?;
    let anew = jump.to.duration_since(trashed);
    let by = if jump.is_ahead() {
        // Not beyond now, where a disk came into the trash after the clock was set.
        jump.to.duration_since(jump.from.max(trashed))
    } else if trashed > jump.to {
        jump.by().min(anew)
    } else {
        // It may have come after the clock was set back, and what is known of the clock before may
        // be wrong.
        SignedDuration::ZERO
    };
    let by = if anew - by < keep { by } else { anew };
    (!by.is_zero()).then_some(by)
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

/// For how long a disk is kept in the trash.
pub(super) fn kept_for(site: &Site) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(site.settings().trash_days))
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

    /// What is left of a disk's age by a clock that is set, in days: from day, to day, trashed on.
    fn age(from: i64, to: i64, trashed: i64) -> i64 {
        let day = |day| Timestamp::from_second(day * 86_400).unwrap();
        let jump = Jump { from: day(from), to: day(to), proven: true };
        let disk = Disk {
            id: 1,
            name: "data".to_owned(),
            state: DiskState::Trashed,
            size_mb: 1,
            fstype: crate::domain::FsType::None,
            format: crate::domain::DiskFormat::Qcow2,
            path: "/x".into(),
            vm: None,
            created: day(0),
            trashed: Some(day(trashed)),
        };
        let by = moves(jump, &disk, SignedDuration::from_hours(24 * 7)).unwrap_or_default();
        jump.to.duration_since(day(trashed) + by).as_hours() / 24
    }

    #[test]
    fn no_jump_makes_a_disk_too_old() {
        assert_eq!(age(100, 3100, 98), 2, "the age is the time that passed");
        assert_eq!(age(3100, 100, 3098), 2, "and stays that when the clock is set right");
        assert_eq!(age(3100, 100, 3200), 0);
        // What was kept of the clock is of another life than the record.
        assert_eq!(age(3100, 100, 99), 1);
        assert_eq!(age(3100, 100, 101), 0);
        assert_eq!(age(3100, 100, 90), 0);
        // Nobody saw the time pass in which it became too old.
        assert_eq!(age(108, 3100, 100), 0);
    }

    #[tokio::test]
    async fn a_clock_file_that_is_ahead_purges_nothing() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        harness.done("disk_delete", json!({ "disk": disk })).await;
        let trashed = harness.disk(disk).await.trashed;
        let ahead = harness.fake.clone();
        let mut harness = harness
            .restart_after(|dir| {
                ahead.sets_clock(SignedDuration::from_hours(24 * 3650));
                Timekeeper::new(&*ahead.ports().clock).keep(dir).unwrap();
                ahead.sets_clock(SignedDuration::from_hours(-24 * 3650));
            })
            .await;
        // Whatever the observer does first, it has done when this is seen.
        let vm = harness.some_vm().await;
        harness.fake.becomes(vm, GuestStatus::Paused, GuestEvent::Paused);
        harness.becomes(ResourceId::new(Vm::KIND, vm), |it| it.state() == "paused").await;
        let disk = harness.disk(disk).await;
        assert_eq!((disk.state, disk.trashed), (DiskState::Trashed, trashed));
    }

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
