//! How operations and steps lie in their tables.

use jiff::Timestamp;
use std::sync::Arc;

use rusqlite::Row;

use crate::backend::engine::storage::{RecordedStep, StepResult};
use crate::domain::{Command, Operation, Params, ResourceId, State, Step, StepState, Uid};

/// The columns [`operation`] reads, in its order.
pub const OPERATION: &str = "uid, kind, state, params, resource, resource_name, actor, priority, \
                             attempt, cancelling, comment, created, started, finished, updated, \
                             parent, outcome";

/// The columns [`step`] reads, in its order.
pub const STEP: &str = "attempt, number, name, state, error, commands, started, finished, result";

/// What stands in `cancelling` of an operation that is called off.
pub const CALLED_OFF: i64 = 1;

/// What stands in `cancelling` of an operation that cannot be called off any more.
pub const PAST_PIVOT: i64 = 2;

/// The number a state is stored as.
pub const fn state_code(state: State) -> i64 {
    match state {
        State::Pending => 0,
        State::Run => 1,
        State::Done => 2,
        State::Error => 3,
        State::Cancel => 4,
    }
}

/// The number a step's state is stored as.
pub const fn step_code(state: StepState) -> i64 {
    match state {
        StepState::Running => 0,
        StepState::Done => 1,
        StepState::Failed => 2,
        StepState::Undone => 3,
        StepState::UndoFailed => 4,
        StepState::Refused => 5,
    }
}

/// A moment as it is stored.
pub fn time(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// A stored moment.
fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(row.get(column)?).map_err(|error| damaged(column, error))
}

/// A stored moment that may be missing.
fn moment_if(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?
        .map(|at| Timestamp::from_millisecond(at).map_err(|error| damaged(column, error)))
        .transpose()
}

/// An error for a column that holds what was never written there.
fn damaged(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

/// Reads an operation from a row of [`OPERATION`].
pub fn operation(row: &Row<'_>) -> rusqlite::Result<Operation> {
    let state = match row.get::<_, i64>(2)? {
        0 => State::Pending,
        1 => State::Run,
        2 => State::Done,
        3 => State::Error,
        4 => State::Cancel,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(2, other)),
    };
    let resource: Option<String> = row.get(4)?;
    Ok(Operation {
        uid: Uid(row.get(0)?),
        kind: row.get(1)?,
        state,
        params: serde_json::from_str::<Params>(row.get_ref(3)?.as_str()?)
            .map_err(|error| damaged(3, error))?
            .into(),
        resource: resource.and_then(|resource| resource.parse::<ResourceId>().ok()),
        resource_name: row.get(5)?,
        actor: row.get(6)?,
        priority: row.get(7)?,
        attempt: row.get(8)?,
        cancelling: row.get::<_, i64>(9)? == CALLED_OFF,
        comment: row.get(10)?,
        created: moment(row, 11)?,
        started: moment_if(row, 12)?,
        finished: moment_if(row, 13)?,
        updated: moment(row, 14)?,
        parent: row.get::<_, Option<u64>>(15)?.map(Uid),
        outcome: row
            .get_ref(16)?
            .as_str_or_null()?
            .map(|text| serde_json::from_str(text).map_err(|error| damaged(16, error)))
            .transpose()?,
        past_pivot: row.get::<_, i64>(9)? == PAST_PIVOT,
        progress: None,
        wait: None,
    })
}

/// Reads what came with an idempotency key from a row of [`OPERATION`] and the request after it.
pub fn request(row: &Row<'_>) -> rusqlite::Result<Params> {
    serde_json::from_str(row.get_ref(17)?.as_str()?).map_err(|error| damaged(17, error))
}

/// Reads an operation, or what can be read of one whose row is damaged: one such row does not hide
/// all others.
pub fn operation_or_what_is_left(row: &Row<'_>) -> rusqlite::Result<Operation> {
    operation(row).or_else(|error| {
        if matches!(error, rusqlite::Error::SqliteFailure(..)) {
            return Err(error);
        }
        Ok(Operation {
            uid: Uid(row.get(0)?),
            kind: row.get(1)?,
            state: State::Error,
            params: Arc::default(),
            resource: row.get::<_, Option<String>>(4)?.and_then(|it| it.parse().ok()),
            resource_name: row.get(5)?,
            actor: row.get(6)?,
            priority: 0,
            attempt: 0,
            cancelling: false,
            past_pivot: false,
            comment: Some(format!("its row in the store is damaged: {error}; see hostler doctor")),
            created: moment(row, 11).unwrap_or_default(),
            updated: moment(row, 14).unwrap_or_default(),
            started: None,
            finished: None,
            parent: None,
            outcome: None,
            progress: None,
            wait: None,
        })
    })
}

/// Reads a step and its result from a row of [`STEP`].
pub fn step(row: &Row<'_>) -> rusqlite::Result<RecordedStep> {
    let state = match row.get::<_, i64>(3)? {
        0 => StepState::Running,
        1 => StepState::Done,
        2 => StepState::Failed,
        3 => StepState::Undone,
        4 => StepState::UndoFailed,
        5 => StepState::Refused,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(3, other)),
    };
    let step = Step {
        attempt: row.get(0)?,
        number: row.get(1)?,
        name: row.get(2)?,
        state,
        error: row.get(4)?,
        commands: serde_json::from_str::<Vec<Command>>(row.get_ref(5)?.as_str()?)
            .map_err(|error| damaged(5, error))?,
        started: moment(row, 6)?,
        finished: moment_if(row, 7)?,
    };
    Ok((step, row.get_ref(8)?.as_str_or_null()?.map(StepResult::from)))
}
