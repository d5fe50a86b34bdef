//! What a kind of operation would be done to, and for which of it it is sure to be refused. Nothing
//! is asked here: what is said stands on what is shown.

use super::{Focus, Model, Row};
use crate::domain::{Operation, OperationSpec, Refusal, Resource, ResourceId, ResourceKind, State};

/// What a kind of operation would be done to.
#[derive(Debug, Clone, Default)]
pub struct Subjects {
    /// Those it can be done to as far as is known here, by number and name, in the order of the
    /// list.
    pub fitting: Vec<(u64, String)>,
    /// Why it is sure to be refused for the others, in the same order.
    pub refused: Vec<Refusal>,
}

impl Subjects {
    /// Returns the marked rows, or the selected one, and in its own window only that one; nothing
    /// where the list is of something else.
    #[must_use]
    pub fn of(model: &Model, spec: &OperationSpec) -> Self {
        let mut subjects = Self::default();
        let here = |of: &ResourceKind| model.tab.resource() == Some(*of);
        let Some(of) = spec.subject().map(|(_, of)| of).filter(here) else { return subjects };
        if model.focus == Focus::Flight {
            return subjects;
        }
        let pane = model.pane();
        let rows = if model.means_marks() {
            pane.marked()
        } else {
            pane.current().map(|row| (row.id(), row.mark())).into_iter().collect()
        };
        for (id, mark) in rows {
            let subject = ResourceId::new(of, id);
            match obstacle(model, spec, subject, &mark.name, &mark.state) {
                Some(refusal) => subjects.refused.push(refusal),
                None => subjects.fitting.push((id, mark.name)),
            }
        }
        subjects
    }

    /// Returns why it is refused for each of those it is refused for, as far as anybody reads on.
    #[must_use]
    pub fn why(&self) -> String {
        const MOST: usize = 2;
        let mut why: Vec<_> = self.refused.iter().take(MOST).map(|it| it.message.clone()).collect();
        if self.refused.len() > MOST {
            why.push(format!("and {} more", self.refused.len() - MOST));
        }
        why.join(" · ")
    }
}

/// The row that a kind of operation is begun from which is done to what the row refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its number.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// What of it there is.
    pub things: Vec<ResourceId>,
}

impl Owner {
    /// Returns the selected row where a kind is done to nothing but what that refers to.
    #[must_use]
    pub fn of(model: &Model, spec: &OperationSpec) -> Option<Self> {
        let (_, of) = spec.subject()?;
        let row = model.pane().current().and_then(Row::resource)?;
        let is_offered = spec.hint.of_row
            && model.focus == Focus::List
            && row.kind() != of
            && spec.offered_on.contains(&row.kind());
        is_offered.then(|| Self {
            id: row.id(),
            name: row.name().to_owned(),
            things: row.refers_to().into_iter().filter(|it| it.kind == of).collect(),
        })
    }

    /// Returns the name of what such a thing belongs to, where that is known.
    #[must_use]
    pub fn name_for<'a>(
        model: &'a Model,
        spec: &OperationSpec,
        thing: &Resource,
    ) -> Option<&'a str> {
        let mut owners = thing.refers_to().into_iter();
        let owner = owners.find(|it| spec.hint.of_row && spec.offered_on.contains(&it.kind))?;
        model.names.get(&owner)?.as_deref()
    }

    /// Returns why nothing can be done, where it has nothing.
    #[must_use]
    pub fn lacks(&self, spec: &OperationSpec) -> Option<String> {
        let one = &spec.subject()?.1.spec().one;
        let (name, verb) = (&self.name, spec.title.to_lowercase());
        self.things.is_empty().then(|| format!("{name} has no {one} to {verb}"))
    }
}

/// Why a kind is sure to be refused for a subject that is in this state now. What is pending on it
/// counts as done, as it does where requests come in.
fn obstacle(
    model: &Model,
    spec: &OperationSpec,
    subject: ResourceId,
    name: &str,
    state: &str,
) -> Option<Refusal> {
    // What is not at hand may leave it in any state.
    if model.flight.is_partial() {
        return None;
    }
    let is_pending = |it: &&Operation| matches!(it.state, State::Run | State::Pending);
    let pending: Vec<&Operation> = model.flight.of(subject).filter(is_pending).collect();
    if pending.iter().any(|it| it.cancelling) {
        return None;
    }
    if let Some(like) = pending.iter().find(|it| spec.reject_duplicates && it.kind == spec.kind) {
        return Some(Refusal::pending(spec, subject, like.uid));
    }
    let leaves = |it: &&Operation| model.catalogue.get(&it.kind)?.state_after.clone();
    let last = pending.iter().filter_map(|it| Some((it.uid, leaves(it)?))).max();
    let will_be = last.as_ref().map_or(state, |(_, left)| left);
    Refusal::unfit(spec, subject, name, will_be, will_be == state)
}
