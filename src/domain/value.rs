//! The value of a column: what rows are compared, filtered and sorted by.

use std::cmp::Ordering;

/// The value of a column, for comparing.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub enum Value {
    /// A number, in the column's own unit.
    Number(f64),
    /// A text.
    Text(String),
}

/// Where a value stands among others: numbers by size, texts without regard to case, numbers first.
/// Made once for a row that is sorted, because each is compared many times.
#[derive(Debug)]
pub enum ValueOrder {
    /// A number.
    Number(f64),
    /// A text, in lower case and as it is.
    Text(String, String),
}

impl From<Value> for ValueOrder {
    fn from(value: Value) -> Self {
        match value {
            Value::Number(number) => Self::Number(number),
            Value::Text(text) => Self::Text(text.to_lowercase(), text),
        }
    }
}

impl Ord for ValueOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a, as_is), Self::Text(b, other)) => a.cmp(b).then_with(|| as_is.cmp(other)),
            (Self::Number(_), Self::Text(..)) => Ordering::Less,
            (Self::Text(..), Self::Number(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for ValueOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ValueOrder {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ValueOrder {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_first_and_case_counts_only_between_equals() {
        let text = |text: &str| Value::Text(text.to_owned());
        let sorted = [Value::Number(2.0), Value::Number(10.0), text("A"), text("a"), text("B")];
        let mut rows = sorted.to_vec();
        rows.reverse();
        rows.sort_by_cached_key(|value| ValueOrder::from(value.clone()));
        assert_eq!(rows, sorted);
    }
}
