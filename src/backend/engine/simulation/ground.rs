//! What all lives of a simulation stand on.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value as Json};

use crate::domain::{BoxFuture, Foreign, Resource, ResourceId, ResourceKind, ResourceSpec};

use super::chance::Chance;
use super::outside::Outside;
use super::platter::Platter;
use super::time::SimulatedClock;
use super::verdict::Verdict;

/// What outlives a crash, and what decides and judges.
pub(super) struct Ground {
    pub(super) chance: Chance,
    pub(super) clock: Arc<SimulatedClock>,
    pub(super) verdict: Verdict,
    /// The kind of resource there is.
    pub(super) thing: ResourceKind,
    platter: Mutex<Platter>,
    outside: Mutex<Outside>,
}

impl Ground {
    /// Where nothing has happened yet.
    ///
    /// # Errors
    /// When too many kinds of resources are described already.
    pub(super) fn new(seed: u64, told: bool) -> Result<Self, String> {
        let things = ResourceSpec::new("thing", "things", "what a simulation works with");
        Ok(Self {
            chance: Chance::new(seed),
            clock: Arc::new(SimulatedClock::new(Timestamp::UNIX_EPOCH)),
            verdict: Verdict::new(told),
            thing: ResourceKind::describe(&things)?,
            platter: Mutex::default(),
            outside: Mutex::default(),
        })
    }

    /// What is on the disk.
    pub(super) fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock()
    }

    /// What is outside.
    pub(super) fn outside(&self) -> MutexGuard<'_, Outside> {
        self.outside.lock()
    }

    /// Returns after up to so many microseconds.
    pub(super) fn sleep(&self, at_most: u64) -> BoxFuture<'static, ()> {
        self.clock.sleep(Duration::from_micros(self.chance.number(1, at_most)))
    }

    /// The thing of a number.
    pub(super) const fn id(&self, id: u64) -> ResourceId {
        ResourceId::new(self.thing, id)
    }

    /// A thing: `waiting` until it is made, and `finished` then.
    pub(super) fn thing(&self, id: u64, name: &str, state: &str) -> Resource {
        let document: Map<String, Json> = [
            ("resource".to_owned(), self.thing.word().into()),
            ("id".to_owned(), id.into()),
            ("name".to_owned(), name.into()),
            ("state".to_owned(), state.into()),
            ("marks".to_owned(), self.chance.number(0, 1 << 32).into()),
        ]
        .into_iter()
        .collect();
        let (name, state) = (name.to_owned(), state.to_owned());
        Resource::Foreign(Foreign { kind: self.thing, id, name, state, document })
    }
}
