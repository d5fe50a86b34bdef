//! One order of checks for every kind: type, syntax, value, existence, privileges, state. Requests
//! that are wrong in two ways are told the one that comes first.

use serde_json::{Value as Json, json};

use crate::backend::testing::fake::CallFault;
use crate::backend::testing::harness::Harness;
use crate::domain::{
    Answer, Backend, Control, Field, FieldType, Filter, LaneChange, List, OperationSpec, Query,
    Reason, Resource, ResourceKind, Rows, Subject,
};

/// A wrong value for a field, and the check that finds it.
#[derive(Debug, Clone)]
struct Wrong {
    check: Reason,
    field: String,
    value: Json,
    /// Where the refusal says it is.
    path: String,
}

/// A value of a type that only this check objects to, and where within it.
fn wrong(of: &FieldType, check: Reason) -> Option<(Json, String)> {
    let own = |value: Json| Some((value, String::new()));
    match (check, of) {
        (Reason::Type, FieldType::Integer { .. } | FieldType::Every { .. }) => own(json!("many")),
        (Reason::Type, FieldType::Flag) => own(json!("perhaps")),
        (Reason::Type, FieldType::Lines | FieldType::Params { .. }) => own(json!(1)),
        (Reason::Type, FieldType::List { .. }) => own(json!(true)),
        (Reason::Type, _) => own(json!([1])),
        (
            Reason::Syntax,
            FieldType::Text { .. }
            | FieldType::Name
            | FieldType::Hostname
            | FieldType::Secret { .. }
            | FieldType::Choice { .. }
            | FieldType::File
            | FieldType::NewFile
            | FieldType::Url
            | FieldType::Kind,
        ) => own(json!("bell\u{7}")),
        (Reason::Syntax, FieldType::Lines) => own(json!(["bell\u{7}"])),
        (Reason::Value, FieldType::Text { max }) => {
            own(json!(format!("*{}", " ".repeat(*max as usize))))
        }
        (Reason::Value, FieldType::Name | FieldType::Hostname) => own(json!("x".repeat(64))),
        (Reason::Value, FieldType::Secret { min }) => own(json!("x".repeat(*min as usize - 1))),
        (Reason::Value, FieldType::Integer { max, .. }) => own(json!(max + 1)),
        (Reason::Value, FieldType::Every { max, .. }) => own(json!(max + 1)),
        (Reason::Value, FieldType::Choice { .. } | FieldType::Kind) => own(json!("no-such")),
        (Reason::Value, FieldType::Lines) => own(json!(vec!["ssh-x y"; 1001])),
        (Reason::Value, FieldType::File | FieldType::NewFile) => {
            own(json!(format!("/{}", "x".repeat(4096))))
        }
        (Reason::Value, FieldType::Url) => {
            own(json!(format!("http://{}/disk.qcow2", "x".repeat(4096))))
        }
        (Reason::Existence, FieldType::Resource { .. }) => own(json!(999)),
        (Reason::Existence, FieldType::File) => own(json!("/there/is/no/such/file")),
        (_, FieldType::List { of, .. }) => {
            let (value, within) = wrong(of, check)?;
            Some((json!([value]), format!(".0{within}")))
        }
        (_, FieldType::Record { fields }) => {
            let (field, (value, within)) =
                fields.iter().find_map(|field| Some((field, wrong(&field.of, check)?)))?;
            let others = fields.iter().filter(|other| other.name != field.name);
            let mut record: serde_json::Map<String, Json> =
                others.map(|it| (it.name.to_string(), good(it))).collect();
            record.insert(field.name.to_string(), value);
            Some((Json::Object(record), format!(".{}{within}", field.name)))
        }
        _ => None,
    }
}

/// A value that nothing objects to, in the world of [`world`].
fn good(field: &Field) -> Json {
    match &field.of {
        FieldType::Text { .. } => json!("*"),
        FieldType::Name | FieldType::Hostname => json!("fresh"),
        FieldType::Secret { min } => json!("x".repeat(*min as usize)),
        FieldType::Integer { max, .. } => json!(max),
        FieldType::Flag => json!(true),
        FieldType::Choice { choices } => json!(choices[0].value),
        FieldType::Resource { .. } => json!(1),
        FieldType::File => json!("/etc/hostname"),
        FieldType::NewFile => json!("/tmp/there/is/no/such/file"),
        FieldType::Url => json!("https://images.example/disk.qcow2"),
        FieldType::Lines => json!([]),
        FieldType::Kind => json!("vm_start"),
        FieldType::Params { .. } => json!({ "vm": 1 }),
        FieldType::Every { min, .. } => json!(min),
        FieldType::List { .. } => json!([]),
        FieldType::Record { fields } => {
            fields.iter().map(|field| (field.name.to_string(), good(field))).collect()
        }
        FieldType::Unknown => panic!("a type of our own that is unknown to us"),
    }
}

/// What only the kinds themselves object to. Whether one does cannot be told from its entry, so a
/// kind that refuses values in `admit` gets its line here by hand.
const OF_KINDS: [(&str, Reason, &str, &str); 12] = [
    ("vm_create", Reason::Syntax, "login", "\"Root\""),
    ("vm_create", Reason::Syntax, "ssh_keys", "[\"no key\"]"),
    ("vm_create", Reason::Existence, "hostname", "\"web-1\""),
    ("disk_create", Reason::Value, "size_mb", "1"),
    ("disk_create", Reason::Existence, "name", "\"data\""),
    ("disk_restore", Reason::Existence, "name", "\"used\""),
    ("image_import", Reason::Existence, "name", "\"tiny\""),
    ("image_fetch", Reason::Syntax, "sha256", "\"short\""),
    ("encode", Reason::Value, "output", "\"/tmp/\""),
    ("task_create", Reason::Syntax, "start", "\"soon\""),
    ("task_update", Reason::Syntax, "start", "\"soon\""),
    ("task_update", Reason::Value, "kind", "\"task_run\""),
];

/// Everything that can be wrong with a request of a kind. `there` is what there is.
fn wrongs(spec: &OperationSpec, there: &[Resource]) -> Vec<Wrong> {
    let checks = [Reason::Type, Reason::Syntax, Reason::Value, Reason::Existence];
    let mut all = Vec::new();
    for field in &spec.fields {
        let name = field.name.to_string();
        for check in checks {
            if let Some((value, within)) = wrong(&field.of, check) {
                let path = format!("{name}{within}");
                all.push(Wrong { check, field: name.clone(), value, path });
            }
        }
    }
    for (_, check, field, value) in OF_KINDS.iter().filter(|(kind, ..)| *kind == spec.kind) {
        let value = serde_json::from_str(value).unwrap();
        let (field, path) = ((*field).to_owned(), (*field).to_owned());
        all.push(Wrong { check: *check, field, value, path });
    }
    let path = "nonsense".to_owned();
    all.push(Wrong { check: Reason::Type, field: path.clone(), value: json!(1), path });
    let other = |it: &&Resource| {
        Some(it.kind()) == spec.resource && !spec.requires.iter().any(|state| *state == it.state())
    };
    if let Some(subject) = spec.subject.as_deref().filter(|_| !spec.requires.is_empty())
        && let Some(resource) = there.iter().find(other)
    {
        let (value, path) = (json!(resource.id().id), subject.to_owned());
        all.push(Wrong { check: Reason::State, field: path.clone(), value, path });
    }
    all
}

/// A box with resources of every kind, in several states.
async fn world() -> (Harness, Vec<Resource>) {
    let mut harness = Harness::open();
    let vm = harness.some_halted_vm().await;
    harness.some_disk().await;
    harness
        .done("vm_create", json!({ "hostname": "web-2", "password": "correct horse", "os": 1 }))
        .await;
    for name in ["old", "used"] {
        harness.done("disk_create", json!({ "name": name, "size_mb": 20 })).await;
    }
    harness.done("disk_delete", json!({ "disk": "old" })).await;
    harness.done("disk_attach", json!({ "disk": "used", "vm": vm })).await;
    harness.fake.trouble(0, CallFault::Before);
    harness.fails("image_build", json!({ "recipe": "tiny", "name": "half" })).await;
    for name in ["nightly", "asleep"] {
        let task = json!({
            "name": name, "kind": "vm_start", "params": { "vm": 1 }, "start": "2099-01-01"
        });
        harness.done("task_create", task).await;
    }
    harness.done("task_disable", json!({ "task": "asleep" })).await;
    harness.control(Control::Lane { name: "encode".into(), change: LaneChange::Pause }).await;
    let output = harness.dir().with_extension("webm");
    let encode = json!({ "source": "/etc/hostname", "preset": "webm", "output": output });
    harness.submit("encode", encode).await.unwrap();
    let mut there = Vec::new();
    for of in ResourceKind::ALL.iter().copied() {
        let list = List {
            of: Subject::Resources(of),
            filter: Filter::default(),
            sort: None,
            offset: 0,
            limit: 100,
            around: None,
        };
        if let Answer::Page(page) = harness.backend.query(Query::List(list)).await.unwrap()
            && let Rows::Resources(rows) = page.rows
        {
            there.extend(rows);
        }
    }
    (harness, there)
}

/// A request that nothing objects to.
fn enough(spec: &OperationSpec) -> serde_json::Map<String, Json> {
    let needed = |field: &&Field| {
        let params = matches!(field.of, FieldType::Params { .. });
        // An image to fetch has one of two names.
        let named = spec.kind == "image_fetch" && field.name == "os";
        field.required || named || (params && spec.field("kind").is_some_and(|it| it.required))
    };
    spec.fields.iter().filter(needed).map(|it| (it.name.to_string(), good(it))).collect()
}

#[tokio::test]
async fn of_two_things_wrong_the_one_that_is_checked_first_is_told() {
    let (harness, there) = world().await;
    let settings = crate::backend::testing::harness::settings(harness.dir());
    let (mut pairs, mut with_state, mut broken) = (0, 0, Vec::new());
    for entry in super::all(&settings) {
        let spec = &entry.spec;
        for field in &spec.fields {
            if let FieldType::Resource { of, .. } = &field.of {
                assert!(
                    there.iter().any(|it| it.kind() == *of),
                    "{} names a {of}, and there is none: have one made in `world`",
                    spec.kind
                );
            }
        }
        let wrongs = wrongs(spec, &there);
        for one in &wrongs {
            for other in wrongs.iter().filter(|it| it.check > one.check && it.field != one.field) {
                let mut given = enough(spec);
                for wrong in [one, other] {
                    given.insert(wrong.field.clone(), wrong.value.clone());
                }
                if given.contains_key("url") && [one, other].iter().all(|it| it.field != "os") {
                    given.remove("os");
                }
                let what = format!("{}: {one:?} and {other:?}", spec.kind);
                let preview = harness.preview(&spec.kind, Json::Object(given.clone())).await;
                let (check, path, refusal) = harness.refused(&spec.kind, Json::Object(given)).await;
                if (check, &path) != (one.check, &one.path) {
                    broken.push(format!("{what}: {check:?} {path}: {refusal}"));
                }
                assert_eq!(preview.refusal, Some(refusal), "{what}");
                pairs += 1;
                with_state += usize::from(other.check == Reason::State);
            }
        }
    }
    assert!(
        broken.is_empty(),
        "{} of {pairs} are told of another check than the one that comes first; what is given to \
         fields stands in `good`, `enough` and `OF_KINDS` in order_tests.rs:\n{}",
        broken.len(),
        broken.join("\n")
    );
    assert!(pairs > 900 && with_state > 20, "{pairs} pairs, {with_state} with a state");
}
