//! The lists there are, in the order of their tabs.

use serde::{Deserialize, Serialize};

use crate::domain::{Operation, Resource, ResourceKind, Subject};

/// The lists, in the order of their tabs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tab {
    /// Virtual machines.
    #[default]
    Vms,
    /// Disks.
    Disks,
    /// Scheduled tasks.
    Tasks,
    /// Encodings.
    Encodings,
    /// Operations of every kind and state.
    Operations,
    /// Operating system images.
    Images,
}

impl Tab {
    /// Every tab, in order.
    pub const ALL: [Self; 6] =
        [Self::Vms, Self::Disks, Self::Tasks, Self::Encodings, Self::Operations, Self::Images];

    /// What stands on it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Vms => "VMs",
            Self::Disks => "Disks",
            Self::Tasks => "Tasks",
            Self::Encodings => "Encodings",
            Self::Operations => "Operations",
            Self::Images => "Images",
        }
    }

    /// The kind of resource it lists; `None` for operations.
    #[must_use]
    pub const fn resource(self) -> Option<ResourceKind> {
        match self {
            Self::Vms => Some(ResourceKind::Vm),
            Self::Disks => Some(ResourceKind::Disk),
            Self::Tasks => Some(ResourceKind::Task),
            Self::Encodings => Some(ResourceKind::Encoding),
            Self::Operations => None,
            Self::Images => Some(ResourceKind::Image),
        }
    }

    /// The tab that lists a kind of resource.
    #[must_use]
    pub const fn of(kind: ResourceKind) -> Self {
        match kind {
            ResourceKind::Vm => Self::Vms,
            ResourceKind::Disk => Self::Disks,
            ResourceKind::Task => Self::Tasks,
            ResourceKind::Encoding => Self::Encodings,
            ResourceKind::Image => Self::Images,
        }
    }

    /// What its list is of, for the backend.
    #[must_use]
    pub fn subject(self) -> Subject {
        self.resource().map_or(Subject::Operations, Subject::Resources)
    }

    /// The names of the columns filters and sorting know.
    #[must_use]
    pub fn columns(self) -> Vec<&'static str> {
        self.resource().map_or_else(|| Operation::COLUMNS.to_vec(), Resource::columns)
    }

    /// Its place among the tabs, from 0.
    #[must_use]
    pub fn place(self) -> usize {
        Self::ALL.iter().position(|tab| *tab == self).unwrap_or(0)
    }

    /// The tab `by` places further, around the end.
    #[must_use]
    pub fn step(self, by: usize) -> Self {
        Self::ALL[(self.place() + by) % Self::ALL.len()]
    }
}
