//! The embedded backend: queues operations durably, drives the real tools, tells what happens.
//!
//! ```text
//!  submit ─▶ admission ─▶ core ─▶ store (on disk) ─▶ acknowledged
//!                           │
//!                           ├─▶ queue ─▶ executor ─▶ journal ─▶ operations ─▶ ports ─▶ drivers
//!                           └─▶ hub ─▶ everyone who listens
//! ```

pub mod admission;
pub mod check;
mod core;
pub mod drivers;
mod embedded;
mod executor;
#[cfg(test)]
pub mod fake;
#[cfg(test)]
pub mod fake_encoder;
mod history;
mod hub;
pub mod inventory;
pub mod journal;
mod keeper;
pub mod kind;
mod known;
mod load;
mod nothing;
mod observer;
pub mod operations;
pub mod os;
mod ownership;
pub mod ports;
pub mod presets;
pub mod queue;
pub mod recover;
mod sampler;
pub mod scheduler;
mod secrets;
pub mod settings;
pub mod state_files;
pub mod store;
mod timekeeper;
#[cfg(test)]
mod trial;
mod work;

pub use embedded::Embedded;
pub use nothing::Nothing;
pub use ownership::{Found, Owned, find, own, owner};
