//! The arguments of a request: every value in its parameters, at any depth, with its type and its
//! path.
//!
//! A path names a value inside a request as the command line writes it: the names of fields and
//! the numbers of list items from 0, parted by dots: `formats.0.size`.

use serde_json::Value as Json;

use super::{Catalogue, Field, FieldType, OperationSpec, Params, ResourceId, ResourceKind};

/// A value in the parameters of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument<'a> {
    /// Where it is: `formats.0.size`.
    pub path: String,
    /// The type it must have.
    pub of: &'a FieldType,
    /// The value; not `null`, and not necessarily of that type.
    pub value: &'a Json,
}

impl Argument<'_> {
    /// Returns whether it stands in this field of the catalogue, or in an item of it: both
    /// `disks.0` and `disks` are in `disks`, and `drives.3.disk` is in `drives.disk`.
    #[must_use]
    pub fn is_in(&self, field: &str) -> bool {
        let is_number = |name: &&str| name.bytes().all(|byte| byte.is_ascii_digit());
        self.path.split('.').filter(|name| !is_number(name)).eq(field.split('.'))
    }
}

/// Returns every argument for these fields: in their order, each list and record before what it
/// holds. Parameters for another kind are looked into where `catalogue` tells their fields.
#[must_use]
pub fn arguments<'a>(
    fields: &'a [Field],
    params: &'a Params,
    catalogue: Option<&'a Catalogue>,
) -> Vec<Argument<'a>> {
    arguments_of(fields, params, catalogue, |_| true)
}

/// Returns the [`arguments`] of the types that are `wanted`, without a look at those that hold none
/// of them: a request may have thousands.
pub fn arguments_of<'a>(
    fields: &'a [Field],
    params: &'a Params,
    catalogue: Option<&'a Catalogue>,
    wanted: fn(&FieldType) -> bool,
) -> Vec<Argument<'a>> {
    let mut search = Search { catalogue, wanted, found: Vec::new() };
    search.fields(fields, params, "");
    search.found
}

/// A search for arguments of some types.
struct Search<'a> {
    catalogue: Option<&'a Catalogue>,
    wanted: fn(&FieldType) -> bool,
    found: Vec<Argument<'a>>,
}

impl<'a> Search<'a> {
    /// Whether there may be any in a value of this type.
    fn may_be_in(&self, of: &FieldType) -> bool {
        of.may_hold(self.wanted, self.catalogue.is_some())
    }

    fn fields(&mut self, fields: &'a [Field], params: &'a Params, within: &str) {
        for field in fields {
            let given = || params.get(&*field.name).filter(|value| !value.is_null());
            let Some(value) = self.may_be_in(&field.of).then(given).flatten() else { continue };
            let path = below(within, &field.name);
            self.value(&field.of, value, &path);
            if let (FieldType::Params { of }, Json::Object(inner)) = (&field.of, value)
                && let Some(kind) = params.get(&**of).and_then(Json::as_str)
                && let Some(spec) = self.catalogue.and_then(|catalogue| catalogue.get(kind))
            {
                self.fields(&spec.fields, inner, &path);
            }
        }
    }

    fn value(&mut self, of: &'a FieldType, value: &'a Json, path: &str) {
        if (self.wanted)(of) {
            self.found.push(Argument { path: path.to_owned(), of, value });
        }
        match (of, value) {
            (FieldType::List { of, .. }, Json::Array(items)) if self.may_be_in(of) => {
                for (number, item) in items.iter().enumerate().filter(|(_, item)| !item.is_null()) {
                    self.value(of, item, &below(path, &number.to_string()));
                }
            }
            (FieldType::Record { fields }, Json::Object(inner)) => self.fields(fields, inner, path),
            _ => {}
        }
    }
}

impl OperationSpec {
    /// Returns every argument of a request with these parameters that names a resource, and of
    /// which kind that is. Parameters for another kind are looked into where `catalogue` tells
    /// their fields.
    pub fn resources_named<'a>(
        &'a self,
        params: &'a Params,
        catalogue: Option<&'a Catalogue>,
    ) -> impl Iterator<Item = (ResourceKind, Argument<'a>)> {
        let wanted = |of: &FieldType| matches!(of, FieldType::Resource { .. });
        let named = arguments_of(&self.fields, params, catalogue, wanted);
        named.into_iter().filter_map(|argument| {
            let FieldType::Resource { of, .. } = argument.of else { return None };
            Some((*of, argument))
        })
    }

    /// Returns these parameters as people read them: each resource in them that is named by its
    /// number is called what `name` says, and keeps its number where that is nothing.
    pub fn called_by_name(
        &self,
        params: &Params,
        catalogue: &Catalogue,
        name: impl Fn(ResourceId) -> Option<String>,
    ) -> Params {
        let mut called = params.clone();
        for (of, Argument { path, value, .. }) in self.resources_named(params, Some(catalogue)) {
            if let Some(name) = value.as_u64().and_then(|id| name(ResourceId::new(of, id)))
                && let Some(value) = argument_mut(&mut called, &path)
            {
                *value = name.into();
            }
        }
        called
    }
}

/// Returns every argument in one value that stands at `path`, itself first.
#[must_use]
pub fn arguments_in<'a>(
    of: &'a FieldType,
    value: &'a Json,
    path: &str,
    catalogue: Option<&'a Catalogue>,
) -> Vec<Argument<'a>> {
    let mut search = Search { catalogue, wanted: |_| true, found: Vec::new() };
    search.value(of, value, path);
    search.found
}

/// Returns parameters as people read them: a line for each value that holds no others, much as the
/// command line writes it, `formats.0.size=640x360`. What is `null` is left out.
#[must_use]
pub fn as_lines(params: &Params) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in params {
        add_lines(name, value, &mut lines);
    }
    lines
}

fn add_lines(path: &str, value: &Json, lines: &mut Vec<String>) {
    match value {
        Json::Null => {}
        Json::Array(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                add_lines(&below(path, &number.to_string()), item, lines);
            }
        }
        Json::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                add_lines(&below(path, name), value, lines);
            }
        }
        Json::String(text) => lines.push(format!("{path}={text}")),
        other => lines.push(format!("{path}={other}")),
    }
}

/// Returns the path of a field or an item within another value, `""` being the whole request.
#[must_use]
pub fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Returns the value at a path, for changing it.
pub fn argument_mut<'a>(params: &'a mut Params, path: &str) -> Option<&'a mut Json> {
    let mut names = path.split('.');
    let first = params.get_mut(names.next()?)?;
    names.try_fold(first, |value, name| match value {
        Json::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
        Json::Object(fields) => fields.get_mut(name),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::Disk;

    fn fields() -> Vec<Field> {
        let disk = FieldType::Resource { of: Disk::KIND, states: vec![] };
        let drive = FieldType::Record {
            fields: vec![
                Field::required("disk", disk, "A disk."),
                Field::optional("key", FieldType::Secret { min: 1 }, Json::Null, "A key."),
            ],
        };
        let drives = FieldType::List { of: Box::new(drive), min: 0, max: 4 };
        vec![
            Field::required("name", FieldType::Name, "A name."),
            Field::optional("drives", drives, json!([]), "Drives."),
        ]
    }

    fn params(json: &Json) -> Params {
        json.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn every_value_is_found_with_its_path_and_what_holds_it_comes_first() {
        let fields = fields();
        let given = params(&json!({
            "name": "a", "drives": [{ "disk": 3 }, null, { "disk": "data", "key": null }]
        }));
        let found = arguments(&fields, &given, None);
        let paths: Vec<_> = found.iter().map(|argument| argument.path.as_str()).collect();
        assert_eq!(
            paths,
            ["name", "drives", "drives.0", "drives.0.disk", "drives.2", "drives.2.disk"]
        );
        let disks: Vec<_> =
            found.iter().filter(|it| it.is_in("drives.disk")).map(|it| it.value).collect();
        assert_eq!(disks, [&json!(3), &json!("data")]);
        assert!(fields[1].of.may_hold_secret() && !fields[0].of.may_hold_secret());
    }

    #[test]
    fn a_value_of_another_shape_is_told_and_not_looked_into() {
        let fields = fields();
        for drives in [json!("x"), json!({ "disk": 3 }), json!(["x"]), json!([[3]])] {
            let given = params(&json!({ "drives": drives }));
            let found = arguments(&fields, &given, None);
            assert!(found.iter().all(|argument| !argument.is_in("drives.disk")), "{found:?}");
        }
    }

    #[test]
    fn resources_are_found_and_called_by_name_at_any_depth() {
        let disk = || FieldType::Resource { of: Disk::KIND, states: vec![] };
        let disks = FieldType::List { of: Box::new(disk()), min: 0, max: 4 };
        let inner = FieldType::Params { of: "kind".into() };
        let spec = |kind: &'static str, fields: Vec<Field>| OperationSpec {
            kind: kind.into(),
            fields,
            ..OperationSpec::default()
        };
        let catalogue = Catalogue::new([
            spec("wipe", vec![Field::required("disk", disk(), "A disk.")]),
            spec(
                "task",
                [
                    fields(),
                    vec![
                        Field::optional("disks", disks, json!([]), "Disks."),
                        Field::required("kind", FieldType::Kind, "A kind."),
                        Field::required("params", inner, "Its parameters."),
                    ],
                ]
                .concat(),
            ),
        ]);
        let given = params(&json!({
            "name": 1, "drives": [{ "disk": 2 }], "disks": [3, "data", 9],
            "kind": "wipe", "params": { "disk": 4 }
        }));
        let task = catalogue.get("task").unwrap();
        let paths = |catalogue| -> Vec<String> {
            task.resources_named(&given, catalogue).map(|(_, argument)| argument.path).collect()
        };
        let own = ["drives.0.disk", "disks.0", "disks.1", "disks.2"];
        assert_eq!(paths(None), own);
        assert_eq!(paths(Some(&catalogue)), [&own[..], &["params.disk"]].concat());
        let name = |id: ResourceId| (id.id < 9).then(|| format!("disk-{}", id.id));
        assert_eq!(
            Json::Object(task.called_by_name(&given, &catalogue, name)),
            json!({
                "name": 1, "drives": [{ "disk": "disk-2" }], "disks": ["disk-3", "data", 9],
                "kind": "wipe", "params": { "disk": "disk-4" }
            })
        );
    }

    #[test]
    fn people_read_a_line_for_each_value_at_any_depth() {
        let given = params(&json!({
            "name": "a", "start": true, "label": null, "ports": [],
            "drives": [{ "disk": "data", "key": null }, "logs"], "params": { "vm": 3 }, "none": {}
        }));
        let lines = [
            "name=a",
            "start=true",
            "ports=[]",
            "drives.0.disk=data",
            "drives.1=logs",
            "params.vm=3",
            "none={}",
        ];
        assert_eq!(as_lines(&given), lines);
    }

    #[test]
    fn a_value_is_changed_where_its_path_says() {
        let mut given = params(&json!({ "drives": [{ "disk": "data" }] }));
        *argument_mut(&mut given, "drives.0.disk").unwrap() = json!(3);
        assert_eq!(Json::Object(given.clone()), json!({ "drives": [{ "disk": 3 }] }));
        for path in ["", "drives.1.disk", "drives.x", "drives.0.disk.more", "other"] {
            assert_eq!(argument_mut(&mut given, path), None, "{path}");
        }
    }
}
