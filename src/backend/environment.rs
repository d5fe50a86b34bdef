//! What surrounds the engine: what operations and watchers may ask the world for, and how they are
//! to go about it.

use super::ports::Ports;
use super::settings::Settings;

/// The ports and the settings of a backend.
pub struct Environment {
    /// What the world can be asked for.
    pub ports: Ports,
    /// The settings.
    pub settings: Settings,
}
