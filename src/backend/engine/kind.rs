//! What a kind of operation is: its catalogue entry, its checks, its steps.
//!
//! The kinds themselves are in `operations`; the engine knows them only through this.

#![warn(missing_docs)]

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use jiff::Timestamp;

use crate::domain::{
    BoxFuture, Catalogue, Failure, OperationSpec, Params, Preview, Refusal, Resource, State,
};

use super::inventory::Inventory;
use super::journal::{Context, Stop};
use crate::backend::ports::{PortFuture, Ports};
use crate::backend::settings::Settings;

/// What a kind may look at before its operation is queued.
#[derive(Clone, Copy)]
pub struct AdmissionContext<'a> {
    /// Every living resource.
    pub inventory: &'a Inventory,
    /// The settings.
    pub settings: &'a Settings,
    /// What can be asked for, for kinds that ask for other kinds.
    pub catalogue: &'a Catalogue,
    /// What the world can be asked without waiting: the command a preview shows.
    pub ports: &'a Ports,
    /// The time of the request.
    pub now: Timestamp,
}

/// A kind of operation.
pub trait Kind: 'static {
    /// Its parameters, as its fields say and as [`super::admission`] has checked them.
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
    /// be. Existence, privileges and state, in this order.
    ///
    /// # Errors
    /// The first check that fails.
    fn admit(params: &Self::Params, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let _ = (params, world);
        Ok(())
    }

    /// The resource that a kind with [`crate::domain::Effect::Creates`] makes, as it stands until
    /// the operation is done. It gets the number `id`.
    fn reserve(params: &Self::Params, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        let _ = (params, id, world);
        None
    }

    /// What becomes of a reserved resource when the operation ends in `ERROR` or `CANCEL`. By
    /// default it stays through an error, because the operation may be relaunched, and goes with a
    /// cancelled one.
    #[must_use]
    fn resource_after(resource: Resource, end: State) -> Option<Resource> {
        (end != State::Cancel).then_some(resource)
    }

    /// Removes what failed attempts kept for a relaunch, when a failed operation of a kind with
    /// [`crate::domain::Effect::Creates`] is called off after all. `id` is the number its resource
    /// had.
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

    /// Takes the steps. Every effect goes through [`Context::step`]; after a crash this runs again
    /// from the top, and recorded steps return what they returned before.
    fn run(
        cx: Context,
        params: Self::Params,
    ) -> impl Future<Output = Result<(), Stop>> + Send + 'static;
}

/// A kind without its parameter type, as the backend holds it.
pub struct Entry {
    /// Its catalogue entry.
    pub spec: OperationSpec,
    pub(in crate::backend) fill: fn(Params, &AdmissionContext<'_>) -> Params,
    pub(in crate::backend) admit: fn(&Params, &AdmissionContext<'_>) -> Result<(), Refusal>,
    pub(in crate::backend) reserve: fn(&Params, u64, &AdmissionContext<'_>) -> Option<Resource>,
    pub(in crate::backend) resource_after: fn(Resource, State) -> Option<Resource>,
    pub(in crate::backend) remove_leftovers:
        for<'a> fn(&'a Ports, &'a Settings, u64) -> PortFuture<'a, ()>,
    pub(in crate::backend) preview: fn(&Params, &AdmissionContext<'_>) -> Preview,
    pub(in crate::backend) run: fn(Context, &Params) -> BoxFuture<'static, Result<(), Stop>>,
}

impl Entry {
    /// A kind's entry.
    #[must_use]
    pub fn of<K: Kind>(settings: &Settings) -> Self {
        Self {
            spec: K::spec(settings),
            fill: |params, world| match typed::<K>(&params) {
                Ok(it) => untyped_params(&K::fill(it, world)).unwrap_or(params),
                // The admission that comes next tells what does not fit.
                Err(_) => params,
            },
            admit: |params, world| K::admit(&typed::<K>(params).map_err(untyped)?, world),
            reserve: |params, id, world| K::reserve(&typed::<K>(params).ok()?, id, world),
            resource_after: K::resource_after,
            remove_leftovers: K::remove_leftovers,
            preview: |params, world| {
                typed::<K>(params).map_or_else(|_| Preview::default(), |it| K::preview(&it, world))
            },
            run: |cx, params| match typed::<K>(params) {
                Ok(params) => Box::pin(K::run(cx, params)),
                Err(failure) => Box::pin(async { Err(Stop::Failed(failure)) }),
            },
        }
    }
}

/// Parameters as a kind's own type.
fn typed<K: Kind>(params: &Params) -> Result<K::Params, Failure> {
    K::Params::deserialize(params).map_err(|error| {
        Failure::new(format!("the parameters do not fit this version of hostler: {error}"))
    })
}

/// A kind's own type as parameters.
fn untyped_params(params: &impl Serialize) -> Option<Params> {
    match serde_json::to_value(params) {
        Ok(serde_json::Value::Object(params)) => Some(params),
        _ => None,
    }
}

/// A refusal for parameters that passed the catalogue's checks and still do not fit: a kind whose
/// fields and parameter type disagree, which the catalogue tests look for.
fn untyped(failure: Failure) -> Refusal {
    Refusal::new(crate::domain::Reason::Type, failure.message)
}

/// A secret as it is stored: hashed. A preview is made before anything is hashed; what was typed is
/// dropped then, and the hash is empty.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Given")]
pub struct Sealed {
    /// The hash, as `crypt(3)` writes it.
    pub hashed: String,
}

/// What may stand for a [`Sealed`] in JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Hashed { hashed: String },
    Typed(#[allow(dead_code, reason = "it is read to be dropped")] String),
}

impl From<Given> for Sealed {
    fn from(given: Given) -> Self {
        match given {
            Given::Hashed { hashed } => Self { hashed },
            Given::Typed(_) => Self { hashed: String::new() },
        }
    }
}
