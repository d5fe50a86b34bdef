//! What holds for every kind of the catalogue, whoever wrote it.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::{KindEntry, all};
use crate::backend::engine::admission;
use crate::backend::engine::inventory::Inventory;
use crate::backend::engine::journal;
use crate::backend::engine::kind::AdmissionContext;
use crate::backend::engine::store::Store;
use crate::backend::environment::Environment;
use crate::backend::settings::Settings;
use crate::backend::testing::harness as testing;
use crate::domain::{
    Catalogue, Effect, Field, FieldType, LockMode, OperationSpec, Params, Resource, ResourceKind,
    Risk, arguments,
};

fn settings() -> Settings {
    testing::settings(std::path::Path::new("/var/lib/hostler"))
}

fn kinds() -> Vec<KindEntry> {
    all(&settings())
}

fn fields() -> Vec<(String, Field)> {
    let kinds = kinds();
    let specs = kinds.iter().map(|entry| &entry.spec);
    specs
        .flat_map(|spec| spec.fields.iter().map(|it| (spec.kind.to_string(), it.clone())))
        .collect()
}

/// One resource of each kind, each with number 1.
fn inventory() -> Inventory {
    let mut inventory = Inventory::default();
    for resource in Resource::samples() {
        inventory.put(Arc::new(resource));
    }
    inventory
}

/// A value that passes every check of a field.
fn sample(of: &FieldType) -> Json {
    match of {
        FieldType::Text { .. } => json!("a text"),
        FieldType::Name | FieldType::Hostname => json!("fresh-name"),
        FieldType::Secret { min } => json!("x".repeat(*min as usize)),
        FieldType::Integer { max, .. } => json!(max),
        FieldType::Flag => json!(true),
        FieldType::Choice { choices } => json!(choices[0].value),
        FieldType::Resource { .. } => json!(1),
        FieldType::File => json!("/etc/hostname"),
        FieldType::NewFile => json!("/tmp/new-file.webm"),
        FieldType::Url => json!("https://images.example/disk.qcow2"),
        FieldType::Lines => json!(["ssh-ed25519 AAAA me"]),
        FieldType::Kind => json!("vm_start"),
        FieldType::Params { .. } => json!({ "vm": 1 }),
        FieldType::Every { min, .. } => json!(min),
        FieldType::List { of, .. } => json!([sample(of)]),
        FieldType::Record { fields } => {
            fields.iter().map(|field| (field.name.to_string(), sample(&field.of))).collect()
        }
        FieldType::Unknown => panic!("a type of our own that is unknown to us"),
    }
}

/// The states a resource of a kind can be in, by their words.
fn states(kind: ResourceKind) -> Vec<&'static str> {
    kind.spec().states.iter().map(|state| &*state.word).collect()
}

#[test]
fn names_are_unique_and_every_kind_is_told_apart() {
    let kinds = kinds();
    assert!(kinds.len() >= 15, "{}", kinds.len());
    let mut seen = HashSet::new();
    for OperationSpec { kind, fields, .. } in kinds.iter().map(|entry| &entry.spec) {
        assert!(seen.insert(kind.clone()), "{kind} twice");
        let names: HashSet<_> = fields.iter().map(|field| &field.name).collect();
        assert_eq!(names.len(), fields.len(), "{kind} has two fields of one name");
    }
}

#[test]
fn everything_is_said_in_words() {
    for entry in kinds() {
        let OperationSpec { kind, title, doc, doing, risk, warning, .. } = entry.spec;
        assert!(!title.is_empty() && !doing.is_empty(), "{kind}");
        assert!(doc.ends_with('.') && !doc.contains("  "), "{kind}: {doc}");
        assert_eq!(risk == Risk::None, warning.is_empty(), "{kind} says what is lost: {warning}");
    }
    for (kind, field) in fields() {
        assert!(field.doc.ends_with('.') && !field.doc.contains("  "), "{kind}.{}", field.name);
    }
}

#[test]
fn lanes_exist_and_steps_are_named() {
    let lanes: Vec<String> = settings().lanes.into_iter().map(|(lane, _)| lane).collect();
    for entry in kinds() {
        let OperationSpec { kind, lane, steps, .. } = entry.spec;
        assert!(
            lanes.iter().any(|known| *known == lane),
            "{kind}: there is no lane '{lane}', there are {}; choose one in its `spec`, or add a \
             lane to `Settings::new` in backend/settings.rs",
            lanes.join(", ")
        );
        assert!(!steps.is_empty(), "{kind}: say in its `spec` which steps it takes");
        for (at, step) in steps.iter().enumerate() {
            assert!(!steps[..at].contains(step), "{kind}: its `spec` has the step '{step}' twice");
        }
    }
}

/// Whether it only asks for other operations: those hold what they need, and could not while it
/// holds anything else.
fn asks_for_others(spec: &OperationSpec) -> bool {
    let asks = spec.steps.iter().any(|step| step == journal::SPAWN);
    assert!(!asks || spec.locks.is_empty(), "{} holds what its children need not", spec.kind);
    asks
}

#[test]
fn subjects_exist_and_are_held_alone() {
    for entry in kinds() {
        let spec = entry.spec;
        let kind = &spec.kind;
        let creates = spec.effect == Effect::Creates;
        assert_eq!(spec.subject.is_some(), spec.resource.is_some() && !creates, "{kind}");
        assert!(
            spec.resource.is_some() || spec.effect == Effect::Changes,
            "{kind} has no resource"
        );
        let (Some(subject), Some(of_its)) = (&spec.subject, spec.resource) else { continue };
        let field = spec.field(subject).unwrap_or_else(|| panic!("{kind} has no {subject}"));
        assert!(field.required, "{kind}.{subject} is needed");
        let of_kind = matches!(field.of, FieldType::Resource { of, .. } if of == of_its);
        assert!(of_kind, "{kind}.{subject} names a {of_its}");
        if asks_for_others(&spec) {
            continue;
        }
        let held = spec.locks.iter().find(|lock| lock.field == *subject).map(|lock| lock.mode);
        assert_eq!(held, Some(LockMode::Exclusive), "{kind} holds its {subject}");
    }
}

#[test]
fn a_subject_is_chosen_among_those_that_are_taken() {
    for entry in kinds() {
        let spec = entry.spec;
        let Some(FieldType::Resource { of, states: offered }) =
            spec.subject.as_ref().and_then(|subject| spec.field(subject)).map(|field| &field.of)
        else {
            continue;
        };
        let all = || states(*of).into_iter().map(Into::into).collect();
        let or_all = |states: &[_]| if states.is_empty() { all() } else { states.to_vec() };
        let (offered, taken) = (or_all(offered), or_all(&spec.requires));
        for state in all() {
            assert_eq!(offered.contains(&state), taken.contains(&state), "{}: {state}", spec.kind);
        }
    }
}

#[test]
fn every_resource_that_is_named_is_held() {
    for entry in kinds() {
        let spec = entry.spec;
        let given: Params =
            spec.fields.iter().map(|it| (it.name.to_string(), sample(&it.of))).collect();
        for argument in arguments(&spec.fields, &given, None) {
            let named = matches!(argument.of, FieldType::Resource { .. });
            let held = spec.locks.iter().any(|lock| argument.is_in(&lock.field))
                || asks_for_others(&spec) && named;
            // A list is in the same field as its items.
            let holds = argument.value.is_array();
            assert!(named == held || holds, "{}: {}", spec.kind, argument.path);
        }
    }
}

#[test]
fn names_of_fields_make_no_paths_by_themselves() {
    fn check(kind: &str, fields: &[Field]) {
        for Field { name, of, .. } in fields {
            let letters =
                name.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b));
            assert!(
                letters && name.starts_with(|c: char| c.is_ascii_lowercase()),
                "{kind}: {name}"
            );
            assert_ne!(name, admission::HASHED, "{kind}: an object with it would be a secret");
            let mut of = of;
            while let FieldType::List { of: item, .. } = of {
                of = item;
            }
            if let FieldType::Record { fields } = of {
                check(kind, fields);
            }
        }
    }
    for entry in kinds() {
        check(&entry.spec.kind, &entry.spec.fields);
    }
}

#[test]
fn states_are_words_of_their_kind() {
    for entry in kinds() {
        let spec = entry.spec;
        let own = spec.resource.map_or_else(Vec::new, states);
        for state in &spec.requires {
            assert!(own.contains(&&**state), "{}: {state}", spec.kind);
        }
        if let Some(left) = &spec.state_after {
            let gone = spec.effect == Effect::Deletes && left == "deleted";
            assert!(gone || own.contains(&&**left), "{}: {left}", spec.kind);
        }
        for field in &spec.fields {
            if let FieldType::Resource { of, states: wanted } = &field.of {
                for state in wanted {
                    assert!(states(*of).contains(&&**state), "{}: {state}", spec.kind);
                }
                if Some(&field.name) == spec.subject.as_ref() {
                    let offers = wanted.is_empty() || *wanted == spec.requires;
                    assert!(offers, "{} offers what it takes", spec.kind);
                }
            }
        }
    }
}

#[test]
fn defaults_pass_their_own_checks_and_parameters_come_back_as_they_were() {
    let settings = settings();
    let kinds = kinds();
    let catalogue = Catalogue::new(kinds.iter().map(|entry| entry.spec.clone()));
    let inventory = inventory();
    let find = |of, value: &serde_json::Value| inventory.find(of, value);
    let ports = crate::backend::testing::fake::FakePorts::default().ports();
    let dir = tempfile::tempdir().unwrap();
    let history = Box::new(Store::open(dir.path()).unwrap().0);
    let env = Arc::new(Environment { ports, settings, history });
    let cx = AdmissionContext {
        inventory: &inventory,
        catalogue: &catalogue,
        now: Timestamp::UNIX_EPOCH,
        relaunched: None,
        ancestors: &[],
        asked: None,
    };
    for entry in kinds {
        let kind = entry.bind(&env);
        let spec = kind.spec();
        for required_only in [true, false] {
            let given = spec.fields.iter().filter(|field| {
                // Whether another kind's parameters may be left out is that kind's to say.
                let nested = matches!(field.of, FieldType::Params { .. });
                field.required || nested || !required_only
            });
            let given: Params =
                given.map(|field| (field.name.to_string(), sample(&field.of))).collect();
            let check = |given| {
                let checked = admission::check(spec, given, &catalogue, &find);
                let checked = checked.unwrap_or_else(|refusal| panic!("{}: {refusal}", spec.kind));
                assert_eq!(checked.failed, None, "{}", spec.kind);
                checked.params
            };
            let checked = check(given);
            // Whatever a default is given as must be what it becomes.
            let defaults: Params =
                checked.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            assert_eq!(check(defaults), checked, "{}", spec.kind);
            let mut sealed = checked;
            admission::seal(spec, &mut sealed, &catalogue).unwrap();
            let filled = kind.fill(sealed.clone(), &cx);
            for (name, value) in &sealed {
                // It is forgotten where each of the outputs has its own.
                let is_unused = (&*spec.kind, name.as_str()) == ("encode", "preset");
                if !value.is_null() && (required_only || !is_unused) {
                    // A repeat field may be written as a number or as text.
                    let plain = |value: &Json| value.to_string().replace('"', "");
                    let kept = filled.get(name).map(plain);
                    assert_eq!(kept, Some(plain(value)), "{}.{name}", spec.kind);
                }
            }
            let names = |params: &Params| params.keys().cloned().collect::<HashSet<_>>();
            assert_eq!(names(&filled), names(&sealed), "{}", spec.kind);
            if let Err(refusal) = kind.admit(&filled, &cx) {
                assert!(!refusal.message.contains("do not fit"), "{}: {refusal}", spec.kind);
            }
            if spec.effect == Effect::Creates
                && let Some(reserved) = kind.reserve(&filled, 7, &cx)
            {
                assert_eq!((Some(reserved.kind()), reserved.id().id), (spec.resource, 7));
            }
            // A preview is asked for while people still type: it never fails.
            kind.preview(&filled, &cx);
        }
    }
}
