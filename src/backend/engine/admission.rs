//! Admission: whether a request can work, checked before anything is queued.
//!
//! The checks come in one order, for all arguments together and at every depth: type, syntax,
//! value, existence. (After them come privileges and state, which the kind and the engine check.)
//! The first that fails is told, with the path of its argument and the value. What passes is
//! normalised: defaults filled in, names of resources turned into numbers, secrets hashed.

mod outside;
mod sealing;
mod types;
mod values;

use std::collections::HashSet;

use serde_json::Value as Json;

use crate::domain::{
    Argument, Catalogue, FieldType, OperationSpec, Params, Reason, Refusal, ResourceKind, Submit,
    argument_mut, arguments, arguments_of,
};

pub use outside::from_outside;
pub use sealing::{HASHED, blank, has_open_secret, is_sealed, opens, seal};

/// The number put in the place of a resource that is not there; none has it.
const NO_RESOURCE: u64 = 0;

/// Finds the number of the living resource that a value names: by number, `vm/3`, or name.
pub type Find<'a> = dyn Fn(ResourceKind, &Json) -> Option<u64> + Sync + 'a;

/// What came of checking parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The parameters, normalised, secrets as they were given.
    pub params: Params,
    /// The first check of value or existence that fails. The request is to be refused for it,
    /// unless a check of the kind's own fails that comes before it; meanwhile values that its type
    /// can hold stand for those that are not allowed, and a number that no resource has for one
    /// that is not there.
    pub failed: Option<Refusal>,
}

/// Checks parameters against the catalogue and what exists, and normalises them. Secrets stay as
/// they were given; [`seal`] comes after.
///
/// # Errors
/// The first check of type or syntax that fails, or that the request asks for too much at once.
pub fn check(
    spec: &OperationSpec,
    params: Params,
    catalogue: &Catalogue,
    find: &Find<'_>,
) -> Result<Checked, Refusal> {
    let mut params = types::of_fields(&spec.kind, &spec.fields, params, "", catalogue)?;
    let given = arguments(&spec.fields, &params, Some(catalogue));
    not_too_many(&given)?;
    given.iter().try_for_each(values::syntax)?;
    let (mut not_allowed, mut missing) = (None, None);
    let mut found: Vec<(String, Json)> = Vec::new();
    for argument in &given {
        if let Err(refusal) = values::in_range(argument, catalogue) {
            let stand_in = values::stand_in(argument);
            found.extend(stand_in.map(|value| (argument.path.clone(), value)));
            not_allowed.get_or_insert(refusal);
            continue;
        }
        let absent = match argument.of {
            FieldType::Resource { of, .. } => {
                let id = find(*of, argument.value);
                found.push((argument.path.clone(), id.unwrap_or(NO_RESOURCE).into()));
                id.is_none().then(|| no_resource(argument, *of))
            }
            FieldType::File => file_exists(argument).err(),
            _ => None,
        };
        missing = missing.or(absent);
    }
    for (path, is) in found {
        if let Some(value) = argument_mut(&mut params, &path) {
            *value = is;
        }
    }
    let lists = arguments_of(&spec.fields, &params, Some(catalogue), names_resources);
    let twice = named_once(&lists).err();
    Ok(Checked { params, failed: not_allowed.or(twice).or(missing) })
}

/// Checks that a request asks for no more at once, at all depths together, than others can wait
/// for. It comes first, because each of the parts takes its time.
fn not_too_many(given: &[Argument<'_>]) -> Result<(), Refusal> {
    let is_part = |of: &FieldType| matches!(of, FieldType::Record { .. });
    let parts = given.iter().filter(|argument| is_part(argument.of)).count();
    if parts <= Submit::MOST_PARTS as usize {
        return Ok(());
    }
    let holds_parts =
        |argument: &&Argument<'_>| matches!(argument.of, FieldType::List { of, .. } if is_part(of));
    let path = given.iter().find(holds_parts).map(|list| list.path.as_str()).unwrap_or_default();
    let message = format!(
        "{path} holds {parts} items with all that is within them; at most {} may be asked for as \
         one, so ask for some of them later",
        Submit::MOST_PARTS
    );
    Err(Refusal::field(Reason::Value, path, parts.to_string(), message))
}

/// Parameters with every default filled in, whether or not the rest of them can work; as they are
/// where they cannot be of these fields at all.
#[must_use]
pub fn with_defaults(spec: &OperationSpec, params: Params, catalogue: &Catalogue) -> Params {
    let filled = types::of_fields(&spec.kind, &spec.fields, params.clone(), "", catalogue);
    filled.unwrap_or(params)
}

/// Whether values of this type are lists of resources.
fn names_resources(of: &FieldType) -> bool {
    matches!(of, FieldType::List { of, .. } if matches!(**of, FieldType::Resource { .. }))
}

/// Checks that none of these lists names a resource twice, by whatever names.
fn named_once(lists: &[Argument<'_>]) -> Result<(), Refusal> {
    for list in lists {
        let (FieldType::List { of, .. }, Json::Array(items)) = (list.of, list.value) else {
            continue;
        };
        let FieldType::Resource { of: kind, .. } = &**of else { continue };
        let mut seen = HashSet::new();
        let twice =
            |(_, item): &(usize, &Json)| **item != NO_RESOURCE && !seen.insert((*item).clone());
        if let Some((number, item)) = items.iter().enumerate().find(twice) {
            let path = format!("{}.{number}", list.path);
            let again = Argument { path, of, value: item };
            let why = format!("is {kind}/{item}, which stands in {} already", list.path);
            return Err(refused(Reason::Value, &again, &why));
        }
    }
    Ok(())
}

/// The refusal of a request that names a resource which is not there.
fn no_resource(argument: &Argument<'_>, kind: ResourceKind) -> Refusal {
    let given = plain(argument.value);
    let message = format!("{}: there is no {kind} '{given}'", argument.path);
    Refusal::field(Reason::Existence, &*argument.path, given, message)
}

/// The existence check of a file.
fn file_exists(argument: &Argument<'_>) -> Result<(), Refusal> {
    let path = argument.value.as_str().unwrap_or_default();
    let why = match std::fs::metadata(path) {
        Ok(file) if file.is_file() => return Ok(()),
        Ok(_) => "is not a file".to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    let message = format!("{}: {path} {why}", argument.path);
    Err(Refusal::field(Reason::Existence, &*argument.path, path, message))
}

/// The refusal of an argument, and why: what comes after its path in the sentence.
fn refused(reason: Reason, argument: &Argument<'_>, why: &str) -> Refusal {
    let value = shown(argument.of, argument.value);
    Refusal::field(reason, &*argument.path, value, format!("{} {why}", argument.path))
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
fn shown(of: &FieldType, value: &Json) -> String {
    if of.may_hold_secret() { "(hidden)".to_owned() } else { plain(value) }
}

#[cfg(test)]
mod tests;
