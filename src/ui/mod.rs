//! The console: what an operator sees and does.
//!
//! One ordered stream of messages goes into [`update::update`]; nothing else changes the
//! [`model::Model`]. Drawing never awaits, locks or asks. This room knows `domain` and nothing of
//! how the backend works or where it is.

pub mod app;
mod changes;
pub mod input;
pub mod model;
pub mod msg;
mod run;
pub mod screen;
pub mod style;
pub mod tab;
mod terminal;
pub mod update;
pub mod view;
pub mod windows;

pub use msg::Exit;
pub use run::{ConsoleOptions, Session, UiError};
