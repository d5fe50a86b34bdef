//! What people do to operations and lanes: cancel, relaunch, prioritise, pause.

use std::sync::Arc;

use crate::backend::admission;
use crate::backend::kind::Entry;
use crate::backend::queue;
use crate::backend::secrets::hidden;
use crate::backend::store::{Change, reader};
use crate::domain::{
    BackendError, Effect, Fact, LaneChange, LaneState, Operation, Params, Reason, Refusal,
    ResourceId, State, Uid,
};

use super::submit::{entry, no_kind, queue_entry};
use super::{Core, Flight, Open};

impl Core {
    /// Calls an operation off.
    pub(in crate::backend) async fn cancel(self: &Arc<Self>, uid: Uid) -> Result<(), BackendError> {
        enum How {
            AtOnce(Option<(Arc<Entry>, ResourceId)>),
            Undoing(std::pin::Pin<Box<dyn Future<Output = Result<(), BackendError>> + Send>>),
        }
        let how = {
            let mut flight = self.flight();
            let Flight { queue, open, .. } = &mut *flight;
            open.get_mut(&uid).map(|open| {
                if open.operation.state == State::Error || (!open.resume && queue.withdraw(uid)) {
                    let failed = open.operation.state == State::Error;
                    let kind = self.kinds.get(&open.operation.kind).filter(|kind| {
                        // What has not run has kept nothing, unless it ran before.
                        (failed || open.operation.attempt > 0)
                            && kind.spec.effect == Effect::Creates
                    });
                    return How::AtOnce(kind.cloned().zip(open.operation.resource));
                }
                open.operation_mut().cancelling = true;
                How::Undoing(Box::pin(self.store.writer().send(vec![Change::Cancelling(uid)])))
            })
        };
        let Some(how) = how else { return self.not_open(uid).await };
        match how {
            How::AtOnce(made) => {
                if let Err(error) = self.end(uid, State::Cancel, None).await {
                    self.queue_again(uid);
                    return Err(error);
                }
                let Some((kind, id)) = made else { return Ok(()) };
                let discarded = (kind.discard)(&self.ports, &self.settings, id.id).await;
                discarded.map_err(|failure| {
                    BackendError::failed(format!("{uid} is cancelled, but {}", failure.message))
                })
            }
            How::Undoing(written) => {
                written.await?;
                let flight = self.flight();
                if let Some(open) = flight.open.get(&uid) {
                    if let Some(cancel) = &open.cancel {
                        cancel.cancel();
                    }
                    self.tell_operation(&flight, uid);
                }
                Ok(())
            }
        }
    }

    /// Puts an operation that waits, and was taken out of the queue in vain, back into it.
    fn queue_again(self: &Arc<Self>, uid: Uid) {
        {
            let mut flight = self.flight();
            let Flight { queue, open, .. } = &mut *flight;
            if let Some(Open { operation, params, .. }) = open.get(&uid)
                && operation.state == State::Pending
            {
                queue.accept(entry(&self.kinds, operation, params));
                queue.commit(uid);
            }
        }
        self.dispatch();
    }

    /// Queues an operation in `ERROR` again, with some parameters changed.
    pub(in crate::backend) async fn relaunch(
        self: &Arc<Self>,
        uid: Uid,
        changed: Params,
    ) -> Result<(), BackendError> {
        let found = {
            let flight = self.flight();
            flight.open.get(&uid).map(|open| {
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
            let mut flight = self.flight();
            let mut reserved = None;
            let Some(resource) = flight.open.get(&uid).map(|open| open.operation.resource) else {
                return Ok(());
            };
            if let (Effect::Creates, Some(id)) = (kind.spec.effect, resource) {
                // Its own reservation is no obstacle to itself.
                let own = flight.inventory.get(id).cloned().map(Arc::new);
                flight.inventory.remove(id);
                let admitted = self.admit(&kind, &params, &flight, Some(uid));
                if let Some(own) = own {
                    flight.inventory.put(own);
                }
                admitted?;
                reserved = (kind.reserve)(&params, id.id, &self.world(&flight)).map(Arc::new);
            } else {
                self.admit(&kind, &params, &flight, Some(uid))?;
            }
            let Flight { queue, open, inventory, .. } = &mut *flight;
            let Some(open) = open.get_mut(&uid) else { return Ok(()) };
            if open.operation.state != State::Error {
                return Err(state_refusal(uid, open.operation.state, "somebody relaunched it"));
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
            let mut changes =
                vec![Change::Relaunch { uid, attempt: operation.attempt, params: params.clone() }];
            queue.accept(queue_entry(&kind.spec, operation, &params));
            open.cancel = None;
            open.params = params;
            let mut own = None;
            if let Some(resource) = &reserved {
                own = inventory.get(resource.id()).cloned();
                inventory.put(resource.clone());
                changes.push(Change::Put(resource.clone()));
            }
            (self.store.writer().send(changes), reserved, (before, own))
        };
        if let Err(error) = written.await {
            let mut flight = self.flight();
            let ((operation, params), own) = before;
            // Unless somebody cancelled it meanwhile.
            if flight.queue.withdraw(uid)
                && let Some(open) = flight.open.get_mut(&uid)
            {
                open.operation = operation;
                open.params = params;
            }
            if let Some(put) = &put {
                flight.inventory.put_back(put, own);
            }
            drop(flight);
            self.dispatch();
            return Err(error);
        }
        let mut flight = self.flight();
        flight.queue.commit(uid);
        self.tell_operation(&flight, uid);
        if let Some(resource) = put {
            self.tell_resource(&resource);
        }
        self.start_due(&mut flight);
        Ok(())
    }

    /// Changes the priority of an operation that has not started.
    pub(in crate::backend) async fn prioritise(
        self: &Arc<Self>,
        uid: Uid,
        priority: i32,
    ) -> Result<(), BackendError> {
        let written = {
            let mut flight = self.flight();
            let Flight { queue, open, .. } = &mut *flight;
            open.get_mut(&uid).map(|open| {
                if !queue.prioritise(uid, priority) {
                    let state = open.operation.state;
                    return Err(state_refusal(uid, state, "it does not wait any more"));
                }
                open.operation_mut().priority = priority;
                Ok(self.store.writer().send(vec![Change::Priority(uid, priority)]))
            })
        };
        let Some(written) = written else { return self.not_open(uid).await };
        written?.await?;
        self.tell_operation(&self.flight(), uid);
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
        let written = {
            let mut flight = self.flight();
            if !flight.queue.change(name, change) {
                return Err(BackendError::not_found(format_args!("lane '{name}'")));
            }
            flight.queue.lanes().find(|lane| lane.name == name).map(|lane| {
                // A lane that drained to its end is paused for whoever starts next.
                let state = match lane.state {
                    LaneState::Draining => LaneState::Paused,
                    state => state,
                };
                let change = Change::Lane { name: lane.name.clone(), width: lane.width, state };
                (self.store.writer().send(vec![change]), lane)
            })
        };
        if let Some((written, lane)) = written {
            written.await?;
            self.hub.tell(Fact::Lane(lane));
        }
        self.dispatch();
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
