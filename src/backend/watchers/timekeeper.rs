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

use crate::backend::engine::store::plain::{self, Document};
use crate::backend::ports::{CLOCK_SET, Clock};
use crate::backend::state_files::beneath::Folder;
use crate::domain::BackendError;

/// The file in the state directory.
pub(in crate::backend) const CLOCK_FILE: &str = "hostler.clock";
/// The most bytes it has.
const LONGEST_CLOCK: u64 = 1 << 10;
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

    /// The one an earlier life kept in this state directory, or one that begins now. One that
    /// cannot be read costs no more than knowing what became of the clock since then.
    ///
    /// # Errors
    /// When something that is none lies in its place: it would be replaced.
    pub fn resume(dir: &Path, clock: &dyn Clock) -> Result<Self, BackendError> {
        let path = dir.join(CLOCK_FILE);
        match Self::kept(&path) {
            Ok(Document::Readable(kept)) => Ok(kept),
            Ok(Document::Nothing) => Ok(Self::new(clock)),
            Ok(Document::Unreadable(why)) => {
                let path = path.display();
                tracing::warn!("{path} {why}: whether the clock was set before now is not known");
                Ok(Self::new(clock))
            }
            Err(why) => Err(BackendError::failed(plain::refusal(&path, &why))),
        }
    }

    /// Keeps it for the next life.
    ///
    /// # Errors
    /// When something that is none lies in its place, or it cannot be written.
    pub fn keep(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(CLOCK_FILE);
        Self::kept(&path).map_err(|why| io::Error::other(plain::refusal(&path, &why)))?;
        Folder::at(dir)?.write(CLOCK_FILE, &serde_json::to_vec(self)?)
    }

    /// The one that lies there.
    ///
    /// # Errors
    /// Why what lies there is none.
    fn kept(path: &Path) -> Result<Document<Self>, String> {
        plain::document(path, LONGEST_CLOCK, "what a clock showed")
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

/// Why what lies where the clock is kept is none; `None`: it is one, or nothing is there.
pub(in crate::backend) fn why_no_clock(path: &Path) -> Option<String> {
    Timekeeper::kept(path).err()
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
        let mut keeper = Timekeeper::resume(dir.path(), after).unwrap();
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

    #[test]
    fn only_a_clock_of_ours_is_replaced() {
        let noon = Shows("a", 100, "2026-03-01T12:00:00Z");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CLOCK_FILE);
        let kept = serde_json::to_string(&Timekeeper::new(&noon)).unwrap();
        let newer = r#"{"clocks":{"wall":"2026-03-01T12:00:00Z"}}"#;
        for ours in ["", "\0\0\0\0", newer, &kept] {
            std::fs::write(&path, ours).unwrap();
            Timekeeper::resume(dir.path(), &noon).unwrap().keep(dir.path()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), kept);
        }
        std::fs::write(&path, "dear all").unwrap();
        let said = Timekeeper::resume(dir.path(), &noon).unwrap_err().to_string();
        assert!(said.contains(CLOCK_FILE) && said.contains("move it away"), "{said}");
        assert!(Timekeeper::new(&noon).keep(dir.path()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "dear all");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
