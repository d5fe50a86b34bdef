//! A catalogue as a backend offers it, with every type of field in it.

use hostler::backend::operations;
use hostler::backend::settings::Settings;
use hostler::domain::FieldType as T;
use hostler::domain::*;
use serde_json::json;

fn resource(name: &'static str, of: ResourceKind, states: &[&'static str]) -> Field {
    let states = states.iter().map(|state| Text::from(*state)).collect();
    let doc = match of {
        Vm::KIND => "The virtual machine.",
        Disk::KIND => "The disk.",
        Image::KIND => "The operating system image its root disk begins as.",
        Task::KIND => "The task.",
        _ => "The encoding.",
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
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::default(),
            locks: Vec::new(),
            requires: Vec::new(),
            state_after: None,
            reject_duplicates: false,
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
    let kinds = [vms(), disks(), images(), encodings(), tasks()];
    // How they are offered is what the screens are tested for, so it is as with the real ones.
    let real = operations::all(&Settings::new("/nowhere".into()));
    Catalogue::new(kinds.into_iter().flatten().map(|Kind(mut spec)| {
        if let Some(real) = real.iter().map(|entry| &entry.spec).find(|it| it.kind == spec.kind) {
            spec.hint = real.hint.clone();
            spec.offered_on = real.offered_on.clone();
            spec.edits = real.edits;
        }
        spec
    }))
}

const D: ResourceKind = Disk::KIND;
const E: ResourceKind = Encoding::KIND;
const I: ResourceKind = Image::KIND;
const K: ResourceKind = Task::KIND;
const V: ResourceKind = Vm::KIND;

fn vms() -> Vec<Kind> {
    let list = |of| T::List { of: Box::new(of), min: 0, max: 3 };
    let disk = T::Resource { of: D, states: vec!["free".into()] };
    let port = T::Record {
        fields: vec![
            Field::required(
                "port",
                T::Integer { min: 1, max: 65_535, unit: "".into() },
                "The port of the box.",
            ),
            integer("guest", 1, 65_535, "", 22, "The port of the guest."),
        ],
    };
    vec![
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
            )
            .field(Field::optional("disks", list(disk), json!([]), "Disks that it has.").advanced())
            .field(
                Field::optional("ports", list(port), json!([]), "Ports that lead to it.")
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
    ]
}

fn disks() -> Vec<Kind> {
    vec![
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
    ]
}

fn images() -> Vec<Kind> {
    vec![
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
    ]
}

fn encodings() -> Vec<Kind> {
    vec![
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
    ]
}

fn tasks() -> Vec<Kind> {
    let repeat = |name, min, max, doc| Field::optional(name, T::Every { min, max }, "*", doc);
    vec![
        Kind::new("task_create", "Schedule a task", "being made", K)
            .creates()
            .field(Field::required("name", T::Name, "Its name."))
            .field(Field::required("kind", T::Kind, "What it asks for."))
            .field(Field::required("params", T::Params { of: "kind".into() }, "What it asks with."))
            .field(repeat("minute", 0, 59, "The minute."))
            .field(repeat("hour", 0, 23, "The hour."))
            .field(repeat("weekday", 0, 6, "The day of the week, Sunday is 0.")),
        Kind::new("task_run", "Run now", "being run", K)
            .on(&[])
            .risk(Risk::OfTask, "What is lost is what that loses."),
        Kind::new("task_enable", "Enable", "being enabled", K).on(&["inactive"]),
        Kind::new("task_disable", "Disable", "being disabled", K).on(&["active"]),
        Kind::new("task_update", "Change", "being changed", K)
            .on(&[])
            .field(repeat("minute", 0, 59, "The minute."))
            .field(repeat("hour", 0, 23, "The hour.")),
        Kind::new("task_delete", "Delete", "being deleted", K)
            .on(&[])
            .risk(Risk::Destructive, "It fires no more."),
    ]
}
