//! One at a time for each key: whoever asks with one waits until nobody else does.

use std::collections::BTreeSet;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Keys whose requests are being answered: one at a time for each.
#[derive(Default)]
pub(super) struct Asking {
    keys: Mutex<BTreeSet<String>>,
    left: Notify,
}

/// The turn of a request.
pub(super) struct KeyTurn<'a> {
    asking: &'a Asking,
    key: &'a str,
}

impl Asking {
    /// Returns when nobody else asks with a key.
    pub(super) async fn enter<'a>(&'a self, key: &'a str) -> KeyTurn<'a> {
        loop {
            let left = self.left.notified();
            if self.keys().insert(key.to_owned()) {
                return KeyTurn { asking: self, key };
            }
            left.await;
        }
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.keys.lock()
    }
}

impl Drop for KeyTurn<'_> {
    fn drop(&mut self) {
        self.asking.keys().remove(self.key);
        self.asking.left.notify_waiters();
    }
}
