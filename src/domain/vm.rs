//! Virtual machines.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::value::Value;

/// What a virtual machine is doing. The words are those of the hosting API this grew from.
///
/// ```text
/// being_created ──▶ halted ◀──▶ running ◀──▶ paused
///                      │           │ │         │
///                      │           ▼ ▲         │
///                      │         crashed ◀─────┘
///                      └──▶ (deleted: the row is gone)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// `vm_create` has not finished yet.
    BeingCreated,
    /// No process; the disks are at rest.
    Halted,
    /// No process, although nobody ended it: QEMU broke or was killed. A person should look; see
    /// [`Vm::note`] and [`Vm::crashed`]. It can be started, and deleted, like a halted one.
    Crashed,
    /// QEMU runs and the guest's processors are turning.
    Running,
    /// QEMU runs, the guest's processors stand still.
    Paused,
    /// Something it needs is missing or broken; see [`Vm::note`].
    Invalid,
}

impl VmState {
    /// The word for it on screens, in filters and on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BeingCreated => "being_created",
            Self::Halted => "halted",
            Self::Crashed => "crashed",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Invalid => "invalid",
        }
    }
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vm {
    /// Its number.
    pub id: u64,
    /// Its hostname, which is also its name here.
    pub name: String,
    /// What it is doing.
    pub state: VmState,
    /// The UUID QEMU runs it under: how a living process is known again.
    pub uuid: Uuid,
    /// The number of the image its root disk is an overlay of.
    pub image: u64,
    /// The image's name when the VM was created.
    pub os: String,
    /// Shares of the box: 1 share is a configured amount of memory (256 MiB by default).
    pub shares: u32,
    /// Memory in MiB, worked out from the shares when the VM was created.
    pub memory_mib: u64,
    /// Virtual processors, from 1.
    pub cpu: u32,
    /// The user account made in the guest.
    pub login: String,
    /// Numbers of the attached disks, in the order they were attached. The root disk is not one.
    #[serde(default)]
    pub disks: Vec<u64>,
    /// The accelerator QEMU was started with (`kvm` or `tcg`), while it runs.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When the running QEMU was started.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// When its QEMU was seen to have crashed, until it is started again.
    #[serde(default)]
    pub crashed: Option<Timestamp>,
    /// What a person should know about its state, in one sentence ("the guest powered itself off").
    #[serde(default)]
    pub note: Option<String>,
    /// Processor use of the QEMU process in percent of one processor. Observed, never stored.
    #[serde(default)]
    pub cpu_percent: Option<f32>,
    /// Memory the QEMU process has resident, in MiB. Observed, never stored.
    #[serde(default)]
    pub memory_used_mib: Option<u64>,
}

impl Vm {
    /// The columns filters and sorting know beyond `id`, `name` and `state`.
    pub const COLUMNS: &[&str] =
        &["os", "shares", "memory", "vcpu", "cpu", "used", "login", "created"];

    /// The value of a column.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value> {
        match name {
            "os" => Some(Value::Text(self.os.clone())),
            "login" => Some(Value::Text(self.login.clone())),
            "shares" => Some(Value::Number(f64::from(self.shares))),
            "memory" => Some(Value::Number(self.memory_mib as f64)),
            "vcpu" => Some(Value::Number(f64::from(self.cpu))),
            "cpu" => self.cpu_percent.map(|percent| Value::Number(f64::from(percent))),
            "used" => self.memory_used_mib.map(|used| Value::Number(used as f64)),
            "created" => Some(Value::Number(self.created.as_second() as f64)),
            _ => None,
        }
    }
}
