//! Transactions that are on their way to the disk, and how they come into memory: in the order in
//! which they were sent, whatever the order of answers, and of the tasks that hear of them.
//!
//! ```text
//!  sent        1  2  3  4  5  6     the order on the disk
//!  answered    ✓  ✓  ·  ✓  ·  ·     in any order
//!  taken in    1  2                 4 comes after 3
//! ```
//!
//! A task that hears of its answer takes in whatever is answered by then, up to the first that is
//! not. So the others find theirs taken in when they wake, and nobody wakes twice but for an answer
//! that came before one that was to come first.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, Waker, ready};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot::error::TryRecvError;

use super::{Engine, Transaction};
use crate::backend::engine::live::Live;
use crate::backend::engine::storage::Acknowledgement;
use crate::domain::BackendError;

/// The transactions that are sent and not taken in, in the order in which they were sent.
#[derive(Default)]
pub(super) struct InTransit(VecDeque<Arc<dyn TakeIn>>);

impl InTransit {
    /// Puts a transaction at the end, which is sent under the same hold of the lock.
    pub(super) fn push<T: Transaction>(
        &mut self,
        transaction: T,
        answer: Acknowledgement,
    ) -> Arc<SentTransaction<T>> {
        let slot = Slot {
            transaction: Some(transaction),
            answer,
            written: None,
            output: None,
            waiting: None,
        };
        let sent = Arc::new(SentTransaction(Mutex::new(slot)));
        self.0.push_back(sent.clone());
        sent
    }

    /// Takes in what is answered, up to the first that is not.
    pub(super) fn take_in(&mut self, engine: &Engine, live: &mut Live) {
        while self.0.front().is_some_and(|first| first.take_in(engine, live)) {
            self.0.pop_front();
        }
    }

    /// Whether everything that was sent is taken in.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A transaction of whatever type.
trait TakeIn: Send + Sync {
    /// Takes it in if it is answered. Returns whether it is.
    fn take_in(&self, engine: &Engine, live: &mut Live) -> bool;
}

/// Whether changes are on the disk.
type Written = Result<(), BackendError>;

/// A transaction that was sent.
pub(super) struct SentTransaction<T: Transaction>(Mutex<Slot<T>>);

struct Slot<T: Transaction> {
    /// Until it is taken in.
    transaction: Option<T>,
    answer: Acknowledgement,
    /// The answer, where the task has heard of it before it could be taken in.
    written: Option<Written>,
    /// What came of it, until the task gets that.
    output: Option<Result<T::Output, BackendError>>,
    /// The task, where it waits for those that come first.
    waiting: Option<Waker>,
}

impl<T: Transaction> SentTransaction<T> {
    /// Returns what comes of it, once it is taken in.
    pub(super) async fn outcome(&self, engine: &Arc<Engine>) -> Result<T::Output, BackendError> {
        poll_fn(|cx| {
            {
                let mut slot = self.slot();
                if slot.output.is_none() && slot.written.is_none() {
                    let answer = ready!(Pin::new(&mut slot.answer).poll(cx));
                    slot.written = Some(answer.unwrap_or_else(|_| Err(engine.health().error())));
                }
                if let Some(output) = slot.output.take() {
                    return Poll::Ready(output);
                }
            }
            engine.take_in();
            let mut slot = self.slot();
            match slot.output.take() {
                Some(output) => Poll::Ready(output),
                None => {
                    slot.waiting = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn slot(&self) -> MutexGuard<'_, Slot<T>> {
        self.0.lock()
    }
}

impl<T: Transaction> TakeIn for SentTransaction<T> {
    fn take_in(&self, engine: &Engine, live: &mut Live) -> bool {
        let mut slot = self.slot();
        let written = slot.written.take().or_else(|| match slot.answer.try_recv() {
            Ok(written) => Some(written),
            Err(TryRecvError::Closed) => Some(Err(engine.health().error())),
            Err(TryRecvError::Empty) => None,
        });
        let Some(written) = written else { return false };
        let output = slot.transaction.take().map(|transaction| match written {
            Ok(()) => Ok(transaction.commit(engine, live)),
            Err(error) => {
                transaction.roll_back(engine, live);
                Err(error)
            }
        });
        slot.output = output;
        if let Some(task) = slot.waiting.take() {
            task.wake();
        }
        true
    }
}
