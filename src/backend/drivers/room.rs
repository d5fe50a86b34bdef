//! The room that is left on a filesystem for everything else: for the database, above all, without
//! which nothing could even be cancelled.

use std::io;
use std::path::Path;

use crate::domain::display;

/// How much of a filesystem big files never take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadRoom {
    /// So many bytes,
    pub most: u64,
    /// or one part in so many of a small filesystem, whichever is less.
    pub part: u64,
}

impl Default for HeadRoom {
    fn default() -> Self {
        Self { most: 1 << 30, part: 20 }
    }
}

impl HeadRoom {
    /// Looks whether so many more bytes leave enough on the filesystem of a folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] with a sentence when they do not.
    pub fn check(&self, dir: &Path, more: u64) -> io::Result<()> {
        let found = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let (free, kept) = (bytes(found.f_bavail), self.kept(bytes(found.f_blocks)));
        if free.saturating_sub(kept) >= more.max(1) {
            return Ok(());
        }
        let needed = match more {
            0 => String::new(),
            // How much is lacking too, because what is needed and what there is may read alike.
            more => format!(
                "{} more are needed, {} too much: ",
                display::bytes(more),
                display::bytes(more - free.saturating_sub(kept))
            ),
        };
        let (free, kept, dir) = (display::bytes(free), display::bytes(kept), dir.display());
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "{needed}{free} are free on the filesystem of {dir}, and {kept} of that stay free \
                 for everything else"
            ),
        ))
    }

    /// What stays free on a filesystem of this size.
    fn kept(&self, size: u64) -> u64 {
        self.most.min(size / self.part.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gibibyte_stays_free_and_less_on_a_small_filesystem() {
        let reserve = HeadRoom::default();
        assert_eq!(reserve.kept(1 << 40), 1 << 30);
        assert_eq!(reserve.kept(1 << 30), (1 << 30) / 20);
    }

    #[test]
    fn what_does_not_fit_is_said_in_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        HeadRoom { most: 0, part: 1 }.check(dir.path(), 1 << 20).unwrap();
        let error = HeadRoom { most: 0, part: 1 }.check(dir.path(), 1 << 62).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.to_string().starts_with("4194304 TiB more are needed, "), "{error}");
        HeadRoom { most: u64::MAX, part: 1 }.check(dir.path(), 0).unwrap_err();
    }
}
