//! What a list is of.

use serde::{Deserialize, Serialize};

use super::resource::ResourceKind;

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Resources of a kind.
    Resources(ResourceKind),
    /// Operations.
    Operations,
}
