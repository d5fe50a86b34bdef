//! Which numbers of operations are in use, so that a window onto a million costs what it shows.
//!
//! ```text
//!  1 ··· 7 ······ 23 ······ │ 4101 4102 4103 4104 ……… 1004100
//!        └ kept ┘  pruned ──┘ first     without gaps     last
//! ```
//!
//! Numbers rise without gaps. What is pruned are the oldest, but for the few that had to stay.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use crate::domain::Uid;

/// The counter that says up to which number operations were pruned.
pub(super) const PRUNED: &str = "pruned";

/// The numbers in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Up to which number operations were pruned.
    pub(super) pruned: u64,
    /// How many of those had to stay.
    pub(super) kept: u64,
    /// The first of those without gaps, and the last; an empty range where there are none.
    first: u64,
    last: u64,
}

impl Numbers {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let pruned = pruned(connection)?;
        connection
            .prepare_cached(
                "SELECT (SELECT count(*) FROM operation WHERE uid <= ?1), \
                 (SELECT min(uid) FROM operation WHERE uid > ?1), \
                 (SELECT max(uid) FROM operation WHERE uid > ?1)",
            )?
            .query_row([pruned], |row| {
                Ok(Self {
                    pruned,
                    kept: row.get(0)?,
                    first: row.get::<_, Option<u64>>(1)?.unwrap_or(pruned + 1),
                    last: row.get::<_, Option<u64>>(2)?.unwrap_or(pruned),
                })
            })
    }

    /// How many there are without gaps.
    const fn dense(self) -> u64 {
        self.last + 1 - self.first
    }

    /// How many there are.
    pub(super) const fn count(self) -> u64 {
        self.kept + self.dense()
    }

    /// How many stand before one in the order of numbers, or of numbers from the highest.
    pub(super) fn before(
        self,
        connection: &Connection,
        uid: u64,
        descending: bool,
    ) -> rusqlite::Result<u64> {
        let below = if uid >= self.first {
            self.kept + (uid - self.first).min(self.dense())
        } else {
            connection.query_row("SELECT count(*) FROM operation WHERE uid < ?1", [uid], |row| {
                row.get(0)
            })?
        };
        let there = self.count();
        Ok(if descending { there.saturating_sub(below + 1) } else { below })
    }

    /// The condition, order and bounds of a window: `?1` is where it begins, `?2` how much it skips
    /// from there, `?3` how long it is. Next to nothing is skipped, wherever it begins.
    pub(super) fn window(
        self,
        offset: u64,
        limit: u32,
        descending: bool,
    ) -> (&'static str, [Value; 3]) {
        let (from, skipped) = match descending {
            true if offset < self.dense() => (self.last - offset, 0),
            true => (self.pruned, offset - self.dense()),
            false if offset >= self.kept => (self.first.saturating_add(offset - self.kept), 0),
            false => (0, offset),
        };
        let clause = match descending {
            true => "WHERE uid <= ?1 ORDER BY uid DESC LIMIT ?3 OFFSET ?2",
            false => "WHERE uid >= ?1 ORDER BY uid ASC LIMIT ?3 OFFSET ?2",
        };
        let integer = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        (clause, [integer(from), integer(skipped), integer(limit.into())])
    }
}

/// A counter, where anything was counted.
pub fn counter(connection: &Connection, name: &str) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT value FROM counter WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Up to which number operations were pruned.
pub(super) fn pruned(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(counter(connection, PRUNED)?.unwrap_or(0))
}

/// Whether there was an operation of that number, and it was pruned.
pub fn is_pruned(connection: &Connection, uid: Uid) -> rusqlite::Result<bool> {
    Ok(uid.0 <= pruned(connection)?)
}
