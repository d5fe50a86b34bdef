//! The one writer: takes whatever is waiting, writes it in one transaction, answers all of it.
//!
//! ```text
//! callers ──▶ channel ──▶ [ BEGIN · request · request · … · COMMIT+fsync ] ──▶ answers
//! ```
//!
//! Requests are written in the order they were sent, and a request is never on disk without all
//! those sent before it. Callers rely on that: what is sent later may build on what was sent
//! earlier without waiting for its answer.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{oneshot, watch};

use crate::backend::engine::storage::{Acknowledgement, Change, Health};
use crate::domain::BackendError;

use super::change::Statements;
use super::checkpoint::{Mode, checkpoint};
use super::fault::Faults;
use super::known::{KnownDatabase, KnownLog};
use super::reserve::{FREE_MIB, Reserve};

/// The most requests one transaction takes, so that the first of them need not wait for ever.
const BATCH_MAX: usize = 4096;

/// The longest a transaction waits for the next request it expects: less than a trip to most disks.
const PATIENCE: Duration = Duration::from_micros(100);

/// From how many answered callers on the next transaction expects as many again. A few have nothing
/// to gain from waiting for each other.
const MANY: usize = 8;

/// Changes that are written together or not at all, and who wants to know.
struct WriteRequest {
    changes: Vec<Change>,
    answer: Option<Asker>,
    /// Whether the writer ends with it.
    last: bool,
}

/// The way back to who wants to know.
type Asker = oneshot::Sender<Result<(), BackendError>>;

/// Who is to be told, and what.
type Told = (Asker, Result<(), BackendError>);

/// The way to the writer thread.
#[derive(Clone)]
pub struct Writer {
    requests: mpsc::Sender<WriteRequest>,
    health: watch::Receiver<Health>,
}

impl Writer {
    /// Starts the thread. It ends when it is told to, or when the last [`Writer`] is dropped, and
    /// everything is written.
    pub(super) fn start(connection: Connection, path: PathBuf) -> Result<Self, BackendError> {
        let (requests, waiting) = mpsc::channel();
        let (tell, health) = watch::channel(Health::Well);
        let known =
            KnownDatabase::at(&path).and_then(|database| Ok((database, KnownLog::of(&path)?)));
        let (database, log) = known.map_err(|error| {
            BackendError::failed(format!("cannot look at the store {}: {error}", path.display()))
        })?;
        let (faults, (reserve, is_full)) = (Faults::of(&path), Reserve::beside(&path)?);
        if is_full {
            tracing::error!("the disk is full");
            tell.send_replace(Health::Full);
        }
        let thread = move || {
            let health = &tell;
            let mut writer =
                Thread { connection, waiting, path, database, log, reserve, faults, health };
            // It outlives the writing: nobody is told that there is no answer before it is known
            // why.
            let mut batch = WriteBatch::default();
            let written = std::panic::catch_unwind(AssertUnwindSafe(|| writer.write(&mut batch)));
            let died = match written {
                Ok(Ok(answer)) => {
                    writer.end(answer);
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!(
                    "the writer of the store broke, which is a defect worth reporting: {}. Nothing \
                     that was acknowledged is lost: start hostler again",
                    super::words(&*panic)
                ),
            };
            tracing::error!("{died}");
            tell.send_replace(Health::Dead(died));
        };
        std::thread::Builder::new()
            .name("hostler-writer".into())
            .spawn(thread)
            .map_err(|error| BackendError::failed(format!("cannot start the writer: {error}")))?;
        Ok(Self { requests, health })
    }

    /// How the writer is, and how it comes to be.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        *self.health.borrow() == Health::Full
    }

    /// Sends changes that belong together; the answer comes when they are on disk. The order of
    /// calls is the order of writing, also when nobody waits for the answer.
    pub fn send(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<(), BackendError>> + Send + '_ {
        let answer = self.request(changes);
        async { answer.await.unwrap_or_else(|_| Err(self.health.borrow().error())) }
    }

    /// The same, for those who look at the [`health`](Self::health) themselves where there is no
    /// answer.
    pub(super) fn request(&self, changes: Vec<Change>) -> Acknowledgement {
        let (answer, told) = oneshot::channel();
        // A writer that is gone drops the way back with the request.
        let _ = self.requests.send(WriteRequest { changes, answer: Some(answer), last: false });
        told
    }

    /// Ends the thread, or finds it ended. Everything sent before is in one whole file, and that is
    /// closed, when this returns. Whatever is sent later fails.
    pub(super) async fn close(&self) -> Result<(), BackendError> {
        let (answer, told) = oneshot::channel();
        let last = WriteRequest { changes: Vec::new(), answer: Some(answer), last: true };
        if self.requests.send(last).is_err() {
            return Ok(());
        }
        told.await.unwrap_or(Ok(()))
    }

    /// Sends changes whose answer nobody needs: what follows them is acknowledged after them.
    pub fn send_unanswered(&self, changes: Vec<Change>) {
        // A writer that is gone is noticed by the next change that waits for its answer.
        let _ = self.requests.send(WriteRequest { changes, answer: None, last: false });
    }
}

/// The requests of one transaction.
#[derive(Default)]
struct WriteBatch {
    requests: Vec<WriteRequest>,
    /// Whether the writer ends with the latest of them.
    last: bool,
}

/// Why a transaction failed.
enum WriteError {
    /// Nothing of it is on disk.
    Not(rusqlite::Error),
    /// Nobody knows how much of it is on disk.
    Unknown(rusqlite::Error),
}

/// What the thread works with.
struct Thread<'t> {
    connection: Connection,
    waiting: mpsc::Receiver<WriteRequest>,
    path: PathBuf,
    database: KnownDatabase,
    log: KnownLog,
    reserve: Reserve,
    faults: Faults,
    health: &'t watch::Sender<Health>,
}

impl Thread<'_> {
    /// Writes until it is told to end, or the last sender is gone. Gives whom to tell that it has.
    ///
    /// # Errors
    /// When it must not go on.
    fn write(&mut self, batch: &mut WriteBatch) -> Result<Option<Told>, BackendError> {
        let mut expected = 0;
        while let Ok(first) = self.waiting.recv() {
            // A transaction after a log that is cut short would hide that it is.
            if let Some(lost) = self.lost() {
                batch.requests.push(first);
                return Err(lost);
            }
            self.look_for_room();
            let mut next = Some(first);
            let written = self.transaction(batch, |waiting, count| match next.take() {
                Some(first) => Some(first),
                None => another(waiting, count < expected),
            });
            let told = self.told(written, batch)?;
            let last = if batch.last { batch.requests.pop() } else { None };
            let last = last.and_then(|request| Some((request.answer?, told.clone())));
            let mut answered = 0;
            for answer in batch.requests.drain(..).filter_map(|request| request.answer) {
                // Whoever asked may be gone by now; the change stands all the same.
                let _ = answer.send(told.clone());
                answered += 1;
            }
            if last.is_some() {
                return Ok(last);
            }
            expected = if answered < MANY { 0 } else { answered };
        }
        Ok(None)
    }

    /// What is to be told of a transaction. After one that a full disk was in the way of, new work
    /// is refused, and what ends things is written, if need be with the room of the reserve.
    fn told(
        &mut self,
        mut written: Result<(), WriteError>,
        batch: &mut WriteBatch,
    ) -> Result<Result<(), BackendError>, BackendError> {
        if let Err(WriteError::Not(error)) = &written
            && is_full(error)
        {
            let why = super::broken(&self.path, error);
            self.health.send_replace(Health::Full);
            // What is in the log already moves into the store, so that the log can begin anew; as
            // far as that needs no room itself.
            let _ = checkpoint(&self.connection, Mode::Passive);
            // The reserve is for what ends things: new work is refused without it.
            written = self.again(batch);
            if matches!(&written, Err(WriteError::Not(error)) if is_full(error))
                && self.reserve.give_up()
            {
                written = self.again(batch);
            }
            tracing::error!(%why, "the disk is full");
        }
        let locked = matches!(&written, Err(WriteError::Not(error)) if is_locked(error));
        if locked {
            self.health.send_replace(Health::Locked);
        } else if *self.health.borrow() == Health::Locked {
            self.health.send_replace(Health::Well);
        }
        match written {
            // An answer promises that the next start finds it, so it must be where that will look.
            Ok(()) => self.lost().map_or(Ok(Ok(())), Err),
            Err(WriteError::Not(error)) => {
                tracing::error!(%error, "a transaction failed");
                Ok(Err(super::broken(&self.path, &error)))
            }
            Err(WriteError::Unknown(error)) => Err(BackendError::failed(format!(
                "{}; whether the last changes are on disk is not known. Nothing that was \
                 acknowledged is lost: start hostler again, and it goes on from what is there",
                super::broken(&self.path, &error)
            ))),
        }
    }

    /// Writes the requests of a transaction that failed once more.
    fn again(&self, batch: &mut WriteBatch) -> Result<(), WriteError> {
        let mut requests = std::mem::take(batch).requests.into_iter();
        let written = self.transaction(batch, |_, _| requests.next());
        for left in requests {
            batch.last |= left.last;
            batch.requests.push(left);
        }
        written
    }

    /// A sentence, when the database or its log is no longer where it was.
    fn lost(&mut self) -> Option<BackendError> {
        self.database.lost(&self.connection).or_else(|| self.log.lost(&self.connection))
    }

    /// Writes requests in one transaction and puts down whose they are. One that fails by itself
    /// is answered at once and left out.
    fn transaction(
        &self,
        batch: &mut WriteBatch,
        mut next: impl FnMut(&mpsc::Receiver<WriteRequest>, usize) -> Option<WriteRequest>,
    ) -> Result<(), WriteError> {
        let connection = &self.connection;
        let full = *self.health.borrow() == Health::Full;
        let written = (|| {
            self.faults.point("before a transaction")?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let mut statements = Statements::prepare(connection, &self.faults)?;
            while let Some(request) = next(&self.waiting, batch.requests.len()) {
                batch.last = request.last;
                if full && request.changes.iter().any(Change::is_new_work) {
                    request.refuse(self.no_room());
                    continue;
                }
                batch.requests.push(request);
                let changes = batch.requests.last().map_or(&[][..], |request| &request.changes);
                if let Err(refused) = statements.request(changes)? {
                    tracing::error!(error = %refused, "a change was refused");
                    let message = format!("the store refused a change: {refused}");
                    if let Some(request) = batch.requests.pop() {
                        request.refuse(BackendError::failed(message));
                    }
                }
                if batch.last || batch.requests.len() >= BATCH_MAX {
                    break;
                }
            }
            drop(statements);
            self.faults.point("before a commit")
        })();
        // What could not even begin is told like the rest.
        if written.is_err() && batch.requests.is_empty() {
            batch.requests.extend(next(&self.waiting, 0).inspect(|it| batch.last = it.last));
        }
        let written = written.map_err(WriteError::Not).and_then(|()| {
            connection.execute_batch("COMMIT").map_err(|error| {
                // A disk that is full has taken nothing, nor has a file that is locked. Of any
                // other failure to put a transaction down nobody knows how far it came: the system
                // may have thrown away what it was to write, and calls the next attempt a success.
                if is_full(&error) || is_locked(&error) {
                    WriteError::Not(error)
                } else {
                    WriteError::Unknown(error)
                }
            })?;
            self.faults.point("after a commit").map_err(WriteError::Unknown)
        });
        if written.is_err() && !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK").map_err(WriteError::Unknown)?;
        }
        written
    }

    /// Takes new work again when there is room for the reserve.
    fn look_for_room(&mut self) {
        if *self.health.borrow() == Health::Full && self.reserve.refill() {
            tracing::info!("there is room on the disk again: the work goes on");
            self.health.send_replace(Health::Well);
        }
    }

    fn no_room(&self) -> BackendError {
        let dir = self.path.parent().unwrap_or(&self.path).display();
        BackendError::failed(format!(
            "the disk is full under {dir}: nothing new is accepted until {FREE_MIB} MiB are free. \
             What runs can be cancelled; nothing that was accepted is lost"
        ))
    }

    /// Leaves one whole file behind, and tells that.
    fn end(self, last: Option<Told>) {
        let failed = match checkpoint(&self.connection, Mode::Truncate) {
            Ok(done) => done.is_busy.then(|| "somebody else works with the store".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = failed {
            tracing::warn!(%error, "the last checkpoint failed; the next start makes up for it");
        }
        let Self { connection, mut reserve, .. } = self;
        drop(connection);
        // What the store had beside it while it was open has gone; the next start needs as much.
        reserve.restore();
        if let Some((answer, told)) = last {
            let _ = answer.send(told);
        }
    }
}

impl WriteRequest {
    /// Tells that it is not written.
    fn refuse(self, why: BackendError) {
        if let Some(answer) = self.answer {
            let _ = answer.send(Err(why));
        }
    }
}

/// Whether a failure is for want of room.
fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether a failure is for another program's lock.
fn is_locked(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The next request for a transaction that has begun. When the last one answered many callers, the
/// first of them to ask again would get a transaction for itself while all others wait for the
/// next: twice as many trips to the disk for the same work. So one that is `expected` is waited for
/// a little.
fn another(waiting: &mpsc::Receiver<WriteRequest>, expected: bool) -> Option<WriteRequest> {
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
