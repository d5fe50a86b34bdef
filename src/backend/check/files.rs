//! Every file in the state directory, and what is left beside outputs: whether the database knows
//! it.

use std::path::{Path, PathBuf};

use crate::domain::{
    Disk, DiskState, Encoding, Image, Resource, ResourceId, ResourceKind, State, Vm,
};

use super::{Finding, Records};
use crate::backend::drivers::supervise::Supervised;
use crate::backend::engine::store::plain;
use crate::backend::ownership;
use crate::backend::state_files::beneath::Folder;
use crate::backend::state_files::mark::{self, Mark};
use crate::backend::state_files::{
    DISK_FOLDER, ENCODINGS, FOLDERS, IMAGE_FOLDER, TRASH, VM_FOLDER, description, is_owners,
    is_unwritten, number, target,
};
use crate::backend::watchers::timekeeper;
use crate::open_files;

/// What else may lie in the state directory: what the clock showed, a configuration, what the
/// console remembers, probes.
const OURS: [&str; 6] = [
    timekeeper::CLOCK_FILE,
    "config.toml",
    "console.json",
    "console.partial",
    "lost+found",
    "probes",
];

/// What is found of a file that nobody knows.
const UNKNOWN: &str = "the database does not know it";

/// What lies in the folders of resources that the database does not know.
pub(super) fn unknown(known: &Records<'_>) -> Vec<PathBuf> {
    let mut walk = FileWalk { known, strict: false, findings: Vec::new() };
    walk.resources();
    let unknown = walk.findings.into_iter().filter(|finding| finding.found == UNKNOWN);
    unknown.map(|finding| finding.what.into()).collect()
}

/// What has a name of the owner's own files and is none of them, with how that is told.
#[must_use]
pub fn odd(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut odd = ownership::odd(dir);
    let clock = dir.join(timekeeper::CLOCK_FILE);
    if odd.iter().all(|(path, _)| *path != clock)
        && let Some(why) = timekeeper::why_no_clock(&clock)
    {
        odd.push((clock, why));
    }
    odd
}

/// Every file that should not be where it is. `strict` where nothing may lag behind.
pub(super) fn check(known: &Records<'_>, strict: bool) -> Vec<Finding> {
    let mut walk = FileWalk { known, strict, findings: Vec::new() };
    walk.top();
    walk.odd();
    walk.resources();
    walk.encodings();
    walk.beside_outputs();
    walk.findings
}

struct FileWalk<'w> {
    known: &'w Records<'w>,
    strict: bool,
    findings: Vec<Finding>,
}

impl FileWalk<'_> {
    fn finds(&mut self, path: &Path, found: impl Into<String>, mend: &str) {
        let what = path.display().to_string();
        self.findings.push(Finding { what, found: found.into(), mend: mend.to_owned() });
    }

    /// The names in a folder of the state directory.
    fn names(&mut self, path: &Path) -> Vec<String> {
        let names = Folder::beneath(self.known.dir(), path).and_then(|folder| folder.names());
        match names {
            Ok(names) => names.iter().map(|it| it.to_string_lossy().into_owned()).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.finds(path, format!("it cannot be looked into: {error}"), "put it right");
                Vec::new()
            }
        }
    }

    fn top(&mut self) {
        let dir = self.known.dir().to_owned();
        let folders = FOLDERS.iter().map(|(_, name)| *name).chain([TRASH, ENCODINGS]);
        let ours: Vec<&str> = folders.chain(OURS).collect();
        for name in self.names(&dir) {
            let unwritten = !self.strict && (is_unwritten(&name) || is_owners(&name));
            let is_own = name.trim_start_matches('.') == ownership::SOCKET;
            if !ours.contains(&&*name) && !name.starts_with("hostler.") && !unwritten && !is_own {
                self.finds(&dir.join(name), "it is none of hostler's files", "move it away");
            }
        }
    }

    /// What has a name of the owner's and is not what that keeps there.
    fn odd(&mut self) {
        for (path, why) in odd(self.known.dir()) {
            self.finds(&path, format!("it {why}"), "look what it is and move it away");
        }
    }

    fn resources(&mut self) {
        let dir = self.known.dir().to_owned();
        for (kind, folder) in [(Vm::KIND, VM_FOLDER), (Image::KIND, IMAGE_FOLDER)] {
            let folder = dir.join(folder);
            for name in self.names(&folder) {
                self.in_folders(kind, &folder, &name);
            }
        }
        for place in [DISK_FOLDER, TRASH] {
            let folder = dir.join(place);
            for name in self.names(&folder) {
                self.in_disks(&folder, &name, place == TRASH);
            }
        }
    }

    /// Whether a mark is of an operation that the database knows; tells where it is not.
    fn marked(&mut self, path: &Path, id: ResourceId) {
        const LEFT: &str = "an operation left this mark behind";
        let mark = match Mark::read(self.known.dir(), id) {
            Ok(Some(mark)) => mark,
            Ok(None) => return,
            Err(error) => {
                return self.finds(path, format!("this mark cannot be read: {error}"), "remove it");
            }
        };
        if self.known.marks.contains(&mark) {
            return;
        }
        let asked = self.known.store.as_ref().map(|store| store.operation(mark.operation));
        let state = match asked {
            Some(Ok(Some(operation))) if Mark::from(&operation) == mark => Some(operation.state),
            _ => None,
        };
        match state {
            Some(State::Done | State::Cancel) if !self.strict => {}
            Some(_) => self.finds(path, LEFT, "restart hostler, which removes it"),
            None => self.finds(
                path,
                format!("the operation {} that began this is not known", mark.operation),
                "remove what it began, and then this mark",
            ),
        }
    }

    /// Whether a resource is being made by an operation whose mark stands at its place.
    fn is_making(&self, id: ResourceId) -> bool {
        let mark = Mark::read(self.known.dir(), id).ok().flatten();
        mark.is_some_and(|mark| self.known.marks.contains(&mark))
    }

    /// A name in the folder of VMs or images.
    fn in_folders(&mut self, kind: ResourceKind, folder: &Path, name: &str) {
        let path = folder.join(name);
        if let Some(id) = mark::resource(kind, name) {
            return self.marked(&path, id);
        }
        if is_unwritten(name) && !self.strict {
            return;
        }
        let Some(number) = number(name) else { return self.unknown(&path) };
        let id = ResourceId::new(kind, number);
        let is_known = self.known.inventory.resource(id).is_some() || self.is_making(id);
        if name == number.to_string() {
            if !is_known {
                return self.unknown(&path);
            }
            if !self.known.is_busy(id) && !self.is_making(id) {
                self.inside(kind, &path);
            }
        } else if name != format!("{number}.deleted") || !self.known.is_open(id) {
            self.unknown(&path);
        }
    }

    /// What lies in the folder of a VM or image that nothing is at work on.
    fn inside(&mut self, kind: ResourceKind, folder: &Path) {
        for name in self.names(folder) {
            let unfinished = name.contains(".partial")
                || (kind == Image::KIND && matches!(&*name, "tree" | "job"));
            if unfinished && (self.strict || !is_unwritten(&name)) {
                let job = folder.join("job");
                self.left(&folder.join(name), "an operation left this behind", &job);
            } else if kind == Vm::KIND {
                self.in_vm(&folder.join(name));
            }
        }
    }

    /// What lies in the folder of a VM: files and sockets, or QEMU is not launched.
    fn in_vm(&mut self, path: &Path) {
        let Ok(found) = std::fs::symlink_metadata(path) else { return };
        let why = match path.extension().is_some_and(|ending| ending == "sock") {
            true => plain::why_no_socket(&found),
            false => plain::why_foreign(&found),
        };
        if let Some(why) = why {
            self.finds(path, format!("it {why}"), "look what it is and move it away");
        }
    }

    /// A name in the folder of disks, or in the trash.
    fn in_disks(&mut self, folder: &Path, name: &str, trashed: bool) {
        let path = folder.join(name);
        if let Some(id) = mark::resource(Disk::KIND, name).filter(|_| !trashed) {
            return self.marked(&path, id);
        }
        if is_unwritten(name) && !self.strict {
            return;
        }
        let Some(number) = number(name) else { return self.unknown(&path) };
        let id = ResourceId::new(Disk::KIND, number);
        if self.known.is_busy(id) {
            return;
        }
        let here = self.known.inventory.get::<Disk>(number).is_some_and(|disk| {
            disk.state != DiskState::BeingCreated && (disk.state == DiskState::Trashed) == trashed
        });
        let described = description::of_disk(
            self.known.dir(),
            if trashed { TRASH } else { DISK_FOLDER },
            number,
        );
        let ours = name == format!("{number}.qcow2") || path == described;
        // After a kill a description may still lie where the disk was before.
        let lags = !self.strict && path == described && self.known.inventory.resource(id).is_some();
        let known = (ours && here) || lags;
        if target(name).is_some() {
            self.finds(&path, "an operation left this behind", "remove it");
        } else if !known {
            self.unknown(&path);
        }
    }

    fn unknown(&mut self, path: &Path) {
        self.finds(path, UNKNOWN, "stop hostler and run `hostler recover`, or move it away");
    }

    fn encodings(&mut self) {
        let folder = self.known.dir().join(ENCODINGS);
        for name in self.names(&folder) {
            let id = name.parse().ok().map(|number| ResourceId::new(Encoding::KIND, number));
            if !id.is_some_and(|id| self.known.is_open(id)) {
                let job = folder.join(name);
                self.left(&job, "an encoding left this behind", &job);
            }
        }
    }

    /// What is left behind, unless processes are at work there: for a job, where an older database
    /// was put back under them, or for the state directory that this one is a copy of.
    fn left(&mut self, path: &Path, found: &str, job: &Path) {
        let mut at_work = Supervised::at(job).processes();
        at_work.extend(open_files::workers(path).map(|pid| pid.as_raw_pid().cast_unsigned()));
        at_work.sort_unstable();
        at_work.dedup();
        if at_work.is_empty() {
            return self.finds(path, found, "remove it");
        }
        let found = format!(
            "processes {at_work:?} are at work here for an operation that the database does not \
             know, as after an older copy of it was put back, or for another state directory"
        );
        self.finds(path, found, "let them end or end them, and then remove it");
    }

    /// The job whose tool writes into a folder beside an output.
    fn writer(&self, outer: &Path) -> Option<PathBuf> {
        let jobs = std::fs::read_dir(self.known.dir().join(ENCODINGS)).ok()?;
        let mut jobs = jobs.flatten().map(|job| job.path());
        jobs.find(|job| {
            Supervised::at(job).command().is_some_and(|it| it.outer_dir.as_deref() == Some(outer))
        })
    }

    /// What ffmpeg wrote beside an output must be gone once nothing encodes into it.
    fn beside_outputs(&mut self) {
        let mut outputs: Vec<(PathBuf, bool)> = Vec::new();
        for resource in &self.known.resources {
            if let Resource::Encoding(encoding) = resource {
                let busy = self.known.is_busy(resource.id());
                match outputs.iter_mut().find(|(output, _)| *output == encoding.output) {
                    Some((_, found)) => *found |= busy,
                    None => outputs.push((encoding.output.clone(), busy)),
                }
            }
        }
        for (output, _) in outputs.iter().filter(|(_, busy)| !busy) {
            let Some((folder, name)) = output.parent().zip(output.file_name()) else { continue };
            let name = name.to_string_lossy();
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let found = entry.file_name().to_string_lossy().into_owned();
                let Some(begin) = target(&found) else { continue };
                // Of a long name only the beginning is taken.
                let of_it = begin == name || (begin.len() > 190 && name.starts_with(begin));
                if of_it {
                    let path = entry.path();
                    let job = self.writer(&path).unwrap_or_else(|| path.clone());
                    self.left(&path, "an encoding left this behind", &job);
                }
            }
        }
    }
}
