//! Resources: the things operations act on, and how they are named.
//!
//! A resource is written `vm/3`: its kind and its number. Numbers are never used twice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::query::Value;
use super::{Disk, Encoding, Image, Task, Vm, VmState};

/// What sort of thing a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceKind {
    /// A virtual machine.
    Vm,
    /// A disk that can be attached to a virtual machine.
    Disk,
    /// An operating system image that virtual machines are created from.
    Image,
    /// A scheduled task.
    Task,
    /// An encoding job and its output.
    Encoding,
}

impl ResourceKind {
    /// Every kind, in the order of the console's tabs.
    pub const ALL: [Self; 5] = [Self::Vm, Self::Disk, Self::Task, Self::Encoding, Self::Image];

    /// The word for one of them, as in `vm/3`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Disk => "disk",
            Self::Image => "image",
            Self::Task => "task",
            Self::Encoding => "encoding",
        }
    }

    /// The word for many of them, as in `hostler list vms`.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Vm => "vms",
            Self::Disk => "disks",
            Self::Image => "images",
            Self::Task => "tasks",
            Self::Encoding => "encodings",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for ResourceKind {
    type Err = String;

    /// Takes the singular and the plural word.
    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.word() == word || kind.plural() == word).ok_or_else(
            || format!("'{word}' is no resource; there are vm, disk, image, task and encoding"),
        )
    }
}

/// One resource: its kind and its number, written `vm/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ResourceId {
    /// What it is.
    pub kind: ResourceKind,
    /// Its number, from 1, never used twice within the kind.
    pub id: u64,
}

impl ResourceId {
    /// The resource of `kind` with number `id`.
    #[must_use]
    pub const fn new(kind: ResourceKind, id: u64) -> Self {
        Self { kind, id }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

impl FromStr for ResourceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, id) = text
            .split_once('/')
            .ok_or_else(|| format!("'{text}' is no resource; write it like vm/3"))?;
        let id = id.parse().map_err(|_| format!("'{id}' in '{text}' is no number"))?;
        Ok(Self::new(kind.parse()?, id))
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ResourceId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Any resource, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "resource")]
pub enum Resource {
    /// A virtual machine.
    Vm(Vm),
    /// A disk.
    Disk(Disk),
    /// An image.
    Image(Image),
    /// A scheduled task.
    Task(Task),
    /// An encoding.
    Encoding(Encoding),
}

/// Reads the same member of whichever resource it is.
macro_rules! each {
    ($self:expr, $it:ident => $body:expr) => {
        match $self {
            Resource::Vm($it) => $body,
            Resource::Disk($it) => $body,
            Resource::Image($it) => $body,
            Resource::Task($it) => $body,
            Resource::Encoding($it) => $body,
        }
    };
}

impl Resource {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> ResourceKind {
        match self {
            Self::Vm(_) => ResourceKind::Vm,
            Self::Disk(_) => ResourceKind::Disk,
            Self::Image(_) => ResourceKind::Image,
            Self::Task(_) => ResourceKind::Task,
            Self::Encoding(_) => ResourceKind::Encoding,
        }
    }

    /// Its kind and number.
    #[must_use]
    pub fn id(&self) -> ResourceId {
        ResourceId::new(self.kind(), each!(self, it => it.id))
    }

    /// The name people gave it, unique among the living of its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        each!(self, it => &it.name)
    }

    /// Its state in the words of its kind, as written in `state:running`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Vm(vm) => vm.state.word(),
            Self::Disk(disk) => disk.state.word(),
            Self::Image(image) => image.state.word(),
            Self::Task(task) => task.state(),
            Self::Encoding(encoding) => encoding.state.word(),
        }
    }

    /// What about it needs a person, in one sentence; `None` when nothing does.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Vm(vm) if matches!(vm.state, VmState::Crashed | VmState::Invalid) => {
                Some(vm.note.as_deref().unwrap_or(vm.state.word()))
            }
            Self::Task(task) => task.problem.as_deref(),
            Self::Vm(_) | Self::Disk(_) | Self::Image(_) | Self::Encoding(_) => None,
        }
    }

    /// The value of a column, by the name filters and sorting use for it; `None` where this kind
    /// has no such column or this resource has no value in it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value> {
        match name {
            "id" => Some(Value::Number(self.id().id as f64)),
            "name" => Some(Value::Text(self.name().to_owned())),
            "state" => Some(Value::Text(self.state().to_owned())),
            _ => each!(self, it => it.field(name)),
        }
    }

    /// The resources it refers to, which it knows only by number: a disk's VM, a VM's disks. A VM's
    /// image is not among them; it has its name.
    #[must_use]
    pub fn refers_to(&self) -> Vec<ResourceId> {
        match self {
            Self::Vm(vm) => {
                vm.disks.iter().map(|disk| ResourceId::new(ResourceKind::Disk, *disk)).collect()
            }
            Self::Disk(disk) => {
                disk.vm.iter().map(|vm| ResourceId::new(ResourceKind::Vm, *vm)).collect()
            }
            Self::Image(_) | Self::Task(_) | Self::Encoding(_) => Vec::new(),
        }
    }

    /// The columns filters and sorting know for a kind, `id`, `name` and `state` first.
    #[must_use]
    pub fn columns(kind: ResourceKind) -> Vec<&'static str> {
        let own: &[&str] = match kind {
            ResourceKind::Vm => Vm::COLUMNS,
            ResourceKind::Disk => Disk::COLUMNS,
            ResourceKind::Image => Image::COLUMNS,
            ResourceKind::Task => Task::COLUMNS,
            ResourceKind::Encoding => Encoding::COLUMNS,
        };
        ["id", "name", "state"].iter().chain(own).copied().collect()
    }
}
