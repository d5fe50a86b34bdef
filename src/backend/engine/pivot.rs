//! The pivot of an operation: the step from which there is no way back.
//!
//! ```text
//!  step ── step ── pivot ── step ── DONE
//!  ◀───── undo ──┤ ├───── forward ────▶
//! ```
//!
//! Up to it an operation is undone when it fails or is called off. That it passes it is on disk
//! before the pivot's effect begins, and from then on it only goes forward: it cannot be called
//! off, a crash lets the next life go on with it, and when it fails it waits in `ERROR`, with what
//! it works on held back from everybody else, until it is relaunched and comes to its end.
//!
//! Calling off and passing exclude each other: whichever is sent to the disk while the other one
//! is on its way waits to see how that ends. So do passing and calling off what makes the resource
//! that it passes with: what is never made is gone, and what is past its pivot with it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{Failure, Uid};

use super::core::{Engine, Title, Transaction};
use super::journal::Stop;
use super::live::{Live, Open};
use super::storage::Change;

impl Engine {
    /// Lets an operation pass its pivot. Returns when that is on disk.
    ///
    /// # Errors
    /// [`Stop::Cancelled`] when it was called off before, [`Stop::Failed`] when what makes that
    /// which it is about was, and [`Stop::Leaving`] when it cannot be written in this life.
    pub(super) async fn pass_pivot(self: &Arc<Self>, uid: Uid) -> Result<(), Stop> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.transact(|live| Ok(self.stage_pivot(live, uid))).await {
                Ok(Some(())) => return Ok(()),
                Ok(None) if self.look(|live| is_called_off(live, uid)) => {
                    return Err(Stop::Cancelled);
                }
                Ok(None) => match self.look(|live| self.maker_called_off(live, uid)) {
                    Some((maker, true)) => {
                        let why = format!("what it is about is taken away: {maker} is called off");
                        return Err(Failure::refused(why).into());
                    }
                    _ => freed.await,
                },
                Err(error) => {
                    tracing::error!(%uid, %error, "the pivot of an operation was not recorded");
                    if !self.may_write_again(uid, &error).await {
                        return Err(Stop::Leaving);
                    }
                }
            }
        }
    }

    /// Stages that an operation passes its pivot, and that it runs, where that is not known to be
    /// on disk. `None`: it is called off, or what makes that which it is about is; or that is on
    /// its way to the disk.
    fn stage_pivot(&self, live: &mut Live, uid: Uid) -> (Vec<Change>, Option<Passing>) {
        if is_called_off(live, uid)
            || live.open(uid).is_none_or(Open::is_being_called_off)
            || self.maker_called_off(live, uid).is_some()
        {
            return (Vec::new(), None);
        }
        let updated = self.clock.now();
        let mut changes: Vec<Change> = live.unrecorded_run(uid).into_iter().collect();
        changes.push(Change::Pivot { uid, updated });
        live.begin_pivot(uid);
        (changes, Some(Passing { uid, updated }))
    }

    /// The operation that makes what this one is about, where it is called off, and whether that is
    /// known to be on disk: what it makes goes with it.
    fn maker_called_off(&self, live: &Live, uid: Uid) -> Option<(Uid, bool)> {
        let id = live.operation(uid)?.resource?;
        let queue = live.queue();
        let others = queue.awaiting(id).chain(queue.holders(id)).filter(|it| *it != uid);
        let mut others = others.filter_map(|it| live.operation(it));
        let maker = others.find(|it| self.kinds.makes(it) == Some(id))?;
        let is_begun = live.open(maker.uid).is_some_and(Open::is_being_called_off);
        (maker.cancelling || is_begun).then_some((maker.uid, maker.cancelling))
    }
}

fn is_called_off(live: &Live, uid: Uid) -> bool {
    live.operation(uid).is_none_or(|operation| operation.cancelling)
}

/// An operation that passes its pivot.
struct Passing {
    uid: Uid,
    updated: Timestamp,
}

impl Transaction for Passing {
    type Output = ();

    fn commit(self, engine: &Engine, live: &mut Live) {
        live.pass_pivot(self.uid, self.updated);
        engine.publish_open(live, self.uid);
        if let Some(operation) = live.operation(self.uid) {
            tracing::info!("{} is past its pivot", Title(operation));
        }
        engine.freed.notify_waiters();
    }

    fn roll_back(self, engine: &Engine, live: &mut Live) {
        live.abandon_pivot(self.uid);
        engine.freed.notify_waiters();
    }
}
