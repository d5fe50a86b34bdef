//! Admission: whether a request can work, checked before anything is queued.
//!
//! The checks come in one order, for all fields together: type, syntax, value, existence. (After
//! them come privileges and state, which the kind and the engine check.) The first that fails is
//! told, with its field and its value. What passes is normalised: defaults filled in, names of
//! resources turned into numbers, secrets hashed.

mod outside;

use serde_json::Value as Json;
use sha_crypt::{PasswordHasher, PasswordVerifier, ShaCrypt};

use crate::domain::{
    Catalogue, Field, FieldType, Operation, OperationSpec, Params, Reason, Refusal, ResourceKind,
};

pub use outside::from_outside;

/// How a stored secret is marked: `{"hashed": "$6$…"}`.
pub const HASHED: &str = "hashed";

/// The most bytes a path or a URL has.
const LONGEST_PATH: usize = 4096;
/// The most lines a field of lines has.
const MOST_LINES: usize = 1000;

/// Finds the number of the living resource that a value names: by number, `vm/3`, or name.
pub type Find<'a> = dyn Fn(ResourceKind, &Json) -> Option<u64> + Sync + 'a;

/// Checks parameters against the catalogue and what exists, and normalises them. Secrets stay as
/// they were given; [`seal`] comes after.
///
/// # Errors
/// The first check that fails.
pub fn check(
    spec: &OperationSpec,
    mut params: Params,
    catalogue: &Catalogue,
    find: &Find<'_>,
) -> Result<Params, Refusal> {
    if let Some((name, value)) = params.iter().find(|(name, _)| spec.field(name).is_none()) {
        return Err(Refusal::field(
            Reason::Type,
            short(name),
            plain(value),
            format!("{} has no field '{}'; it has {}", spec.kind, short(name), names(spec)),
        ));
    }
    let mut normal = Params::with_capacity(spec.fields.len());
    for field in &spec.fields {
        let given = params.remove(&*field.name).filter(|value| !value.is_null());
        let value = match given {
            Some(value) => of_type(field, value)?,
            None if field.required => {
                return Err(Refusal {
                    reason: Reason::Type,
                    field: Some(field.name.to_string()),
                    value: None,
                    message: format!("{} is needed: {}", field.name, lower(&field.doc)),
                });
            }
            None => field.default.clone(),
        };
        normal.insert(field.name.to_string(), value);
    }
    let given = |field: &&Field| normal.get(&*field.name).is_some_and(|value| !value.is_null());
    for field in spec.fields.iter().filter(given) {
        syntax(field, &normal[&*field.name])?;
    }
    for field in spec.fields.iter().filter(given) {
        in_range(field, &normal[&*field.name], catalogue)?;
    }
    for field in spec.fields.iter().filter(|field| given(field)).collect::<Vec<_>>() {
        match &field.of {
            FieldType::Resource { of, .. } => {
                let id = exists(field, *of, &normal[&*field.name], find)?;
                normal[&*field.name] = id.into();
            }
            FieldType::File => file_exists(field, &normal[&*field.name])?,
            FieldType::Params { of } => {
                let kind = normal.get(&**of).and_then(Json::as_str).unwrap_or_default();
                let Some(inner) = catalogue.get(kind) else { continue };
                let Json::Object(given) = normal[&*field.name].clone() else { continue };
                let checked = check(inner, given, catalogue, find).map_err(|refusal| Refusal {
                    field: refusal.field.map(|name| format!("{}.{name}", field.name)),
                    ..refusal
                })?;
                normal[&*field.name] = Json::Object(checked);
            }
            _ => {}
        }
    }
    Ok(normal)
}

/// Turns the secrets among checked parameters into hashes, at any depth. Slow on purpose: some
/// milliseconds a secret.
///
/// # Errors
/// When the box has no randomness to give.
pub fn seal(
    spec: &OperationSpec,
    params: &mut Params,
    catalogue: &Catalogue,
) -> Result<(), Refusal> {
    for field in &spec.fields {
        let Some(value) = params.get_mut(&*field.name) else { continue };
        match &field.of {
            FieldType::Secret { .. } => {
                if let Json::String(secret) = value {
                    *value = serde_json::json!({ HASHED: hash(secret)? });
                }
            }
            FieldType::Params { of } => {
                let kind = params.get(&**of).and_then(Json::as_str).unwrap_or_default().to_owned();
                if let (Some(inner), Some(Json::Object(nested))) =
                    (catalogue.get(&kind), params.get_mut(&*field.name))
                {
                    seal(inner, nested, catalogue)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether any parameter still holds a secret as it was given.
#[must_use]
pub fn has_open_secret(spec: &OperationSpec, params: &Params, catalogue: &Catalogue) -> bool {
    spec.fields.iter().any(|field| match (&field.of, params.get(&*field.name)) {
        (FieldType::Secret { .. }, Some(Json::String(_))) => true,
        (FieldType::Params { of }, Some(Json::Object(nested))) => params
            .get(&**of)
            .and_then(Json::as_str)
            .and_then(|kind| catalogue.get(kind))
            .is_some_and(|inner| has_open_secret(inner, nested, catalogue)),
        _ => false,
    })
}

/// Whether a secret, as it is given, is the one that was hashed.
#[must_use]
pub fn opens(given: &Json, sealed: &Params) -> bool {
    let secret = match given {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        _ => return false,
    };
    let hashed = sealed.get(HASHED).and_then(Json::as_str).unwrap_or_default();
    ShaCrypt::default().verify_password(secret.as_bytes(), hashed).is_ok()
}

/// SHA-512 crypt, which every guest's `crypt(3)` reads.
fn hash(secret: &str) -> Result<String, Refusal> {
    // `crypt(3)` takes at most 16 characters of salt and leaves the rest out of the hash it
    // compares with, so that a longer salt locks everybody out. 12 bytes are 16 characters.
    let salt = uuid::Uuid::new_v4();
    let hashed =
        ShaCrypt::default().hash_password_with_salt(secret.as_bytes(), &salt.as_bytes()[..12]);
    hashed.map(|hash| hash.to_string()).map_err(|error| {
        Refusal::new(Reason::Value, format!("the password cannot be hashed: {error}"))
    })
}

/// The type check, which also brings values to their one form: a number written as text becomes a
/// number, as people and old clients write it.
fn of_type(field: &Field, value: Json) -> Result<Json, Refusal> {
    let wrong = |wanted: &str, value: &Json| {
        Err(Refusal::field(
            Reason::Type,
            &*field.name,
            shown(field, value),
            format!("{} must be {wanted}, not {}", field.name, shown(field, value)),
        ))
    };
    match (&field.of, value) {
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
        (_, value) => wrong("a text", &value),
    }
}

/// The syntax check: how a text is written.
fn syntax(field: &Field, value: &Json) -> Result<(), Refusal> {
    let wrong = |why: String| {
        Err(Refusal::field(
            Reason::Syntax,
            &*field.name,
            shown(field, value),
            format!("{} {why}", field.name),
        ))
    };
    let lines: Vec<&str> = match value {
        Json::String(text) => vec![text],
        Json::Array(lines) => lines.iter().filter_map(Json::as_str).collect(),
        _ => return Ok(()),
    };
    for text in lines {
        if matches!(field.of, FieldType::Url) && has_credentials(text) {
            // What was given is not repeated: this answer may be shown and logged.
            return Err(Refusal {
                reason: Reason::Syntax,
                field: Some(field.name.to_string()),
                value: None,
                message: format!(
                    "{} holds a user name or password, which lists and logs would show; give a URL \
                     without",
                    field.name
                ),
            });
        }
        if let Some(control) = text.chars().find(|character| character.is_control()) {
            return wrong(format!("holds the control character U+{:04X}", control as u32));
        }
        match &field.of {
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
fn in_range(field: &Field, value: &Json, catalogue: &Catalogue) -> Result<(), Refusal> {
    let wrong = |why: String| {
        Err(Refusal::field(
            Reason::Value,
            &*field.name,
            shown(field, value),
            format!("{} {why}", field.name),
        ))
    };
    let length = value.as_str().map_or(0, |text| text.chars().count());
    let bytes = value.as_str().map_or(0, str::len);
    match &field.of {
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

/// The existence check of a resource; gives its number.
fn exists(
    field: &Field,
    kind: ResourceKind,
    value: &Json,
    find: &Find<'_>,
) -> Result<u64, Refusal> {
    find(kind, value).ok_or_else(|| {
        let given = plain(value);
        Refusal::field(
            Reason::Existence,
            &*field.name,
            &*given,
            format!("{}: there is no {kind} '{given}'", field.name),
        )
    })
}

/// The existence check of a file.
fn file_exists(field: &Field, value: &Json) -> Result<(), Refusal> {
    let path = value.as_str().unwrap_or_default();
    let why = match std::fs::metadata(path) {
        Ok(file) if file.is_file() => return Ok(()),
        Ok(_) => "is not a file".to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    Err(Refusal::field(
        Reason::Existence,
        &*field.name,
        path,
        format!("{}: {path} {why}", field.name),
    ))
}

/// Whether an object stands for a secret that was hashed.
#[must_use]
pub fn is_sealed(object: &Params) -> bool {
    object.len() == 1 && object.get(HASHED).and_then(Json::as_str).is_some_and(is_crypt)
}

/// Whether a text is a hash as [`hash`] makes them: `$6$`, perhaps the rounds, the salt, the hash.
fn is_crypt(text: &str) -> bool {
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let is_64 = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "./".contains(c));
    let parts: Vec<&str> = text.split('$').collect();
    let (salt, hash) = match parts.as_slice() {
        ["", "6", salt, hash] => (salt, hash),
        ["", "6", rounds, salt, hash] if rounds.strip_prefix("rounds=").is_some_and(digits) => {
            (salt, hash)
        }
        _ => return false,
    };
    (1..=16).contains(&salt.len()) && is_64(salt) && hash.len() == 86 && is_64(hash)
}

/// A value as a person would write it.
fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| short(&value.to_string()), short)
}

/// A text that somebody else chose, as much of it as a message has room for.
pub fn short(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A value for a message; never a secret's.
fn shown(field: &Field, value: &Json) -> String {
    if field.is_secret() { "(hidden)".to_owned() } else { plain(value) }
}

fn names(spec: &OperationSpec) -> String {
    spec.fields.iter().map(|field| &*field.name).collect::<Vec<_>>().join(", ")
}

/// A field's doc inside a sentence.
fn lower(doc: &str) -> String {
    let mut characters = doc.trim_end_matches('.').chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}
