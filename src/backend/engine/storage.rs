//! What the engine asks of whatever keeps it: the changes it sends, in order, and the few things it
//! reads.
//!
//! [`super::store`] is one, in SQLite. Another may stand in its place, such as one that is
//! simulated: the engine knows only this.

#![warn(missing_docs)]

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::domain::{
    BackendError, BoxFuture, LaneState, Operation, Outcome, Params, Resource, ResourceId, State,
    Step, Uid,
};

/// What keeps operations, resources and lanes.
pub trait Storage: Send + Sync {
    /// Sends changes that belong together; the answer comes when they are on disk, or none of them
    /// is. The order of calls is the order of writing, also when nobody waits for the answer, and
    /// changes are never on disk without all those sent before them that are written at all.
    /// Answers may come in any order.
    fn send(&self, changes: Vec<Change>) -> Acknowledgement;

    /// Sends changes whose answer nobody needs: what follows them is acknowledged after them.
    fn send_unanswered(&self, changes: Vec<Change>);

    /// How it is, and how it comes to be.
    fn health(&self) -> watch::Receiver<Health>;

    /// Where it keeps everything, for messages.
    fn place(&self) -> String;

    /// How much must be free there, once it was full, before it takes new work again, in MiB.
    fn needed_mib(&self) -> u64;

    /// One operation; `None`: there is none of that number.
    fn operation(&self, uid: Uid) -> BoxFuture<'static, Result<Option<Operation>, BackendError>>;

    /// The operation that was asked for with an idempotency key, and what came with the key.
    fn keyed(
        &self,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<(Operation, Params)>, BackendError>>;

    /// The children of an operation, whether they have ended or not, by number.
    fn children(&self, uid: Uid) -> BoxFuture<'static, Result<Vec<Operation>, BackendError>>;

    /// The steps of an operation, of every attempt, each with what it returned.
    fn steps(&self, uid: Uid) -> BoxFuture<'static, Result<Vec<RecordedStep>, BackendError>>;
}

/// An idempotency key and what came with it.
#[derive(Debug)]
pub struct Keyed {
    /// The key.
    pub key: String,
    /// The parameters as they were asked for, secrets hashed or sealed.
    pub request: Params,
}

/// Tells whether changes are on disk. Where no answer comes, nothing is written any more, and
/// [`Health::error`] says why.
pub type Acknowledgement = oneshot::Receiver<Result<(), BackendError>>;

/// What a step returned, as JSON. It is text because it may be long and is hardly ever looked into:
/// what it says is made once, kept, and written as it is.
pub type StepResult = Arc<str>;

/// A step as it was recorded, and what it returned.
pub type RecordedStep = (Step, Option<StepResult>);

/// How a storage is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It writes.
    Well,
    /// The disk is full: it writes what ends things, and takes no new work.
    Full,
    /// Another program keeps it from writing, which passes: what it is sent is to be sent again.
    Locked,
    /// It writes no more, and why. What it acknowledged is on disk.
    Dead(String),
}

impl Health {
    /// Why there is no answer any more.
    #[must_use]
    pub fn error(&self) -> BackendError {
        match self {
            Self::Dead(why) => BackendError::failed(why.as_str()),
            _ => BackendError::failed("the writer of the store has stopped; restart hostler"),
        }
    }
}

/// What a store holds that is not at its end.
#[derive(Debug, Default)]
pub struct Opened {
    /// Operations in `PENDING`, `RUN` and `ERROR`, by number.
    pub operations: Vec<Operation>,
    /// Every resource.
    pub resources: Vec<Resource>,
    /// The highest operation number.
    pub last_uid: u64,
    /// The highest number ever given out, by kind of resource.
    pub counters: Vec<(String, u64)>,
    /// Lanes as operators left them: name, width, state.
    pub lanes: Vec<(String, u32, LaneState)>,
    /// Rows that cannot be read. They are left where they are, and everything else goes on.
    pub damaged: Vec<Damaged>,
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The resource it holds, if it is one.
    pub resource: Option<ResourceId>,
    /// Which row, as people call it: `operation #12`.
    pub row: String,
    /// Why it cannot be read.
    pub why: String,
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { row, why, .. } = self;
        write!(f, "{row} is damaged and left out: {why}")
    }
}

/// One change to the store.
#[derive(Debug)]
pub enum Change {
    /// A new operation.
    Insert {
        /// The operation; its own `params` are not looked at.
        operation: Arc<Operation>,
        /// Its parameters, secrets hashed or sealed.
        params: Arc<Params>,
        /// What it is known by to whoever asks again.
        keyed: Option<Keyed>,
    },
    /// An operation changed where it stands.
    SetState {
        /// Which.
        uid: Uid,
        /// Where it stands now.
        state: State,
        /// Why, if there is anything to say.
        comment: Option<String>,
        /// When its steps began.
        started: Option<Timestamp>,
        /// When it ended.
        finished: Option<Timestamp>,
        /// What it returned.
        outcome: Option<Outcome>,
        /// When it changed.
        updated: Timestamp,
    },
    /// Somebody asked to cancel an operation.
    Cancelling {
        /// Which.
        uid: Uid,
        /// When.
        updated: Timestamp,
    },
    /// An operation passes its pivot: from now on it only goes forward.
    Pivot {
        /// Which.
        uid: Uid,
        /// When.
        updated: Timestamp,
    },
    /// An operation's priority changed.
    Priority {
        /// Which.
        uid: Uid,
        /// Higher runs sooner.
        priority: i32,
        /// When it changed.
        updated: Timestamp,
    },
    /// An operation in `ERROR` is queued again.
    Relaunch {
        /// As it is from now on; its own `params` are not looked at.
        operation: Arc<Operation>,
        /// Its parameters from now on.
        params: Arc<Params>,
    },
    /// Operations that have ended are not kept any longer, nor their steps.
    Prune {
        /// Which.
        uids: Vec<Uid>,
        /// Up to which number operations are pruned, but for those that stay.
        up_to: Uid,
    },
    /// A step began, ended or was undone.
    Step(Arc<StepChange>),
    /// A resource was made or changed.
    Put(Arc<Resource>),
    /// A resource is gone.
    Remove(ResourceId),
    /// A number was given out.
    Count(&'static str, u64),
    /// A lane was changed.
    Lane {
        /// Its name.
        name: String,
        /// Its width.
        width: u32,
        /// Whether it starts operations.
        state: LaneState,
    },
}

/// A step as it is to be recorded.
#[derive(Debug, Clone)]
pub struct StepChange {
    /// Of which operation.
    pub uid: Uid,
    /// The step.
    pub step: Step,
    /// What it returned.
    pub result: Option<StepResult>,
}

impl Change {
    /// Whether it brings new work: what a full disk must not take the room for that ends need.
    pub const fn is_new_work(&self) -> bool {
        matches!(self, Self::Insert { .. } | Self::Relaunch { .. })
    }
}

/// A change to a resource that is committed with the step that made it.
#[derive(Debug, Clone)]
pub enum Changed {
    /// It is new or changed.
    Put(Arc<Resource>),
    /// It is gone.
    Remove(ResourceId),
}

impl Changed {
    /// The resource.
    pub fn id(&self) -> ResourceId {
        match self {
            Self::Put(resource) => resource.id(),
            Self::Remove(id) => *id,
        }
    }

    /// The resource that is new or changed.
    pub fn put(&self) -> Option<ResourceId> {
        match self {
            Self::Put(resource) => Some(resource.id()),
            Self::Remove(_) => None,
        }
    }

    /// The resource that is gone.
    pub const fn removed(&self) -> Option<ResourceId> {
        match self {
            Self::Put(_) => None,
            Self::Remove(id) => Some(*id),
        }
    }
}

impl From<&Changed> for Change {
    fn from(changed: &Changed) -> Self {
        match changed {
            Changed::Put(resource) => Self::Put(resource.clone()),
            Changed::Remove(id) => Self::Remove(*id),
        }
    }
}
