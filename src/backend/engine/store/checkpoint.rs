//! Moving what is in the log of a database into it, and what SQLite tells of that.

use rusqlite::Connection;

/// How far a checkpoint goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// Nowhere: it only tells what is in the log.
    Noop,
    /// As far as nobody has to wait.
    Passive,
    /// To the end, waiting for readers.
    Full,
    /// To the end; then it empties the log.
    Truncate,
}

/// What SQLite tells of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Whether somebody was in its way: it did less than it was to do, which is no error.
    pub(super) is_busy: bool,
    /// How many frames are in the log: those counted that are in the database too.
    pub(super) frames: i64,
}

/// Does a checkpoint.
///
/// # Errors
/// When it cannot be done, or what is in the log cannot be told.
pub(super) fn checkpoint(connection: &Connection, mode: Mode) -> rusqlite::Result<Checkpoint> {
    let question = match mode {
        Mode::Noop => "PRAGMA wal_checkpoint(NOOP)",
        Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Mode::Full => "PRAGMA wal_checkpoint(FULL)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    connection.query_row(question, [], |row| {
        Ok(Checkpoint { is_busy: row.get::<_, i64>("busy")? != 0, frames: row.get("log")? })
    })
}
