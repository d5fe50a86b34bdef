//! The clocks of the box: the one on the wall, which anybody may set, and its uptime.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

use crate::backend::engine::clock;
use crate::backend::ports::{CLOCK_SET, Clock};
use crate::domain::BoxFuture;

/// The longest one sleep lasts, so that a clock that was set is noticed in time: a minute is what
/// the schedule counts in.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// By how much the clock on the wall is ahead of the uptime: the same until somebody sets it.
    fn ahead(&self) -> SignedDuration {
        Timestamp::now().as_duration() - SignedDuration::try_from(self.uptime()).unwrap_or_default()
    }
}

impl Clock for SystemClock {
    fn uptime(&self) -> Duration {
        Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
    }

    fn boot(&self) -> String {
        // Where the kernel does not tell, one boot looks like the other.
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    }
}

impl clock::Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let ahead = self.ahead();
            while (self.ahead() - ahead).abs() <= CLOCK_SET {
                // Negative once the moment has passed.
                let Ok(left) = Duration::try_from(at.duration_since(Timestamp::now())) else {
                    return;
                };
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(MAX_SLEEP)).await;
            }
        })
    }
}
