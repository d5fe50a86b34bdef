//! The timekeeper: tells time that passed from a clock that was set.
//!
//! ```text
//!  time that passed   ───────┬──────────────▶  the box's uptime, which nobody sets
//!  clock on the wall  ───────┘└── jump ─────▶  where somebody set it
//! ```
//!
//! Whoever lives by the clock has a timekeeper of his own and asks it before he acts. What the
//! clock showed when a life ended is kept in a file, so that a clock that was set between two lives
//! is noticed as well; between two boots of the box nobody knows how much time passed.

use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::backend::ports::{CLOCK_SET, Clock};
use crate::backend::state_files::beneath::Folder;

/// The file in the state directory.
pub(in crate::backend) const CLOCK_FILE: &str = "hostler.clock";
/// How much of a time that nobody witnessed is believed to have passed.
const BELIEVED: SignedDuration = SignedDuration::from_hours(24);

/// The clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// What it would show.
    pub from: Timestamp,
    /// What it shows instead.
    pub to: Timestamp,
    /// Whether that is known; the box may also have been off.
    pub proven: bool,
}

impl Jump {
    /// By how much; negative when the clock was set back.
    #[must_use]
    pub fn by(&self) -> SignedDuration {
        self.to.duration_since(self.from)
    }

    /// Whether the clock was set ahead.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.to > self.from
    }
}

/// What both clocks showed at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timekeeper {
    boot: String,
    uptime: Duration,
    wall: Timestamp,
}

impl Timekeeper {
    /// One that begins now.
    #[must_use]
    pub fn new(clock: &dyn Clock) -> Self {
        Self { boot: clock.boot(), uptime: clock.uptime(), wall: clock.now() }
    }

    /// The one an earlier life kept in this state directory, or one that begins now.
    #[must_use]
    pub fn resume(dir: &Path, clock: &dyn Clock) -> Self {
        // A file that is missing or cannot be read tells nothing.
        let kept = Folder::at(dir).and_then(|folder| folder.read(CLOCK_FILE)).ok().flatten();
        kept.and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_else(|| Self::new(clock))
    }

    /// Keeps it for the next life.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, dir: &Path) -> io::Result<()> {
        Folder::at(dir)?.write(CLOCK_FILE, &serde_json::to_vec(self)?)
    }

    /// What the clock showed when it was looked at last.
    #[must_use]
    pub const fn wall(&self) -> Timestamp {
        self.wall
    }

    /// Whether the clock was set since this was asked last.
    pub fn look(&mut self, clock: &dyn Clock) -> Option<Jump> {
        let before = std::mem::replace(self, Self::new(clock));
        let to = self.wall;
        let (from, proven) = if self.boot == before.boot && self.uptime >= before.uptime {
            (before.wall + self.uptime.saturating_sub(before.uptime), true)
        } else {
            (to.clamp(before.wall, before.wall + BELIEVED), false)
        };
        let jump = Jump { from, to, proven };
        (jump.by().abs() > CLOCK_SET).then_some(jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::engine::clock;
    use crate::domain::BoxFuture;

    struct Shows(&'static str, u64, &'static str);

    impl Clock for Shows {
        fn uptime(&self) -> Duration {
            Duration::from_secs(self.1)
        }
        fn boot(&self) -> String {
            self.0.to_owned()
        }
    }

    impl clock::Clock for Shows {
        fn now(&self) -> Timestamp {
            self.2.parse().unwrap()
        }
        fn until(&self, _: Timestamp) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    fn jump(before: &Shows, after: &Shows) -> Option<(i64, bool)> {
        let dir = tempfile::tempdir().unwrap();
        Timekeeper::new(before).keep(dir.path()).unwrap();
        let mut keeper = Timekeeper::resume(dir.path(), after);
        let jump = keeper.look(after);
        assert_eq!(keeper.look(after), None);
        jump.map(|jump| (jump.by().as_hours(), jump.proven))
    }

    #[test]
    fn a_clock_that_was_set_is_told_from_time_that_passed() {
        let noon = Shows("a", 100, "2026-03-01T12:00:00Z");
        assert_eq!(jump(&noon, &Shows("a", 7300, "2026-03-01T14:00:00Z")), None);
        assert_eq!(jump(&noon, &Shows("a", 7300, "2026-03-01T14:03:00Z")), None, "it drifts");
        assert_eq!(jump(&noon, &Shows("a", 7300, "2026-03-01T19:00:00Z")), Some((5, true)));
        assert_eq!(jump(&noon, &Shows("a", 7300, "2026-03-01T12:00:00Z")), Some((-2, true)));
    }

    #[test]
    fn of_a_box_that_was_off_a_day_is_believed() {
        let noon = Shows("a", 100, "2026-03-01T12:00:00Z");
        assert_eq!(jump(&noon, &Shows("b", 10, "2026-03-02T11:00:00Z")), None);
        assert_eq!(jump(&noon, &Shows("b", 10, "2026-03-04T12:00:00Z")), Some((48, false)));
        assert_eq!(jump(&noon, &Shows("b", 10, "2026-03-01T02:00:00Z")), Some((-10, false)));
    }
}
