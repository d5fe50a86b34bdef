//! What tells the engine the time, so that a test or a simulation can say what time it is.

#![warn(missing_docs)]

use jiff::Timestamp;

use crate::domain::BoxFuture;

/// A clock.
pub trait Clock: Send + Sync {
    /// Now, by the clock on the wall: anybody may set it at any moment.
    fn now(&self) -> Timestamp;

    /// Returns when that moment has come, or before that when the clock was set: whoever waits
    /// looks again.
    fn until(&self, at: Timestamp) -> BoxFuture<'_, ()>;
}
