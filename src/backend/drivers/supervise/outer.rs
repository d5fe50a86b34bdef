//! The folder a tool works in outside the job's own: beside an output, where others may write too.
//!
//! Whoever may write to the folder around it may rename it, and put anything in its place. So it is
//! known by its inode, which is noted in the job's folder, and reached through that alone: the tool
//! works *in* it, and is never told a path that leads there.
//!
//! The note is copied with the job's folder, and what it tells of is not: it is the original's. So
//! the note says as well which job's folder it was made for, by its inode.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tree::Leader;
use super::{APART, GOING, Supervised, atomic_file};
use crate::backend::state_files::beneath::Folder;
use crate::domain::Failure;
use crate::file::{self, gone};
use crate::open_files::{Identity, identity};

/// Where it is noted which folder it is.
const NOTE: &str = "outer.json";

/// Which folder it is, and whose.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    outer: Outer,
    /// The job's folder, by device and inode. Versions up to 0.1 did not note it: what they noted
    /// is taken for the job's own, as they took it themselves, or no work of theirs could be
    /// brought to its end.
    job: Option<Identity>,
}

/// Which folder it is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outer {
    dev: u64,
    inode: u64,
}

impl From<&Metadata> for Outer {
    fn from(found: &Metadata) -> Self {
        Self { dev: found.dev(), inode: found.ino() }
    }
}

impl Outer {
    /// Makes the folder, for its owner alone, and notes in the job's folder which it is.
    ///
    /// # Errors
    /// When something has its name, or took its place at once; or whatever the filesystem says.
    pub(super) fn make(job: &Path, outer: &Path) -> io::Result<Folder> {
        DirBuilder::new().mode(0o700).create(outer)?;
        let folder = open(outer)?;
        let found = folder.metadata()?;
        if !is_fresh(&folder, &found)? {
            return Err(io::Error::other(
                "somebody put another folder in its place; choose a folder for the output that \
                 only you may write to",
            ));
        }
        let note = Note { outer: Self::from(&found), job: identity(job) };
        atomic_file::write(&job.join(NOTE), &serde_json::to_vec(&note)?)?;
        Ok(folder)
    }

    /// The folder that was made for a job, if it is where it was made.
    pub(super) fn held(job: &Path, outer: &Path) -> Option<Folder> {
        let noted = Self::noted(job)?;
        open(outer).ok().filter(|folder| noted.is(folder))
    }

    /// The folder that was made for a job, wherever it is by now, if a process works in it.
    pub(super) fn of_process(job: &Path, pid: u32) -> Option<Folder> {
        let noted = Self::noted(job)?;
        Folder::at(Path::new(&format!("/proc/{pid}/cwd"))).ok().filter(|folder| noted.is(folder))
    }

    /// The folder that was made for a job; none where the note is a copy of another job's.
    fn noted(job: &Path) -> Option<Self> {
        let note: Note = serde_json::from_str(&file::read_text(job.join(NOTE)).ok()?).ok()?;
        note.job.is_none_or(|noted| identity(job) == Some(noted)).then_some(note.outer)
    }

    fn is(&self, folder: &Folder) -> bool {
        folder.metadata().is_ok_and(|found| Self::from(&found) == *self)
    }

    /// Removes the folder that was made for a job with what is in it: `found` where it was found
    /// by other means than its path. Whatever else has its name stays, but for a fresh one: the
    /// supervisor may have died before it noted which it is.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(super) fn remove(job: &Path, outer: &Path, found: Option<Folder>) -> io::Result<()> {
        if let Some(folder) = Self::held(job, outer).or(found) {
            for name in folder.names()? {
                folder.remove_file(name)?;
            }
            return Self::from(&folder.metadata()?).unlink(&folder);
        }
        if open(outer)
            .is_ok_and(|it| it.metadata().is_ok_and(|found| is_fresh(&it, &found).unwrap_or(false)))
        {
            return gone(std::fs::remove_dir(outer));
        }
        Ok(())
    }

    /// Removes an empty folder from the one around it, wherever that is and whatever it is called
    /// by now.
    fn unlink(&self, folder: &Folder) -> io::Result<()> {
        let around = Folder::at(&folder.held().join(".."))?;
        let held = around.held();
        let places = around.names()?.into_iter().map(|name| held.join(name));
        let is_it = |place: &PathBuf| {
            std::fs::symlink_metadata(place).is_ok_and(|found| Self::from(&found) == *self)
        };
        places.into_iter().find(is_it).map_or(Ok(()), |place| gone(std::fs::remove_dir(place)))
    }
}

impl Supervised {
    /// The folder outside the job's own, held open, if it is where it was made.
    #[must_use]
    pub fn outer_folder(&self) -> Option<Folder> {
        Outer::held(&self.dir, &self.command()?.outer_dir?)
    }

    /// The same, wherever it is by now, as long as the tool or its supervisor works in it.
    #[must_use]
    pub fn outer_at_work(&self) -> Option<Folder> {
        self.processes().into_iter().find_map(|pid| Outer::of_process(&self.dir, pid))
    }

    /// Removes the folder outside the job's own, also where it was moved to if it is `found`, and
    /// nothing else that has come to have its name.
    ///
    /// # Errors
    /// When the filesystem does not let it be removed.
    pub fn remove_outer_dir(&self, found: Option<Folder>) -> Result<(), Failure> {
        let Some(outer) = self.command().and_then(|command| command.outer_dir) else {
            return Ok(());
        };
        let removed = Outer::remove(&self.dir, &outer, found);
        removed.map_err(|error| Failure::io(format!("remove {}", outer.display()), &error))
    }

    /// The same, by whoever holds the folder's lock; unless somebody is at work in another job's
    /// folder that this is a copy of, who has the same one outside: a note of an older version does
    /// not say whose it is.
    pub(super) async fn clear_outer_dir(&self, found: Option<Folder>) -> Result<(), Failure> {
        let Some(leader) = Leader::read(&self.dir.join("pid")) else {
            return self.remove_outer_dir(found);
        };
        for _ in 0..GOING {
            if !leader.lives() && leader.members().is_empty() {
                return self.remove_outer_dir(found);
            }
            // Whoever has just let go of the lock may still be on its way out.
            tokio::time::sleep(APART).await;
        }
        Ok(())
    }
}

/// Opens the folder itself, and nothing that a link in its place leads to.
fn open(outer: &Path) -> io::Result<Folder> {
    match (outer.parent(), outer.file_name()) {
        (Some(around), Some(name)) => Folder::at(around)?.folder(name),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Whether a folder is as it was made: empty, ours, and closed to others.
fn is_fresh(folder: &Folder, found: &Metadata) -> io::Result<bool> {
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    Ok(ours && found.permissions().mode() & 0o777 == 0o700 && folder.names()?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_the_jobs_wherever_that_is_moved_and_never_a_copys() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("job")).unwrap();
        std::fs::create_dir(at("copy")).unwrap();
        Outer::make(&at("job"), &at("outer")).unwrap();
        std::fs::write(at("outer/film.mp4"), "whole").unwrap();
        std::fs::copy(at("job").join(NOTE), at("copy").join(NOTE)).unwrap();
        assert!(Outer::held(&at("copy"), &at("outer")).is_none());
        Outer::remove(&at("copy"), &at("outer"), None).unwrap();
        assert!(at("outer/film.mp4").exists());
        std::fs::rename(at("job"), at("moved")).unwrap();
        assert!(Outer::held(&at("moved"), &at("outer")).is_some());
        Outer::remove(&at("moved"), &at("outer"), None).unwrap();
        assert!(!at("outer").exists());
    }

    #[test]
    fn a_note_of_before_jobs_were_noted_is_the_jobs_own() {
        let dir = tempfile::tempdir().unwrap();
        let (job, outer) = (dir.path().join("job"), dir.path().join("outer"));
        std::fs::create_dir(&job).unwrap();
        let made = Outer::make(&job, &outer).unwrap();
        let Outer { dev, inode } = Outer::from(&made.metadata().unwrap());
        let old = format!(r#"{{"dev":{dev},"inode":{inode}}}"#);
        std::fs::write(job.join(NOTE), old).unwrap();
        assert!(Outer::held(&job, &outer).is_some());
    }

    #[test]
    fn a_folder_that_was_renamed_is_removed_under_its_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let (job, outer) = (dir.path().join("job"), dir.path().join("films/.partial"));
        std::fs::create_dir_all(outer.parent().unwrap()).unwrap();
        std::fs::create_dir(&job).unwrap();
        let made = Outer::make(&job, &outer).unwrap();
        std::fs::write(outer.join("film.mp4"), "half").unwrap();
        std::fs::rename(&outer, outer.with_file_name("renamed")).unwrap();
        std::fs::create_dir(&outer).unwrap();
        std::fs::write(outer.join("letter"), "dear all").unwrap();
        Outer::remove(&job, &outer, Some(made)).unwrap();
        assert!(!outer.with_file_name("renamed").exists());
        assert!(outer.join("letter").exists(), "what has its name now is a stranger's");
    }
}
