//! What a kind's function works with: the engine's contexts, with the ports, the settings and the
//! mark of the operation's files.

use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::engine::journal::{self, Stop};
use crate::backend::environment::Environment;
use crate::backend::ports::Ports;
use crate::backend::settings::Settings;
use crate::backend::state_files::description;
use crate::backend::state_files::mark::Mark;
use crate::domain::{Failure, Resource, Text};

/// What an operation's function works with.
#[derive(Clone)]
pub struct Context {
    engine: journal::Context,
    env: Arc<Environment>,
}

impl Context {
    /// What the engine gives an operation, with an environment.
    #[must_use]
    pub const fn new(engine: journal::Context, env: Arc<Environment>) -> Self {
        Self { engine, env }
    }

    /// What it may ask the world for.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.env.ports
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.env.settings
    }

    /// What a later database said of a resource: an older one was put back.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub fn said_later(&self, resource: &Resource) -> Result<Option<Resource>, Failure> {
        description::later(&self.settings().state_dir, resource, &*self.env.history)
            .map_err(|error| Failure::io(format!("look at {}", resource.id()), &error))
    }

    /// What its files are known by as its own.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark::of(self.uid(), self.created())
    }

    /// A step: a name from the kind's catalogue entry, then what it does.
    pub fn step(&self, name: impl Into<Text>) -> StepBuilder<'_> {
        StepBuilder { cx: self, step: self.engine.step(name) }
    }
}

impl Deref for Context {
    type Target = journal::Context;

    fn deref(&self) -> &Self::Target {
        &self.engine
    }
}

/// What a step's function works with.
#[derive(Clone)]
pub struct StepContext {
    step: journal::StepContext,
    cx: Context,
}

impl StepContext {
    fn new(step: journal::StepContext, env: &Arc<Environment>) -> Self {
        let cx = Context::new(step.cx().clone(), env.clone());
        Self { step, cx }
    }

    /// The context of the operation.
    #[must_use]
    pub const fn cx(&self) -> &Context {
        &self.cx
    }
}

impl Deref for StepContext {
    type Target = journal::StepContext;

    fn deref(&self) -> &Self::Target {
        &self.step
    }
}

/// A step about to be taken: [`journal::StepBuilder`], whose functions get a [`StepContext`].
#[must_use = "a step does nothing until it is run"]
pub struct StepBuilder<'c> {
    cx: &'c Context,
    step: journal::StepBuilder<'c>,
}

impl StepBuilder<'_> {
    /// See [`journal::StepBuilder::label`].
    pub fn label(self, phase: impl Into<Text>) -> Self {
        Self { step: self.step.label(phase), ..self }
    }

    /// See [`journal::StepBuilder::progress_range`].
    pub fn progress_range(self, from: f64, to: f64) -> Self {
        Self { step: self.step.progress_range(from, to), ..self }
    }

    /// See [`journal::StepBuilder::pivot`].
    pub fn pivot(self) -> Self {
        Self { step: self.step.pivot(), ..self }
    }

    /// See [`journal::StepBuilder::retry`].
    pub fn retry(self, times: u32) -> Self {
        Self { step: self.step.retry(times), ..self }
    }

    /// See [`journal::StepBuilder::undo`].
    pub fn undo<F, Fut>(self, undo: F) -> Self
    where
        F: Fn(StepContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let env = self.cx.env.clone();
        Self { step: self.step.undo(move |step| undo(StepContext::new(step, &env))), ..self }
    }

    /// See [`journal::StepBuilder::run`].
    ///
    /// # Errors
    /// When the step fails, or the operation is to stop here.
    pub async fn run<T, F, Fut>(self, effect: F) -> Result<T, Stop>
    where
        T: Serialize + DeserializeOwned,
        F: Fn(StepContext) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let env = &self.cx.env;
        self.step.run(|step| effect(StepContext::new(step, env))).await
    }
}
