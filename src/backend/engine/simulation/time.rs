//! Time: it stands still while anybody can do anything, and then goes on to the next moment that
//! somebody waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::backend::engine::clock::Clock;
use crate::domain::BoxFuture;

/// The clock of a simulation.
pub(super) struct SimulatedClock(Mutex<Dial>);

struct Dial {
    now: Timestamp,
    /// Who waits, by moment and, within one, in the order of asking.
    waiting: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
    asked: u64,
}

impl SimulatedClock {
    /// A clock that shows a moment.
    pub(super) const fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Dial { now, waiting: BTreeMap::new(), asked: 0 }))
    }

    /// Returns after so long.
    pub(super) fn sleep(&self, long: Duration) -> BoxFuture<'static, ()> {
        let mut dial = self.dial();
        let at = dial.now + long;
        let (wake, woken) = oneshot::channel();
        dial.asked += 1;
        let place = (at, dial.asked);
        dial.waiting.insert(place, wake);
        // Whoever forgets to wake the sleepers has ended the life they sleep in.
        Box::pin(async { drop(woken.await) })
    }

    /// Goes on to the next moment that somebody waits for; `false`: nobody waits.
    pub(super) fn advance(&self) -> bool {
        let mut dial = self.dial();
        while let Some(((at, _), wake)) = dial.waiting.pop_first() {
            if wake.is_closed() {
                continue;
            }
            dial.now = at.max(dial.now);
            return wake.send(()).is_ok();
        }
        false
    }

    /// Begins the next life: nobody of the last one waits any more.
    pub(super) fn restart(&self, after: Duration) {
        let mut dial = self.dial();
        dial.waiting.clear();
        dial.now += after;
    }

    fn dial(&self) -> MutexGuard<'_, Dial> {
        self.0.lock()
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        self.dial().now
    }

    fn until(&self, at: Timestamp) -> BoxFuture<'_, ()> {
        let long = Duration::try_from(at.duration_since(self.now()));
        self.sleep(long.unwrap_or_default())
    }
}
