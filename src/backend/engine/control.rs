//! What people do to operations and lanes: cancel, relaunch, prioritise, pause.

use std::sync::Arc;

use super::admission;
use super::queue;
use super::secrets::hidden;
use super::store::{Change, reader};
use crate::domain::{
    BackendError, Effect, Fact, LaneChange, LaneState, Operation, Params, Reason, Refusal, State,
    Uid,
};

use super::submit::{no_kind, queue_entry, subject};
use super::{Engine, Live};

impl Engine {
    /// Calls an operation off: one that has done nothing at once, any other by undoing it.
    pub(in crate::backend) async fn cancel(self: &Arc<Self>, uid: Uid) -> Result<(), BackendError> {
        let undoing = {
            let mut live = self.live();
            match live.open.get(&uid) {
                None => None,
                Some(open) if open.ending => {
                    let state = open.operation.state;
                    return Err(state_refusal(uid, state, "it is ending at this moment"));
                }
                Some(open) => {
                    let failed = open.operation.state == State::Error;
                    let begun = !failed && (open.resume || open.ran);
                    self.may_cancel(&live, uid)?;
                    let undoing = !failed && (begun || !live.queue.hold(uid));
                    if let Some(open) = live.open.get_mut(&uid) {
                        open.ending = !undoing;
                    }
                    Some(undoing.then(|| self.store.writer().send(vec![Change::Cancelling(uid)])))
                }
            }
        };
        match undoing {
            None => self.not_open(uid).await,
            Some(None) => self.remove_leftovers(self.end(uid, State::Cancel, None).await?).await,
            Some(Some(written)) => {
                written.await?;
                let mut live = self.live();
                if let Some(open) = live.open.get_mut(&uid) {
                    open.operation_mut().cancelling = true;
                    if let Some(cancel) = &open.cancel {
                        cancel.cancel();
                    }
                    live.queue.mark_cancelled(uid);
                    self.publish_operation(&live, uid);
                    self.start_due(&mut live);
                }
                Ok(())
            }
        }
    }

    /// Whether an operation may be called off: a creation that failed is not taken away under one
    /// that works with what there is of it.
    fn may_cancel(&self, live: &Live, uid: Uid) -> Result<(), BackendError> {
        let Some(operation) = live.open.get(&uid).map(|open| &open.operation) else {
            return Ok(());
        };
        let Some(id) = self.makes(operation).filter(|_| operation.state == State::Error) else {
            return Ok(());
        };
        let begun = |uid: &Uid| live.open.get(uid).is_some_and(|open| open.resume);
        let holder = live.queue.holders(id).chain(live.queue.awaiting(id).filter(begun)).next();
        match holder {
            Some(other) => {
                let why = format!("{other} works with {id}; wait for it or cancel it first");
                Err(state_refusal(uid, operation.state, &why))
            }
            None => Ok(()),
        }
    }

    /// Queues an operation in `ERROR` again, with some parameters changed.
    pub(in crate::backend) async fn relaunch(
        self: &Arc<Self>,
        uid: Uid,
        changed: Params,
    ) -> Result<(), BackendError> {
        let found = {
            let live = self.live();
            live.open.get(&uid).map(|open| {
                (open.operation.state, open.operation.kind.clone(), open.params.clone())
            })
        };
        let Some((state, kind, params)) = found else { return self.not_open(uid).await };
        if state != State::Error {
            return Err(state_refusal(uid, state, "only one in ERROR can be relaunched"));
        }
        let kind = self.kind(&kind).ok_or_else(|| no_kind(&kind))?;
        admission::from_outside(&changed)?;
        let mut merged = (*params).clone();
        for (name, value) in changed {
            // A secret that was not typed again stays as it is.
            if value != Operation::HIDDEN {
                merged.insert(name, value);
            }
        }
        let params = self.check(&kind, merged).await?;
        let (written, put, before) = {
            let mut live = self.live();
            let mut reserved = None;
            let Some(resource) = live.open.get(&uid).map(|open| open.operation.resource) else {
                return Ok(());
            };
            if let (Effect::Creates, Some(id)) = (kind.spec.effect, resource) {
                // Its own reservation is no obstacle to itself.
                let own = live.inventory.resource(id).cloned().map(Arc::new);
                live.inventory.remove(id);
                let admitted = self.admit(&kind, &params, &live, Some(uid));
                if let Some(own) = own {
                    live.inventory.put(own);
                }
                admitted?;
                reserved = (kind.reserve)(&params, id.id, &self.world(&live)).map(Arc::new);
            } else {
                self.admit(&kind, &params, &live, Some(uid))?;
            }
            let Live { queue, open, inventory, .. } = &mut *live;
            let Some(open) = open.get_mut(&uid) else { return Ok(()) };
            if open.operation.state != State::Error || open.ending {
                return Err(state_refusal(uid, open.operation.state, "somebody was faster"));
            }
            let before = (open.operation.clone(), open.params.clone());
            let operation = open.operation_mut();
            operation.attempt += 1;
            operation.state = State::Pending;
            operation.comment = None;
            operation.started = None;
            operation.finished = None;
            let params = Arc::new(params);
            operation.params = hidden(&params);
            // What it acts on, or what that is called, may be another now.
            if reserved.is_none() {
                operation.resource = subject(&kind.spec, &params).or(operation.resource);
            }
            let is =
                reserved.as_deref().or(operation.resource.and_then(|id| inventory.resource(id)));
            operation.resource_name = is.map(|resource| resource.name().to_owned());
            queue.accept(queue_entry(&kind.spec, operation, &params));
            let operation = open.operation.clone();
            let mut changes = vec![Change::Relaunch { operation, params: params.clone() }];
            open.cancel = None;
            open.params = params;
            open.ran = false;
            open.written = false;
            let mut own = None;
            if let Some(resource) = &reserved {
                own = inventory.resource(resource.id()).cloned();
                inventory.put(resource.clone());
                changes.push(Change::Put(resource.clone()));
            }
            (self.store.writer().send(changes), reserved, (before, own))
        };
        if let Err(error) = written.await {
            let mut live = self.live();
            let ((operation, params), own) = before;
            // Unless somebody cancelled it meanwhile.
            if live.queue.withdraw(uid)
                && let Some(open) = live.open.get_mut(&uid)
            {
                open.operation = operation;
                open.params = params;
                open.written = true;
            }
            if let Some(put) = &put {
                live.inventory.put_back(put, own);
            }
            drop(live);
            self.dispatch();
            return Err(error);
        }
        let mut live = self.live();
        live.written(uid);
        self.publish_operation(&live, uid);
        if let Some(resource) = put {
            self.publish_resource(&resource);
        }
        self.start_due(&mut live);
        Ok(())
    }

    /// Changes the priority of an operation that has not started.
    pub(in crate::backend) async fn prioritise(
        self: &Arc<Self>,
        uid: Uid,
        priority: i32,
    ) -> Result<(), BackendError> {
        // One at a time, so that memory gets them in the order in which they were written.
        let _turn = self.turn.lock().await;
        let written = {
            let live = self.live();
            live.open.get(&uid).map(|open| {
                if !live.queue.awaits(uid) {
                    let state = open.operation.state;
                    return Err(state_refusal(uid, state, "it does not wait any more"));
                }
                Ok(self.store.writer().send(vec![Change::Priority(uid, priority)]))
            })
        };
        let Some(written) = written else { return self.not_open(uid).await };
        written?.await?;
        let mut live = self.live();
        live.queue.prioritise(uid, priority);
        if let Some(open) = live.open.get_mut(&uid) {
            open.operation_mut().priority = priority;
        }
        self.publish_operation(&live, uid);
        Ok(())
    }

    /// Changes a lane.
    pub(in crate::backend) async fn change_lane(
        self: &Arc<Self>,
        name: &str,
        change: LaneChange,
    ) -> Result<(), BackendError> {
        if let LaneChange::Width(width) = change
            && !(1..=queue::WIDEST).contains(&width)
        {
            return Err(Refusal::field(
                Reason::Value,
                "width",
                width.to_string(),
                format!("a lane is 1 to {} wide, not {width}", queue::WIDEST),
            )
            .into());
        }
        // One at a time: what is written follows from what the one before has made of the lane.
        let _turn = self.turn.lock().await;
        let Some(lane) = self.live().queue.changed(name, change) else {
            return Err(BackendError::not_found(format_args!("lane '{name}'")));
        };
        // A lane that drained to its end is paused for whoever starts next.
        let state = match lane.state {
            LaneState::Draining => LaneState::Paused,
            state => state,
        };
        let written = Change::Lane { name: lane.name, width: lane.width, state };
        self.store.writer().send(vec![written]).await?;
        let mut live = self.live();
        if let Some(lane) = live.queue.change(name, change) {
            self.events.publish(Fact::Lane(lane));
        }
        self.start_due(&mut live);
        Ok(())
    }

    /// The answer about an operation that is not in flight: it has ended, or never was.
    async fn not_open<T>(&self, uid: Uid) -> Result<T, BackendError> {
        let found = self.store.read(move |it| reader::operation(it, uid)).await?;
        match found {
            Some(operation) => Err(state_refusal(uid, operation.state, "it has ended")),
            None => Err(BackendError::not_found(format_args!("operation {uid}"))),
        }
    }
}

fn state_refusal(uid: Uid, state: State, why: &str) -> BackendError {
    Refusal::new(Reason::State, format!("operation {uid} is {state}: {why}")).into()
}
