//! The value of a column: what rows are compared, filtered and sorted by.

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
