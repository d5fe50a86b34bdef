//! Disks that can be attached to virtual machines.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Vm;
use crate::domain::display::bytes;
use crate::domain::resource::{
    Column, Detail, Emphasis, Piece, Quantity, ResourceId, ResourceKind, ResourceSpec,
    ResourceType, StateSpec, StateTone,
};
use crate::domain::value::Value;

/// How the ids of disks' devices begin, before the number.
const DEVICE: &str = "hostler-disk-";

/// The filesystem a disk is made with, on the whole disk, without a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FsType {
    /// Second extended filesystem with a journal.
    Ext3,
    /// Fourth extended filesystem.
    Ext4,
    /// ReiserFS 3.6.
    Reiserfs,
    /// XFS.
    Xfs,
    /// IBM's journaled filesystem.
    Jfs,
    /// Btrfs.
    Btrfs,
    /// A blank disk.
    None,
}

impl FsType {
    /// Every filesystem, the hosting API's first.
    pub const ALL: [Self; 7] =
        [Self::Ext3, Self::Reiserfs, Self::Xfs, Self::Jfs, Self::Ext4, Self::Btrfs, Self::None];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Reiserfs => "reiserfs",
            Self::Xfs => "xfs",
            Self::Jfs => "jfs",
            Self::Btrfs => "btrfs",
            Self::None => "none",
        }
    }

    /// The smallest disk its mkfs accepts, in MB of 1 MiB, as measured with Debian 12's tools. Ext
    /// could be smaller still, but has no journal then.
    #[must_use]
    pub const fn smallest_mb(self) -> u64 {
        match self {
            Self::Ext3 | Self::Ext4 => 2,
            Self::Reiserfs => 33,
            Self::Xfs => 300,
            Self::Jfs => 16,
            Self::Btrfs => 109,
            Self::None => 1,
        }
    }
}

/// How the bytes of a disk or image lie in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    /// QEMU copy-on-write, version 2.
    Qcow2,
    /// The bytes as they are.
    Raw,
}

impl DiskFormat {
    /// The word QEMU and qemu-img have for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// What a disk is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskState {
    /// `disk_create` has not finished yet.
    BeingCreated,
    /// Whole, and attached to nothing.
    Free,
    /// Attached to the VM named in [`Disk::vm`].
    Attached,
    /// Deleted; its file is kept until the trash is emptied.
    Trashed,
}

impl DiskState {
    /// The word for it on screens, in filters and on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BeingCreated => "being_created",
            Self::Free => "free",
            Self::Attached => "attached",
            Self::Trashed => "trashed",
        }
    }
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: DiskState,
    /// Its size in MB of 1 MiB, as the guest sees it.
    pub size_mb: u64,
    /// The filesystem it was made with.
    pub fstype: FsType,
    /// How its bytes lie in the file.
    pub format: DiskFormat,
    /// Its file.
    pub path: PathBuf,
    /// The VM it is attached to.
    #[serde(default)]
    pub vm: Option<u64>,
    /// When it was created.
    pub created: Timestamp,
    /// When it was put into the trash.
    #[serde(default)]
    pub trashed: Option<Timestamp>,
}

impl ResourceType for Disk {
    const KIND: ResourceKind = ResourceKind::new("disk");

    #[cfg(test)]
    const SAMPLE: &str = r#"{"resource":"disk","id":1,"name":"a","state":"attached",
        "size_mb":20,"fstype":"ext4",
        "format":"qcow2","path":"/d","vm":1,"created":"2026-01-02T03:04:05Z"}"#;

    fn spec() -> ResourceSpec {
        let own = [
            Column::new("size", Quantity::Mib).member("size_mb").shown(9, 38).listed(),
            Column::new("fstype", Quantity::Text)
                .titled("fs")
                .one_of(FsType::ALL.map(FsType::word))
                .shown(8, 52)
                .listed(),
            Column::new("vm", Quantity::Number).refers_to(Vm::KIND).shown(14, 60).listed(),
            Column::created(),
        ];
        let state = |state: DiskState, tone| StateSpec::new(state.word(), tone);
        ResourceSpec {
            intro: "disks to attach to them".into(),
            columns: Column::first(14).into_iter().chain(own).collect(),
            states: vec![
                state(DiskState::BeingCreated, StateTone::Busy),
                state(DiskState::Free, StateTone::Resting),
                state(DiskState::Attached, StateTone::Running),
                state(DiskState::Trashed, StateTone::Resting),
            ],
            ..ResourceSpec::new("disk", "disks", "disks")
        }
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> &'static str {
        self.state.word()
    }

    fn value(&self, column: &str) -> Option<Value<'_>> {
        match column {
            "size" => Some(Value::Number(self.size_mb as f64)),
            "fstype" => Some(Value::text(self.fstype.word())),
            "vm" => self.vm.map(|vm| Value::Number(vm as f64)),
            "created" => Some(Value::Number(self.created.as_second() as f64)),
            _ => None,
        }
    }

    fn details(&self) -> Vec<Detail> {
        let bytes = (self.size_mb << 20) as f64;
        let mut details = vec![
            Detail::amount("size", bytes, Quantity::Bytes),
            Detail::text("made as", self.fstype.word()),
        ];
        for vm in self.refers_to() {
            details.push(Detail::pieces("vm", [Piece::Name(vm)]));
            // udev puts the bus and the maker before it; a shell finds it all the same.
            let seen = format!("/dev/disk/by-id/*_{}", self.device_id());
            details.push(Detail::text("in guest", seen));
        }
        let file = format!("{} ({})", self.path.display(), self.format.word());
        details.push(Detail::text("file", file));
        details.push(Detail::moment("created", self.created).with(Emphasis::Quiet));
        details.extend(
            self.trashed.map(|at| Detail::moment(Self::TRASHED, at).with(Emphasis::Warning)),
        );
        details
    }

    fn note(&self) -> String {
        format!("{} · {}", self.state.word(), bytes(self.size_mb << 20))
    }

    fn refers_to(&self) -> Vec<ResourceId> {
        self.vm.iter().map(|vm| ResourceId::new(Vm::KIND, *vm)).collect()
    }

    fn is_whole(&self) -> bool {
        self.state != DiskState::BeingCreated
    }

    fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.path]
    }

    fn holds_name(&self) -> bool {
        self.state != DiskState::Trashed
    }
}

impl Disk {
    /// The label of the detail that says since when it is in the trash.
    pub const TRASHED: &str = "trashed";

    /// The serial number the guest sees (`/dev/disk/by-id/…_hostler-disk-3`), and the id QEMU
    /// knows the device by.
    #[must_use]
    pub fn device_id(&self) -> String {
        format!("{DEVICE}{}", self.id)
    }

    /// Returns the number of the disk whose device has this id; `None` where it is no disk's.
    #[must_use]
    pub fn number_of(device: &str) -> Option<u64> {
        device.strip_prefix(DEVICE)?.parse().ok()
    }
}
