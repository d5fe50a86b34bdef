//! The type check, which also brings values to their one form: defaults are filled in, and a number
//! written as text becomes a number, as people and old clients write it.

use serde_json::Value as Json;

use super::sealing::is_sealed;
use super::{short, shown};
use crate::domain::arguments::below;
use crate::domain::{Catalogue, Field, FieldType, Operation, Params, Reason, Refusal};

/// Checks the arguments for fields that belong together: those of `owner`, a kind or a record, at
/// the path `within`.
pub(super) fn of_fields(
    owner: &str,
    fields: &[Field],
    mut given: Params,
    within: &str,
    catalogue: &Catalogue,
) -> Result<Params, Refusal> {
    let is_known = |name: &str| fields.iter().any(|field| field.name == name);
    if let Some(name) = given.keys().find(|name| !is_known(name)) {
        let known: Vec<_> = fields.iter().map(|field| &*field.name).collect();
        return Err(Refusal {
            reason: Reason::Type,
            field: Some(below(within, &short(name))),
            // It may be a secret whose field was mistyped.
            value: None,
            message: format!("{owner} has no field '{}'; it has {}", short(name), known.join(", ")),
        });
    }
    let mut normal = Params::with_capacity(fields.len());
    for field in fields {
        let path = below(within, &field.name);
        let value = match given.remove(&*field.name).filter(|value| !value.is_null()) {
            Some(value) => of_value(&field.of, value, &path, catalogue)?,
            None if field.required => return Err(needed(&path, Some(&field.doc))),
            None if field.default.is_null() => Json::Null,
            None => of_value(&field.of, field.default.clone(), &path, catalogue)?,
        };
        normal.insert(field.name.to_string(), value);
    }
    for field in fields {
        let FieldType::Params { of } = &field.of else { continue };
        // That there is no such kind is told when it is looked at as a value.
        let kind = normal.get(&**of).and_then(Json::as_str);
        let Some(inner) = kind.and_then(|kind| catalogue.get(kind)) else { continue };
        if let Some(Json::Object(given)) = normal.get_mut(&*field.name) {
            let path = below(within, &field.name);
            *given =
                of_fields(&inner.kind, &inner.fields, std::mem::take(given), &path, catalogue)?;
        }
    }
    Ok(normal)
}

/// The refusal of a request in which something is missing.
fn needed(path: &str, doc: Option<&str>) -> Refusal {
    let what = doc.map(|doc| format!(": {}", lower(doc))).unwrap_or_default();
    Refusal {
        reason: Reason::Type,
        field: Some(path.to_owned()),
        value: None,
        message: format!("{path} is needed{what}"),
    }
}

/// Checks one value, and what it holds.
fn of_value(
    of: &FieldType,
    value: Json,
    path: &str,
    catalogue: &Catalogue,
) -> Result<Json, Refusal> {
    match (of, value) {
        (_, Json::Null) => Err(needed(path, None)),
        (FieldType::List { of, .. }, Json::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(number, item)| of_value(of, item, &below(path, &number.to_string()), catalogue))
            .collect(),
        (FieldType::Record { fields }, Json::Object(given)) => {
            of_fields(path, fields, given, path, catalogue).map(Json::Object)
        }
        (of, value) => of_scalar(of, value, path),
    }
}

/// Checks one value that holds no others.
fn of_scalar(of: &FieldType, value: Json, path: &str) -> Result<Json, Refusal> {
    let wrong = |wanted: &str, value: &Json| {
        Err(Refusal::field(
            Reason::Type,
            path,
            shown(of, value),
            format!("{path} must be {wanted}, not {}", shown(of, value)),
        ))
    };
    match (of, value) {
        // What lists show in a secret's place comes back from forms; it is no secret.
        (FieldType::Secret { .. }, Json::String(text)) if text == Operation::HIDDEN => {
            wrong("typed again", &Json::String(text))
        }
        (
            FieldType::Text { .. }
            | FieldType::Name
            | FieldType::Hostname
            | FieldType::Secret { .. }
            | FieldType::Choice { .. }
            | FieldType::File
            | FieldType::NewFile
            | FieldType::Url
            | FieldType::Kind,
            Json::String(text),
        ) => Ok(Json::String(text)),
        // Old clients send numbers where a text is wanted: a password of digits.
        (FieldType::Secret { .. } | FieldType::Text { .. }, Json::Number(number)) => {
            Ok(Json::String(number.to_string()))
        }
        (FieldType::Secret { .. }, Json::Object(sealed)) if is_sealed(&sealed) => {
            Ok(Json::Object(sealed))
        }
        (FieldType::Integer { .. }, Json::Number(number)) if number.is_i64() => {
            Ok(Json::Number(number))
        }
        (FieldType::Integer { .. }, Json::String(text)) => match text.trim().parse::<i64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => wrong("a whole number", &Json::String(text)),
        },
        (FieldType::Integer { .. }, value) => wrong("a whole number", &value),
        (FieldType::Flag, Json::Bool(flag)) => Ok(Json::Bool(flag)),
        (FieldType::Flag, Json::String(text)) => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true.into()),
            "false" | "no" | "off" | "0" => Ok(false.into()),
            _ => wrong("yes or no", &Json::String(text)),
        },
        (FieldType::Flag, value) => wrong("yes or no", &value),
        (FieldType::Resource { .. }, Json::Number(number)) if number.is_u64() => {
            Ok(Json::Number(number))
        }
        (FieldType::Resource { .. }, Json::String(text)) => Ok(Json::String(text)),
        (FieldType::Resource { of, .. }, value) => {
            wrong(&format!("the number or the name of a {of}"), &value)
        }
        (FieldType::Lines, Json::Array(lines)) if lines.iter().all(Json::is_string) => {
            Ok(Json::Array(lines))
        }
        (FieldType::Lines, Json::String(text)) => Ok(text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .into()),
        (FieldType::Lines, value) => wrong("lines of text", &value),
        (FieldType::Params { .. }, Json::Object(params)) => Ok(Json::Object(params)),
        (FieldType::Params { .. }, value) => wrong("the parameters of an operation", &value),
        (FieldType::Every { .. }, Json::Number(number)) if number.is_u64() => {
            Ok(Json::Number(number))
        }
        (FieldType::Every { .. }, Json::String(text)) => match text.trim() {
            "*" | "" => Ok("*".into()),
            digits => match digits.parse::<u64>() {
                Ok(number) => Ok(number.into()),
                Err(_) => wrong("a number or *", &Json::String(text)),
            },
        },
        (FieldType::Every { .. }, value) => wrong("a number or *", &value),
        (FieldType::List { .. }, value) => wrong("a list", &value),
        (FieldType::Record { .. }, value) => wrong("an object with fields", &value),
        (FieldType::Unknown, value) => wrong("of a type that this hostler knows", &value),
        (_, value) => wrong("a text", &value),
    }
}

/// A field's doc inside a sentence.
fn lower(doc: &str) -> String {
    let mut characters = doc.trim_end_matches('.').chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}
