//! One value of a field as it is written on the command line, whatever it is part of.

use serde_json::Value as Json;

use super::CliError;
use super::ask::Keyboard;
use crate::domain::arguments::below;
use crate::domain::size::whole_number;
use crate::domain::{Field, FieldType, Operation, ResourceId, json};
use crate::file;

/// One value, as the type of its field wants it.
pub(super) fn read(
    name: &str,
    of: &FieldType,
    text: &str,
    keyboard: &mut dyn Keyboard,
) -> Result<Json, CliError> {
    let wrong = |wanted: &str| CliError::Usage(format!("{name} is '{text}'; it must be {wanted}"));
    match of {
        FieldType::Integer { unit, .. } => {
            whole_number(text, unit).map(Json::from).map_err(|wanted| wrong(&wanted))
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
        FieldType::Params { .. } => match json::from_text(text) {
            Ok(Json::Object(object)) => Ok(Json::Object(object)),
            Err(error) if error.is_data() => Err(twice(name, &error)),
            _ => Err(CliError::Usage(format!(
                "{name} must be a JSON object; or give its fields one by one, each \
                 {name}.field=value"
            ))),
        },
        FieldType::List { .. } | FieldType::Record { .. } => from_json(name, of, text),
        FieldType::Text { .. }
        | FieldType::Name
        | FieldType::Hostname
        | FieldType::Choice { .. }
        | FieldType::File
        | FieldType::NewFile
        | FieldType::Url
        | FieldType::Kind
        | FieldType::Every { .. }
        // Never asked for: see `fields::parse`.
        | FieldType::Unknown => Ok(text.into()),
    }
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

fn file_text(name: &str, file: &str) -> Result<String, CliError> {
    file::read_text(file)
        .map_err(|error| CliError::Failed(format!("cannot read {file} for {name}: {error}")))
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
pub(super) fn near(word: &str, known: &[&str]) -> String {
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

/// A list or a record that is given as JSON or as a file of it.
fn from_json(path: &str, of: &FieldType, text: &str) -> Result<Json, CliError> {
    let read = match text.strip_prefix('@') {
        Some(file) => file_text(path, file)?,
        None => text.to_owned(),
    };
    let (what, part) = match of {
        FieldType::Record { .. } => ("a JSON object", "field"),
        _ => ("a JSON array", "0"),
    };
    match (of, json::from_text(&read)) {
        (_, Err(error)) if error.is_data() => Err(twice(path, &error)),
        (FieldType::Record { .. }, Ok(value @ Json::Object(_)))
        | (FieldType::List { .. }, Ok(value @ Json::Array(_))) => Ok(value),
        _ => Err(CliError::Usage(format!(
            "{path} must be {what} or @FILE of one; or give its parts one by one, each \
             {path}.{part}=value"
        ))),
    }
}

/// That a name stands twice in the JSON that was given: all that can be wrong with a value.
fn twice(path: &str, error: &serde_json::Error) -> CliError {
    CliError::Usage(format!("{path} is not understood: {error}"))
}

/// The path of a secret in a value at `path` that is hidden from us, and so cannot be sent back.
pub(super) fn hidden_in(value: &Json, path: &str) -> Option<String> {
    match value {
        Json::String(text) => (text == Operation::HIDDEN).then(|| path.to_owned()),
        Json::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(number, item)| hidden_in(item, &below(path, &number.to_string()))),
        Json::Object(fields) => {
            fields.iter().find_map(|(name, value)| hidden_in(value, &below(path, name)))
        }
        _ => None,
    }
}

/// That a secret must be given again, within the parameters in the field `holder` if any.
pub(super) fn again(secret: &str, holder: Option<&str>) -> String {
    let path = below(holder.unwrap_or_default(), secret);
    format!("{secret} is a secret and must be given again: {path}=- reads it from standard input")
}
