//! How people write filters.
//!
//! ```text
//! filter      a term after the other; every one must hold
//! term        [- or !] word, or [- or !] column operator value
//! operator    : = != ~ !~ > >= < <=
//! word        anything without a space; in quotes, with spaces
//! value       50   50%   1.5GiB   90s   1h30m   2026-11   2026-11-20   14:30   today
//! ```

use std::ops::Bound;

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, ToSpan, Zoned};

use super::{AGE, Filter, FilterError, FilterTerm, FilterTest, LONGEST, Misread, REFERRED};
use crate::domain::resource::{Column, Quantity};
use crate::domain::size::{number, size};
use crate::domain::subject::Subject;

/// Moments that may be compared with a length of time, which says how long ago: `updated<1h`. For
/// when a row came to be there is [`AGE`].
const AGED: [&str; 2] = ["finished", "updated"];

/// The operators, longer ones before those they begin with.
const OPERATORS: [(&str, Operator); 9] = [
    ("!=", Operator::IsNot),
    ("!~", Operator::ContainsNot),
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (":", Operator::Is),
    ("=", Operator::Is),
    ("~", Operator::Contains),
    (">", Operator::Above),
    ("<", Operator::Below),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Is,
    IsNot,
    Contains,
    ContainsNot,
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// A value that was read: from its first number to its last. A day is as long as it is, and
/// anything else is a single number.
struct Extent {
    from: f64,
    to: Bound<f64>,
}

impl Extent {
    const fn single(number: f64) -> Self {
        Self { from: number, to: Bound::Included(number) }
    }

    const fn until(from: f64, end: f64) -> Self {
        Self { from, to: Bound::Excluded(end) }
    }

    /// The bounds of what stands in that relation to it.
    const fn bounds(&self, operator: Operator) -> (Bound<f64>, Bound<f64>) {
        match operator {
            Operator::Above => match self.to {
                Bound::Included(last) => (Bound::Excluded(last), Bound::Unbounded),
                Bound::Excluded(end) => (Bound::Included(end), Bound::Unbounded),
                Bound::Unbounded => (Bound::Unbounded, Bound::Unbounded),
            },
            Operator::AtLeast => (Bound::Included(self.from), Bound::Unbounded),
            Operator::Below => (Bound::Unbounded, Bound::Excluded(self.from)),
            Operator::AtMost => (Bound::Unbounded, self.to),
            _ => (Bound::Included(self.from), self.to),
        }
    }
}

impl Filter {
    /// Reads a filter as people write it, for the rows of a list. Days, times and ages are meant
    /// as of `now`, in its time zone.
    ///
    /// # Errors
    /// What cannot be understood, in a few words.
    pub fn parse(text: &str, of: Subject, now: &Zoned) -> Result<Self, FilterError> {
        read(text, of, now, |_| Ok(())).map_err(|misread| misread.why)
    }

    /// The same, for whoever points at what is wrong and knows the `kinds` of operations: one that
    /// is not among them is refused.
    ///
    /// # Errors
    /// Which part cannot be understood, and why.
    pub fn read(text: &str, of: Subject, now: &Zoned, kinds: &[&str]) -> Result<Self, Misread> {
        read(text, of, now, |test| test.check_kind(kinds))
    }
}

/// Reads a filter all of whose tests pass a check.
fn read(
    text: &str,
    of: Subject,
    now: &Zoned,
    check: impl Fn(&FilterTest) -> Result<(), FilterError>,
) -> Result<Filter, Misread> {
    let whole = |why: String| Misread { part: 0..text.len(), why: FilterError::Value(why) };
    if text.chars().count() > LONGEST {
        return Err(whole(format!("more than {LONGEST} characters")));
    }
    if text.contains(char::is_control) {
        return Err(whole("a control character".to_owned()));
    }
    let mut terms = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (term, after) = signed(rest, of, now)
            .and_then(|(term, after)| check(&term.test).map(|()| (term, after)))
            .map_err(|why| {
                let at = text.len() - rest.len();
                Misread { part: at..text.len() - value(rest).1.len(), why }
            })?;
        if term.test != FilterTest::Word(String::new()) {
            terms.push(term);
        }
        rest = after.trim_start();
    }
    Ok(Filter { terms })
}

/// The term a text begins with, its sign before it, and what follows it.
fn signed<'a>(
    text: &'a str,
    of: Subject,
    now: &Zoned,
) -> Result<(FilterTerm, &'a str), FilterError> {
    if let Some((sign, _, _)) = operator(text) {
        return Err(FilterError::Value(format!("no column before '{sign}'")));
    }
    let not = text
        .strip_prefix(['-', '!'])
        .filter(|after| after.starts_with(|c: char| !c.is_whitespace()));
    let (mut term, rest) = term(not.unwrap_or(text), of, now)?;
    term.not ^= not.is_some();
    Ok((term, rest))
}

/// The term a text begins with, and what follows it.
fn term<'a>(text: &'a str, of: Subject, now: &Zoned) -> Result<(FilterTerm, &'a str), FilterError> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some((sign, operator, rest)) = operator(rest).filter(|_| !name.is_empty()) else {
        let (word, rest) = value(text);
        return Ok((FilterTerm { not: false, test: FilterTest::Word(word) }, rest));
    };
    let name = name.to_ascii_lowercase();
    let column = of.called(&name);
    if column.is_none() && (name != AGE || !of.has_age()) {
        return Err(FilterError::Column(name));
    }
    let (value, rest) = value(rest);
    if value.is_empty() {
        return Err(FilterError::Value(format!("nothing follows '{name}{sign}'")));
    }
    let term = match column {
        Some(column) if AGED.contains(&&*column.name) && is_length(&value) => {
            age(&column.name, &name, operator, &value, now)?
        }
        Some(column) => test(column, &name, operator, value, now)?,
        None => age(Column::CREATED, AGE, operator, &value, now)?,
    };
    term.test.check_word(of)?;
    Ok((term, rest))
}

/// The operator a text begins with: how it is written, which it is, and what follows it.
fn operator(text: &str) -> Option<(&'static str, Operator, &str)> {
    OPERATORS
        .into_iter()
        .find_map(|(sign, operator)| Some((sign, operator, text.strip_prefix(sign)?)))
}

/// The text up to the next space that does not stand in quotes, without the quotes.
fn value(text: &str) -> (String, &str) {
    let (mut quoted, mut value) = (false, String::new());
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => return (value, &text[at..]),
            c => value.push(c),
        }
    }
    (value, "")
}

/// A comparison with a column there is, which was called `name`.
fn test(
    column: &Column,
    name: &str,
    operator: Operator,
    value: String,
    now: &Zoned,
) -> Result<FilterTerm, FilterError> {
    use Operator as O;
    // A number there is that of what it refers to, and what is shown is its name.
    let is_contained = matches!(operator, O::Contains | O::ContainsNot);
    let is_name = is_contained || value.parse::<u64>().is_err();
    let (column, quantity) = if !column.refers_to.is_empty() && is_name {
        (REFERRED.to_owned(), Quantity::Text)
    } else {
        (column.name.to_string(), column.holds)
    };
    let not = matches!(operator, O::IsNot | O::ContainsNot);
    let cannot = |what: &str, takes: &str| {
        Err(FilterError::Value(format!("{name} is {what}: it takes {takes}")))
    };
    let test = match (quantity, operator) {
        (Quantity::Text, O::Is | O::IsNot) => FilterTest::Is { column, text: value },
        (Quantity::Text, O::Contains | O::ContainsNot) => {
            FilterTest::Contains { column, text: value }
        }
        (Quantity::Text, _) => return cannot("a text", ": != ~ !~"),
        (Quantity::Moment, O::Contains | O::ContainsNot) => {
            return cannot("a time", ": != > >= < <=");
        }
        (_, O::Contains | O::ContainsNot) => return cannot("a number", ": != > >= < <="),
        _ => {
            let (from, to) = extent(quantity, &value, now)?.bounds(operator);
            FilterTest::Within { column, from, to }
        }
    };
    Ok(FilterTerm { not, test })
}

/// Whether a value is a length of time, with its unit.
fn is_length(value: &str) -> bool {
    value.ends_with(|c: char| c.is_ascii_alphabetic()) && seconds(value).is_some()
}

/// A comparison with how long ago the moment in a column was.
fn age(
    column: &str,
    name: &str,
    operator: Operator,
    value: &str,
    now: &Zoned,
) -> Result<FilterTerm, FilterError> {
    // Older is earlier.
    let operator = match operator {
        Operator::Above => Operator::Below,
        Operator::AtLeast => Operator::AtMost,
        Operator::Below => Operator::Above,
        Operator::AtMost => Operator::AtLeast,
        _ => {
            let why = format!("{name} is a length of time: it takes > >= < <=");
            return Err(FilterError::Value(why));
        }
    };
    let seconds = seconds(value)
        .filter(|_| is_length(value))
        .ok_or_else(|| no(value, "length of time, like 90m or 2h"))?;
    let began = now.timestamp().as_second() as f64 - seconds;
    let (from, to) = Extent::single(began).bounds(operator);
    Ok(FilterTerm { not: false, test: FilterTest::Within { column: column.to_owned(), from, to } })
}

fn no(value: &str, what: &str) -> FilterError {
    FilterError::Value(format!("'{value}' is no {what}"))
}

/// A value as its column has it.
fn extent(quantity: Quantity, value: &str, now: &Zoned) -> Result<Extent, FilterError> {
    const MIB: f64 = 1024.0 * 1024.0;
    let number = |unit: &str| number(value).filter(|(_, is)| is.is_empty() || *is == unit);
    let single =
        |number: Option<f64>, what: &str| number.map(Extent::single).ok_or_else(|| no(value, what));
    match quantity {
        Quantity::Text | Quantity::Number => single(number("").map(|it| it.0), "number"),
        Quantity::Percent => single(number("%").map(|it| it.0), "percentage, like 50%"),
        Quantity::Mib => single(size(value, MIB).map(|bytes| bytes / MIB), "size, like 500MiB"),
        Quantity::Bytes => single(size(value, 1.0), "size, like 500MiB"),
        Quantity::Seconds => single(seconds(value), "length of time, like 90s or 2h"),
        Quantity::Moment => moment(value, now).ok_or_else(|| {
            let hint = if seconds(value).is_some() { "; see age<2h" } else { "" };
            no(value, &format!("time, like 2026-11-20 or 14:30{hint}"))
        }),
    }
}

/// A length of time in seconds: `90`, `90s`, `1h30m`, `1:30:00`.
fn seconds(text: &str) -> Option<f64> {
    if text.contains(':') {
        return text
            .split(':')
            .try_fold(0.0, |sum, part| Some(sum * 60.0 + f64::from(part.parse::<u32>().ok()?)));
    }
    let (mut sum, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let letters = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (number, unit) = rest.split_at(letters);
        let next = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at(next);
        let unit = match unit {
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok().filter(|number| number.is_finite())? * unit;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

/// A moment: a year, a month, a day, a minute or a second, as long as it is.
fn moment(text: &str, now: &Zoned) -> Option<Extent> {
    let day = |days: i64| now.date().checked_add(days.days()).ok();
    let (from, long) = match text.to_ascii_lowercase().as_str() {
        "now" => (now.datetime(), 1.second()),
        "today" => (day(0)?.into(), 1.day()),
        "yesterday" => (day(-1)?.into(), 1.day()),
        "tomorrow" => (day(1)?.into(), 1.day()),
        _ => match dated(text, now.date()) {
            Some(read) => read,
            None => return second(text),
        },
    };
    let at = |at: DateTime| {
        let at = at.to_zoned(now.time_zone().clone()).ok()?;
        Some(at.timestamp().as_second() as f64)
    };
    Some(Extent::until(at(from)?, at(from.checked_add(long).ok()?)?))
}

/// A date, a time of day, or both; the day is today where none is given.
fn dated(text: &str, today: Date) -> Option<(DateTime, Span)> {
    if let Some((date, time)) = text.split_once(['T', 't', ' ']) {
        let ((date, _), (time, long)) = (date_of(date)?, time_of(time.trim())?);
        return Some((date.to_datetime(time), long));
    }
    if let Some((time, long)) = time_of(text) {
        return Some((today.to_datetime(time), long));
    }
    let (date, long) = date_of(text)?;
    Some((date.into(), long))
}

/// `2026`, `2026-11` or `2026-11-20`.
fn date_of(text: &str) -> Option<(Date, Span)> {
    let mut parts = text.split('-');
    let year = parts.next().filter(|year| year.len() == 4)?.parse().ok()?;
    let mut next = || parts.next().map(|part| part.parse::<i8>().ok());
    let (month, day, more) = (next(), next(), next());
    let long = match (month, day, more) {
        (None, ..) => 1.year(),
        (Some(_), None, _) => 1.month(),
        (Some(_), Some(_), None) => 1.day(),
        _ => return None,
    };
    let date = Date::new(year, month.unwrap_or(Some(1))?, day.unwrap_or(Some(1))?).ok()?;
    Some((date, long))
}

/// `14:30` or `14:30:05`.
fn time_of(text: &str) -> Option<(Time, Span)> {
    let parts: Option<Vec<i8>> = text.split(':').map(|part| part.parse().ok()).collect();
    match parts?.as_slice() {
        [hour, minute] => Some((Time::new(*hour, *minute, 0, 0).ok()?, 1.minute())),
        [hour, minute, second] => Some((Time::new(*hour, *minute, *second, 0).ok()?, 1.second())),
        _ => None,
    }
}

/// A second that needs no zone: `2026-11-20T09:00:00Z`, or counted from 1970.
fn second(text: &str) -> Option<Extent> {
    let counted = || text.parse().ok().filter(|_| text.len() > 8);
    let at = text.parse::<Timestamp>().ok().map(Timestamp::as_second).or_else(counted)?;
    Some(Extent::single(at as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Value;

    #[test]
    fn a_change_may_be_asked_for_by_how_long_ago_it_was() {
        let now = "2026-11-20T12:00+01[Europe/Berlin]".parse::<Zoned>().unwrap();
        let ago = |minutes: i64| now.timestamp() - jiff::SignedDuration::from_mins(minutes);
        let changed = |at: Timestamp| move |_: &str| Some(Value::Number(at.as_second() as f64));
        for (filter, minutes, expected) in [
            ("updated<1h", 59, true),
            ("updated<1h", 61, false),
            ("updated>1h", 61, true),
            ("updated<1d finished<1d", 61, true),
            ("updated>2026-11-01", 61, true),
        ] {
            let filter = Filter::parse(filter, Subject::Operations, &now).unwrap();
            let columns = Subject::Operations.columns();
            assert_eq!(filter.matches(columns, changed(ago(minutes))), expected, "{filter:?}");
        }
        let error = Filter::parse("updated:2h", Subject::Operations, &now).unwrap_err();
        assert_eq!(error.to_string(), "updated is a length of time: it takes > >= < <=");
    }
}
