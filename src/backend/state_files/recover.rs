//! Recovering: takes in the VMs, disks and images that lie in a state directory and that its
//! database does not know, by the descriptions beside their files; and of those it does know, what
//! was said later, where an older database was put back.
//!
//! Nothing is ever removed, and what collides with the database by number or name is left. Which
//! disks a VM has, its QEMU is asked, where one runs: then neither database nor description can be
//! right against it. Such a VM is taken in as running, and the next owner watches it again.

mod relations;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FileType;

use crate::domain::{
    BackendError, Disk, DiskFormat, DiskState, Failure, Image, Resource, ResourceId, State, Vm,
    VmState,
};

use super::beneath::Folder;
use super::mark::Mark;
use super::{
    self as state_files, DISK_FOLDER, FOLDERS, IMAGE_FOLDER, TRASH, VM_FOLDER, description, moved,
};
use crate::backend::engine::inventory::Inventory;
use crate::backend::engine::storage::{Change, Opened};
use crate::backend::engine::store::{Look, Store};
use crate::backend::ports::{GuestStatus, Ports, ROOT_DISK};
use crate::backend::settings::Settings;

/// What recovering did, or would do.
#[derive(Debug, Default)]
pub struct Recovery {
    /// What was taken in, and how.
    pub taken: BTreeMap<String, String>,
    /// What was left, and why.
    pub left: BTreeMap<String, String>,
}

/// Takes in what the database does not know, or not any more; with `dry_run`, only says so. The
/// caller owns the state directory.
///
/// # Errors
/// When the database cannot be read or written.
pub async fn recover(
    settings: &Settings,
    ports: &Ports,
    dry_run: bool,
) -> Result<Recovery, BackendError> {
    let store = Look::at(&settings.state_dir)?;
    let mut opened = match &store {
        Some(store) => store.opened()?,
        None => Opened::default(),
    };
    for resource in &mut opened.resources {
        moved::follow(&settings.state_dir, resource);
    }
    let at_rest =
        !opened.operations.iter().any(|it| matches!(it.state, State::Pending | State::Run));
    let mut plan = Plan {
        settings,
        inventory: Inventory::new(opened.resources, &opened.counters),
        store,
        at_rest,
        taken: BTreeMap::new(),
        plugged: BTreeMap::new(),
        done: Recovery::default(),
    };
    plan.images();
    plan.vms(ports).await;
    plan.disks(ports);
    plan.relate();
    let taken = std::mem::take(&mut plan.taken);
    if !dry_run && !taken.is_empty() {
        // Closed before it is written to.
        plan.store = None;
        let (store, mut opened) = Store::open(&settings.state_dir)?;
        state_files::raise(&mut opened.counters, &settings.state_dir);
        let mut changes: Vec<Change> =
            taken.values().map(|resource| Change::Put(Arc::new(resource.clone()))).collect();
        changes.extend(FOLDERS.iter().filter_map(|(kind, _)| {
            let (_, highest) = opened.counters.iter().find(|(name, _)| name == kind.word())?;
            Some(Change::Count(kind.word(), *highest))
        }));
        let written = store.writer().send(changes).await;
        let described = written.and_then(|()| describe(settings, &store, &taken));
        let closed = store.close().await;
        described.and(closed)?;
    }
    Ok(plan.done)
}

/// Describes what was taken in as the database has it now, so that it is not taken for later again.
fn describe(
    settings: &Settings,
    store: &Store,
    taken: &BTreeMap<ResourceId, Resource>,
) -> Result<(), BackendError> {
    for (id, resource) in taken {
        description::keep(&settings.state_dir, *id, Some(resource), store).map_err(|error| {
            BackendError::failed(format!("{id} was taken in, but not described: {error}"))
        })?;
    }
    Ok(())
}

struct Plan<'s> {
    settings: &'s Settings,
    /// What the database knows, and over it what was taken in so far.
    inventory: Inventory,
    store: Option<Look>,
    /// Whether no operation goes on at the next start: then what a QEMU has is what is so.
    at_rest: bool,
    /// What is to be written.
    taken: BTreeMap<ResourceId, Resource>,
    /// The disks of each VM whose QEMU could be asked.
    plugged: BTreeMap<u64, BTreeSet<u64>>,
    done: Recovery,
}

impl Plan<'_> {
    fn dir(&self) -> &Path {
        &self.settings.state_dir
    }

    fn leave(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.done.left.insert(what.into(), why.into());
    }

    /// Takes a resource in, unless its name is another's. Says whether it was.
    fn take(&mut self, resource: &Resource, how: &str) -> bool {
        let (id, name) = (resource.id(), resource.name());
        // Several may have one name in the trash.
        let trashed = matches!(resource, Resource::Disk(it) if it.state == DiskState::Trashed);
        let other = self.inventory.named(id.kind, name).filter(|other| *other != id.id);
        if let Some(other) = other.filter(|_| !trashed) {
            let kind = id.kind;
            let why =
                format!("{kind}/{other} is called '{name}' too; delete that and recover again");
            self.leave(id, why);
            return false;
        }
        self.put(resource.clone());
        self.done.taken.insert(format!("{id} '{name}'"), how.to_owned());
        true
    }

    fn put(&mut self, resource: Resource) {
        self.inventory.put(Arc::new(resource.clone()));
        self.taken.insert(resource.id(), resource);
    }

    /// The numbers in a folder of the state directory.
    fn numbers(&mut self, folder: &str) -> BTreeSet<u64> {
        let path = self.dir().join(folder);
        let names = Folder::beneath(self.dir(), &path).and_then(|folder| folder.names());
        match names {
            Ok(names) => names
                .iter()
                .filter_map(|name| state_files::number(&name.to_string_lossy()))
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => {
                self.leave(path.display().to_string(), error.to_string());
                BTreeSet::new()
            }
        }
    }

    /// What a description says of a resource that the database does not know, or not any more; what
    /// cannot be taken in is left.
    fn described(&mut self, id: ResourceId, paths: &[&Path]) -> Option<Resource> {
        match self.read(id, paths) {
            Ok(found) => found,
            Err(why) => {
                self.leave(id, why);
                None
            }
        }
    }

    fn read(&self, id: ResourceId, paths: &[&Path]) -> Result<Option<Resource>, String> {
        let mut read = paths.iter().map(|path| description::read(self.dir(), path));
        let found = read.find(|found| !matches!(found, Ok(None))).unwrap_or(Ok(None));
        if let Some(known) = self.inventory.resource(id) {
            return match found {
                Ok(Some(found)) if !same(&found, known) => Err(format!(
                    "the database has another {id}, '{}'; this is '{}'",
                    known.name(),
                    found.name()
                )),
                // Without a database there is nothing that is known.
                _ => self.store.as_ref().map_or(Ok(None), |store| {
                    let later = description::later(self.dir(), known, store);
                    later.map_err(|error| format!("its description cannot be read: {error}"))
                }),
            };
        }
        match found {
            Ok(Some(found)) if found.id() == id && found.is_whole() => Ok(Some(found)),
            Ok(Some(_)) => Err("its description is of something else".to_owned()),
            Ok(None) => Err(match Mark::read(self.dir(), id) {
                Ok(Some(mark)) => format!("operation {} began it and did not end", mark.operation),
                _ => "there is no description of it".to_owned(),
            }),
            Err(error) => Err(format!("its description cannot be read: {error}")),
        }
    }

    /// Tells of a folder that a deletion had put aside, where nobody knows of that deletion any
    /// more: whether it was to go on, only a person can say.
    fn put_aside(&mut self, id: ResourceId, folder: &Path) {
        let mut aside = folder.to_owned();
        aside.as_mut_os_string().push(".deleted");
        if aside.is_dir() && self.inventory.resource(id).is_none() {
            let why = format!(
                "a deletion put its files aside in {}; move them back to {} and recover again, or \
                 remove them",
                aside.display(),
                folder.display()
            );
            self.leave(id, why);
        }
    }

    /// Whether a file below the state directory is there, and no link.
    fn is_file(&self, path: &Path) -> bool {
        let there = Folder::of(self.dir(), path).and_then(|(folder, name)| folder.found(name));
        matches!(there, Ok(Some(FileType::RegularFile)))
    }

    fn images(&mut self) {
        for number in self.numbers(IMAGE_FOLDER) {
            let id = ResourceId::new(Image::KIND, number);
            let folder = self.settings.image_dir(number);
            if !folder.is_dir() {
                self.put_aside(id, &folder);
                continue;
            }
            let Some(mut found) = self.described(id, &[&folder.join(description::IMAGE)]) else {
                continue;
            };
            let missing = found.files_mut().into_iter().find(|file| !self.is_file(file));
            match missing {
                Some(missing) => {
                    let why = format!("its file {} is missing", missing.display());
                    self.leave(id, why);
                }
                None => _ = self.take(&found, "taken in"),
            }
        }
    }

    async fn vms(&mut self, ports: &Ports) {
        for number in self.numbers(VM_FOLDER) {
            let id = ResourceId::new(Vm::KIND, number);
            let folder = self.settings.vm_dir(number);
            if !folder.is_dir() {
                self.put_aside(id, &folder);
                continue;
            }
            let Some(found) = self.described(id, &[&folder.join(description::VM)]) else {
                self.known_vm(number, ports).await;
                continue;
            };
            let Resource::Vm(mut vm) = found else { continue };
            if !self.is_file(&folder.join(ROOT_DISK)) {
                self.leave(id, format!("its root disk in {} is missing", folder.display()));
                continue;
            }
            let how = match self.runs(&vm, ports).await {
                Ok(false) => {
                    vm = vm.halted(None);
                    "taken in, halted"
                }
                // Whatever its guest does, the next owner sees.
                Ok(true) => {
                    vm.state = VmState::Running;
                    "taken in; its QEMU runs and goes on"
                }
                Err(failure) => {
                    self.leave(id, format!("whether it runs is not known: {}", failure.message));
                    continue;
                }
            };
            let mut how = how.to_owned();
            if self.inventory.get::<Image>(vm.image).is_none() {
                let note = format!("its image, image/{}, is missing", vm.image);
                how = format!("{how}; {note}");
                if vm.state == VmState::Halted {
                    vm.state = VmState::Invalid;
                    vm.note = Some(note);
                }
            }
            self.take(&Resource::Vm(vm), &how);
        }
    }

    /// Whether the QEMU of a VM runs; which disks it has is put down.
    async fn runs(&mut self, vm: &Vm, ports: &Ports) -> Result<bool, Failure> {
        let guest = self.settings.guest(vm);
        if let Some(astray) = ports.hypervisor.astray(&guest) {
            return Err(Failure::new(astray));
        }
        match ports.hypervisor.status(&guest).await? {
            GuestStatus::Off => return Ok(false),
            GuestStatus::Unreachable => return Ok(true),
            _ => {}
        }
        let plugged = ports.hypervisor.plugged(&guest).await?;
        let disks = plugged.iter().filter_map(|device| Disk::number_of(device)).collect();
        self.plugged.insert(vm.id, disks);
        Ok(true)
    }

    /// A VM of which nothing else was said later may have been started since all the same.
    async fn known_vm(&mut self, number: u64, ports: &Ports) {
        let Some(vm) = self.inventory.get::<Vm>(number).filter(|_| self.at_rest).cloned() else {
            return;
        };
        let rests = !vm.is_up();
        match self.runs(&vm, ports).await {
            Ok(true) if rests => {
                let vm = Vm { state: VmState::Running, crashed: None, note: None, ..vm };
                self.take(&Resource::Vm(vm), "its QEMU runs and goes on");
            }
            Ok(_) => {}
            Err(failure) => self.leave(
                ResourceId::new(Vm::KIND, number),
                format!("whether it runs is not known: {}", failure.message),
            ),
        }
    }

    fn disks(&mut self, ports: &Ports) {
        let (disks, trash) = (self.numbers(DISK_FOLDER), self.numbers(TRASH));
        for number in disks.union(&trash).copied() {
            let id = ResourceId::new(Disk::KIND, number);
            let (path, trashed) =
                (self.settings.disk_path(number), self.settings.trash_path(number));
            let dir = self.dir();
            let beside = description::of_disk(dir, DISK_FOLDER, number);
            let in_trash = description::of_disk(dir, TRASH, number);
            let (descriptions, path, is_trashed) =
                match (self.is_file(&path), self.is_file(&trashed)) {
                    (true, false) => ([&*beside, &*in_trash], path, false),
                    (false, true) => ([&*in_trash, &*beside], trashed, true),
                    (true, true) if self.inventory.resource(id).is_none() => {
                        self.leave(
                            id,
                            format!("{} and {} are both there", path.display(), trashed.display()),
                        );
                        continue;
                    }
                    _ => {
                        if self.inventory.resource(id).is_none() {
                            self.leave(id, "its file is missing");
                        }
                        continue;
                    }
                };
            let Some(Resource::Disk(mut disk)) = self.described(id, &descriptions) else {
                continue;
            };
            disk.path = path;
            disk.format = DiskFormat::Qcow2;
            if is_trashed {
                disk.state = DiskState::Trashed;
                disk.vm = None;
                disk.trashed = Some(disk.trashed.unwrap_or_else(|| ports.clock.now()));
            } else {
                disk.trashed = None;
            }
            let how = if is_trashed { "taken in, into the trash" } else { "taken in" };
            self.take(&Resource::Disk(disk), how);
        }
    }
}

/// Whether two of one number are one and the same, as it was at two times.
fn same(one: &Resource, other: &Resource) -> bool {
    match (one, other) {
        (Resource::Vm(one), Resource::Vm(other)) => one.uuid == other.uuid,
        (Resource::Disk(one), Resource::Disk(other)) => one.created == other.created,
        (Resource::Image(one), Resource::Image(other)) => one.created == other.created,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
