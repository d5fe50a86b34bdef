//! What a database knows of what happened, for the descriptions beside the files: between the
//! store, which knows tables, and the state directory, which knows files.

use std::io;

use super::description::History;
use super::mark::Mark;
use crate::backend::engine::store::{Look, Store, is_pruned, reader};
use crate::domain::{BackendError, Operation};

impl History for Store {
    fn knows(&self, mark: Mark) -> io::Result<bool> {
        let pruned = || self.ask(|store| is_pruned(store, mark.operation));
        is(mark, self.ask(|store| reader::operation(store, mark.operation)), pruned)
    }

    fn newest(&self) -> io::Result<Option<Mark>> {
        marked(self.ask(reader::newest))
    }
}

impl History for Look {
    fn knows(&self, mark: Mark) -> io::Result<bool> {
        is(mark, self.operation(mark.operation), || self.is_pruned(mark.operation))
    }

    fn newest(&self) -> io::Result<Option<Mark>> {
        marked(Self::newest(self))
    }
}

/// Whether what was found under a number is the operation that is meant. Of one that was pruned
/// only its number is known, which came once in this database.
fn is(
    mark: Mark,
    found: Result<Option<Operation>, BackendError>,
    pruned: impl FnOnce() -> Result<bool, BackendError>,
) -> io::Result<bool> {
    match marked(found)? {
        Some(found) => Ok(found == mark),
        None => pruned().map_err(io::Error::other),
    }
}

fn marked(found: Result<Option<Operation>, BackendError>) -> io::Result<Option<Mark>> {
    Ok(found.map_err(io::Error::other)?.as_ref().map(Mark::from))
}
