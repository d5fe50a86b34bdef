//! What the kinds about disks share: a disk that comes to a VM and goes from it, into the trash and
//! out of it. Each finds its work done and calls that success.

use std::path::Path;

use jiff::Timestamp;

use crate::backend::ports::Drive;
use crate::backend::settings::Settings;
use crate::domain::{Disk, DiskState, Failure, Resource, Vm};

use super::{StepContext, files, guests};

/// Gives a disk to a VM: it is plugged in where that is up.
///
/// # Errors
/// When QEMU refuses.
pub async fn attach(step: &StepContext, mut disk: Disk, mut vm: Vm) -> Result<(), Failure> {
    if guests::is_up(step, &vm).await? {
        let settings = step.cx().settings();
        files::own(settings, &disk.path)?;
        let guest = settings.guest(&vm);
        let hypervisor = &step.cx().ports().hypervisor;
        hypervisor.attach(&guest, &Drive::from(&disk), step.log()).await?;
    }
    if !vm.disks.contains(&disk.id) {
        vm.disks.push(disk.id);
    }
    disk.state = DiskState::Attached;
    disk.vm = Some(vm.id);
    step.put(Resource::Disk(disk));
    step.put(Resource::Vm(vm));
    Ok(())
}

/// Takes a disk from a VM: it is unplugged where that is up.
///
/// # Errors
/// When the guest does not let go of it.
pub async fn detach(step: &StepContext, mut disk: Disk, mut vm: Vm) -> Result<(), Failure> {
    if guests::is_up(step, &vm).await? {
        let guest = step.cx().settings().guest(&vm);
        let hypervisor = &step.cx().ports().hypervisor;
        hypervisor.detach(&guest, &disk.device_id(), step.log()).await?;
    }
    vm.disks.retain(|id| *id != disk.id);
    disk.state = DiskState::Free;
    disk.vm = None;
    step.put(Resource::Disk(disk));
    step.put(Resource::Vm(vm));
    Ok(())
}

/// Waits for the guest to let go of a disk that it was asked for: it cannot be plugged in again
/// while it is half out. One that does not let go in time still has it.
///
/// # Errors
/// When it cannot be told whether the VM is up.
pub async fn let_go(step: &StepContext, disk: &Disk, vm: &Vm) -> Result<(), Failure> {
    if guests::is_up(step, vm).await? {
        let guest = step.cx().settings().guest(vm);
        let hypervisor = &step.cx().ports().hypervisor;
        if let Err(failure) = hypervisor.detach(&guest, &disk.device_id(), step.log()).await {
            let (disk, vm, error) = (disk.id, vm.id, &failure.message);
            tracing::warn!(disk, vm, error, "a disk stays plugged in");
        }
    }
    Ok(())
}

/// Moves a disk into the trash, where it counts as being since `since`.
///
/// # Errors
/// When its file cannot be moved.
pub fn trash(step: &StepContext, mut disk: Disk, since: Timestamp) -> Result<(), Failure> {
    let settings = step.cx().settings();
    let (from, to) = (settings.disk_path(disk.id), settings.trash_path(disk.id));
    are_own(settings, [&from, &to])?;
    files::unused(settings, &from)?;
    files::rename(settings, &from, &to)?;
    disk.state = DiskState::Trashed;
    disk.path = settings.trash_path(disk.id);
    disk.trashed = Some(since);
    step.put(Resource::Disk(disk));
    Ok(())
}

/// Takes a disk out of the trash.
///
/// # Errors
/// When its file cannot be moved.
pub fn restore(step: &StepContext, mut disk: Disk) -> Result<(), Failure> {
    let settings = step.cx().settings();
    let (from, to) = (settings.trash_path(disk.id), settings.disk_path(disk.id));
    are_own(settings, [&from, &to])?;
    files::rename(settings, &from, &to)?;
    disk.state = DiskState::Free;
    disk.path = settings.disk_path(disk.id);
    disk.trashed = None;
    step.put(Resource::Disk(disk));
    Ok(())
}

/// Whether an undo has nothing to do: its step was cut short, and could not begin with the disk as
/// it is now. So it had done nothing yet, and others have made the disk what it is.
pub fn is_untouched(undo: &StepContext, is_ready: bool) -> bool {
    undo.was_cut_short() && !is_ready
}

/// The refusal of a disk that is no longer in the state that is `wanted`.
pub fn refused(disk: &Disk, wanted: DiskState) -> Failure {
    let Disk { id, name, state, .. } = disk;
    let advice = match (state, wanted) {
        (DiskState::Attached, DiskState::Free) => "detach it and relaunch",
        (DiskState::Trashed, DiskState::Free) => "restore it and relaunch",
        _ => "cancel this or relaunch it later",
    };
    let (state, wanted) = (state.word(), wanted.word());
    Failure::refused(format!("disk/{id} '{name}' is {state}, not {wanted}; {advice}"))
}

/// Refuses to move what is no file of ours, before anything is done that would have to be undone.
fn are_own(settings: &Settings, paths: [&Path; 2]) -> Result<(), Failure> {
    let looked = paths.into_iter().try_for_each(|path| files::own(settings, path));
    looked.map_err(|failure| Failure { refused: true, ..failure })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use serde_json::json;

    use crate::backend::engine::store::FILE;
    use crate::backend::testing::harness::Harness;
    use crate::domain::{Control, DiskState, LaneChange, State};

    /// What puts something in the place of a file.
    type Intruder = fn(&Path, &Path);

    const INTRUDERS: [(&str, Intruder); 3] = [
        ("no regular file", |at, letter| symlink(letter, at).unwrap()),
        ("no regular file", |at, _| {
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
        ("hard link", |at, letter| fs::hard_link(letter, at).unwrap()),
    ];

    fn replace(at: &Path, put: Intruder, letter: &Path) {
        fs::write(letter, "dear all").unwrap();
        fs::remove_file(at).unwrap();
        put(at, letter);
    }

    #[tokio::test]
    async fn what_is_no_disk_of_ours_is_neither_moved_nor_attached() {
        for (number, (why, put)) in INTRUDERS.into_iter().enumerate() {
            let outside = tempfile::tempdir().unwrap();
            let letter = outside.path().join("letter");
            let mut harness = Harness::open();
            let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
            let here = harness.disk(disk).await.path;
            replace(&here, put, &letter);
            for (kind, given) in [
                ("disk_delete", json!({ "disk": disk })),
                ("disk_attach", json!({ "disk": disk, "vm": vm })),
            ] {
                let (uid, said) = harness.fails(kind, given).await;
                assert!(said.contains(why) && said.contains("move it away"), "{number}: {said}");
                harness.control(Control::Cancel { uid }).await;
                harness.ends(uid).await;
                assert_eq!(harness.disk(disk).await.state, DiskState::Free, "{number} {kind}");
                assert!(here.symlink_metadata().is_ok(), "{number} {kind}");
            }
            fs::remove_file(&here).unwrap();
            fs::write(&here, "disk of 20").unwrap();
            harness.done("disk_delete", json!({ "disk": disk })).await;
            replace(&harness.disk(disk).await.path, put, &letter);
            let (uid, said) = harness.fails("disk_restore", json!({ "disk": disk })).await;
            assert!(said.contains(why), "{number}: {said}");
            harness.control(Control::Cancel { uid }).await;
            harness.ends(uid).await;
            let (_, said) = harness.fails("disk_purge", json!({ "disk": disk })).await;
            assert!(said.contains(why), "{number}: {said}");
            assert_eq!(harness.disk(disk).await.state, DiskState::Trashed);
            assert!(!here.exists(), "{number}");
            assert_eq!(fs::read_to_string(&letter).unwrap(), "dear all");
        }
    }

    #[tokio::test]
    async fn a_disk_that_is_in_another_state_by_now_is_refused_and_left_alone() {
        for (kind, state, said) in [
            ("disk_attach", "trashed", "is trashed, not free; restore it"),
            ("disk_delete", "attached", "is attached, not free; detach it"),
            ("disk_delete", "trashed", "is trashed, not free; restore it"),
            ("disk_restore", "free", "is free, not trashed; cancel"),
        ] {
            let mut harness = Harness::open();
            let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
            if kind == "disk_restore" {
                harness.done("disk_delete", json!({ "disk": disk })).await;
            }
            let path = harness.disk(disk).await.path;
            let lane = |change| Control::Lane { name: "disk".into(), change };
            harness.control(lane(LaneChange::Pause)).await;
            let given = match kind {
                "disk_attach" => json!({ "disk": disk, "vm": vm }),
                _ => json!({ "disk": disk }),
            };
            let uid = harness.submit(kind, given).await.unwrap().uid;
            let mut harness = harness
                .restart_after(|dir| {
                    let store = rusqlite::Connection::open(dir.join(FILE)).unwrap();
                    let change = format!(
                        "UPDATE resource SET doc = json_set(doc, '$.state', '{state}') \
                         WHERE kind = 'disk'"
                    );
                    store.execute_batch(&change).unwrap();
                })
                .await;
            harness.control(lane(LaneChange::Resume)).await;
            let ended = harness.ends(uid).await;
            let why = ended.comment.unwrap_or_default();
            assert_eq!(ended.state, State::Error, "{kind} {state}: {why}");
            assert!(why.contains(said), "{kind} {state}: {why}");
            assert_eq!(harness.disk(disk).await.state.word(), state, "{kind}");
            assert!(path.exists(), "{kind} {state}");
        }
    }

    #[tokio::test]
    async fn no_vm_starts_without_the_file_of_a_disk() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_halted_vm().await, harness.some_disk().await);
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        fs::remove_file(harness.disk(disk).await.path).unwrap();
        harness.fake.calls();
        let (_, said) = harness.fails("vm_start", json!({ "vm": vm })).await;
        assert!(said.contains("disk/1 ") && said.contains("is missing; put it back"), "{said}");
        let calls = harness.fake.calls();
        assert!(!calls.iter().any(|it| it.starts_with("launch")), "{calls:?}");
    }

    /// QEMU opens what a VM is made of, and writes to it.
    #[tokio::test]
    async fn no_vm_starts_on_what_is_no_file_of_ours() {
        for (number, (why, put)) in INTRUDERS.into_iter().enumerate() {
            for file in ["vms/1/root.qcow2", "vms/1/seed.img", "images/1/disk.qcow2"] {
                let outside = tempfile::tempdir().unwrap();
                let letter = outside.path().join("letter");
                let mut harness = Harness::open();
                let vm = harness.some_halted_vm().await;
                replace(&harness.dir().join(file), put, &letter);
                harness.fake.calls();
                let (_, said) = harness.fails("vm_start", json!({ "vm": vm })).await;
                assert!(said.contains(why) && said.contains(file), "{number} {file}: {said}");
                let calls = harness.fake.calls();
                let tool = ["launch", "overlay"];
                assert!(
                    !calls.iter().any(|it| tool.iter().any(|t| it.starts_with(t))),
                    "{calls:?}"
                );
                assert_eq!(fs::read_to_string(&letter).unwrap(), "dear all");
            }
        }
    }
}
