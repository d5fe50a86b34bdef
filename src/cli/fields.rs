//! `field=value` → parameters, by the types in the catalogue.
//!
//! What is given for parts of lists and records is put together in `nested`.
//!
//! Only what must be known to write the JSON is checked here: that a field exists, and that a
//! number is a number. Everything else is the backend's admission, which says it better.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::CliError;
use super::ask::Keyboard;
use super::nested::{self, Parts};
use crate::domain::{Catalogue, Field, FieldType, OperationSpec, Params, ResourceId, arguments};

/// Reads the fields given for `kind`. Where some are `present` already, in a relaunch, those given
/// change them; otherwise every required field must be there, and a missing secret is asked for
/// where there is a terminal.
///
/// # Errors
/// [`CliError::Usage`] with one sentence that names the field.
pub fn parse(
    catalogue: &Catalogue,
    kind: &str,
    given: &[String],
    present: Option<&Params>,
    keyboard: &mut dyn Keyboard,
) -> Result<Params, CliError> {
    let spec = catalogue.get(kind).ok_or_else(|| {
        let kinds: Vec<_> = catalogue.iter().map(|spec| spec.kind.as_ref()).collect();
        CliError::Usage(format!("'{kind}' is no kind of operation; {}", near(kind, &kinds)))
    })?;
    let mut params = Params::new();
    let mut inner: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut parts = Parts::new(catalogue, present);
    for (place, text) in given.iter().enumerate() {
        // What it is is not repeated: it may be a secret whose field was left out.
        let (name, value) = text.split_once('=').ok_or_else(|| {
            let nth = place + 1;
            CliError::Usage(format!(
                "what is given as field {nth} is none; write it like name=value"
            ))
        })?;
        let (outer, rest) = name.split_once('.').unzip();
        let holder = spec.field(outer.unwrap_or(name)).map(|field| (&field.of, rest));
        match holder {
            Some((FieldType::Params { .. }, Some(rest))) => {
                inner.entry(outer.unwrap_or(name)).or_default().push(format!("{rest}={value}"));
                continue;
            }
            Some((FieldType::List { .. } | FieldType::Record { .. }, _)) => {
                parts.put(spec, name, value, keyboard)?;
                continue;
            }
            _ => {}
        }
        let field = find(&spec.kind, &spec.fields, name)?;
        let value = read(name, &field.of, value, keyboard)?;
        let value = match (params.remove(name), value) {
            (None, value) => value,
            (Some(Json::Array(mut lines)), Json::Array(more)) => {
                lines.extend(more);
                Json::Array(lines)
            }
            (Some(_), _) => return Err(CliError::Usage(format!("{name} is given twice"))),
        };
        params.insert(name.to_owned(), value);
    }
    params.extend(parts.into_params()?);
    no_secret_within(catalogue, spec, &params)?;
    for (name, given) in inner {
        let value = nested(catalogue, spec, name, &given, &params, present, keyboard)?;
        if params.insert(name.to_owned(), value).is_some() {
            return Err(CliError::Usage(format!(
                "{name} is given whole and field by field; do one of the two"
            )));
        }
    }
    if present.is_none() {
        complete(spec, &mut params, keyboard)?;
    }
    Ok(params)
}

/// Parameters for another kind that were given as JSON stand on the command line, secrets and all.
fn no_secret_within(
    catalogue: &Catalogue,
    spec: &OperationSpec,
    params: &Params,
) -> Result<(), CliError> {
    for field in &spec.fields {
        let FieldType::Params { of } = &field.of else { continue };
        let kind = params.get(of.as_ref()).and_then(Json::as_str);
        let inner = kind.and_then(|kind| catalogue.get(kind));
        let given = params.get(field.name.as_ref()).and_then(Json::as_object);
        let (Some(inner), Some(given)) = (inner, given) else { continue };
        let given = arguments(&inner.fields, given, Some(catalogue));
        if let Some(secret) = given.iter().find(|it| matches!(it.of, FieldType::Secret { .. })) {
            return Err(in_the_open(&format!("{}.{}", field.name, secret.path)));
        }
    }
    Ok(())
}

/// Refuses a secret that was given literally. The secret itself is left out of the error,
/// which may end up in a log.
pub(super) fn in_the_open(name: &str) -> CliError {
    CliError::Usage(format!(
        "{name} must not stand on the command line, where everybody on this machine can read it \
         in the process list; give {name}=- to read it from standard input, {name}=@FILE to read \
         it from a file, or leave it out to be asked"
    ))
}

/// The parameters for another kind: `params.hostname=web`. As long as that kind stays as it is
/// they change those that are present, and it need not be named again.
fn nested(
    catalogue: &Catalogue,
    spec: &OperationSpec,
    name: &str,
    given: &[String],
    params: &Params,
    present: Option<&Params>,
    keyboard: &mut dyn Keyboard,
) -> Result<Json, CliError> {
    let of = match spec.field(name).map(|field| &field.of) {
        Some(FieldType::Params { of }) => of.as_ref(),
        _ => "kind",
    };
    let before = present.and_then(|present| present.get(of));
    let kind = params.get(of).or(before);
    let nothing = Params::new();
    let inside = present
        .filter(|_| kind == before)
        .map(|present| present.get(name).and_then(Json::as_object).unwrap_or(&nothing));
    let kind = kind.and_then(Json::as_str).ok_or_else(|| {
        CliError::Usage(format!("{name}.… needs {of}=KIND, to know which fields there are"))
    })?;
    let changed = parse(catalogue, kind, given, inside, keyboard).map_err(|error| match error {
        CliError::Usage(text) => CliError::Usage(format!("in {name}: {text}")),
        other => other,
    })?;
    let mut whole = inside.cloned().unwrap_or_default();
    whole.extend(changed);
    let whole = Json::Object(whole);
    if let Some(secret) = nested::hidden_in(&whole, "") {
        return Err(CliError::Usage(format!("in {name}: {}", nested::again(&secret, Some(name)))));
    }
    Ok(whole)
}

/// Sees to it that everything required is there.
fn complete(
    spec: &OperationSpec,
    params: &mut Params,
    keyboard: &mut dyn Keyboard,
) -> Result<(), CliError> {
    let missing: Vec<_> = spec
        .fields
        .iter()
        .filter(|field| field.required && !params.contains_key(field.name.as_ref()))
        .collect();
    let open: Vec<_> =
        missing.iter().filter(|field| !field.is_secret()).map(|field| &*field.name).collect();
    if !open.is_empty() {
        return Err(CliError::Usage(format!(
            "{0} needs {1}; see hostler run {0} --help",
            spec.kind,
            open.join(", ")
        )));
    }
    for field in missing {
        let name = &field.name;
        if !keyboard.is_terminal() {
            return Err(CliError::Usage(format!(
                "{} needs {name}; give {name}=- to read it from standard input or {name}=@FILE \
                 to read it from a file",
                spec.kind
            )));
        }
        let secret = keyboard.secret(&format!("{name} for {}: ", spec.kind))?;
        if secret != keyboard.secret(&format!("{name} once more: "))? {
            return Err(CliError::Usage(format!("{name} was not typed the same twice; try again")));
        }
        params.insert(name.to_string(), Json::String(secret));
    }
    Ok(())
}

/// The field of that name among those of `owner`.
pub(super) fn find<'a>(
    owner: &str,
    fields: &'a [Field],
    name: &str,
) -> Result<&'a Field, CliError> {
    fields.iter().find(|field| field.name == name).ok_or_else(|| {
        let names: Vec<_> = fields.iter().map(|field| field.name.as_ref()).collect();
        CliError::Usage(format!("{owner} has no field '{name}'; {}", near(name, &names)))
    })
}

/// "did you mean …?" where one is near, else all there are.
fn near(word: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3 + 1)
        .map_or_else(
            || match known {
                [] => "there are none".to_owned(),
                known => format!("there are {}", known.join(", ")),
            },
            |(_, known)| format!("did you mean {known}?"),
        )
}

/// One value, as the type of its field wants it.
pub(super) fn read(
    name: &str,
    of: &FieldType,
    text: &str,
    keyboard: &mut dyn Keyboard,
) -> Result<Json, CliError> {
    let wrong = |wanted: &str| CliError::Usage(format!("{name} is '{text}'; it must be {wanted}"));
    match of {
        FieldType::Integer { .. } => {
            text.parse::<i64>().map(Json::from).map_err(|_| wrong("a whole number"))
        }
        FieldType::Flag => match text {
            "yes" | "true" | "on" | "1" => Ok(true.into()),
            "no" | "false" | "off" | "0" => Ok(false.into()),
            _ => Err(wrong("yes or no")),
        },
        FieldType::Resource { of, .. } => {
            if let Ok(number) = text.parse::<u64>() {
                return Ok(number.into());
            }
            match text.parse::<ResourceId>() {
                Ok(id) if id.kind == *of => Ok(id.id.into()),
                Ok(_) => Err(wrong(&format!("a {of}, like {of}/3"))),
                // Anything else is a name; whether it is one there is, the backend knows.
                Err(_) => Ok(text.into()),
            }
        }
        FieldType::Lines => match text.strip_prefix('@') {
            Some(file) => Ok(file_text(name, file)?
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(Json::from)
                .collect()),
            None => Ok(Json::Array(vec![text.into()])),
        },
        FieldType::Secret { .. } => match (text, text.strip_prefix('@')) {
            ("-", _) => Ok(keyboard.line()?.into()),
            (_, Some(file)) => {
                Ok(file_text(name, file)?.trim_end_matches(['\n', '\r']).to_owned().into())
            }
            _ => Err(in_the_open(name)),
        },
        FieldType::Params { .. } => match serde_json::from_str(text) {
            Ok(Json::Object(object)) => Ok(Json::Object(object)),
            _ => Err(CliError::Usage(format!(
                "{name} must be a JSON object; or give its fields one by one, each \
                 {name}.field=value"
            ))),
        },
        FieldType::List { .. } | FieldType::Record { .. } => nested::json(name, of, text),
        FieldType::Text { .. }
        | FieldType::Name
        | FieldType::Hostname
        | FieldType::Choice { .. }
        | FieldType::File
        | FieldType::NewFile
        | FieldType::Url
        | FieldType::Kind
        | FieldType::Every { .. } => Ok(text.into()),
    }
}

pub(super) fn file_text(name: &str, file: &str) -> Result<String, CliError> {
    std::fs::read_to_string(file)
        .map_err(|error| CliError::Failed(format!("cannot read {file} for {name}: {error}")))
}
