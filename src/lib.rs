//! hostler: a terminal console for the person who runs a box, with its own durable backend.
//!
//! The plan of the house is in `ARCHITECTURE.md`. `domain`, `file`, `open_files`, `time_zone` and
//! `watched_fd` know nobody; the others know only these; `main.rs` wires them together.

pub mod backend;
pub mod cli;
pub mod config;
pub mod domain;
pub mod file;
mod open_files;
pub mod time_zone;
pub mod ui;
mod watched_fd;
pub mod wire;
