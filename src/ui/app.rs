//! The lists and the windows over them: all that `update` changes and `draw` shows.

use std::any::Any;

use jiff::{SignedDuration, Timestamp};

use super::input::action::Scope;
use super::model::{Front, Model};
use super::windows::window::Window;
use crate::domain::{State, Uid};

/// The lists and the windows over them.
#[derive(Debug)]
pub struct App {
    /// All there is besides the windows.
    pub model: Model,
    /// The front one last.
    windows: Vec<Box<dyn Window>>,
}

impl App {
    /// Returns one without windows.
    #[must_use]
    pub const fn new(model: Model) -> Self {
        Self { model, windows: Vec::new() }
    }

    /// Returns the windows, the front one last.
    #[must_use]
    pub fn windows(&self) -> &[Box<dyn Window>] {
        &self.windows
    }

    /// Returns the front window.
    #[must_use]
    pub fn front(&self) -> Option<&dyn Window> {
        self.windows.last().map(AsRef::as_ref)
    }

    /// Returns the front window, if it is of that type.
    #[must_use]
    pub fn front_as<W: Window>(&self) -> Option<&W> {
        let front: &dyn Any = self.front()?;
        front.downcast_ref()
    }

    /// Opens a window in front of all others.
    pub fn open(&mut self, window: Box<dyn Window>) {
        self.windows.push(window);
        self.look();
    }

    /// Closes the windows from that place on; the one furthest back has place 0.
    pub fn close_from(&mut self, place: usize) {
        self.windows.truncate(place);
        self.look();
    }

    /// Closes the front window.
    pub fn close(&mut self) {
        self.close_from(self.windows.len().saturating_sub(1));
    }

    /// Lets the window at a place do something with the model; `None` where there is no window.
    pub fn with<T>(
        &mut self,
        place: usize,
        doing: impl FnOnce(&mut dyn Window, &mut Model) -> T,
    ) -> Option<T> {
        let window = self.windows.get_mut(place)?;
        let done = doing(window.as_mut(), &mut self.model);
        self.look();
        Some(done)
    }

    /// Lets the front window do something with the model; `None` where there is none.
    pub fn with_front<T>(
        &mut self,
        doing: impl FnOnce(&mut dyn Window, &mut Model) -> T,
    ) -> Option<T> {
        self.with(self.windows.len().checked_sub(1)?, doing)
    }

    /// Keeps up with what stands in front.
    fn look(&mut self) {
        self.model.front = self.front().map_or(Front::Lists, Window::front);
    }

    /// Returns where keys are looked up now.
    #[must_use]
    pub fn scopes(&self) -> Vec<Scope> {
        self.front().map_or_else(|| self.model.scopes(), |front| front.scopes(&self.model))
    }

    /// Returns the operations that a window of their own shows.
    pub fn shown_operations(&self) -> impl Iterator<Item = Uid> {
        self.windows.iter().filter_map(|window| match window.front() {
            Front::Operation(uid) => Some(uid),
            _ => None,
        })
    }

    /// Returns when it wants to be woken, if nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        let model = &self.model;
        let runs = model.flight.operations.iter().any(|it| it.state == State::Run);
        let is_covered = self.front().is_some_and(Window::covers_all);
        let clock = (runs && !is_covered).then(|| model.now + SignedDuration::from_secs(1));
        let notification = model.notification.as_ref().map(|it| it.until);
        let front = self.front().and_then(Window::wake_at);
        [clock, notification, model.refresh_at(), front].into_iter().flatten().min()
    }
}
