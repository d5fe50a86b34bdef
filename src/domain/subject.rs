//! What a list is of.

use serde::{Deserialize, Serialize};

use super::operation::Operation;
use super::resource::{Column, ResourceKind};

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Resources of a kind.
    Resources(ResourceKind),
    /// Operations.
    Operations,
}

impl Subject {
    /// The columns of a list of it.
    #[must_use]
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Operations => Operation::columns(),
            Self::Resources(kind) => &kind.spec().columns,
        }
    }

    /// The column of that name.
    #[must_use]
    pub fn column(self, name: &str) -> Option<&'static Column> {
        self.columns().iter().find(|column| column.name == name)
    }

    /// Whether its rows say when they came to be, and so how old they are.
    #[must_use]
    pub fn has_age(self) -> bool {
        self.column(Column::CREATED).is_some()
    }

    /// The column that a person means by a word, without regard to case: its name, or what stands
    /// over it.
    #[must_use]
    pub fn called(self, word: &str) -> Option<&'static Column> {
        let word = match self {
            Self::Operations if word.eq_ignore_ascii_case("id") => "uid",
            _ => word,
        };
        let own = self.columns().iter().find(|column| column.name.eq_ignore_ascii_case(word));
        own.or_else(|| self.columns().iter().find(|it| it.title.eq_ignore_ascii_case(word)))
    }

    /// What many of it are called in requests: `vms`, `operations`.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Operations => "operations",
            Self::Resources(kind) => kind.plural(),
        }
    }
}
