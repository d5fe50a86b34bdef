//! What the console shows of single kinds of resources beyond their descriptions: how tasks went,
//! the load of guests, how fast encoders are, how long the trash is kept.

use jiff::SignedDuration;

use super::columns::operation_state;
use super::facts::LABEL;
use crate::domain::{Column, Disk, Encoding, Resource, ResourceId, Run, RunOutcome, Task, Vm};
use crate::ui::model::in_flight::PLOT_POINTS;
use crate::ui::model::{Model, Row};
use crate::ui::style::canvas::{StyledLine, spark};
use crate::ui::style::text;
use crate::ui::style::theme::{Glyphs, Role, Theme};

/// What stands in a column that says more than its value.
#[must_use]
pub fn cell(
    model: &Model,
    glyphs: &Glyphs,
    row: Row<'_>,
    column: &Column,
) -> Option<(String, Role)> {
    let task = row.resource()?.get::<Task>().filter(|_| column.name == "last")?;
    Some(last(model, glyphs, task.runs.first()?))
}

/// What happened when a task last fired, and when that was.
fn last(model: &Model, glyphs: &Glyphs, run: &Run) -> (String, Role) {
    let at = text::moment(run.due, model.now, &model.zone);
    let (glyph, role) = match &run.outcome {
        // How what is no longer in flight ended is not known here.
        RunOutcome::Queued { uid } => match model.flight.get(*uid) {
            Some(operation) => operation_state(glyphs, operation.state),
            None => return (at, Role::Text),
        },
        RunOutcome::Refused { .. } => return (format!("{} refused", glyphs.bad), Role::Bad),
        RunOutcome::Missed => return (format!("{} missed", glyphs.wait), Role::Waiting),
    };
    (format!("{glyph} {at}"), role)
}

/// What stands before the facts about a resource, so that it is seen on the smallest screen too.
#[must_use]
pub fn before(model: &Model, theme: &Theme, resource: &Resource, width: u16) -> Option<StyledLine> {
    if let Some(vm) = resource.get::<Vm>() {
        return load(model, theme, vm, width);
    }
    speed(model, theme, resource.get::<Encoding>()?, width)
}

/// How loaded a guest is.
fn load(model: &Model, theme: &Theme, vm: &Vm, width: u16) -> Option<StyledLine> {
    let points = model.usage.get(&vm.id).filter(|_| vm.is_up())?;
    let per_cpu = vm.cpu.max(1) as f32;
    let room = usize::from(width).saturating_sub(LABEL + 8);
    let plot = spark(&theme.glyphs, points.iter().map(|point| point / per_cpu), room.min(40));
    let now = points.back().copied().unwrap_or_default();
    let line = StyledLine::new(format!("{:<LABEL$} ", "load"), Role::Quiet);
    Some(line.with(plot, Role::Bar).with(format!(" {now:.0}%"), Role::Text))
}

/// How fast an encoding goes and went, where it is being encoded.
fn speed(model: &Model, theme: &Theme, encoding: &Encoding, width: u16) -> Option<StyledLine> {
    let id = ResourceId::new(Encoding::KIND, encoding.id);
    let operation = model.flight.touching(id, &encoding.name)?;
    let now = operation.progress.as_ref()?.speed?;
    let points = model.flight.speeds(operation.uid);
    // The height is a share of the fastest: there is no full speed to measure by.
    let fastest = points.clone().fold(f32::MIN_POSITIVE, f32::max);
    let now = format!(" {now:.1}×");
    let room = usize::from(width).saturating_sub(LABEL + 1 + text::width(&now));
    let shares = points.map(|point| point / fastest * 100.0);
    let plot = spark(&theme.glyphs, shares, room.min(PLOT_POINTS));
    let line = StyledLine::new(format!("{:<LABEL$} ", "speed"), Role::Quiet);
    Some(line.with(plot, Role::Bar).with(now, Role::Text))
}

/// What a fact about a resource goes on with that the resource alone does not know.
#[must_use]
pub fn more(model: &Model, resource: &Resource, label: &str) -> Option<String> {
    let trashed = resource.get::<Disk>()?.trashed.filter(|_| label == Disk::TRASHED)?;
    let days = model.host.as_ref()?.trash_days?;
    let gone = trashed.checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok()?;
    Some(format!(", gone for good {}", text::moment(gone, model.now, &model.zone)))
}

/// What stands after the facts about a resource.
#[must_use]
pub fn after(model: &Model, theme: &Theme, resource: &Resource, width: u16) -> Vec<StyledLine> {
    resource.get::<Task>().map_or_else(Vec::new, |task| firings(model, theme, task, width))
}

/// What became of the firings of a task.
fn firings(model: &Model, theme: &Theme, task: &Task, width: u16) -> Vec<StyledLine> {
    let mut lines = vec![StyledLine::empty(), StyledLine::new("Firings", Role::Title)];
    if task.runs.is_empty() {
        lines.push(StyledLine::new("none yet", Role::Quiet));
    }
    for run in &task.runs {
        let due = text::moment(run.due, model.now, &model.zone);
        let (what, role) = match &run.outcome {
            RunOutcome::Queued { uid } => {
                (format!("{} queued as {uid}", theme.glyphs.good), Role::Good)
            }
            RunOutcome::Refused { why } => {
                (format!("{} refused: {why}", theme.glyphs.bad), Role::Bad)
            }
            RunOutcome::Missed => {
                (format!("{} missed: hostler was not running", theme.glyphs.wait), Role::Waiting)
            }
        };
        let hand = if run.by_hand { " by hand" } else { "" };
        let room = usize::from(width).saturating_sub(13).max(8);
        for (number, part) in text::wrap(&format!("{what}{hand}"), room).into_iter().enumerate() {
            let due = if number == 0 { due.as_str() } else { "" };
            lines.push(StyledLine::new(format!("{due:<13}"), Role::Quiet).with(part, role));
        }
    }
    lines
}
