//! Readers: what start-up needs, and windows onto a million operations.

use std::ops::Bound;
use std::path::PathBuf;

use parking_lot::{Mutex, RwLock};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::backend::engine::storage::{Damaged, Opened, RecordedStep};
use crate::domain::filter::{cases, row_number};
use crate::domain::{
    BackendError, FilterTest, LaneState, List, Operation, Params, Quantity, Resource, ResourceId,
    State, Subject, Uid,
};

use super::numbers::{self, Numbers};
use super::row;

/// The most idle connections that are kept; two are enough for a screen and a script.
const KEPT: usize = 2;

/// Reads what is open. Costs what is open, not what there is.
pub(super) fn open(connection: &Connection) -> rusqlite::Result<Opened> {
    let mut opened = Opened::default();
    // By its index, which SQLite would not choose by itself, or not at all.
    let sql = format!(
        "SELECT {} FROM operation INDEXED BY operation_open WHERE state <> 2 AND state <> 4 \
         ORDER BY uid",
        row::OPERATION
    );
    let mut rows = connection.prepare(&sql)?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let named = || Ok((format!("operation #{}", number(row, 0)?), None));
        if let Some(operation) = opened.take(row::operation(row), named)? {
            opened.operations.push(operation);
        }
    }
    let mut rows = connection.prepare("SELECT kind, id, doc FROM resource ORDER BY kind, id")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let named = || {
            let named = format!("{}/{}", row.get::<_, String>(0)?, number(row, 1)?);
            let id = named.parse().ok();
            Ok((named, id))
        };
        if let Some(resource) = opened.take(resource(row), named)? {
            opened.resources.push(resource);
        }
    }
    let highest: u64 =
        connection
            .query_row("SELECT coalesce(max(uid), 0) FROM operation", [], |row| row.get(0))?;
    opened.last_uid = highest.max(numbers::pruned(connection)?);
    let mut rows = connection.prepare("SELECT name, value FROM counter")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let named = || Ok((format!("counter '{}'", row.get::<_, String>(0)?), None));
        if let Some(counter) = opened.take((|| Ok((row.get(0)?, row.get(1)?)))(), named)? {
            opened.counters.push(counter);
        }
    }
    let mut rows = connection.prepare("SELECT name, width, state FROM lane")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let named = || Ok((format!("lane '{}'", row.get::<_, String>(0)?), None));
        if let Some(lane) = opened.take(lane(row), named)? {
            opened.lanes.push(lane);
        }
    }
    Ok(opened)
}

impl Opened {
    /// What a row holds; one that holds what was never written there is put down as damaged.
    fn take<T>(
        &mut self,
        read: rusqlite::Result<T>,
        named: impl FnOnce() -> rusqlite::Result<(String, Option<ResourceId>)>,
    ) -> rusqlite::Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            // The file itself cannot be read: that is no matter of one row.
            Err(error @ rusqlite::Error::SqliteFailure(..)) => Err(error),
            Err(error) => {
                let (row, resource) = named()?;
                self.damaged.push(Damaged { resource, row, why: error.to_string() });
                Ok(None)
            }
        }
    }
}

/// A number as it stands in a row, whatever may be wrong with it.
fn number(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<i64> {
    row.get(column)
}

fn resource(row: &rusqlite::Row<'_>) -> rusqlite::Result<Resource> {
    let damaged = |error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, error)
    };
    let resource: Resource =
        serde_json::from_str(&row.get::<_, String>(2)?).map_err(|error| damaged(error.into()))?;
    let id = resource.id();
    // In another's place it would stand for that one.
    if (id.kind.word(), id.id) != (&*row.get::<_, String>(0)?, row.get(1)?) {
        return Err(damaged(format!("it holds {id}").into()));
    }
    Ok(resource)
}

fn lane(row: &rusqlite::Row<'_>) -> rusqlite::Result<(String, u32, LaneState)> {
    let state = match row.get::<_, i64>(2)? {
        0 => LaneState::Open,
        1 => LaneState::Paused,
        2 => LaneState::Draining,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(2, other)),
    };
    Ok((row.get(0)?, row.get(1)?, state))
}

/// Connections for reading, opened when needed.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// Whether questions are answered; held by each while it is.
    open: RwLock<bool>,
}

impl Reader {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::new(Vec::new()), open: RwLock::new(true) }
    }

    /// The file.
    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Asks a question on a connection of its own. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, BackendError> {
        let open = self.open.read();
        if !*open {
            return Err(BackendError::failed("the store is closed: hostler is stopping"));
        }
        let idle = || self.idle.lock();
        let kept = idle().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => super::connect(&self.path)?,
        };
        let answer = super::fault::Faults::of(&self.path.with_extension("read"))
            .point("before a question")
            .and_then(|()| question(&connection))
            .map_err(|error| super::broken(&self.path, &error));
        let mut idle = idle();
        if idle.len() < KEPT {
            idle.push(connection);
        }
        answer
    }

    /// Closes every connection once the questions being asked are answered. Blocks.
    pub(super) fn close(&self) {
        *self.open.write() = false;
        self.idle.lock().clear();
    }
}

/// One operation.
pub fn operation(connection: &Connection, uid: Uid) -> rusqlite::Result<Option<Operation>> {
    // A number that no row can have.
    let Ok(uid) = i64::try_from(uid.0) else { return Ok(None) };
    connection
        .prepare_cached(&format!("SELECT {} FROM operation WHERE uid = ?1", row::OPERATION))?
        .query_row([uid], row::operation_or_what_is_left)
        .optional()
}

/// The operation that was asked for with an idempotency key, and what came with the key.
pub fn keyed(connection: &Connection, key: &str) -> rusqlite::Result<Option<(Operation, Params)>> {
    connection
        .prepare_cached(&format!(
            "SELECT {}, request FROM operation WHERE key = ?1",
            row::OPERATION
        ))?
        .query_row([key], |row| Ok((row::operation(row)?, row::request(row)?)))
        .optional()
}

/// The first children of an operation, by number.
pub fn children(connection: &Connection, uid: Uid, most: u32) -> rusqlite::Result<Vec<Operation>> {
    let Ok(uid) = i64::try_from(uid.0) else { return Ok(Vec::new()) };
    connection
        .prepare_cached(&format!(
            "SELECT {} FROM operation WHERE parent = ?1 ORDER BY uid LIMIT ?2",
            row::OPERATION
        ))?
        .query_map([uid, i64::from(most)], row::operation_or_what_is_left)?
        .collect()
}

/// How many children an operation has.
pub fn count_children(connection: &Connection, uid: Uid) -> rusqlite::Result<u64> {
    let Ok(uid) = i64::try_from(uid.0) else { return Ok(0) };
    connection
        .prepare_cached("SELECT count(*) FROM operation WHERE parent = ?1")?
        .query_row([uid], |row| row.get(0))
}

/// The newest operation, where there is any.
pub fn newest(connection: &Connection) -> rusqlite::Result<Option<Operation>> {
    connection
        .prepare_cached(&format!(
            "SELECT {} FROM operation ORDER BY uid DESC LIMIT 1",
            row::OPERATION
        ))?
        .query_row([], row::operation_or_what_is_left)
        .optional()
}

/// The oldest operation, where there is any.
pub fn oldest(connection: &Connection) -> rusqlite::Result<Option<Operation>> {
    connection
        .prepare_cached(&format!(
            "SELECT {} FROM operation WHERE uid > (SELECT coalesce(max(value), 0) FROM counter \
             WHERE name = 'pruned') ORDER BY uid LIMIT 1",
            row::OPERATION
        ))?
        .query_row([], row::operation_or_what_is_left)
        .optional()
}

/// The steps of an operation, of every attempt, each with what it returned.
pub fn steps(connection: &Connection, uid: Uid) -> rusqlite::Result<Vec<RecordedStep>> {
    let Ok(uid) = i64::try_from(uid.0) else { return Ok(Vec::new()) };
    connection
        .prepare_cached(&format!(
            "SELECT {} FROM step WHERE uid = ?1 ORDER BY attempt, number",
            row::STEP
        ))?
        .query_map([uid], row::step)?
        .collect()
}

/// How many operations there are, which is told by their numbers.
pub fn count(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(Numbers::read(connection)?.count())
}

/// A window onto the operations: how many match, the place of the first given, the rows.
pub fn operations(
    connection: &Connection,
    list: &List,
) -> rusqlite::Result<(u64, u64, Vec<Operation>)> {
    let (condition, mut values) = condition(list);
    let filtered = !condition.is_empty();
    let total = if filtered {
        connection
            .prepare_cached(&format!("SELECT count(*) FROM operation {condition}"))?
            .query_row(params_from_iter(values.iter()), |row| row.get(0))?
    } else {
        count(connection)?
    };
    let (column, descending) = match &list.sort {
        Some(sort) => (column(&sort.column).unwrap_or("uid"), sort.descending),
        None => ("uid", true),
    };
    let mut offset = list.offset;
    // In the order of their numbers the place of a row is a count of those before it; in any other
    // order the window stays where the caller puts it.
    if let Some(around) = list.around
        && column == "uid"
    {
        let before: u64 = if filtered {
            let compare = if descending { ">" } else { "<" };
            let sql =
                format!("SELECT count(*) FROM operation {condition} AND uid {compare} {around}");
            connection
                .prepare(&sql)?
                .query_row(params_from_iter(values.iter()), |row| row.get(0))?
        } else {
            Numbers::read(connection)?.before(connection, around, descending)?
        };
        let half = u64::from(list.limit / 2);
        let inside = before >= offset && before < offset + u64::from(list.limit);
        if !inside {
            offset = before.saturating_sub(half);
        }
    }
    let direction = if descending { "DESC" } else { "ASC" };
    let unsorted = column == "uid" && !filtered;
    let sql = if unsorted {
        let numbers = Numbers::read(connection)?;
        let (clause, bounds) = numbers.window(offset, list.limit, descending);
        values = bounds.to_vec();
        format!("SELECT {} FROM operation {clause}", row::OPERATION)
    } else {
        let at = values.len();
        values.push(integer(list.limit.into()));
        values.push(integer(offset));
        format!(
            "SELECT {} FROM operation {condition} ORDER BY {column} {direction}, uid {direction} \
             LIMIT ?{} OFFSET ?{}",
            row::OPERATION,
            at + 1,
            at + 2
        )
    };
    let rows = connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(values.iter()), row::operation_or_what_is_left)?
        .collect::<rusqlite::Result<_>>()?;
    Ok((total, offset, rows))
}

/// The column of the table for a column of the list.
fn holds(name: &str) -> Option<Quantity> {
    Subject::Operations.column(name).map(|column| column.holds)
}

fn column(name: &str) -> Option<&'static str> {
    Some(match name {
        "uid" | "id" => "uid",
        "kind" => "kind",
        "state" => "state",
        "name" => "resource_name",
        "resource" => "resource",
        "actor" => "actor",
        "parent" => "parent",
        "priority" => "priority",
        "created" => "created",
        "finished" => "finished",
        "updated" => "updated",
        _ => return None,
    })
}

/// A filter as a `WHERE` clause and the values it binds: the same rows as
/// [`crate::domain::Filter::matches`] picks. A column that does not exist passes no test.
fn condition(list: &List) -> (String, Vec<Value>) {
    let mut values = Vec::new();
    let mut terms = Vec::new();
    for term in &list.filter.terms {
        let test = test(&term.test, &mut values);
        // What is missing fails the test, and so passes its opposite.
        terms.push(format!("({test}) IS {}TRUE", if term.not { "NOT " } else { "" }));
    }
    if terms.is_empty() {
        (String::new(), values)
    } else {
        (format!("WHERE {}", terms.join(" AND ")), values)
    }
}

/// One test of a filter; what it compares with goes to `values`.
fn test(test: &FilterTest, values: &mut Vec<Value>) -> String {
    let mut bind = |value: Value| {
        values.push(value);
        format!("?{}", values.len())
    };
    match test {
        FilterTest::Word(word) => {
            let number =
                row_number(word).map(|number| format!(" OR uid = {}", bind(integer(number))));
            let at = bind(Value::Text(format!("*{}*", glob(word))));
            format!(
                "kind GLOB {at} OR resource_name GLOB {at} OR resource GLOB {at} \
                 OR actor GLOB {at} OR {}{}",
                states(&FilterTest::Contains { column: "state".into(), text: word.clone() }),
                number.unwrap_or_default()
            )
        }
        FilterTest::Is { column, .. } | FilterTest::Contains { column, .. }
            if column == "state" =>
        {
            states(test)
        }
        FilterTest::Is { column: name, text } | FilterTest::Contains { column: name, text } => {
            let Some(column) = column(name).filter(|_| holds(name) == Some(Quantity::Text)) else {
                return "0".to_owned();
            };
            let pattern = match test {
                FilterTest::Is { .. } => glob(text),
                _ => format!("*{}*", glob(text)),
            };
            format!("{column} GLOB {}", bind(Value::Text(pattern)))
        }
        FilterTest::Within { column: name, from, to } => {
            let Some(column) = column(name).filter(|_| holds(name) != Some(Quantity::Text)) else {
                return "0".to_owned();
            };
            let number = match holds(name) {
                // Lists speak of seconds, the table of milliseconds.
                Some(Quantity::Moment) => format!("{column} / 1000"),
                _ => column.to_owned(),
            };
            let mut bounds = vec![format!("{number} IS NOT NULL")];
            for (bound, includes, excludes) in [(from, ">=", ">"), (to, "<=", "<")] {
                match bound {
                    Bound::Included(is) => {
                        bounds.push(format!("{number} {includes} {}", bind(Value::Real(*is))));
                    }
                    Bound::Excluded(is) => {
                        bounds.push(format!("{number} {excludes} {}", bind(Value::Real(*is))));
                    }
                    Bound::Unbounded => {}
                }
            }
            bounds.join(" AND ")
        }
    }
}

/// A test of a state's word, which the table holds as a number.
fn states(test: &FilterTest) -> String {
    let passes = |state: &State| {
        let word = |_: &str| Some(crate::domain::Value::text(state.word()));
        test.passes(&[], word)
    };
    let codes: Vec<String> = State::ALL
        .into_iter()
        .filter(passes)
        .map(|state| row::state_code(state).to_string())
        .collect();
    format!("state IN ({})", codes.join(", "))
}

/// A pattern for a text without regard to case: as [`cases`] has it, where `LIKE` knows only
/// the cases of ASCII.
fn glob(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() * 4);
    for c in text.chars() {
        let mut cases = cases(c).to_vec();
        cases.sort_unstable();
        cases.dedup();
        if cases.len() > 1 || matches!(c, '*' | '?' | '[') {
            pattern.push('[');
            pattern.extend(cases);
            pattern.push(']');
        } else {
            pattern.push(c);
        }
    }
    pattern
}

/// A number as SQLite has them.
fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
