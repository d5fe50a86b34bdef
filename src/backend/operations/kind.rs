//! What a kind of operation is here: the engine's, with a type for its parameters, and with the
//! ports and the settings.
//!
//! ```text
//!  Kind (typed, one file each) ──▶ KindEntry ── bind ──▶ engine::kind::Kind (JSON, no ports)
//! ```

#![warn(missing_docs)]

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::engine::journal::Stop;
use crate::backend::engine::{journal, kind};
use crate::backend::environment::Environment;
use crate::backend::ports::{PortFuture, Ports};
use crate::backend::settings::Settings;
use crate::domain::{
    BoxFuture, Failure, OperationSpec, Outcome, Params, Preview, Reason, Refusal, Resource, State,
};

use super::context::Context;
use super::demand::Demand;

/// What a kind may look at before its operation is queued: what the engine shows, and more.
#[derive(Clone, Copy)]
pub struct AdmissionContext<'a> {
    /// What the engine shows: resources, catalogue, the time of the request.
    pub engine: kind::AdmissionContext<'a>,
    /// The settings.
    pub settings: &'a Settings,
    /// What the world can be asked without waiting: the command a preview shows.
    pub ports: &'a Ports,
}

impl<'a> Deref for AdmissionContext<'a> {
    type Target = kind::AdmissionContext<'a>;

    fn deref(&self) -> &Self::Target {
        &self.engine
    }
}

/// A kind of operation.
pub trait Kind: 'static {
    /// Its parameters, as its fields say and as the engine's admission has checked them.
    type Params: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Its catalogue entry.
    fn spec(settings: &Settings) -> OperationSpec;

    /// Fills in what was left out and follows from what is: so that it is locked, stored and shown
    /// like everything that was given. Comes before [`Kind::admit`].
    #[must_use]
    fn fill(params: Self::Params, world: &AdmissionContext<'_>) -> Self::Params {
        let _ = world;
        params
    }

    /// What the catalogue cannot say: checks between fields, and of resources as they are or will
    /// be. Type, syntax, value, existence, privileges and state, in this order. It is asked too
    /// when a check of the catalogue's has failed, because one of these may come before that: a
    /// resource that is named may not be there then, and is not this one's to complain of.
    ///
    /// # Errors
    /// The first check that fails.
    fn admit(params: &Self::Params, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let _ = (params, world);
        Ok(())
    }

    /// The resource that a kind with [`crate::domain::Effect::Creates`] makes, as it stands until
    /// the operation is done. It has the number `id`. `None` where an operation of these parameters
    /// makes none itself: its children do.
    fn reserve(params: &Self::Params, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        let _ = (params, id, world);
        None
    }

    /// What an operation of these parameters is called in lists, where it is about no resource that
    /// has a name.
    fn name(params: &Self::Params) -> Option<String> {
        let _ = params;
        None
    }

    /// What becomes of a reserved resource when the operation ends in `ERROR` or `CANCEL`. By
    /// default it stays through an error, because the operation may be relaunched, and goes with a
    /// cancelled one.
    #[must_use]
    fn resource_after(resource: Resource, end: State) -> Option<Resource> {
        (end != State::Cancel).then_some(resource)
    }

    /// Removes what failed attempts kept for a relaunch or could not undo, when a failed operation
    /// of a kind with [`crate::domain::Effect::Creates`] is called off after all. `id` is the
    /// number its resource had.
    fn remove_leftovers<'a>(
        ports: &'a Ports,
        settings: &'a Settings,
        id: u64,
    ) -> PortFuture<'a, ()> {
        let _ = (ports, settings, id);
        Box::pin(async { Ok(()) })
    }

    /// What a request would do: sentences, commands, space.
    fn preview(params: &Self::Params, world: &AdmissionContext<'_>) -> Preview {
        let _ = (params, world);
        Preview::default()
    }

    /// What of the box a request takes that there may be too little of. It is accepted all the
    /// same: whoever asks is warned, also in the preview.
    fn demands(params: &Self::Params, world: &AdmissionContext<'_>) -> Vec<Demand> {
        let _ = (params, world);
        Vec::new()
    }

    /// How the children are run that an operation of these parameters asks for.
    fn child_rules(params: &Self::Params) -> kind::ChildRules {
        let _ = params;
        kind::ChildRules::default()
    }

    /// Takes the steps. Every effect goes through [`Context::step`]; after a crash this runs again
    /// from the top, and recorded steps return what they returned before. Returns what is to be
    /// kept of it with the operation: nothing that its steps have not returned, so that it is the
    /// same after a crash.
    fn run(
        cx: Context,
        params: Self::Params,
    ) -> impl Future<Output = Result<Outcome, Stop>> + Send + 'static;
}

/// Makes a kind of its catalogue entry, in an environment.
type Bind = dyn FnOnce(Arc<OperationSpec>, Arc<Environment>) -> Arc<dyn kind::Kind> + Send;

/// A kind in the list of all: its catalogue entry, and how the engine comes to know it.
pub struct KindEntry {
    /// Its catalogue entry.
    pub spec: OperationSpec,
    bind: Box<Bind>,
}

impl KindEntry {
    /// The entry of a kind with a type of its own.
    #[must_use]
    pub fn of<K: Kind>(settings: &Settings) -> Self {
        Self::new(K::spec(settings), |spec, env| {
            Arc::new(Bound::<K> { spec, env, kind: PhantomData })
        })
    }

    /// The entry of a kind that is known only at run time, as one that a configuration describes
    /// is: an object that `bind` makes, whose [`kind::Kind::spec`] is the one it is given.
    pub fn new<F>(spec: OperationSpec, bind: F) -> Self
    where
        F: FnOnce(Arc<OperationSpec>, Arc<Environment>) -> Arc<dyn kind::Kind> + Send + 'static,
    {
        Self { spec, bind: Box::new(bind) }
    }

    /// The kind as the engine knows it, in an environment.
    #[must_use]
    pub fn bind(self, env: &Arc<Environment>) -> Arc<dyn kind::Kind> {
        (self.bind)(self.spec.into(), env.clone())
    }
}

/// A kind in its environment.
struct Bound<K> {
    spec: Arc<OperationSpec>,
    env: Arc<Environment>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Bound<K> {
    fn admission<'a>(&'a self, engine: &kind::AdmissionContext<'a>) -> AdmissionContext<'a> {
        let Environment { ports, settings, .. } = &*self.env;
        AdmissionContext { engine: *engine, settings, ports }
    }
}

impl<K: Kind> kind::Kind for Bound<K> {
    fn spec(&self) -> &Arc<OperationSpec> {
        &self.spec
    }

    fn fill(&self, params: Params, cx: &kind::AdmissionContext<'_>) -> Params {
        match typed::<K>(&params) {
            Ok(it) => untyped(&K::fill(it, &self.admission(cx))).unwrap_or(params),
            // The admission that comes next tells what does not fit.
            Err(_) => params,
        }
    }

    fn admit(&self, params: &Params, cx: &kind::AdmissionContext<'_>) -> Result<(), Refusal> {
        // They passed the catalogue's checks: a kind whose fields and parameter type disagree,
        // which the catalogue tests look for.
        let params =
            typed::<K>(params).map_err(|failure| Refusal::new(Reason::Type, failure.message))?;
        K::admit(&params, &self.admission(cx))
    }

    fn reserve(
        &self,
        params: &Params,
        id: u64,
        cx: &kind::AdmissionContext<'_>,
    ) -> Option<Resource> {
        K::reserve(&typed::<K>(params).ok()?, id, &self.admission(cx))
    }

    fn name(&self, params: &Params) -> Option<String> {
        K::name(&typed::<K>(params).ok()?)
    }

    fn resource_after(&self, resource: Resource, end: State) -> Option<Resource> {
        K::resource_after(resource, end)
    }

    fn remove_leftovers(&self, id: u64) -> BoxFuture<'_, Result<(), Failure>> {
        K::remove_leftovers(&self.env.ports, &self.env.settings, id)
    }

    fn preview(&self, params: &Params, cx: &kind::AdmissionContext<'_>) -> Preview {
        let preview = |params| K::preview(&params, &self.admission(cx));
        typed::<K>(params).map_or_else(|_| Preview::default(), preview)
    }

    fn warnings(&self, params: &Params, cx: &kind::AdmissionContext<'_>) -> Option<kind::Warnings> {
        let demands = K::demands(&typed::<K>(params).ok()?, &self.admission(cx));
        if demands.is_empty() {
            return None;
        }
        let env = self.env.clone();
        let warning = move |demand: Demand| demand.warning(&env.settings);
        Some(Box::new(move || demands.into_iter().filter_map(warning).collect()))
    }

    fn child_rules(&self, params: &Params) -> kind::ChildRules {
        typed::<K>(params).map_or_else(|_| kind::ChildRules::default(), |it| K::child_rules(&it))
    }

    fn run(
        &self,
        cx: journal::Context,
        params: &Params,
    ) -> BoxFuture<'static, Result<Outcome, Stop>> {
        match typed::<K>(params) {
            Ok(params) => Box::pin(K::run(Context::new(cx, self.env.clone()), params)),
            Err(failure) => Box::pin(async { Err(Stop::Failed(failure)) }),
        }
    }
}

/// Parameters as a kind's own type.
fn typed<K: Kind>(params: &Params) -> Result<K::Params, Failure> {
    serde::Deserialize::deserialize(params).map_err(|error| {
        Failure::new(format!("the parameters do not fit this version of hostler: {error}"))
    })
}

/// A kind's own type as parameters.
fn untyped(params: &impl Serialize) -> Option<Params> {
    match serde_json::to_value(params) {
        Ok(serde_json::Value::Object(params)) => Some(params),
        _ => None,
    }
}
