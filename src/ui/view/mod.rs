//! The panes, drawn on a buffer, and what windows draw with. Nothing here decides, waits or asks.

pub mod columns;
pub mod detail;
pub mod facts;
pub mod hints;
pub mod in_flight;
pub mod list;
pub mod notification;
pub mod operation;
pub mod shell;
mod special;
pub mod timeline;
