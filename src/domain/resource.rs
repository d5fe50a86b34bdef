//! Resources: the things operations act on, and how they are named.
//!
//! A resource is written `vm/3`: its kind and its number. Numbers are never used twice. What a kind
//! is called and shows stands in its description, [`ResourceSpec`]; the kinds hostler itself has
//! are in [`super::resources`], and others are known by the description alone, see [`Foreign`].

mod foreign;
mod kind;
mod spec;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use foreign::Foreign;
#[cfg(test)]
pub(in crate::domain) use foreign::read;
pub use kind::ResourceKind;
pub use spec::{
    Column, Detail, Emphasis, Piece, Quantity, ResourceSpec, StateSpec, StateTone, Switch,
};

use super::json::Params;
use super::value::Value;

/// One resource: its kind and its number, written `vm/3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ResourceId {
    /// What it is.
    pub kind: ResourceKind,
    /// Its number, from 1, never used twice within the kind.
    pub id: u64,
}

impl ResourceId {
    /// The resource of `kind` with number `id`.
    #[must_use]
    pub const fn new(kind: ResourceKind, id: u64) -> Self {
        Self { kind, id }
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

impl FromStr for ResourceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, id) = text
            .split_once('/')
            .ok_or_else(|| format!("'{text}' is no resource; write it like vm/3"))?;
        let id = id.parse().map_err(|_| format!("'{id}' in '{text}' is no number"))?;
        Ok(Self::new(kind.parse()?, id))
    }
}

impl From<ResourceId> for String {
    fn from(id: ResourceId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ResourceId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A type of resource that hostler itself has, and all that the rest of it knows of the type.
///
/// Everything the JSON document of a resource holds under the name of a column, or under
/// [`Column::member`], is what [`ResourceType::value`] returns for that column: a console that does
/// not know the type shows the document.
pub trait ResourceType: Clone + Serialize + DeserializeOwned + 'static {
    /// Its kind.
    const KIND: ResourceKind;

    /// The document of one with number 1 and a value in every column, which tests hold to the
    /// description.
    #[cfg(test)]
    const SAMPLE: &str;

    /// Its description.
    fn spec() -> ResourceSpec;

    /// Its number.
    fn id(&self) -> u64;

    /// Its name.
    fn name(&self) -> &str;

    /// Its state, by one of the words of [`ResourceSpec::states`].
    fn state(&self) -> &'static str;

    /// The value of a column besides `id`, `name` and `state`, in the column's unit; `None` where
    /// it has none.
    fn value(&self, column: &str) -> Option<Value<'_>>;

    /// Everything about it, a fact each; by default what stands in its columns.
    fn details(&self) -> Vec<Detail> {
        let columns = Self::KIND.spec().columns.iter();
        columns.filter_map(|column| Detail::of(column, self.value(&column.name)?)).collect()
    }

    /// What tells it from others of its kind where one is to be chosen; by default its state.
    fn note(&self) -> String {
        self.state().to_owned()
    }

    /// What about it needs a person, in one sentence; `None` when nothing does.
    fn problem(&self) -> Option<&str> {
        None
    }

    /// The resources it refers to, which it knows only by number.
    fn refers_to(&self) -> Vec<ResourceId> {
        Vec::new()
    }

    /// Whether all of it is there: no operation is still making it.
    fn is_whole(&self) -> bool {
        true
    }

    /// The paths of its own files, as its document names them: they follow a state directory that
    /// is moved.
    fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        Vec::new()
    }

    /// Whether it keeps others of its kind from having its name.
    fn holds_name(&self) -> bool {
        true
    }

    /// The kind of operation it asks for by itself and what it asks with, if it does.
    fn asks_for(&self) -> Option<(&str, &Params)> {
        None
    }
}
