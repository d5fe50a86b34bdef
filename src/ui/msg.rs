//! What comes into `update` and what goes out of it.

use crossterm::event::{KeyEvent, MouseEvent};
use jiff::Timestamp;

use crate::domain::{Accepted, Answer, BackendError, Control, Event, Query, Submit};

use super::Exit;
use super::model::{Choices, Tab};

/// Something that happened. Nothing else changes the model.
#[derive(Debug)]
pub enum Msg {
    /// The time now. Sent before everything else that arrived together.
    Now(Timestamp),
    /// The time the model asked to be woken at has come.
    Wake,
    /// A key.
    Key(KeyEvent),
    /// Text pasted as one piece.
    Paste(String),
    /// The mouse.
    Mouse(MouseEvent),
    /// The terminal's size in columns and rows.
    Resize(u16, u16),
    /// The backend told something.
    Event(Box<Event>),
    /// The stream of events ended: the backend stopped.
    EventsEnded,
    /// An answer to a query.
    Answer(Ask, Result<Answer, BackendError>),
    /// An answer to a request.
    Submitted(Box<Submit>, Result<Accepted, BackendError>),
    /// An answer to a change asked for.
    Controlled(Control, Result<(), BackendError>),
    /// A guest's serial line is open, or why it is not.
    SerialOpened(u64, Result<(), BackendError>),
    /// A guest wrote.
    SerialOutput(u64, Vec<u8>),
    /// A guest's serial line is closed.
    SerialEnded(u64),
    /// What typed bytes came to when they could not be sent.
    SerialFailed(u64, BackendError),
    /// Paths that begin with what was typed.
    Paths(String, Vec<String>),
    /// Something outside the backend failed, such as saving the remembered choices.
    Trouble(String),
}

/// What a query is for: where its answer goes. At most one of each is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    /// The rows of a tab.
    Rows(Tab),
    /// Every row a tab's filter lets through, to mark them.
    Mark(Tab),
    /// In flight.
    Flight,
    /// The counts on the tabs.
    Counts,
    /// The lanes.
    Lanes,
    /// When tasks fire.
    Timeline,
    /// The box.
    Host,
    /// The steps of an operation.
    Operation(u64),
    /// The name of a resource shown only by number.
    Name(crate::domain::ResourceId),
    /// What the form's field at a path may hold; the number tells forms apart.
    Candidates(u64, String),
    /// What the form would do.
    Preview(u64, u64),
    /// Things for the palette.
    Find(Tab, String),
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Cmd {
    /// Ask the backend.
    Query(Ask, Query),
    /// Request an operation.
    Submit(Box<Submit>),
    /// Change an operation or a lane.
    Control(Control),
    /// Open a guest's serial line.
    SerialOpen(u64),
    /// Type into it.
    SerialSend(Vec<u8>),
    /// Close it.
    SerialClose,
    /// Find paths that begin with this.
    Paths(String),
    /// Remember these choices.
    Save(Choices),
    /// Draw everything anew.
    Redraw,
    /// Stop until the shell's `fg`.
    Suspend,
    /// Leave.
    Exit(Exit),
}
