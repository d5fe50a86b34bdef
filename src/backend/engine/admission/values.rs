//! The checks of what is given, by itself: how texts are written, and what values are allowed.

use serde_json::Value as Json;

use super::{refused, short};
use crate::domain::{Argument, Catalogue, FieldType, Reason, Refusal};

/// The most bytes a path or a URL has.
const LONGEST_PATH: usize = 4096;
/// The most lines a field of lines has.
const MOST_LINES: usize = 1000;

/// The syntax check: how a text is written.
pub(super) fn syntax(argument: &Argument<'_>) -> Result<(), Refusal> {
    let Argument { path, of, value } = argument;
    let wrong = |why: String| Err(refused(Reason::Syntax, argument, &why));
    let lines: Vec<&str> = match (of, value) {
        (_, Json::String(text)) => vec![text],
        (FieldType::Lines, Json::Array(lines)) => lines.iter().filter_map(Json::as_str).collect(),
        // What a list holds is an argument of its own.
        _ => return Ok(()),
    };
    for text in lines {
        if matches!(of, FieldType::Url) && has_credentials(text) {
            // What was given is not repeated: this answer may be shown and logged.
            return Err(Refusal {
                reason: Reason::Syntax,
                field: Some(path.clone()),
                value: None,
                message: format!(
                    "{path} holds a user name or password, which lists and logs would show; give a \
                     URL without"
                ),
            });
        }
        if let Some(control) = text.chars().find(|character| character.is_control()) {
            return wrong(format!("holds the control character U+{:04X}", control as u32));
        }
        match of {
            FieldType::Name => {
                let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
                if !text.starts_with(|c: char| c.is_ascii_alphanumeric())
                    || !text.chars().all(inside)
                {
                    return wrong(
                        "may hold letters, digits, '-', '.' and '_', and starts with a letter or \
                         digit"
                            .to_owned(),
                    );
                }
                if text.bytes().all(|byte| byte.is_ascii_digit()) {
                    let why = "holds digits alone, which would be taken for a number; add a letter";
                    return wrong(why.to_owned());
                }
            }
            FieldType::Hostname => {
                let inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
                if !text.starts_with(|c: char| c.is_ascii_alphabetic())
                    || !text.chars().all(inside)
                    || text.ends_with('-')
                {
                    return wrong(
                        "may hold letters, digits and '-', starts with a letter and does not end \
                         with '-'"
                            .to_owned(),
                    );
                }
            }
            FieldType::File | FieldType::NewFile => {
                if !text.starts_with('/') {
                    return wrong("must be a whole path, starting with '/'".to_owned());
                }
                if std::path::Path::new(text)
                    .components()
                    .any(|part| part == std::path::Component::ParentDir)
                {
                    return wrong("may not hold '..'; write the path it means".to_owned());
                }
            }
            FieldType::Url => {
                let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
                if rest.is_none_or(|rest| rest.starts_with('/') || rest.is_empty()) {
                    return wrong("must be a URL that starts with https:// or http://".to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a URL names somebody before its host, however carelessly it is written.
fn has_credentials(url: &str) -> bool {
    let rest = url.split_once(':').map_or(url, |(_, rest)| rest).trim_start_matches(['/', '\\']);
    rest.split(['/', '\\', '?', '#']).next().is_some_and(|host| host.contains('@'))
}

/// The value check: ranges, lengths, choices.
pub(super) fn in_range(argument: &Argument<'_>, catalogue: &Catalogue) -> Result<(), Refusal> {
    let Argument { of, value, .. } = argument;
    let wrong = |why: String| Err(refused(Reason::Value, argument, &why));
    let length = value.as_str().map_or(0, |text| text.chars().count());
    let bytes = value.as_str().map_or(0, str::len);
    match of {
        FieldType::Text { max } if length > *max as usize => {
            wrong(format!("has {length} characters; at most {max} are allowed"))
        }
        FieldType::Name | FieldType::Hostname if length > 63 => {
            wrong(format!("has {length} characters; at most 63 are allowed"))
        }
        FieldType::Secret { min } if value.is_string() && length < *min as usize => {
            wrong(format!("is too short; at least {min} characters are needed"))
        }
        FieldType::Secret { .. } if bytes > FieldType::LONGEST_SECRET => {
            let most = FieldType::LONGEST_SECRET;
            wrong(format!("is too long; at most {most} bytes are allowed"))
        }
        FieldType::File | FieldType::NewFile | FieldType::Url if bytes > LONGEST_PATH => {
            wrong(format!("has {bytes} bytes; at most {LONGEST_PATH} are allowed"))
        }
        FieldType::Lines if value.as_array().is_some_and(|lines| lines.len() > MOST_LINES) => {
            wrong(format!("has more than {MOST_LINES} lines"))
        }
        FieldType::List { min, max, .. } => match value.as_array().map_or(0, Vec::len) {
            length if length < *min as usize => {
                wrong(format!("has {length} items; at least {min} are needed"))
            }
            length if length > *max as usize => {
                wrong(format!("has {length} items; at most {max} are allowed"))
            }
            _ => Ok(()),
        },
        FieldType::Integer { min, max, unit } => match value.as_i64() {
            Some(number) if !(*min..=*max).contains(&number) => {
                let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
                wrong(format!("is {number}; it must be {min} to {max}{unit}"))
            }
            _ => Ok(()),
        },
        FieldType::Every { min, max } => match value.as_u64() {
            Some(number) if !(u64::from(*min)..=u64::from(*max)).contains(&number) => {
                wrong(format!("is {number}; it must be * or {min} to {max}"))
            }
            _ => Ok(()),
        },
        FieldType::Choice { choices } => {
            let given = value.as_str().unwrap_or_default();
            if choices.iter().any(|choice| choice.value == given) {
                return Ok(());
            }
            let known: Vec<&str> = choices.iter().map(|choice| &*choice.value).collect();
            wrong(format!("is '{}'; there are {}", short(given), known.join(", ")))
        }
        FieldType::Kind => {
            let given = value.as_str().unwrap_or_default();
            if catalogue.get(given).is_some() {
                return Ok(());
            }
            wrong(format!("is '{}', which is no kind of operation", short(given)))
        }
        _ => Ok(()),
    }
}

/// A value in the place of one that is not allowed, where the type of a kind's parameter may not
/// hold that.
pub(super) fn stand_in(argument: &Argument<'_>) -> Option<Json> {
    match argument.of {
        FieldType::Integer { min, max, .. } => {
            argument.value.as_i64().map(|number| number.clamp(*min, *max).into())
        }
        FieldType::Every { min, .. } => Some((*min).into()),
        FieldType::Choice { choices } => choices.first().map(|choice| (*choice.value).into()),
        _ => None,
    }
}
