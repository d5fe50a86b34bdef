//! Virtual machines.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Disk;
use crate::domain::resource::{
    Column, Detail, Emphasis, Piece, Quantity, ResourceId, ResourceKind, ResourceSpec,
    ResourceType, StateSpec, StateTone,
};
use crate::domain::value::Value;

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

/// What a forwarded port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// The word for it on screens and on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the box's loopback address that leads to a port of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The port of the box, from 1.
    pub port: u16,
    /// The port of the guest, from 1.
    pub guest: u16,
    /// What it carries.
    pub protocol: Protocol,
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "127.0.0.1:{} → {}/{}", self.port, self.guest, self.protocol.word())
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
    /// Ports of the box that lead to it while it runs.
    #[serde(default)]
    pub ports: Vec<Forward>,
    /// The accelerator QEMU was started with (`kvm` or `tcg`), while it runs.
    #[serde(default)]
    pub accelerator: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When the running guest was started: with its QEMU, or anew since by a reset.
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

impl ResourceType for Vm {
    const KIND: ResourceKind = ResourceKind::new("vm");

    #[cfg(test)]
    const SAMPLE: &str = r#"{"resource":"vm","id":1,"name":"a","state":"running",
        "image":1,"os":"tiny","shares":2,
        "uuid":"6f9619ff-8b86-4011-b42d-00c04fc964ff","memory_mib":512,"cpu":3,"login":"root",
        "created":"2026-01-02T03:04:05Z","cpu_percent":50.0,"memory_used_mib":90,
        "disks":[1]}"#;

    fn spec() -> ResourceSpec {
        use Quantity as Q;
        let own = [
            Column::new("cpu", Q::Percent).member("cpu_percent").shown(5, 44).listed(),
            Column::new("memory", Q::Mib).member("memory_mib").shown(8, 50).listed(),
            Column::new("used", Q::Mib)
                .titled("resident")
                .member("memory_used_mib")
                .shown(8, 60)
                .listed(),
            Column::new("vcpu", Q::Number).member("cpu").shown(4, 90).listed(),
            Column::new("os", Q::Text).shown(12, 66).listed().quiet(),
            Column::new("shares", Q::Number),
            Column::new("login", Q::Text),
            Column::created().listed(),
        ];
        let state = |state: VmState, tone| StateSpec::new(state.word(), tone);
        ResourceSpec {
            one: "VM".into(),
            many: "VMs".into(),
            intro: "virtual machines, from an OS image, on QEMU".into(),
            columns: Column::first(14).into_iter().chain(own).collect(),
            states: vec![
                state(VmState::BeingCreated, StateTone::Busy),
                state(VmState::Halted, StateTone::Resting),
                state(VmState::Crashed, StateTone::Bad),
                state(VmState::Running, StateTone::Running),
                state(VmState::Paused, StateTone::Paused),
                state(VmState::Invalid, StateTone::Bad),
            ],
            serial: [VmState::Running, VmState::Paused].map(|it| it.word().into()).to_vec(),
            ..ResourceSpec::new("vm", "vms", "virtual machines")
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
            "os" => Some(Value::text(&self.os)),
            "login" => Some(Value::text(&self.login)),
            "shares" => Some(Value::Number(f64::from(self.shares))),
            "memory" => Some(Value::Number(self.memory_mib as f64)),
            "vcpu" => Some(Value::Number(f64::from(self.cpu))),
            "cpu" => self
                .cpu_percent
                .filter(|_| self.is_up())
                .map(|percent| Value::Number(f64::from(percent))),
            "used" => {
                self.memory_used_mib.filter(|_| self.is_up()).map(|it| Value::Number(it as f64))
            }
            "created" => Some(Value::Number(self.created.as_second() as f64)),
            _ => None,
        }
    }

    fn details(&self) -> Vec<Detail> {
        let mut details = Vec::new();
        details.extend(self.crashed.map(|at| Detail::moment("crashed", at).with(Emphasis::Bad)));
        if let Some(note) = &self.note {
            details.push(Detail::text("note", note).with(Emphasis::Warning));
        }
        let memory = Piece::Amount(self.memory_mib as f64, Quantity::Mib);
        let shares = Piece::Text(format!("{} (", self.shares));
        details.extend([
            Detail::text("os", &self.os),
            Detail::pieces("shares", [shares, memory, Piece::text(")")]),
            Detail::text("vcpu", self.cpu.to_string()),
            Detail::text("login", &self.login),
            Detail::pieces("disks", self.disks_named()),
        ]);
        if !self.ports.is_empty() {
            let ports: Vec<String> = self.ports.iter().map(Forward::to_string).collect();
            details.push(Detail::text("ports", ports.join(", ")));
        }
        if let Some(started) = self.started {
            // When, not how long: a screen need not change while nothing happens.
            let mut up = vec![Piece::text("since "), Piece::moment(started)];
            up.extend(self.accelerator.as_ref().map(|it| Piece::Text(format!(" under {it}"))));
            details.push(Detail::pieces("up", up));
        }
        if let Some(used) = self.memory_used_mib.filter(|_| self.is_up()) {
            let used = Piece::Amount(used as f64, Quantity::Mib);
            details.push(Detail::pieces("memory", [used, Piece::text(" resident")]));
        }
        details.push(Detail::moment("created", self.created).with(Emphasis::Quiet));
        details.push(Detail::text("uuid", self.uuid.to_string()).with(Emphasis::Quiet));
        details
    }

    fn problem(&self) -> Option<&str> {
        matches!(self.state, VmState::Crashed | VmState::Invalid)
            .then(|| self.note.as_deref().unwrap_or(self.state.word()))
    }

    fn is_whole(&self) -> bool {
        self.state != VmState::BeingCreated
    }

    fn refers_to(&self) -> Vec<ResourceId> {
        self.disks.iter().map(|disk| ResourceId::new(Disk::KIND, *disk)).collect()
    }
}

impl Vm {
    /// Whether its QEMU runs, as far as is known.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.state, VmState::Running | VmState::Paused)
    }

    /// The same VM without a process.
    #[must_use]
    pub fn halted(self, note: Option<String>) -> Self {
        Self {
            state: VmState::Halted,
            accelerator: None,
            started: None,
            crashed: None,
            cpu_percent: None,
            memory_used_mib: None,
            note,
            ..self
        }
    }

    /// The same VM after its process was found to have ended although nobody ended it.
    #[must_use]
    pub fn crashed(self, seen: Timestamp, note: String) -> Self {
        Self { state: VmState::Crashed, crashed: Some(seen), ..self.halted(Some(note)) }
    }

    /// The names of its disks with commas between.
    fn disks_named(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for disk in self.refers_to() {
            if !pieces.is_empty() {
                pieces.push(Piece::text(", "));
            }
            pieces.push(Piece::Name(disk));
        }
        if pieces.is_empty() {
            pieces.push(Piece::text("the root disk only"));
        }
        pieces
    }
}
