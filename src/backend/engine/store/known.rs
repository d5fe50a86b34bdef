//! A file or directory as it was found, so that another in its place is not taken for it.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::checkpoint::{Mode, checkpoint};
use super::side_files::beside_all;
use crate::domain::BackendError;

/// A path, and what it led to.
#[derive(Debug)]
pub(in crate::backend) struct KnownPath {
    what: &'static str,
    path: PathBuf,
    id: (u64, u64),
}

impl KnownPath {
    /// Remembers what a path leads to now; `what` names it in messages.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(in crate::backend) fn at(what: &'static str, path: &Path) -> io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self { what, path: path.to_owned(), id: (found.dev(), found.ino()) })
    }

    /// Whether the path still leads to it.
    pub(in crate::backend) fn holds(&self) -> bool {
        self.look().is_none()
    }

    /// Returns a sentence when the path leads to it no more.
    pub(in crate::backend) fn lost(&self) -> Option<BackendError> {
        self.look().map(|became| self.stopped(became, &self.advice()))
    }

    /// Looks what became of it; `None`: it is still there.
    fn look(&self) -> Option<&'static str> {
        self.became(std::fs::metadata(&self.path).ok().as_ref())
    }

    /// What became of it, by what is `found` where it was; `None`: it is still there.
    fn became(&self, found: Option<&Metadata>) -> Option<&'static str> {
        match found {
            Some(found) if (found.dev(), found.ino()) == self.id => None,
            Some(_) => Some("replaced"),
            None => Some("taken away"),
        }
    }

    /// Tells why nothing more is written, and how to go on.
    fn stopped(&self, became: &str, advice: &str) -> BackendError {
        BackendError::failed(format!(
            "the {} {} was {became} while hostler was using it, so hostler has stopped: what it \
             would write now would be lost. Guests and encoders go on. {advice}",
            self.what,
            self.path.display()
        ))
    }

    /// How to go on. The log of a database fits no other, not even an older copy of the same.
    fn advice(&self) -> String {
        if self.path.file_name().is_some_and(|name| name == super::FILE) {
            let [_, log, index] = beside_all(&self.path);
            return format!(
                "Put it back as it was; or put a copy in its place and remove {} and {}, which \
                 belong to the lost one. Then start hostler again",
                log.display(),
                index.display()
            );
        }
        "Put it back, or a whole copy of it, and start hostler again".to_owned()
    }
}

/// A database: while it is open it only grows.
#[derive(Debug)]
pub(super) struct KnownDatabase {
    known: KnownPath,
    /// How long it was when it was looked at last.
    bytes: u64,
}

impl KnownDatabase {
    /// The one at a path.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { known: KnownPath::at("database", path)?, bytes: 0 })
    }

    /// Returns a sentence when it is not what it was any more.
    pub(super) fn lost(&mut self, database: &Connection) -> Option<BackendError> {
        let found = std::fs::metadata(&self.known.path).ok();
        let bytes = found.as_ref().map_or(0, Metadata::len);
        if let Some(became) = self.known.became(found.as_ref()) {
            return Some(self.known.stopped(became, &self.known.advice()));
        }
        if bytes >= self.bytes {
            self.bytes = bytes;
            return None;
        }
        keep_log(database);
        Some(self.known.stopped("cut short", &self.known.advice()))
    }
}

/// Lets the end of a database leave its log as it is.
fn keep_log(database: &Connection) {
    if let Err(error) = database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
        tracing::error!(%error, "the end may harm what is in the place of the database's log");
    }
}

/// The log beside a database: while that is open it only grows, unless a checkpoint empties it, and
/// only its end removes it.
#[derive(Debug)]
pub(super) struct KnownLog {
    known: KnownPath,
    /// How long it was when it was looked at last.
    bytes: u64,
}

impl KnownLog {
    /// The one of a database that has been read, which makes it.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(super) fn of(database: &Path) -> io::Result<Self> {
        let [_, log, _] = beside_all(database);
        Ok(Self { known: KnownPath::at("log of the database", &log)?, bytes: 0 })
    }

    /// Returns a sentence when what the `database` wrote to it is not where the next start looks
    /// for it; but first saves of that what can be saved.
    pub(super) fn lost(&mut self, database: &Connection) -> Option<BackendError> {
        let found = std::fs::metadata(&self.known.path).ok();
        let bytes = found.as_ref().map_or(0, Metadata::len);
        let became = self.known.became(found.as_ref());
        if became.is_none() && (bytes >= self.bytes || is_empty(database)) {
            self.bytes = bytes;
            return None;
        }
        // All of it is in the file that is open, and nothing in its place would be taken for it:
        // whoever opens the database without its log makes an empty one.
        let is_whole = became.is_some() && bytes == 0;
        let advice = if is_whole && save(database) {
            "What was in it is in the database now: start hostler again"
        } else {
            "Put it back as it was, or the latest changes are missing, and start hostler again"
        };
        // Closing would write holes of a log that is cut short into the database, and remove what
        // somebody has put in the place of one that is not there.
        keep_log(database);
        Some(self.known.stopped(became.unwrap_or("cut short"), advice))
    }
}

/// Whether all that was in a log is in the database for sure, as after a checkpoint of somebody
/// else's that emptied it.
fn is_empty(database: &Connection) -> bool {
    checkpoint(database, Mode::Noop).is_ok_and(|log| log.frames == 0)
}

/// Moves what is in the log into the database. Says whether all of it is there now.
fn save(database: &Connection) -> bool {
    match checkpoint(database, Mode::Full) {
        Ok(done) if done.is_busy => {
            tracing::error!("what was in the log of the database is not all saved: it is in use");
            false
        }
        Ok(_) => true,
        Err(error) => {
            tracing::error!(%error, "what was in the log of the database is not all saved");
            false
        }
    }
}
