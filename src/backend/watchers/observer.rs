//! The observer: watches what happens by itself, and puts the record right.
//!
//! ```text
//!  guest events ─┐                      ┌─ guest shut down ─▶ quit QEMU, halted
//!  VM changed ───┼─▶ due ─▶ not held? ──┼─ QEMU gone ───────▶ crashed, with the cause
//!  start ────────┘           hold       └─ paused, resumed ─▶ paused, running
//! ```
//!
//! A VM that a running operation holds is that operation's business; it is looked at again once it
//! is free. While the observer puts one right, operations on it wait for that moment. It wakes on
//! events, never by polling, and knows ports, not drivers.

mod trash;
pub(in crate::backend) mod unwatched;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::domain::{
    Disk, Fact, Failure, Image, Params, Reason, Resource, ResourceId, Submit, Vm, VmState,
};

use super::Site;
use super::timekeeper::Timekeeper;
use crate::backend::engine::Lease;
use crate::backend::engine::notices::{Notice, Watch};
use crate::backend::ports::{GuestEvent, GuestStatus};

/// Who asks when nobody does.
const ACTOR: &str = "hostler";
/// How long to wait before a VM that could not be looked at is looked at again: a QEMU that hangs
/// does not tell when it does no more.
const LOOK_RETRY: Duration = Duration::from_secs(5);
/// How far apart resets of a guest are put on record: one may reset itself for ever.
const RESETS_APART: SignedDuration = SignedDuration::from_secs(10);
/// How many events of guests may wait to be looked at.
const WAITING: usize = 256;

/// Observes until the backend leaves. `keeper` is where an earlier life left the clock.
pub(in crate::backend) async fn run(site: Arc<Site>, watch: Watch, keeper: Timekeeper) {
    let (heard, events) = mpsc::channel(WAITING);
    let mut observer = Observer {
        site: site.clone(),
        watch,
        heard,
        watched: HashMap::new(),
        due: HashSet::new(),
        resets: HashMap::new(),
        purged: HashSet::new(),
        clock: trash::Followed::new(keeper, &site),
    };
    tokio::select! {
        () = site.engine.paused() => {}
        _ = async { tokio::join!(observer.observe(events), super::sampler::run(&site)) } => {}
    }
    observer.clock.follow(&site).await;
    observer.clock.keep(&site);
}

/// What may concern the observer. A disk in the trash has its time, an image that is gone leaves
/// its folder, and an operation on a disk holds the VM it is attached to.
pub(in crate::backend) fn concerns(notice: Notice) -> bool {
    let Notice::Resource(id) = notice else { return false };
    [Vm::KIND, Disk::KIND, Image::KIND].contains(&id.kind)
}

struct Observer {
    site: Arc<Site>,
    watch: Watch,
    /// Where the watchers tell of their VMs.
    heard: mpsc::Sender<(u64, GuestEvent)>,
    /// The VMs that are watched.
    watched: HashMap<u64, AbortOnDropHandle<()>>,
    /// The VMs to look at as soon as nobody holds them.
    due: HashSet<u64>,
    /// When guests were reset, until that is on record.
    resets: HashMap<u64, Timestamp>,
    /// The disks whose removal was asked for in this life.
    purged: HashSet<u64>,
    /// How far the trash follows a clock that is set.
    clock: trash::Followed,
}

impl Observer {
    async fn observe(&mut self, mut events: mpsc::Receiver<(u64, GuestEvent)>) {
        loop {
            let failed = self.look().await;
            // Only now: looking takes a while, in which the clock may be set.
            self.clock.follow(&self.site).await;
            let purge = self.purge().await;
            let clock = self.site.ports().clock.clone();
            tokio::select! {
                _ = self.watch.next() => {}
                Some((vm, event)) = events.recv() => self.hear(vm, event),
                () = clock.until(purge.unwrap_or_default()), if purge.is_some() => {}
                () = tokio::time::sleep(LOOK_RETRY), if failed => {}
            }
        }
    }

    fn hear(&mut self, vm: u64, event: GuestEvent) {
        match event {
            // A reset is no stop: the guest starts anew, and its QEMU goes on.
            GuestEvent::Reset { .. } => {
                let now = self.site.ports().clock.now();
                let started = self.site.engine.inventory(|all| all.get::<Vm>(vm)?.started);
                // It may lie ahead, where the clock was set back.
                let ago = started.map(|it| now.duration_since(it));
                if ago.is_some_and(|ago| !ago.is_negative() && ago < RESETS_APART) {
                    return;
                }
                self.resets.insert(vm, now);
            }
            GuestEvent::Gone => drop(self.watched.remove(&vm)),
            GuestEvent::ShutDown | GuestEvent::Paused | GuestEvent::Resumed => {}
        }
        self.due.insert(vm);
    }

    /// Looks at every VM that is due and free. Says whether one could not be looked at.
    async fn look(&mut self) -> bool {
        let mut up = HashSet::new();
        let mut now = Vec::new();
        self.site.engine.look(|live| {
            for resource in live.inventory().of(Vm::KIND) {
                let Resource::Vm(vm) = &**resource else { continue };
                if !vm.is_up() {
                    continue;
                }
                up.insert(vm.id);
                if live.queue().is_held(resource.id()) {
                    self.due.insert(vm.id);
                } else if self.due.contains(&vm.id) || !self.watched.contains_key(&vm.id) {
                    now.push(vm.id);
                }
            }
        });
        self.due.retain(|vm| up.contains(vm));
        self.resets.retain(|vm, _| up.contains(vm));
        self.watched.retain(|vm, _| up.contains(vm));
        let mut failed = false;
        for vm in now {
            if let Err(failure) = self.put_right(vm).await {
                tracing::warn!(vm, %failure, "a VM cannot be observed");
                self.due.insert(vm);
                failed = true;
            }
        }
        failed
    }

    /// Finds out what a VM is doing, and makes the record say so.
    async fn put_right(&mut self, id: u64) -> Result<(), Failure> {
        let site = self.site.clone();
        let Some((vm, lease)) = lease(&site, id) else {
            self.due.insert(id);
            return Ok(());
        };
        self.due.remove(&id);
        let settings = site.settings();
        let hypervisor = &site.ports().hypervisor;
        let guest = settings.guest(&vm);
        // Watched before it is asked, so that nothing falls between the two.
        if !self.watched.contains_key(&id) {
            let mut events = hypervisor.watch(&guest).await?;
            let heard = self.heard.clone();
            let watcher = tokio::spawn(async move {
                while let Some(event) = events.next().await {
                    if heard.send((id, event)).await.is_err() {
                        return;
                    }
                }
                // A line that broke looks like an end: the VM is looked at and watched anew.
                let _ = heard.send((id, GuestEvent::Gone)).await;
            });
            self.watched.insert(id, AbortOnDropHandle::new(watcher));
        }
        let was = vm.state;
        // One of an earlier run is not this one's.
        let reset = self.resets.get(&id).copied().filter(|at| vm.started.is_none_or(|it| *at > it));
        let vm = Vm { started: reset.or(vm.started), ..vm };
        let right = match hypervisor.status(&guest).await? {
            GuestStatus::Running
                if was == VmState::Running && vm.note.is_none() && reset.is_none() =>
            {
                return Ok(());
            }
            GuestStatus::Running => Vm { state: VmState::Running, note: None, ..vm },
            GuestStatus::Paused if was == VmState::Paused && reset.is_none() => return Ok(()),
            GuestStatus::Paused => Vm { state: VmState::Paused, ..vm },
            GuestStatus::Broken if was == VmState::Paused && vm.note.is_some() => return Ok(()),
            GuestStatus::Broken => Vm {
                state: VmState::Paused,
                note: Some(format!(
                    "QEMU stopped it for an error, such as a full disk; see {}",
                    guest.dir.join("qemu.log").display()
                )),
                ..vm
            },
            GuestStatus::Unreachable => {
                let note = hypervisor.astray(&guest).unwrap_or_else(|| {
                    "its QEMU runs and cannot be spoken to, because its sockets were removed; shut \
                     it down from inside, then end it with vm_stop force=true"
                        .to_owned()
                });
                if vm.note.as_ref() == Some(&note) {
                    return Ok(());
                }
                Vm { note: Some(note), ..vm }
            }
            GuestStatus::ShutDown => {
                hypervisor.quit(&guest, &crate::backend::ports::CommandLog::default()).await?;
                vm.halted(Some("the guest shut itself down".to_owned()))
            }
            GuestStatus::Off => unwatched::ended(vm, &guest, site.ports()),
        };
        if let Some(message) = unwatched::tell(&right) {
            site.engine.events.publish(Fact::Notice { message });
        }
        let written = lease.put(Resource::Vm(right)).await;
        written.map_err(|error| Failure::new(error.to_string()))?;
        self.resets.remove(&id);
        Ok(())
    }

    /// Asks for the removal of every disk whose time in the trash is over. Gives when the next
    /// one's is.
    async fn purge(&mut self) -> Option<Timestamp> {
        let (keep, now) = (trash::kept_for(&self.site), self.clock.shown());
        let mut trashed: Vec<(u64, Timestamp)> = trash::disks(&self.site)
            .into_iter()
            .filter_map(|disk| Some((disk.id, disk.trashed?.checked_add(keep).ok()?)))
            .collect();
        // One that was restored may come back into the trash.
        self.purged.retain(|id| trashed.iter().any(|(disk, _)| disk == id));
        trashed.retain(|(disk, _)| !self.purged.contains(disk) && self.clock.is_right_for(*disk));
        let mut next = None;
        for (disk, over) in trashed {
            if over > now {
                next = Some(next.map_or(over, |next: Timestamp| next.min(over)));
                continue;
            }
            self.purged.insert(disk);
            let params = Params::from_iter([("disk".to_owned(), disk.into())]);
            let actor = ACTOR.to_owned();
            let kind = "disk_purge".into();
            let submit = Submit { kind, params, actor, ..Submit::default() };
            match self.site.engine.submit_with(submit, |_, _| Ok(Vec::new())).await {
                Ok(_) => {}
                // Somebody was faster.
                Err(crate::domain::BackendError::Refused(refusal))
                    if matches!(
                        refusal.reason,
                        Reason::OperationPending { .. } | Reason::State
                    ) => {}
                Err(error) => tracing::warn!(disk, %error, "a disk stays in the trash"),
            }
        }
        next
    }
}

/// A VM, and a hold on it while it is put right: operations on it that start now wait. `None` when
/// a running one holds it, or it is gone.
fn lease(site: &Site, id: u64) -> Option<(Vm, Lease)> {
    let lease = site.engine.lease(ResourceId::new(Vm::KIND, id))?;
    match lease.resource() {
        Resource::Vm(vm) => Some((vm.clone(), lease)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::testing::fake::CallFault;
    use crate::backend::testing::harness::Harness;
    use crate::domain::{Answer, Backend, Disk, DiskState, Filter, List, Query, Subject, Vm};

    const fn vm(id: u64) -> ResourceId {
        ResourceId::new(Vm::KIND, id)
    }

    #[tokio::test]
    async fn a_guest_that_shuts_itself_down_is_halted() {
        let mut harness = Harness::open();
        let id = harness.some_vm().await;
        harness.fake.becomes(id, GuestStatus::ShutDown, GuestEvent::ShutDown);
        let found = harness.becomes(vm(id), |it| it.state() == "halted").await;
        let Resource::Vm(found) = found else { panic!("{found:?}") };
        assert_eq!(found.note.as_deref(), Some("the guest shut itself down"));
        assert_eq!((found.accelerator, found.started), (None, None));
        assert!(harness.fake.processes().is_empty());
        harness.done("vm_start", json!({ "vm": id })).await;
        assert_eq!(harness.vm(id).await.note, None);
    }

    #[tokio::test]
    async fn a_qemu_that_dies_is_told_with_its_log() {
        let mut harness = Harness::open();
        let id = harness.some_vm().await;
        let log = harness.dir().join("vms/1/qemu.log");
        std::fs::write(log, "terminating on signal 15 from pid 7 (kill)\n").unwrap();
        harness.fake.becomes(id, GuestStatus::Off, GuestEvent::Gone);
        let found = harness.becomes(vm(id), |it| it.state() == "crashed").await;
        assert!(found.problem().is_some());
        let Resource::Vm(found) = found else { panic!("{found:?}") };
        assert!(found.crashed.is_some() && found.accelerator.is_none());
        let note = found.note.unwrap();
        assert!(note.contains("unexpectedly: terminating on signal 15"), "{note}");
        assert!(note.ends_with("vms/1/qemu.log"), "{note}");
        let crashed = Filter::default().and_state(false, "crashed");
        let found = harness.backend.query(Query::List(List {
            of: Subject::Resources(Vm::KIND),
            filter: crashed,
            sort: None,
            offset: 0,
            limit: 10,
            around: None,
        }));
        assert!(matches!(found.await, Ok(Answer::Page(page)) if page.total == 1));
        harness.done("vm_delete", json!({ "vm": id })).await;
    }

    #[tokio::test]
    async fn a_guest_that_was_ended_is_halted_also_when_that_was_called_off() {
        let mut harness = Harness::open();
        let id = harness.some_vm().await;
        harness.fake.trouble(0, CallFault::Hang);
        let stop = harness.submit("vm_stop", json!({ "vm": id, "force": true })).await.unwrap();
        harness.fake.hung().await;
        harness.control(crate::domain::Control::Cancel { uid: stop.uid }).await;
        let found = harness.becomes(vm(id), |it| it.state() != "running").await;
        assert_eq!((found.state(), found.problem()), ("halted", None));
        // What is launched anew and then dies has crashed.
        harness.done("vm_start", json!({ "vm": id })).await;
        harness.fake.becomes(id, GuestStatus::Off, GuestEvent::Gone);
        harness.becomes(vm(id), |it| it.state() == "crashed").await;
    }

    #[tokio::test]
    async fn a_guest_whose_qemu_cannot_be_spoken_to_is_left_alone_and_told() {
        let mut harness = Harness::open();
        let id = harness.some_vm().await;
        harness.fake.becomes(id, GuestStatus::Unreachable, GuestEvent::Paused);
        let is = |it: &Resource| matches!(it, Resource::Vm(vm) if vm.note.is_some());
        let found = harness.becomes(vm(id), is).await;
        assert_eq!(found.state(), "running");
        assert!(harness.fake.processes().contains_key(&id));
        let (_, why) = harness.fails("vm_stop", json!({ "vm": id })).await;
        assert!(why.contains("cannot be spoken to") && why.contains("force=true"), "{why}");
        harness.done("vm_stop", json!({ "vm": id, "force": true })).await;
        assert!(harness.fake.processes().is_empty());
    }

    #[tokio::test]
    async fn a_guest_that_has_other_disks_than_its_vm_is_told_and_ended_only_by_force() {
        let mut harness = Harness::open();
        let id = harness.some_vm().await;
        harness.fake.goes_astray(id, "process 7 has another disk");
        let why = Some("process 7 has another disk");
        let is = |it: &Resource| matches!(it, Resource::Vm(vm) if vm.note.as_deref() == why);
        harness.becomes(vm(id), is).await;
        assert!(harness.fake.processes().contains_key(&id));
        let (_, why) = harness.fails("vm_stop", json!({ "vm": id })).await;
        assert_eq!(why, "process 7 has another disk");
        harness.done("vm_stop", json!({ "vm": id, "force": true })).await;
        assert!(harness.fake.processes().is_empty());
    }

    #[tokio::test]
    async fn pauses_are_seen_and_resets_are_no_stops_but_new_starts() {
        let mut harness = Harness::open();
        let id = harness.some_vm().await;
        let reset = GuestEvent::Reset { by_guest: true };
        let before = harness.vm(id).await.started;
        harness.fake.advance(Duration::from_secs(10));
        harness.fake.becomes(id, GuestStatus::Running, reset);
        let again_since =
            |before| move |it: &Resource| it.get::<Vm>().is_some_and(|vm| vm.started > before);
        assert!(before.is_some());
        harness.becomes(vm(id), again_since(before)).await;
        // Also where it is paused when it is looked at.
        let before = harness.vm(id).await.started;
        harness.fake.advance(Duration::from_secs(10));
        harness.fake.becomes(id, GuestStatus::Paused, GuestEvent::Reset { by_guest: true });
        harness.becomes(vm(id), again_since(before)).await;
        harness.fake.becomes(id, GuestStatus::Paused, GuestEvent::Paused);
        harness.becomes(vm(id), |it| it.state() == "paused").await;
        harness.fake.becomes(id, GuestStatus::Running, GuestEvent::Resumed);
        harness.becomes(vm(id), |it| it.state() == "running").await;
        assert!(harness.fake.processes().contains_key(&id));
    }

    #[tokio::test]
    async fn what_lives_is_taken_over_and_what_died_is_told() {
        let mut harness = Harness::open();
        let lives = harness.some_vm().await;
        let other = json!({ "hostname": "web-2", "password": "correct horse", "os": "tiny" });
        let dies = harness.done("vm_create", other).await;
        harness.backend.leave(false).await;
        harness.fake.becomes(dies, GuestStatus::Off, GuestEvent::Gone);
        let mut harness = harness.restart().await;
        assert_eq!(harness.vm(dies).await.state, VmState::Crashed, "before anybody can ask");
        // The living one is watched again, not only believed.
        assert_eq!(harness.vm(lives).await.state, VmState::Running);
        harness.fake.becomes(lives, GuestStatus::ShutDown, GuestEvent::ShutDown);
        harness.becomes(vm(lives), |it| it.state() == "halted").await;
    }

    #[tokio::test]
    async fn the_first_request_after_the_box_was_off_is_answered_from_what_is() {
        let mut harness = Harness::open();
        let id = harness.some_vm().await;
        harness.backend.leave(false).await;
        harness.fake.becomes(id, GuestStatus::Off, GuestEvent::Gone);
        // Nothing was run yet but the start.
        let mut harness = harness.restart().await;
        harness.done("vm_start", json!({ "vm": id })).await;
        // One that hangs lives, and nobody waits for it.
        harness.backend.leave(false).await;
        harness.fake.answers(false);
        let harness = harness.restart().await;
        assert_eq!(harness.vm(id).await.state, VmState::Running);
    }

    #[tokio::test]
    async fn a_vm_that_an_operation_held_when_the_box_went_off_is_left_to_that() {
        let mut harness = Harness::open();
        let id = harness.some_vm().await;
        harness.fake.trouble(0, CallFault::Hang);
        harness.submit("vm_reboot", json!({ "vm": id })).await.unwrap();
        harness.fake.hung().await;
        harness.backend.leave(false).await;
        harness.fake.becomes(id, GuestStatus::Off, GuestEvent::Gone);
        let mut harness = harness.restart().await;
        assert_eq!(harness.vm(id).await.state, VmState::Running);
        harness.becomes(vm(id), |it| it.state() == "crashed").await;
    }

    #[tokio::test]
    async fn a_vm_that_an_operation_holds_is_looked_at_once_it_is_free() {
        let mut harness = Harness::open();
        let id = harness.some_vm().await;
        harness.some_disk().await;
        harness.fake.trouble(0, CallFault::Hang);
        let given = json!({ "disk": "data", "vm": id });
        let attach = harness.submit("disk_attach", given).await.unwrap();
        harness.fake.hung().await;
        harness.fake.becomes(id, GuestStatus::ShutDown, GuestEvent::ShutDown);
        assert_eq!(harness.vm(id).await.state, VmState::Running);
        harness.control(crate::domain::Control::Cancel { uid: attach.uid }).await;
        let found = harness.becomes(vm(id), |it| it.state() == "halted").await;
        let Resource::Vm(found) = found else { panic!("{found:?}") };
        assert_eq!(found.disks, Vec::<u64>::new());
    }

    #[tokio::test]
    async fn the_trash_is_emptied_when_its_time_is_over() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        harness.done("disk_delete", json!({ "disk": disk })).await;
        harness.fake.advance(Duration::from_secs(6 * 86_400));
        assert_eq!(harness.disk(disk).await.state, DiskState::Trashed);
        harness.fake.advance(Duration::from_secs(86_400));
        let id = ResourceId::new(Disk::KIND, disk);
        let purged = harness
            .hears(|fact| match fact {
                Fact::Operation(operation)
                    if operation.resource == Some(id) && operation.state.is_end() =>
                {
                    Some((operation.kind.clone(), operation.actor.clone()))
                }
                _ => None,
            })
            .await;
        // The deletion itself was seen before.
        assert_eq!(purged, ("disk_purge".to_owned(), ACTOR.to_owned()));
        assert_eq!(harness.resource(id).await, None);
    }
}
