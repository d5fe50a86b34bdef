//! The one trait between the rooms: what a console or a command line may ask of a backend.
//!
//! The embedded backend and the client of a remote one both implement it, and nobody can tell them
//! apart.

use std::pin::Pin;

use futures_core::Stream;

use super::{Accepted, Answer, Catalogue, Control, Event, Query, Question, Result, Submit};

/// A future on the heap, so that the trait can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Events as they happen. It ends when the backend stops for good.
pub type EventStream = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// What is typed into a guest's serial line.
pub trait SerialInput: Send {
    /// Sends bytes on their way. It does not wait for the guest to read them.
    ///
    /// # Errors
    /// When the line is closed: the guest stopped or the connection broke.
    fn send(&mut self, bytes: &[u8]) -> Result<()>;
}

/// A guest's serial line, open.
pub struct Serial {
    /// What the guest writes, beginning with the last lines it wrote before; ends with the guest.
    pub output: Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>,
    /// What is typed.
    pub input: Box<dyn SerialInput>,
}

/// A backend.
pub trait Backend: Send + Sync {
    /// What it offers, which is the same for as long as it lives.
    fn catalogue(&self) -> Catalogue;

    /// Answers a question.
    ///
    /// # Errors
    /// When the thing asked about does not exist, or the backend cannot be reached or read.
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer>>;

    /// Queues an operation. When this returns, the operation is on disk.
    ///
    /// # Errors
    /// [`Refused`](super::BackendError::Refused) when it cannot work, and then nothing was queued.
    fn submit(&self, submit: Submit) -> BoxFuture<'_, Result<Accepted>>;

    /// Changes an operation or a lane. When this returns, the change is on disk.
    ///
    /// # Errors
    /// [`Refused`](super::BackendError::Refused) when its state does not allow it.
    fn control(&self, control: Control) -> BoxFuture<'_, Result<()>>;

    /// Events from now on.
    fn subscribe(&self) -> EventStream;

    /// Opens the serial line of a running VM.
    ///
    /// # Errors
    /// When there is no such VM, or it does not run.
    fn serial(&self, vm: u64) -> BoxFuture<'_, Result<Serial>>;
}

impl std::fmt::Debug for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serial").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for dyn Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dyn Backend")
    }
}

/// What every backend can do because of what it is.
pub trait BackendExt: Backend {
    /// Answers a question with what its type says.
    ///
    /// # Errors
    /// As [`Backend::query`]; and when the answer is to another question, which a backend of
    /// another version may give.
    fn ask<Q: Question>(&self, question: Q) -> impl Future<Output = Result<Q::Answer>> + Send {
        let answer = self.query(question.into_query());
        async { Q::from_answer(answer.await?) }
    }
}

impl<B: Backend + ?Sized> BackendExt for B {}
