//! A backend that answers as it is told and remembers what it was asked, for tests from outside.
#![allow(dead_code, reason = "every test file uses another part of it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures_util::stream;
use hostler::domain::*;
use serde_json::json;
use tokio::sync::{broadcast, mpsc};

/// A scripted backend.
pub struct ScriptedBackend {
    catalogue: Catalogue,
    /// Everything it was asked, in order.
    pub asked: Mutex<Vec<Asked>>,
    /// What queries are answered with, first to last; without one, a query fails.
    pub answers: Mutex<VecDeque<Result<Answer>>>,
    /// What submits are answered with; without one, they are accepted with rising numbers.
    pub accepted: Mutex<VecDeque<Result<Accepted>>>,
    /// What controls are answered with; without one, they are done.
    pub controlled: Mutex<VecDeque<Result<()>>>,
    events: broadcast::Sender<Event>,
    /// The open serial lines: what is sent here is what the guest writes.
    pub guests: Mutex<Vec<mpsc::UnboundedSender<Vec<u8>>>>,
    /// What was typed into the serial line, byte for byte.
    pub typed: broadcast::Sender<Vec<u8>>,
}

/// Something the backend was asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    Query(Query),
    Submit(Submit),
    Control(Control),
    Serial(u64),
}

impl ScriptedBackend {
    pub fn new() -> Arc<Self> {
        Self::with(catalogue())
    }

    /// One that offers this.
    pub fn with(catalogue: Catalogue) -> Arc<Self> {
        Arc::new(Self {
            catalogue,
            asked: Mutex::default(),
            answers: Mutex::default(),
            accepted: Mutex::default(),
            controlled: Mutex::default(),
            events: broadcast::channel(4096).0,
            guests: Mutex::default(),
            typed: broadcast::channel(4096).0,
        })
    }

    pub fn will_answer(&self, answer: Result<Answer>) {
        self.answers.lock().unwrap().push_back(answer);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Sends an event; says how many receive it.
    pub fn tell(&self, seq: u64, fact: Fact) -> usize {
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        self.events.send(Event { life: 7, seq, at, fact }).unwrap_or(0)
    }

    /// The guest writes something, on every open line.
    pub fn guest_writes(&self, bytes: &[u8]) {
        for guest in self.guests.lock().unwrap().iter() {
            let _closed = guest.send(bytes.to_vec());
        }
    }

    /// The guest stops: every open line ends.
    pub fn guest_stops(&self) {
        self.guests.lock().unwrap().clear();
    }

    fn note(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
    }
}

struct Keys(broadcast::Sender<Vec<u8>>);

impl SerialInput for Keys {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.send(bytes.to_vec()).map(|_| ()).map_err(|_| BackendError::failed("nobody reads"))
    }
}

impl Backend for ScriptedBackend {
    fn catalogue(&self) -> Catalogue {
        self.catalogue.clone()
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer>> {
        self.note(Asked::Query(query));
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(async {
            answer.unwrap_or_else(|| Err(BackendError::failed("no answer is scripted")))
        })
    }

    fn submit(&self, submit: Submit) -> BoxFuture<'_, Result<Accepted>> {
        self.note(Asked::Submit(submit));
        let asked = self.asked.lock().unwrap();
        let uid = asked.iter().filter(|asked| matches!(asked, Asked::Submit(_))).count();
        let accepted = self
            .accepted
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Ok(Accepted { uid: Uid(uid as u64), ..Accepted::default() }));
        Box::pin(async { accepted })
    }

    fn control(&self, control: Control) -> BoxFuture<'_, Result<()>> {
        self.note(Asked::Control(control));
        let done = self.controlled.lock().unwrap().pop_front().unwrap_or(Ok(()));
        Box::pin(async { done })
    }

    fn subscribe(&self) -> EventStream {
        Box::pin(stream::unfold(self.events.subscribe(), |mut events| async move {
            events.recv().await.ok().map(|event| (event, events))
        }))
    }

    fn serial(&self, vm: u64) -> BoxFuture<'_, Result<Serial>> {
        self.note(Asked::Serial(vm));
        if vm != 3 {
            return Box::pin(async move { Err(BackendError::not_found(format!("vm/{vm}"))) });
        }
        let (guest, written) = mpsc::unbounded_channel();
        self.guests.lock().unwrap().push(guest);
        let output = stream::unfold(written, |mut written| async move {
            written.recv().await.map(|bytes| (bytes, written))
        });
        let input = Box::new(Keys(self.typed.clone()));
        Box::pin(async { Ok(Serial { output: Box::pin(output), input }) })
    }
}

/// An operation in a state, for events and answers.
pub fn operation(uid: u64, state: State) -> Operation {
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    Operation {
        uid: Uid(uid),
        kind: "vm_create".into(),
        state,
        params: Arc::default(),
        resource: Some(ResourceId::new(Vm::KIND, 3)),
        resource_name: Some("web-3".into()),
        actor: "console:root".into(),
        priority: 0,
        attempt: 0,
        cancelling: false,
        past_pivot: false,
        comment: (state == State::Error).then(|| "the pool is full; free some space".into()),
        created: at,
        started: None,
        finished: None,
        updated: at,
        parent: None,
        outcome: None,
        progress: None,
        wait: None,
    }
}

/// A virtual machine, for answers.
pub fn vm(id: u64, name: &str) -> Resource {
    serde_json::from_value(json!({
        "resource": "vm", "id": id, "name": name, "state": "running",
        "uuid": "6f9619ff-8b86-4011-b42d-00c04fc964ff", "image": 1, "os": "debian-12",
        "shares": 4, "memory_mib": 1024, "cpu": 2, "login": "admin",
        "created": "2026-01-02T03:04:05Z"
    }))
    .unwrap()
}

/// A free disk, for answers.
pub fn disk(id: u64, name: &str) -> Resource {
    serde_json::from_value(json!({
        "resource": "disk", "id": id, "name": name, "state": "free", "size_mb": 64,
        "fstype": "ext4", "format": "raw", "path": format!("/srv/{name}.img"),
        "created": "2026-01-02T03:04:05Z"
    }))
    .unwrap()
}

/// A catalogue with a field of every type.
pub fn catalogue() -> Catalogue {
    let spec = |kind: &'static str, resource, effect, fields: Vec<Field>| OperationSpec {
        kind: kind.into(),
        title: kind.into(),
        doc: "Does what its name says. It says no more here.".into(),
        doing: "working".into(),
        resource: Some(resource),
        effect,
        subject: None,
        lane: "vm".into(),
        risk: Risk::None,
        warning: "".into(),
        fields,
        offered_on: Vec::new(),
        edits: false,
        hint: Hint::default(),
        locks: Vec::new(),
        requires: Vec::new(),
        state_after: None,
        reject_duplicates: false,
        steps: vec!["only".into()],
    };
    let choices = vec![
        Choice { value: "ext4".into(), label: "fourth extended".into() },
        Choice { value: "xfs".into(), label: "XFS".into() },
    ];
    let mut delete = spec(
        "vm_delete",
        Vm::KIND,
        Effect::Deletes,
        vec![Field::required(
            "vm",
            FieldType::Resource { of: Vm::KIND, states: vec!["halted".into()] },
            "The virtual machine.",
        )],
    );
    delete.subject = Some("vm".into());
    delete.risk = Risk::Destructive;
    delete.warning = "Its root disk is lost.".into();
    Catalogue::new([
        spec("vm_create", Vm::KIND, Effect::Creates, vm_fields()),
        delete,
        spec(
            "disk_create",
            Disk::KIND,
            Effect::Creates,
            vec![
                Field::required("name", FieldType::Name, "Its name."),
                Field::optional("fstype", FieldType::Choice { choices }, "ext4", "Its filesystem."),
                Field::optional(
                    "size_mb",
                    FieldType::Integer { min: 1, max: 4096, unit: "MiB".into() },
                    64,
                    "Its size.",
                ),
            ],
        ),
        spec(
            "task_create",
            Task::KIND,
            Effect::Creates,
            vec![
                Field::required("name", FieldType::Name, "Its name."),
                Field::required("kind", FieldType::Kind, "What it asks for."),
                Field::optional(
                    "params",
                    FieldType::Params { of: "kind".into() },
                    json!({}),
                    "With what.",
                ),
                Field::optional("minute", FieldType::Every { min: 0, max: 59 }, "*", "Minute."),
            ],
        ),
        spec(
            "encode",
            Encoding::KIND,
            Effect::Creates,
            vec![
                Field::required("source", FieldType::File, "The file to encode."),
                Field::optional("output", FieldType::NewFile, json!(null), "The file it becomes."),
                Field::optional("notify", FieldType::Url, json!(null), "Who is told."),
                Field::optional(
                    "title",
                    FieldType::Text { max: 80 },
                    json!(null),
                    "What to call it.",
                ),
            ],
        ),
    ])
}

/// The fields of `vm_create`.
fn vm_fields() -> Vec<Field> {
    let list = |of| FieldType::List { of: Box::new(of), min: 0, max: 8 };
    let disk = FieldType::Resource { of: Disk::KIND, states: vec![] };
    let number = FieldType::Integer { min: 1, max: 65_535, unit: "".into() };
    let port = FieldType::Record {
        fields: vec![
            Field::required("port", number.clone(), "The port of the box."),
            Field::optional("guest", number, 22, "The port of the guest."),
            Field::optional("key", FieldType::Secret { min: 1 }, json!(null), "Who may knock."),
        ],
    };
    vec![
        Field::required("hostname", FieldType::Hostname, "The guest's host name."),
        Field::required("password", FieldType::Secret { min: 8 }, "The password of the login."),
        Field::required(
            "os",
            FieldType::Resource { of: Image::KIND, states: vec!["ready".into()] },
            "The image.",
        ),
        Field::optional(
            "shares",
            FieldType::Integer { min: 1, max: 64, unit: "shares".into() },
            1,
            "Shares of the box.",
        ),
        Field::optional("start", FieldType::Flag, true, "Start it when it is there."),
        Field::optional("ssh_keys", FieldType::Lines, json!([]), "SSH public keys."),
        Field::optional("disks", list(disk), json!([]), "Disks it has."),
        Field::optional("ports", list(port), json!([]), "Ports that lead to it."),
    ]
}
