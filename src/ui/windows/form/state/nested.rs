//! Lists and records in a form: the entries they stand for, what those come to, and how the items
//! of a list are added, removed and moved.
//!
//! Entries stand in one row, each behind what holds it. What an entry holds are those whose paths
//! begin with its own, and these stand together.

use std::ops::Range;

use serde_json::Value as Json;

use super::Form;
use crate::domain::arguments::below;
use crate::domain::{Catalogue, Field, FieldType, Params, argument_mut};
use crate::ui::windows::form::field::{FormField, Widget};

/// The entries for fields that belong together, below the path `within`: with these values in them,
/// and defaults where there is none.
pub(super) fn entries(
    fields: &[Field],
    within: &str,
    values: Option<&Params>,
    catalogue: &Catalogue,
) -> Vec<FormField> {
    let value = |field: &Field| values.and_then(|values| values.get(&*field.name));
    fields
        .iter()
        .flat_map(|field| entry(field, &below(within, &field.name), value(field), catalogue))
        .collect()
}

/// The entry for one field, and those it holds. What a field for parameters holds depends on
/// another; see [`Form::nest`].
pub(super) fn entry(
    field: &Field,
    path: &str,
    value: Option<&Json>,
    catalogue: &Catalogue,
) -> Vec<FormField> {
    let mut own = FormField::new(field, path, catalogue);
    if let Some(value) = value {
        own.set(value);
    }
    let mut all = vec![own];
    let value = value.unwrap_or(&field.default);
    match &field.of {
        FieldType::List { of, min, .. } => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            for number in 0..items.len().max(*min as usize) {
                let path = below(path, &number.to_string());
                all.extend(entry(&item(field, of), &path, items.get(number), catalogue));
            }
        }
        FieldType::Record { fields } => {
            all.extend(entries(fields, path, value.as_object(), catalogue));
        }
        _ => {}
    }
    for inner in &mut all[1..] {
        inner.advanced |= field.advanced;
    }
    all
}

/// An item of a list as a field.
fn item(list: &Field, of: &FieldType) -> Field {
    Field { of: of.clone(), required: true, default: Json::Null, advanced: false, ..list.clone() }
}

/// The path of what holds the value at `path`; `""` for the request itself.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// Whether the value at `path` is within the one at `holder`.
pub(super) fn is_within(path: &str, holder: &str) -> bool {
    path.strip_prefix(holder).is_some_and(|rest| rest.starts_with('.'))
}

/// Puts a value into parameters, into what holds it.
fn put(params: &mut Params, path: &str, value: Json) {
    let holder = parent(path);
    let name = path.rsplit('.').next().unwrap_or(path);
    if holder.is_empty() {
        params.insert(name.to_owned(), value);
        return;
    }
    match argument_mut(params, holder) {
        Some(Json::Object(object)) => {
            object.insert(name.to_owned(), value);
        }
        Some(Json::Array(items)) => items.push(value),
        _ => {}
    }
}

/// Takes a value out of parameters.
fn take(params: &mut Params, path: &str) {
    let name = path.rsplit('.').next().unwrap_or(path);
    match parent(path) {
        "" => {
            params.remove(name);
        }
        holder => {
            if let Some(Json::Object(object)) = argument_mut(params, holder) {
                object.remove(name);
            }
        }
    }
}

impl Form {
    /// Everything given, as it is sent.
    #[must_use]
    pub fn params(&self) -> Params {
        let mut params = Params::new();
        for entry in self.entries.iter().filter(|entry| !entry.hidden) {
            let value = match (&entry.widget, entry.value()) {
                (Widget::Nested | Widget::Group, _) => Json::Object(Params::new()),
                (Widget::Items, _) => Json::Array(Vec::new()),
                (_, Ok(Some(value))) => value,
                // Its place is kept, so that those behind it keep their numbers.
                _ if self.is_item(entry) => Json::Null,
                _ => continue,
            };
            put(&mut params, &entry.path, value);
        }
        // What may be left out, and holds nothing, is.
        for entry in self.entries.iter().rev() {
            let holds = matches!(entry.widget, Widget::Group | Widget::Items);
            if holds && !entry.field.required && entry.field.default.is_null() {
                let value = argument_mut(&mut params, &entry.path);
                if value.is_some_and(|value| *value == Json::Array(vec![]) || is_empty(value)) {
                    take(&mut params, &entry.path);
                }
            }
        }
        params
    }

    /// Whether an entry is an item of a list.
    #[must_use]
    pub fn is_item(&self, entry: &FormField) -> bool {
        let holder = parent(&entry.path);
        let is_list = |it: &&FormField| it.path == holder && matches!(it.widget, Widget::Items);
        self.entries.iter().any(|it| is_list(&it))
    }

    /// A sentence of the backend's in which items of lists are called what they are called here:
    /// `formats.0.output` is `1 output`.
    #[must_use]
    pub fn counted_from_one(&self, told: &str) -> String {
        let mut items: Vec<&str> = self
            .entries
            .iter()
            .filter(|entry| self.is_item(entry))
            .map(|entry| entry.path.as_str())
            .collect();
        // The eleventh begins as the second does.
        items.sort_by_key(|path| std::cmp::Reverse(path.len()));
        items.into_iter().fold(told.to_owned(), |told, path| {
            let Some((list, number)) = path.rsplit_once('.') else { return told };
            let Ok(number) = number.parse::<usize>() else { return told };
            let number = number + 1;
            told.replace(&format!("{path}."), &format!("{number} "))
                .replace(path, &format!("{list} {number}"))
        })
    }

    /// How many items the list at a path has.
    #[must_use]
    pub fn items(&self, list: &str) -> usize {
        self.entries.iter().filter(|entry| parent(&entry.path) == list).count()
    }

    /// Whether an entry is within a record that may be left out and has nothing in it.
    pub(super) fn is_left_out(&self, path: &str) -> bool {
        self.entries.iter().any(|record| {
            matches!(record.widget, Widget::Group)
                && is_within(path, &record.path)
                && !record.field.required
                && self
                    .entries
                    .iter()
                    .filter(|entry| is_within(&entry.path, &record.path))
                    .all(|entry| matches!(entry.value(), Ok(None)))
        })
    }

    /// The list that the field with the keys is, or is in: its place, and the number of the item.
    #[must_use]
    pub fn list_here(&self) -> Option<(usize, Option<usize>)> {
        let mut path = self.entries.get(self.at)?.path.as_str();
        let mut number = None;
        loop {
            let found = self.entries.iter().position(|entry| entry.path == path)?;
            if matches!(self.entries[found].widget, Widget::Items) {
                return Some((found, number));
            }
            number = path.rsplit('.').next().and_then(|name| name.parse().ok());
            path = parent(path);
        }
    }

    /// The places of an entry and all that it holds.
    fn places(&self, path: &str) -> Range<usize> {
        let is_of = |entry: &FormField| entry.path == path || is_within(&entry.path, path);
        let start = self.entries.iter().position(is_of).unwrap_or(self.entries.len());
        let length = self.entries[start..].iter().take_while(|entry| is_of(entry)).count();
        start..start + length
    }

    /// Gives the items of a list the numbers that fit their order. Each begins with the entry that
    /// is the item itself.
    fn number(&mut self, list: &str) {
        let mut begun = 0;
        for entry in self.entries.iter_mut().filter(|entry| is_within(&entry.path, list)) {
            let inner = entry.path[list.len() + 1..].split_once('.').map(|(_, inner)| inner);
            begun += usize::from(inner.is_none());
            let item = below(list, &(begun - 1).to_string());
            entry.path = inner.map_or(item.clone(), |inner| below(&item, inner));
        }
    }

    /// Adds an item to the list the keys are in, behind theirs, and leads them there. Returns
    /// whether there was room for one.
    pub fn add_item(&mut self, catalogue: &Catalogue) -> bool {
        let Some((place, number)) = self.list_here() else { return false };
        let (list, field) = (self.entries[place].path.clone(), self.entries[place].field.clone());
        let FieldType::List { of, max, .. } = &field.of else { return false };
        let count = self.items(&list);
        if count >= *max as usize {
            self.entries[place].error = Some(format!("at most {max}"));
            return false;
        }
        let number = number.map_or(count, |number| number + 1);
        let at = match number {
            0 => place + 1,
            _ => self.places(&below(&list, &(number - 1).to_string())).end,
        };
        let mut fresh = entry(&item(&field, of), &below(&list, "new"), None, catalogue);
        for entry in &mut fresh {
            entry.advanced |= field.advanced;
        }
        self.entries.splice(at..at, fresh);
        self.number(&list);
        self.nest(catalogue);
        self.go_to_item(&list, number);
        true
    }

    /// Takes the item the keys are in out of its list. Returns whether they were in one.
    pub fn remove_item(&mut self) -> bool {
        let Some((place, Some(number))) = self.list_here() else { return false };
        let list = self.entries[place].path.clone();
        self.entries.drain(self.places(&below(&list, &number.to_string())));
        self.number(&list);
        match self.items(&list) {
            0 => self.at = place,
            count => self.go_to_item(&list, number.min(count - 1)),
        }
        true
    }

    /// Moves the item the keys are in behind the next one, or before the one before it. Returns
    /// whether there was one.
    pub fn move_item(&mut self, forward: bool) -> bool {
        let Some((place, Some(number))) = self.list_here() else { return false };
        let list = self.entries[place].path.clone();
        let Some(first) = (if forward { Some(number) } else { number.checked_sub(1) }) else {
            return false;
        };
        if first + 1 >= self.items(&list) {
            return false;
        }
        let item = |number: usize| self.places(&below(&list, &number.to_string()));
        let (one, other, moved) = (item(first), item(first + 1), item(number));
        let within = self.at - moved.start;
        self.entries[one.start..other.end].rotate_left(one.len());
        self.number(&list);
        let number = if forward { number + 1 } else { number - 1 };
        self.at = self.places(&below(&list, &number.to_string())).start + within;
        true
    }

    /// Puts the keys into the first field of an item.
    fn go_to_item(&mut self, list: &str, number: usize) {
        let places = self.places(&below(list, &number.to_string()));
        let first = self.visible().find(|place| places.contains(place));
        self.at = first.unwrap_or(places.start);
    }

    /// Where the name of a field stands, how far in, and its name: the number of an item before its
    /// first field.
    #[must_use]
    pub fn label(&self, place: usize) -> (usize, String) {
        let entry = &self.entries[place];
        // People count items from 1.
        let counted = |name: &str| Some((name.parse::<usize>().ok()? + 1).to_string());
        let name = entry.path.rsplit('.').next().unwrap_or_default();
        let name =
            counted(name).filter(|_| self.is_item(entry)).unwrap_or_else(|| name.replace('_', " "));
        let depth = entry.path.matches('.').count();
        let holder = place.checked_sub(1).map(|before| &self.entries[before]);
        let number = holder.filter(|holder| {
            matches!(holder.widget, Widget::Group)
                && holder.path == parent(&entry.path)
                && self.is_item(holder)
        });
        match number.and_then(|holder| counted(holder.path.rsplit('.').next()?)) {
            Some(number) => (2 * depth - 2, format!("{number:<2}{name}")),
            None => (2 * depth, name),
        }
    }
}

fn is_empty(value: &Json) -> bool {
    value.as_object().is_some_and(Params::is_empty)
}
