//! What comes into `update` and what goes out of it.

use crossterm::event::{KeyEvent, MouseEvent};
use jiff::Timestamp;

use crate::domain::{
    Accepted, Backend, BackendError, BackendExt, Control, Counts, Event, Host, InFlight, Lane,
    List, OperationDetail, Page, Preview, Resource, ResourceId, Result, Submit, Timeline, Uid,
    question,
};

use super::model::Preferences;
use super::tab::Tab;

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
    /// A question was answered.
    Reply(Reply),
    /// An answer to a request.
    Submitted(Box<Submit>, Result<Accepted>),
    /// An answer to a change asked for.
    Controlled(Control, Result<()>),
    /// A guest's serial line is open, or why it is not.
    SerialOpened(u64, Result<()>),
    /// A guest wrote.
    SerialOutput(u64, Vec<u8>),
    /// A guest's serial line is closed.
    SerialEnded(u64),
    /// What typed bytes came to when they could not be sent.
    SerialFailed(u64, BackendError),
    /// Paths that begin with what was typed.
    Paths(String, Vec<String>),
    /// Something outside the backend failed, such as saving the preferences.
    Error(String),
}

/// A question to the backend, and where its answer goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Fetch {
    /// The rows of a tab.
    Rows(Tab, List),
    /// Every row a tab's filter lets through, to mark them.
    Marks(Tab, List),
    /// In flight.
    InFlight,
    /// The counts on the tabs.
    Counts,
    /// The lanes.
    Lanes,
    /// When tasks fire.
    Timeline,
    /// The box.
    Host,
    /// An operation with its steps.
    Operation(Uid),
    /// The name of a resource shown only by number.
    Name(ResourceId),
    /// What the form's field at a path may hold; the number tells forms apart.
    Candidates(u64, String, List),
    /// What the form would do, in the state of that revision.
    Preview(u64, u64, Submit),
    /// Things of a tab for the palette, and what is typed there.
    Find(Tab, String, List),
}

/// The answer to a [`Fetch`] of the same name.
#[derive(Debug)]
#[allow(missing_docs, reason = "each says what the question of its name was answered with")]
pub enum Reply {
    Rows(Tab, Result<Page>),
    Marks(Tab, Result<Page>),
    InFlight(Result<InFlight>),
    Counts(Result<Counts>),
    Lanes(Result<Vec<Lane>>),
    Timeline(Result<Timeline>),
    Host(Result<Box<Host>>),
    Operation(Result<Box<OperationDetail>>),
    Name(ResourceId, Result<Box<Resource>>),
    Candidates(u64, String, Result<Page>),
    Preview(u64, u64, Result<Preview>),
    Find(Tab, String, Result<Page>),
}

impl Fetch {
    /// Asks the backend.
    pub async fn from(self, backend: &dyn Backend) -> Reply {
        match self {
            Self::Rows(tab, list) => Reply::Rows(tab, backend.ask(list).await),
            Self::Marks(tab, list) => Reply::Marks(tab, backend.ask(list).await),
            Self::InFlight => Reply::InFlight(backend.ask(question::GetInFlight).await),
            Self::Counts => Reply::Counts(backend.ask(question::GetCounts).await),
            Self::Lanes => Reply::Lanes(backend.ask(question::GetLanes).await),
            Self::Timeline => Reply::Timeline(backend.ask(question::GetTimeline).await),
            Self::Host => Reply::Host(backend.ask(question::GetHost).await),
            Self::Operation(uid) => {
                Reply::Operation(backend.ask(question::GetOperation { uid }).await)
            }
            Self::Name(id) => Reply::Name(id, backend.ask(question::GetResource { id }).await),
            Self::Candidates(form, field, list) => {
                Reply::Candidates(form, field, backend.ask(list).await)
            }
            Self::Preview(form, revision, submit) => {
                let preview = backend.ask(question::GetPreview(submit)).await;
                Reply::Preview(form, revision, preview)
            }
            Self::Find(tab, typed, list) => Reply::Find(tab, typed, backend.ask(list).await),
        }
    }
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Cmd {
    /// Ask the backend.
    Fetch(Fetch),
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
    /// Remember these for the next start.
    Save(Preferences),
    /// Draw everything anew.
    Redraw,
    /// Stop until the shell's `fg`.
    Suspend,
    /// Leave.
    Exit(Exit),
}

/// Why the console closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The operator left, with nothing in flight or wanting it stopped after the running steps.
    Quit,
    /// The operator left and wants what is in flight to go on in the background.
    Background,
    /// The process was told to end (SIGTERM): nobody decided anything, so the work goes on.
    Told,
    /// The operator wants the shell (Ctrl-Z, SIGTSTP): whoever called sees to the work, and then
    /// to [`Session::stop`](super::Session::stop).
    Stop,
    /// The terminal vanished: nobody decided anything, so the work goes on.
    HangUp,
}
