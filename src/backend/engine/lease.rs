//! Leases: how a part of the backend works with a resource without an operation.
//!
//! While it does, operations on that resource that start now wait, and so do updates by those that
//! do not hold it; one that runs already has the resource, and then there is no lease.

use std::sync::Arc;

use crate::domain::{BackendError, Resource, ResourceId, Uid};

use super::completion::run_to_completion;
use super::core::{Committing, Engine};
use super::storage::Changed;

/// A resource, for as long as this is held.
pub struct Lease {
    engine: Arc<Engine>,
    id: ResourceId,
    resource: Resource,
}

impl Engine {
    /// Leases a resource. `None` when a running operation holds it for itself, it is changing, or
    /// it is gone: whoever watches hears when that may have changed.
    pub(in crate::backend) fn lease(self: &Arc<Self>, id: ResourceId) -> Option<Lease> {
        self.note(|live| {
            let resource = live.inventory().resource(id)?.clone();
            live.lease(id).then(|| Lease { engine: self.clone(), id, resource })
        })
    }

    /// Returns when nobody leases what an operation needs. Leases are short.
    pub(super) async fn until_unleased(&self, uid: Uid) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if !self.look(|live| live.awaits_lease(uid)) {
                return;
            }
            freed.await;
        }
    }

    /// Takes in what is seen of a resource and never stored, such as how much of the box it uses:
    /// so that lists and filters know it. Events of it are the caller's.
    pub(in crate::backend) fn observe(
        &self,
        id: ResourceId,
        see: impl FnOnce(&Resource) -> Option<Resource>,
    ) {
        self.note(|live| {
            if let Some(seen) = live.inventory().resource(id).and_then(see) {
                live.observe(seen);
            }
        });
    }
}

impl Lease {
    /// The resource as it was when it was leased.
    #[must_use]
    pub const fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Changes the resource, on disk and then in memory. The lease ends with that.
    ///
    /// # Errors
    /// When it cannot be written, or was made anew meanwhile: it stays as it is.
    pub(in crate::backend) fn put(
        self,
        resource: Resource,
    ) -> impl Future<Output = Result<(), BackendError>> + Send {
        let changed = vec![Changed::Put(Arc::new(resource))];
        let committing = Committing { changed, runs: None, makes: None };
        let put = self.engine.transact(|live| {
            if !live.is_as_leased(self.id) {
                return Err(BackendError::failed(format!("{} is being made anew", self.id)));
            }
            committing.stage(live, Vec::new())
        });
        run_to_completion(async move {
            let put = put.await;
            drop(self);
            put
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.engine.note(|live| live.end_lease(self.id));
        self.engine.freed.notify_waiters();
    }
}
