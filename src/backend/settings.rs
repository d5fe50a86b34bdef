//! What operations may know of the configuration and of the files in `assets/`.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

pub use super::os::OsImage;
use super::ports::Guest;
use super::presets::Presets;
use crate::domain::Vm;
use crate::time_zone;

/// The settings of an embedded backend.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// Memory of one share, in MiB.
    pub share_mib: u64,
    /// How long a guest may take to shut down before the operator is asked.
    pub stop_timeout: Duration,
    /// How long a deleted disk stays in the trash, in days.
    pub trash_days: u32,
    /// How many operations are kept, open ones and those that have ended.
    pub keep_operations: u64,
    /// How long an operation is kept after its end, in days; `None`: however long.
    pub keep_operations_days: Option<u32>,
    /// How many operations may run at once in each lane.
    pub lanes: Vec<(String, u32)>,
    /// The operating systems whose images can be fetched, in the order forms show them.
    pub os: Vec<OsImage>,
    /// What can be encoded into.
    pub presets: Presets,
    /// The time zone tasks are scheduled in; `None` for the system's.
    pub time_zone: Option<TimeZone>,
}

impl Settings {
    /// The settings nobody changed, for a state directory. What holds by default stands here and
    /// nowhere else; `config.example.toml` is compared with it.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        let lanes =
            [("vm", 4), ("disk", 2), ("image", 1), ("encode", 1), ("task", 2), ("batch", 8)];
        Self {
            state_dir,
            share_mib: 256,
            stop_timeout: Duration::from_secs(120),
            trash_days: 7,
            keep_operations: 1_000_000,
            keep_operations_days: None,
            lanes: lanes.iter().map(|(name, width)| ((*name).to_owned(), *width)).collect(),
            os: super::os::builtin(),
            presets: Presets::builtin(),
            time_zone: None,
        }
    }

    /// The time zone tasks are scheduled in.
    #[must_use]
    pub fn time_zone(&self) -> TimeZone {
        self.time_zone.clone().unwrap_or_else(time_zone::here)
    }

    /// A VM as the hypervisor knows it.
    #[must_use]
    pub fn guest(&self, vm: &Vm) -> Guest {
        Guest { id: vm.id, uuid: vm.uuid, dir: self.vm_dir(vm.id) }
    }

    /// The folder of a VM.
    #[must_use]
    pub fn vm_dir(&self, id: u64) -> PathBuf {
        self.state_dir.join("vms").join(id.to_string())
    }

    /// The file of a disk.
    #[must_use]
    pub fn disk_path(&self, id: u64) -> PathBuf {
        self.state_dir.join("disks").join(format!("{id}.qcow2"))
    }

    /// The file of a disk in the trash.
    #[must_use]
    pub fn trash_path(&self, id: u64) -> PathBuf {
        self.state_dir.join("trash").join(format!("{id}.qcow2"))
    }

    /// The folder of an image.
    #[must_use]
    pub fn image_dir(&self, id: u64) -> PathBuf {
        self.state_dir.join("images").join(id.to_string())
    }

    /// The working folder of an encoding.
    #[must_use]
    pub fn encoding_dir(&self, id: u64) -> PathBuf {
        self.state_dir.join("encodings").join(id.to_string())
    }
}
