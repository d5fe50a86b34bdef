//! What is typed: the actions there are, the keys that ask for them, and the editing of lines.

pub mod action;
pub mod completion;
pub mod edit;
pub mod fuzzy;
pub mod keymap;
