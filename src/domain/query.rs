//! Questions to the backend and their answers; filters and sorting.
//!
//! Tables ask for a window, never for everything: a million operations cost what forty do.

use serde::{Deserialize, Serialize};

use super::resource::{Resource, ResourceId, ResourceKind};
use super::{Host, Lane, Operation, Refusal, Step, Submit, Timeline, Uid};

/// A question.
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

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Resources of a kind.
    Resources(ResourceKind),
    /// Operations.
    Operations,
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
    /// How many rows at most; at most 10,000.
    pub limit: u32,
    /// The window should hold the row with this number: keeps a selection in sight as rows come
    /// and go.
    #[serde(default)]
    pub around: Option<u64>,
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

/// The value of a column, for comparing.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub enum Value {
    /// A number, in the column's own unit.
    Number(f64),
    /// A text.
    Text(String),
}

impl Value {
    /// The order rows are sorted in: numbers by size, texts without regard to case, numbers first.
    #[must_use]
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => {
                a.to_lowercase().cmp(&b.to_lowercase()).then_with(|| a.cmp(b))
            }
            (Self::Number(_), Self::Text(_)) => std::cmp::Ordering::Less,
            (Self::Text(_), Self::Number(_)) => std::cmp::Ordering::Greater,
        }
    }
}

/// How a filter term compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Comparison {
    /// `state:running`: equal, without regard to case.
    Is,
    /// `name~web`: contains, without regard to case.
    Contains,
    /// `cpu>50`.
    Above,
    /// `cpu<50`.
    Below,
}

/// One term of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterTerm {
    /// A word that any column of text may contain.
    Word(String),
    /// A comparison with one column.
    Column {
        /// The column's name.
        column: String,
        /// How to compare.
        comparison: Comparison,
        /// What to compare with.
        value: String,
    },
}

/// Which rows: those that match **every** term. Written `web state:running cpu>50 name~web`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter {
    /// The terms.
    pub terms: Vec<FilterTerm>,
}

impl Filter {
    /// Reads a filter as people write it. Anything that is no comparison is a word, so this never
    /// fails; [`Filter::unknown`] tells about columns that do not exist.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let terms = text
            .split_whitespace()
            .map(|term| {
                let split = term.find([':', '~', '>', '<']).filter(|&at| at > 0);
                match split {
                    Some(at) if at + 1 < term.len() => FilterTerm::Column {
                        column: term[..at].to_lowercase(),
                        comparison: match term.as_bytes()[at] {
                            b':' => Comparison::Is,
                            b'~' => Comparison::Contains,
                            b'>' => Comparison::Above,
                            _ => Comparison::Below,
                        },
                        value: term[at + 1..].to_owned(),
                    },
                    _ => FilterTerm::Word(term.to_owned()),
                }
            })
            .collect();
        Self { terms }
    }

    /// Whether every row matches.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The first column named that is not among `columns`.
    #[must_use]
    pub fn unknown(&self, columns: &[&str]) -> Option<&str> {
        self.terms.iter().find_map(|term| match term {
            FilterTerm::Column { column, .. } if !columns.contains(&column.as_str()) => {
                Some(column.as_str())
            }
            _ => None,
        })
    }

    /// Whether a row matches. `columns` are the row's column names, `field` reads one of them.
    pub fn matches(&self, columns: &[&str], field: impl Fn(&str) -> Option<Value>) -> bool {
        self.terms.iter().all(|term| match term {
            FilterTerm::Word(word) => {
                let word = word.to_lowercase();
                columns.iter().any(|column| {
                    matches!(field(column), Some(Value::Text(text)) if text.to_lowercase().contains(&word))
                })
            }
            FilterTerm::Column { column, comparison, value } => {
                field(column).is_some_and(|have| compare(&have, *comparison, value))
            }
        })
    }
}

/// Compares a column's value with what a filter term says.
fn compare(have: &Value, comparison: Comparison, wanted: &str) -> bool {
    let text = match have {
        Value::Text(text) => text.to_lowercase(),
        Value::Number(number) => number.to_string(),
    };
    let number = match have {
        Value::Number(number) => Some(*number),
        Value::Text(_) => None,
    };
    match comparison {
        Comparison::Is => match (number, wanted.parse::<f64>()) {
            (Some(have), Ok(wanted)) => (have - wanted).abs() < f64::EPSILON,
            _ => text == wanted.to_lowercase(),
        },
        Comparison::Contains => text.contains(&wanted.to_lowercase()),
        Comparison::Above => {
            matches!((number, wanted.parse::<f64>()), (Some(have), Ok(wanted)) if have > wanted)
        }
        Comparison::Below => {
            matches!((number, wanted.parse::<f64>()), (Some(have), Ok(wanted)) if have < wanted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[&str] = &["name", "state", "cpu"];

    fn row(name: &str) -> Option<Value> {
        match name {
            "name" => Some(Value::Text("Web-3".into())),
            "state" => Some(Value::Text("running".into())),
            "cpu" => Some(Value::Number(62.5)),
            _ => None,
        }
    }

    #[test]
    fn every_term_must_match() {
        for (filter, expected) in [
            ("", true),
            ("web", true),
            ("web state:running cpu>50 name~eb-", true),
            ("web state:halted", false),
            ("cpu<50", false),
            ("cpu:62.5", true),
            ("colour:red", false),
            ("absent", false),
        ] {
            assert_eq!(Filter::parse(filter).matches(COLUMNS, row), expected, "{filter:?}");
        }
    }

    #[test]
    fn a_half_typed_comparison_is_a_word() {
        assert_eq!(Filter::parse("state:").terms, [FilterTerm::Word("state:".into())]);
        assert_eq!(Filter::parse("~x").terms, [FilterTerm::Word("~x".into())]);
    }

    #[test]
    fn unknown_columns_are_told() {
        assert_eq!(Filter::parse("colour:red").unknown(COLUMNS), Some("colour"));
        assert_eq!(Filter::parse("state:red web").unknown(COLUMNS), None);
    }
}
