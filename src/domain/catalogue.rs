//! The catalogue: every kind of operation the backend offers, with its fields, risk, locks and
//! lane.
//!
//! Forms, the palette, confirmations, the command line and its help are all derived from it, so an
//! operation is described in one place and nowhere else.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::json::Params;
use super::{ResourceId, ResourceKind, ResourceSpec, Text};

/// How dangerous an operation is: what the console asks before it is queued.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// It runs without a question.
    #[default]
    None,
    /// Work in progress may be lost, or what can be made again: yes or no, with the safe answer
    /// preselected.
    Disruptive,
    /// Something that cannot be made again is lost: the name must be typed.
    Destructive,
    /// That of the kind which the task asks for that it fires, makes, changes or lets fire.
    OfTask,
}

/// What an operation does to its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It makes a new one.
    Creates,
    /// It changes one that is there.
    #[default]
    Changes,
    /// It removes one that is there.
    Deletes,
}

/// How a resource is held while an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockMode {
    /// Others may use it too, as long as they only use it: an image under several new VMs.
    Shared,
    /// Nobody else may.
    Exclusive,
}

/// The resources an operation holds while it runs: those named in a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRule {
    /// The field that names them. Its type is [`FieldType::Resource`] or a list of that; one inside
    /// records is named by its path, without the numbers of items: `drives.disk`.
    pub field: Text,
    /// How it is held.
    pub mode: LockMode,
}

/// One of the values a field may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The value.
    pub value: Text,
    /// What it means.
    pub label: Text,
}

/// What a field may hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum FieldType {
    /// One line of text without control characters. JSON string.
    Text {
        /// How many characters at most.
        max: u32,
    },
    /// A name: letters, digits, `-`, `.` and `_`, starting with a letter or digit, at most 63, and
    /// so never a path. JSON string.
    Name,
    /// A host name: letters, digits and `-`, starting with a letter, at most 63. JSON string.
    Hostname,
    /// A secret. It is hashed or sealed before anything is stored, and never shown. JSON string.
    Secret {
        /// How many characters at least.
        min: u32,
    },
    /// A whole number. JSON number.
    Integer {
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
        /// What it counts, for people: `MB`.
        unit: Text,
    },
    /// Yes or no. JSON boolean.
    Flag,
    /// One of a few values. JSON string.
    Choice {
        /// The values.
        choices: Vec<Choice>,
    },
    /// A living resource, by number. JSON number; names are accepted too.
    Resource {
        /// Of which kind.
        of: ResourceKind,
        /// In which states, by their words; empty for any.
        states: Vec<Text>,
    },
    /// An absolute path of a file on the box that must exist. JSON string.
    File,
    /// An absolute path of a file on the box that is to be made. JSON string.
    NewFile,
    /// An HTTP or HTTPS URL. JSON string.
    Url,
    /// Any number of lines of text. JSON array of strings.
    Lines,
    /// An operation kind of the catalogue. JSON string.
    Kind,
    /// The parameters for the kind named in another field. JSON object.
    Params {
        /// That other field.
        of: Text,
    },
    /// A repeat field: a number or `*`. JSON string or number.
    Every {
        /// The smallest allowed.
        min: u8,
        /// The largest allowed.
        max: u8,
    },
    /// Several values of one type, in order. JSON array.
    List {
        /// The type of each.
        of: Box<FieldType>,
        /// How many at least.
        min: u32,
        /// How many at most.
        max: u32,
    },
    /// Several fields that belong together. JSON object.
    Record {
        /// The fields, in the order a form shows them.
        fields: Vec<Field>,
    },
    /// What only a newer backend knows. Nothing can be given for it.
    #[serde(other)]
    Unknown,
}

impl FieldType {
    /// The most bytes a secret has: hashing takes longer with each, and nobody types more.
    pub const LONGEST_SECRET: usize = 1024;

    /// Returns whether a value of this type may hold a secret, at any depth.
    #[must_use]
    pub fn may_hold_secret(&self) -> bool {
        self.may_hold(|of| matches!(of, Self::Secret { .. }), true)
    }

    /// Returns whether a value of this type may be or hold one of a type that is `wanted`, at any
    /// depth, where what parameters for another kind hold is looked into (`in_params`) or not.
    #[must_use]
    pub fn may_hold(&self, wanted: fn(&Self) -> bool, in_params: bool) -> bool {
        wanted(self)
            || match self {
                Self::Params { .. } => in_params,
                Self::List { of, .. } => of.may_hold(wanted, in_params),
                Self::Record { fields } => {
                    fields.iter().any(|field| field.of.may_hold(wanted, in_params))
                }
                _ => false,
            }
    }

    /// Whether it is unknown here, at any depth.
    fn is_beyond_us(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::List { of, .. } => of.is_beyond_us(),
            Self::Record { fields } => fields.iter().any(|field| field.of.is_beyond_us()),
            _ => false,
        }
    }
}

/// One parameter of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Its name, as in `field=value`.
    pub name: Text,
    /// What it is, in a sentence for people.
    pub doc: Text,
    /// What it may hold.
    #[serde(flatten)]
    pub of: FieldType,
    /// Whether it must be given.
    pub required: bool,
    /// What it is when not given. `null` means nothing at all.
    #[serde(default)]
    pub default: Json,
    /// Whether forms hide it until asked for.
    #[serde(default)]
    pub advanced: bool,
    /// What is lost for good where a flag is set, which makes that request as dangerous as can be;
    /// empty for nothing.
    #[serde(default)]
    pub warning: Text,
}

impl Field {
    /// A field that must be given.
    pub fn required(name: impl Into<Text>, of: FieldType, doc: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            doc: doc.into(),
            of,
            required: true,
            default: Json::Null,
            advanced: false,
            warning: Text::default(),
        }
    }

    /// A field that may be left out, and what it is then.
    pub fn optional(
        name: impl Into<Text>,
        of: FieldType,
        default: impl Into<Json>,
        doc: impl Into<Text>,
    ) -> Self {
        Self { default: default.into(), required: false, ..Self::required(name, of, doc) }
    }

    /// The same field, hidden until asked for.
    #[must_use]
    pub fn advanced(mut self) -> Self {
        self.advanced = true;
        self
    }

    /// The same flag, with which this is lost for good.
    #[must_use]
    pub fn destructive(mut self, warning: impl Into<Text>) -> Self {
        self.warning = warning.into();
        self
    }

    /// Whether it holds a secret.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.of, FieldType::Secret { .. })
    }
}

/// A kind of operation. By default it is about no resource, has no fields, holds nothing and runs
/// without a question; whoever makes one names it, its lane and its steps, and says what it does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OperationSpec {
    /// Its name: `vm_create`.
    pub kind: Text,
    /// What to call it on a button: `Reboot`.
    pub title: Text,
    /// What it does, in a sentence or two for people.
    pub doc: Text,
    /// What is happening while it runs, for the resource's own row: `rebooting`.
    pub doing: Text,
    /// The kind of resource it is about; `None` where it is about none, as what only asks for
    /// others.
    #[serde(default)]
    pub resource: Option<ResourceKind>,
    /// What it does to that resource; [`Effect::Changes`] where there is none.
    pub effect: Effect,
    /// The field that names the resource, unless it creates one.
    #[serde(default)]
    pub subject: Option<Text>,
    /// The lane it runs in.
    pub lane: Text,
    /// What is asked before it is queued.
    pub risk: Risk,
    /// What is lost if it goes wrong or was a mistake; shown in the confirmation.
    #[serde(default)]
    pub warning: Text,
    /// Its parameters, in the order a form shows them.
    pub fields: Vec<Field>,
    /// The kinds of resources besides its own from whose lists it can be begun.
    #[serde(default)]
    pub offered_on: Vec<ResourceKind>,
    /// Whether its form begins with what its subject has now, to be changed.
    #[serde(default)]
    pub edits: bool,
    /// How a console offers it.
    #[serde(default)]
    pub hint: Hint,
    /// What it holds while it runs, beside the resource it creates.
    pub locks: Vec<LockRule>,
    /// The states its subject must be in, by their words; empty for any.
    #[serde(default)]
    pub requires: Vec<Text>,
    /// The state its subject is in when it is done, by its word: what the next request is checked
    /// against while this one is still pending.
    #[serde(default, rename = "leaves")]
    pub state_after: Option<Text>,
    /// Whether a like one on the same subject is refused while one is pending.
    #[serde(default, rename = "once")]
    pub reject_duplicates: bool,
    /// The names of its steps, in order: what crash points and progress are counted by.
    pub steps: Vec<Text>,
}

impl OperationSpec {
    /// Returns why this version of hostler cannot ask for it, in a sentence: a field is of a type
    /// that only a newer one knows.
    #[must_use]
    pub fn beyond_us(&self) -> Option<String> {
        let field = self.fields.iter().find(|field| field.of.is_beyond_us())?;
        Some(format!(
            "{} needs a newer hostler than this, {}, which does not know what its field '{}' \
             holds; use the version that the backend is of",
            self.kind,
            env!("CARGO_PKG_VERSION"),
            field.name
        ))
    }

    /// Returns how dangerous a request with these parameters is, and what is lost with it.
    #[must_use]
    pub fn hazard(&self, params: &Params) -> (Risk, &str) {
        let is_set = |field: &&Field| {
            !field.warning.is_empty() && params.get(&*field.name) == Some(&Json::Bool(true))
        };
        match self.fields.iter().find(is_set) {
            Some(field) => (Risk::Destructive, &field.warning),
            None => (self.risk, &self.warning),
        }
    }

    /// Whether its subject may be in a state of that word.
    #[must_use]
    pub fn allows(&self, state: &str) -> bool {
        self.requires.is_empty() || self.requires.iter().any(|word| word == state)
    }

    /// Returns the field that names the resource it is done to, and of which kind that is. `None`
    /// where it is done to none that is there.
    #[must_use]
    pub fn subject(&self) -> Option<(&str, ResourceKind)> {
        Some((self.subject.as_deref()?, self.resource?))
    }

    /// Returns the resource that a request with these parameters is done to. `None` where it is
    /// done to none that is there, or where none is given by its number.
    #[must_use]
    pub fn done_to(&self, params: &Params) -> Option<ResourceId> {
        let (field, of) = self.subject()?;
        Some(ResourceId::new(of, params.get(field)?.as_u64()?))
    }

    /// The field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// How a console offers a kind of operation, beside its form and its place in the palette.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hint {
    /// What it is called beside its key, in a word or two; its title when empty.
    #[serde(default)]
    pub title: Text,
    /// The keys that ask for it on the lists it is offered on, unless a key map says otherwise.
    /// Keys pressed one after another are written with a space between.
    #[serde(default)]
    pub keys: Vec<Text>,
    /// Its place among the keys that are shown, from 1; 0 keeps it out. What makes something new
    /// is from 10 on, what removes it from 30 on.
    #[serde(default)]
    pub rank: u8,
    /// What it does for whoever begins with nothing, for the first screen; empty keeps it out.
    #[serde(default)]
    pub first: Text,
    /// Whether, begun from a row of another kind, it is done to what that row refers to and nothing
    /// else: to a VM's own disks.
    #[serde(default)]
    pub of_row: bool,
}

impl Hint {
    /// What it is called, its keys, its place.
    #[must_use]
    pub fn new(title: &'static str, keys: &[&'static str], rank: u8) -> Self {
        let keys = keys.iter().map(|key| Text::from(*key)).collect();
        Self { title: title.into(), keys, rank, ..Self::default() }
    }

    /// The same, offered on the first screen with these words.
    #[must_use]
    pub fn first(mut self, words: &'static str) -> Self {
        self.first = words.into();
        self
    }

    /// The same, done to nothing but what the row refers to that it is begun from.
    #[must_use]
    pub const fn of_row(mut self) -> Self {
        self.of_row = true;
        self
    }
}

/// Every kind of operation the backend offers, and every kind of resource, each by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    specs: Arc<[OperationSpec]>,
    resources: Arc<[ResourceKind]>,
}

impl Default for Catalogue {
    /// No operations on the resources hostler itself has.
    fn default() -> Self {
        Self::new([])
    }
}

impl Catalogue {
    /// A catalogue of these, on the resources hostler itself has.
    pub fn new(specs: impl IntoIterator<Item = OperationSpec>) -> Self {
        Self::with_resources(ResourceKind::ALL, specs)
    }

    /// A catalogue of these, on these kinds of resources.
    pub fn with_resources(
        resources: &[ResourceKind],
        specs: impl IntoIterator<Item = OperationSpec>,
    ) -> Self {
        Self { specs: specs.into_iter().collect(), resources: resources.into() }
    }

    /// A catalogue as it came from a backend: the descriptions of its kinds of resources, and its
    /// operations, which can be read once those kinds are known.
    ///
    /// # Errors
    /// When either cannot be understood.
    pub fn read(resources: &[ResourceSpec], operations: Json) -> Result<Self, String> {
        let kinds = resources.iter().map(ResourceKind::describe);
        let kinds: Vec<ResourceKind> = kinds.collect::<Result<_, _>>()?;
        let specs: Vec<OperationSpec> =
            serde_json::from_value(operations).map_err(|error| error.to_string())?;
        Ok(Self::with_resources(&kinds, specs))
    }

    /// Every kind of operation, in the order of the catalogue.
    #[must_use]
    pub fn operations(&self) -> &[OperationSpec] {
        &self.specs
    }

    /// The descriptions of its kinds of resources.
    #[must_use]
    pub fn descriptions(&self) -> Vec<&'static ResourceSpec> {
        self.resources.iter().map(|kind| kind.spec()).collect()
    }

    /// Every kind of resource, in the order of the catalogue.
    #[must_use]
    pub fn resources(&self) -> &[ResourceKind] {
        &self.resources
    }

    /// The entry of that kind.
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&OperationSpec> {
        self.specs.iter().find(|spec| spec.kind == kind)
    }

    /// Every entry, in catalogue order.
    pub fn iter(&self) -> std::slice::Iter<'_, OperationSpec> {
        self.specs.iter()
    }
}

impl<'a> IntoIterator for &'a Catalogue {
    type Item = &'a OperationSpec;
    type IntoIter = std::slice::Iter<'a, OperationSpec>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
