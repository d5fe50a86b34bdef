//! Descriptions: each VM, disk and image leaves a small JSON document beside its files, which is
//! the resource as the database keeps it, so that a lost database costs no more than history.
//!
//! Each also names the newest operation there was when it was written. Where the database does not
//! know that one, it is older than the description: a copy of it was put back.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::{Disk, DiskState, Resource, ResourceId, Vm};

use super::beneath::Folder;
use super::mark::Mark;
use super::{VM_FOLDER, homes, moved};

/// What lies on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    #[serde(flatten)]
    resource: Resource,
    /// The newest operation there was; `None` where there was none, or nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<Mark>,
}

/// The description in a VM's folder.
pub const VM: &str = "vm.json";
/// The description in an image's folder.
pub const IMAGE: &str = "image.json";

/// Where a resource's description lies; `None` for kinds that have none.
#[must_use]
pub fn path(state_dir: &Path, resource: &Resource) -> Option<PathBuf> {
    let mut places = places(state_dir, resource.id()).into_iter();
    match resource {
        Resource::Disk(disk) if disk.state == DiskState::Trashed => places.next_back(),
        _ => places.next(),
    }
}

/// Where a disk's description lies when its file is in that folder.
#[must_use]
pub fn of_disk(state_dir: &Path, folder: &str, id: u64) -> PathBuf {
    state_dir.join(folder).join(format!("{id}.json"))
}

/// A resource as it is described: without what is only observed.
#[must_use]
pub fn of(resource: &Resource) -> Resource {
    match resource.clone() {
        Resource::Vm(vm) => Resource::Vm(Vm { cpu_percent: None, memory_used_mib: None, ..vm }),
        other => other,
    }
}

/// Reads a description; `None`: there is none. Paths in it are as if it had been written where the
/// state directory is now.
///
/// # Errors
/// When it is a link or cannot be read, or is no description.
pub fn read(state_dir: &Path, path: &Path) -> io::Result<Option<Resource>> {
    Ok(open(state_dir, path)?.map(|found| found.resource))
}

fn open(state_dir: &Path, path: &Path) -> io::Result<Option<Description>> {
    let (folder, name) = match Folder::of(state_dir, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let found = folder.read(name)?;
    let found: Option<Description> = found.map(|json| serde_json::from_slice(&json)).transpose()?;
    Ok(found.map(|mut found| {
        moved::follow(state_dir, &mut found.resource);
        found
    }))
}

/// What a database knows of what happened until now.
pub trait History {
    /// Whether it knows an operation.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn knows(&self, mark: Mark) -> io::Result<bool>;

    /// The newest operation; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn newest(&self) -> io::Result<Option<Mark>>;
}

/// Returns what a later database said of a resource, where that is something else: its description
/// was written after an operation that this one does not know.
///
/// # Errors
/// When the database cannot be asked.
pub fn later(
    state_dir: &Path,
    resource: &Resource,
    history: &(impl History + ?Sized),
) -> io::Result<Option<Resource>> {
    for path in places(state_dir, resource.id()) {
        // What cannot be read says nothing.
        let Ok(Some(found)) = open(state_dir, &path) else { continue };
        if found.resource != of(resource)
            && let Some(newest) = found.newest
            && !history.knows(newest)?
        {
            return Ok(Some(found.resource));
        }
    }
    Ok(None)
}

/// Everywhere a description of a resource may lie.
fn places(state_dir: &Path, id: ResourceId) -> Vec<PathBuf> {
    let name = match id.kind {
        Disk::KIND => format!("{}.json", id.id),
        kind => format!("{kind}.json"),
    };
    homes(id).iter().map(|home| state_dir.join(home).join(&name)).collect()
}

/// Every VM that is described.
///
/// # Errors
/// When there is a link on the way, or whatever else the filesystem says.
pub fn vms(state_dir: &Path) -> io::Result<Vec<Vm>> {
    let folder = match Folder::beneath(state_dir, &state_dir.join(VM_FOLDER)) {
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

/// Brings the description of a resource up to date; one without files gets none. `history` is
/// asked only now, so that it knows what made `resource` what it is.
///
/// # Errors
/// Whatever the filesystem says, and when the database cannot be asked.
pub fn keep(
    state_dir: &Path,
    id: ResourceId,
    resource: Option<&Resource>,
    history: &impl History,
) -> io::Result<()> {
    let described = resource.filter(|resource| resource.is_whole());
    let kept = described.and_then(|resource| path(state_dir, resource));
    if let (Some(resource), Some(path)) = (described, &kept) {
        write(state_dir, path, of(resource), history)?;
    }
    for path in places(state_dir, id).iter().filter(|path| Some(*path) != kept.as_ref()) {
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

fn write(
    state_dir: &Path,
    path: &Path,
    resource: Resource,
    history: &impl History,
) -> io::Result<()> {
    let (folder, name) = match Folder::of(state_dir, path) {
        // Without the folder there is nothing to describe.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let file = match &resource {
        Resource::Disk(disk) => Some(format!("{}.qcow2", disk.id)),
        _ => None,
    };
    let is_gone = || match &file {
        Some(file) => folder.found(file).map(|found| found.is_none()),
        None => Ok(false),
    };
    if is_gone()? {
        return Ok(());
    }
    // One that cannot be read is written anew.
    let said: Option<Description> =
        folder.read(name).ok().flatten().and_then(|json| serde_json::from_slice(&json).ok());
    // Also one of another database: what comes next would not be taken for later than that.
    if let Some(said) = said
        && said.resource == resource
        && said.newest.map_or(Ok(true), |newest| history.knows(newest))?
    {
        return Ok(());
    }
    let mut json = serde_json::to_vec_pretty(&Description { resource, newest: history.newest()? })?;
    json.push(b'\n');
    folder.write(name, &json)?;
    // It may have been removed for good meanwhile, with the description that was there.
    if is_gone()? {
        folder.remove_file(name)?;
    }
    Ok(())
}
