//! What is in flight: the open operations, the queue, every living resource. Pure and synchronous.
//!
//! Everybody may look. Only the engine changes it, through [`super::core`], so that what memory
//! says and what the disk says go the same way.

mod families;
mod lifecycle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::domain::{BackendError, Operation, Outcome, Params, Resource, ResourceId, State, Uid};

use super::inventory::Inventory;
use super::kind::{ChildRules, Kinds};
use super::queue::Queue;
use super::secrets::hidden;
use super::storage::{Change, Changed, Opened};

use families::Families;
pub(super) use families::Joining;
pub(super) use lifecycle::half_way;

/// What is in flight.
pub(in crate::backend) struct Live {
    queue: Queue,
    inventory: Inventory,
    /// Operations in `PENDING`, `RUN` and `ERROR`.
    open: BTreeMap<Uid, Open>,
    families: Families,
    /// Those of the open ones that are past their pivot.
    past_pivot: BTreeSet<Uid>,
    last_uid: u64,
    /// Numbers below `last_uid` whose operations could not be written.
    unwritten: BTreeSet<Uid>,
    /// Resources whose removal is on its way to the disk. They are there until it is, and nothing
    /// new may be done with them.
    removing: BTreeSet<ResourceId>,
    /// Resources of which a new version is on its way to the disk, and how many of them.
    putting: BTreeMap<ResourceId, usize>,
    /// Resources that were put before that is on the disk.
    early: BTreeMap<ResourceId, Early>,
    /// Resources that are there and could not be read.
    unreadable: BTreeSet<ResourceId>,
    /// Resources that a part of the backend works with: operations on them that start wait. And
    /// whether one was made anew since: its creation, which had failed, is queued again.
    leased: BTreeMap<ResourceId, bool>,
}

/// An operation that is not at its end.
pub(super) struct Open {
    /// As lists show it: secrets hidden. Shared with the events that tell it.
    operation: Arc<Operation>,
    /// Its parameters as stored: secrets hashed.
    params: Arc<Params>,
    /// How its children are run.
    child_rules: ChildRules,
    /// Set when somebody calls it off; there is none before it starts.
    cancel: Option<CancellationToken>,
    /// Whether an earlier life took some of its steps.
    resume: bool,
    /// Whether an earlier life may have begun it: what a step notes at its beginning is not waited
    /// for, so that a crash may come between the effect and the first that the store knows of it.
    ran: bool,
    /// Whether the store knows that it runs.
    run_recorded: bool,
    /// Whether the store knows of it, or of its relaunch.
    written: bool,
    /// Whether its end is on its way to the disk.
    ending: bool,
    /// How many requests to call it off are on their way to the disk.
    calling_off: u32,
    /// Whether it is on its way to the disk that it passes its pivot.
    passing: bool,
}

impl Open {
    /// An operation that has not run and is not written.
    const fn new(operation: Arc<Operation>, params: Arc<Params>, child_rules: ChildRules) -> Self {
        Self {
            operation,
            params,
            child_rules,
            cancel: None,
            resume: false,
            ran: false,
            run_recorded: false,
            written: false,
            ending: false,
            calling_off: 0,
            passing: false,
        }
    }

    pub(super) const fn operation(&self) -> &Arc<Operation> {
        &self.operation
    }

    pub(super) const fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// Whether an earlier life took some of its steps.
    pub(super) const fn resumes(&self) -> bool {
        self.resume
    }

    /// Whether an earlier life may have begun it.
    pub(super) const fn may_have_begun(&self) -> bool {
        self.resume || self.ran
    }

    /// How its children are run.
    pub(super) const fn child_rules(&self) -> ChildRules {
        self.child_rules
    }

    /// Whether its end is on its way to the disk.
    pub(super) const fn is_ending(&self) -> bool {
        self.ending
    }

    /// Whether it is on its way to the disk that somebody calls it off.
    pub(super) const fn is_being_called_off(&self) -> bool {
        self.calling_off > 0
    }

    /// Whether it is on its way to the disk that it passes its pivot.
    pub(super) const fn is_passing(&self) -> bool {
        self.passing
    }

    /// The operation, to be changed: copied first where an event still tells it as it was.
    fn operation_mut(&mut self) -> &mut Operation {
        Arc::make_mut(&mut self.operation)
    }
}

/// An operation whose turn has come.
pub struct ReadyOperation {
    /// The operation as it stands now.
    pub(super) operation: Arc<Operation>,
    /// Its parameters as stored: secrets hashed.
    pub(super) params: Arc<Params>,
    /// Set when somebody calls it off.
    pub(super) cancel: CancellationToken,
    /// Whether an earlier life took some of its steps.
    pub(super) resume: bool,
    /// Where it ends without a step, and why: it can never work, or not now.
    pub(super) obstacle: Option<(State, String)>,
}

/// How an operation ends.
#[derive(Clone)]
pub struct End {
    pub(super) state: State,
    /// Why, where it is not done.
    pub(super) comment: Option<String>,
    /// What it returned, where it is done and has anything to say.
    pub(super) outcome: Option<Outcome>,
}

impl End {
    /// It is done.
    pub(super) fn done(outcome: Outcome) -> Self {
        let outcome = (!outcome.is_empty()).then_some(outcome);
        Self { state: State::Done, comment: None, outcome }
    }

    /// It is not done.
    pub(super) const fn of(state: State, comment: Option<String>) -> Self {
        Self { state, comment, outcome: None }
    }
}

/// A resource that is in the inventory as it is to be, so that whoever asks next finds it.
struct Early {
    /// How many versions of it are on their way to the disk.
    on_the_way: usize,
    /// As it is there; `None`: it is new, and may turn out never to have been.
    on_disk: Option<Arc<Resource>>,
}

/// An operation as it was before it was queued again.
pub struct Failed {
    operation: Arc<Operation>,
    params: Arc<Params>,
    child_rules: ChildRules,
}

/// How it begins, and what can be seen.
impl Live {
    /// What a storage held. Operations that were running or waiting are queued again: those that
    /// ran before all others and whatever their lanes say, and those that were relaunched behind
    /// them.
    pub(super) fn new(kinds: &Kinds, lanes: &[(String, u32)], opened: Opened) -> Self {
        let mut queue = Queue::new(lanes.iter().map(|(name, width)| (&**name, *width)));
        for (name, width, state) in &opened.lanes {
            queue.restore(name, *width, *state);
        }
        let mut open = BTreeMap::new();
        let mut families = Families::default();
        let past_pivot = opened.operations.iter().filter(|it| it.past_pivot).map(|it| it.uid);
        let past_pivot = past_pivot.collect();
        let parents: BTreeMap<Uid, Uid> =
            opened.operations.iter().filter_map(|it| Some((it.uid, it.parent?))).collect();
        let mut failed = Vec::new();
        // Those that ran hold their resources already, so they stand before those that wait. One
        // that waits may have begun all the same, but not where it was relaunched: so it stands
        // before those, which asked again after it.
        let mut operations = opened.operations;
        operations.sort_by_key(|it| (it.state != State::Run, it.attempt > 0, it.uid));
        for mut operation in operations {
            let params = std::mem::take(&mut operation.params);
            operation.params = hidden(&params);
            let rules = kinds.child_rules(&operation, &params);
            let resume = operation.state == State::Run;
            if operation.state != State::Error {
                let up = |uid: &Uid| parents.get(uid).copied();
                let ancestors = std::iter::successors(operation.parent, up).collect();
                let mut entry = kinds.queue_entry(&operation, &params, rules, ancestors);
                entry.began = resume;
                queue.accept(entry);
                if operation.cancelling {
                    queue.mark_cancelled(operation.uid);
                }
                queue.commit(operation.uid);
                operation.state = State::Pending;
            } else {
                failed.extend(operation.parent);
            }
            families.join(&operation);
            let (uid, ran) = (operation.uid, operation.state == State::Pending);
            let it = Open {
                ran,
                resume,
                run_recorded: resume,
                written: true,
                ..Open::new(Arc::new(operation), params, rules)
            };
            open.insert(uid, it);
        }
        for parent in failed {
            let rules = open.get(&parent).map(Open::child_rules);
            if rules.is_some_and(|rules| rules.stop_on_error) {
                queue.close_family(parent);
            }
        }
        Self {
            queue,
            inventory: Inventory::new(opened.resources, &opened.counters),
            open,
            families,
            past_pivot,
            last_uid: opened.last_uid,
            unwritten: BTreeSet::new(),
            removing: BTreeSet::new(),
            putting: BTreeMap::new(),
            early: BTreeMap::new(),
            unreadable: opened.damaged.iter().filter_map(|row| row.resource).collect(),
            leased: BTreeMap::new(),
        }
    }

    pub(in crate::backend) const fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(in crate::backend) const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// An operation that is not at its end.
    pub(in crate::backend) fn operation(&self, uid: Uid) -> Option<&Arc<Operation>> {
        self.open.get(&uid).map(Open::operation)
    }

    /// Every operation that is not at its end, by number.
    pub(in crate::backend) fn operations(&self) -> impl Iterator<Item = &Arc<Operation>> {
        self.open.values().map(Open::operation)
    }

    pub(super) fn open(&self, uid: Uid) -> Option<&Open> {
        self.open.get(&uid)
    }

    /// Whether a resource is there and stays.
    pub(super) fn is_present(&self, id: ResourceId) -> bool {
        self.inventory.resource(id).is_some() && !self.removing.contains(&id)
    }

    /// Whether a part of the backend works with a resource that an operation needs.
    pub(super) fn awaits_lease(&self, uid: Uid) -> bool {
        !self.leased.is_empty() && self.queue.locks(uid).any(|id| self.leased.contains_key(&id))
    }

    /// What tells the store that an operation runs, unless it knows.
    pub(super) fn unrecorded_run(&self, uid: Uid) -> Option<Change> {
        let open = self.open.get(&uid).filter(|open| !open.run_recorded)?;
        Some(Change::SetState {
            uid,
            state: State::Run,
            comment: None,
            started: open.operation.started,
            finished: None,
            outcome: None,
            updated: open.operation.updated,
        })
    }

    /// The operations that can never work once a resource is gone that was never made: those that
    /// wait for it, and those that failed on it.
    pub(super) fn stranded(&self, id: ResourceId) -> Vec<Uid> {
        let failed = self
            .operations()
            .filter(|operation| operation.state == State::Error && operation.resource == Some(id));
        let uids = self.queue.awaiting(id).chain(failed.map(|operation| operation.uid));
        uids.filter(|uid| self.open.get(uid).is_some_and(|open| !open.ending)).collect()
    }

    /// Why an operation whose turn has come can never work, or not now: what it needs is not there.
    /// One that an earlier life began, or that is past its pivot, looks for itself: it may have
    /// taken away what is gone.
    fn obstacle(&self, kinds: &Kinds, uid: Uid) -> Option<(State, String)> {
        let open = self.open.get(&uid).filter(|open| !open.resume && !open.operation.past_pivot)?;
        let operation = &open.operation;
        let own = |id| kinds.makes(operation) == Some(id);
        if let Some(id) =
            self.queue.locks(uid).find(|id| !own(*id) && self.inventory.resource(*id).is_none())
        {
            return Some(if self.unreadable.contains(&id) {
                let why =
                    format!("{id} cannot be read from the store; `hostler doctor` tells more");
                (State::Error, why)
            } else {
                (State::Cancel, format!("{id} is gone, so this can never work"))
            });
        }
        let other = self.queue.locks(uid).find_map(|id| self.left_half_way(id));
        if let Some(other) = other.filter(|other| other.uid != uid) {
            return Some((State::Error, format!("{} first, then this", half_way(other))));
        }
        let spec = kinds.get(&operation.kind)?.spec();
        let subject = operation.resource.filter(|id| !own(*id))?;
        let resource = self.inventory.resource(subject)?;
        if spec.requires.is_empty() || spec.requires.iter().any(|it| *it == resource.state()) {
            return None;
        }
        let maker = self
            .operations()
            .find(|it| it.state == State::Error && kinds.makes(it) == Some(subject))?;
        let why = format!(
            "{subject} '{}' is not made yet: its creation {} failed; relaunch that first, then \
             this",
            resource.name(),
            maker.uid
        );
        Some((State::Error, why))
    }
}

/// How resources change.
impl Live {
    /// Looks whether changes may be written: what is put must be there, because nothing comes back
    /// that is gone. `makes` is the resource that may be put for the first time.
    ///
    /// # Errors
    /// Names what is gone.
    pub(super) fn check(
        &self,
        changed: &[Changed],
        makes: Option<ResourceId>,
    ) -> Result<(), BackendError> {
        let gone = changed
            .iter()
            .filter_map(Changed::put)
            .find(|id| !self.is_present(*id) && (makes != Some(*id) || self.removing.contains(id)));
        gone.map_or(Ok(()), |id| Err(BackendError::not_found(id)))
    }

    /// These changes have been sent to the store.
    pub(super) fn mark_sent(&mut self, changed: &[Changed]) {
        self.removing.extend(changed.iter().filter_map(Changed::removed));
        for id in changed.iter().filter_map(Changed::put) {
            *self.putting.entry(id).or_default() += 1;
        }
    }

    /// The store has answered.
    pub(super) fn unmark_sent(&mut self, changed: &[Changed]) {
        for id in changed.iter().filter_map(Changed::removed) {
            self.removing.remove(&id);
        }
        for id in changed.iter().filter_map(Changed::put) {
            if let Some(sent) = self.putting.get_mut(&id) {
                *sent -= 1;
                if *sent == 0 {
                    self.putting.remove(&id);
                }
            }
        }
    }

    /// Whether it is not known yet how a resource will be: a version of it or its removal is on its
    /// way to the disk, and may not come there, or a part of the backend works with it. Whatever
    /// follows from how it is waits for that: updates by steps, leases, and what is put with a
    /// request. Two that followed from the same version would lose what one of them did. What an
    /// operation puts without looking it must hold for itself, and nobody else may update it.
    pub(in crate::backend) fn is_changing(&self, id: ResourceId) -> bool {
        self.putting.contains_key(&id)
            || self.early.contains_key(&id)
            || self.removing.contains(&id)
            || self.leased.contains_key(&id)
    }

    /// Takes in a change that is on disk. What was put early and sent later stays as it is to be.
    pub(super) fn apply(&mut self, changed: &Changed) {
        let (id, resource) = match changed {
            Changed::Put(resource) => (resource.id(), Some(resource.clone())),
            Changed::Remove(id) => (*id, None),
        };
        match self.early.get_mut(&id) {
            Some(early) => early.on_disk = resource,
            None => self.set(id, resource),
        }
    }

    /// Takes in what was seen of a resource, which is never stored.
    pub(super) fn observe(&mut self, resource: Resource) {
        self.inventory.put(Arc::new(resource));
    }

    /// Keeps operations on a resource from starting. Says whether that could be: not while one runs
    /// that holds it, nor while it is changing.
    pub(super) fn lease(&mut self, id: ResourceId) -> bool {
        let is_there = self.inventory.resource(id).is_some();
        let may = is_there && !self.is_changing(id) && !self.queue.is_held(id);
        may && self.leased.insert(id, false).is_none()
    }

    /// Whether a leased resource is the one that was leased, and was not made anew meanwhile.
    pub(super) fn is_as_leased(&self, id: ResourceId) -> bool {
        self.leased.get(&id) == Some(&false)
    }

    /// Lets operations on a resource start again.
    pub(super) fn end_lease(&mut self, id: ResourceId) {
        self.leased.remove(&id);
    }

    /// Puts resources before that is on the disk.
    fn put_early(&mut self, put: &[Arc<Resource>]) {
        for resource in put {
            let id = resource.id();
            let on_disk = || self.inventory.shared(id);
            let early =
                self.early.entry(id).or_insert_with(|| Early { on_the_way: 0, on_disk: on_disk() });
            early.on_the_way += 1;
            if let Some(anew) = self.leased.get_mut(&id) {
                *anew = true;
            }
            self.inventory.put(resource.clone());
        }
    }

    /// What was put early is on disk if it was `written`, and never comes there otherwise.
    fn arrive(&mut self, put: &[Arc<Resource>], written: bool) {
        for resource in put {
            let id = resource.id();
            let Some(early) = self.early.get_mut(&id) else { continue };
            early.on_the_way -= 1;
            if written {
                early.on_disk = Some(resource.clone());
            }
            if early.on_the_way == 0
                && let Some(early) = self.early.remove(&id)
            {
                self.set(id, early.on_disk);
            }
        }
    }

    fn set(&mut self, id: ResourceId, resource: Option<Arc<Resource>>) {
        match resource {
            Some(resource) => self.inventory.put(resource),
            None => drop(self.inventory.remove(id)),
        }
    }
}
