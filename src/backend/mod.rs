//! The embedded backend: queues operations durably, drives the real tools, tells what happens.

pub mod drivers;
pub mod ports;
pub mod queue;
pub mod store;
