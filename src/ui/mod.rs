//! The console: what an operator sees and does.
//!
//! One ordered stream of messages goes into [`update::update`]; nothing else changes the
//! [`model::Model`]. Drawing never awaits, locks or asks. This room knows `domain` and nothing of
//! how the backend works or where it is.

pub mod action;
mod columns;
mod confirm;
mod console;
mod edit;
mod field;
mod filter_line;
mod flight;
pub mod form;
pub mod keymap;
mod layout;
pub mod model;
pub mod msg;
mod palette;
mod run;
mod special;
mod terminal;
mod text;
pub mod theme;
pub mod update;
pub mod view;

pub use run::{Exit, Options, Session, UiError};
