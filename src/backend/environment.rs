//! What surrounds the engine: what operations and watchers may ask the world for, and how they are
//! to go about it.

use super::ports::Ports;
use super::settings::Settings;
use super::state_files::description::History;

/// The ports, the settings and the past of a backend.
pub struct Environment {
    /// What the world can be asked for.
    pub ports: Ports,
    /// The settings.
    pub settings: Settings,
    /// What the database knows of what happened until now.
    pub history: Box<dyn History + Send + Sync>,
}
