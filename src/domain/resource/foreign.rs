//! Resources of kinds that only a backend's description tells of: the JSON document, and what the
//! description says of it.

use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::super::json::Params;
use super::super::value::Value;
use super::spec::plain;
use super::{Column, Detail, Emphasis, Piece, ResourceId, ResourceKind, StateTone};

/// A resource of a kind that hostler itself does not have.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreign {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its number.
    pub id: u64,
    /// Its name; empty if the document has none.
    pub name: String,
    /// Its state; empty if the document has none.
    pub state: String,
    /// The document as it came, `resource`, `id`, `name` and `state` in it.
    pub document: Map<String, Json>,
}

impl Foreign {
    /// A resource of that kind, as its document has it.
    ///
    /// # Errors
    /// When the document has no number.
    pub fn new(kind: ResourceKind, document: Map<String, Json>) -> Result<Self, String> {
        let text = |member| match document.get(member) {
            Some(Json::String(text)) => text.clone(),
            _ => String::new(),
        };
        let id = document.get("id").and_then(Json::as_u64);
        let id = id.ok_or_else(|| format!("this {kind} has no number"))?;
        Ok(Self { kind, id, name: text("name"), state: text("state"), document })
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The value of a column, read from the document by what the column holds.
    #[must_use]
    pub fn value(&self, column: &str) -> Option<Value<'_>> {
        read(&self.document, self.kind.spec().column(column)?)
    }

    /// What stands in its columns, then what else the document says.
    #[must_use]
    pub fn details(&self) -> Vec<Detail> {
        let columns = &self.kind.spec().columns;
        let first = |name: &str| ["resource", "id", "name", "state"].contains(&name);
        let mut details: Vec<Detail> = columns
            .iter()
            .filter(|column| !first(&column.name))
            .filter_map(|column| Detail::of(column, self.value(&column.name)?))
            .collect();
        let is_column = |name: &str| columns.iter().any(|column| column.member_read() == name);
        for (name, value) in &self.document {
            if !first(name) && !is_column(name) && !value.is_null() {
                details.push(Detail {
                    label: name.clone().into(),
                    pieces: vec![Piece::text(plain(value))],
                    emphasis: Emphasis::Quiet,
                });
            }
        }
        details
    }

    /// What tells it from others where one is to be chosen: its state.
    #[must_use]
    pub fn note(&self) -> String {
        self.state.clone()
    }

    /// What about it needs a person: a bad state.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        (self.kind.spec().tone(&self.state) == StateTone::Bad).then_some(&*self.state)
    }

    /// The resources that its columns refer to.
    #[must_use]
    pub fn refers_to(&self) -> Vec<ResourceId> {
        let columns = self.kind.spec().columns.iter();
        columns.filter_map(|column| column.referred(&self.value(&column.name)?)).collect()
    }

    /// Whether it is whole: it is taken for it.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        true
    }

    /// Where its files are is not known here.
    #[must_use]
    pub const fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        Vec::new()
    }

    /// Whether it holds its name: it is taken for one that does.
    #[must_use]
    pub const fn holds_name(&self) -> bool {
        true
    }

    /// What it asks for by itself is not known.
    #[must_use]
    pub const fn asks_for(&self) -> Option<(&str, &Params)> {
        None
    }
}

impl Serialize for Foreign {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document.serialize(serializer)
    }
}

/// The value that a document has for a column.
pub(in crate::domain) fn read<'a>(
    document: &'a Map<String, Json>,
    column: &Column,
) -> Option<Value<'a>> {
    column.read(document.get(column.member_read())?)
}
