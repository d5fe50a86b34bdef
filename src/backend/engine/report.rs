//! What is told of a step while it is taken: how far it is, and the commands run for it.

#![warn(missing_docs)]

use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::Command;

/// How far a call is; the latest replaces the one before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProgressReport {
    /// How much of this call is done, 0 to 1, where that can be known.
    pub fraction: Option<f64>,
    /// How much longer this call takes, in seconds, where that can be told.
    pub left_s: Option<u64>,
    /// Figures worth seeing: `2.3× · 58 fps`.
    pub detail: Option<String>,
    /// The mean speed so far in seconds of media per second, where there is one.
    pub speed: Option<f64>,
}

/// Where a call reports how far it is. Called often; must not block.
pub type Report<'a> = &'a (dyn Fn(ProgressReport) + Send + Sync);

/// Collects the commands that are run on the operator's behalf, for the step they belong to.
#[derive(Clone, Default)]
pub struct CommandLog {
    commands: Arc<Mutex<Vec<Command>>>,
    changed: Option<Arc<dyn Fn(Vec<Command>) + Send + Sync>>,
}

/// A command of a [`CommandLog`] that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Begun(usize);

impl CommandLog {
    /// A log that calls `changed` with all its commands whenever one begins or ends.
    pub fn watched(changed: impl Fn(Vec<Command>) + Send + Sync + 'static) -> Self {
        Self { commands: Arc::default(), changed: Some(Arc::new(changed)) }
    }

    /// Notes that a command begins. `line` holds no secrets.
    pub fn begin(&self, line: impl Into<String>) -> Begun {
        let mut commands = self.commands.lock();
        commands.push(Command { line: line.into(), ended: None, tail: String::new(), took_ms: 0 });
        let begun = Begun(commands.len() - 1);
        self.tell(&commands);
        begun
    }

    /// Notes how a command ended and the last of what it printed.
    pub fn end(
        &self,
        begun: Begun,
        ended: impl Into<String>,
        tail: impl Into<String>,
        took_ms: u64,
    ) {
        let mut commands = self.commands.lock();
        if let Some(command) = commands.get_mut(begun.0) {
            command.ended = Some(ended.into());
            command.tail = tail.into();
            command.took_ms = took_ms;
        }
        self.tell(&commands);
    }

    /// The commands so far.
    #[must_use]
    pub fn commands(&self) -> Vec<Command> {
        self.commands.lock().clone()
    }

    fn tell(&self, commands: &[Command]) {
        if let Some(changed) = &self.changed {
            changed(commands.to_vec());
        }
    }
}

impl std::fmt::Debug for CommandLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.commands()).finish()
    }
}
