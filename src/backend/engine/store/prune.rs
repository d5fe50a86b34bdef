//! Which operations are to go: the oldest, and none that something still hangs on.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::numbers::Numbers;
use super::row::time;
use crate::domain::Uid;
use jiff::Timestamp;

/// How many operations are looked at for one transaction: few enough that nobody waits for them.
const LOOKED_AT: usize = 256;

/// What is kept of operations that have ended.
#[derive(Debug, Clone)]
pub struct Retention {
    /// How many operations are kept.
    pub keep: u64,
    /// Those that ended before this are not kept; `None`: however old.
    pub ended_before: Option<Timestamp>,
    /// Those that are kept all the same.
    pub spared: BTreeSet<Uid>,
}

/// What one transaction prunes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prunable {
    /// Which.
    pub uids: Vec<Uid>,
    /// Up to which number operations are pruned then, but for those that stay.
    pub up_to: Uid,
}

/// What is to be pruned next, the oldest first; `None`: nothing. Stays true until it is done: what
/// has ended stays so, and gets no children.
///
/// # Errors
/// When the store cannot be read.
pub fn next(connection: &Connection, retention: &Retention) -> rusqlite::Result<Option<Prunable>> {
    let numbers = Numbers::read(connection)?;
    let excess = numbers.count().saturating_sub(retention.keep);
    let before = retention.ended_before.map_or(i64::MIN, time);
    // Those that had to stay come first: they may go by now.
    for (from, to, mut up_to) in
        [(0, numbers.pruned, numbers.pruned), (numbers.pruned, u64::MAX >> 1, numbers.pruned)]
    {
        let mut uids = Vec::new();
        let mut rows = connection.prepare_cached(
            "SELECT uid, created, coalesce(finished, created), state IN (2, 4) \
             AND NOT EXISTS (SELECT 1 FROM operation child WHERE child.parent = operation.uid \
                             AND child.state NOT IN (2, 4)) \
             AND NOT EXISTS (SELECT 1 FROM operation up WHERE up.uid = operation.parent \
                             AND up.state NOT IN (2, 4)) \
             FROM operation WHERE uid > ?1 AND uid <= ?2 ORDER BY uid",
        )?;
        let mut rows = rows.query([from, to])?;
        while let Some(row) = rows.next()? {
            let uid = Uid(row.get(0)?);
            let (created, ended): (i64, i64) = (row.get(1)?, row.get(2)?);
            let too_many = (uids.len() as u64) < excess;
            // None after it has ended earlier than it began.
            if !too_many && created >= before {
                break;
            }
            if row.get(3)? && (too_many || ended < before) && !retention.spared.contains(&uid) {
                uids.push(uid);
            }
            up_to = up_to.max(uid.0);
            if uids.len() >= LOOKED_AT {
                break;
            }
        }
        if !uids.is_empty() {
            return Ok(Some(Prunable { uids, up_to: Uid(up_to) }));
        }
    }
    Ok(None)
}
