//! A file or directory as it was found, so that another in its place is not taken for it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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

    /// Returns a sentence when the path leads to it no more.
    pub(in crate::backend) fn lost(&self) -> Option<BackendError> {
        self.became().map(|became| stopped(self.what, &self.path, became, &self.advice()))
    }

    /// What became of it; `None`: it is where it was.
    fn became(&self) -> Option<&'static str> {
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.id => None,
            Ok(_) => Some("replaced"),
            Err(_) => Some("taken away"),
        }
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

/// The log beside a database: while that is open it only grows, and only its end removes it.
#[derive(Debug)]
pub(super) struct KnownLog {
    known: KnownPath,
    /// How long it was when it was looked at last.
    bytes: u64,
}

/// What became of a log.
pub(super) struct LostLog {
    /// Whether all of it is still in the file that is open, and nothing in its place would be taken
    /// for it.
    pub(super) is_whole: bool,
    pub(super) error: BackendError,
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

    /// Looks whether what was written to it is where the next start looks for it.
    pub(super) fn lost(&mut self) -> Option<LostLog> {
        let found = std::fs::metadata(&self.known.path).map(|found| found.len());
        let bytes = found.as_ref().copied().unwrap_or_default();
        let became = match self.known.became() {
            None if bytes < self.bytes => "cut short",
            None => {
                self.bytes = bytes;
                return None;
            }
            Some(became) => became,
        };
        // Whoever opens the database without its log makes an empty one.
        let is_whole = became != "cut short" && bytes == 0;
        let advice = if is_whole {
            "What was in it is in the database now: start hostler again"
        } else {
            "Put it back as it was, or the latest changes are missing, and start hostler again"
        };
        let error = stopped(self.known.what, &self.known.path, became, advice);
        Some(LostLog { is_whole, error })
    }
}

/// Tells why nothing more is written.
fn stopped(what: &str, path: &Path, became: &str, advice: &str) -> BackendError {
    BackendError::failed(format!(
        "the {what} {} was {became} while hostler was using it, so hostler has stopped: what it \
         would write now would be lost. Guests and encoders go on. {advice}",
        path.display()
    ))
}
