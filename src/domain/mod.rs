//! The words of the house: plain data and one trait.
//!
//! Everything that crosses a room boundary is defined here. This room knows nobody: no I/O, no
//! runtime, no terminal, no clock. Times come in from outside as [`jiff::Timestamp`].

#![warn(missing_docs)]

pub mod backend;
pub mod catalogue;
pub mod disk;
pub mod encoding;
pub mod error;
pub mod event;
pub mod filter;
pub mod host;
pub mod image;
pub mod operation;
pub mod query;
pub mod resource;
pub mod task;
pub mod vm;

pub use backend::{Backend, BoxFuture, EventStream, Serial, SerialInput};
pub use catalogue::{
    Catalogue, Choice, Effect, Field, FieldType, LockMode, LockRule, OperationSpec, Risk, Text,
};
pub use disk::{Disk, DiskFormat, DiskState, FsType};
pub use encoding::{Encoding, EncodingState};
pub use error::{BackendError, Failure, Reason, Refusal, Result};
pub use event::{Event, Fact};
pub use filter::{Filter, FilterError, FilterTerm, FilterTest, Misread, Quantity};
pub use host::{Accelerator, Host, Load, Tool, ToolState};
pub use image::{Image, ImageForm, ImageState};
pub use operation::{
    Accepted, Command, Control, Lane, LaneChange, LaneState, Operation, Outcome, Params, Progress,
    State, Step, StepState, Submit, Uid, Wait,
};
pub use query::{
    Answer, Counts, InFlight, List, OperationDetail, Page, Preview, Query, Rows, Sort, Subject,
    Value,
};
pub use resource::{Resource, ResourceId, ResourceKind};
pub use task::{Every, Firings, Repeat, Run, RunOutcome, Task, Timeline};
pub use vm::{Vm, VmState};
