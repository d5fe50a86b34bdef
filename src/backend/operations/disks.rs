//! What the kinds about disks share: a disk that comes to a VM and goes from it, into the trash and
//! out of it. Each finds its work done and calls that success.

use jiff::Timestamp;

use crate::backend::ports::Drive;
use crate::domain::{Disk, DiskState, Failure, Resource, Vm};

use super::{StepContext, files, guests};

/// Gives a disk to a VM: it is plugged in where that is up.
///
/// # Errors
/// When QEMU refuses.
pub async fn attach(step: &StepContext, mut disk: Disk, mut vm: Vm) -> Result<(), Failure> {
    if guests::is_up(step, &vm).await? {
        let guest = guests::guest(step.cx().settings(), &vm);
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
        let guest = guests::guest(step.cx().settings(), &vm);
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

/// Moves a disk into the trash, where it counts as being since `since`.
///
/// # Errors
/// When its file cannot be moved.
pub fn trash(step: &StepContext, mut disk: Disk, since: Timestamp) -> Result<(), Failure> {
    let settings = step.cx().settings();
    files::unused(settings, &settings.disk_path(disk.id))?;
    files::rename(settings, &settings.disk_path(disk.id), &settings.trash_path(disk.id))?;
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
    files::rename(settings, &settings.trash_path(disk.id), &settings.disk_path(disk.id))?;
    disk.state = DiskState::Free;
    disk.path = settings.disk_path(disk.id);
    disk.trashed = None;
    step.put(Resource::Disk(disk));
    Ok(())
}
