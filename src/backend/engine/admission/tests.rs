//! Whatever the fields and whatever is given for them: admission answers, keeps what it lets in as
//! it is, and says where what it refuses stands.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::domain::{Choice, Disk, Effect, Field, Hint, LockMode, LockRule, Risk};

/// Makes anything out of bytes; of nothing once they are used up.
struct Entropy<'a>(&'a [u8]);

impl Entropy<'_> {
    fn below(&mut self, number: u8) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first % number
    }

    fn of(&mut self, depth: u8) -> FieldType {
        match self.below(if depth == 0 { 13 } else { 17 }) {
            0 => FieldType::Text { max: 3 },
            1 => FieldType::Name,
            2 => FieldType::Hostname,
            3 => FieldType::Secret { min: 2 },
            4 => FieldType::Integer { min: 1, max: 3, unit: "MB".into() },
            5 => FieldType::Flag,
            6 => FieldType::Choice {
                choices: vec![Choice { value: "a".into(), label: "A.".into() }],
            },
            7 => FieldType::Resource { of: Disk::KIND, states: vec![] },
            8 => FieldType::File,
            9 => FieldType::NewFile,
            10 => FieldType::Url,
            11 => FieldType::Lines,
            12 => FieldType::Every { min: 1, max: 3 },
            13 | 14 => FieldType::List {
                of: Box::new(self.of(depth - 1)),
                min: u32::from(self.below(2)),
                max: 2,
            },
            _ => FieldType::Record { fields: self.fields(depth - 1) },
        }
    }

    fn fields(&mut self, depth: u8) -> Vec<Field> {
        let mut fields: Vec<Field> = ["a", "b", "c"][..usize::from(self.below(4))]
            .iter()
            .map(|&name| match (self.of(depth), self.below(2)) {
                (of, 0) => Field::required(name, of, "A field."),
                (of, _) => Field::optional(name, of, Json::Null, "A field."),
            })
            .collect();
        if self.below(4) == 0 {
            fields.push(Field::required("kind", FieldType::Kind, "A kind."));
            let params = FieldType::Params { of: "kind".into() };
            fields.push(Field::optional("params", params, Json::Null, "Its parameters."));
        }
        fields
    }

    /// A value for a type, which mostly fits it.
    fn value(&mut self, of: &FieldType) -> Json {
        if self.below(12) == 0 {
            return self.anything(2);
        }
        match of {
            FieldType::Integer { .. } | FieldType::Every { .. } | FieldType::Resource { .. } => {
                json!(1 + self.below(3))
            }
            FieldType::Flag => json!("yes"),
            FieldType::File => json!("/etc/hostname"),
            FieldType::NewFile => json!("/new"),
            FieldType::Url => json!("http://a"),
            FieldType::Lines => json!(["a"]),
            FieldType::Kind => json!("inner"),
            FieldType::Secret { .. } => json!("aa"),
            FieldType::List { of, .. } => (0..1 + self.below(2)).map(|_| self.value(of)).collect(),
            FieldType::Record { fields } => Json::Object(self.given(fields)),
            FieldType::Params { .. } => Json::Object(self.given(&inner().fields)),
            _ => json!("a"),
        }
    }

    fn given(&mut self, fields: &[Field]) -> Params {
        let mut given = Params::new();
        for field in fields {
            if field.required || self.below(3) > 0 {
                given.insert(field.name.to_string(), self.value(&field.of));
            }
        }
        if self.below(24) == 0 {
            given.insert("d".to_owned(), json!("aa"));
        }
        given
    }

    fn anything(&mut self, depth: u8) -> Json {
        match self.below(if depth == 0 { 7 } else { 9 }) {
            0 => Json::Null,
            1 => json!(self.below(2) == 1),
            2 => json!(self.below(9)),
            3 => json!(-0.5),
            4 => json!(""),
            5 => json!("a\u{7}"),
            6 => json!(crate::domain::Operation::HIDDEN),
            7 => (0..self.below(4)).map(|_| self.anything(depth - 1)).collect(),
            _ => ["a", "b", "hashed"]
                .map(|name| (name.to_owned(), self.anything(depth - 1)))
                .into_iter()
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}

fn spec(kind: &'static str, fields: Vec<Field>) -> OperationSpec {
    OperationSpec {
        kind: kind.into(),
        title: "Try".into(),
        doc: "Tries.".into(),
        doing: "trying".into(),
        resource: Some(Disk::KIND),
        effect: Effect::Changes,
        subject: None,
        lane: "disk".into(),
        risk: Risk::None,
        warning: "".into(),
        fields,
        locks: vec![LockRule { field: "a".into(), mode: LockMode::Exclusive }],
        requires: vec![],
        state_after: None,
        reject_duplicates: false,
        offered_on: vec![],
        edits: false,
        hint: Hint::default(),
        steps: vec![],
    }
}

/// A kind that others hold the parameters of.
fn inner() -> OperationSpec {
    let list = FieldType::List { of: Box::new(FieldType::Secret { min: 2 }), min: 0, max: 2 };
    spec("inner", vec![Field::required("a", list, "Secrets.")])
}

fn disk(_: ResourceKind, value: &Json) -> Option<u64> {
    value.as_u64().filter(|id| *id == 1 || *id == 2).or_else(|| value.as_str().map(|_| 1))
}

/// Whether a path leads to something in a request.
fn is_there(given: &Params, path: &str) -> bool {
    argument_mut(&mut given.clone(), path).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn any_request_for_any_fields_is_kept_as_it_is_or_refused_where_it_is_wrong(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut dice = Entropy(&bytes);
        let spec = spec("outer", dice.fields(3));
        let catalogue = Catalogue::new([spec.clone(), inner()]);
        let given = dice.given(&spec.fields);
        let refusal = match check(&spec, given.clone(), &catalogue, &disk) {
            Ok(Checked { params, failed: None }) => {
                let again = check(&spec, params.clone(), &catalogue, &disk);
                prop_assert_eq!(again, Ok(Checked { params: params.clone(), failed: None }));
                let mut sealed = params;
                if has_open_secret(&spec, &sealed, &catalogue) {
                    // Hashing takes its time; what is looked for is that every one is found.
                    for argument in arguments(&spec.fields, &sealed.clone(), Some(&catalogue)) {
                        if matches!(argument.of, FieldType::Secret { .. }) {
                            let hash = format!("$6$salt${}", "x".repeat(86));
                            *argument_mut(&mut sealed, &argument.path).unwrap() =
                                json!({ HASHED: hash });
                        }
                    }
                }
                prop_assert!(!has_open_secret(&spec, &sealed, &catalogue));
                let stored = Checked { params: sealed.clone(), failed: None };
                prop_assert_eq!(check(&spec, sealed, &catalogue, &disk), Ok(stored));
                return Ok(());
            }
            Ok(Checked { failed: Some(refusal), .. }) => {
                let check = [Reason::Value, Reason::Existence];
                prop_assert!(check.contains(&refusal.reason), "{refusal}");
                refusal
            }
            Err(refusal) => refusal,
        };
        let path = refusal.field.clone().expect("a path");
        let holder = path.rsplit_once('.').map(|(holder, _)| holder);
        let missing = refusal.value.is_none()
            && holder.is_none_or(|holder| is_there(&given, holder));
        prop_assert!(is_there(&given, &path) || missing, "{path}: {refusal} in {given:?}");
        prop_assert!(refusal.message.contains(&path) || refusal.message.contains("no field"));
    }
}

/// A list of records with a secret and a disk each.
fn nested() -> OperationSpec {
    let resource = FieldType::Resource { of: Disk::KIND, states: vec![] };
    let fields = vec![
        Field::required("size", FieldType::Integer { min: 1, max: 3, unit: "MB".into() }, "Size."),
        Field::optional("key", FieldType::Secret { min: 2 }, Json::Null, "A key."),
        Field::optional("name", FieldType::Name, "plain", "A name."),
    ];
    let formats = FieldType::List { of: Box::new(FieldType::Record { fields }), min: 1, max: 2 };
    let disks = FieldType::List { of: Box::new(resource), min: 0, max: 3 };
    spec(
        "nested",
        vec![
            Field::required("formats", formats, "Formats."),
            Field::optional("disks", disks, json!([]), "Disks."),
        ],
    )
}

fn checked(given: Json) -> Result<Params, Refusal> {
    let Json::Object(given) = given else { panic!("{given} is no object") };
    let Checked { params, failed } = check(&nested(), given, &Catalogue::default(), &disk)?;
    failed.map_or(Ok(params), Err)
}

#[test]
fn defaults_are_filled_in_at_every_depth_and_names_become_numbers() {
    let params = checked(json!({ "formats": [{ "size": "2" }], "disks": ["data", 2] })).unwrap();
    let formats = json!([{ "size": 2, "key": null, "name": "plain" }]);
    assert_eq!(Json::Object(params), json!({ "formats": formats, "disks": [1, 2] }));
}

#[test]
fn a_complaint_names_the_path_and_never_a_secret() {
    for (given, reason, path, said) in [
        (json!({}), Reason::Type, "formats", "formats is needed: formats"),
        (json!({ "formats": 1 }), Reason::Type, "formats", "must be a list"),
        (json!({ "formats": [] }), Reason::Value, "formats", "at least 1"),
        (json!({ "formats": [1] }), Reason::Type, "formats.0", "must be an object"),
        (json!({ "formats": [null] }), Reason::Type, "formats.0", "is needed"),
        (json!({ "formats": [{}] }), Reason::Type, "formats.0.size", "is needed: size"),
        (json!({ "formats": [{ "sice": "hunter2" }] }), Reason::Type, "formats.0.sice", "no field"),
        (json!({ "formats": ["hunter2"] }), Reason::Type, "formats.0", "not (hidden)"),
        (
            json!({ "formats": [{ "size": 1 }, { "size": 9 }] }),
            Reason::Value,
            "formats.1.size",
            "formats.1.size is 9; it must be 1 to 3 MB",
        ),
        (
            json!({ "formats": [{ "size": 1, "key": "h" }] }),
            Reason::Value,
            "formats.0.key",
            "too short",
        ),
        (
            json!({ "formats": [{ "size": 1 }], "disks": [1, 7] }),
            Reason::Existence,
            "disks.1",
            "there is no disk '7'",
        ),
        (
            json!({ "formats": [{ "size": 1 }], "disks": [1, "data"] }),
            Reason::Value,
            "disks.1",
            "disks.1 is disk/1, which stands in disks already",
        ),
    ] {
        let refusal = checked(given.clone()).unwrap_err();
        assert_eq!(refusal.reason, reason, "{given}: {refusal}");
        assert_eq!(refusal.field.as_deref(), Some(path), "{given}: {refusal}");
        assert!(refusal.message.contains(said), "{given}: {refusal}");
        assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:?}");
    }
}

#[test]
fn secrets_are_hashed_in_lists_and_may_not_come_hashed() {
    let given = json!({ "formats": [{ "size": 1 }, { "size": 1, "key": "hunter2" }] });
    let mut params = checked(given).unwrap();
    let catalogue = Catalogue::default();
    assert!(has_open_secret(&nested(), &params, &catalogue));
    seal(&nested(), &mut params, &catalogue).unwrap();
    assert!(!has_open_secret(&nested(), &params, &catalogue));
    assert!(!format!("{params:?}").contains("hunter2"));
    let refusal = from_outside(&params).unwrap_err();
    assert_eq!(refusal.field.as_deref(), Some("formats.1.key"));
    let shown = super::super::secrets::hidden(&std::sync::Arc::new(params.clone()));
    assert_eq!(shown["formats"][1]["key"], crate::domain::Operation::HIDDEN);
    // What lists show in its place is no secret.
    let refusal = checked(Json::Object((*shown).clone())).unwrap_err();
    assert_eq!(refusal.field.as_deref(), Some("formats.1.key"));
}
