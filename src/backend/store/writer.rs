//! The one writer: takes whatever is waiting, writes it in one transaction, answers all of it.
//!
//! ```text
//! callers ──▶ channel ──▶ [ BEGIN · request · request · … · COMMIT+fsync ] ──▶ answers
//! ```
//!
//! Requests are written in the order they were sent, and a request is never on disk without all
//! those sent before it. Callers rely on that: what is sent later may build on what was sent
//! earlier without waiting for its answer.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, params};
use tokio::sync::oneshot;

use crate::domain::{
    BackendError, LaneState, Operation, Params, Resource, ResourceId, State, Step, Uid,
};

use super::row::{state_code, step_code, time};

/// The most requests one transaction takes, so that the first of them need not wait for ever.
const MOST: usize = 4096;

/// The longest a transaction waits for the next request it expects: less than a trip to most disks.
const PATIENCE: Duration = Duration::from_micros(100);

/// From how many answered callers on the next transaction expects as many again. A few have nothing to
/// gain from waiting for each other.
const MANY: usize = 8;

/// One change to the store.
#[derive(Debug)]
pub enum Change {
    /// A new operation.
    Insert {
        /// The operation; its own `params` are not looked at.
        operation: Arc<Operation>,
        /// Its parameters, secrets hashed or sealed.
        params: Arc<Params>,
    },
    /// An operation changed where it stands.
    Stand {
        /// Which.
        uid: Uid,
        /// Where it stands now.
        state: State,
        /// Why, if there is anything to say.
        comment: Option<String>,
        /// When its steps began.
        started: Option<Timestamp>,
        /// When it ended.
        finished: Option<Timestamp>,
    },
    /// Somebody asked to cancel an operation.
    Cancelling(Uid),
    /// An operation's priority changed.
    Priority(Uid, i32),
    /// An operation in `ERROR` is queued again.
    Relaunch {
        /// Which.
        uid: Uid,
        /// The number of the new attempt.
        attempt: u32,
        /// Its parameters from now on.
        params: Arc<Params>,
    },
    /// A step began, ended or was undone.
    Step(Box<StepChange>),
    /// A resource was made or changed.
    Put(Arc<Resource>),
    /// A resource is gone.
    Remove(ResourceId),
    /// A number was given out.
    Count(&'static str, u64),
    /// A lane was changed.
    Lane {
        /// Its name.
        name: String,
        /// Its width.
        width: u32,
        /// Whether it starts operations.
        state: LaneState,
    },
}

/// A step as it is to be recorded.
#[derive(Debug)]
pub struct StepChange {
    /// Of which operation.
    pub uid: Uid,
    /// The step.
    pub step: Step,
    /// What it returned.
    pub result: Option<serde_json::Value>,
}

/// Changes that are written together or not at all, and who wants to know.
struct Request {
    changes: Vec<Change>,
    answer: Option<Answer>,
    /// Whether the writer ends with it.
    last: bool,
}

/// The way back to who wants to know.
type Answer = oneshot::Sender<Result<(), BackendError>>;

/// The way to the writer thread.
#[derive(Clone)]
pub struct Writer {
    requests: mpsc::Sender<Request>,
}

impl Writer {
    /// Starts the thread. It ends when it is told to, or when the last [`Writer`] is dropped, and
    /// everything is written.
    pub(super) fn start(connection: Connection, path: PathBuf) -> Result<Self, BackendError> {
        let (requests, waiting) = mpsc::channel();
        std::thread::Builder::new()
            .name("hostler-writer".into())
            .spawn(move || write(connection, &waiting, &path))
            .map_err(|error| BackendError::failed(format!("cannot start the writer: {error}")))?;
        Ok(Self { requests })
    }

    /// Sends changes that belong together; the answer comes when they are on disk. The order of
    /// calls is the order of writing, also when nobody waits for the answer.
    pub fn send(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<(), BackendError>> + Send + 'static {
        let (answer, told) = oneshot::channel();
        let request = Request { changes, answer: Some(answer), last: false };
        let sent = self.requests.send(request).is_ok();
        async move {
            let gone =
                || BackendError::failed("the writer of the store has stopped; restart hostler");
            if !sent {
                return Err(gone());
            }
            told.await.unwrap_or_else(|_| Err(gone()))
        }
    }

    /// Ends the thread, or finds it ended. Everything sent before is in one whole file, and that is
    /// closed, when this returns. Whatever is sent later fails.
    pub(super) async fn close(&self) -> Result<(), BackendError> {
        let (answer, told) = oneshot::channel();
        let last = Request { changes: Vec::new(), answer: Some(answer), last: true };
        if self.requests.send(last).is_err() {
            return Ok(());
        }
        told.await.unwrap_or(Ok(()))
    }

    /// Sends changes whose answer nobody needs: what follows them is acknowledged after them.
    pub fn send_unanswered(&self, changes: Vec<Change>) {
        // A writer that is gone is noticed by the next change that waits for its answer.
        let _ = self.requests.send(Request { changes, answer: None, last: false });
    }
}

/// Who is to be told how a transaction ended.
#[derive(Default)]
struct Batch {
    /// One for each request, in order.
    answers: Vec<Option<Answer>>,
    /// Whether the writer ends with the latest of them.
    last: bool,
}

/// The thread: until it is told to end, or the last sender is gone.
fn write(connection: Connection, waiting: &mpsc::Receiver<Request>, path: &std::path::Path) {
    let mut batch = Batch::default();
    let mut closing = None;
    let mut expected = 0;
    while closing.is_none()
        && let Ok(first) = waiting.recv()
    {
        let written = transaction(&connection, first, waiting, expected, &mut batch);
        if let Err(error) = &written {
            tracing::error!(%error, "a transaction failed");
        }
        let told = || match &written {
            Ok(()) => Ok(()),
            Err(error) => Err(super::broken(path, error)),
        };
        if batch.last {
            closing = batch.answers.pop().flatten().map(|answer| (answer, told()));
        }
        let answered = batch.answers.iter().flatten().count();
        expected = if answered < MANY { 0 } else { answered };
        for answer in batch.answers.drain(..).flatten() {
            // Whoever asked may be gone by now; the change stands all the same.
            let _ = answer.send(told());
        }
    }
    // Leaves one whole file behind.
    if let Err(error) = connection.pragma_update(None, "wal_checkpoint", "TRUNCATE") {
        tracing::warn!(%error, "the last checkpoint failed; the next start makes up for it");
    }
    drop(connection);
    if let Some((answer, told)) = closing {
        let _ = answer.send(told);
    }
}

/// Writes a request and those that come meanwhile in one transaction, and puts down who is to be
/// told how it ended. One that fails by itself is answered at once and left out; an error here means
/// that nothing of the others is on disk.
fn transaction(
    connection: &Connection,
    first: Request,
    waiting: &mpsc::Receiver<Request>,
    expected: usize,
    batch: &mut Batch,
) -> rusqlite::Result<()> {
    let mut next = Some(first);
    let end = (|| {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut statements = Statements::prepare(connection)?;
        while let Some(Request { changes, answer, last }) = next.take() {
            batch.answers.push(answer);
            batch.last = last;
            if let Err(refused) = statements.request(&changes)? {
                tracing::error!(error = %refused, changes = changes.len(), "a change was refused");
                if let Some(answer) = batch.answers.pop().flatten() {
                    let message = format!("the store refused a change: {refused}");
                    let _ = answer.send(Err(BackendError::failed(message)));
                }
            }
            if !last && batch.answers.len() < MOST {
                next = another(waiting, batch.answers.len() < expected);
            }
        }
        drop(statements);
        connection.execute_batch("COMMIT")
    })();
    // What could not even begin is told like the rest.
    if let Some(Request { answer, last, .. }) = next {
        batch.answers.push(answer);
        batch.last = last;
    }
    if end.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    end
}

/// The next request for a transaction that has begun. When the last one answered many callers, the
/// first of them to ask again would get a transaction for itself while all others wait for the next:
/// twice as many trips to the disk for the same work. So one that is `expected` is waited for a little.
fn another(waiting: &mpsc::Receiver<Request>, expected: bool) -> Option<Request> {
    let mut next = waiting.try_recv().ok();
    if next.is_none() && expected {
        let until = Instant::now() + PATIENCE;
        while next.is_none() && Instant::now() < until {
            std::thread::yield_now();
            next = waiting.try_recv().ok();
        }
    }
    next
}

/// Whether an error spoils the whole transaction: a full disk, a failing one.
fn is_fatal(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::ConstraintViolation | rusqlite::ErrorCode::TypeMismatch)
    )
}

/// The statements, prepared once and kept by the connection.
struct Statements<'c> {
    connection: &'c Connection,
    savepoint: CachedStatement<'c>,
    release: CachedStatement<'c>,
    rollback: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    stand: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            savepoint: connection.prepare_cached("SAVEPOINT request")?,
            release: connection.prepare_cached("RELEASE request")?,
            rollback: connection.prepare_cached("ROLLBACK TO request")?,
            insert: connection.prepare_cached(
                "INSERT INTO operation (uid, kind, state, params, resource, resource_name, actor, \
                 priority, attempt, cancelling, comment, created) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, ?9, ?10)",
            )?,
            stand: connection.prepare_cached(
                "UPDATE operation SET state = ?2, comment = ?3, started = ?4, finished = ?5, \
                 cancelling = iif(?2 = 1, cancelling, 0) WHERE uid = ?1",
            )?,
        })
    }

    /// Writes changes that belong together: all of them, or none when one is refused. The outer error
    /// is one that spoils the whole transaction.
    fn request(&mut self, changes: &[Change]) -> rusqlite::Result<rusqlite::Result<()>> {
        // A single statement is atomic by itself; only several need a savepoint.
        let several = changes.len() > 1;
        if several {
            self.savepoint.execute([])?;
        }
        let written = changes.iter().try_for_each(|change| self.apply(change));
        match written {
            Err(error) if is_fatal(&error) => return Err(error),
            Err(_) if several => {
                self.rollback.execute([])?;
                self.release.execute([])?;
            }
            Ok(()) if several => {
                self.release.execute([])?;
            }
            _ => {}
        }
        Ok(written)
    }

    fn apply(&mut self, change: &Change) -> rusqlite::Result<()> {
        let other = |sql| self.connection.prepare_cached(sql);
        match change {
            Change::Insert { operation, params } => self.insert.execute(params![
                operation.uid.0,
                operation.kind,
                state_code(operation.state),
                json(&**params)?,
                operation.resource.map(|resource| resource.to_string()),
                operation.resource_name,
                operation.actor,
                operation.priority,
                operation.comment,
                time(operation.created),
            ])?,
            Change::Stand { uid, state, comment, started, finished } => {
                self.stand.execute(params![
                    uid.0,
                    state_code(*state),
                    comment,
                    started.map(time),
                    finished.map(time),
                ])?
            }
            Change::Cancelling(uid) => {
                other("UPDATE operation SET cancelling = 1 WHERE uid = ?1")?.execute([uid.0])?
            }
            Change::Priority(uid, priority) => {
                other("UPDATE operation SET priority = ?2 WHERE uid = ?1")?
                    .execute(params![uid.0, priority])?
            }
            Change::Relaunch { uid, attempt, params } => other(
                "UPDATE operation SET state = 0, attempt = ?2, params = ?3, cancelling = 0, \
                 comment = NULL, started = NULL, finished = NULL WHERE uid = ?1",
            )?
            .execute(params![uid.0, attempt, json(&**params)?])?,
            Change::Step(change) => {
                let StepChange { uid, step, result } = &**change;
                other(
                    "INSERT OR REPLACE INTO step VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )?
                .execute(params![
                    uid.0,
                    step.attempt,
                    step.number,
                    step.name,
                    step_code(step.state),
                    result.as_ref().map(ToString::to_string),
                    step.error,
                    json(&step.commands)?,
                    time(step.started),
                    step.finished.map(time),
                ])?
            }
            Change::Put(resource) => {
                let id = resource.id();
                other("INSERT OR REPLACE INTO resource VALUES (?1, ?2, ?3)")?.execute(params![
                    id.kind.word(),
                    id.id,
                    json(&**resource)?
                ])?
            }
            Change::Remove(id) => other("DELETE FROM resource WHERE kind = ?1 AND id = ?2")?
                .execute(params![id.kind.word(), id.id])?,
            Change::Count(name, value) => other("INSERT OR REPLACE INTO counter VALUES (?1, ?2)")?
                .execute(params![name, value])?,
            Change::Lane { name, width, state } => {
                let state: i64 = match state {
                    LaneState::Open => 0,
                    LaneState::Paused => 1,
                    LaneState::Draining => 2,
                };
                other("INSERT OR REPLACE INTO lane VALUES (?1, ?2, ?3)")?
                    .execute(params![name, width, state])?
            }
        };
        Ok(())
    }
}

/// A document as JSON text.
fn json(document: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(document)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
