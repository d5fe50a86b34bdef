//! A backend made of plain data: a realistic catalogue and box, answered from memory.

use std::sync::Mutex;

use futures_util::StreamExt;
use hostler::domain::*;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The time it always is here.
pub fn now() -> Timestamp {
    "2026-03-14T02:47:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - jiff::SignedDuration::from_secs(seconds)
}

fn resource(name: &'static str, of: ResourceKind, states: &[&'static str]) -> Field {
    let states = states.iter().map(|state| Text::from(*state)).collect();
    let doc = match of {
        ResourceKind::Vm => "The virtual machine.",
        ResourceKind::Disk => "The disk.",
        ResourceKind::Image => "The operating system image its root disk begins as.",
        ResourceKind::Task => "The task.",
        ResourceKind::Encoding => "The encoding.",
    };
    Field::required(name, FieldType::Resource { of, states }, doc)
}

fn integer(
    name: &'static str,
    min: i64,
    max: i64,
    unit: &'static str,
    default: i64,
    doc: &'static str,
) -> Field {
    Field::optional(name, FieldType::Integer { min, max, unit: unit.into() }, default, doc)
}

fn choices(values: &[(&'static str, &'static str)]) -> FieldType {
    FieldType::Choice {
        choices: values
            .iter()
            .map(|(value, label)| Choice { value: (*value).into(), label: (*label).into() })
            .collect(),
    }
}

struct Kind(OperationSpec);

impl Kind {
    fn new(kind: &'static str, title: &'static str, doing: &'static str, of: ResourceKind) -> Self {
        Self(OperationSpec {
            kind: kind.into(),
            title: title.into(),
            doc: format!("{title}, step by step, and undo it when something fails.").into(),
            doing: doing.into(),
            resource: of,
            effect: Effect::Changes,
            subject: None,
            lane: of.word().into(),
            risk: Risk::None,
            warning: "".into(),
            fields: Vec::new(),
            locks: Vec::new(),
            requires: Vec::new(),
            leaves: None,
            once: false,
            steps: vec!["prepare".into(), "do".into(), "verify".into()],
        })
    }

    fn creates(mut self) -> Self {
        self.0.effect = Effect::Creates;
        self
    }

    fn on(mut self, states: &[&'static str]) -> Self {
        let name = self.0.resource.word();
        self.0.subject = Some(name.into());
        self.0.locks.push(LockRule { field: name.into(), mode: LockMode::Exclusive });
        self.0.requires = states.iter().map(|state| Text::from(*state)).collect();
        self.0.fields.insert(0, resource(name, self.0.resource, states));
        self
    }

    fn field(mut self, field: Field) -> Self {
        self.0.fields.push(field);
        self
    }

    fn risk(mut self, risk: Risk, warning: &'static str) -> Self {
        self.0.risk = risk;
        self.0.warning = warning.into();
        self
    }
}

/// A catalogue as a backend offers it, with every type of field in it.
pub fn catalogue() -> Catalogue {
    use FieldType as T;
    use ResourceKind::{Disk as D, Encoding as E, Image as I, Task as K, Vm as V};
    let repeat = |name, min, max, doc| Field::optional(name, T::Every { min, max }, "*", doc);
    let kinds = [
        Kind::new("vm_create", "Create a VM", "being created", V)
            .creates()
            .field(Field::required("hostname", T::Hostname, "Its host name, and its name here."))
            .field(Field::required(
                "password",
                T::Secret { min: 8 },
                "The password of the account made in it.",
            ))
            .field(resource("os", I, &["ready"]))
            .field(integer("shares", 1, 64, "× 256 MiB", 4, "How much of the box it may use."))
            .field(integer("cpu", 1, 8, "processors", 1, "Virtual processors."))
            .field(
                Field::optional("login", T::Name, json!(null), "The account made in it.")
                    .advanced(),
            )
            .field(
                Field::optional("ssh_keys", T::Lines, json!(null), "Public keys that may log in.")
                    .advanced(),
            ),
        Kind::new("vm_start", "Start", "starting", V).on(&["halted"]),
        Kind::new("vm_stop", "Stop", "stopping", V)
            .on(&["running", "paused"])
            .field(Field::optional(
                "force",
                T::Flag,
                false,
                "Pull the plug when it does not stop by itself.",
            ))
            .field(integer("timeout_s", 1, 3600, "seconds", 120, "How long it may take."))
            .risk(Risk::Disruptive, "What runs in the guest is stopped."),
        Kind::new("vm_reboot", "Reboot", "rebooting", V)
            .on(&["running"])
            .field(Field::optional("force", T::Flag, false, "Reset it without asking it."))
            .risk(Risk::Disruptive, "What runs in the guest is interrupted."),
        Kind::new("vm_delete", "Delete", "being deleted", V)
            .on(&["halted"])
            .risk(Risk::Destructive, "Its root disk and everything on it is gone for good."),
        Kind::new("disk_create", "Create a disk", "being created", D)
            .creates()
            .field(Field::required("name", T::Name, "Its name."))
            .field(integer("size_mb", 1, 1_048_576, "MB", 1024, "Its size."))
            .field(Field::optional(
                "fstype",
                choices(&[
                    ("ext3", "journaled ext2"),
                    ("xfs", "large files"),
                    ("ext4", "the usual"),
                    ("none", "blank"),
                ]),
                "ext3",
                "The filesystem it is made with.",
            )),
        Kind::new("disk_attach", "Attach", "being attached", D).on(&["free"]).field(resource(
            "vm",
            V,
            &["running", "halted"],
        )),
        Kind::new("disk_detach", "Detach", "being detached", D)
            .on(&["attached"])
            .risk(Risk::Disruptive, "A guest that has it mounted loses it."),
        Kind::new("disk_delete", "Delete", "being deleted", D)
            .on(&["free"])
            .risk(Risk::Destructive, "It is kept in the trash for 7 days, then gone for good."),
        Kind::new("image_build", "Build an image", "being built", I)
            .creates()
            .field(Field::required("name", T::Name, "Its name."))
            .field(Field::optional(
                "recipe",
                choices(&[
                    ("tiny", "kernel and busybox, seconds"),
                    ("debian", "Debian 12 with cloud-init, minutes"),
                ]),
                "tiny",
                "What is built.",
            )),
        Kind::new("image_fetch", "Fetch an image", "being fetched", I).creates().field(
            Field::required(
                "os",
                choices(&[("debian-12", "Debian 12"), ("alpine-3.22", "Alpine 3.22")]),
                "Which.",
            ),
        ),
        Kind::new("image_import", "Import an image", "being imported", I)
            .creates()
            .field(Field::required("name", T::Name, "Its name."))
            .field(Field::required("source", T::File, "A qcow2, raw or ISO file, or a kernel."))
            .field(Field::optional(
                "note",
                T::Text { max: 20 },
                json!(null),
                "What it is, in a few words.",
            ))
            .field(Field::optional("home", T::Url, json!(null), "Where it comes from.")),
        Kind::new("image_delete", "Delete", "being deleted", I)
            .on(&["ready"])
            .risk(Risk::Destructive, "Its files are removed."),
        Kind::new("encode", "Encode", "being encoded", E)
            .creates()
            .field(Field::required("source", T::File, "The video to encode."))
            .field(Field::optional(
                "preset",
                choices(&[
                    ("mp4", "H.264 and AAC"),
                    ("webm", "VP9 and Opus"),
                    ("mp3", "sound only"),
                ]),
                "mp4",
                "What it becomes.",
            ))
            .field(Field::optional(
                "output",
                T::NewFile,
                json!(null),
                "Where it goes; beside the source unless given.",
            )),
        Kind::new("encoding_delete", "Delete", "being deleted", E)
            .on(&["finished", "failed", "cancelled"])
            .risk(Risk::Destructive, "The output file is removed."),
        Kind::new("task_create", "Schedule a task", "being made", K)
            .creates()
            .field(Field::required("name", T::Name, "Its name."))
            .field(Field::required("kind", T::Kind, "What it asks for."))
            .field(Field::required("params", T::Params { of: "kind".into() }, "What it asks with."))
            .field(repeat("minute", 0, 59, "The minute."))
            .field(repeat("hour", 0, 23, "The hour."))
            .field(repeat("weekday", 0, 6, "The day of the week, Sunday is 0.")),
        Kind::new("task_run", "Run now", "being run", K).on(&[]),
        Kind::new("task_enable", "Enable", "being enabled", K).on(&["inactive"]),
        Kind::new("task_disable", "Disable", "being disabled", K).on(&["active"]),
        Kind::new("task_update", "Change", "being changed", K)
            .on(&[])
            .field(repeat("minute", 0, 59, "The minute."))
            .field(repeat("hour", 0, 23, "The hour.")),
        Kind::new("task_delete", "Delete", "being deleted", K)
            .on(&[])
            .risk(Risk::Destructive, "It fires no more."),
    ];
    Catalogue::new(kinds.into_iter().map(|Kind(spec)| spec))
}

fn vms() -> Vec<Resource> {
    let names = [
        "db-1",
        "db-2",
        "build",
        "mail",
        "web-1",
        "web-2",
        "web-3",
        "日本語-vm",
        "old-web",
        "gitea",
        "proxy",
        "ci-runner-with-a-rather-long-name",
        "metrics",
        "lab",
    ];
    names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let id = at as u64 + 1;
            let state = match at {
                1 | 8 => VmState::Halted,
                9 => VmState::Paused,
                13 => VmState::Invalid,
                _ => VmState::Running,
            };
            let running = state == VmState::Running;
            Resource::Vm(Vm {
                id,
                name: (*name).to_owned(),
                state,
                uuid: format!("00000000-0000-4000-8000-{id:012}").parse().unwrap(),
                image: 1,
                os: if at % 3 == 0 { "alpine-3.22" } else { "debian-12" }.to_owned(),
                shares: 4,
                memory_mib: 1024,
                cpu: 2,
                login: "admin".to_owned(),
                disks: if at == 6 { vec![1, 3] } else { Vec::new() },
                accelerator: running.then(|| "tcg".to_owned()),
                created: ago(86_400 * 9),
                started: running.then(|| ago(86_400 * 4 + 7_300)),
                note: (at == 13).then(|| {
                    "its root disk /var/lib/hostler/vm/14/root.qcow2 is missing".to_owned()
                }),
                cpu_percent: running.then_some(at as f32 * 7.0),
                memory_used_mib: running.then_some(300 + at as u64 * 41),
            })
        })
        .collect()
}

fn others() -> Vec<Resource> {
    let mut all = Vec::new();
    for id in 1..=5_u64 {
        let attached = id == 1 || id == 3;
        all.push(Resource::Disk(Disk {
            id,
            name: format!("data{id}"),
            state: if attached { DiskState::Attached } else { DiskState::Free },
            size_mb: 1024 * id,
            fstype: FsType::ALL[id as usize],
            format: DiskFormat::Qcow2,
            path: format!("/var/lib/hostler/disks/{id}.qcow2").into(),
            vm: attached.then_some(7),
            created: ago(86_400 * 3),
            trashed: None,
        }));
    }
    for (id, name, kind) in [(1, "nightly-reboot", "vm_reboot"), (2, "weekly-encode", "encode")] {
        all.push(Resource::Task(Task {
            id,
            name: name.to_owned(),
            active: id == 1,
            kind: kind.to_owned(),
            params: Params::from_iter([("vm".to_owned(), json!(7))]),
            repeat: Repeat { hour: Every::At(3), minute: Every::At(0), ..Repeat::default() },
            next: (id == 1).then(|| now() + jiff::SignedDuration::from_secs(780)),
            runs: vec![
                Run {
                    due: ago(85_600),
                    outcome: RunOutcome::Queued { uid: Uid(48_100) },
                    by_hand: false,
                },
                Run { due: ago(172_000), outcome: RunOutcome::Missed, by_hand: false },
            ],
            missed: 1,
            settled: ago(60),
            created: ago(86_400 * 30),
        }));
    }
    for (id, name, state) in [
        (1, "talk.mov → webm", EncodingState::Encoding),
        (2, "intro.mov → mp4", EncodingState::Finished),
        (3, "broken.avi → mp4", EncodingState::Failed),
    ] {
        all.push(Resource::Encoding(Encoding {
            id,
            name: name.to_owned(),
            state,
            source: "/srv/video/talk.mov".into(),
            preset: "webm".to_owned(),
            output: "/srv/video/talk.webm".into(),
            duration_s: Some(754.2),
            source_bytes: Some(812_000_000),
            output_bytes: (id == 2).then_some(91_000_000),
            speed: (id == 2).then_some(2.3),
            created: ago(400),
            finished: (id == 2).then(|| ago(100)),
        }));
    }
    for (id, name, label) in
        [(1, "debian-12", "Debian 12 (bookworm)"), (2, "tiny", "kernel and busybox")]
    {
        all.push(Resource::Image(Image {
            id,
            name: name.to_owned(),
            state: ImageState::Ready,
            label: label.to_owned(),
            form: Some(ImageForm::Disk { path: "/x".into(), format: DiskFormat::Qcow2 }),
            source: "debian".to_owned(),
            bytes: 420_000_000 / id,
            virtual_bytes: 8 << 30,
            sha256: Some(
                "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
            ),
            login: "admin".to_owned(),
            created: ago(86_400 * 20),
        }));
    }
    all
}

fn operation(uid: u64, kind: &str, state: State, id: ResourceId, name: &str) -> Operation {
    Operation {
        uid: Uid(uid),
        kind: kind.to_owned(),
        state,
        params: Params::from_iter([(id.kind.word().to_owned(), json!(id.id))]),
        resource: Some(id),
        resource_name: Some(name.to_owned()),
        actor: "console:root".to_owned(),
        priority: 0,
        attempt: 0,
        cancelling: false,
        comment: None,
        created: ago(60),
        started: (state != State::Pending).then(|| ago(50)),
        finished: matches!(state, State::Done | State::Error).then(|| ago(5)),
        progress: None,
        wait: None,
    }
}

/// Operations: two run, one waits, one failed, many are done.
pub fn operations() -> Vec<Operation> {
    let web3 = ResourceId::new(ResourceKind::Vm, 7);
    let mut reboot = operation(48_211, "vm_reboot", State::Run, web3, "web-3");
    reboot.progress = Some(Progress {
        phase: "waiting for the guest".to_owned(),
        fraction: Some(0.62),
        left_s: Some(14),
        detail: None,
        step: 3,
        steps: Some(5),
    });
    let talk = ResourceId::new(ResourceKind::Encoding, 1);
    let mut encode = operation(48_209, "encode", State::Run, talk, "talk.mov → webm");
    encode.params = Params::from_iter([("source".to_owned(), json!("/srv/video/talk.mov"))]);
    encode.progress = Some(Progress {
        phase: "encoding".to_owned(),
        fraction: Some(0.38),
        left_s: Some(252),
        detail: Some("2.3× · 58 fps".to_owned()),
        step: 2,
        steps: Some(3),
    });
    let mut stop = operation(48_212, "vm_stop", State::Pending, web3, "web-3");
    stop.wait = Some(Wait::Operation { uid: Uid(48_211), resource: web3 });
    let data4 = ResourceId::new(ResourceKind::Disk, 4);
    let mut failed = operation(48_190, "disk_create", State::Error, data4, "data4");
    failed.comment = Some("cannot write /var/lib/hostler/disks/4.partial: no space left on device; free some space and relaunch".to_owned());
    failed.params = Params::from_iter([
        ("name".to_owned(), json!("data4")),
        ("size_mb".to_owned(), json!(4096)),
    ]);
    let mut all = vec![stop, reboot, encode, failed];
    for uid in (48_100..48_189).rev() {
        all.push(operation(uid, "vm_start", State::Done, web3, "web-3"));
    }
    all
}

/// The steps of an operation.
pub fn steps() -> Vec<Step> {
    let step = |number, name: &str, state| Step {
        attempt: 0,
        number,
        name: name.to_owned(),
        state,
        started: ago(50 - i64::from(number)),
        finished: (state != StepState::Running).then(|| ago(49 - i64::from(number))),
        error: (state == StepState::Failed).then(|| "mkfs.ext3 was killed".to_owned()),
        commands: vec![Command {
            line: format!("qemu-img create -f qcow2 /var/lib/hostler/disks/{number}.partial 4096M"),
            ended: (state != StepState::Running).then(|| "exit 0".to_owned()),
            tail: "Formatting '4.partial', fmt=qcow2 size=4294967296".to_owned(),
            took_ms: 412,
        }],
    };
    vec![
        step(1, "make the file", StepState::Done),
        step(2, "make the filesystem", StepState::Running),
    ]
}

/// The box.
pub fn host(missing: bool) -> Host {
    let present = |name: &str, version: &str| Tool {
        name: name.to_owned(),
        purpose: "guests run".to_owned(),
        state: ToolState::Present { version: version.to_owned() },
    };
    let mut tools = vec![present("qemu-system-x86_64", "7.2.19"), present("qemu-img", "7.2.19")];
    tools.push(if missing {
        Tool {
            name: "ffmpeg".to_owned(),
            purpose: "videos cannot be encoded".to_owned(),
            state: ToolState::Missing { mend: "apt-get install -y ffmpeg".to_owned() },
        }
    } else {
        present("ffmpeg", "5.1.7-0+deb12u1")
    });
    Host {
        name: "box7".to_owned(),
        version: "0.1.0".to_owned(),
        state_dir: "/var/lib/hostler".into(),
        accelerator: Some(Accelerator {
            name: "tcg".to_owned(),
            why: "/dev/kvm opens, but a probe guest never ran".to_owned(),
        }),
        tools,
        load: Load {
            cpu_percent: 23.0,
            memory_used: 11 << 30,
            memory_total: 24 << 30,
            pool_used: 212 << 30,
            pool_total: 500 << 30,
        },
    }
}

/// What the backend has and was asked.
pub struct Fake {
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

impl Fake {
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
                    operations,
                })
            }
            Query::Counts => Answer::Counts(Counts {
                resources: ResourceKind::ALL
                    .map(|kind| {
                        let number = self.resources.iter().filter(|r| r.kind() == kind).count();
                        (kind, number as u64)
                    })
                    .to_vec(),
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

    fn list(&self, list: &List) -> Page {
        fn window<T: Clone>(
            mut rows: Vec<T>,
            list: &List,
            id: impl Fn(&T) -> u64,
            field: impl Fn(&T, &str) -> Option<Value>,
        ) -> (u64, u64, Vec<T>) {
            if let Some(sort) = &list.sort {
                rows.sort_by(|a, b| {
                    let order = match (field(a, &sort.column), field(b, &sort.column)) {
                        (Some(a), Some(b)) => a.order(&b),
                        (a, b) => b.is_some().cmp(&a.is_some()),
                    };
                    if sort.descending { order.reverse() } else { order }
                });
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
                let columns = Resource::columns(kind);
                let mut rows: Vec<Resource> = self
                    .resources
                    .iter()
                    .filter(|resource| resource.kind() == kind)
                    .filter(|resource| list.filter.matches(&columns, |name| resource.field(name)))
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
                        list.filter.matches(Operation::COLUMNS, |name| operation.field(name))
                    })
                    .cloned()
                    .collect();
                let (total, offset, rows) = window(rows, list, |o| o.uid.0, Operation::field);
                Page { total, offset, rows: Rows::Operations(rows) }
            }
        }
    }
}

impl Backend for Fake {
    fn catalogue(&self) -> Catalogue {
        catalogue()
    }

    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(async move { self.answer(&query) })
    }

    fn submit(&self, _submit: Submit) -> BoxFuture<'_, Result<Accepted>> {
        Box::pin(async move { Ok(Accepted { uid: Uid(48_213), resource: None }) })
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
