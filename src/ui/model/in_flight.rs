//! What is in flight: running first, then waiting, then what failed and needs a person.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::domain::{
    Catalogue, InFlight, LockMode, LockRule, Operation, OperationSpec, Progress, Resource,
    ResourceId, ResourceKind, State, Uid,
};
use serde_json::Value as Json;

/// How many points a small plot keeps.
pub const PLOT_POINTS: usize = 40;

/// The operations in flight, and the place of the keys among them.
#[derive(Debug, Clone, Default)]
pub struct Flight {
    /// The first of them: running ones, then waiting ones, then those that failed, the latest last.
    pub operations: Vec<Operation>,
    /// The same as rows, children below their parents: the place of each, and how deep it stands.
    rows: Vec<(usize, usize)>,
    /// How many run.
    pub running: u64,
    /// How many wait.
    pub waiting: u64,
    /// How many failed and need a person.
    pub failed: u64,
    /// Resources that need a person, in the order of their kinds and numbers.
    pub troubled: BTreeSet<ResourceId>,
    /// The selected one.
    pub selected: Option<Uid>,
    /// How fast encoders work, newest last. Only of what runs; what ends takes its figures along.
    speeds: BTreeMap<Uid, VecDeque<f32>>,
    /// For each resource, the operation that is happening to it.
    touching: BTreeMap<ResourceId, Uid>,
    /// Likewise for resources named by name.
    touching_names: BTreeMap<(ResourceKind, String), Uid>,
}

/// Where an operation stands among the others.
fn order(operation: &Operation) -> (u8, i64, u64) {
    let class = match operation.state {
        State::Run => 0,
        State::Pending => 1,
        _ => 2,
    };
    let priority = if class == 1 { -i64::from(operation.priority) } else { 0 };
    (class, priority, operation.uid.0)
}

impl Flight {
    /// At most this many are kept at hand.
    const KEPT: usize = 200;

    /// Takes a whole answer of the backend.
    pub fn replace(&mut self, answer: InFlight, catalogue: &Catalogue) {
        self.operations = answer.operations;
        self.running = answer.running;
        self.waiting = answer.waiting;
        self.failed = answer.failed;
        self.troubled = answer.troubled.into_iter().collect();
        self.arrange(catalogue);
    }

    /// Takes one operation's new state. Returns whether the backend must be asked again because
    /// not all of them are at hand.
    pub fn take(&mut self, operation: &Operation, catalogue: &Catalogue) -> bool {
        let partial = self.is_partial();
        let at = self.operations.iter().position(|other| other.uid == operation.uid);
        if let Some(at) = at {
            let before = self.operations.remove(at);
            if let Some(count) = self.count(before.state) {
                *count = count.saturating_sub(1);
            }
        }
        let mut ask = partial && (at.is_none() || operation.state.is_end());
        if !operation.state.is_end() && (at.is_some() || !partial) {
            if let Some(count) = self.count(operation.state) {
                *count += 1;
            }
            self.operations.push(operation.clone());
            ask |= self.operations.len() > Self::KEPT;
        }
        self.arrange(catalogue);
        ask
    }

    /// Puts them in order, lets go of the last where there are too many, and works out what
    /// follows from them.
    fn arrange(&mut self, catalogue: &Catalogue) {
        self.operations.sort_by_key(order);
        self.operations.truncate(Self::KEPT);
        self.rows = self.tree();
        self.index(catalogue);
    }

    /// The places of the operations and how deep each stands, children below their parents.
    fn tree(&self) -> Vec<(usize, usize)> {
        if self.operations.iter().all(|it| it.parent.is_none()) {
            return (0..self.operations.len()).map(|place| (place, 0)).collect();
        }
        let at_hand: BTreeSet<Uid> = self.operations.iter().map(|it| it.uid).collect();
        let mut below: BTreeMap<Option<Uid>, VecDeque<usize>> = BTreeMap::new();
        for (place, operation) in self.operations.iter().enumerate() {
            let parent = operation.parent.filter(|parent| at_hand.contains(parent));
            below.entry(parent).or_default().push_back(place);
        }
        let mut rows = Vec::with_capacity(self.operations.len());
        // Those whose children come next, the innermost last.
        let mut path = vec![None];
        while let Some(parent) = path.last() {
            match below.get_mut(parent).and_then(VecDeque::pop_front) {
                Some(place) => {
                    rows.push((place, path.len() - 1));
                    path.push(Some(self.operations[place].uid));
                }
                None => {
                    path.pop();
                }
            }
        }
        rows
    }

    /// The operations as rows, children below their parents, and below how many others each stands
    /// that asked for it, one for the next.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&Operation, usize)> {
        self.rows.iter().map(|&(place, depth)| (&self.operations[place], depth))
    }

    /// Whether there are more than are at hand.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        (self.operations.len() as u64) < self.running + self.waiting + self.failed
    }

    fn count(&mut self, state: State) -> Option<&mut u64> {
        match state {
            State::Run => Some(&mut self.running),
            State::Pending => Some(&mut self.waiting),
            State::Error => Some(&mut self.failed),
            State::Done | State::Cancel => None,
        }
    }

    /// Takes how far a running operation is. Returns whether it is at hand.
    pub fn progress(&mut self, uid: Uid, progress: &Progress) -> bool {
        let Some(operation) = self.operations.iter_mut().find(|operation| operation.uid == uid)
        else {
            return false;
        };
        operation.progress = Some(progress.clone());
        if let Some(speed) = progress.speed {
            let points = self.speeds.entry(uid).or_default();
            points.push_back(speed as f32);
            if points.len() > PLOT_POINTS {
                points.pop_front();
            }
        }
        true
    }

    /// Takes a resource as it is now: whether it needs a person.
    pub fn look_at(&mut self, resource: &Resource) {
        if resource.problem().is_some() {
            self.troubled.insert(resource.id());
        } else {
            self.troubled.remove(&resource.id());
        }
    }

    /// How many need a person: operations that failed, and resources.
    #[must_use]
    pub fn troubles(&self) -> u64 {
        self.failed + self.troubled.len() as u64
    }

    /// How fast an encoder works, newest last, in seconds of media per second.
    pub fn speeds(&self, uid: Uid) -> impl DoubleEndedIterator<Item = f32> + Clone {
        self.speeds.get(&uid).into_iter().flatten().copied()
    }

    /// The operation of that number.
    #[must_use]
    pub fn get(&self, uid: Uid) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.uid == uid)
    }

    /// The row of the selected one.
    #[must_use]
    pub fn place(&self) -> usize {
        self.selected
            .and_then(|uid| self.rows().position(|(operation, _)| operation.uid == uid))
            .unwrap_or(0)
    }

    /// The selected one.
    #[must_use]
    pub fn current(&self) -> Option<&Operation> {
        self.rows().nth(self.place()).map(|(operation, _)| operation)
    }

    /// Moves the selection to a row, as far as there are any.
    pub fn select(&mut self, place: usize) {
        let last = self.rows.len().saturating_sub(1);
        let selected = self.rows().nth(place.min(last)).map(|(operation, _)| operation.uid);
        self.selected = selected;
    }

    /// What is happening to a resource: what runs on it, or else what waits for it.
    #[must_use]
    pub fn touching(&self, id: ResourceId, name: &str) -> Option<&Operation> {
        self.touching
            .get(&id)
            .or_else(|| self.touching_names.get(&(id.kind, name.to_owned())))
            .and_then(|uid| self.get(*uid))
    }

    /// The operations on a resource, in order.
    pub fn of(&self, id: ResourceId) -> impl DoubleEndedIterator<Item = &Operation> {
        self.operations.iter().filter(move |operation| operation.resource == Some(id))
    }

    /// The latest operation on a resource that failed and needs a person.
    #[must_use]
    pub fn failed_on(&self, id: ResourceId) -> Option<&Operation> {
        self.of(id).rev().find(|operation| operation.state == State::Error)
    }

    /// Works out which operation is happening to which resource, and forgets the figures of what
    /// runs no more. Running ones come first in order, and an operation's own resource goes before
    /// those it merely names.
    fn index(&mut self, catalogue: &Catalogue) {
        let operations = &self.operations;
        let runs = |uid| operations.iter().any(|it| it.uid == uid && it.state == State::Run);
        self.speeds.retain(|uid, _| runs(*uid));
        self.touching.clear();
        self.touching_names.clear();
        let happening = || operations.iter().filter(|it| it.state != State::Error);
        for operation in happening() {
            if let Some(id) = operation.resource {
                self.touching.entry(id).or_insert(operation.uid);
            }
        }
        for operation in happening() {
            for (of, value) in held(operation, catalogue) {
                if let Some(id) = value.as_u64() {
                    self.touching.entry(ResourceId::new(of, id)).or_insert(operation.uid);
                } else if let Some(name) = value.as_str() {
                    self.touching_names.entry((of, name.to_owned())).or_insert(operation.uid);
                }
            }
        }
    }
}

/// What an operation of a kind lets nobody else use.
fn exclusive(spec: &OperationSpec) -> impl Iterator<Item = &LockRule> {
    spec.locks.iter().filter(|lock| lock.mode == LockMode::Exclusive)
}

/// The resources that an operation names and has for itself. An image or a source is used by what
/// is made of it; nothing happens to it.
pub fn held<'a>(
    operation: &'a Operation,
    catalogue: &'a Catalogue,
) -> impl Iterator<Item = (ResourceKind, &'a Json)> {
    let spec = catalogue.get(&operation.kind).into_iter();
    spec.filter(|spec| exclusive(spec).next().is_some()).flat_map(|spec| {
        let named = spec.resources_named(&operation.params, None);
        named
            .filter(|(_, argument)| exclusive(spec).any(|lock| argument.is_in(&lock.field)))
            .map(|(of, argument)| (of, argument.value))
    })
}
