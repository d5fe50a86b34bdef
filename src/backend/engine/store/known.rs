//! A file or directory as it was found, so that another in its place is not taken for it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

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
        let became = match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.id => return None,
            Ok(_) => "replaced",
            Err(_) => "taken away",
        };
        Some(BackendError::failed(format!(
            "the {} {} was {became} while hostler was using it, so hostler has stopped: what it \
             would write now would be lost. Guests and encoders go on. Put it back, or a copy of \
             it, and start hostler again",
            self.what,
            self.path.display()
        )))
    }
}
