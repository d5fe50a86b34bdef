//! Notices a tool that gets no further: one that waits for a disk or a server that has gone away
//! would otherwise be waited for for ever.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Supervised;

/// How long nothing may change. Moving the index of a film of 100 GB to its beginning, or unpacking
/// a distribution on a slow disk, tells nothing for many minutes, but writes.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Watches the files a tool writes.
#[derive(Debug)]
pub struct Stall {
    files: Vec<PathBuf>,
    seen: Vec<Option<(u64, SystemTime)>>,
    since: Instant,
}

impl Stall {
    /// A watch over files, of which some may not be there yet.
    #[must_use]
    pub fn watch(files: Vec<PathBuf>) -> Self {
        Self { seen: look(&files), files, since: Instant::now() }
    }

    /// Whether none of the files has changed for an hour. The time in which somebody has halted the
    /// tool does not count.
    pub fn is_over(&mut self, tool: &Supervised) -> bool {
        let now = look(&self.files);
        if now != self.seen {
            (self.seen, self.since) = (now, Instant::now());
            return false;
        }
        if self.since.elapsed() < LIMIT {
            return false;
        }
        if tool.is_paused() {
            self.since = Instant::now();
            return false;
        }
        true
    }
}

fn look(files: &[PathBuf]) -> Vec<Option<(u64, SystemTime)>> {
    let mark = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.len(), found.modified().ok()?))
    };
    files.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_hour_without_a_change_is_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let (tool, file) = (Supervised::at(dir.path()), dir.path().join("written"));
        let mut stall = Stall::watch(vec![file.clone()]);
        tokio::time::advance(LIMIT / 2).await;
        assert!(!stall.is_over(&tool));
        std::fs::write(&file, "more").unwrap();
        assert!(!stall.is_over(&tool));
        tokio::time::advance(LIMIT - Duration::from_secs(1)).await;
        assert!(!stall.is_over(&tool));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(stall.is_over(&tool));
    }
}
