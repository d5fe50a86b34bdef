//! The kinds of resources hostler itself has, one file each, and the list of them.
//!
//! A file says everything that the rest of hostler knows of its kind, see [`ResourceType`]. Adding
//! one touches its new file and two lines here: its `mod`, and its place in the list.

pub mod disk;
pub mod encoding;
pub mod image;
mod kinds;
pub mod task;
pub mod vm;

use std::any::Any;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};

use super::json::Params;
use super::resource::{Detail, Foreign, ResourceId, ResourceKind, ResourceSpec, ResourceType};
use super::value::Value;

/// Makes of the list of kinds what everybody else uses.
macro_rules! kinds {
    ($($module:ident::$kind:ident),+ $(,)?) => {
        $(pub use $module::*;)+

        $(impl $kind {
            /// Its kind.
            pub const KIND: ResourceKind = <Self as ResourceType>::KIND;
        }

        impl From<$kind> for Resource {
            fn from(it: $kind) -> Self {
                Self::$kind(it)
            }
        })+

        /// Any resource, whole.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(rename_all = "snake_case", tag = "resource")]
        #[allow(missing_docs, reason = "each is described in its own file")]
        pub enum Resource {
            $($kind($kind),)+
            /// One of a kind that only a backend's description tells of.
            #[serde(untagged)]
            Foreign(Foreign),
        }

        impl ResourceKind {
            /// Every kind hostler itself has, in the order of the console's tabs.
            pub const ALL: &[Self] = &[$($kind::KIND),+];
        }

        #[cfg(test)]
        const SAMPLES: &[&str] = &[$(<$kind as ResourceType>::SAMPLE),+];

        static SPECS: LazyLock<Vec<ResourceSpec>> = LazyLock::new(|| vec![$($kind::spec()),+]);

        impl Resource {
            /// What it is.
            #[must_use]
            pub const fn kind(&self) -> ResourceKind {
                match self {
                    $(Self::$kind(_) => $kind::KIND,)+
                    Self::Foreign(it) => it.kind,
                }
            }

            /// The resource that a document holds.
            ///
            /// # Errors
            /// When it is not what its kind says.
            fn read(
                kind: ResourceKind,
                document: Map<String, Json>,
            ) -> Result<Self, serde_json::Error> {
                match kind {
                    $($kind::KIND => $kind::deserialize(Json::Object(document)).map(Self::$kind),)+
                    _ => Foreign::new(kind, document)
                        .map(Self::Foreign)
                        .map_err(serde_json::Error::custom),
                }
            }
        }

        /// Reads the same of whichever resource it is.
        macro_rules! each {
            ($self:expr, $it:ident => $body:expr) => {
                match $self {
                    $(Resource::$kind($it) => $body,)+
                    Resource::Foreign($it) => $body,
                }
            };
        }
    };
}

kinds! {
    vm::Vm,
    disk::Disk,
    task::Task,
    encoding::Encoding,
    image::Image,
}

/// The descriptions of the kinds hostler itself has, in the order of the list.
fn own_specs() -> &'static [ResourceSpec] {
    &SPECS
}

/// The description of the kind of that word, if hostler itself has it.
fn own(word: &str) -> Option<&'static ResourceSpec> {
    own_specs().iter().find(|spec| spec.word == word)
}

impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = Map::deserialize(deserializer)?;
        let word = document.get("resource").ok_or_else(|| D::Error::missing_field("resource"))?;
        let kind = ResourceKind::deserialize(word).map_err(D::Error::custom)?;
        Self::read(kind, document).map_err(D::Error::custom)
    }
}

#[cfg(test)]
impl Resource {
    /// One of each kind, in the order of the list.
    pub(crate) fn samples() -> Vec<Self> {
        let read = |sample: &&str| {
            serde_json::from_str(sample).unwrap_or_else(|why| panic!("{why}: {sample}"))
        };
        SAMPLES.iter().map(read).collect()
    }
}

impl Resource {
    /// It, if it is one of that type.
    #[must_use]
    pub fn get<T: ResourceType>(&self) -> Option<&T> {
        each!(self, it => (it as &dyn Any).downcast_ref())
    }

    /// It, to be changed, if it is one of that type.
    pub fn get_mut<T: ResourceType>(&mut self) -> Option<&mut T> {
        each!(self, it => (it as &mut dyn Any).downcast_mut())
    }

    /// Its kind and number.
    #[must_use]
    pub fn id(&self) -> ResourceId {
        ResourceId::new(self.kind(), each!(self, it => it.id()))
    }

    /// The name people gave it, unique among the living of its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        each!(self, it => it.name())
    }

    /// Its state in the words of its kind, as written in `state:running`.
    #[must_use]
    pub fn state(&self) -> &str {
        each!(self, it => it.state())
    }

    /// What about it needs a person, in one sentence; `None` when nothing does.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        each!(self, it => it.problem())
    }

    /// The value of a column, by the name filters and sorting use for it; `None` where this kind
    /// has no such column or this resource has no value in it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "id" => Some(Value::Number(self.id().id as f64)),
            "name" => Some(Value::text(self.name())),
            "state" => Some(Value::text(self.state())),
            _ => each!(self, it => it.value(name)),
        }
    }

    /// Everything about it, a fact each.
    #[must_use]
    pub fn details(&self) -> Vec<Detail> {
        each!(self, it => it.details())
    }

    /// What tells it from others of its kind where one is to be chosen.
    #[must_use]
    pub fn note(&self) -> String {
        each!(self, it => it.note())
    }

    /// The resources it refers to, which it knows only by number: a disk's VM, a VM's disks. A VM's
    /// image is not among them; it has its name.
    #[must_use]
    pub fn refers_to(&self) -> Vec<ResourceId> {
        each!(self, it => it.refers_to())
    }

    /// Whether all of it is there: no operation is still making it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        each!(self, it => it.is_whole())
    }

    /// The paths of its own files, as its document names them: they follow a state directory that
    /// is moved.
    pub fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        each!(self, it => it.files_mut())
    }

    /// Whether it keeps others of its kind from having its name.
    #[must_use]
    pub fn holds_name(&self) -> bool {
        each!(self, it => it.holds_name())
    }

    /// The kind of operation it asks for by itself and what it asks with, if it does and that is
    /// known.
    #[must_use]
    pub fn asks_for(&self) -> Option<(&str, &Params)> {
        each!(self, it => it.asks_for())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::resource::read;

    #[test]
    fn what_a_column_shows_is_what_the_document_holds() {
        for (resource, kind) in Resource::samples().iter().zip(ResourceKind::ALL) {
            assert_eq!(
                resource.id(),
                ResourceId::new(*kind, 1),
                "the SAMPLE in the file of {kind}"
            );
            let Ok(Json::Object(document)) = serde_json::to_value(resource) else { panic!() };
            let foreign = Foreign::new(*kind, document.clone()).unwrap();
            for column in &kind.spec().columns {
                let read = read(&document, column);
                // A task has a member `active`, and its last firing is in its `runs`.
                let is_derived =
                    kind.word() == "task" && ["state", "last"].contains(&column.name.as_ref());
                let member = column.member_read();
                assert!(
                    is_derived || read.is_some(),
                    "the document of a {kind} has no '{member}' for its column '{}': serialize it, \
                     and give it a value in SAMPLE",
                    column.name
                );
                if !is_derived {
                    assert_eq!(
                        resource.field(&column.name),
                        read,
                        "what `value` of a {kind} returns for '{}', and what '{member}' of its \
                         document is",
                        column.name
                    );
                }
            }
            for first in ["id", "name", "state"] {
                assert!(kind.spec().column(first).is_some(), "{kind} has no column '{first}'");
            }
            assert_eq!((foreign.id, foreign.name.as_str()), (1, resource.name()));
        }
    }

    #[test]
    fn every_state_a_kind_has_is_described() {
        for resource in Resource::samples() {
            let (kind, spec) = (resource.kind(), resource.kind().spec());
            for word in [resource.state()].into_iter().chain(spec.serial.iter().map(AsRef::as_ref))
            {
                let is_described = spec.states.iter().any(|known| known.word == word);
                assert!(is_described, "{kind} does not have '{word}' among the states of its spec");
            }
        }
    }

    #[test]
    fn words_are_told_apart_and_every_kind_is_found_by_both_of_its_words() {
        for kind in ResourceKind::ALL {
            assert_eq!(kind.word().parse(), Ok(*kind));
            assert_eq!(kind.plural().parse(), Ok(*kind));
        }
        let error = "cloud".parse::<ResourceKind>().unwrap_err();
        assert!(error.starts_with("'cloud' is no resource; there are vm, disk, task"), "{error}");
    }
}
