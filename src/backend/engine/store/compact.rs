//! Giving back what the file of a store holds and does not use.
//!
//! Not by itself: what pruned operations took is used again by those that come, so that a file
//! stops growing. It is smaller for good only where less is kept than was, and then somebody knows
//! that and may wait. The whole is written anew, beside, and put in its place: nobody works with
//! the store meanwhile, and a crash leaves it as it was.

use std::fs::File;
use std::io;
use std::path::Path;

use super::checkpoint::{Mode, checkpoint};
use super::{BESIDE, FILE, broken, file, plain, recognise, side_files};
use crate::domain::BackendError;
use crate::file::gone;

/// How large a store was, and how large it is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Before.
    pub before: u64,
    /// Now.
    pub after: u64,
}

/// Makes the store of a state directory, which the caller owns alone, as small as it can be.
/// Blocks.
///
/// # Errors
/// When it cannot be read, or there is no room for the new file beside it.
pub fn compact(dir: &Path) -> Result<Compacted, BackendError> {
    let (path, beside) = (dir.join(FILE), dir.join(BESIDE));
    let cannot = |what: &str, error: &io::Error| {
        BackendError::failed(format!("cannot {what} {}: {error}", beside.display()))
    };
    let remove = || gone(std::fs::remove_file(&beside));
    side_files::check_new(&beside)?;
    remove().map_err(|error| cannot("remove", &error))?;
    let connection = file(&path)?;
    recognise(&connection, &path)?;
    // Nothing is left in the log, which is not the new file's. Whoever is in the way of that still
    // has the log when this connection is closed.
    let written = checkpoint(&connection, Mode::Truncate)
        .and_then(|_| connection.execute("VACUUM INTO ?1", [beside.to_string_lossy()]))
        .and_then(|_| connection.close().map_err(|(_, error)| error));
    let put = || {
        let new = plain::open(&beside, File::options().read(true))?;
        new.set_permissions(std::fs::metadata(&path)?.permissions())?;
        new.sync_all()?;
        let sizes =
            Compacted { before: std::fs::metadata(&path)?.len(), after: new.metadata()?.len() };
        std::fs::rename(&beside, &path)?;
        File::open(dir)?.sync_all()?;
        Ok(sizes)
    };
    let compacted = match written {
        Ok(()) if dir.join(format!("{FILE}-wal")).exists() => {
            let message =
                format!("somebody else works with {}; nothing is changed", path.display());
            Err(BackendError::failed(message))
        }
        Ok(()) => put().map_err(|error| cannot("put in its place", &error)),
        Err(error) => Err(broken(&path, &error)),
    };
    if compacted.is_err() {
        // What failed is said; that a file is left as well is told by the next attempt.
        let _ = remove();
    }
    compacted
}
