//! hostler: a terminal console for the person who runs a box, with its own durable backend.
//!
//! The plan of the house is in `ARCHITECTURE.md`. `domain` knows nobody; `backend`, `wire` and `ui`
//! know only `domain`; `main.rs` wires them together.

pub mod backend;
pub mod cli;
pub mod config;
pub mod domain;
pub mod ui;
pub mod wire;
