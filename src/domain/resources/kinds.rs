//! Which kinds of resources there are: those hostler itself has, and those a backend has described.

use std::cmp::Ordering;
use std::str::FromStr;
use std::sync::LazyLock;

use parking_lot::RwLock;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{own, own_specs};
use crate::domain::display::listed;
use crate::domain::resource::{ResourceKind, ResourceSpec};

/// The descriptions that came with catalogues, the latest last. They stay for good, because kinds
/// are passed around by their words.
static DESCRIBED: RwLock<Vec<&'static ResourceSpec>> = RwLock::new(Vec::new());

/// The most descriptions that are kept.
const MAX_FOREIGN: usize = 64;

impl ResourceKind {
    /// The word for many of them, as in `hostler list vms`.
    #[must_use]
    pub fn plural(self) -> &'static str {
        &self.spec().plural
    }

    /// Its description.
    #[must_use]
    pub fn spec(self) -> &'static ResourceSpec {
        static NONE: LazyLock<ResourceSpec> = LazyLock::new(ResourceSpec::default);
        // A kind has a description before anybody has the kind.
        own(self.word()).or_else(|| described(self.word())).unwrap_or(&NONE)
    }

    /// Whether hostler itself has it, so that its resources are more than their documents here.
    #[must_use]
    pub fn is_own(self) -> bool {
        own(self.word()).is_some()
    }

    /// Takes in the description of a kind as a backend gives it. Of a kind that hostler itself
    /// has, its own description stays.
    ///
    /// # Errors
    /// When it has no proper word, or too many are described already.
    pub fn describe(spec: &ResourceSpec) -> Result<Self, String> {
        let is_proper = |word: &str| {
            (1..=32).contains(&word.len())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if !is_proper(&spec.word) || !is_proper(&spec.plural) {
            return Err(format!("'{}' is no word for a kind of resource", spec.word));
        }
        if let Some(own) = own(&spec.word) {
            return Ok(Self::new(&own.word));
        }
        let mut all = DESCRIBED.write();
        if let Some(known) = all.iter().find(|known| **known == spec) {
            return Ok(Self::new(&known.word));
        }
        if all.len() == MAX_FOREIGN {
            return Err(format!("more than {MAX_FOREIGN} kinds of resources are described"));
        }
        let kept: &'static ResourceSpec = Box::leak(Box::new(spec.clone()));
        all.push(kept);
        Ok(Self::new(&kept.word))
    }

    /// The kind of a word, if there is a description of it.
    fn known(word: &str) -> Option<Self> {
        own(word).or_else(|| described(word)).map(|spec| Self::new(&spec.word))
    }
}

/// The latest description of a word.
fn described(word: &str) -> Option<&'static ResourceSpec> {
    let all = DESCRIBED.read();
    all.iter().rev().find(|spec| spec.word == word).copied()
}

impl Ord for ResourceKind {
    /// hostler's own in the order of their list, then others by their words.
    fn cmp(&self, other: &Self) -> Ordering {
        if self == other {
            return Ordering::Equal;
        }
        let place = |kind: &Self| Self::ALL.iter().position(|own| own == kind);
        let place = |kind| place(kind).unwrap_or(usize::MAX);
        place(self).cmp(&place(other)).then_with(|| self.word().cmp(other.word()))
    }
}

impl PartialOrd for ResourceKind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for ResourceKind {
    type Err = String;

    /// Takes the singular and the plural word.
    fn from_str(word: &str) -> Result<Self, String> {
        let described: Vec<_> = {
            let all = DESCRIBED.read();
            all.iter().rev().copied().collect()
        };
        let all = || own_specs().iter().chain(described.iter().copied());
        let found = all().find(|spec| spec.word == word || spec.plural == word);
        found.map(|spec| Self::new(&spec.word)).ok_or_else(|| {
            let words: Vec<&str> = all().map(|spec| spec.word.as_ref()).collect();
            format!("'{word}' is no resource; there are {}", listed(&words, "and"))
        })
    }
}

impl<'de> Deserialize<'de> for ResourceKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::known(&word)
            .ok_or_else(|| D::Error::custom(format!("'{word}' is no kind of resource known here")))
    }
}
