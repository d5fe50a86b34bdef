//! What a state directory that nobody has used yet has to say: nothing, truthfully.
//!
//! It lets commands that only read answer without making anything. It knows the catalogue and the
//! lanes, which are there before the first operation is.

use futures_util::stream;

use crate::domain::{
    Accepted, Answer, Backend, BackendError, BoxFuture, Catalogue, Control, EventStream, Page,
    Query, Result, Rows, Serial, Subject, Submit,
};

use super::settings::Settings;
use crate::backend::engine::queue::Queue;
use crate::backend::operations::KindEntry;

/// A backend that has nothing and does nothing.
pub struct Nothing {
    catalogue: Catalogue,
    settings: Settings,
}

impl Nothing {
    /// One with these kinds of operations.
    #[must_use]
    pub fn new(settings: Settings, kinds: Vec<KindEntry>) -> Self {
        Self { catalogue: Catalogue::new(kinds.into_iter().map(|entry| entry.spec)), settings }
    }

    fn answer(&self, query: Query) -> Result<Answer> {
        match query {
            Query::List(list) => {
                let rows = match list.of {
                    Subject::Resources(_) => Rows::Resources(Vec::new()),
                    Subject::Operations => Rows::Operations(Vec::new()),
                };
                Ok(Answer::Page(Page { total: 0, offset: 0, rows }))
            }
            Query::Lanes => {
                let lanes = self.settings.lanes.iter().map(|(name, width)| (&**name, *width));
                Ok(Answer::Lanes(Queue::new(lanes).lanes().collect()))
            }
            Query::Resource { id } => Err(self.absent(id)),
            Query::Operation { uid } => Err(self.absent(format_args!("operation {uid}"))),
            _ => Err(self.nobody()),
        }
    }

    /// That something is not there, and why nothing is.
    fn absent(&self, what: impl std::fmt::Display) -> BackendError {
        let dir = self.settings.state_dir.display();
        BackendError::not_found(format_args!(
            "nobody has used the state directory {dir} yet: {what}"
        ))
    }

    fn nobody(&self) -> BackendError {
        BackendError::Unreachable {
            message: format!(
                "nobody has used the state directory {} yet; start hostler on it first",
                self.settings.state_dir.display()
            ),
        }
    }
}

impl Backend for Nothing {
    fn catalogue(&self) -> Catalogue {
        self.catalogue.clone()
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(std::future::ready(self.answer(query)))
    }

    fn submit(&self, _: Submit) -> BoxFuture<'_, Result<Accepted>> {
        Box::pin(std::future::ready(Err(self.nobody())))
    }

    fn control(&self, control: Control) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Err(match control {
            Control::Cancel { uid }
            | Control::Relaunch { uid, .. }
            | Control::Priority { uid, .. } => self.absent(format_args!("operation {uid}")),
            Control::Lane { .. } => self.nobody(),
        })))
    }

    fn subscribe(&self) -> EventStream {
        Box::pin(stream::empty())
    }

    fn serial(&self, vm: u64) -> BoxFuture<'_, Result<Serial>> {
        Box::pin(std::future::ready(Err(self.absent(format_args!("vm/{vm}")))))
    }
}
