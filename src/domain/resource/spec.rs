//! The description of a kind of resource: what it is called, its columns, its states. Lists, their
//! filters and help, details and the command line are derived from it, as forms are from
//! [`OperationSpec`](super::super::OperationSpec).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::super::text::Text;
use super::super::value::Value;
use super::{ResourceId, ResourceKind};

/// A kind of resource, as everybody but its own file knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourceSpec {
    /// The word for one of them in requests: `vm`. Lower-case letters, digits and `_`.
    pub word: Text,
    /// The word for many of them in requests: `vms`.
    pub plural: Text,
    /// What one is called in a sentence: `VM`.
    pub one: Text,
    /// What many are called in a sentence: `VMs`.
    pub many: Text,
    /// What they are, as the help says: `virtual machines`.
    pub doc: Text,
    /// What can be done with them, for the first screen; empty for nothing.
    #[serde(default)]
    pub intro: Text,
    /// Its columns, in the order in which they are shown; `id`, `name` and `state` among them.
    pub columns: Vec<Column>,
    /// Its states.
    pub states: Vec<StateSpec>,
    /// The states in which it has a serial line; empty if it never does.
    #[serde(default)]
    pub serial: Vec<Text>,
    /// Keys that ask for one or the other kind of operation.
    #[serde(default)]
    pub switches: Vec<Switch>,
    /// Whether its list stands behind that of the operations: it is rarely looked at.
    #[serde(default)]
    pub aside: bool,
}

impl ResourceSpec {
    /// The description of a kind whose words are the same in requests and in sentences.
    #[must_use]
    pub fn new(word: impl Into<Text>, plural: impl Into<Text>, doc: impl Into<Text>) -> Self {
        let (word, plural) = (word.into(), plural.into());
        Self {
            one: word.clone(),
            many: plural.clone(),
            word,
            plural,
            doc: doc.into(),
            ..Self::default()
        }
    }

    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column that is read from a member of that name in the document.
    #[must_use]
    pub fn column_of_member(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.member_read() == name)
    }

    /// What a state of that word means; nothing is known of one that is not described.
    #[must_use]
    pub fn tone(&self, state: &str) -> StateTone {
        let state = self.states.iter().find(|known| known.word == state);
        state.map_or(StateTone::Resting, |state| state.tone)
    }

    /// What stands over their list: [`ResourceSpec::many`] with a capital.
    #[must_use]
    pub fn title(&self) -> String {
        let mut letters = self.many.chars();
        letters
            .next()
            .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    }
}

/// What a column holds, which says how it can be compared and how a value of it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// A number without a unit.
    Number,
    /// A size, held in MiB.
    Mib,
    /// A size, held in bytes.
    Bytes,
    /// A share, held in percent.
    Percent,
    /// A length of time, held in seconds.
    Seconds,
    /// A moment, held in seconds since 1970; in a document a timestamp.
    Moment,
    /// A text; also what a later version holds.
    #[serde(other)]
    Text,
}

impl Quantity {
    /// Whether it is written on the right of its column, as numbers are.
    #[must_use]
    pub const fn is_amount(self) -> bool {
        !matches!(self, Self::Text | Self::Moment)
    }
}

/// A column of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name in filters, orders and documents.
    pub name: Text,
    /// The word that stands over it, and that means it in a filter as its name does. No two of a
    /// list have the same.
    pub title: Text,
    /// What it holds.
    pub holds: Quantity,
    /// The member of the document it is read from, where that is not its name.
    #[serde(default)]
    pub member: Text,
    /// The kind of resource whose number it holds, by its word; empty for none.
    #[serde(default)]
    pub refers_to: Text,
    /// The words it can hold, where these are all there are; empty for any.
    #[serde(default)]
    pub words: Vec<Text>,
    /// How many cells wide it is on a screen; 0 takes what is left.
    #[serde(default)]
    pub width: u16,
    /// How many cells wide the list must be to show it; `None` keeps it out.
    #[serde(default)]
    pub from: Option<u16>,
    /// Whether the command line lists it.
    #[serde(default)]
    pub listed: bool,
    /// Whether it matters less than the others.
    #[serde(default)]
    pub quiet: bool,
}

impl Column {
    /// The name of the column that says when something was made.
    pub const CREATED: &'static str = "created";

    /// A column that can be filtered and sorted by, and is not shown.
    #[must_use]
    pub fn new(name: &'static str, holds: Quantity) -> Self {
        Self {
            name: name.into(),
            title: name.into(),
            holds,
            member: Text::default(),
            refers_to: Text::default(),
            words: Vec::new(),
            width: 0,
            from: None,
            listed: false,
            quiet: false,
        }
    }

    /// The columns every kind begins with: `id`, `name` and `state`, the latter so wide.
    #[must_use]
    pub fn first(state: u16) -> [Self; 3] {
        [
            Self::new("id", Quantity::Number).listed(),
            Self::new("name", Quantity::Text).shown(0, 0).listed(),
            Self::new("state", Quantity::Text).shown(state, 0).listed(),
        ]
    }

    /// When it was made, by the word [`Column::CREATED`].
    #[must_use]
    pub fn created() -> Self {
        Self::new(Self::CREATED, Quantity::Moment).quiet()
    }

    /// The same column, `width` cells wide in lists at least `from` cells wide.
    #[must_use]
    pub const fn shown(mut self, width: u16, from: u16) -> Self {
        self.width = width;
        self.from = Some(from);
        self
    }

    /// The same column, under another word.
    #[must_use]
    pub fn titled(mut self, title: &'static str) -> Self {
        self.title = title.into();
        self
    }

    /// The same column, holding one of these words.
    #[must_use]
    pub fn one_of(mut self, words: impl IntoIterator<Item = &'static str>) -> Self {
        self.words = words.into_iter().map(Text::from).collect();
        self
    }

    /// The same column, read from another member of the document.
    #[must_use]
    pub fn member(mut self, member: &'static str) -> Self {
        self.member = member.into();
        self
    }

    /// The member of the document that it is read from.
    #[must_use]
    pub fn member_read(&self) -> &str {
        if self.member.is_empty() { &self.name } else { &self.member }
    }

    /// Returns what that member says, as the column holds it; `None` where it says nothing of the
    /// kind.
    #[must_use]
    pub fn read<'a>(&self, member: &'a Json) -> Option<Value<'a>> {
        match self.holds {
            _ if member.is_null() => None,
            Quantity::Text => Some(Value::Text(plain(member))),
            Quantity::Moment => {
                let moment = || member.as_str()?.parse::<jiff::Timestamp>().ok();
                let written = || Some(moment()?.as_second() as f64);
                member.as_f64().or_else(written).map(Value::Number)
            }
            _ => member.as_f64().map(Value::Number),
        }
    }

    /// The same column, listed by the command line too.
    #[must_use]
    pub const fn listed(mut self) -> Self {
        self.listed = true;
        self
    }

    /// The same column, mattering less than the others.
    #[must_use]
    pub const fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The same column, holding the number of a resource of that kind.
    #[must_use]
    pub fn refers_to(mut self, kind: ResourceKind) -> Self {
        self.refers_to = kind.word().into();
        self
    }

    /// What stands over it in capitals.
    #[must_use]
    pub fn head(&self) -> String {
        self.title.to_uppercase()
    }

    /// The resource that a value of it names; `None` where it refers to nothing known.
    #[must_use]
    pub fn referred(&self, value: &Value<'_>) -> Option<ResourceId> {
        let Value::Number(number) = value else { return None };
        if self.refers_to.is_empty() {
            return None;
        }
        Some(ResourceId::new(self.refers_to.parse().ok()?, *number as u64))
    }
}

/// A state a resource may be in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSpec {
    /// The word for it on screens, in filters and on the wire.
    pub word: Text,
    /// How it is shown.
    pub tone: StateTone,
}

impl StateSpec {
    /// The state of that word.
    #[must_use]
    pub fn new(word: &'static str, tone: StateTone) -> Self {
        Self { word: word.into(), tone }
    }
}

/// What a state means, so that it gets its sign and colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateTone {
    /// Something is being done to it.
    Busy,
    /// It is in use, as it should be.
    Running,
    /// It is in use, and stands still.
    Paused,
    /// It waits for its turn.
    Waiting,
    /// What it is for has been done.
    Finished,
    /// It needs a person.
    Bad,
    /// It is at rest; also what a later version means.
    #[serde(other)]
    Resting,
}

/// A key that asks for the first of several kinds of operations that the state of a resource
/// allows: on and off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// Its name in key maps.
    pub name: Text,
    /// What it is called, in a word or two.
    pub title: Text,
    /// What it does, in a sentence.
    pub doc: Text,
    /// Its keys, unless a key map says otherwise.
    pub keys: Vec<Text>,
    /// Its place among the keys shown, see [`Hint::rank`](super::super::catalogue::Hint::rank).
    pub rank: u8,
    /// The kinds, the one that many are asked for as long as it fits any of them first.
    pub kinds: Vec<Text>,
}

/// One fact about a resource, as its details show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    /// Its name; empty where it goes on with the fact before.
    pub label: Text,
    /// What is said, piece by piece.
    pub pieces: Vec<Piece>,
    /// How much it matters.
    pub emphasis: Emphasis,
}

/// A piece of a fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// A text, as it is.
    Text(String),
    /// A number, to be written as its unit is.
    Amount(f64, Quantity),
    /// A resource, to be called by its name.
    Name(ResourceId),
}

/// How much a fact matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emphasis {
    /// As much as others.
    Plain,
    /// Less.
    Quiet,
    /// A person should know it.
    Warning,
    /// A person must see to it.
    Bad,
}

impl Detail {
    /// A text.
    #[must_use]
    pub fn text(label: &'static str, text: impl Into<String>) -> Self {
        Self::pieces(label, [Piece::Text(text.into())])
    }

    /// A number.
    #[must_use]
    pub fn amount(label: &'static str, number: f64, unit: Quantity) -> Self {
        Self::pieces(label, [Piece::Amount(number, unit)])
    }

    /// A moment.
    #[must_use]
    pub fn moment(label: &'static str, at: jiff::Timestamp) -> Self {
        Self::pieces(label, [Piece::moment(at)])
    }

    /// A fact of several pieces.
    #[must_use]
    pub fn pieces(label: &'static str, pieces: impl Into<Vec<Piece>>) -> Self {
        Self { label: label.into(), pieces: pieces.into(), emphasis: Emphasis::Plain }
    }

    /// The value of a column.
    #[must_use]
    pub fn of(column: &Column, value: Value<'_>) -> Option<Self> {
        let piece = match (column.referred(&value), value) {
            (Some(id), _) => Piece::Name(id),
            (None, Value::Text(text)) => Piece::Text(text.into_owned()),
            (None, Value::Number(number)) => Piece::Amount(number, column.holds),
        };
        let emphasis = if column.quiet { Emphasis::Quiet } else { Emphasis::Plain };
        Some(Self { label: column.title.clone(), pieces: vec![piece], emphasis })
    }

    /// The same fact, mattering that much.
    #[must_use]
    pub const fn with(mut self, emphasis: Emphasis) -> Self {
        self.emphasis = emphasis;
        self
    }
}

impl Piece {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A moment.
    #[must_use]
    pub fn moment(at: jiff::Timestamp) -> Self {
        Self::Amount(at.as_second() as f64, Quantity::Moment)
    }
}

/// A member of a document as a text.
pub(super) fn plain(member: &Json) -> Cow<'_, str> {
    member.as_str().map_or_else(|| member.to_string().into(), Into::into)
}
