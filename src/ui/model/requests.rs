//! Requests made together, and what became of them.

use std::collections::VecDeque;

use crate::domain::{Control, Submit};

/// Requests made together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What became of those that were accepted: `queued`.
    pub done: &'static str,
    /// How many were made.
    pub asked: usize,
    /// Those whose answer is awaited, in the order they were made.
    pub awaited: VecDeque<Request>,
    /// Why those that were refused were.
    pub refused: Vec<String>,
}

/// One of many requests made together.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// For an operation.
    Submit(Submit),
    /// For a change.
    Control(Control),
}
