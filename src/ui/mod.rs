//! The console: what an operator sees and does.
//!
//! One ordered stream of messages goes into [`update::update`]; nothing else changes the
//! [`model::Model`]. Drawing never awaits, locks or asks. This room knows `domain` and nothing of
//! how the backend works or where it is.

pub mod action;
pub mod columns;
pub mod confirm;
pub mod console;
mod edit;
pub mod field;
pub mod flight;
pub mod form;
pub mod keymap;
pub mod layout;
pub mod model;
pub mod msg;
pub mod palette;
mod run;
mod terminal;
pub mod text;
pub mod theme;
pub mod update;
pub mod view;

pub use run::{Exit, Options, UiError, run};
