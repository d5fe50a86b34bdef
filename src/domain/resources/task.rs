//! Scheduled tasks: which operation to ask for, and when.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::domain::resource::{
    Column, Detail, Emphasis, Quantity, ResourceKind, ResourceSpec, ResourceType, StateSpec,
    StateTone, Switch,
};
use crate::domain::value::Value;
use crate::domain::{Params, Uid};

/// One field of a [`Repeat`]: a number, or `*` for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "EveryOrNumber")]
pub enum Every {
    /// `*`.
    #[default]
    Any,
    /// Only then.
    At(u8),
}

/// What may stand for an [`Every`] in JSON: `"*"`, `"5"` or `5`.
#[derive(Deserialize)]
#[serde(untagged)]
enum EveryOrNumber {
    Number(u8),
    Text(String),
}

impl From<Every> for String {
    fn from(every: Every) -> Self {
        match every {
            Every::Any => "*".to_owned(),
            Every::At(at) => at.to_string(),
        }
    }
}

impl TryFrom<EveryOrNumber> for Every {
    type Error = String;

    fn try_from(given: EveryOrNumber) -> Result<Self, String> {
        match given {
            EveryOrNumber::Number(at) => Ok(Self::At(at)),
            EveryOrNumber::Text(text) => text.parse(),
        }
    }
}

impl std::str::FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "*" | "" => Ok(Self::Any),
            number => number
                .parse()
                .map(Self::At)
                .map_err(|_| format!("'{number}' is neither '*' nor a number")),
        }
    }
}

impl std::fmt::Display for Every {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::At(at) => write!(f, "{at}"),
        }
    }
}

/// When a task fires: every minute in which **all** of these match, in the box's time zone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Repeat {
    /// Minute of the hour, 0 to 59.
    pub minute: Every,
    /// Hour of the day, 0 to 23.
    pub hour: Every,
    /// Day of the month, 1 to 31. Months without that day are passed over.
    pub day: Every,
    /// Week of the month, 1 to 5: days 1–7 are week 1, days 29–31 are week 5.
    pub week: Every,
    /// Day of the week, 0 (Sunday) to 6 (Saturday).
    pub weekday: Every,
    /// The first day it may fire.
    pub start: Option<Date>,
    /// The last day it may fire.
    pub end: Option<Date>,
}

impl std::fmt::Display for Repeat {
    /// In words: `at 03:15, on Monday`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use Every::{Any, At};
        const DAYS: [&str; 7] =
            ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
        match (self.hour, self.minute) {
            (Any, Any) => write!(f, "every minute")?,
            (Any, At(minute)) => write!(f, "every hour at :{minute:02}")?,
            (At(hour), Any) => write!(f, "every minute from {hour:02}:00 to {hour:02}:59")?,
            (At(hour), At(minute)) => write!(f, "at {hour:02}:{minute:02}")?,
        }
        if let At(weekday) = self.weekday {
            write!(f, ", on {}", DAYS.get(usize::from(weekday)).unwrap_or(&"?"))?;
        }
        if let At(day) = self.day {
            write!(f, ", on day {day} of the month")?;
        }
        if let At(week) = self.week {
            write!(f, ", in week {week} of the month")?;
        }
        if let Some(start) = self.start {
            write!(f, ", from {start}")?;
        }
        if let Some(end) = self.end {
            write!(f, ", until {end}")?;
        }
        Ok(())
    }
}

/// What became of a firing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum RunOutcome {
    /// The operation was queued.
    Queued {
        /// Its number.
        uid: Uid,
    },
    /// The operation was refused; the sentence says why.
    Refused {
        /// Why.
        why: String,
    },
    /// hostler was not running at that time.
    Missed,
}

impl RunOutcome {
    /// The word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Refused { .. } => "refused",
            Self::Missed => "missed",
        }
    }
}

/// One firing of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The minute it was due.
    pub due: Timestamp,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: RunOutcome,
    /// Whether a person asked for it rather than the clock.
    #[serde(default)]
    pub by_hand: bool,
}

/// When tasks fire within a day from now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// The minute that is now: minutes are counted from its beginning.
    pub from: Timestamp,
    /// The active tasks that fire within that day; at most
    /// [`List::MOST`](crate::domain::List::MOST).
    pub tasks: Vec<Firings>,
}

/// When one task fires within the day of a [`Timeline`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firings {
    /// The task's number.
    pub task: u64,
    /// The minutes in which it fires, ascending: 0 to 1440 of them after [`Timeline::from`].
    pub minutes: Vec<u16>,
}

/// A scheduled task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether it fires by itself.
    pub active: bool,
    /// The operation kind it asks for.
    pub kind: String,
    /// The parameters it asks with.
    pub params: Params,
    /// When it fires.
    pub repeat: Repeat,
    /// The next minute it fires; `None` when inactive or when it never fires again.
    #[serde(default)]
    pub next: Option<Timestamp>,
    /// Its latest firings, newest first, at most [`Task::RUNS_KEPT`].
    #[serde(default)]
    pub runs: Vec<Run>,
    /// How many firings were missed because hostler was not running, since a firing last queued an
    /// operation or a person last changed the task.
    #[serde(default)]
    pub missed: u64,
    /// How many firings were refused since then.
    #[serde(default)]
    pub refused: u64,
    /// What of that a person should know, in one sentence; `None` when nothing was missed or
    /// refused since then.
    #[serde(default)]
    pub problem: Option<String>,
    /// Until when its firings have been dealt with: a firing due after this is still owed.
    pub settled: Timestamp,
    /// When it was created.
    pub created: Timestamp,
}

impl ResourceType for Task {
    const KIND: ResourceKind = ResourceKind::new("task");

    #[cfg(test)]
    const SAMPLE: &str = r#"{"resource":"task","id":1,"name":"a","active":true,
        "kind":"vm_stop","params":{},
        "repeat":{},"next":"2026-01-02T03:04:05Z","settled":"2026-01-02T03:04:05Z",
        "created":"2026-01-02T03:04:05Z","missed":2,"refused":1}"#;

    fn spec() -> ResourceSpec {
        let own = [
            Column::new("next", Quantity::Moment).shown(12, 38).listed(),
            Column::new("kind", Quantity::Text).titled("does").shown(13, 72).listed(),
            Column::new("last", Quantity::Text).shown(14, 56),
            Column::new("missed", Quantity::Number).listed(),
            Column::new("refused", Quantity::Number),
            Column::created(),
        ];
        ResourceSpec {
            intro: "tasks that do any of this by the clock".into(),
            columns: Column::first(11).into_iter().chain(own).collect(),
            states: vec![
                StateSpec::new("active", StateTone::Running),
                StateSpec::new("inactive", StateTone::Resting),
            ],
            switches: vec![Switch {
                name: "task_toggle".into(),
                title: "on/off".into(),
                doc: "Let the task fire by itself, or stop it from doing so.".into(),
                keys: vec!["e".into()],
                rank: 12,
                kinds: vec!["task_disable".into(), "task_enable".into()],
            }],
            ..ResourceSpec::new("task", "tasks", "scheduled tasks")
        }
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> &'static str {
        if self.active { "active" } else { "inactive" }
    }

    fn value(&self, column: &str) -> Option<Value<'_>> {
        match column {
            "kind" => Some(Value::text(&self.kind)),
            "next" => self.next.map(|next| Value::Number(next.as_second() as f64)),
            "last" => self.runs.first().map(|run| Value::text(run.outcome.word())),
            "missed" => Some(Value::Number(self.missed as f64)),
            "refused" => Some(Value::Number(self.refused as f64)),
            "created" => Some(Value::Number(self.created.as_second() as f64)),
            _ => None,
        }
    }

    fn details(&self) -> Vec<Detail> {
        let never = if self.active { "never again" } else { "not while it is off" };
        let mut details = vec![
            Detail::text("when", self.repeat.to_string()),
            self.next.map_or_else(|| Detail::text("next", never), |at| Detail::moment("next", at)),
            Detail::text("does", &self.kind),
        ];
        if let Some(problem) = &self.problem {
            details.push(Detail::text("problem", problem).with(Emphasis::Bad));
        }
        details
    }

    fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    fn asks_for(&self) -> Option<(&str, &Params)> {
        Some((&self.kind, &self.params))
    }
}

impl Task {
    /// How many firings are kept with the task.
    pub const RUNS_KEPT: usize = 20;

    /// The same task after a person has seen to it: what went wrong before does not count any more.
    #[must_use]
    pub fn acknowledged(self) -> Self {
        Self { missed: 0, refused: 0, problem: None, ..self }
    }
}
