//! Filters: which rows of a list are wanted.
//!
//! A filter is read by whoever asks, see [`Filter::parse`]: what it says of days and ages is meant
//! at the moment and in the time zone of the person who wrote it. What is left is a few plain tests
//! that mean the same in memory, see [`Filter::matches`], and in the store's SQL.

mod parse;

use std::ops::{Bound, Range, RangeBounds};

use serde::{Deserialize, Serialize};

use super::query::{Subject, Value};
use super::resource::{Column, Quantity};

/// What stands for the names of what a row refers to where its columns are read: a disk's VM, a
/// VM's disks, one a line. Every word looks into it, and a comparison of a disk's VM with a name.
pub const REFERRED: &str = "referred to";

/// What a filter calls the time since a row came to be, which is no column.
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
        }
        Ok(())
    }

    /// Whether a row matches. `columns` are the row's columns, `field` reads one by its name.
    pub fn matches(&self, columns: &[Column], field: impl Fn(&str) -> Option<Value>) -> bool {
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
    pub fn passes(&self, columns: &[Column], field: impl Fn(&str) -> Option<Value>) -> bool {
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
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::domain::{Disk, Image, Resource, ResourceKind, Vm};

    const VMS: Subject = Subject::Resources(Vm::KIND);

    fn row(name: &str) -> Option<Value> {
        match name {
            "id" => Some(Value::Number(22.0)),
            "name" => Some(Value::Text("Web-3 Über".into())),
            "state" => Some(Value::Text("running".into())),
            "cpu" => Some(Value::Number(62.5)),
            "memory" => Some(Value::Number(1024.0)),
            // 2026-11-20 10:00 in Berlin.
            "created" => Some(Value::Number(1_795_165_200.0)),
            _ => None,
        }
    }

    #[test]
    fn every_term_must_match() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
        assert_eq!(now.time_zone(), &zone);
        for (filter, expected) in [
            ("", true),
            ("web", true),
            ("web state:running cpu>50 name~eb-", true),
            ("web state:halted", false),
            ("STATE=Running state!=halted", true),
            ("state!=running", false),
            ("absent", false),
            ("-absent !gone -state:halted", true),
            ("-web", false),
            ("22 #22", true),
            ("2", false),
            ("#2", false),
            ("-22", false),
            ("\"3 ü\" name:\"web-3 über\"", true),
            ("\"web-3  über\"", false),
            ("name!~web", false),
            ("cpu<50", false),
            ("cpu:62.5 cpu=62.5% cpu!=62", true),
            ("cpu>62.5", false),
            ("cpu>=62.5 cpu<=62.5", true),
            ("memory>=1 memory>1MiB memory:1GiB memory<1.1GB memory:1024 memory:1g", true),
            ("memory>1GiB", false),
            // Nothing is known of it, so it is neither above nor below.
            ("used>=0", false),
            ("used<1", false),
            ("-used<1 used!=1", true),
            ("created:2026-11-20 created>=2026-11-20 created<=2026-11-20 created:today", true),
            ("created>2026-11-20", false),
            ("created<2026-11-20", false),
            ("created>2026-11-19 created>2026-10 created:2026 created>yesterday", true),
            ("created:10:00 created>09:59 created:2026-11-20T10:00 created<tomorrow", true),
            ("created:\"2026-11-20 10:00:00\" created:2026-11-20T09:00:00Z", true),
            ("created:1795165200 created>1795165199", true),
            ("age<2h30m age>1h age<=2h age>=2h -age<1d30m", false),
            ("age<2h30m age>1h age<=2h age>=2h age<1w", true),
        ] {
            let read = Filter::parse(filter, VMS, &now).unwrap();
            assert_eq!(read.check(VMS), Ok(()), "{filter}");
            assert_eq!(read.matches(VMS.columns(), row), expected, "{filter}: {read:?}");
            let wire = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<Filter>(&wire).unwrap(), read, "{wire}");
        }
    }

    #[test]
    fn what_stands_over_a_column_means_it_and_no_other() {
        let subjects = ResourceKind::ALL.iter().copied().map(Subject::Resources);
        for of in subjects.chain([Subject::Operations]) {
            for column in of.columns() {
                assert_eq!(of.called(&column.name), Some(column));
                assert_eq!(of.called(&column.head()), Some(column), "{of:?}");
            }
        }
        let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
        for (of, filter, column) in [
            (Subject::Resources(Image::KIND), "SIZE>1GiB", "bytes"),
            (VMS, "resident>1GiB", "used"),
            (Subject::Resources(Disk::KIND), "vm:3", "vm"),
            (Subject::Operations, "when:today", "created"),
        ] {
            let read = Filter::parse(filter, of, &now).unwrap();
            let FilterTest::Within { column: is, .. } = &read.terms[0].test else {
                panic!("{read:?}");
            };
            assert_eq!(is, column);
        }
        assert_eq!(VMS.called("last"), None);
    }

    #[test]
    fn the_part_that_cannot_be_understood_is_pointed_at() {
        let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
        for (filter, part) in [
            ("web memory>big state:running", "memory>big"),
            ("web -colour:\"dark red\" x", "-colour:\"dark red\""),
            ("state:running ~x", "~x"),
            ("web state:", "state:"),
            ("a\tb", "a\tb"),
        ] {
            let misread = Filter::read(filter, VMS, &now).unwrap_err();
            assert_eq!(&filter[misread.part], part, "{filter}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_told_in_a_few_words() {
        let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<jiff::Zoned>().unwrap();
        for (filter, why) in [
            ("colour:red", "no column 'colour'"),
            ("web console:root", "no column 'console'"),
            ("state:", "nothing follows 'state:'"),
            ("name!=\"\"", "nothing follows 'name!='"),
            ("~x", "no column before '~'"),
            ("!=x", "no column before '!='"),
            ("name>m", "name is a text: it takes : != ~ !~"),
            ("cpu~5", "cpu is a number: it takes : != > >= < <="),
            ("cpu>hot", "'hot' is no percentage, like 50%"),
            ("cpu>50MiB", "'50MiB' is no percentage, like 50%"),
            ("memory>big", "'big' is no size, like 500MiB"),
            ("memory>1h", "'1h' is no size, like 500MiB"),
            ("memory>inf", "'inf' is no size, like 500MiB"),
            ("id:x", "'x' is no number"),
            ("vcpu>1MiB", "'1MiB' is no number"),
            ("created>soon", "'soon' is no time, like 2026-11-20 or 14:30"),
            ("created>2026-02-30", "'2026-02-30' is no time, like 2026-11-20 or 14:30"),
            ("created<2h", "'2h' is no time, like 2026-11-20 or 14:30; see age<2h"),
            ("age<2", "'2' is no length of time, like 90m or 2h"),
            ("age:2h", "age is a length of time: it takes > >= < <="),
            (&"x".repeat(1001), "more than 1000 characters"),
        ] {
            let error = Filter::parse(filter, VMS, &now).unwrap_err();
            assert_eq!(error.to_string(), why, "{filter}");
        }
    }

    #[test]
    fn every_column_is_held_in_what_it_says() {
        let resources = [
            r#"{"resource":"vm","id":1,"name":"a","state":"running",
                "uuid":"6f9619ff-8b86-4011-b42d-00c04fc964ff","image":1,"os":"tiny","shares":1,
                "memory_mib":1,"cpu":1,"login":"root","created":"2026-01-02T03:04:05Z",
                "cpu_percent":1.0,"memory_used_mib":1}"#,
            r#"{"resource":"disk","id":1,"name":"a","state":"attached","size_mb":1,
                "fstype":"ext4","format":"qcow2","path":"/d","vm":1,
                "created":"2026-01-02T03:04:05Z"}"#,
            r#"{"resource":"image","id":1,"name":"a","state":"ready","label":"a","source":"a",
                "bytes":1,"login":"root","created":"2026-01-02T03:04:05Z"}"#,
            r#"{"resource":"task","id":1,"name":"a","active":true,"kind":"vm_stop","params":{},
                "repeat":{},"next":"2026-01-02T03:04:05Z","settled":"2026-01-02T03:04:05Z",
                "created":"2026-01-02T03:04:05Z"}"#,
            r#"{"resource":"encoding","id":1,"name":"a","state":"finished","source":"/a",
                "preset":"webm","output":"/b","duration_s":1.0,"output_bytes":1,
                "created":"2026-01-02T03:04:05Z"}"#,
        ];
        for text in resources {
            let resource: Resource = serde_json::from_str(text).unwrap();
            for column in &resource.kind().spec().columns {
                let is_text = match resource.field(&column.name) {
                    Some(Value::Text(_)) => true,
                    Some(Value::Number(_)) => false,
                    // What a new column holds is unknown here until the sample above has it.
                    None => continue,
                };
                assert_eq!(is_text, column.holds == Quantity::Text, "{}", column.name);
            }
        }
    }
}
