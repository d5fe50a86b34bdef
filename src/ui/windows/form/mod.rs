//! The form of a kind of operation: its fields, what keys do in them, and how they are drawn.

pub mod field;
pub mod state;
pub mod update;
pub mod view;
