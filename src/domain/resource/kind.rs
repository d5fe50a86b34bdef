//! What sort of thing a resource is: a word.

use std::fmt;

use serde::{Serialize, Serializer};

/// What sort of thing a resource is: the word for one of them, as in `vm/3`.
///
/// There is none without a description: hostler's own stand in the list of kinds, and others come
/// with a catalogue, see [`ResourceKind::describe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResourceKind(&'static str);

impl ResourceKind {
    /// The kind of a word that stands in the list of kinds.
    pub(in crate::domain) const fn new(word: &'static str) -> Self {
        Self(word)
    }

    /// The word for one of them, as in `vm/3`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Serialize for ResourceKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}
