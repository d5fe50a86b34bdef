//! Which numbers of operations are in use, so that a window onto a million costs what it shows.
//!
//! ```text
//!  1 ··· 7 ······ 23 ······ │ 4101 4102 4103 ··· 4107 ……… 1004100
//!        └ kept ┘  pruned ──┘ first          gap          last
//! ```
//!
//! What is pruned are the oldest, but for the few that had to stay. Of the others hardly any is
//! missing: a request that could not be written leaves a gap where others were written after it.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use crate::domain::Uid;

/// The counter that says up to which number operations were pruned.
pub(super) const PRUNED: &str = "pruned";

/// The numbers in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Up to which number operations were pruned.
    pub(super) pruned: u64,
    /// How many of those had to stay.
    pub(super) kept: u64,
    /// The first of the others, and the last; an empty range where there are none.
    first: u64,
    last: u64,
    /// The numbers between these two that no operation has, in their order.
    gaps: Vec<Gap>,
}

/// Numbers in a row that no operation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    first: u64,
    last: u64,
}

impl Gap {
    const fn len(self) -> u64 {
        self.last + 1 - self.first
    }
}

impl Numbers {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let pruned = pruned(connection)?;
        let mut numbers = connection
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
                    gaps: Vec::new(),
                })
            })?;
        numbers.gaps = connection
            .prepare_cached("SELECT first, last FROM gap WHERE first > ?1 ORDER BY first")?
            .query_map([numbers.first], |row| Ok(Gap { first: row.get(0)?, last: row.get(1)? }))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(numbers)
    }

    /// How many there are that were not pruned.
    fn newer(&self) -> u64 {
        self.last + 1 - self.first - self.gaps.iter().map(|gap| gap.len()).sum::<u64>()
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.kept + self.newer()
    }

    /// How many stand before one in the order of numbers, or of numbers from the highest.
    pub(super) fn before(
        &self,
        connection: &Connection,
        uid: u64,
        descending: bool,
    ) -> rusqlite::Result<u64> {
        let below = if uid > self.last {
            self.count()
        } else if uid >= self.first {
            let gaps = self.gaps.iter().take_while(|gap| gap.first < uid);
            let missing: u64 = gaps.map(|gap| gap.last.min(uid - 1) + 1 - gap.first).sum();
            self.kept + uid - self.first - missing
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
        &self,
        offset: u64,
        limit: u32,
        descending: bool,
    ) -> (&'static str, [Value; 3]) {
        let newer = self.newer();
        let (from, skipped) = match descending {
            true if offset < newer => {
                let at = |at: u64, gap: &Gap| if gap.last >= at { at - gap.len() } else { at };
                (self.gaps.iter().rev().fold(self.last - offset, at), 0)
            }
            true => (self.pruned, offset - newer),
            false if offset >= self.kept => {
                let at = |at: u64, gap: &Gap| if gap.first <= at { at + gap.len() } else { at };
                let dense = self.first.saturating_add(offset - self.kept);
                (self.gaps.iter().fold(dense, at), 0)
            }
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
