//! A look at a store from outside: also while its owner writes, and also when nobody owns it.
//! Nothing is changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::backend::engine::storage::Opened;
use crate::domain::{BackendError, Operation, Uid};

use super::{FILE, broken, reader};

/// A store that is looked at.
pub struct Look {
    connection: Connection,
    path: PathBuf,
    /// Whether it was closed well and nobody has it open: one whole file.
    pub at_rest: bool,
}

impl Look {
    /// Opens the store of a state directory; `None`: there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn at(dir: &Path) -> Result<Option<Self>, BackendError> {
        let path = dir.join(FILE);
        if std::fs::metadata(&path).map_or(true, |file| file.len() == 0) {
            return Ok(None);
        }
        super::side_files::check(&path)?;
        // Without a log of changes there is nobody whose changes could be missed, and the files
        // that SQLite keeps beside an open store are not made.
        let at_rest = !dir.join(format!("{FILE}-wal")).exists();
        let name = escaped(&path);
        let uri = format!("file:{name}?mode=ro{}", if at_rest { "&immutable=1" } else { "" });
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(uri, flags)
            .and_then(|connection| {
                connection.busy_timeout(Duration::from_secs(5))?;
                Ok(connection)
            })
            .map_err(|error| broken(&path, &error))?;
        // Made, and lost before anything was written to it.
        let version: i64 = connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(|error| broken(&path, &error))?;
        Ok((version > 0).then_some(Self { connection, path, at_rest }))
    }

    /// What is open in it, and every resource.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn opened(&self) -> Result<Opened, BackendError> {
        reader::open(&self.connection).map_err(|error| broken(&self.path, &error))
    }

    /// One operation.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn operation(&self, uid: Uid) -> Result<Option<Operation>, BackendError> {
        reader::operation(&self.connection, uid).map_err(|error| broken(&self.path, &error))
    }

    /// Whether there was an operation of that number, and it was pruned.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_pruned(&self, uid: Uid) -> Result<bool, BackendError> {
        super::is_pruned(&self.connection, uid).map_err(|error| broken(&self.path, &error))
    }

    /// The newest operation, where there is any.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn newest(&self) -> Result<Option<Operation>, BackendError> {
        reader::newest(&self.connection).map_err(|error| broken(&self.path, &error))
    }

    /// What SQLite finds wrong with the whole file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn damage(&self) -> Result<Vec<String>, BackendError> {
        self.check("PRAGMA integrity_check(20)")
    }

    /// The same in a fraction of the time: whether indexes agree with their tables is left out.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn plain_damage(&self) -> Result<Vec<String>, BackendError> {
        self.check("PRAGMA quick_check(1)")
    }

    fn check(&self, pragma: &str) -> Result<Vec<String>, BackendError> {
        let ask = || {
            let mut statement = self.connection.prepare(pragma)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let mut found = ask().map_err(|error| broken(&self.path, &error))?;
        found.retain(|line| line != "ok");
        Ok(found)
    }
}

/// A path as a URI has it.
fn escaped(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text
}
