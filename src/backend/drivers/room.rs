//! The room that is left on a filesystem for everything else: for the database, above all, without
//! which nothing could even be cancelled.

use std::io;
use std::path::Path;

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
        let needed =
            if more > 0 { format!("{} MiB more are needed, ", mib(more)) } else { "".into() };
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!(
                "{needed}{} MiB are free on the filesystem of {}, and {} MiB of them stay free for \
                 everything else",
                free >> 20,
                dir.display(),
                mib(kept),
            ),
        ))
    }

    /// What stays free on a filesystem of this size.
    fn kept(&self, size: u64) -> u64 {
        self.most.min(size / self.part.max(1))
    }
}

/// Bytes in MiB, rounded up.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
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
        assert!(error.to_string().starts_with("4398046511104 MiB more are needed, "), "{error}");
        HeadRoom { most: u64::MAX, part: 1 }.check(dir.path(), 0).unwrap_err();
    }
}
