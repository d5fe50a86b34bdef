//! Events: facts that happened, in order.
//!
//! Sequence numbers rise by one within one life of the backend. A receiver that sees a gap, or a
//! new `life`, has missed something and asks again; so a slow terminal and a reconnecting remote
//! need no special path.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Host, Lane, Load, Operation, Progress, Resource, ResourceId, Step, Uid};

/// A fact that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Which life of the backend numbered it: changes with every start.
    pub life: u64,
    /// Its place in that life, from 1; 0 for [`Fact::Missed`] and [`Fact::Lost`], which have none.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What happened. The variants carry the whole new value, so that the latest wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event", content = "value")]
pub enum Fact {
    /// An operation was accepted or changed its state, priority or reason to wait.
    Operation(Arc<Operation>),
    /// A running operation got further.
    Progress {
        /// Which.
        uid: Uid,
        /// How far.
        progress: Progress,
    },
    /// A step began or ended.
    Step {
        /// Of which operation.
        uid: Uid,
        /// The step.
        step: Arc<Step>,
    },
    /// A resource was made or changed.
    Resource(Arc<Resource>),
    /// A resource is gone.
    Gone(ResourceId),
    /// A running VM's processor or memory use changed.
    Usage {
        /// The VM's number.
        vm: u64,
        /// Processor use in percent of one processor.
        cpu_percent: f32,
        /// Memory resident, in MiB.
        memory_mib: u64,
    },
    /// A lane changed.
    Lane(Lane),
    /// The load of the box changed enough to show.
    Load(Load),
    /// What the box can do changed: a probe finished, a tool came or went.
    Host(Arc<Host>),
    /// Something a person should read that belongs to no operation.
    Notice {
        /// The whole sentence.
        message: String,
    },
    /// The receiver fell behind, or lost its connection and has it again: ask for everything anew.
    Missed,
    /// The connection to the backend was lost; it is being tried again.
    Lost {
        /// Why.
        why: String,
    },
}
