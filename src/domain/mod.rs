//! The words of the house: plain data and one trait.
//!
//! Everything that crosses a room boundary is defined here. This room knows nobody: no I/O, no
//! runtime, no terminal, no clock. Times come in from outside as [`jiff::Timestamp`].

#![warn(missing_docs)]

pub mod arguments;
pub mod backend;
pub mod catalogue;
pub mod display;
pub mod error;
pub mod event;
pub mod filter;
pub mod host;
pub mod json;
pub mod operation;
pub mod query;
pub mod question;
pub mod resource;
pub mod resources;
pub mod size;
pub mod subject;
pub mod submit;
mod text;
pub mod value;

pub use arguments::{Argument, argument_mut, arguments, arguments_in, arguments_of, as_lines};
pub use backend::{Backend, BackendExt, BoxFuture, EventStream, Serial, SerialInput};
pub use catalogue::{
    Catalogue, Choice, Effect, Field, FieldType, Hint, LockMode, LockRule, OperationSpec, Risk,
};
pub use error::{BackendError, Failure, Reason, Refusal, Result};
pub use event::{Event, Fact};
pub use filter::{Filter, FilterError, FilterTerm, FilterTest, Misread};
pub use host::{Accelerator, Host, Load, Tool, ToolState};
pub use json::Params;
pub use operation::{
    Command, Control, Lane, LaneChange, LaneState, Operation, Outcome, Progress, State, Step,
    StepState, Uid, Wait,
};
pub use query::{
    Answer, Counts, InFlight, List, OperationDetail, Page, Preview, Query, Rows, Sort,
};
pub use question::Question;
pub use resource::{
    Column, Detail, Emphasis, Foreign, Piece, Quantity, ResourceId, ResourceKind, ResourceSpec,
    ResourceType, StateSpec, StateTone, Switch,
};
pub use resources::*;
pub use subject::Subject;
pub use submit::{Accepted, Submit};
pub use text::Text;
pub use value::{Value, ValueOrder};
