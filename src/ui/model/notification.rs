//! What is told at the bottom of the screen for a while.

use jiff::{SignedDuration, Timestamp};

/// How a notification is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It went well.
    Success,
    /// It is worth knowing.
    Info,
    /// It failed.
    Error,
}

/// A sentence shown for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What it says.
    pub text: String,
    /// How it is meant.
    pub severity: Severity,
    /// Since when it is shown.
    pub since: Timestamp,
    /// When it goes.
    pub until: Timestamp,
}

impl Notification {
    /// Whether it was there before what is done now, and not only just.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) >= SignedDuration::from_secs(1)
    }

    /// Returns one that is shown from now on. An error stays longer: it wants to be read to its
    /// end.
    #[must_use]
    pub fn new(severity: Severity, text: String, now: Timestamp) -> Self {
        let seconds = if severity == Severity::Error { 15 } else { 6 };
        Self { text, severity, since: now, until: now + SignedDuration::from_secs(seconds) }
    }
}
