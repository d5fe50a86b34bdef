//! The events: tells everyone who listens what happened, in one order.

use std::sync::Arc;

use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use super::clock::Clock;
use crate::domain::{Event, EventStream, Fact};

/// How many events a slow listener may be behind before it is told that it missed some.
const BACKLOG: usize = 1024;

/// Tells everyone who listens.
pub struct EventBus {
    life: u64,
    clock: Arc<dyn Clock>,
    /// The sequence number of the latest event. Held while sending, so that numbers and order
    /// agree.
    seq: Mutex<u64>,
    events: broadcast::Sender<Event>,
    /// Tells that somebody began to listen.
    heard: Notify,
}

impl EventBus {
    /// A bus for this life of the backend.
    #[must_use]
    pub fn new(life: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            life,
            clock,
            seq: Mutex::new(0),
            events: broadcast::channel(BACKLOG).0,
            heard: Notify::new(),
        }
    }

    /// Whether anyone listens: when nobody does, events need not even be made.
    #[must_use]
    pub fn has_subscribers(&self) -> bool {
        self.events.receiver_count() > 0
    }

    /// Returns when anyone listens.
    pub async fn until_subscribed(&self) {
        loop {
            let mut heard = std::pin::pin!(self.heard.notified());
            heard.as_mut().enable();
            if self.has_subscribers() {
                return;
            }
            heard.await;
        }
    }

    /// Tells a fact.
    pub fn publish(&self, fact: Fact) {
        if !self.has_subscribers() {
            return;
        }
        let mut seq = self.seq.lock();
        *seq += 1;
        // Nobody listening any more is no failure.
        let _ = self.events.send(Event { life: self.life, seq: *seq, at: self.clock.now(), fact });
    }

    /// Events from now on. A listener that fell behind gets [`Fact::Missed`] in the place of those
    /// it missed.
    #[must_use]
    pub fn subscribe(&self) -> EventStream {
        let (life, clock) = (self.life, self.clock.clone());
        let events = self.events.subscribe();
        self.heard.notify_waiters();
        Box::pin(stream::unfold((events, clock), move |(mut events, clock)| async move {
            match events.recv().await {
                Ok(event) => Some((event, (events, clock))),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let event = Event { life, seq: 0, at: clock.now(), fact: Fact::Missed };
                    Some((event, (events, clock)))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        }))
    }
}
