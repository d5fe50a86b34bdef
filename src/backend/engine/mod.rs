//! The engine: what makes operations durable.
//!
//! ```text
//!  submit ─▶ admission ─▶ queue ─▶ executor ─▶ journal ─▶ a kind's steps
//!              │                                 │
//!              └──────▶ core: one lock, one way to change what is in flight ─▶ storage
//!                         └─▶ events (to people) and notices (to parts of the backend)
//! ```
//!
//! Operations, resources and kinds are plain words here: what a resource is and what a kind does is
//! others' business. It knows `domain` alone, and could be a crate.

pub mod admission;
mod asking;
mod children;
pub mod clock;
mod completion;
mod control;
mod core;
mod ending;
pub mod event_bus;
mod executor;
mod idempotency;
pub mod inventory;
pub mod journal;
pub mod kind;
mod lease;
mod live;
pub mod notices;
mod pivot;
pub mod queue;
mod recording;
pub mod report;
mod room;
pub mod secrets;
pub mod simulation;
pub mod storage;
pub mod store;
mod submit;
#[cfg(test)]
mod tests;
pub mod work;

use std::sync::Arc;

pub(in crate::backend) use self::core::Parts;
pub use self::core::{Engine, Options};
pub use lease::Lease;
pub(in crate::backend) use live::Live;

/// Takes up what an earlier life left. Nothing starts before [`Engine::dispatch`], so that whoever
/// watches can begin to. Called inside a tokio runtime.
pub(in crate::backend) fn open(parts: Parts) -> Arc<Engine> {
    let engine = Arc::new(Engine::new(parts, executor::execute));
    engine.spawn(room::wait_for_room(engine.clone()));
    engine
}
