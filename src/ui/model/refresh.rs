//! When a question to the backend is asked again. It knows nothing of what is asked.
//!
//! ```text
//!            want                 ask                answered
//!   fresh ─────────▶ wanted ──────────▶ in flight ──────────▶ fresh
//!                                           │ want
//!                                           ▼     answered
//!                                  in flight, wanted ──────▶ wanted
//! ```
//!
//! However often something is wanted, at most one question is in flight, and questions that events
//! give rise to keep [`Refresh::PAUSE`] between them.

use jiff::{SignedDuration, Timestamp};

/// The state of one question that is asked again and again.
#[derive(Debug, Clone)]
pub struct Refresh {
    is_wanted: bool,
    in_flight: bool,
    asked_at: Timestamp,
    /// How long an answer holds although nothing tells that it changed.
    holds: Option<SignedDuration>,
}

impl Refresh {
    /// The least time between two questions that events give rise to.
    pub const PAUSE: SignedDuration = SignedDuration::from_millis(200);

    /// A question that is asked when it is wanted.
    #[must_use]
    pub const fn on_demand() -> Self {
        Self { is_wanted: false, in_flight: false, asked_at: Timestamp::UNIX_EPOCH, holds: None }
    }

    /// A question that is also asked when the last answer is that old, and so at first.
    #[must_use]
    pub const fn every(period: SignedDuration) -> Self {
        Self { holds: Some(period), ..Self::on_demand() }
    }

    /// Asks again as soon as the pause after the last question is over.
    pub const fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Asks again at once.
    pub const fn want_now(&mut self) {
        self.is_wanted = true;
        self.asked_at = Timestamp::UNIX_EPOCH;
    }

    /// Returns when the question is to be asked next; `None` while it is in flight or not wanted.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.in_flight {
            return None;
        }
        let pause = if self.is_wanted { Some(Self::PAUSE) } else { self.holds };
        // The clock may have been set back since.
        pause.map(|pause| if self.asked_at > now { now } else { self.asked_at + pause })
    }

    /// Returns whether the question is to be asked now; it then counts as in flight.
    pub fn ask(&mut self, now: Timestamp) -> bool {
        let is_due = self.due_at(now).is_some_and(|due| due <= now);
        if is_due {
            *self = Self { is_wanted: false, in_flight: true, asked_at: now, holds: self.holds };
        }
        is_due
    }

    /// The question was answered, or failed.
    pub const fn answered(&mut self) {
        self.in_flight = false;
    }

    /// Returns when the question was last asked.
    #[must_use]
    pub const fn asked_at(&self) -> Timestamp {
        self.asked_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn questions_are_asked_one_at_a_time_and_with_a_pause_between() {
        let mut refresh = Refresh::on_demand();
        assert_eq!(refresh.due_at(at(0)), None);
        refresh.want();
        assert!(refresh.ask(at(0)));
        // Wanted again while it is in flight: once more, after the answer and the pause.
        refresh.want();
        refresh.want();
        assert!(!refresh.ask(at(500)));
        refresh.answered();
        assert!(refresh.ask(at(500)));
        refresh.answered();
        assert!(!refresh.ask(at(900)), "nobody wants it");
        refresh.want();
        assert_eq!(refresh.due_at(at(600)), Some(at(700)));
        assert!(!refresh.ask(at(699)));
        assert!(refresh.ask(at(700)));
        refresh.answered();
        refresh.want_now();
        assert!(refresh.ask(at(701)));
    }

    #[test]
    fn an_answer_holds_for_a_while_and_a_clock_set_back_does_not_prolong_it() {
        let mut refresh = Refresh::every(SignedDuration::from_secs(600));
        assert!(refresh.ask(at(0)));
        refresh.answered();
        assert_eq!(refresh.due_at(at(1)), Some(at(600_000)));
        refresh.want();
        assert_eq!(refresh.due_at(at(1)), Some(at(200)));
        assert!(refresh.ask(at(-5000)));
    }
}
