//! What the kinds about tasks share: the fields that say what is asked for and when, and the checks
//! on them.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::backend::schedule;
use crate::domain::arguments::below;
use crate::domain::{
    Effect, Every, Field, FieldType, Hint, LockMode, LockRule, OperationSpec, Params, Reason,
    Refusal, Repeat, Risk, Task,
};

use super::{AdmissionContext, Context, children};

/// What is lost with what a task asks for.
pub(super) const WARNING: &str = "What is lost is what that loses.";

/// When a task fires, as it is asked for. What is not given stays as it is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Timetable {
    minute: Option<Every>,
    hour: Option<Every>,
    day: Option<Every>,
    week: Option<Every>,
    weekday: Option<Every>,
    start: Option<String>,
    end: Option<String>,
}

impl Timetable {
    /// Its fields. `fresh`: with the defaults of a new task, which fires on the hour; otherwise
    /// every field may be left as it is.
    pub(super) fn fields(fresh: bool) -> Vec<Field> {
        let default = |value: Json| if fresh { value } else { Json::Null };
        let every = |name, min, max, value: Json, doc| {
            Field::optional(name, FieldType::Every { min, max }, default(value), doc)
        };
        let date = |name, doc| {
            Field::optional(name, FieldType::Text { max: 10 }, default("*".into()), doc).advanced()
        };
        vec![
            every("minute", 0, 59, 0.into(), "The minute of the hour, or * for each."),
            every("hour", 0, 23, "*".into(), "The hour of the day, or * for each."),
            every("day", 1, 31, "*".into(), "The day of the month, or * for each."),
            every(
                "week",
                1,
                5,
                "*".into(),
                "The week of the month: 1 is days 1 to 7, 5 is days 29 to 31; or * for each.",
            )
            .advanced(),
            every("weekday", 0, 6, "*".into(), "The day of the week, 0 is Sunday; or * for each."),
            date("start", "The first day it may fire, as YYYY-MM-DD; * for any."),
            date("end", "The last day it may fire, as YYYY-MM-DD; * for any."),
        ]
    }

    /// A repetition with these changes.
    pub(super) fn apply(&self, repeat: &Repeat) -> Result<Repeat, Refusal> {
        Ok(Repeat {
            minute: self.minute.unwrap_or(repeat.minute),
            hour: self.hour.unwrap_or(repeat.hour),
            day: self.day.unwrap_or(repeat.day),
            week: self.week.unwrap_or(repeat.week),
            weekday: self.weekday.unwrap_or(repeat.weekday),
            start: date("start", self.start.as_deref(), repeat.start)?,
            end: date("end", self.end.as_deref(), repeat.end)?,
        })
    }
}

fn date(field: &str, given: Option<&str>, is: Option<Date>) -> Result<Option<Date>, Refusal> {
    match given.map(str::trim) {
        None => Ok(is),
        Some("*" | "") => Ok(None),
        Some(text) => Date::strptime("%Y-%m-%d", text).map(Some).map_err(|_| {
            let message = format!("{field} is '{text}'; write a day like 2026-03-01, or *");
            Refusal::field(Reason::Syntax, field, text, message)
        }),
    }
}

/// A task may ask for anything but tasks, and what may ask for them: one that fires itself never
/// ends.
pub(super) fn admit_kind(kind: &str, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
    let why = match world.catalogue.get(kind) {
        Some(spec) if spec.resource == Some(Task::KIND) => "is about tasks",
        Some(spec) if spec.fields.iter().any(|field| names_a_kind(&field.of)) => {
            "may ask for what is about tasks"
        }
        _ => return Ok(()),
    };
    let message = format!("kind: a task cannot ask for {kind}, which {why}; choose another");
    Err(Refusal::field(Reason::Value, "kind", kind, message))
}

/// What a task asks for must be able to work some day: a text or a value that is wrong now always
/// will be. What is there, and how things stand, is looked at when it fires.
pub(super) fn admit_request(
    kind: &str,
    params: &Params,
    world: &AdmissionContext<'_>,
) -> Result<(), Refusal> {
    let refused = world.would_refuse(kind, params);
    let never = |refusal: &Refusal| matches!(refusal.reason, Reason::Syntax | Reason::Value);
    match refused.filter(never) {
        Some(refusal) => {
            let field = below("params", refusal.field.as_deref().unwrap_or_default());
            let message = format!("params: {kind} would always be refused: {}", refusal.message);
            Err(Refusal { field: Some(field), message, ..refusal })
        }
        None => Ok(()),
    }
}

/// Whether a value of a type may name a kind of operation, at any depth.
fn names_a_kind(of: &FieldType) -> bool {
    match of {
        FieldType::Kind => true,
        FieldType::List { of, .. } => names_a_kind(of),
        FieldType::Record { fields } => fields.iter().any(|field| names_a_kind(&field.of)),
        _ => false,
    }
}

/// A task must fire at least once more.
pub(super) fn admit_repeat(repeat: &Repeat, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
    if schedule::next(repeat, world.now, &world.settings.time_zone()).is_some() {
        return Ok(());
    }
    let message = "the task would never fire: no day that is left matches day, week, weekday, \
                   start and end; change one of them";
    Err(Refusal::new(Reason::Value, message))
}

/// A sentence about the next firing.
fn says_next(repeat: &Repeat, world: &AdmissionContext<'_>) -> String {
    let zone = &world.settings.time_zone();
    match schedule::next(repeat, world.now, zone) {
        Some(next) => {
            format!("Fires next on {}.", next.to_zoned(zone.clone()).strftime("%F at %H:%M %Z"))
        }
        None => "Never fires.".to_owned(),
    }
}

/// Sentences about what is asked for with each firing: what it is done to, and what it does.
pub(super) fn says_what(kind: &str, params: &Params, world: &AdmissionContext<'_>) -> Vec<String> {
    let asks = format!("Asks for {}.", children::title(kind, params, world));
    std::iter::once(asks).chain(world.would_do(kind, params)).collect()
}

/// Sentences about when a task fires next, and what it asks for then.
pub(super) fn says(task: &Task, world: &AdmissionContext<'_>) -> Vec<String> {
    let next = says_next(&task.repeat, world);
    std::iter::once(next).chain(says_what(&task.kind, &task.params, world)).collect()
}

/// A task that fires by itself from now on. Firings before now are not owed to it, and what went
/// wrong with them does not count any more.
pub(super) fn awake(task: Task, cx: &Context) -> Task {
    // Later than now when the clock was set back and some that are to come have fired already.
    let settled = schedule::settled(&task, cx.now()).max(cx.now());
    let next = schedule::upcoming(&task, settled, &cx.settings().time_zone());
    Task { active: true, settled, next, ..task.acknowledged() }
}

/// The field that says which task, in one of these states; none means any.
pub(super) fn task(states: &[&'static str]) -> Field {
    let states = states.iter().map(|&state| state.into()).collect();
    Field::required("task", FieldType::Resource { of: Task::KIND, states }, "The task.")
}

/// The catalogue entry of a kind that works on one task.
pub(super) fn spec(kind: &'static str, title: &'static str, doc: &'static str) -> OperationSpec {
    OperationSpec {
        kind: kind.into(),
        title: title.into(),
        doc: doc.into(),
        doing: "changing".into(),
        resource: Some(Task::KIND),
        effect: Effect::Changes,
        subject: Some("task".into()),
        lane: "task".into(),
        risk: Risk::None,
        warning: "".into(),
        fields: vec![task(&[])],
        offered_on: Vec::new(),
        edits: false,
        hint: Hint::default(),
        locks: vec![LockRule { field: "task".into(), mode: LockMode::Exclusive }],
        // Not one that is about to be deleted.
        requires: vec!["active".into(), "inactive".into()],
        state_after: None,
        reject_duplicates: false,
        steps: vec![],
    }
}

#[cfg(test)]
mod tests;
