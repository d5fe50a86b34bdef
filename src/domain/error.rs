//! What can go wrong, in words for the person who reads them.
//!
//! A [`Refusal`] answers a request that was not queued. A [`Failure`] ends a step of an operation
//! that was. A [`BackendError`] is anything a call on the backend may come back with.

use serde::{Deserialize, Serialize};

use super::display::listed;
use super::{DiskState, OperationSpec, ResourceId, Uid};

/// "Operation not permitted", which is said of what is immutable; what is another's is "permission
/// denied".
const EPERM: i32 = 1;

/// What calls on the backend come back with.
pub type Result<T, E = BackendError> = std::result::Result<T, E>;

/// Why a request is not queued. The order is the order of the checks: the first that fails is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// A field is unknown, missing, or of the wrong type.
    Type,
    /// A field's text is not written as it must be.
    Syntax,
    /// A field's value is out of range or not among the choices.
    Value,
    /// What a field names does not exist, or exists already.
    Existence,
    /// The one who asks may not.
    Privileges,
    /// The resource is not in a state where this makes sense.
    State,
    /// A like operation is still pending on the same resource.
    OperationPending {
        /// The one that is pending.
        uid: Uid,
    },
}

/// A request that was not queued, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Which check failed.
    #[serde(flatten)]
    pub reason: Reason,
    /// The field at fault.
    #[serde(default)]
    pub field: Option<String>,
    /// The value at fault; never a secret's.
    #[serde(default)]
    pub value: Option<String>,
    /// The whole sentence: what, which, why, what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal that is not about one field.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, field: None, value: None, message: message.into() }
    }

    /// A refusal about one field and the value given for it.
    #[must_use]
    pub fn field(
        reason: Reason,
        field: impl Into<String>,
        value: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            reason,
            field: Some(field.into()),
            value: Some(value.into()),
            message: message.into(),
        }
    }
}

/// Refusals for how things stand, in the same words wherever they are found out.
impl Refusal {
    /// The refusal of a kind for a subject of that name in a state that it does not allow: the one
    /// it `is` in, or the one that what is pending leaves it in. `None` where the state is allowed.
    #[must_use]
    pub fn unfit(
        spec: &OperationSpec,
        subject: ResourceId,
        name: &str,
        state: &str,
        is: bool,
    ) -> Option<Self> {
        if spec.allows(state) {
            return None;
        }
        let then = if is { "is" } else { "will be" };
        let is_attached =
            state == DiskState::Attached.word() && spec.allows(DiskState::Free.word());
        let advice = if is_attached { "; detach it first" } else { "" };
        Some(Self::field(
            Reason::State,
            spec.subject.as_deref().unwrap_or_default(),
            subject.id.to_string(),
            format!(
                "{subject} '{name}' {then} {state}; {} needs it {}{advice}",
                spec.kind,
                listed(&spec.requires, "or")
            ),
        ))
    }

    /// The refusal of a kind for a subject on which one of it is pending as that operation.
    #[must_use]
    pub fn pending(spec: &OperationSpec, subject: ResourceId, uid: Uid) -> Self {
        Self::new(
            Reason::OperationPending { uid },
            format!("{} of {subject} is pending already as {uid}; wait for it", spec.kind),
        )
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The whole sentence: what failed, on which thing, why, what to do.
    pub message: String,
    /// Whether trying again later may help without anybody changing anything.
    #[serde(default)]
    pub passing: bool,
    /// Whether nothing was done: the step looked, and found that it may not begin.
    #[serde(default)]
    pub refused: bool,
    /// Whether there was no room for something small, such as a record of hostler's own: the step
    /// waits until there is room, and is taken again.
    #[serde(default)]
    pub no_room: bool,
}

impl Failure {
    /// A failure that stays until somebody changes something.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), passing: false, refused: false, no_room: false }
    }

    /// A failure of a step that did nothing, and so has nothing to undo: what is there is somebody
    /// else's doing.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self { refused: true, ..Self::new(message) }
    }

    /// A failure that may pass by itself: a busy server, a lost connection.
    #[must_use]
    pub fn passing(message: impl Into<String>) -> Self {
        Self { passing: true, ..Self::new(message) }
    }

    /// A failure for want of room for something small, which is waited for.
    #[must_use]
    pub fn no_room(message: impl Into<String>) -> Self {
        Self { no_room: true, ..Self::new(message) }
    }

    /// A failed system call on something small that hostler keeps: like [`Failure::io`], but room
    /// is waited for where there is none. Big data is not for this: it would be made again and
    /// again, and fill whatever room there is.
    #[must_use]
    pub fn small(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded => {
                Self::no_room(format!("cannot {what}: {error}; free some space"))
            }
            _ => Self::io(what, error),
        }
    }

    /// A failed system call on a file or program: `cannot <what>: <error>`.
    #[must_use]
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        let advice = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                "; free some space and relaunch"
            }
            std::io::ErrorKind::ReadOnlyFilesystem => {
                "; mount its filesystem for writing and relaunch"
            }
            std::io::ErrorKind::PermissionDenied if error.raw_os_error() == Some(EPERM) => {
                "; see with lsattr whether it is immutable"
            }
            std::io::ErrorKind::PermissionDenied => "; check who owns it",
            _ => "",
        };
        Self::new(format!("cannot {what}: {error}{advice}"))
    }
}

/// Anything a call on the backend may come back with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "error")]
pub enum BackendError {
    /// The request was not queued.
    #[error("{0}")]
    Refused(Refusal),
    /// There is no such thing.
    #[error("{what} does not exist")]
    NotFound {
        /// The thing, such as `vm/9`.
        what: String,
    },
    /// The backend cannot be reached.
    #[error("{message}")]
    Unreachable {
        /// The whole sentence.
        message: String,
    },
    /// The backend could not do it: a full disk, a broken database.
    #[error("{message}")]
    Failed {
        /// The whole sentence.
        message: String,
    },
}

impl BackendError {
    /// Shorthand for [`BackendError::Failed`].
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into() }
    }

    /// Shorthand for [`BackendError::NotFound`].
    #[must_use]
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::NotFound { what: what.to_string() }
    }
}

impl From<Refusal> for BackendError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn a_failed_call_says_what_to_do() {
        for (code, advice) in [
            (EPERM, "; see with lsattr whether it is immutable"),
            (13, "; check who owns it"),
            (28, "; free some space and relaunch"),
            (122, "; free some space and relaunch"),
            (30, "; mount its filesystem for writing and relaunch"),
            (5, ""),
        ] {
            let error = Error::from_raw_os_error(code);
            let failure = Failure::io("write /x", &error);
            assert_eq!(failure.message, format!("cannot write /x: {error}{advice}"));
            assert!(!failure.no_room, "{failure}");
            let small = Failure::small("write /x", &error);
            assert_eq!(small.no_room, [28, 122].contains(&code), "{small}");
        }
    }
}
