//! Changes of the model that keys, windows and answers bring about alike.

pub mod list;
pub mod requests;
