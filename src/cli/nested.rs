//! `formats.0.size=640x360` → lists and records, put together from what is given for their parts.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::CliError;
use super::ask::Keyboard;
use super::value::{again, find, hidden_in, in_the_open, read};
use crate::domain::arguments::below;
use crate::domain::{Catalogue, Field, FieldType, OperationSpec, Params, arguments_in};

/// Lists and records as far as they are given. Where some are present already, in a relaunch, what
/// is given for their parts changes those.
pub(super) struct NestedFields<'a> {
    catalogue: &'a Catalogue,
    present: Option<&'a Params>,
    params: Params,
    /// The paths that were given.
    given: BTreeSet<String>,
}

impl<'a> NestedFields<'a> {
    pub(super) fn new(catalogue: &'a Catalogue, present: Option<&'a Params>) -> Self {
        Self { catalogue, present, params: Params::new(), given: BTreeSet::new() }
    }

    /// Puts in what is given for a path: `formats`, `formats.0` or `formats.0.size`.
    pub(super) fn put(
        &mut self,
        spec: &OperationSpec,
        path: &str,
        text: &str,
        keyboard: &mut dyn Keyboard,
    ) -> Result<(), CliError> {
        let names: Vec<&str> = path.split('.').collect();
        let before = self.present.and_then(|present| present.get(names[0]));
        if let Some(before) = before.filter(|_| !self.params.contains_key(names[0])) {
            self.params.insert(names[0].to_owned(), before.clone());
        }
        let mut params = std::mem::take(&mut self.params);
        let of_kind = (&*spec.kind, &*spec.fields);
        self.in_fields(of_kind, &mut params, "", &names, (text, keyboard))?;
        self.params = params;
        Ok(())
    }

    /// What was put together, as parameters.
    pub(super) fn into_params(self) -> Result<Params, CliError> {
        for (name, value) in &self.params {
            if let Some(secret) = hidden_in(value, name) {
                return Err(CliError::Usage(again(&secret, None)));
            }
        }
        Ok(self.params)
    }

    /// Puts a text into one of the fields of `owner`: a kind, or the record at the path `within`.
    fn in_fields(
        &mut self,
        (owner, fields): (&str, &[Field]),
        object: &mut Params,
        within: &str,
        names: &[&str],
        (text, keyboard): (&str, &mut dyn Keyboard),
    ) -> Result<(), CliError> {
        let Some((name, rest)) = names.split_first() else { return Ok(()) };
        let field = find(owner, fields, name)?;
        let path = below(within, name);
        if let (FieldType::Params { of }, false) = (&field.of, rest.is_empty()) {
            let catalogue = self.catalogue;
            let kind = object.get(&**of).and_then(Json::as_str);
            let inner = kind.and_then(|kind| catalogue.get(kind)).ok_or_else(|| {
                let kind = below(within, of);
                CliError::Usage(format!(
                    "{path}.… needs {kind}=KIND before it, to know which fields there are"
                ))
            })?;
            self.not_whole(&path)?;
            let mut inside = object.remove(*name).map_or_else(Params::new, into_object);
            let of_kind = (&*inner.kind, &*inner.fields);
            self.in_fields(of_kind, &mut inside, &path, rest, (text, keyboard))?;
            object.insert((*name).to_owned(), Json::Object(inside));
            return Ok(());
        }
        let slot = object.entry(*name).or_insert(Json::Null);
        self.in_value(&field.of, slot, &path, rest, (text, keyboard))
    }

    /// Puts a text into a value at `path`, or into what `names` says within it.
    fn in_value(
        &mut self,
        of: &FieldType,
        slot: &mut Json,
        path: &str,
        names: &[&str],
        (text, keyboard): (&str, &mut dyn Keyboard),
    ) -> Result<(), CliError> {
        let Some((name, rest)) = names.split_first() else {
            return self.whole(of, slot, path, (text, keyboard));
        };
        self.not_whole(path)?;
        match of {
            FieldType::Record { fields } => {
                let mut inside = into_object(std::mem::take(slot));
                self.in_fields((path, fields), &mut inside, path, names, (text, keyboard))?;
                *slot = Json::Object(inside);
                Ok(())
            }
            FieldType::List { of, .. } => {
                let mut items = match std::mem::take(slot) {
                    Json::Array(items) => items,
                    _ => Vec::new(),
                };
                // Each item has one name: 0, and not 00 or +0 as well.
                let number: Option<usize> = name.parse().ok();
                let number = number.filter(|it| it.to_string() == *name).ok_or_else(|| {
                    CliError::Usage(format!(
                        "{path} is a list, and '{name}' is no number of an item; write {path}.0 \
                         for the first"
                    ))
                })?;
                if number > items.len() {
                    return Err(CliError::Usage(format!(
                        "{path}.{number} has no item before it; the next one is {path}.{}",
                        items.len()
                    )));
                }
                if number == items.len() {
                    items.push(Json::Null);
                }
                let path = below(path, &number.to_string());
                self.in_value(of, &mut items[number], &path, rest, (text, keyboard))?;
                *slot = Json::Array(items);
                Ok(())
            }
            _ => Err(CliError::Usage(format!("{path} has no fields; give {path}=VALUE"))),
        }
    }

    /// Puts in a value as a whole. Given once more, a list gets one more item.
    fn whole(
        &mut self,
        of: &FieldType,
        slot: &mut Json,
        path: &str,
        (text, keyboard): (&str, &mut dyn Keyboard),
    ) -> Result<(), CliError> {
        let inside = format!("{path}.");
        if self.given.range(inside.clone()..).next().is_some_and(|it| it.starts_with(&inside)) {
            return Err(in_two_ways(path));
        }
        let again = !self.given.insert(path.to_owned());
        if !again {
            *slot = Json::Null;
        }
        let value = match of {
            FieldType::List { of: item, .. } if !is_json(text) => {
                let path = below(path, &slot.as_array().map_or(0, Vec::len).to_string());
                Json::Array(vec![read(&path, item, text, keyboard)?])
            }
            _ => read(path, of, text, keyboard)?,
        };
        if !text.starts_with('@') {
            self.no_secret(of, &value, path, text)?;
        }
        match (slot, value) {
            (Json::Array(items), Json::Array(more)) if again && !is_json(text) => {
                items.extend(more);
            }
            _ if again => return Err(CliError::Usage(format!("{path} is given twice"))),
            (slot, value) => *slot = value,
        }
        Ok(())
    }

    /// Secrets that were given as JSON stand on the command line.
    fn no_secret(
        &self,
        of: &FieldType,
        value: &Json,
        path: &str,
        text: &str,
    ) -> Result<(), CliError> {
        if !is_json(text) {
            return Ok(());
        }
        let given = arguments_in(of, value, path, Some(self.catalogue));
        match given.iter().find(|given| matches!(given.of, FieldType::Secret { .. })) {
            Some(secret) => Err(in_the_open(&secret.path)),
            None => Ok(()),
        }
    }

    /// A part of what was given whole cannot be given as well.
    fn not_whole(&self, path: &str) -> Result<(), CliError> {
        if self.given.contains(path) { Err(in_two_ways(path)) } else { Ok(()) }
    }
}

fn in_two_ways(path: &str) -> CliError {
    CliError::Usage(format!("{path} is given whole and part by part; do one of the two"))
}

/// Whether a text is JSON, or names a file of JSON, and no single value.
fn is_json(text: &str) -> bool {
    text.starts_with(['[', '{', '@'])
}

/// The fields of an object; of anything else none.
fn into_object(value: Json) -> Params {
    match value {
        Json::Object(object) => object,
        _ => Params::new(),
    }
}
