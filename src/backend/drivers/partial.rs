//! A file that appears whole or not at all.
//!
//! It is written in a hidden folder of its own beside its place, and renamed when it is whole. The
//! folder's name is new each time, so a tool that outlived an earlier run cannot write into it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::domain::Failure;

use super::whole;

/// A file that is being made. Dropping it without [`Partial::publish`] removes what there is.
#[derive(Debug)]
pub struct Partial {
    target: PathBuf,
    folder: PathBuf,
}

impl Partial {
    /// Begins to make `target`, and removes what earlier runs left of it.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn begin(target: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io(format!("make {}", target.display()), &error);
        let target = std::path::absolute(target).map_err(failed)?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Failure::new(format!("cannot make {}: it is no file", target.display())));
        };
        let mut begin = OsString::from(".");
        begin.push(name);
        begin.push(".partial-");
        fs::create_dir_all(parent).map_err(failed)?;
        for entry in fs::read_dir(parent).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let found = entry.file_name();
            if found.as_encoded_bytes().starts_with(begin.as_encoded_bytes()) {
                fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
        begin.push(Uuid::new_v4().simple().to_string());
        let folder = parent.join(begin);
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        Ok(Self { target, folder })
    }

    /// A file in the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Puts a whole file of the folder in its place, so that it is there after a power cut too.
    /// Blocks until the disk has it.
    ///
    /// # Errors
    /// When the disk is full or broken.
    pub fn publish(self, name: &str) -> Result<(), Failure> {
        whole::publish(&self.file(name), &self.target)
            .map_err(|error| Failure::io(format!("make {}", self.target.display()), &error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
