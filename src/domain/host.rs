//! The box itself: its load, its tools, what it can and cannot do.

use serde::{Deserialize, Serialize};

/// Which accelerator guests run under, and how that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    /// `kvm` or `tcg`.
    pub name: String,
    /// How it was found out, in one sentence ("/dev/kvm opens, but a probe guest never ran").
    pub why: String,
}

/// Whether a tool is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ToolState {
    /// It is there.
    Present {
        /// What it calls its version, such as `7.2.19`.
        version: String,
    },
    /// It is not there, or does not run.
    Missing {
        /// The exact command that mends it.
        mend: String,
    },
}

/// A program hostler drives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The program's name, such as `qemu-img`.
    pub name: String,
    /// What cannot be done without it.
    pub purpose: String,
    /// Whether it is there.
    #[serde(flatten)]
    pub state: ToolState,
}

/// What this machine can and cannot do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Host {
    /// The box's name.
    pub name: String,
    /// hostler's version.
    pub version: String,
    /// The state directory.
    pub state_dir: std::path::PathBuf,
    /// The accelerator; `None` while the probe has not finished or QEMU is missing.
    pub accelerator: Option<Accelerator>,
    /// The tools, in the order `doctor` shows them.
    pub tools: Vec<Tool>,
    /// For how many days disks are kept in the trash; `None` where the backend does not say.
    #[serde(default)]
    pub trash_days: Option<u32>,
    /// How loaded the box is.
    pub load: Load,
}

impl Host {
    /// The tools that are missing.
    pub fn missing(&self) -> impl Iterator<Item = &Tool> {
        self.tools.iter().filter(|tool| matches!(tool.state, ToolState::Missing { .. }))
    }
}

/// How loaded the box is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Processor use over all processors, 0 to 100; `None` until it was measured.
    #[serde(default)]
    pub cpu_percent: Option<f32>,
    /// Memory in use, in bytes.
    pub memory_used: u64,
    /// Memory in all, in bytes.
    pub memory_total: u64,
    /// Bytes used on the filesystem of the state directory.
    pub pool_used: u64,
    /// Bytes in all on the filesystem of the state directory.
    pub pool_total: u64,
}
