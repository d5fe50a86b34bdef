//! What each list shows of a row: its columns, and what stands in them, as the description of the
//! rows has it.

use jiff::Timestamp;

use crate::domain::{Column, LaneState, Quantity, Resource, State, StateTone, Value};
use crate::ui::model::{Model, Row};
use crate::ui::style::text;
use crate::ui::style::theme::{Glyphs, Role};
use crate::ui::tab::Tab;

/// The columns of a tab, as many as a list of that width has room for.
#[must_use]
pub fn columns(tab: Tab, width: u16) -> Vec<&'static Column> {
    let columns = tab.subject().columns().iter();
    columns.filter(|column| column.from.is_some_and(|from| width >= from)).collect()
}

/// What stands in a column, and what it means.
#[must_use]
pub fn cell(model: &Model, glyphs: &Glyphs, row: Row<'_>, column: &Column) -> (String, Role) {
    let value = match (row, column.name.as_ref()) {
        (Row::Resource(resource), "state") => {
            let (glyph, role) = state(glyphs, resource);
            return (format!("{glyph} {}", resource.state().replace('_', " ")), role);
        }
        (Row::Operation(operation), "state") => {
            let (glyph, role) = operation_state(glyphs, operation.state);
            return (format!("{glyph} {}", operation.state), role);
        }
        // Those that others asked for are set apart, as they are in flight.
        (Row::Operation(operation), "kind") if operation.parent.is_some() => {
            Some(Value::text(format!("  {}", operation.kind)))
        }
        (Row::Operation(operation), "uid") => Some(Value::text(operation.uid.to_string())),
        (Row::Resource(resource), name) => resource.field(name),
        (Row::Operation(operation), name) => operation.field(name),
    };
    let role = if column.quiet { Role::Quiet } else { Role::Text };
    match value {
        None => (glyphs.none.to_owned(), Role::Quiet),
        Some(value) => match column.referred(&value) {
            Some(id) => (model.name(id), role),
            None => (written(model, value, column), role),
        },
    }
}

fn written(model: &Model, value: Value<'_>, column: &Column) -> String {
    match value {
        Value::Text(text) => text.into_owned(),
        Value::Number(number) => amount(model, number, column.holds),
    }
}

/// A number as its unit is written.
#[must_use]
pub fn amount(model: &Model, number: f64, unit: Quantity) -> String {
    match unit {
        Quantity::Number | Quantity::Text => number.to_string(),
        Quantity::Mib => text::bytes((number * 1024.0 * 1024.0) as u64),
        Quantity::Bytes => text::bytes(number as u64),
        Quantity::Percent => format!("{number:.0}%"),
        Quantity::Seconds => text::clock(number.max(0.0) as u64),
        Quantity::Moment => Timestamp::from_second(number as i64)
            .map_or_else(|_| number.to_string(), |at| text::moment(at, model.now, &model.zone)),
    }
}

/// The glyph and meaning of a resource's state.
#[must_use]
pub fn state(glyphs: &Glyphs, resource: &Resource) -> (&'static str, Role) {
    match resource.kind().spec().tone(resource.state()) {
        StateTone::Busy => (glyphs.busy, Role::Busy),
        StateTone::Running => (glyphs.running, Role::Good),
        StateTone::Paused => (glyphs.paused, Role::Waiting),
        StateTone::Waiting => (glyphs.wait, Role::Waiting),
        StateTone::Finished => (glyphs.good, Role::Good),
        StateTone::Resting => (glyphs.resting, Role::Resting),
        StateTone::Bad => (glyphs.bad, Role::Bad),
    }
}

/// The glyph and meaning of a lane's state.
#[must_use]
pub const fn lane_state(glyphs: &Glyphs, state: LaneState) -> (&'static str, Role) {
    match state {
        LaneState::Open => (glyphs.play, Role::Good),
        LaneState::Paused => (glyphs.paused, Role::Waiting),
        LaneState::Draining => (glyphs.down, Role::Waiting),
    }
}

/// The glyph and meaning of an operation's state.
#[must_use]
pub const fn operation_state(glyphs: &Glyphs, state: State) -> (&'static str, Role) {
    match state {
        State::Pending => (glyphs.wait, Role::Waiting),
        State::Run => (glyphs.play, Role::Busy),
        State::Done => (glyphs.good, Role::Good),
        State::Error => (glyphs.bad, Role::Bad),
        State::Cancel => (glyphs.resting, Role::Resting),
    }
}
