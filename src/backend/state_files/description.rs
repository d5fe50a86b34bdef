//! Descriptions: each VM, disk and image leaves a small JSON document beside its files, which is
//! the resource as the database keeps it, so that a lost database costs no more than history.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{Disk, DiskState, Image, ImageState, Resource, ResourceId, Vm, VmState};

use super::beneath::Folder;
use super::{TRASH, folder_of};

/// The description in a VM's folder.
pub const VM: &str = "vm.json";
/// The description in an image's folder.
pub const IMAGE: &str = "image.json";

/// Where a resource's description lies; `None` for kinds that have none.
#[must_use]
pub fn path(state_dir: &Path, resource: &Resource) -> Option<PathBuf> {
    let id = resource.id();
    let folder = state_dir.join(folder_of(id.kind));
    match resource {
        Resource::Vm(vm) => Some(folder.join(vm.id.to_string()).join(VM)),
        Resource::Image(image) => Some(folder.join(image.id.to_string()).join(IMAGE)),
        Resource::Disk(disk) if disk.state == DiskState::Trashed => {
            Some(of_disk(state_dir, TRASH, disk.id))
        }
        Resource::Disk(disk) => Some(of_disk(state_dir, folder_of(id.kind), disk.id)),
        Resource::Task(_) | Resource::Encoding(_) | Resource::Foreign(_) => None,
    }
}

/// Where a disk's description lies when its file is in that folder.
#[must_use]
pub fn of_disk(state_dir: &Path, folder: &str, id: u64) -> PathBuf {
    state_dir.join(folder).join(format!("{id}.json"))
}

/// Whether a resource is whole: all its files are there.
#[must_use]
pub fn is_whole(resource: &Resource) -> bool {
    match resource {
        Resource::Vm(vm) => vm.state != VmState::BeingCreated,
        Resource::Disk(disk) => disk.state != DiskState::BeingCreated,
        Resource::Image(image) => image.state == ImageState::Ready,
        Resource::Task(_) | Resource::Encoding(_) | Resource::Foreign(_) => true,
    }
}

/// A resource as it is described: without what is only observed.
#[must_use]
pub fn of(resource: &Resource) -> Resource {
    match resource.clone() {
        Resource::Vm(vm) => Resource::Vm(Vm { cpu_percent: None, memory_used_mib: None, ..vm }),
        other => other,
    }
}

/// Reads a description; `None`: there is none.
///
/// # Errors
/// When it is a link or cannot be read, or is no description.
pub fn read(state_dir: &Path, path: &Path) -> io::Result<Option<Resource>> {
    let (folder, name) = match Folder::of(state_dir, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let found = folder.read(name)?;
    Ok(found.map(|json| serde_json::from_slice(&json)).transpose()?)
}

/// Every VM that is described.
///
/// # Errors
/// When there is a link on the way, or whatever else the filesystem says.
pub fn vms(state_dir: &Path) -> io::Result<Vec<Vm>> {
    let folder = match Folder::beneath(state_dir, &state_dir.join(folder_of(Vm::KIND))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folder => folder?,
    };
    let mut vms = Vec::new();
    for name in folder.names()? {
        // What is no folder, or holds no description, is no VM of ours.
        let described = folder.folder(&name).and_then(|inner| inner.read(VM)).ok().flatten();
        if let Some(Ok(Resource::Vm(vm))) = described.map(|json| serde_json::from_slice(&json)) {
            vms.push(vm);
        }
    }
    Ok(vms)
}

/// Brings the description of a resource up to date; one without files gets none.
///
/// # Errors
/// Whatever the filesystem says.
pub fn keep(state_dir: &Path, id: ResourceId, resource: Option<&Resource>) -> io::Result<()> {
    let described = resource.filter(|resource| is_whole(resource));
    let kept = described.and_then(|resource| path(state_dir, resource));
    if let (Some(resource), Some(path)) = (described, &kept) {
        write(state_dir, path, &of(resource))?;
    }
    let stale = match id.kind {
        Vm::KIND => vec![state_dir.join(format!("vms/{}/{VM}", id.id))],
        Image::KIND => vec![state_dir.join(format!("images/{}/{IMAGE}", id.id))],
        Disk::KIND => {
            [folder_of(id.kind), TRASH].map(|folder| of_disk(state_dir, folder, id.id)).to_vec()
        }
        _ => Vec::new(),
    };
    for path in stale.iter().filter(|path| Some(*path) != kept.as_ref()) {
        match Folder::of(state_dir, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => {
                let (folder, name) = found?;
                folder.remove_file(name)?;
            }
        }
    }
    Ok(())
}

fn write(state_dir: &Path, path: &Path, resource: &Resource) -> io::Result<()> {
    let (folder, name) = match Folder::of(state_dir, path) {
        // Without the folder there is nothing to describe.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if let Resource::Disk(disk) = resource
        && folder.found(format!("{}.qcow2", disk.id))?.is_none()
    {
        return Ok(());
    }
    let mut json = serde_json::to_vec_pretty(resource)?;
    json.push(b'\n');
    // One that cannot be read is written anew.
    if folder.read(name).ok().flatten().as_deref() == Some(&*json) {
        return Ok(());
    }
    folder.write(name, &json)?;
    // It may have been removed for good meanwhile, with the description that was there.
    if let Resource::Disk(disk) = resource
        && folder.found(format!("{}.qcow2", disk.id))?.is_none()
    {
        folder.remove_file(name)?;
    }
    Ok(())
}
