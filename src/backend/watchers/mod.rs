//! Who looks after things by themselves: guests, tasks, the clock, the load, the files beside the
//! database.
//!
//! A watcher knows the engine and the ports. Nobody waits for a watcher, and what it changes goes
//! through the engine like everything else.

pub mod keeper;
pub mod observer;
pub mod pruner;
pub mod sampler;
pub mod scheduler;
mod site;
pub mod timekeeper;

pub use site::Site;
