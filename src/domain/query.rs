//! Questions to the backend and their answers; windows and sorting.
//!
//! Tables ask for a window, never for everything: a million operations cost what forty do.

use serde::{Deserialize, Serialize};

use super::filter::FilterError;
use super::resource::{ResourceId, ResourceKind};
use super::subject::Subject;
use super::{Filter, Host, Lane, Operation, Refusal, Resource, Step, Submit, Timeline, Uid};

/// A question as it is sent. Whoever asks uses [`Question`](super::Question), which knows the type
/// of its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "query")]
pub enum Query {
    /// A window onto a list → [`Answer::Page`].
    List(List),
    /// One resource, whole → [`Answer::Resource`].
    Resource {
        /// Which.
        id: ResourceId,
    },
    /// One operation with its steps → [`Answer::Operation`].
    Operation {
        /// Which.
        uid: Uid,
    },
    /// What is in flight → [`Answer::InFlight`].
    InFlight,
    /// How many there are of everything → [`Answer::Counts`].
    Counts,
    /// The lanes → [`Answer::Lanes`].
    Lanes,
    /// What the box can do → [`Answer::Host`].
    Host,
    /// When tasks fire within a day from now → [`Answer::Timeline`].
    Timeline,
    /// What a request would do, without doing it → [`Answer::Preview`].
    Preview(Submit),
}

/// An answer; each question says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer", content = "value")]
pub enum Answer {
    /// To [`Query::List`].
    Page(Page),
    /// To [`Query::Resource`].
    Resource(Box<Resource>),
    /// To [`Query::Operation`].
    Operation(Box<OperationDetail>),
    /// To [`Query::InFlight`].
    InFlight(InFlight),
    /// To [`Query::Counts`].
    Counts(Counts),
    /// To [`Query::Lanes`].
    Lanes(Vec<Lane>),
    /// To [`Query::Host`].
    Host(Box<Host>),
    /// To [`Query::Timeline`].
    Timeline(Timeline),
    /// To [`Query::Preview`].
    Preview(Preview),
}

/// A window onto a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// What it is of.
    pub of: Subject,
    /// Which of them.
    #[serde(default)]
    pub filter: Filter,
    /// In which order; without one, resources by name and operations newest first.
    #[serde(default)]
    pub sort: Option<Sort>,
    /// The first row wanted, from 0. Ignored when `around` is found.
    #[serde(default)]
    pub offset: u64,
    /// How many rows at most; at most [`List::MOST`].
    pub limit: u32,
    /// The window should hold the row with this number: keeps a selection in sight as rows come
    /// and go.
    #[serde(default)]
    pub around: Option<u64>,
}

impl List {
    /// The most rows that a list answers with.
    pub const MOST: u32 = 10_000;

    /// Checks what it asks to filter and sort by.
    ///
    /// # Errors
    /// When there is no such column, or it cannot be compared so.
    pub fn check(&self) -> Result<(), FilterError> {
        let sorted = self.sort.as_ref().map(|sort| sort.column.as_str());
        match sorted.filter(|column| self.of.column(column).is_none()) {
            Some(column) => Err(FilterError::Column(column.to_owned())),
            None => self.filter.check(self.of),
        }
    }
}

/// A column and a direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sort {
    /// The column's name.
    pub column: String,
    /// Largest first.
    #[serde(default)]
    pub descending: bool,
}

/// A window's rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// How many rows match in all.
    pub total: u64,
    /// The place of the first row given, from 0.
    pub offset: u64,
    /// The rows.
    pub rows: Rows,
}

/// Rows of one sort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rows {
    /// Of [`Subject::Resources`].
    Resources(Vec<Resource>),
    /// Of [`Subject::Operations`].
    Operations(Vec<Operation>),
}

/// An operation with everything known about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationDetail {
    /// The operation.
    pub operation: Operation,
    /// Its steps, of every attempt, in the order they were taken.
    pub steps: Vec<Step>,
    /// Its children, by number; the first 1000 of them where there are more.
    #[serde(default)]
    pub children: Vec<Operation>,
    /// How many more children it has.
    #[serde(default)]
    pub more_children: u64,
}

/// What is in flight: running first, then waiting, then what needs a person.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct InFlight {
    /// The first of them, at most 200.
    pub operations: Vec<Operation>,
    /// How many run.
    pub running: u64,
    /// How many wait.
    pub waiting: u64,
    /// How many failed and need a person.
    pub failed: u64,
    /// Resources that need a person, at most 200; see [`Resource::problem`].
    #[serde(default)]
    pub troubled: Vec<ResourceId>,
}

/// How many there are of everything.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Living resources of each kind.
    pub resources: Vec<(ResourceKind, u64)>,
    /// Operations ever accepted and still kept.
    pub operations: u64,
}

/// What a request would do.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Preview {
    /// Why it would be refused, if it would.
    #[serde(default)]
    pub refusal: Option<Refusal>,
    /// What would happen, a sentence each.
    #[serde(default)]
    pub effects: Vec<String>,
    /// The commands that would be run, as far as they are known beforehand.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Bytes it would take on disk, where that can be told.
    #[serde(default)]
    pub space: Option<u64>,
}
