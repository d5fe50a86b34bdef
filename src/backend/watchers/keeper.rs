//! The keeper: keeps what lies in the state directory in step with what the database says.
//!
//! It writes descriptions when resources change, takes marks away when what they stand for is
//! whole, and removes at start what a called-off operation left when an earlier life ended. What
//! the database does not know is left where it is, and so is what a later database said of what it
//! does know: an older copy was put back, and `hostler recover` takes in what is true. It wakes on
//! changes, never by polling.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;
use tokio::sync::Mutex;

use super::Site;
use crate::backend::engine::notices::{Notice, Watch};
use crate::backend::engine::store::{Store, plain};
use crate::backend::state_files::beneath::Folder;
use crate::backend::state_files::mark::Mark;
use crate::backend::state_files::{self, FOLDERS, TRASH, description};
use crate::domain::{Failure, Image, ResourceId, State, Vm};

/// How long to wait before what there was no room for is written again.
const KEEP_RETRY: Duration = Duration::from_secs(5);

/// Keeps the files of a site in step.
pub(in crate::backend) struct Keeper {
    site: Arc<Site>,
    /// What descriptions are compared with.
    store: Store,
    watch: Watch,
    /// Held by whoever brings them into step.
    work: Mutex<Work>,
}

/// What is to be done.
struct Work {
    /// The resources whose files may be out of step.
    due: BTreeSet<ResourceId>,
    /// Whether there was no room for one of them.
    no_room: bool,
    /// Whether what an earlier life left is removed.
    swept: bool,
}

/// What may concern the keeper.
fn concerns(notice: Notice) -> bool {
    let kept = |id: ResourceId| FOLDERS.iter().any(|(kind, _)| *kind == id.kind);
    matches!(notice, Notice::Resource(id) if kept(id))
}

impl Keeper {
    /// A keeper to whom everything is due that there is.
    pub(in crate::backend) fn new(site: Arc<Site>, store: Store) -> Self {
        let watch = site.engine.watch(concerns);
        let due = site.engine.inventory(|inventory| {
            let kinds = FOLDERS.iter().map(|(kind, _)| *kind);
            kinds.flat_map(|kind| inventory.of(kind)).map(|resource| resource.id()).collect()
        });
        Self { site, store, watch, work: Mutex::new(Work { due, no_room: false, swept: false }) }
    }

    /// Keeps until the backend leaves.
    pub(in crate::backend) async fn run(self: Arc<Self>) {
        let engine = &self.site.engine;
        tokio::select! {
            () = engine.paused() => return,
            () = self.sweep_once() => {}
        }
        loop {
            self.keep().await;
            let (clock, no_room) = (&self.site.ports().clock, self.work.lock().await.no_room);
            tokio::select! {
                () = engine.paused() => return,
                () = self.watch.noticed() => {}
                () = clock.until(clock.now() + KEEP_RETRY), if no_room => {}
            }
        }
    }

    /// Removes what an earlier life left, once in ours.
    pub(in crate::backend) async fn sweep_once(&self) {
        let mut work = self.work.lock().await;
        if !work.swept {
            sweep(&self.site).await;
            work.swept = true;
        }
    }

    /// Brings everything that is due into step. What fails is tried again with the next change, and
    /// what there was no room for also without one.
    pub(in crate::backend) async fn keep(&self) {
        let mut work = self.work.lock().await;
        work.due.extend(self.watch.take().into_iter().filter_map(|notice| match notice {
            Notice::Resource(id) => Some(id),
            Notice::Ended(_) => None,
        }));
        let due = std::mem::take(&mut work.due);
        if due.is_empty() {
            return;
        }
        let (site, store) = (self.site.clone(), self.store.clone());
        let had_no_room = std::mem::take(&mut work.no_room);
        let kept = move || keep_all(&site, &store, due, had_no_room);
        match tokio::task::spawn_blocking(kept).await {
            Ok(Round { left, failed, no_room }) => {
                work.due.extend(failed);
                work.no_room = no_room;
                for (id, mark) in left {
                    sweep_one(&self.site, id, mark, true).await;
                }
            }
            Err(error) => tracing::error!(%error, "the keeper broke"),
        }
    }
}

/// What came of bringing resources into step.
#[derive(Default)]
struct Round {
    /// The marks of those that are gone.
    left: Vec<(ResourceId, Mark)>,
    /// Those that failed.
    failed: Vec<ResourceId>,
    /// Whether one failed for want of room.
    no_room: bool,
}

/// Brings resources' descriptions and marks into step. That there is no room is logged once, and
/// not again where there was none before.
fn keep_all(site: &Site, store: &Store, due: BTreeSet<ResourceId>, had_no_room: bool) -> Round {
    let mut kept = Round::default();
    for id in due {
        match keep_one(site, store, id) {
            Ok(mark) => kept.left.extend(mark.map(|mark| (id, mark))),
            Err(error) => {
                let no_room = error.kind() == io::ErrorKind::StorageFull;
                if !(no_room && had_no_room) {
                    tracing::warn!(%id, %error, "its description cannot be kept");
                }
                kept.no_room |= no_room;
                kept.failed.push(id);
            }
        }
    }
    kept
}

/// Brings a resource's description and mark into step. Gives the mark of one that is gone.
fn keep_one(site: &Site, store: &Store, id: ResourceId) -> io::Result<Option<Mark>> {
    let dir = &site.settings().state_dir;
    let resource = site.engine.inventory(|inventory| inventory.resource(id).cloned());
    let later = match &resource {
        Some(resource) => description::later(dir, resource, store)?,
        None => None,
    };
    if later.is_some() {
        tracing::warn!(
            "an older database was put back: a later one said something else of {id}, which is \
             kept beside its files; stop hostler and run `hostler recover`"
        );
    } else {
        description::keep(dir, id, resource.as_ref(), store)?;
    }
    let Some(mark) = Mark::read(dir, id)?.filter(|mark| !is_open(site, *mark)) else {
        return Ok(None);
    };
    match resource {
        Some(resource) if resource.is_whole() => {
            // Before the mark, by which it is known for that operation's.
            state_files::remove_unfinished(dir, id)?;
            Mark::remove(dir, id)?;
        }
        Some(_) => {}
        None => return Ok(Some(mark)),
    }
    Ok(None)
}

/// Whether the operation that left a mark is in flight.
fn is_open(site: &Site, mark: Mark) -> bool {
    let open = site.engine.look(|live| live.operation(mark.operation).map(|it| Mark::from(&**it)));
    open == Some(mark)
}

/// Removes what operations left that were called off while an earlier life ended: what carries the
/// mark of one that this very database knows as cancelled, and nothing else.
async fn sweep(site: &Site) {
    let dir = &site.settings().state_dir;
    for (id, mark) in Mark::all(dir) {
        if !is_open(site, mark)
            && site.engine.inventory(|inventory| inventory.resource(id).is_none())
        {
            sweep_one(site, id, mark, false).await;
        }
    }
}

/// Removes what a cancelled operation left of a resource that there is not. `ours`: the operation
/// may have ended in this life.
async fn sweep_one(site: &Site, id: ResourceId, mark: Mark, ours: bool) {
    let asked = site.engine.stored_operation(mark.operation).await;
    let known = asked.ok().flatten().filter(|operation| Mark::from(operation) == mark);
    let swept = match known.map(|operation| operation.state) {
        // An image's folder is still being removed by whoever cancelled its operation.
        Some(State::Cancel) if ours && id.kind == Image::KIND => return,
        Some(State::Cancel) => clear(site, id).await,
        // Made, and deleted since.
        Some(State::Done) => state_files::remove_unfinished(&site.settings().state_dir, id)
            .map_err(|error| Failure::io(format!("remove what is left of {id}"), &error)),
        _ => {
            let operation = mark.operation;
            tracing::warn!(
                "what operation {operation} began of {id} is left where it is: the database does \
                 not know that operation"
            );
            return;
        }
    };
    let swept = swept.and_then(|()| {
        Mark::remove(&site.settings().state_dir, id)
            .map_err(|error| Failure::io(format!("unmark {id}"), &error))
    });
    if let Err(failure) = swept {
        tracing::warn!(%id, %failure, "what a cancelled operation left cannot be removed");
    }
}

/// Removes the files of a resource that was never made.
async fn clear(site: &Site, id: ResourceId) -> Result<(), Failure> {
    let settings = site.settings();
    if id.kind == Image::KIND {
        return site.ports().images.remove_leftovers(&settings.image_dir(id.id)).await;
    }
    if id.kind == Vm::KIND && is_locked(&settings.vm_dir(id.id).join("qemu.pid")) {
        return Err(Failure::new(format!("a QEMU still runs in the folder of {id}; end it")));
    }
    state_files::remove(&settings.state_dir, id)
        .map_err(|error| Failure::io(format!("remove the files of {id}"), &error))
}

/// Whether a living QEMU holds its pidfile.
fn is_locked(pidfile: &Path) -> bool {
    plain::open(pidfile, std::fs::File::options().write(true)).is_ok_and(|file| {
        let lock = FlockOperation::NonBlockingLockExclusive;
        rustix::fs::fcntl_lock(&file, lock).is_err()
    })
}

/// Removes descriptions and marks that an earlier life was still writing. Before anything of this
/// life is: it would take those away as well.
pub(in crate::backend) fn clear_unwritten(state_dir: &Path) {
    let clear = |folder: &Folder| {
        for name in folder.names().unwrap_or_default() {
            if state_files::is_unwritten(&name.to_string_lossy()) {
                // What cannot be removed now is removed at the next start.
                let _ = folder.remove_file(&name);
            }
        }
    };
    if let Ok(top) = Folder::at(state_dir) {
        for name in top.names().unwrap_or_default() {
            if state_files::is_owners(&name.to_string_lossy()) {
                let _ = top.remove_file(&name);
            }
        }
    }
    for name in FOLDERS.iter().map(|(_, name)| *name).chain([TRASH]) {
        let Ok(folder) = Folder::beneath(state_dir, &state_dir.join(name)) else { continue };
        clear(&folder);
        for inner in folder.names().unwrap_or_default() {
            if let Ok(inner) = folder.folder(&inner) {
                clear(&inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::backend::ports::GuestStatus;
    use crate::backend::testing::fake::CallFault;
    use crate::backend::testing::harness::Harness;
    use crate::domain::{Backend, Control, Disk, DiskState, Image, Resource, Vm, VmState};

    fn described(harness: &Harness, file: &str) -> Option<Resource> {
        description::read(harness.dir(), &harness.dir().join(file)).unwrap()
    }

    fn marks(harness: &Harness) -> Vec<String> {
        Mark::all(harness.dir()).iter().map(|(id, _)| id.to_string()).collect()
    }

    #[tokio::test]
    async fn every_change_of_a_resource_is_in_its_description_and_no_secret() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        harness.backend.in_step().await;
        assert_eq!(marks(&harness), [""; 0]);
        assert_eq!(described(&harness, "vms/1/vm.json"), Some(Resource::Vm(harness.vm(vm).await)));
        assert_eq!(
            described(&harness, "disks/1.json"),
            Some(Resource::Disk(harness.disk(disk).await))
        );
        assert!(matches!(described(&harness, "images/1/image.json"), Some(Resource::Image(_))));
        let text = fs::read_to_string(harness.dir().join("vms/1/vm.json")).unwrap();
        assert!(!text.contains("$6$") && !text.contains("password"), "{text}");

        harness.done("disk_detach", json!({ "disk": disk, "vm": vm })).await;
        harness.done("disk_delete", json!({ "disk": disk })).await;
        harness.backend.in_step().await;
        assert_eq!(described(&harness, "disks/1.json"), None);
        let trashed = described(&harness, "trash/1.json");
        assert!(matches!(
            trashed,
            Some(Resource::Disk(Disk { state: DiskState::Trashed, vm: None, .. }))
        ));
        harness.done("disk_purge", json!({ "disk": disk })).await;
        harness.backend.in_step().await;
        assert_eq!(fs::read_dir(harness.dir().join("trash")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(harness.dir().join("disks")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn descriptions_that_are_missing_are_made_up_for_at_start() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        let unwritten = format!("vms/1/.vm.json.partial-{}", "0a".repeat(16));
        let mut harness = harness
            .restart_after(|dir| {
                fs::remove_file(dir.join("vms/1/vm.json")).unwrap();
                fs::write(dir.join("images/1/image.json"), "{ damaged").unwrap();
                fs::write(dir.join(&unwritten), "").unwrap();
            })
            .await;
        harness.backend.in_step().await;
        assert_eq!(described(&harness, "vms/1/vm.json"), Some(Resource::Vm(harness.vm(vm).await)));
        assert!(matches!(described(&harness, "images/1/image.json"), Some(Resource::Image(_))));
        assert!(!harness.dir().join(unwritten).exists());
        harness.fake.becomes(vm, GuestStatus::Paused, crate::backend::ports::GuestEvent::Paused);
        let id = ResourceId::new(Vm::KIND, vm);
        harness.becomes(id, |it| it.state() == "paused").await;
        harness.backend.in_step().await;
        let Some(Resource::Vm(found)) = described(&harness, "vms/1/vm.json") else { panic!() };
        assert_eq!(found.state, VmState::Paused);
    }

    #[tokio::test]
    async fn no_mark_is_left_of_what_is_deleted_as_soon_as_it_is_made() {
        let mut harness = Harness::open();
        let made = harness.submit("image_fetch", json!({ "os": "debian-12" })).await.unwrap();
        let made_by = harness.ends(made.uid).await;
        harness.backend.in_step().await;
        // As if the deletion had come before we did.
        let image = made.resource.unwrap();
        Mark::from(&made_by).write(harness.dir(), image).unwrap();
        harness.done("image_delete", json!({ "image": image.id })).await;
        harness.backend.in_step().await;
        assert_eq!(marks(&harness), [""; 0]);
    }

    #[tokio::test]
    async fn what_a_tool_left_unfinished_goes_before_its_mark() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        let made = harness.submit("disk_create", json!({ "name": "b", "size_mb": 20 })).await;
        let made = harness.ends(made.unwrap().uid).await;
        let gone = made.resource.unwrap().id;
        harness.done("disk_delete", json!({ "disk": gone })).await;
        harness.done("disk_purge", json!({ "disk": gone })).await;
        let left = |target| format!("{target}.partial-{}", "0a".repeat(16));
        let others = ["disks/.7.qcow2", "disks/.1.raw"].map(left);
        let its = ["vms/1/.root.qcow2", "disks/.1.qcow2", "disks/.2.qcow2"].map(left);
        let harness = harness
            .restart_after(|dir| {
                for name in its.iter().chain(&others) {
                    fs::create_dir(dir.join(name)).unwrap();
                    // Without what would tell it for ours: it was removed first.
                    fs::write(dir.join(name).join("raw"), "").unwrap();
                }
                for (kind, id) in [(Vm::KIND, vm), (Disk::KIND, disk), (Disk::KIND, gone)] {
                    Mark::from(&made).write(dir, ResourceId::new(kind, id)).unwrap();
                }
            })
            .await;
        harness.backend.in_step().await;
        assert_eq!(marks(&harness), [""; 0]);
        for name in its {
            assert!(!harness.dir().join(&name).exists(), "{name}");
        }
        for name in others {
            assert!(harness.dir().join(&name).exists(), "{name} is nobody's we know");
        }
    }

    #[tokio::test]
    async fn only_what_a_cancelled_operation_left_is_swept_away() {
        let mut harness = Harness::open();
        harness.fake.trouble(0, CallFault::After);
        let (uid, _) = harness.fails("image_fetch", json!({ "os": "debian-12" })).await;
        assert_eq!(marks(&harness), ["image/1"]);
        // The owner ends between the record of the end and the removal.
        harness.fake.trouble(0, CallFault::Before);
        harness.backend.control(Control::Cancel { uid }).await.unwrap_err();
        assert!(harness.dir().join("images/1/disk.qcow2").exists());
        let stranger = Mark { operation: uid, created_ms: 1 };
        let harness = harness
            .restart_after(|dir| {
                for unknown in ["images/98", "images/99"] {
                    fs::create_dir_all(dir.join(unknown)).unwrap();
                }
                stranger.write(dir, ResourceId::new(Image::KIND, 98)).unwrap();
            })
            .await;
        harness.backend.in_step().await;
        assert!(!harness.dir().join("images/1").exists());
        assert_eq!(marks(&harness), ["image/98"], "of another life");
        assert!(
            harness.dir().join("images/98").exists() && harness.dir().join("images/99").exists()
        );
    }
}
