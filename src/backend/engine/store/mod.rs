//! The store: what must survive, in one SQLite file.
//!
//! One writer thread with group commit (`writer`); readers with connections of their own
//! (`reader`). A change is acknowledged when it is on disk, not before. This room knows tables
//! and nothing of what operations mean.

mod change;
mod checkpoint;
mod compact;
mod fault;
pub mod known;
mod look;
mod numbers;
pub mod plain;
pub mod prune;
pub mod reader;
mod reserve;
mod row;
mod side_files;
mod writer;

use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Resource, getrlimit};
use tokio::sync::watch;

use super::storage::{Acknowledgement, Change, Damaged, Health, Opened, RecordedStep, Storage};
use crate::domain::{BackendError, BoxFuture, Operation, Params, Uid};

pub use compact::{Compacted, compact};
#[cfg(any(test, feature = "failpoints"))]
pub use fault::{Fault, Faults, How};
pub use look::Look;
pub use numbers::{counter, is_pruned};
pub use reader::Reader;
pub use reserve::{FILE as RESERVE, why_no_reserve};
pub use side_files::{is_side_file, why_not as why_no_side_file};
pub use writer::Writer;

/// The file in the state directory.
pub const FILE: &str = "hostler.db";

/// Beside it, the new file while it is made smaller.
pub const BESIDE: &str = "hostler.db.compact";

/// The room that what SQLite keeps beside an open store needs at first, in bytes: the index of an
/// empty log, and its first page.
const BESIDE_OPEN: u64 = 64 << 10;

/// Marks the file as hostler's (`PRAGMA application_id`): the letters `hstl`.
const APPLICATION_ID: i32 = 0x6873_746c;

/// Migrations in order; the file's `user_version` says how many it has seen.
const MIGRATIONS: [&str; 3] = [
    include_str!("schema.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
];

/// The store, open.
#[derive(Clone)]
pub struct Store {
    writer: Writer,
    reader: Arc<Reader>,
}

impl Store {
    /// Opens or makes the store in a state directory and reads what is still open in it.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, is another program's, or was written by a newer
    /// hostler.
    pub fn open(dir: &Path) -> Result<(Self, Opened), BackendError> {
        let path = dir.join(FILE);
        side_files::check_closed(&path)?;
        let connection = ready(&path).or_else(|error| {
            // What SQLite keeps beside an open store needs room as well.
            let is_full = reserve::free_beside(&path) < BESIDE_OPEN;
            if is_full && reserve::give_up_beside(&path) { ready(&path) } else { Err(error) }
        })?;
        let reader = Reader::new(path.clone());
        let opened = reader::open(&connection).map_err(|error| broken(&path, &error))?;
        for damaged in &opened.damaged {
            tracing::error!("{}: {damaged}; `hostler doctor` tells what to do", path.display());
        }
        let writer = Writer::start(connection, path)?;
        Ok((Self { writer, reader: Arc::new(reader) }, opened))
    }

    /// Where changes go.
    #[must_use]
    pub const fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Returns, with a sentence, when nothing will ever be written again although it was not
    /// closed.
    pub async fn broken(&self) -> BackendError {
        let mut health = self.writer.health();
        let dead = health.wait_for(|health| matches!(health, Health::Dead(_))).await;
        match dead.as_deref() {
            Ok(Health::Dead(why)) => BackendError::failed(why.as_str()),
            // It was closed: there is nothing more to break.
            _ => std::future::pending().await,
        }
    }

    /// Closes the store, so that one whole file is left behind: everything sent before is in it
    /// when this returns. What is asked or sent later fails; closing twice does no harm.
    ///
    /// # Errors
    /// When the last changes could not be written.
    pub async fn close(&self) -> Result<(), BackendError> {
        let reader = self.reader.clone();
        tokio::task::spawn_blocking(move || reader.close()).await.map_err(|error| broke(&error))?;
        self.writer.close().await
    }

    /// Asks a question of the store. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, BackendError> {
        self.reader.read(question)
    }

    /// Asks a question of the store on a thread where blocking does no harm.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T, BackendError>> + Send + 'static {
        let reader = self.reader.clone();
        async move {
            tokio::task::spawn_blocking(move || reader.read(question))
                .await
                .map_err(|error| broke(&error))?
        }
    }
}

impl Storage for Store {
    fn send(&self, changes: Vec<Change>) -> Acknowledgement {
        self.writer.request(changes)
    }

    fn send_unanswered(&self, changes: Vec<Change>) {
        self.writer.send_unanswered(changes);
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.writer.health()
    }

    fn place(&self) -> String {
        let path = self.reader.path();
        path.parent().unwrap_or(path).display().to_string()
    }

    fn needed_mib(&self) -> u64 {
        reserve::FREE_MIB
    }

    fn operation(&self, uid: Uid) -> BoxFuture<'static, Result<Option<Operation>, BackendError>> {
        Box::pin(self.read(move |connection| reader::operation(connection, uid)))
    }

    fn keyed(
        &self,
        key: &str,
    ) -> BoxFuture<'static, Result<Option<(Operation, Params)>, BackendError>> {
        let key = key.to_owned();
        Box::pin(self.read(move |connection| reader::keyed(connection, &key)))
    }

    fn children(&self, uid: Uid) -> BoxFuture<'static, Result<Vec<Operation>, BackendError>> {
        Box::pin(self.read(move |connection| reader::children(connection, uid, u32::MAX)))
    }

    fn steps(&self, uid: Uid) -> BoxFuture<'static, Result<Vec<RecordedStep>, BackendError>> {
        Box::pin(self.read(move |connection| reader::steps(connection, uid)))
    }
}

fn broke(error: &tokio::task::JoinError) -> BackendError {
    BackendError::failed(format!("a reader of the store broke: {error}"))
}

/// The rows of a store that cannot be read, for `doctor`. Changes nothing; a state directory
/// without a store has none.
///
/// # Errors
/// When the file cannot be read at all.
pub fn damaged(dir: &Path) -> Result<Vec<Damaged>, BackendError> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    side_files::check(&path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(&path, flags).and_then(|connection| {
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        reader::open(&connection)
    });
    opened.map(|opened| opened.damaged).map_err(|error| broken(&path, &error))
}

/// Opens one more connection to a file that is known to be ours. The log is the writer's to close.
fn connect(path: &Path) -> Result<Connection, BackendError> {
    let connection = file(path)?;
    harden(&connection, path)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|error| broken(path, &error))?;
    Ok(connection)
}

/// Opens or makes the file and brings it to the newest version.
fn ready(path: &Path) -> Result<Connection, BackendError> {
    let mut connection = file(path)?;
    let version = recognise(&connection, path)?;
    harden(&connection, path)?;
    migrate(&mut connection, version, path)?;
    Ok(connection)
}

/// Opens or makes the file, and writes nothing to it.
fn file(path: &Path) -> Result<Connection, BackendError> {
    side_files::check(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|error| broken(path, &error))
}

/// Makes the settings that durability rests on, and reads them back.
fn harden(connection: &Connection, path: &Path) -> Result<(), BackendError> {
    for (name, value, expected) in [
        ("journal_mode", "WAL", "wal"),
        ("synchronous", "FULL", "2"),
        ("temp_store", "MEMORY", "2"),
        ("cache_size", "-2048", "-2048"),
        // A checkpoint every 16 MiB instead of every 4: fewer pauses in a burst.
        ("wal_autocheckpoint", "4096", "4096"),
        ("busy_timeout", "5000", "5000"),
    ] {
        connection.pragma_update(None, name, value).map_err(|error| broken(path, &error))?;
        let is: String = connection
            .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| match value {
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            })
            .map_err(|error| broken(path, &error))?;
        if is != expected {
            return Err(BackendError::failed(format!(
                "{}: SQLite answers {name}={is} where {expected} is needed; nothing would survive \
                 a power cut. Put the state directory on a local filesystem",
                path.display()
            )));
        }
    }
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Which version a file has; refuses a file that is another program's, damaged or newer, before
/// anything is written to it.
fn recognise(connection: &Connection, path: &Path) -> Result<usize, BackendError> {
    let newest = MIGRATIONS.len();
    let ask = |question: &str| {
        connection
            .query_row(question, [], |row| row.get::<_, i64>(0))
            .map_err(|error| broken(path, &error))
    };
    let version = usize::try_from(ask("PRAGMA user_version")?).unwrap_or(usize::MAX);
    let application = ask("PRAGMA application_id")?;
    let fresh = version == 0 && application == 0 && ask("SELECT count(*) FROM sqlite_schema")? == 0;
    if !fresh && application != i64::from(APPLICATION_ID) {
        return Err(BackendError::failed(format!(
            "{} belongs to another program; choose another state directory with --state",
            path.display()
        )));
    }
    if version > newest {
        return Err(BackendError::failed(format!(
            "{} was written by a newer hostler (its version is {version}, this one knows \
             {newest}); nothing was changed. Start the newer hostler",
            path.display()
        )));
    }
    Ok(version)
}

/// Brings the file to the newest version, each step in a transaction of its own.
fn migrate(connection: &mut Connection, version: usize, path: &Path) -> Result<(), BackendError> {
    apply(connection, &MIGRATIONS, version).map_err(|error| broken(path, &error))
}

fn apply(connection: &mut Connection, migrations: &[&str], version: usize) -> rusqlite::Result<()> {
    for (index, migration) in migrations.iter().enumerate().skip(version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", index + 1)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
    }
    Ok(())
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

/// What to do where there is no room.
const NO_ROOM: &str = "; the disk is full: free some space, nothing accepted was lost";

/// A sentence for an error of SQLite's.
fn broken(path: &Path, error: &rusqlite::Error) -> BackendError {
    use rusqlite::ErrorCode as Code;
    let advice = match error.sqlite_error_code() {
        Some(Code::DiskFull) => NO_ROOM,
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
            "; another program holds a lock on it: end that. Nothing accepted was lost"
        }
        Some(Code::NotADatabase | Code::DatabaseCorrupt) => {
            "; the file is damaged or no store: move it away together with its -wal and -shm, and \
             restore a copy or run `hostler recover`, which rebuilds VMs, disks and images from \
             their files"
        }
        // SQLite tells a file that finds no room only where it writes to it.
        Some(Code::CannotOpen | Code::SystemIoFailure)
            if reserve::free_beside(path) < BESIDE_OPEN =>
        {
            NO_ROOM
        }
        Some(Code::CannotOpen | Code::PermissionDenied | Code::ReadOnly) => {
            "; check who owns the state directory, and with lsattr what may not be changed in it"
        }
        Some(Code::SystemIoFailure) if getrlimit(Resource::Fsize).current.is_some() => {
            "; a file may only be so large here (see `ulimit -f`): allow more. Or the disk under \
             the state directory fails"
        }
        Some(Code::SystemIoFailure) => "; the disk under the state directory fails",
        _ => "",
    };
    BackendError::failed(format!("the store {} failed: {error}{advice}", path.display()))
}

#[cfg(test)]
mod tests;
