//! A request comes in: the checks that need to know what else is in flight, and the queueing.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::admission;
use super::kind::Entry;
use super::queue::QueueEntry;
use super::secrets::hidden;
use super::store::Change;
use crate::domain::{
    Accepted, BackendError, Effect, FieldType, LockMode, Operation, OperationSpec, Params, Reason,
    Refusal, Resource, ResourceId, State, Submit, Uid,
};

use super::{Engine, Live, Open};

impl Engine {
    /// Queues an operation. What `put` gives is written together with it or not at all; it is
    /// asked while nothing else can change, and may refuse.
    ///
    /// Not to be dropped half-way: what was written would never start. See [`detached`].
    pub(in crate::backend) async fn submit_with(
        self: &Arc<Self>,
        submit: Submit,
        put: impl FnOnce(Uid, &Live) -> Result<Vec<Resource>, Refusal> + Send,
    ) -> Result<Accepted, BackendError> {
        let kind = self.kind(&submit.kind).ok_or_else(|| no_kind(&submit.kind))?;
        let params = self.check(&kind, submit.params).await?;
        let (accepted, (put, before), written) = {
            let mut live = self.live();
            let params = (kind.fill)(params, &self.world(&live));
            self.admit(&kind, &params, &live, None)?;
            let uid = Uid(live.last_uid + 1);
            let put: Vec<_> = put(uid, &live)?.into_iter().map(Arc::new).collect();
            let world_now = self.ports.clock.now();
            let mut changes = Vec::with_capacity(1);
            let mut reserved = None;
            let subject = if kind.spec.effect == Effect::Creates {
                let id = live.inventory.next(kind.spec.resource);
                reserved = (kind.reserve)(&params, id, &self.world(&live)).map(Arc::new);
                changes.push(Change::Count(kind.spec.resource.word(), id));
                Some(ResourceId::new(kind.spec.resource, id))
            } else {
                subject(&kind.spec, &params)
            };
            let name = match (&reserved, subject) {
                (Some(resource), _) => Some(resource.name().to_owned()),
                (None, Some(id)) => live.inventory.resource(id).map(|it| it.name().to_owned()),
                (None, None) => None,
            };
            let params = Arc::new(params);
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
                comment: None,
                created: world_now,
                started: None,
                finished: None,
                progress: None,
                wait: None,
            });
            live.last_uid = uid.0;
            live.queue.accept(queue_entry(&kind.spec, &operation, &params));
            changes.push(Change::Insert { operation: operation.clone(), params: params.clone() });
            let put: Vec<_> = reserved.into_iter().chain(put).collect();
            let mut before = Vec::with_capacity(put.len());
            for resource in &put {
                before.push(live.inventory.resource(resource.id()).cloned());
                live.inventory.put(resource.clone());
                changes.push(Change::Put(resource.clone()));
            }
            live.open.insert(uid, Open::new(operation, params));
            let written = self.store.writer().send(changes);
            (Accepted { uid, resource: subject }, (put, before), written)
        };
        if let Err(error) = written.await {
            let mut live = self.live();
            live.queue.withdraw(accepted.uid);
            live.open.remove(&accepted.uid);
            live.return_uid(accepted.uid);
            for (put, before) in put.iter().zip(before) {
                live.inventory.put_back(put, before);
            }
            // What waited behind it may start now, or finds that what it needs is not there.
            self.start_due(&mut live);
            return Err(error);
        }
        {
            let mut live = self.live();
            live.written(accepted.uid);
            self.publish_operation(&live, accepted.uid);
            for resource in put.iter().filter(|it| live.inventory.resource(it.id()).is_some()) {
                self.publish_resource(resource);
            }
            self.start_due(&mut live);
        }
        Ok(accepted)
    }

    /// Queues an operation that somebody outside asks for.
    pub(in crate::backend) async fn submit(
        self: &Arc<Self>,
        submit: Submit,
    ) -> Result<Accepted, BackendError> {
        admission::from_outside(&submit.params)?;
        self.submit_with(submit, |_, _| Ok(Vec::new())).await
    }

    /// The checks that need no lock, or for a look only: the catalogue's, and the hashing of secrets.
    pub(in crate::backend) async fn check(
        &self,
        kind: &Arc<Entry>,
        params: Params,
    ) -> Result<Params, BackendError> {
        let find = |of, value: &Json| self.inventory(|inventory| inventory.find(of, value));
        let mut params = admission::check(&kind.spec, params, &self.catalogue, &find)?;
        if admission::has_open_secret(&kind.spec, &params, &self.catalogue) {
            let (kind, catalogue) = (kind.clone(), self.catalogue.clone());
            params = tokio::task::spawn_blocking(move || {
                admission::seal(&kind.spec, &mut params, &catalogue).map(|()| params)
            })
            .await
            .map_err(|error| BackendError::failed(format!("hashing a secret failed: {error}")))??;
        }
        Ok(params)
    }

    /// The checks that depend on what else is in flight. `but` is an operation that is not to be
    /// counted: the one that is relaunched.
    pub(in crate::backend) fn admit(
        &self,
        kind: &Entry,
        params: &Params,
        live: &Live,
        but: Option<Uid>,
    ) -> Result<(), Refusal> {
        let spec = &kind.spec;
        if self.is_pausing() {
            let message = "hostler is stopping and accepts nothing more; start it again";
            return Err(Refusal::new(Reason::State, message));
        }
        Self::there(spec, params, live)?;
        if let Some(subject) = subject(spec, params) {
            if spec.reject_duplicates
                && let Some(uid) =
                    live.queue.find_duplicate(&spec.kind, subject).filter(|it| Some(*it) != but)
            {
                return Err(Refusal::new(
                    Reason::OperationPending { uid },
                    format!("{} of {subject} is pending already as {uid}; wait for it", spec.kind),
                ));
            }
            let is = live.inventory.resource(subject).map(Resource::state).unwrap_or_default();
            let will_be = live.queue.projected_state(subject).unwrap_or(is);
            if !spec.requires.is_empty() && !spec.requires.iter().any(|state| *state == will_be) {
                let name = live.inventory.resource(subject).map(Resource::name).unwrap_or_default();
                let then = if will_be == is { "is" } else { "will be" };
                return Err(Refusal::field(
                    Reason::State,
                    spec.subject.as_deref().unwrap_or_default(),
                    subject.id.to_string(),
                    format!(
                        "{subject} '{name}' {then} {will_be}; {} needs it {}",
                        spec.kind,
                        spec.requires.join(" or ")
                    ),
                ));
            }
        }
        (kind.admit)(params, &self.world(live))
    }

    /// What the parameters name was there when they were checked; now nothing can change meanwhile.
    fn there(spec: &OperationSpec, params: &Params, live: &Live) -> Result<(), Refusal> {
        for field in &spec.fields {
            let FieldType::Resource { of, .. } = &field.of else { continue };
            let Some(id) = params.get(&*field.name).and_then(Json::as_u64) else { continue };
            let id = ResourceId::new(*of, id);
            if !live.is_present(id) {
                let message = format!("{}: {id} does not exist any more", field.name);
                let value = id.id.to_string();
                return Err(Refusal::field(Reason::Existence, &*field.name, value, message));
            }
        }
        Ok(())
    }

    /// What a request would do.
    pub(in crate::backend) async fn preview(
        &self,
        submit: Submit,
    ) -> Result<crate::domain::Preview, BackendError> {
        let kind = self.kind(&submit.kind).ok_or_else(|| no_kind(&submit.kind))?;
        let refused =
            |refusal| crate::domain::Preview { refusal: Some(refusal), ..Default::default() };
        let find = |of, value: &Json| self.inventory(|inventory| inventory.find(of, value));
        if let Err(refusal) = admission::from_outside(&submit.params) {
            return Ok(refused(refusal));
        }
        let params = match admission::check(&kind.spec, submit.params, &self.catalogue, &find) {
            Ok(params) => params,
            Err(refusal) => return Ok(refused(refusal)),
        };
        let live = self.live();
        let params = (kind.fill)(params, &self.world(&live));
        let mut preview = (kind.preview)(&params, &self.world(&live));
        preview.refusal = self.admit(&kind, &params, &live, None).err();
        Ok(preview)
    }
}

pub(super) fn no_kind(kind: &str) -> BackendError {
    Refusal::field(
        Reason::Type,
        "kind",
        admission::short(kind),
        format!(
            "there is no operation '{}'; `hostler run --help` lists them",
            admission::short(kind)
        ),
    )
    .into()
}

/// The resource an operation acts on, as its parameters name it.
pub(super) fn subject(spec: &OperationSpec, params: &Params) -> Option<ResourceId> {
    let id = params.get(&**spec.subject.as_ref()?)?.as_u64()?;
    Some(ResourceId::new(spec.resource, id))
}

/// What the queue needs to know of an operation.
pub(super) fn queue_entry(
    spec: &OperationSpec,
    operation: &Operation,
    params: &Params,
) -> QueueEntry {
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
        && let Some(resource) = operation.resource
    {
        hold(resource, LockMode::Exclusive);
    }
    for rule in &spec.locks {
        if let Some(FieldType::Resource { of, .. }) = spec.field(&rule.field).map(|field| &field.of)
            && let Some(id) = params.get(&*rule.field).and_then(serde_json::Value::as_u64)
        {
            hold(ResourceId::new(*of, id), rule.mode);
        }
    }
    QueueEntry {
        uid: operation.uid,
        kind: spec.kind.clone(),
        lane: spec.lane.clone(),
        priority: operation.priority,
        locks,
        subject: operation.resource,
        state_after: spec.state_after.clone(),
    }
}

/// What the queue needs to know of an operation of any kind. One of a kind that this version does
/// not know will fail when its turn comes.
pub(super) fn entry(
    kinds: &HashMap<String, Arc<Entry>>,
    operation: &Operation,
    params: &Params,
) -> QueueEntry {
    if let Some(kind) = kinds.get(&operation.kind) {
        return queue_entry(&kind.spec, operation, params);
    }
    QueueEntry {
        uid: operation.uid,
        kind: operation.kind.clone().into(),
        lane: "task".into(),
        priority: operation.priority,
        locks: operation.resource.map(|it| (it, LockMode::Exclusive)).into_iter().collect(),
        subject: operation.resource,
        state_after: None,
    }
}

impl Live {
    /// An operation, or its relaunch, is on disk.
    pub(super) fn written(&mut self, uid: Uid) {
        if let Some(open) = self.open.get_mut(&uid) {
            open.written = true;
        }
        self.release(uid);
    }

    /// An operation may start when its turn comes, if it is on disk and nobody calls it off at this
    /// moment.
    pub(super) fn release(&mut self, uid: Uid) {
        if self.open.get(&uid).is_some_and(|open| open.written && !open.ending) {
            self.queue.commit(uid);
        }
    }
}
