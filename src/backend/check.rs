//! The deep check: whether what the database says and what lies on disk are the same, both ways.
//!
//! Every resource's files are there and are what they say, and every file has its record. It reads
//! only. What an operation in flight is at work on is no finding, and while an owner is at work a
//! finding counts only when it is there in every one of several looks.

mod files;

pub use files::odd;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FileType;

use crate::domain::{
    BackendError, Disk, DiskFormat, DiskState, Image, Operation, Resource, ResourceId, State, Vm,
};

use super::state_files::beneath::Folder;
use super::state_files::description;
use super::state_files::mark::Mark;
use super::state_files::moved;
use crate::backend::engine::inventory::Inventory;
use crate::backend::engine::storage::Opened;
use crate::backend::engine::store::Look;
use crate::backend::ports::{CommandLog, DiskInfo, Ports, ROOT_DISK};
use crate::backend::settings::Settings;

/// How often is looked while what is found may be in motion.
const LOOKS: u32 = 6;
/// How long between two looks: more than the record of an effect takes to follow it on a busy disk.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What: a resource, or a path.
    pub what: String,
    /// What is wrong with it.
    pub found: String,
    /// What mends it.
    pub mend: String,
}

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many resources were looked at.
    pub resources: usize,
    /// Everything that is not as it should be.
    pub findings: BTreeSet<Finding>,
}

/// Checks a state directory. `live` says that an owner is at work in it.
///
/// # Errors
/// When the database cannot be read at all.
pub async fn deep(
    settings: &Settings,
    ports: &Ports,
    live: bool,
) -> Result<Findings, BackendError> {
    let mut all = look(settings, ports, live).await?;
    for _ in 1..if live { LOOKS } else { 1 } {
        if all.findings.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        let again = look(settings, ports, live).await?;
        all.findings.retain(|finding| again.findings.contains(finding));
    }
    Ok(all)
}

/// What lies in a state directory that its database does not know: cheap, without any tool.
///
/// # Errors
/// When the database cannot be read at all.
pub fn unknown(settings: &Settings) -> Result<Vec<PathBuf>, BackendError> {
    let store = Look::at(&settings.state_dir)?;
    Ok(files::unknown(&Records::of(settings, store)?))
}

/// The resources of which a later database said something else than this one: an older copy was
/// put back. Cheap, without any tool.
///
/// # Errors
/// When the database cannot be read at all.
pub fn outdated(settings: &Settings) -> Result<Vec<ResourceId>, BackendError> {
    let store = Look::at(&settings.state_dir)?;
    let known = Records::of(settings, store)?;
    Ok(known.resources.iter().filter(|it| known.is_outdated(it)).map(Resource::id).collect())
}

async fn look(settings: &Settings, ports: &Ports, live: bool) -> Result<Findings, BackendError> {
    let store = Look::at(&settings.state_dir)?;
    let damage = store.as_ref().map_or(Ok(Vec::new()), Look::damage)?;
    let known = Records::of(settings, store)?;
    let mut check = DeepCheck { settings, ports, known: &known, found: Findings::default() };
    for line in damage {
        let mend = "stop hostler, move hostler.db away, and run `hostler recover`";
        check.finds("hostler.db", line, mend);
    }
    // After a kill, descriptions and marks lag behind until the next start.
    let strict = live || known.at_rest;
    for resource in &known.resources {
        check.found.resources += 1;
        check.resource(resource, strict).await;
    }
    check.found.findings.extend(files::check(&known, strict));
    Ok(check.found)
}

/// What the database knows.
struct Records<'s> {
    settings: &'s Settings,
    inventory: Inventory,
    resources: Vec<Resource>,
    open: Vec<Operation>,
    marks: HashSet<Mark>,
    store: Option<Look>,
    at_rest: bool,
}

impl<'s> Records<'s> {
    fn of(settings: &'s Settings, store: Option<Look>) -> Result<Self, BackendError> {
        let mut opened = match &store {
            Some(store) => store.opened()?,
            None => Opened::default(),
        };
        for resource in &mut opened.resources {
            moved::follow(&settings.state_dir, resource);
        }
        Ok(Self {
            settings,
            inventory: Inventory::new(opened.resources.clone(), &opened.counters),
            resources: opened.resources,
            marks: opened.operations.iter().map(Mark::from).collect(),
            open: opened.operations,
            at_rest: store.as_ref().is_none_or(|store| store.at_rest),
            store,
        })
    }

    fn dir(&self) -> &Path {
        &self.settings.state_dir
    }

    /// Whether a later database said something else of a resource.
    fn is_outdated(&self, resource: &Resource) -> bool {
        let Some(store) = &self.store else { return false };
        // What cannot be read is found elsewhere.
        matches!(description::later(self.dir(), resource, store), Ok(Some(_)))
    }

    /// Whether an operation is, or may be, at work on the files of a resource.
    fn is_busy(&self, id: ResourceId) -> bool {
        let at_work = |it: &Operation| it.state != State::Error && it.resource == Some(id);
        self.open.iter().any(at_work)
    }

    /// Whether an operation on a resource has not come to its end: also one that failed.
    fn is_open(&self, id: ResourceId) -> bool {
        self.open.iter().any(|operation| operation.resource == Some(id))
    }
}

struct DeepCheck<'c> {
    settings: &'c Settings,
    ports: &'c Ports,
    known: &'c Records<'c>,
    found: Findings,
}

/// Whether a root disk is over the right file of an image, where the state directory once was.
fn is_moved(named: Option<&Path>, backing: Option<&Path>) -> bool {
    let Some((named, backing)) = named.zip(backing) else { return false };
    let last: PathBuf = backing.iter().skip(backing.iter().count().saturating_sub(3)).collect();
    named.ends_with(last) && !named.exists()
}

/// What mends a file that is lost or broken: a person.
const BROKEN: &str = "restore its file from a backup, or delete it";

impl DeepCheck<'_> {
    fn finds(&mut self, what: impl Into<String>, found: impl Into<String>, mend: &str) {
        let finding = Finding { what: what.into(), found: found.into(), mend: mend.to_owned() };
        self.found.findings.insert(finding);
    }

    async fn resource(&mut self, resource: &Resource, strict: bool) {
        let id = resource.id();
        let making = !resource.is_whole();
        if making && !self.known.is_open(id) {
            let found = format!("it is {}, but no operation makes it", resource.state());
            self.finds(id, found, "restart hostler and tell its makers of this");
        }
        match resource {
            Resource::Vm(vm) => self.relations_of_vm(vm),
            Resource::Disk(disk) => self.relations_of_disk(disk),
            _ => {}
        }
        if making || self.known.is_busy(id) {
            return;
        }
        match resource {
            Resource::Vm(vm) => self.vm(vm).await,
            Resource::Disk(disk) => self.disk(disk).await,
            Resource::Image(image) => self.image(image).await,
            _ => {}
        }
        if self.known.is_outdated(resource) {
            let found = "a later database said something else of it: an older one was put back";
            self.finds(id, found, "stop hostler and run `hostler recover`");
        } else if strict {
            self.described(resource);
        }
    }

    fn relations_of_vm(&mut self, vm: &Vm) {
        let id = ResourceId::new(Vm::KIND, vm.id);
        if self.known.inventory.get::<Image>(vm.image).is_none() {
            let found = format!("the image it is an overlay of, image/{}, is not there", vm.image);
            self.finds(id, found, "run `hostler recover`, or delete the VM");
        }
        for disk in &vm.disks {
            if self.known.inventory.get::<Disk>(*disk).and_then(|disk| disk.vm) != Some(vm.id) {
                let found = format!("disk/{disk} is attached to it and does not know it");
                self.finds(id, found, "detach the disk");
            }
        }
    }

    fn relations_of_disk(&mut self, disk: &Disk) {
        let id = ResourceId::new(Disk::KIND, disk.id);
        let lists = |vm| {
            let vm = self.known.inventory.get::<Vm>(vm);
            vm.is_some_and(|vm| vm.disks.contains(&disk.id))
        };
        let right = match (disk.state, disk.vm) {
            (DiskState::Attached, Some(vm)) => lists(vm),
            (DiskState::Attached, None) | (_, Some(_)) => false,
            (_, None) => true,
        };
        if !right {
            let found = format!("it is {} and no VM has it", disk.state.word());
            self.finds(id, found, "detach it");
        }
    }

    async fn vm(&mut self, vm: &Vm) {
        let id = ResourceId::new(Vm::KIND, vm.id);
        let dir = self.settings.vm_dir(vm.id);
        let backing = self
            .known
            .inventory
            .get::<Image>(vm.image)
            .and_then(|image| image.form.as_ref()?.disk());
        let backing = backing.map(|(path, _)| path.to_owned());
        let root = dir.join(ROOT_DISK);
        if let Some(info) = self.qcow2(id, &root).await
            && info.backing != backing
            && self.known.inventory.get::<Image>(vm.image).is_some()
        {
            let shown = |path: Option<PathBuf>| {
                path.map_or_else(|| "nothing".to_owned(), |path| path.display().to_string())
            };
            let mend = if is_moved(info.backing.as_deref(), backing.as_deref()) {
                "start it: that puts right what is left of a state directory that was moved"
            } else {
                BROKEN
            };
            let found = format!(
                "{} is an overlay of {}, and should be one of {}",
                root.display(),
                shown(info.backing),
                shown(backing)
            );
            self.finds(id, found, mend);
        }
        self.is_file(id, &dir.join("seed.img"));
        if let Some(astray) = self.ports.hypervisor.astray(&self.settings.guest(vm)) {
            self.finds(id, astray, "end that process");
        }
    }

    async fn disk(&mut self, disk: &Disk) {
        let id = ResourceId::new(Disk::KIND, disk.id);
        let path = match disk.state {
            DiskState::Trashed => self.settings.trash_path(disk.id),
            _ => self.settings.disk_path(disk.id),
        };
        let Some(info) = self.qcow2(id, &path).await else { return };
        if info.virtual_bytes != disk.size_mb << 20 {
            let found = format!(
                "{} has {} bytes for its guest, and should have {} MiB",
                path.display(),
                info.virtual_bytes,
                disk.size_mb
            );
            self.finds(id, found, BROKEN);
        }
        if let Some(backing) = info.backing {
            let found = format!("{} is an overlay of {}", path.display(), backing.display());
            self.finds(id, found, BROKEN);
        }
    }

    async fn image(&mut self, image: &Image) {
        let id = ResourceId::new(Image::KIND, image.id);
        let Some(form) = &image.form else {
            return self.finds(id, "it is ready, but how it boots is not known", BROKEN);
        };
        let disk = form.disk();
        if let Some((path, format)) = disk {
            self.image_disk(id, path, format, image.virtual_bytes).await;
        }
        for file in form.files().into_iter().filter(|it| disk.is_none_or(|(path, _)| path != *it)) {
            self.is_file(id, file);
        }
    }

    async fn image_disk(&mut self, id: ResourceId, path: &Path, format: DiskFormat, bytes: u64) {
        let found = match format {
            DiskFormat::Qcow2 => self.qcow2(id, path).await.map(|info| info.virtual_bytes),
            DiskFormat::Raw if self.is_file(id, path) => {
                std::fs::metadata(path).ok().map(|file| file.len())
            }
            DiskFormat::Raw => None,
        };
        if let Some(found) = found.filter(|found| *found != bytes) {
            let found = format!(
                "{} has {found} bytes for a guest, and should have {bytes}",
                path.display()
            );
            self.finds(id, found, BROKEN);
        }
    }

    /// Whether a file of a resource is there, and no link.
    fn is_file(&mut self, id: ResourceId, path: &Path) -> bool {
        let there = Folder::of(&self.settings.state_dir, path)
            .and_then(|(folder, name)| folder.found(name));
        let found = match there {
            Ok(Some(FileType::RegularFile)) => return true,
            Ok(Some(_)) => format!("{} is no file", path.display()),
            Ok(None) => format!("its file {} is missing", path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("its file {} is missing", path.display())
            }
            Err(error) => format!("{} cannot be looked at: {error}", path.display()),
        };
        self.finds(id, found, BROKEN);
        false
    }

    /// What a qcow2 of a resource is, as far as it is one.
    async fn qcow2(&mut self, id: ResourceId, path: &Path) -> Option<DiskInfo> {
        if !self.is_file(id, path) {
            return None;
        }
        let log = CommandLog::default();
        let found = match self.ports.disks.info(path, &log).await {
            Ok(info) if info.format != "qcow2" => {
                format!("{} is of the format {}, not qcow2", path.display(), info.format)
            }
            Ok(info) => match self.ports.disks.check(path, &log).await {
                Ok(None) => return Some(info),
                Ok(Some(damage)) => format!("{} is damaged: {damage}", path.display()),
                Err(failure) => failure.message,
            },
            Err(failure) => failure.message,
        };
        self.finds(id, found, BROKEN);
        None
    }

    /// Whether a resource's description says what the database says.
    fn described(&mut self, resource: &Resource) {
        let dir = self.known.dir();
        let Some(path) = description::path(dir, resource) else { return };
        let found = match description::read(dir, &path) {
            Ok(Some(found)) if found == description::of(resource) => return,
            Ok(Some(_)) => format!("its description {} is of another time", path.display()),
            Ok(None) => format!("its description {} is missing", path.display()),
            Err(error) => format!("its description {} cannot be read: {error}", path.display()),
        };
        self.finds(resource.id(), found, "restart hostler, which writes it anew");
    }
}

#[cfg(test)]
mod tests;
