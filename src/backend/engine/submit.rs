//! A request comes in: the checks that need to know what else is in flight, and the queueing.

use std::sync::Arc;

use serde_json::Value as Json;

use super::admission::Checked;
use super::core::{Engine, Transaction};
use super::kind::{AdmissionContext, Admits, Kind, locks};
use super::live::{Live, half_way};
use super::secrets::hidden;
use super::storage::{Change, Keyed};
use super::{admission, idempotency};
use crate::domain::{
    Accepted, Argument, BackendError, BoxFuture, Effect, Operation, OperationSpec, Params, Preview,
    Reason, Refusal, Resource, ResourceId, State, Submit, Uid,
};

impl Engine {
    /// Queues an operation. What `put` gives is written together with it or not at all; it is
    /// asked while nothing else can change, and may refuse.
    ///
    /// # Errors
    /// When it is refused, or cannot be written.
    pub(in crate::backend) async fn submit_with(
        self: &Arc<Self>,
        mut submit: Submit,
        put: impl FnOnce(Uid, &Live) -> Result<Vec<Resource>, Refusal> + Send,
    ) -> Result<Accepted, BackendError> {
        let kind = self.kinds.requested(&submit.kind)?;
        // As they were asked for they are kept with a key alone.
        let key = submit.key.take().map(|key| (key, submit.params.clone()));
        let params = self.check(&kind, std::mem::take(&mut submit.params)).await?;
        let keyed = key.map(|(key, asked)| idempotency::keyed(key, &asked, &params));
        let mut warnings = None;
        let accepted = self
            .transact(|live| {
                let params = kind.fill(params, &self.admission(live).context());
                warnings = kind.warnings(&params, &self.admission(live).context());
                self.accept(live, &*kind, (submit, params), None, keyed, put)
            })
            .await?;
        Ok(Accepted { warnings: warnings.map(|find| find()).unwrap_or_default(), ..accepted })
    }

    /// Takes a request in whose parameters are checked and filled in.
    pub(super) fn accept(
        &self,
        live: &mut Live,
        kind: &dyn Kind,
        (submit, params): (Submit, Params),
        parent: Option<Uid>,
        keyed: Option<Keyed>,
        put: impl FnOnce(Uid, &Live) -> Result<Vec<Resource>, Refusal>,
    ) -> Result<(Vec<Change>, Accepting), BackendError> {
        let spec = kind.spec();
        let ancestors = live.ancestors(parent);
        self.takes_more()?;
        self.admit(kind, &params, live, &ancestors, None)?;
        let uid = live.next_uid();
        let put = put(uid, live)?;
        if let Some(id) = put.iter().map(Resource::id).find(|id| live.is_changing(*id)) {
            let message = format!("{id} is being changed at this moment; ask again");
            return Err(Refusal::new(Reason::State, message).into());
        }
        let mut changes = Vec::with_capacity(1);
        let made = spec.resource.filter(|_| spec.effect == Effect::Creates);
        let reserved = made.and_then(|of| {
            let id = live.inventory().next(of);
            kind.reserve(&params, id, &self.admission(live).context())
        });
        let subject = match &reserved {
            Some(resource) => {
                let id = resource.id();
                changes.push(Change::Count(id.kind.word(), id.id));
                Some(id)
            }
            None => spec.done_to(&params),
        };
        let name = match (&reserved, subject) {
            (Some(resource), _) => Some(resource.name().to_owned()),
            (None, Some(id)) => live.inventory().resource(id).map(|it| it.name().to_owned()),
            (None, None) => kind.name(&params),
        };
        let (params, now) = (Arc::new(params), self.clock.now());
        let operation = Arc::new(Operation {
            uid,
            kind: submit.kind,
            state: State::Pending,
            params: hidden(&params),
            resource: subject,
            resource_name: name,
            actor: submit.actor,
            priority: submit.priority,
            attempt: 0,
            cancelling: false,
            past_pivot: false,
            comment: None,
            outcome: None,
            parent,
            created: now,
            updated: now,
            started: None,
            finished: None,
            progress: None,
            wait: None,
        });
        let rules = self.kinds.child_rules(&operation, &params);
        let entry = self.kinds.queue_entry(&operation, &params, rules, ancestors);
        let (inserted, its_params) = (operation.clone(), params.clone());
        changes.push(Change::Insert { operation: inserted, params: its_params, keyed });
        let put: Vec<_> = reserved.into_iter().chain(put).map(Arc::new).collect();
        changes.extend(put.iter().cloned().map(Change::Put));
        live.accept(operation, params, rules, entry, &put);
        Ok((
            changes,
            Accepting { accepted: Accepted { uid, resource: subject, warnings: Vec::new() }, put },
        ))
    }

    /// Queues an operation that somebody outside asks for.
    ///
    /// One future for both ways, with a copy of the request for each `async` it passes through, is
    /// so large that glibc does not keep its memory at hand: see the test.
    pub(in crate::backend) fn submit(
        self: &Arc<Self>,
        submit: Submit,
    ) -> BoxFuture<'static, Result<Accepted, BackendError>> {
        if let Err(refusal) = admission::from_outside(&submit.params) {
            return Box::pin(std::future::ready(Err(refusal.into())));
        }
        let engine = self.clone();
        match submit.key.clone() {
            Some(key) => Box::pin(async move { engine.submit_once(key, submit).await }),
            None => {
                Box::pin(async move { engine.submit_with(submit, |_, _| Ok(Vec::new())).await })
            }
        }
    }

    /// The checks that need no lock, or for a look only: the catalogue's, and the hashing of
    /// secrets.
    pub(super) async fn check(
        &self,
        kind: &Arc<dyn Kind>,
        params: Params,
    ) -> Result<Params, BackendError> {
        let find = |of, value: &Json| self.inventory(|inventory| inventory.find(of, value));
        let checked = admission::check(kind.spec(), params, self.catalogue(), &find)?;
        let mut params = self.passed(&**kind, checked)?;
        if admission::has_open_secret(kind.spec(), &params, self.catalogue()) {
            let (kind, catalogue) = (kind.clone(), self.catalogue().clone());
            params = tokio::task::spawn_blocking(move || {
                admission::seal(kind.spec(), &mut params, &catalogue).map(|()| params)
            })
            .await
            .map_err(|error| BackendError::failed(format!("hashing a secret failed: {error}")))??;
        }
        Ok(params)
    }

    /// The parameters, where no check has failed. Otherwise the refusal: for that check, or for one
    /// of the kind's own that comes before it.
    fn passed(&self, kind: &dyn Kind, checked: Checked) -> Result<Params, Refusal> {
        let Checked { params, failed } = checked;
        let Some(failed) = failed else { return Ok(params) };
        let of_kind = self.look(|live| {
            let params = kind.fill(params, &self.admission(live).context());
            kind.admit(&params, &self.admission(live).context()).err()
        });
        // One about no field is that a value does not fit the kind's type, for the reason known.
        Err(first_check(failed, of_kind.filter(|refusal| refusal.field.is_some())))
    }

    /// The checks that depend on what else is in flight, for the child of the first of its
    /// `ancestors` where it has any. `but` is an operation that is not to be
    /// counted: the one that is relaunched.
    pub(super) fn admit(
        &self,
        kind: &dyn Kind,
        params: &Params,
        live: &Live,
        ancestors: &[Uid],
        but: Option<Uid>,
    ) -> Result<(), Refusal> {
        // Each is looked at, and the one that comes first in the order of checks is told: a kind
        // may still find a wrong value where the state is wrong as well.
        let exists = Self::there(kind.spec(), params, live);
        let state = self.in_state(kind.spec(), params, live, ancestors, but);
        let relaunched = but.and_then(|uid| live.operation(uid)).map(|it| &**it);
        let admission = self.admission(live);
        let cx = AdmissionContext { relaunched, ancestors, ..admission.context() };
        let of_kind = kind.admit(params, &cx);
        let failed = [exists.err(), state.err(), of_kind.err()].into_iter().flatten();
        match failed.reduce(|first, next| first_check(first, Some(next))) {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// Whether anything new is taken in at all.
    pub(super) fn takes_more(&self) -> Result<(), Refusal> {
        if self.is_pausing() {
            let message = "hostler is stopping and accepts nothing more; start it again";
            return Err(Refusal::new(Reason::State, message));
        }
        Ok(())
    }

    /// The checks of state that hold for every kind.
    fn in_state(
        &self,
        spec: &OperationSpec,
        params: &Params,
        live: &Live,
        ancestors: &[Uid],
        but: Option<Uid>,
    ) -> Result<(), Refusal> {
        // What failed past its pivot may have left its subject in no state at all.
        let relaunched = but.and_then(|uid| live.operation(uid));
        let is_past_pivot = relaunched.is_some_and(|it| it.past_pivot);
        if let Some(subject) = spec.done_to(params).filter(|_| !is_past_pivot) {
            if spec.reject_duplicates
                && let Some(uid) = live
                    .queue()
                    .find_duplicate(&spec.kind, subject, ancestors)
                    .filter(|it| Some(*it) != but)
            {
                return Err(Refusal::pending(spec, subject, uid));
            }
            let is = live.inventory().resource(subject).map(Resource::state).unwrap_or_default();
            let will_be = live.queue().projected_state(subject, ancestors).unwrap_or(is);
            let name = live.inventory().resource(subject).map(Resource::name).unwrap_or_default();
            if let Some(refusal) = Refusal::unfit(spec, subject, name, will_be, will_be == is) {
                return Err(refusal);
            }
        }
        let locks = locks(spec, None, params);
        let other = locks.iter().find_map(|(id, _)| live.left_half_way(*id));
        if let Some(other) = other.filter(|other| Some(other.uid) != but) {
            return Err(Refusal::new(Reason::State, half_way(other)));
        }
        if !ancestors.is_empty()
            && let Some((holder, id)) = live.queue().uncovered(ancestors, &locks)
        {
            let message = format!(
                "{} needs {id}, which its parent {holder} does not hold likewise: they could wait \
                 for others that wait for them",
                spec.kind
            );
            return Err(Refusal::new(Reason::State, message));
        }
        Ok(())
    }

    /// What the parameters name was there when they were checked; now nothing can change meanwhile.
    fn there(spec: &OperationSpec, params: &Params, live: &Live) -> Result<(), Refusal> {
        for (of, Argument { path, value, .. }) in spec.resources_named(params, None) {
            let Some(id) = value.as_u64() else { continue };
            let id = ResourceId::new(of, id);
            if !live.is_present(id) {
                let message = format!("{path}: {id} does not exist any more");
                return Err(Refusal::field(Reason::Existence, path, id.id.to_string(), message));
            }
        }
        Ok(())
    }

    /// What a request would do.
    pub(in crate::backend) async fn preview(
        &self,
        submit: Submit,
    ) -> Result<Preview, BackendError> {
        let refused = |refusal| Preview { refusal: Some(refusal), ..Preview::default() };
        let find = |of, value: &Json| self.inventory(|inventory| inventory.find(of, value));
        // In the order of `submit`.
        if let Err(refusal) = admission::from_outside(&submit.params) {
            return Ok(refused(refusal));
        }
        if let Some(key) = &submit.key {
            match self.answered(key, &submit).await {
                Ok(None) => {}
                Ok(Some(Accepted { uid, warnings, .. })) => {
                    let effect = format!("Nothing: key '{key}' was used for the same, {uid}.");
                    let effects = [vec![effect], warnings].concat();
                    return Ok(Preview { effects, ..Preview::default() });
                }
                Err(BackendError::Refused(refusal)) => return Ok(refused(refusal)),
                Err(error) => return Err(error),
            }
        }
        let kind = self.kinds.requested(&submit.kind)?;
        let checked = admission::check(kind.spec(), submit.params, self.catalogue(), &find);
        let mut params = match checked.and_then(|checked| self.passed(&*kind, checked)) {
            Ok(params) => params,
            Err(refusal) => return Ok(refused(refusal)),
        };
        admission::blank(kind.spec(), &mut params, self.catalogue());
        let (mut preview, warnings) = self.look(|live| {
            let params = kind.fill(params, &self.admission(live).context());
            let mut preview = kind.preview(&params, &self.admission(live).context());
            preview.refusal = self.admit(&*kind, &params, live, &[], None).err();
            (preview, kind.warnings(&params, &self.admission(live).context()))
        });
        preview.effects.extend(warnings.into_iter().flat_map(|find| find()));
        Ok(preview)
    }
}

/// How things stand, for kinds to look at while nothing else can change.
pub(super) struct Admission<'a> {
    engine: &'a Engine,
    live: &'a Live,
}

impl Engine {
    /// What a kind may look at while nothing else can change.
    pub(super) const fn admission<'a>(&'a self, live: &'a Live) -> Admission<'a> {
        Admission { engine: self, live }
    }
}

impl Admission<'_> {
    pub(super) fn context(&self) -> AdmissionContext<'_> {
        AdmissionContext {
            inventory: self.live.inventory(),
            catalogue: self.engine.catalogue(),
            now: self.engine.clock.now(),
            relaunched: None,
            ancestors: &[],
            asked: Some(self),
        }
    }
}

impl Admits for Admission<'_> {
    fn operations(&self) -> Box<dyn Iterator<Item = &Operation> + '_> {
        Box::new(self.live.operations().map(|operation| &**operation))
    }

    fn would_refuse(&self, kind: &str, params: &Params) -> Option<Refusal> {
        let kind = self.engine.kinds.get(kind)?;
        let params = kind.fill(params.clone(), &self.context());
        self.engine.admit(&**kind, &params, self.live, &[], None).err()
    }

    fn would_do(&self, kind: &str, params: &Params) -> Vec<String> {
        let Some(kind) = self.engine.kinds.get(kind) else { return Vec::new() };
        let params = kind.fill(params.clone(), &self.context());
        kind.preview(&params, &self.context()).effects
    }
}

/// The one of two refusals whose check comes first; `first` where both are of one check.
fn first_check(first: Refusal, other: Option<Refusal>) -> Refusal {
    // That a like one is pending is a matter of state too.
    let check = |refusal: &Refusal| match refusal.reason {
        Reason::OperationPending { .. } => Reason::State,
        reason => reason,
    };
    match other {
        Some(other) if check(&other) < check(&first) => other,
        _ => first,
    }
}

/// A request on its way to the disk.
pub(super) struct Accepting {
    accepted: Accepted,
    put: Vec<Arc<Resource>>,
}

impl Accepting {
    pub(super) const fn uid(&self) -> Uid {
        self.accepted.uid
    }
}

impl Transaction for Accepting {
    type Output = Accepted;

    fn commit(self, engine: &Engine, live: &mut Live) -> Accepted {
        let uid = self.accepted.uid;
        live.written(uid, &self.put);
        engine.publish_open(live, uid);
        engine.publish_put(&self.put);
        self.accepted
    }

    /// What waited behind it may start then, or finds that what it needs is not there.
    fn roll_back(self, engine: &Engine, live: &mut Live) {
        live.retract(self.accepted.uid, &self.put);
        engine.retract_put(&self.put);
    }
}
