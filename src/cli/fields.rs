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
use super::nested::NestedFields;
use super::value::{again, find, hidden_in, in_the_open, near, read};
use crate::domain::{Catalogue, FieldType, OperationSpec, Params, arguments};

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
    if let Some(why) = spec.beyond_us() {
        return Err(CliError::Usage(why));
    }
    let mut params = Params::new();
    let mut inner: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut parts = NestedFields::new(catalogue, present);
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
    if let Some(secret) = hidden_in(&whole, "") {
        return Err(CliError::Usage(format!("in {name}: {}", again(&secret, Some(name)))));
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
