//! Marks: what is being made, and by which operation.
//!
//! A mark is written before the first file of a resource, beside its place, and goes when the
//! resource is whole. What lies at a place is an operation's own only where its mark says so:
//! numbers of operations and resources come again when an older database is restored, so a mark
//! names the moment the operation was asked for as well.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{Operation, ResourceId, ResourceKind, Uid};

use super::beneath::Folder;
use super::{FOLDERS, folder_of};

/// How the name of a mark ends, after the resource's number.
pub const ENDING: &str = ".making.json";

/// Which operation is making something, told apart from all others for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The operation's number.
    pub operation: Uid,
    /// When it was asked for, in milliseconds since 1970.
    pub created_ms: i64,
}

impl From<&Operation> for Mark {
    fn from(operation: &Operation) -> Self {
        Self::of(operation.uid, operation.created)
    }
}

impl Mark {
    /// The mark of the operation of that number, asked for at that moment.
    #[must_use]
    pub fn of(operation: Uid, created: Timestamp) -> Self {
        Self { operation, created_ms: created.as_millisecond() }
    }

    /// The mark at a resource's place.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(state_dir: &Path, id: ResourceId) -> io::Result<Option<Self>> {
        let path = path(state_dir, id)?;
        let (folder, name) = match Folder::of(state_dir, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        let found = folder.read(name)?;
        Ok(found.map(|json| serde_json::from_slice(&json)).transpose()?)
    }

    /// Writes it. It is on disk when this returns.
    ///
    /// # Errors
    /// When there is a link on the way, or whatever else the filesystem says.
    pub fn write(self, state_dir: &Path, id: ResourceId) -> io::Result<()> {
        Folder::make(state_dir, &state_dir.join(folder_of(id.kind)?))?
            .write(format!("{}{ENDING}", id.id), &serde_json::to_vec(&self)?)
    }

    /// Removes the mark at a resource's place, or finds none.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub fn remove(state_dir: &Path, id: ResourceId) -> io::Result<()> {
        let path = path(state_dir, id)?;
        match Folder::of(state_dir, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            found => {
                let (folder, name) = found?;
                folder.remove_file(name)
            }
        }
    }

    /// Every mark in the state directory; a damaged one is left out.
    #[must_use]
    pub fn all(state_dir: &Path) -> Vec<(ResourceId, Self)> {
        let mut marks = Vec::new();
        for (kind, name) in FOLDERS {
            let Ok(folder) = Folder::beneath(state_dir, &state_dir.join(name)) else { continue };
            for name in folder.names().unwrap_or_default() {
                let Some(id) = resource(*kind, &name.to_string_lossy()) else { continue };
                if let Ok(Some(mark)) = Self::read(state_dir, id) {
                    marks.push((id, mark));
                }
            }
        }
        marks
    }
}

/// Where the mark of a resource lies.
///
/// # Errors
/// When its kind has no files.
pub fn path(state_dir: &Path, id: ResourceId) -> io::Result<PathBuf> {
    Ok(state_dir.join(folder_of(id.kind)?).join(format!("{}{ENDING}", id.id)))
}

/// Of which resource a file in a kind's folder is the mark, by its name.
#[must_use]
pub fn resource(kind: ResourceKind, name: &str) -> Option<ResourceId> {
    Some(ResourceId::new(kind, name.strip_suffix(ENDING)?.parse().ok()?))
}
