//! The clocks of the fake box: one that can be set, and one that only goes on.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::FakePorts;
use crate::backend::engine::clock;
use crate::backend::ports::{CLOCK_SET, Clock};
use crate::domain::BoxFuture;

/// The longest wait during which nobody needs to set the clock forward: it jumps by itself.
const SHORT: Duration = Duration::from_secs(3600);

/// What the clocks of a box show.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// The one on the wall.
    pub wall: Timestamp,
    /// The one nobody can set.
    pub uptime: Duration,
}

impl Clocks {
    /// Lets time pass.
    pub fn pass(&mut self, by: Duration) {
        self.wall += by;
        self.uptime += by;
    }

    /// Whether who began to wait for a moment when they showed `before` waits no longer.
    pub fn end_wait(&self, before: Self, at: Timestamp) -> bool {
        let passed = SignedDuration::try_from(self.uptime - before.uptime).unwrap();
        let set = self.wall.duration_since(before.wall) - passed;
        self.wall >= at || set.abs() > CLOCK_SET
    }
}

impl Clock for FakePorts {
    fn uptime(&self) -> Duration {
        self.clocks.borrow().uptime
    }

    fn boot(&self) -> String {
        "a boot".to_owned()
    }
}

impl clock::Clock for FakePorts {
    fn now(&self) -> Timestamp {
        self.clocks.borrow().wall
    }

    fn until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        if at <= self.now() + SHORT {
            let left = |clocks: &Clocks| Duration::try_from(at.duration_since(clocks.wall));
            self.clocks.send_modify(|clocks| clocks.pass(left(clocks).unwrap_or_default()));
        }
        let mut clocks = self.clocks.subscribe();
        let before = *self.clocks.borrow();
        Box::pin(async move {
            // The sender is ours: it cannot be gone.
            let _ = clocks.wait_for(|clocks| clocks.end_wait(before, at)).await;
        })
    }
}

impl FakePorts {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.clocks.send_modify(|clocks| clocks.pass(by));
    }

    /// Sets the clock, while no time passes.
    pub fn sets_clock(&self, by: SignedDuration) {
        self.clocks.send_modify(|clocks| clocks.wall += by);
    }
}
