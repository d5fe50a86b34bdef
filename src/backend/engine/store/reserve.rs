//! The reserve: room that is kept so that ends can be written when the disk is full.
//!
//! A full disk must not keep anybody from cancelling what fills it. So a file beside the store
//! holds some room, really allocated; it is given up when the disk is full, and made again when
//! there is room for it and more.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags};

/// The file in the state directory.
pub const FILE: &str = "hostler.reserve";

/// How much is kept: some hundred ends.
const SIZE: u64 = 4 << 20;

/// How much must be left beside it before it is made again, so that the next request is not the one
/// that needs it.
const MARGIN: u64 = 1 << 20;

/// How much must be free in MiB, once the disk was full, before anything new is accepted.
pub const FREE_MIB: u64 = (SIZE + MARGIN) >> 20;

/// The reserve of a store.
pub(super) struct Reserve {
    path: PathBuf,
    held: bool,
}

impl Reserve {
    /// The reserve beside a store; made if there is room for it.
    pub(super) fn beside(store: &Path) -> Self {
        let path = store.with_file_name(FILE);
        let held = match make(&path) {
            Ok(()) => true,
            Err(error) => {
                let path = path.display();
                tracing::warn!(%error, "{path} cannot be made: a full disk will stop the store");
                false
            }
        };
        Self { path, held }
    }

    /// Gives the room up for what must be written. Says whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        self.held && {
            self.held = false;
            std::fs::remove_file(&self.path).is_ok()
        }
    }

    /// Makes it again if there is room for it, and some beside it. Says whether there was.
    pub(super) fn refill(&mut self) -> bool {
        if self.held {
            return true;
        }
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let free = rustix::fs::statvfs(dir).map_or(0, |room| room.f_bavail * room.f_frsize);
        self.held = free >= SIZE + MARGIN && make(&self.path).is_ok();
        self.held
    }
}

/// Makes the file, or finds it made.
fn make(path: &Path) -> io::Result<()> {
    let made = (|| {
        let mut options = File::options();
        // Ours alone, like the store.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // Neither a link is followed nor a pipe waited for.
        let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
        let file = options.write(true).create(true).truncate(false).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        if file.metadata()?.blocks() * 512 >= SIZE {
            return Ok(());
        }
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SIZE) {
            // Not every filesystem can.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                io::copy(&mut io::Read::take(io::repeat(0), SIZE), &mut &file)?;
                file.sync_all()
            }
            done => Ok(done?),
        }
    })();
    if made.is_err() {
        // What there is of it takes room that somebody else needs.
        let _ = std::fs::remove_file(path);
    }
    made
}
