//! The clock on the wall.

use std::time::Duration;

use jiff::Timestamp;

use crate::backend::ports::Clock;
use crate::domain::BoxFuture;

/// The longest one sleep lasts, so that a clock that was set is noticed in time.
const LONGEST: Duration = Duration::from_secs(60);

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                // Negative once the moment has passed.
                let Ok(left) = Duration::try_from(at.duration_since(Timestamp::now())) else {
                    return;
                };
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LONGEST)).await;
            }
        })
    }
}
