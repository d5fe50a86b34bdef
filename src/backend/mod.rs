//! The embedded backend: queues operations durably, drives the real tools, tells what happens.
//!
//! ```text
//!  submit ─▶ admission ─▶ engine ─▶ store (on disk) ─▶ acknowledged
//!                           │
//!                           ├─▶ queue ─▶ executor ─▶ journal ─▶ operations ─▶ ports ─▶ drivers
//!                           └─▶ event bus ─▶ everyone who subscribed
//! ```

pub mod check;
pub mod drivers;
mod embedded;
pub mod engine;
pub mod environment;
pub mod load;
mod nothing;
pub mod operations;
pub mod os;
mod ownership;
pub mod ports;
pub mod presets;
pub mod schedule;
pub mod settings;
pub mod state_files;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod watchers;

pub use embedded::Embedded;
pub use nothing::Nothing;
pub use ownership::{DirState, Owned, find, own, owner};
