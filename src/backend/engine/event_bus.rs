//! The events: tells everyone who listens what happened, in one order.

use std::sync::{Mutex, PoisonError};

use futures_util::stream;
use jiff::Timestamp;
use tokio::sync::{Notify, broadcast};

use crate::domain::{Event, EventStream, Fact};

/// How many events a slow listener may be behind before it is told that it missed some.
const BACKLOG: usize = 1024;

/// Tells everyone who listens.
#[derive(Debug)]
pub struct EventBus {
    life: u64,
    /// The sequence number of the latest event. Held while sending, so that numbers and order agree.
    seq: Mutex<u64>,
    events: broadcast::Sender<Event>,
    /// Tells that somebody began to listen.
    heard: Notify,
}

impl EventBus {
    /// A events for this life of the backend.
    #[must_use]
    pub fn new(life: u64) -> Self {
        Self {
            life,
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
        let mut seq = self.seq.lock().unwrap_or_else(PoisonError::into_inner);
        *seq += 1;
        // Nobody listening any more is no failure.
        let _ = self.events.send(Event { life: self.life, seq: *seq, at: Timestamp::now(), fact });
    }

    /// Events from now on. A listener that fell behind gets [`Fact::Missed`] in the place of those
    /// it missed.
    #[must_use]
    pub fn subscribe(&self) -> EventStream {
        let life = self.life;
        let events = self.events.subscribe();
        self.heard.notify_waiters();
        Box::pin(stream::unfold(events, move |mut events| async move {
            match events.recv().await {
                Ok(event) => Some((event, events)),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let event = Event { life, seq: 0, at: Timestamp::now(), fact: Fact::Missed };
                    Some((event, events))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        }))
    }
}
