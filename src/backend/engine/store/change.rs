//! The statements that make changes to the store.

use rusqlite::{CachedStatement, Connection, params};

use crate::backend::engine::storage::{Change, StepChange};
use crate::domain::{LaneState, Uid};

use super::fault::Faults;
use super::numbers::PRUNED;
use super::row::{CALLED_OFF, PAST_PIVOT, state_code, step_code, time};

/// Whether an error spoils the whole transaction: a full disk, a failing one.
fn is_fatal(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::ConstraintViolation | rusqlite::ErrorCode::TypeMismatch)
    )
}

/// The statements, prepared once and kept by the connection.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    faults: &'c Faults,
    savepoint: CachedStatement<'c>,
    release: CachedStatement<'c>,
    rollback: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    stand: CachedStatement<'c>,
    /// The highest number of an operation, unless it is to be looked up.
    last: Option<u64>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(
        connection: &'c Connection,
        faults: &'c Faults,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            faults,
            savepoint: connection.prepare_cached("SAVEPOINT request")?,
            release: connection.prepare_cached("RELEASE request")?,
            rollback: connection.prepare_cached("ROLLBACK TO request")?,
            insert: connection.prepare_cached(
                "INSERT INTO operation (uid, kind, state, params, resource, resource_name, actor, \
                 priority, attempt, cancelling, comment, created, updated, parent, \
                 key, request) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, ?9, ?10, ?11, ?12, ?13, ?14)",
            )?,
            stand: connection.prepare_cached(
                "UPDATE operation SET state = ?2, comment = ?3, started = ?4, finished = ?5, \
                 outcome = ?6, updated = ?7, \
                 cancelling = iif(?2 = 1 OR (?2 = 3 AND cancelling = 2), cancelling, 0) \
                 WHERE uid = ?1",
            )?,
            last: None,
        })
    }

    /// Writes changes that belong together: all of them, or none when one is refused. The outer
    /// error is one that spoils the whole transaction.
    pub(super) fn request(&mut self, changes: &[Change]) -> rusqlite::Result<rusqlite::Result<()>> {
        // A single statement is atomic by itself; only several need a savepoint.
        let several = changes.len() > 1;
        if several {
            self.savepoint.execute([])?;
        }
        let written = changes.iter().try_for_each(|change| {
            self.faults.point("before a statement")?;
            self.apply(change)?;
            self.faults.point("after a statement")
        });
        if written.is_err() {
            self.last = None;
        }
        match written {
            Err(error) if is_fatal(&error) => return Err(error),
            Err(_) if several => {
                self.rollback.execute([])?;
                self.release.execute([])?;
            }
            Ok(()) if several => {
                self.release.execute([])?;
            }
            _ => {}
        }
        Ok(written)
    }

    fn apply(&mut self, change: &Change) -> rusqlite::Result<()> {
        let other = |sql| self.connection.prepare_cached(sql);
        match change {
            Change::Insert { operation, params, keyed } => {
                self.mark_gap(operation.uid)?;
                self.insert.execute(params![
                    operation.uid.0,
                    operation.kind,
                    state_code(operation.state),
                    json(&**params)?,
                    operation.resource.map(|resource| resource.to_string()),
                    operation.resource_name,
                    operation.actor,
                    operation.priority,
                    operation.comment,
                    time(operation.created),
                    time(operation.updated),
                    operation.parent.map(|parent| parent.0),
                    keyed.as_ref().map(|keyed| &keyed.key),
                    keyed.as_ref().map(|keyed| json(&keyed.request)).transpose()?,
                ])?
            }
            Change::SetState { uid, state, comment, started, finished, outcome, updated } => {
                self.stand.execute(params![
                    uid.0,
                    state_code(*state),
                    comment,
                    started.map(time),
                    finished.map(time),
                    outcome.as_ref().map(json).transpose()?,
                    time(*updated),
                ])?
            }
            // Where its end was sent before, there is nothing to cancel any more.
            Change::Cancelling { uid, updated } => other(
                "UPDATE operation SET cancelling = ?3, updated = ?2 \
                 WHERE uid = ?1 AND state IN (0, 1)",
            )?
            .execute(params![uid.0, time(*updated), CALLED_OFF])?,
            Change::Pivot { uid, updated } => {
                other("UPDATE operation SET cancelling = ?3, updated = ?2 WHERE uid = ?1")?
                    .execute(params![uid.0, time(*updated), PAST_PIVOT])?
            }
            Change::Priority { uid, priority, updated } => {
                other("UPDATE operation SET priority = ?2, updated = ?3 WHERE uid = ?1")?
                    .execute(params![uid.0, priority, time(*updated)])?
            }
            Change::Relaunch { operation, params } => other(
                "UPDATE operation SET state = 0, attempt = ?2, params = ?3, resource = ?4, \
                 resource_name = ?5, cancelling = iif(cancelling = 2, 2, 0), comment = NULL, \
                 started = NULL, finished = NULL, updated = ?6 WHERE uid = ?1",
            )?
            .execute(params![
                operation.uid.0,
                operation.attempt,
                json(&**params)?,
                operation.resource.map(|resource| resource.to_string()),
                operation.resource_name,
                time(operation.updated),
            ])?,
            Change::Prune { uids, up_to } => return self.prune(uids, *up_to),
            Change::Step(change) => {
                let StepChange { uid, step, result } = &**change;
                other(
                    "INSERT OR REPLACE INTO step VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )?
                .execute(params![
                    uid.0,
                    step.attempt,
                    step.number,
                    step.name,
                    step_code(step.state),
                    result.as_deref(),
                    step.error,
                    json(&step.commands)?,
                    time(step.started),
                    step.finished.map(time),
                ])?
            }
            Change::Put(resource) => {
                let id = resource.id();
                other("INSERT OR REPLACE INTO resource VALUES (?1, ?2, ?3)")?.execute(params![
                    id.kind.word(),
                    id.id,
                    json(&**resource)?
                ])?
            }
            Change::Remove(id) => other("DELETE FROM resource WHERE kind = ?1 AND id = ?2")?
                .execute(params![id.kind.word(), id.id])?,
            Change::Count(name, value) => other("INSERT OR REPLACE INTO counter VALUES (?1, ?2)")?
                .execute(params![name, value])?,
            Change::Lane { name, width, state } => {
                let state: i64 = match state {
                    LaneState::Open => 0,
                    LaneState::Paused => 1,
                    LaneState::Draining => 2,
                };
                other("INSERT OR REPLACE INTO lane VALUES (?1, ?2, ?3)")?
                    .execute(params![name, width, state])?
            }
        };
        Ok(())
    }

    /// Notes which numbers are missing between the operation that comes and the last there is:
    /// requests that could not be written had them.
    fn mark_gap(&mut self, uid: Uid) -> rusqlite::Result<()> {
        let last = match self.last {
            Some(last) => Some(last),
            None => self
                .connection
                .prepare_cached("SELECT max(uid) FROM operation")?
                .query_row([], |row| row.get(0))?,
        };
        if let Some(last) = last
            && last + 1 < uid.0
        {
            self.connection
                .prepare_cached("INSERT INTO gap VALUES (?1, ?2)")?
                .execute([last + 1, uid.0 - 1])?;
        }
        self.last = last.max(Some(uid.0));
        Ok(())
    }

    /// Removes operations with their steps. What has not ended is kept, whoever says what.
    fn prune(&self, uids: &[Uid], up_to: Uid) -> rusqlite::Result<()> {
        let statement = |sql| self.connection.prepare_cached(sql);
        let mut steps = statement("DELETE FROM step WHERE uid = ?1")?;
        let mut operation = statement("DELETE FROM operation WHERE uid = ?1 AND state IN (2, 4)")?;
        for uid in uids {
            if operation.execute([uid.0])? > 0 {
                steps.execute([uid.0])?;
            }
        }
        statement("DELETE FROM gap WHERE first <= ?1")?.execute([up_to.0])?;
        statement("INSERT OR REPLACE INTO counter VALUES (?1, ?2)")?
            .execute(params![PRUNED, up_to.0])?;
        Ok(())
    }
}

/// A document as JSON text.
fn json(document: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(document)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
