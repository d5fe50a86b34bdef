//! A backend made of plain data: the real catalogue and a realistic box, answered from memory.

#[path = "fake_backend/catalogue.rs"]
mod catalogue;
#[path = "fake_backend/world.rs"]
mod world;

use std::sync::Mutex;

use futures_util::StreamExt;
use hostler::domain::*;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub use catalogue::catalogue;
pub use world::now;
use world::{host, operations, others, steps, vms};

/// What the backend has and was asked.
pub struct PlainBackend {
    /// Its resources.
    pub resources: Vec<Resource>,
    /// Its operations.
    pub operations: Vec<Operation>,
    /// The box.
    pub host: Host,
    /// Kept so that the stream of events does not end.
    _events: UnboundedSender<Event>,
    receiver: Mutex<Option<UnboundedReceiver<Event>>>,
}

impl PlainBackend {
    /// A box with much on it.
    pub fn full() -> Self {
        let mut resources = vms();
        resources.extend(others());
        Self::with(resources, operations(), host(false))
    }

    /// An empty box where a tool is missing.
    pub fn bare() -> Self {
        Self::with(Vec::new(), Vec::new(), host(true))
    }

    fn with(resources: Vec<Resource>, operations: Vec<Operation>, host: Host) -> Self {
        let (events, receiver) = unbounded_channel();
        Self { resources, operations, host, _events: events, receiver: Mutex::new(Some(receiver)) }
    }

    /// Answers at once.
    pub fn answer(&self, query: &Query) -> Result<Answer> {
        Ok(match query {
            Query::List(list) => Answer::Page(self.list(list)),
            Query::Resource { id } => Answer::Resource(Box::new(
                self.resources
                    .iter()
                    .find(|resource| resource.id() == *id)
                    .cloned()
                    .ok_or_else(|| BackendError::not_found(id))?,
            )),
            Query::Operation { uid } => Answer::Operation(Box::new(OperationDetail {
                operation: self
                    .operations
                    .iter()
                    .find(|operation| operation.uid == *uid)
                    .cloned()
                    .ok_or_else(|| BackendError::not_found(uid))?,
                steps: steps(),
                children: self
                    .operations
                    .iter()
                    .filter(|operation| operation.parent == Some(*uid))
                    .cloned()
                    .collect(),
                more_children: 0,
            })),
            Query::InFlight => {
                let mut operations: Vec<_> = self
                    .operations
                    .iter()
                    .filter(|operation| !operation.state.is_end())
                    .cloned()
                    .collect();
                operations.sort_by_key(|operation| operation.state != State::Run);
                let number = |state| {
                    operations.iter().filter(|operation| operation.state == state).count() as u64
                };
                Answer::InFlight(InFlight {
                    running: number(State::Run),
                    waiting: number(State::Pending),
                    failed: number(State::Error),
                    troubled: self
                        .resources
                        .iter()
                        .filter(|resource| resource.problem().is_some())
                        .map(Resource::id)
                        .collect(),
                    operations,
                })
            }
            Query::Counts => Answer::Counts(Counts {
                resources: ResourceKind::ALL
                    .iter()
                    .map(|&kind| {
                        let number = self.resources.iter().filter(|r| r.kind() == kind).count();
                        (kind, number as u64)
                    })
                    .collect(),
                operations: self.operations.last().map_or(0, |_| 48_212),
            }),
            Query::Lanes => Answer::Lanes(
                ["vm", "disk", "encode", "task"]
                    .into_iter()
                    .map(|name| Lane {
                        name: name.to_owned(),
                        width: 2,
                        state: if name == "disk" { LaneState::Paused } else { LaneState::Open },
                        running: u32::from(name == "vm"),
                        waiting: 0,
                    })
                    .collect(),
            ),
            Query::Timeline => Answer::Timeline(self.timeline()),
            Query::Host => Answer::Host(Box::new(self.host.clone())),
            Query::Preview(submit) => Answer::Preview(Preview {
                refusal: None,
                effects: vec![format!("{} would be queued in its lane.", submit.kind)],
                commands: vec![
                    "qemu-img create -f qcow2 -F qcow2 -b debian-12.qcow2 root.qcow2".to_owned(),
                ],
                space: Some(196_608),
            }),
        })
    }

    /// Minutes and hours are looked at, days are not; it is UTC everywhere.
    fn timeline(&self) -> Timeline {
        let is = |every: Every, value: i8| match every {
            Every::Any => true,
            Every::At(at) => i64::from(at) == i64::from(value),
        };
        let at = |minute: u16| {
            let at = now() + jiff::SignedDuration::from_mins(minute.into());
            at.to_zoned(jiff::tz::TimeZone::UTC)
        };
        let fires = |task: &Task, minute: u16| {
            is(task.repeat.minute, at(minute).minute()) && is(task.repeat.hour, at(minute).hour())
        };
        let tasks = self.resources.iter().filter_map(|resource| match resource {
            Resource::Task(task) if task.active => Some(Firings {
                task: task.id,
                minutes: (1..=1440).filter(|minute| fires(task, *minute)).collect(),
            }),
            _ => None,
        });
        Timeline { from: now(), tasks: tasks.collect() }
    }

    fn names_of(&self, resource: &Resource) -> Value<'static> {
        let named = |id| self.resources.iter().find(|other| other.id() == id).map(Resource::name);
        let names: Vec<&str> = resource.refers_to().into_iter().filter_map(named).collect();
        Value::text(names.join("\n"))
    }

    fn list(&self, list: &List) -> Page {
        fn window<T: Clone>(
            mut rows: Vec<T>,
            list: &List,
            id: impl Fn(&T) -> u64,
            field: impl for<'a> Fn(&'a T, &str) -> Option<Value<'a>>,
        ) -> (u64, u64, Vec<T>) {
            if let Some(sort) = &list.sort {
                rows.sort_by(|a, b| {
                    let [a, b] = [a, b].map(|row| field(row, &sort.column).map(ValueOrder::from));
                    a.cmp(&b)
                });
                if sort.descending {
                    rows.reverse();
                }
            }
            let total = rows.len() as u64;
            let around =
                list.around.and_then(|wanted| rows.iter().position(|row| id(row) == wanted));
            let offset = around
                .map_or(list.offset, |at| (at as u64).saturating_sub(u64::from(list.limit) / 2));
            let offset = offset.min(total);
            let rows = rows.into_iter().skip(offset as usize).take(list.limit as usize).collect();
            (total, offset, rows)
        }
        match list.of {
            Subject::Resources(kind) => {
                let columns = &kind.spec().columns;
                let mut rows: Vec<Resource> = self
                    .resources
                    .iter()
                    .filter(|resource| resource.kind() == kind)
                    .filter(|resource| {
                        list.filter.matches(columns, |name| match name {
                            filter::REFERRED => Some(self.names_of(resource)),
                            _ => resource.field(name),
                        })
                    })
                    .cloned()
                    .collect();
                rows.sort_by_key(|resource| resource.name().to_lowercase());
                let (total, offset, rows) = window(rows, list, |r| r.id().id, Resource::field);
                Page { total, offset, rows: Rows::Resources(rows) }
            }
            Subject::Operations => {
                let rows: Vec<Operation> = self
                    .operations
                    .iter()
                    .filter(|operation| {
                        list.filter.matches(Operation::columns(), |name| operation.field(name))
                    })
                    .cloned()
                    .collect();
                let (total, offset, rows) = window(rows, list, |o| o.uid.0, Operation::field);
                Page { total, offset, rows: Rows::Operations(rows) }
            }
        }
    }
}

impl Backend for PlainBackend {
    fn catalogue(&self) -> Catalogue {
        catalogue()
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(async move { self.answer(&query) })
    }

    fn submit(&self, _submit: Submit) -> BoxFuture<'_, Result<Accepted>> {
        Box::pin(async move { Ok(Accepted { uid: Uid(48_213), ..Accepted::default() }) })
    }

    fn control(&self, _control: Control) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { Ok(()) })
    }

    fn subscribe(&self) -> EventStream {
        let receiver = self.receiver.lock().unwrap().take().expect("one subscriber");
        Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|event| (event, receiver))
        }))
    }

    fn serial(&self, vm: u64) -> BoxFuture<'_, Result<Serial>> {
        struct Echo(UnboundedSender<Vec<u8>>);
        impl SerialInput for Echo {
            fn send(&mut self, bytes: &[u8]) -> Result<()> {
                self.0.send(bytes.to_vec()).map_err(|_| BackendError::failed("closed"))
            }
        }
        Box::pin(async move {
            let (sender, receiver) = unbounded_channel();
            let greeting = format!("\x1b[32mvm {vm}\x1b[0m login: ").into_bytes();
            sender.send(greeting).map_err(|_| BackendError::failed("closed"))?;
            let output = futures_util::stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|bytes| (bytes, receiver))
            });
            Ok(Serial { output: output.boxed(), input: Box::new(Echo(sender)) })
        })
    }
}
