//! Operations: anything that takes time.
//!
//! ```text
//!            submit                claimed              last step
//!   (admission) ───▶ PENDING ───▶ RUN ───▶ DONE
//!                      ▲  │         │
//!             relaunch │  │ cancel  ├── failed ──▶ ERROR ── cancel ──▶ CANCEL
//!                      │  ▼         │                │
//!                      │ CANCEL     └── cancelled ──▶ CANCEL
//!                      └─────────────────────────────┘
//! ```
//!
//! `ERROR` waits for a person: change and relaunch it, or cancel it.

use std::fmt;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::json::Params;
use super::resource::{Column, Quantity, ResourceId};
use super::value::Value;

/// The number of an operation: from 1, rising, never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Uid(pub u64);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl std::str::FromStr for Uid {
    type Err = String;

    /// Takes `48211`, `#48211` and `operation/48211`.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_start_matches("operation/").trim_start_matches('#');
        digits.parse().map(Self).map_err(|_| format!("'{text}' is no operation number"))
    }
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Accepted and on disk; waits for its turn.
    Pending,
    /// Its steps are being taken.
    Run,
    /// Every step was taken.
    Done,
    /// A step failed; waits for a person.
    Error,
    /// It was called off, and what it had done was undone.
    Cancel,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Run, Self::Done, Self::Error, Self::Cancel];

    /// The word for it everywhere.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Run => "RUN",
            Self::Done => "DONE",
            Self::Error => "ERROR",
            Self::Cancel => "CANCEL",
        }
    }

    /// Whether nothing will ever happen to it again.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Cancel)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl std::str::FromStr for State {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|state| state.word().eq_ignore_ascii_case(word)).ok_or_else(
            || format!("'{word}' is no state; there are PENDING, RUN, DONE, ERROR and CANCEL"),
        )
    }
}

/// How far a running operation is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// What it is doing now, for people: `waiting for the guest`.
    pub phase: String,
    /// How much of the whole is done, 0 to 1; `None` where that cannot be known.
    #[serde(default)]
    pub fraction: Option<f64>,
    /// How much longer it will take, in seconds, where that can be told.
    #[serde(default)]
    pub left_s: Option<u64>,
    /// Figures worth seeing: `2.3× · 58 fps`.
    #[serde(default)]
    pub detail: Option<String>,
    /// How fast it works through a film or sound, in seconds of it per second: 1 is as fast as it
    /// plays. The mean since the step began.
    #[serde(default)]
    pub speed: Option<f64>,
    /// Which step it is at, from 1; 0 before the first.
    #[serde(default)]
    pub step: u32,
    /// How many steps there are, where that is known.
    #[serde(default)]
    pub steps: Option<u32>,
}

/// Why an operation that could run does not run yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "for")]
pub enum Wait {
    /// An earlier operation holds a resource this one needs.
    Operation {
        /// The earlier one.
        uid: Uid,
        /// The resource both need.
        resource: ResourceId,
    },
    /// Every place in its lane is taken.
    LaneFull {
        /// The lane.
        lane: String,
    },
    /// As many of its parent's children as may be are under way.
    Siblings {
        /// The parent.
        parent: Uid,
    },
    /// Its lane is paused or draining.
    LanePaused {
        /// The lane.
        lane: String,
        /// Whether it is draining.
        #[serde(default)]
        draining: bool,
    },
    /// A step failed in a way that may pass; it is tried again then.
    Retry {
        /// When.
        at: Timestamp,
        /// What failed.
        why: String,
    },
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation { uid, resource } => write!(f, "waits for {uid} on {resource}"),
            Self::Siblings { parent } => write!(f, "waits for others of {parent}"),
            Self::LaneFull { lane } => write!(f, "waits for a place in lane {lane}"),
            Self::LanePaused { lane, draining: false } => write!(f, "lane {lane} is paused"),
            Self::LanePaused { lane, draining: true } => write!(f, "lane {lane} is draining"),
            Self::Retry { why, .. } => write!(f, "will be tried again: {why}"),
        }
    }
}

/// What an operation returns at its end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// For people, in one sentence; empty where there is nothing to say.
    #[serde(default)]
    pub message: String,
    /// The same for programs, in the form that the operation's kind gives it; `null` where there is
    /// none.
    #[serde(default)]
    pub data: serde_json::Value,
}

impl Outcome {
    /// One with a sentence and data.
    #[must_use]
    pub fn new(message: impl Into<String>, data: serde_json::Value) -> Self {
        Self { message: message.into(), data }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.message.is_empty() && self.data.is_null()
    }
}

/// An operation, as lists show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number.
    pub uid: Uid,
    /// Its kind, a name from the catalogue.
    pub kind: String,
    /// Where it stands.
    pub state: State,
    /// Its parameters. Secrets are replaced by [`Operation::HIDDEN`]. Shared, because operations
    /// are copied with every event, and thousands that failed may wait for a person.
    pub params: Arc<Params>,
    /// The resource it acts on or makes.
    #[serde(default)]
    pub resource: Option<ResourceId>,
    /// That resource's name when the operation was accepted; where it is about none, what the
    /// operation itself is called.
    #[serde(default)]
    pub resource_name: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// Higher runs sooner; 0 unless somebody changed it.
    #[serde(default)]
    pub priority: i32,
    /// How often it was relaunched.
    #[serde(default)]
    pub attempt: u32,
    /// Whether somebody asked to cancel it.
    #[serde(default)]
    pub cancelling: bool,
    /// Whether it is past its pivot, from which there is no way back: what it has begun cannot be
    /// undone any more, so it cannot be cancelled, and waits in `ERROR` to be relaunched when it
    /// fails. `false` where an older backend does not say.
    #[serde(default)]
    pub past_pivot: bool,
    /// Why it failed, or what else should be known, in one sentence.
    #[serde(default)]
    pub comment: Option<String>,
    /// What it returned, once it is DONE, where it has anything to say.
    #[serde(default)]
    pub outcome: Option<Outcome>,
    /// The operation that asked for it, whose child it is.
    #[serde(default)]
    pub parent: Option<Uid>,
    /// When it was accepted.
    pub created: Timestamp,
    /// When it last changed: its state, parameters, priority, or whether it is to be cancelled.
    /// Progress, steps and reasons to wait change nothing of it. 1970 where an older backend does
    /// not say.
    #[serde(default)]
    pub updated: Timestamp,
    /// When its steps began.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// When it reached DONE, ERROR or CANCEL.
    #[serde(default)]
    pub finished: Option<Timestamp>,
    /// How far it is, while it runs.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Why it does not run yet, while it waits.
    #[serde(default)]
    pub wait: Option<Wait>,
}

impl Operation {
    /// What stands in the place of a secret.
    pub const HIDDEN: &'static str = "(hidden)";

    /// Why it cannot be called off, where it is past its pivot.
    #[must_use]
    pub fn no_way_back(&self) -> Option<String> {
        let advice = match self.state {
            State::Error => "relaunch it, so that it comes to its end",
            _ => "it goes on to its end",
        };
        let Self { uid, state, .. } = self;
        self.past_pivot.then(|| {
            format!("operation {uid} is {state}: what it has begun cannot be taken back; {advice}")
        })
    }

    /// The columns of a list of operations, in the order in which they are shown.
    #[must_use]
    pub fn columns() -> &'static [Column] {
        use Quantity as Q;
        static COLUMNS: LazyLock<[Column; 11]> = LazyLock::new(|| {
            [
                Column::new("uid", Q::Number).shown(7, 0).listed(),
                Column::new("kind", Q::Text).shown(13, 0).listed(),
                Column::new("name", Q::Text).shown(0, 0).listed(),
                Column::new("state", Q::Text).shown(10, 0).listed(),
                Column::new("actor", Q::Text).titled("by").shown(13, 90).listed().quiet(),
                Column::new("created", Q::Moment).titled("when").shown(12, 58).listed().quiet(),
                Column::new("resource", Q::Text),
                Column::new("parent", Q::Number),
                Column::new("priority", Q::Number),
                Column::new("finished", Q::Moment),
                Column::new("updated", Q::Moment),
            ]
        });
        &*COLUMNS
    }

    /// What is to be said about it, in one sentence: why it failed, or what it returned. Empty
    /// where there is nothing.
    #[must_use]
    pub fn message(&self) -> &str {
        let returned = self.outcome.as_ref().map(|outcome| outcome.message.as_str());
        self.comment.as_deref().or(returned).unwrap_or_default()
    }

    /// The value of a column.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "uid" | "id" => Some(Value::Number(self.uid.0 as f64)),
            "kind" => Some(Value::text(&self.kind)),
            "state" => Some(Value::text(self.state.word())),
            "name" => self.resource_name.as_deref().map(Value::text),
            "resource" => self.resource.map(|resource| Value::text(resource.to_string())),
            "actor" => Some(Value::text(&self.actor)),
            "parent" => self.parent.map(|parent| Value::Number(parent.0 as f64)),
            "priority" => Some(Value::Number(f64::from(self.priority))),
            "created" => Some(Value::Number(self.created.as_second() as f64)),
            "finished" => self.finished.map(|at| Value::Number(at.as_second() as f64)),
            "updated" => Some(Value::Number(self.updated.as_second() as f64)),
            _ => None,
        }
    }
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It is being taken.
    Running,
    /// Its result is on disk.
    Done,
    /// It failed.
    Failed,
    /// It might not begin when its turn came, and did nothing.
    Refused,
    /// It was done, and undone again.
    Undone,
    /// It was done, and could not be undone: something is left.
    UndoFailed,
}

impl StepState {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Undone => "undone",
            Self::UndoFailed => "undo failed",
        }
    }
}

/// A command that was run on the operator's behalf, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The program and its arguments; for a protocol, what was said: `QMP system_powerdown`.
    pub line: String,
    /// How it ended: `exit 0`, `signal 9`, `ok`. `None` while it runs.
    #[serde(default)]
    pub ended: Option<String>,
    /// The last lines it printed.
    #[serde(default)]
    pub tail: String,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub took_ms: u64,
}

/// One step of an operation, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which attempt of the operation it belongs to, from 0.
    pub attempt: u32,
    /// Its place in the operation, from 1.
    pub number: u32,
    /// Its name within the operation's kind.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default)]
    pub finished: Option<Timestamp>,
    /// Why it failed, or what undo could not put right.
    #[serde(default)]
    pub error: Option<String>,
    /// The commands it ran, in order.
    #[serde(default)]
    pub commands: Vec<Command>,
}

/// A request about an operation or a lane that takes effect at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "control")]
pub enum Control {
    /// Call an operation off and undo what it did.
    Cancel {
        /// Which.
        uid: Uid,
    },
    /// Queue an operation in `ERROR` again.
    Relaunch {
        /// Which.
        uid: Uid,
        /// Parameters to change; the others stay as they were.
        #[serde(default, deserialize_with = "super::json::params")]
        params: Params,
    },
    /// Set the priority of a pending operation.
    Priority {
        /// Which.
        uid: Uid,
        /// Higher runs sooner.
        priority: i32,
    },
    /// Change a lane.
    Lane {
        /// Its name.
        name: String,
        /// How.
        change: LaneChange,
    },
}

/// What can be done to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change", content = "width")]
pub enum LaneChange {
    /// Start nothing; what is under way goes on, also after a restart.
    Pause,
    /// Start operations again.
    Resume,
    /// Start nothing more, and pause once nothing runs.
    Drain,
    /// Let this many run at once, from 1 to 64.
    Width(u32),
}

/// Whether a lane starts operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// It does.
    Open,
    /// It does not.
    Paused,
    /// It does not, and becomes paused once nothing runs.
    Draining,
}

/// A named limit on what runs at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// How many operations may run in it at once.
    pub width: u32,
    /// Whether it starts operations.
    pub state: LaneState,
    /// How many run.
    pub running: u32,
    /// How many wait.
    pub waiting: u32,
}
