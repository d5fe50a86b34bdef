//! Filters: which rows of a list are wanted.
//!
//! A filter is read by whoever asks, see [`Filter::parse`]: what it says of days and ages is meant
//! at the moment and in the time zone of the person who wrote it. What is left is a few plain tests
//! that mean the same in memory, see [`Filter::matches`], and in the store's SQL.

mod parse;
mod words;

use std::ops::{Bound, Range, RangeBounds};

use serde::{Deserialize, Serialize};

use super::resource::{Column, Quantity};
use super::subject::Subject;
use super::value::Value;

/// What stands for the names of what a row refers to where its columns are read: a disk's VM, a
/// VM's disks, one a line. Every word looks into it, and a comparison of a disk's VM with a name.
pub const REFERRED: &str = "referred to";

/// What a filter calls the time since a row came to be. It is no column; a list that has
/// [`Column::CREATED`] knows it, see [`Subject::has_age`].
pub const AGE: &str = "age";

/// The most characters a filter may have, and any text in it.
pub const LONGEST: usize = 1000;

/// Which rows: those that pass **every** term. Written `web state:running cpu>50% -name~old`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter {
    /// The terms.
    pub terms: Vec<FilterTerm>,
}

/// One term of a filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilterTerm {
    /// Whether the rows that fail the test are wanted instead of those that pass it.
    #[serde(default)]
    pub not: bool,
    /// The test.
    #[serde(flatten)]
    pub test: FilterTest,
}

/// What a row is tested for. A row without a value in the column fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterTest {
    /// `web`: a word that any column of text may contain, or the name of what the row refers to;
    /// `22` and `#22`: also the row's number.
    Word(String),
    /// `state:running`: the whole text of a column, without regard to case.
    Is {
        /// The column's name.
        column: String,
        /// The text.
        text: String,
    },
    /// `name~web`: what the text of a column contains, without regard to case.
    Contains {
        /// The column's name.
        column: String,
        /// The text.
        text: String,
    },
    /// `cpu>50`: the bounds of a column's number, in the column's own unit.
    Within {
        /// The column's name.
        column: String,
        /// The lower bound.
        from: Bound<f64>,
        /// The upper bound.
        to: Bound<f64>,
    },
}

/// A filter that cannot be understood: which part of it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misread {
    /// Where the part stands in the text, in bytes.
    pub part: Range<usize>,
    /// Why it cannot be understood.
    pub why: FilterError,
}

/// Why a filter cannot be understood, in a few words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The list has no such column.
    #[error("no column '{0}'")]
    Column(String),
    /// A value is missing, too long, or of the wrong type for its column.
    #[error("{0}")]
    Value(String),
}

impl Filter {
    /// A filter for rows that contain every one of these words, as they are.
    #[must_use]
    pub fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        words.into_iter().map(|word| FilterTest::Word(word.to_owned())).collect()
    }

    /// The same filter with one more term.
    #[must_use]
    pub fn and(mut self, not: bool, test: FilterTest) -> Self {
        self.terms.push(FilterTerm { not, test });
        self
    }

    /// The same filter with one more term: rows whose state is, or is `not`, of that word.
    #[must_use]
    pub fn and_state(self, not: bool, state: &str) -> Self {
        self.and(not, FilterTest::Is { column: "state".to_owned(), text: state.to_owned() })
    }

    /// Whether every row matches.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Checks a filter that came as it is and not from [`Filter::parse`].
    ///
    /// # Errors
    /// When it names a column that these rows do not have, or compares one as it cannot be.
    pub fn check(&self, of: Subject) -> Result<(), FilterError> {
        for FilterTerm { test, .. } in &self.terms {
            let (FilterTest::Word(text)
            | FilterTest::Is { text, .. }
            | FilterTest::Contains { text, .. }) = test
            else {
                continue;
            };
            if text.chars().count() > LONGEST || text.contains(char::is_control) {
                return Err(FilterError::Value(format!(
                    "a text has more than {LONGEST} characters, or control characters"
                )));
            }
        }
        for FilterTerm { test, .. } in &self.terms {
            let (column, is_text) = match test {
                FilterTest::Word(_) => continue,
                FilterTest::Is { column, .. } | FilterTest::Contains { column, .. } => {
                    (column, true)
                }
                FilterTest::Within { column, .. } => (column, false),
            };
            let holds = match of.column(column) {
                Some(known) => known.holds,
                None if column == REFERRED => Quantity::Text,
                None => return Err(FilterError::Column(column.clone())),
            };
            if is_text != (holds == Quantity::Text) {
                return Err(FilterError::Value(format!("{column} cannot be compared so")));
            }
            test.check_word(of)?;
        }
        Ok(())
    }

    /// Whether a row matches. `columns` are the row's columns, `field` reads one by its name.
    pub fn matches<'a>(
        &self,
        columns: &[Column],
        field: impl Fn(&str) -> Option<Value<'a>>,
    ) -> bool {
        self.terms.iter().all(|term| term.test.passes(columns, &field) != term.not)
    }
}

impl FromIterator<FilterTest> for Filter {
    fn from_iter<I: IntoIterator<Item = FilterTest>>(tests: I) -> Self {
        Self { terms: tests.into_iter().map(|test| FilterTerm { not: false, test }).collect() }
    }
}

impl FilterTest {
    /// Whether a row passes. `columns` are the row's columns, `field` reads one by its name.
    pub fn passes<'a>(
        &self,
        columns: &[Column],
        field: impl Fn(&str) -> Option<Value<'a>>,
    ) -> bool {
        let text = |column: &str| match field(column) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        };
        let number = |column: &str| match field(column) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        };
        match self {
            Self::Word(word) => {
                let is_number = row_number(word)
                    .is_some_and(|wanted| number("id").is_some_and(|id| id == wanted as f64));
                is_number
                    || columns
                        .iter()
                        .map(|column| column.name.as_ref())
                        .chain([REFERRED])
                        .any(|column| text(column).is_some_and(|text| contains(&text, word)))
            }
            Self::Is { column, text: wanted } => {
                text(column).is_some_and(|text| after(&text, wanted) == Some(""))
            }
            Self::Contains { column, text: wanted } => {
                text(column).is_some_and(|text| contains(&text, wanted))
            }
            Self::Within { column, from, to } => {
                number(column).is_some_and(|number| (*from, *to).contains(&number))
            }
        }
    }
}

/// The number of the row that a word may be: `22` or `#22`.
#[must_use]
pub fn row_number(word: &str) -> Option<u64> {
    let digits = word.strip_prefix('#').unwrap_or(word);
    // `parse` takes a sign besides.
    digits.parse().ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()))
}

/// A character, and what it is in lower and in upper case. Where that is more than one character,
/// as for 'ß', the character stands for itself.
#[must_use]
pub fn cases(c: char) -> [char; 3] {
    if c.is_ascii() {
        return [c, c.to_ascii_lowercase(), c.to_ascii_uppercase()];
    }
    let (mut lower, mut upper) = (c.to_lowercase(), c.to_uppercase());
    let only = |first: Option<char>, more: Option<char>| match (first, more) {
        (Some(only), None) => only,
        _ => c,
    };
    [c, only(lower.next(), lower.next()), only(upper.next(), upper.next())]
}

/// What follows `wanted` in a text that begins with it, without regard to case.
fn after<'a>(text: &'a str, wanted: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    wanted
        .chars()
        .all(|wanted| rest.next().is_some_and(|c| cases(wanted).contains(&c)))
        .then_some(rest.as_str())
}

fn contains(text: &str, wanted: &str) -> bool {
    text.char_indices().any(|(at, _)| after(&text[at..], wanted).is_some())
}

#[cfg(test)]
mod tests;
