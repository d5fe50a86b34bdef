//! Notices: what parts of the backend look after may need them.
//!
//! Unlike events, which tell people what happened, notices are never lost: whoever watches gets
//! each thing once, however often it changed since they looked. They say where to look, and not
//! what is there.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::domain::{ResourceId, Uid};

/// Something that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// A resource was made, changed or removed, or an operation on it has ended.
    Resource(ResourceId),
    /// An operation has ended or failed.
    Ended(Uid),
}

/// Gives notice to everybody who watches.
#[derive(Default)]
pub(super) struct Notices(Mutex<Vec<Weak<Inbox>>>);

impl Notices {
    /// Watches from now on, for what is `wanted`.
    pub(super) fn watch(&self, wanted: fn(Notice) -> bool) -> Watch {
        let inbox = Inbox { wanted, unseen: Mutex::default(), arrived: Notify::new() };
        let watch = Watch(Arc::new(inbox));
        let mut inboxes = self.0.lock();
        inboxes.retain(|inbox| inbox.strong_count() > 0);
        inboxes.push(Arc::downgrade(&watch.0));
        watch
    }

    pub(super) fn give(&self, notice: Notice) {
        let inboxes = self.0.lock();
        for inbox in inboxes.iter().filter_map(Weak::upgrade) {
            if (inbox.wanted)(notice) {
                inbox.unseen().insert(notice);
                inbox.arrived.notify_one();
            }
        }
    }
}

struct Inbox {
    wanted: fn(Notice) -> bool,
    unseen: Mutex<BTreeSet<Notice>>,
    arrived: Notify,
}

impl Inbox {
    fn unseen(&self) -> MutexGuard<'_, BTreeSet<Notice>> {
        self.unseen.lock()
    }
}

/// Collects notices until it is dropped. One task waits for them at a time.
pub struct Watch(Arc<Inbox>);

impl Watch {
    /// What was noticed since this was asked last, without waiting.
    #[must_use]
    pub fn take(&self) -> BTreeSet<Notice> {
        std::mem::take(&mut *self.0.unseen())
    }

    /// Returns when there is something to [`take`](Self::take).
    pub async fn noticed(&self) {
        while self.0.unseen().is_empty() {
            self.0.arrived.notified().await;
        }
    }

    /// Waits for something, and takes it. Nothing is lost when this is dropped.
    pub async fn next(&self) -> BTreeSet<Notice> {
        self.noticed().await;
        self.take()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn nothing_is_lost_and_nothing_is_told_twice() {
        let notices = Notices::default();
        let watch = notices.watch(|notice| matches!(notice, Notice::Ended(_)));
        assert!(watch.next().now_or_never().is_none());
        for uid in [7, 8, 7] {
            notices.give(Notice::Ended(Uid(uid)));
        }
        notices.give(Notice::Resource("disk/1".parse().unwrap()));
        assert_eq!(watch.next().await, [7, 8].map(|uid| Notice::Ended(Uid(uid))).into());
        assert!(watch.next().now_or_never().is_none());
        drop(watch);
        notices.give(Notice::Ended(Uid(9)));
        assert!(notices.watch(|_| true).take().is_empty());
        assert_eq!(notices.0.lock().len(), 1, "who is gone is forgotten");
    }
}
