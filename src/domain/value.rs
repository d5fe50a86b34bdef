//! The value of a column: what rows are compared, filtered and sorted by.

use std::borrow::Cow;
use std::cmp::Ordering;

/// The value of a column, for comparing. Most texts stand in the row itself.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub enum Value<'a> {
    /// A number, in the column's own unit.
    Number(f64),
    /// A text.
    Text(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }
}

/// Where a value stands among others: numbers by size, texts without regard to case, numbers first.
/// Made once for a row that is sorted, because each is compared many times.
#[derive(Debug)]
pub enum ValueOrder<'a> {
    /// A number.
    Number(f64),
    /// A text, and the same in lower case where that is another.
    Text(Cow<'a, str>, Option<String>),
}

impl<'a> From<Value<'a>> for ValueOrder<'a> {
    fn from(value: Value<'a>) -> Self {
        match value {
            Value::Number(number) => Self::Number(number),
            Value::Text(text) => {
                let is_lower = text.is_ascii() && !text.bytes().any(|it| it.is_ascii_uppercase());
                let lower = (!is_lower).then(|| text.to_lowercase());
                Self::Text(text, lower)
            }
        }
    }
}

impl Ord for ValueOrder<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a, lower_a), Self::Text(b, lower_b)) => {
                let lower = (lower_a.as_deref().unwrap_or(a), lower_b.as_deref().unwrap_or(b));
                lower.0.cmp(lower.1).then_with(|| a.cmp(b))
            }
            (Self::Number(_), Self::Text(..)) => Ordering::Less,
            (Self::Text(..), Self::Number(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for ValueOrder<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ValueOrder<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ValueOrder<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_first_and_case_counts_only_between_equals() {
        let text = Value::text;
        let sorted = [
            Value::Number(2.0),
            Value::Number(10.0),
            text("A"),
            text("a"),
            text("B"),
            text("ÄRA"),
            text("äre"),
        ];
        let mut rows = sorted.to_vec();
        rows.reverse();
        rows.sort_by_cached_key(|value| ValueOrder::from(value.clone()));
        assert_eq!(rows, sorted);
    }
}
