//! The lists there are.

use serde::{Deserialize, Serialize};

use crate::domain::{Catalogue, ResourceKind, Subject};

/// A list, and the tab that opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Tab {
    /// The resources of a kind.
    Resources(ResourceKind),
    /// Operations of every kind and state.
    Operations,
}

impl Tab {
    /// The lists of what a catalogue describes, in the order of their tabs.
    #[must_use]
    pub fn all(catalogue: &Catalogue) -> Vec<Self> {
        let aside = |is: bool| {
            let kinds = catalogue.resources().iter().copied();
            kinds.filter(move |kind| kind.spec().aside == is).map(Self::Resources)
        };
        aside(false).chain([Self::Operations]).chain(aside(true)).collect()
    }

    /// What stands on it.
    #[must_use]
    pub fn title(self) -> String {
        match self {
            Self::Resources(kind) => kind.spec().title(),
            Self::Operations => "Operations".to_owned(),
        }
    }

    /// What its rows are called in a sentence.
    #[must_use]
    pub fn many(self) -> &'static str {
        match self {
            Self::Resources(kind) => &kind.spec().many,
            Self::Operations => "operations",
        }
    }

    /// The kind of resource it lists; `None` for operations.
    #[must_use]
    pub const fn resource(self) -> Option<ResourceKind> {
        match self {
            Self::Resources(kind) => Some(kind),
            Self::Operations => None,
        }
    }

    /// What its list is of, for the backend.
    #[must_use]
    pub const fn subject(self) -> Subject {
        match self {
            Self::Resources(kind) => Subject::Resources(kind),
            Self::Operations => Subject::Operations,
        }
    }
}

impl Default for Tab {
    /// The first there is.
    fn default() -> Self {
        ResourceKind::ALL.first().map_or(Self::Operations, |kind| Self::Resources(*kind))
    }
}

impl From<Tab> for String {
    fn from(tab: Tab) -> Self {
        tab.subject().plural().to_owned()
    }
}

impl TryFrom<String> for Tab {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match word.as_str() {
            "operations" => Ok(Self::Operations),
            kind => kind.parse().map(Self::Resources),
        }
    }
}
