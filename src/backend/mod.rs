//! The embedded backend: queues operations durably, drives the real tools, tells what happens.
//!
//! ```text
//!  submit ─▶ admission ─▶ core ─▶ store (on disk) ─▶ acknowledged
//!                           │
//!                           ├─▶ queue ─▶ executor ─▶ journal ─▶ operations ─▶ ports ─▶ drivers
//!                           └─▶ hub ─▶ everyone who listens
//! ```

pub mod admission;
mod core;
pub mod drivers;
mod embedded;
mod executor;
#[cfg(test)]
pub mod fake;
#[cfg(test)]
pub mod fake_encoder;
mod hub;
pub mod inventory;
pub mod journal;
pub mod kind;
mod load;
mod observer;
pub mod operations;
pub mod os;
pub mod ports;
pub mod presets;
pub mod queue;
mod sampler;
pub mod scheduler;
mod secrets;
pub mod settings;
pub mod store;
#[cfg(test)]
mod trial;
mod work;

pub use embedded::{Embedded, Owned, own};
