//! What a kind of operation is: its catalogue entry, its checks, its steps.
//!
//! The engine knows kinds only through this. Parameters are JSON here; whoever offers kinds may
//! give them a type.

#![warn(missing_docs)]

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{
    BackendError, BoxFuture, Catalogue, Effect, Failure, LockMode, Operation, OperationSpec,
    Outcome, Params, Preview, Reason, Refusal, Resource, ResourceId, State, Text, Uid,
};

use super::admission::short;
use super::inventory::Inventory;
use super::journal::{Context, SPAWN, Stop};
use super::queue::QueueEntry;

/// The lane of operations whose kind is not known: each fails when its turn comes.
const UNKNOWN: Text = Text::Borrowed("unknown");

/// What a kind may look at before its operation is queued.
#[derive(Clone, Copy)]
pub struct AdmissionContext<'a> {
    /// Every living resource.
    pub inventory: &'a Inventory,
    /// What can be asked for, for kinds that ask for other kinds.
    pub catalogue: &'a Catalogue,
    /// The time of the request.
    pub now: Timestamp,
    /// The operation that is to be relaunched with these parameters, where it is no new request.
    pub relaunched: Option<&'a Operation>,
    /// The operations whose child it is or is to be, the nearest first.
    pub(in crate::backend) ancestors: &'a [Uid],
    /// Who is asked what is in flight and what else would be refused; `None` where nobody is.
    pub(in crate::backend) asked: Option<&'a dyn Admits>,
}

/// Knows what is in flight, and whether requests would be admitted.
pub(in crate::backend) trait Admits {
    /// Every operation that is not at its end.
    fn operations(&self) -> Box<dyn Iterator<Item = &Operation> + '_>;

    /// Why a request would be refused now. Its parameters have passed [`super::admission`].
    fn would_refuse(&self, kind: &str, params: &Params) -> Option<Refusal>;

    /// What a request would do, a sentence each. Its parameters have passed [`super::admission`].
    fn would_do(&self, kind: &str, params: &Params) -> Vec<String>;
}

impl<'a> AdmissionContext<'a> {
    /// The operations of a kind that wait or run, but for those for which this is asked: for what
    /// they will make and nothing else tells of yet.
    pub fn under_way(&self, kind: &str) -> impl Iterator<Item = &'a Operation> {
        let (asker, ancestors) = (self.relaunched.map(|it| it.uid), self.ancestors);
        let all = self.asked.into_iter().flat_map(Admits::operations);
        all.filter(move |it| {
            matches!(it.state, State::Pending | State::Run)
                && it.kind == kind
                && Some(it.uid) != asker
                && !ancestors.contains(&it.uid)
        })
    }

    /// Why another request would be refused now, for kinds that ask for other kinds. Its parameters
    /// have passed [`super::admission`], as those of a nested field have.
    #[must_use]
    pub fn would_refuse(&self, kind: &str, params: &Params) -> Option<Refusal> {
        if self.relaunched.is_some() {
            // What a relaunched operation has asked for already is no obstacle to itself.
            return None;
        }
        self.asked?.would_refuse(kind, params)
    }

    /// What another request would do, a sentence each, for kinds that ask for other kinds. Its
    /// parameters have passed [`super::admission`], as those of a nested field have.
    #[must_use]
    pub fn would_do(&self, kind: &str, params: &Params) -> Vec<String> {
        self.asked.map(|asked| asked.would_do(kind, params)).unwrap_or_default()
    }
}

/// How the children of an operation are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChildRules {
    /// How many may be under way at once; `None`: all. What they need and their lanes limit them
    /// further.
    pub at_once: Option<u32>,
    /// Whether none is started any more once one has failed. Those that run go on.
    pub stop_on_error: bool,
}

/// Finds out what is to be warned of, a sentence each. Called while nobody is kept waiting, because
/// it may look at the box.
pub type Warnings = Box<dyn FnOnce() -> Vec<String> + Send>;

/// A kind of operation. Its parameters have passed [`super::admission`]: they are what the fields
/// of its catalogue entry say.
pub trait Kind: Send + Sync {
    /// Its catalogue entry; the same whenever it is asked for.
    fn spec(&self) -> &Arc<OperationSpec>;

    /// Fills in what was left out and follows from what is: so that it is locked, stored and shown
    /// like everything that was given. Comes before [`Kind::admit`].
    fn fill(&self, params: Params, cx: &AdmissionContext<'_>) -> Params {
        let _ = cx;
        params
    }

    /// What the catalogue cannot say: checks between fields, and of resources as they are or will
    /// be. Type, syntax, value, existence, privileges and state, in this order. It is asked too
    /// when a check of the catalogue's has failed, because one of these may come before that: a
    /// resource that is named may not be there then, and is not this one's to complain of.
    ///
    /// # Errors
    /// The first check that fails.
    fn admit(&self, params: &Params, cx: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let _ = (params, cx);
        Ok(())
    }

    /// The resource that a kind with [`Effect::Creates`] makes, as it stands until the operation is
    /// done. It has the number `id`. `None` where an operation of these parameters makes none
    /// itself: its children do.
    fn reserve(&self, params: &Params, id: u64, cx: &AdmissionContext<'_>) -> Option<Resource> {
        let _ = (params, id, cx);
        None
    }

    /// What an operation of these parameters is called in lists, where it is about no resource that
    /// has a name.
    fn name(&self, params: &Params) -> Option<String> {
        let _ = params;
        None
    }

    /// What becomes of a reserved resource when the operation ends in `ERROR` or `CANCEL`. By
    /// default it stays through an error, because the operation may be relaunched, and goes with a
    /// cancelled one.
    fn resource_after(&self, resource: Resource, end: State) -> Option<Resource> {
        (end != State::Cancel).then_some(resource)
    }

    /// Removes what failed attempts kept for a relaunch or could not undo, when a failed operation
    /// of a kind with [`Effect::Creates`] is called off after all. `id` is the number its resource
    /// had.
    fn remove_leftovers(&self, id: u64) -> BoxFuture<'_, Result<(), Failure>> {
        let _ = id;
        Box::pin(std::future::ready(Ok(())))
    }

    /// What a request would do: sentences, commands, space.
    fn preview(&self, params: &Params, cx: &AdmissionContext<'_>) -> Preview {
        let _ = (params, cx);
        Preview::default()
    }

    /// How to find out what may go wrong although a request is accepted: told to whoever asks, and
    /// in the preview. `None`: nothing may.
    fn warnings(&self, params: &Params, cx: &AdmissionContext<'_>) -> Option<Warnings> {
        let _ = (params, cx);
        None
    }

    /// How the children are run that an operation of these parameters asks for. Asked only of kinds
    /// that name [`SPAWN`] among their steps.
    fn child_rules(&self, params: &Params) -> ChildRules {
        let _ = params;
        ChildRules::default()
    }

    /// Takes the steps. Every effect goes through [`Context::step`]; after a crash this runs again
    /// from the top, and recorded steps return what they returned before. Returns what is to be
    /// kept of it with the operation: nothing that its steps have not returned, so that it is the
    /// same after a crash.
    fn run(&self, cx: Context, params: &Params) -> BoxFuture<'static, Result<Outcome, Stop>>;
}

/// Every kind there is.
pub struct Kinds {
    catalogue: Catalogue,
    by_name: HashMap<Text, Arc<dyn Kind>>,
}

impl Kinds {
    /// These, in the order of the catalogue.
    pub(super) fn new(kinds: Vec<Arc<dyn Kind>>) -> Self {
        let catalogue = Catalogue::new(kinds.iter().map(|kind| (**kind.spec()).clone()));
        let by_name = kinds.into_iter().map(|kind| (kind.spec().kind.clone(), kind)).collect();
        Self { catalogue, by_name }
    }

    pub(super) const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The kind of that name, where this version knows it.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<dyn Kind>> {
        self.by_name.get(name)
    }

    /// The kind that somebody asks for.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(super) fn requested(&self, name: &str) -> Result<Arc<dyn Kind>, BackendError> {
        self.get(name).cloned().ok_or_else(|| {
            let name = short(name);
            let message =
                format!("there is no operation '{name}'; `hostler run --help` lists them");
            Refusal::field(Reason::Type, "kind", name, message).into()
        })
    }

    /// The resource an operation makes.
    pub(super) fn makes(&self, operation: &Operation) -> Option<ResourceId> {
        let spec = self.get(&operation.kind)?.spec();
        operation.resource.filter(|_| spec.effect == Effect::Creates)
    }

    /// How the children of an operation are run.
    pub(super) fn child_rules(&self, operation: &Operation, params: &Params) -> ChildRules {
        let asks = |kind: &&Arc<dyn Kind>| kind.spec().steps.iter().any(|step| step == SPAWN);
        let kind = self.get(&operation.kind).filter(asks);
        kind.map_or_else(ChildRules::default, |kind| kind.child_rules(params))
    }

    /// What the queue needs to know of an operation. One of a kind that this version does not know
    /// fails when its turn comes.
    pub(super) fn queue_entry(
        &self,
        operation: &Operation,
        params: &Params,
        rules: ChildRules,
        ancestors: Vec<Uid>,
    ) -> QueueEntry {
        let at_once = rules.at_once;
        let kind = self.get(&operation.kind).map(|kind| kind.spec());
        let Some(spec) = kind else {
            return QueueEntry {
                uid: operation.uid,
                kind: operation.kind.clone().into(),
                lane: UNKNOWN,
                priority: operation.priority,
                locks: operation.resource.map(|it| (it, LockMode::Exclusive)).into_iter().collect(),
                subject: operation.resource,
                state_after: None,
                ancestors,
                at_once,
                began: false,
            };
        };
        QueueEntry {
            uid: operation.uid,
            kind: spec.kind.clone(),
            lane: spec.lane.clone(),
            priority: operation.priority,
            locks: locks(spec, operation.resource, params),
            subject: operation.resource,
            state_after: spec.state_after.clone(),
            ancestors,
            at_once,
            began: false,
        }
    }
}

/// What an operation holds while it runs; each resource once.
pub(in crate::backend) fn locks(
    spec: &OperationSpec,
    resource: Option<ResourceId>,
    params: &Params,
) -> Vec<(ResourceId, LockMode)> {
    let mut locks: Vec<(ResourceId, LockMode)> = Vec::new();
    let mut hold = |resource: ResourceId, mode: LockMode| match locks
        .iter_mut()
        .find(|(held, _)| *held == resource)
    {
        Some((_, held)) if mode == LockMode::Exclusive => *held = mode,
        Some(_) => {}
        None => locks.push((resource, mode)),
    };
    if spec.effect == Effect::Creates
        && let Some(resource) = resource
    {
        hold(resource, LockMode::Exclusive);
    }
    let named: Vec<_> = spec.resources_named(params, None).collect();
    for rule in &spec.locks {
        for (of, argument) in named.iter().filter(|(_, argument)| argument.is_in(&rule.field)) {
            if let Some(id) = argument.value.as_u64() {
                hold(ResourceId::new(*of, id), rule.mode);
            }
        }
    }
    locks
}
