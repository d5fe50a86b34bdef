//! A form: the fields of a catalogue entry, what the backend says about them, and where the keys
//! are.

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::domain::{
    Catalogue, Effect, FieldType, OperationSpec, Params, Preview, Refusal, Submit, Uid,
};

use super::field::{Entry, Widget};

/// What is done with the fields.
#[derive(Debug, Clone)]
pub enum Purpose {
    /// A new operation is asked for.
    New,
    /// A failed operation is queued again with what was changed.
    Relaunch {
        /// Which.
        uid: Uid,
        /// What it had.
        before: Params,
    },
    /// A new operation is asked for on each of these.
    Many {
        /// The field that names them.
        field: String,
        /// Their numbers and names.
        things: Vec<(u64, String)>,
    },
}

/// How long after the last key the backend is asked what would happen.
const PREVIEW_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_millis(150);

/// A form.
#[derive(Debug, Clone)]
pub struct Form {
    /// Tells forms apart, for answers that come late.
    pub number: u64,
    /// The kind asked for.
    pub spec: OperationSpec,
    /// Its fields, and after a nested one the fields it stands for.
    pub entries: Vec<Entry>,
    /// The field with the keys.
    pub at: usize,
    /// Whether the fields rarely needed are shown.
    pub advanced: bool,
    /// What is done with it.
    pub purpose: Purpose,
    /// What would happen.
    pub preview: Option<Preview>,
    /// When to ask what would happen.
    pub preview_due: Option<Timestamp>,
    /// Counts changes, so that an answer about older contents is known.
    pub revision: u64,
    /// What is wrong with it as a whole.
    pub refusal: Option<String>,
    /// Whether it was sent and the answer is awaited.
    pub sending: bool,
}

impl Form {
    /// A form for a kind, with defaults.
    #[must_use]
    pub fn new(number: u64, spec: &OperationSpec, purpose: Purpose, catalogue: &Catalogue) -> Self {
        let entries = spec.fields.iter().map(|field| Entry::new(field, None, catalogue)).collect();
        let mut form = Self {
            number,
            spec: spec.clone(),
            entries,
            at: 0,
            advanced: false,
            purpose,
            preview: None,
            preview_due: None,
            revision: 0,
            refusal: None,
            sending: false,
        };
        if let Purpose::Many { field, .. } = &form.purpose {
            let field = field.clone();
            for entry in &mut form.entries {
                entry.hidden |= entry.field.name == field;
            }
        }
        form.nest(catalogue);
        let first = form.visible().next();
        form.at = first.unwrap_or(0);
        form
    }

    /// Puts values in, those of nested parameters too.
    pub fn fill(&mut self, params: &Params, catalogue: &Catalogue) {
        for entry in &mut self.entries {
            if let Some(value) = params.get(entry.field.name.as_ref()) {
                entry.set(value);
            }
        }
        self.nest(catalogue);
        for entry in &mut self.entries {
            let Some(inner) = entry
                .within
                .as_ref()
                .and_then(|within| params.get(within)?.get(entry.field.name.as_ref()))
            else {
                continue;
            };
            entry.set(inner);
        }
    }

    /// Puts the keys into the first field where something is missing, or the first.
    pub fn begin(&mut self) {
        let first = self.visible().find(|at| {
            let entry = &self.entries[*at];
            entry.field.required && matches!(entry.value(), Ok(None))
        });
        let first = first.or_else(|| self.visible().next());
        self.at = first.unwrap_or(0);
    }

    /// Shows the fields of the kind chosen, below the field for its parameters.
    pub fn nest(&mut self, catalogue: &Catalogue) {
        let kind = |form: &Self, of: &str| {
            let entry = form.entries.iter().find(|entry| entry.field.name == of)?;
            entry.value().ok()??.as_str().map(str::to_owned)
        };
        let holders: Vec<(String, Option<String>)> = self
            .spec
            .fields
            .iter()
            .filter_map(|field| match &field.of {
                FieldType::Params { of } => Some((field.name.to_string(), kind(self, of))),
                _ => None,
            })
            .collect();
        for (holder, kind) in holders {
            let inner = |entry: &Entry| entry.within.as_deref() == Some(&holder);
            let wanted: Vec<_> = kind
                .and_then(|kind| catalogue.get(&kind))
                .map(|spec| spec.fields.iter().collect())
                .unwrap_or_default();
            let there: Vec<_> = self
                .entries
                .iter()
                .filter(|entry| inner(entry))
                .map(|entry| &entry.field)
                .collect();
            if there == wanted {
                continue;
            }
            let fresh: Vec<Entry> =
                wanted.iter().map(|field| Entry::new(field, Some(&holder), catalogue)).collect();
            self.entries.retain(|entry| !inner(entry));
            let place = self
                .entries
                .iter()
                .position(|entry| entry.field.name == holder && entry.within.is_none())
                .map_or(self.entries.len(), |place| place + 1);
            self.entries.splice(place..place, fresh);
        }
        self.at = self.at.min(self.entries.len().saturating_sub(1));
    }

    /// The places of the fields that are shown.
    pub fn visible(&self) -> impl Iterator<Item = usize> + '_ {
        self.entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| {
                !entry.hidden
                    && !matches!(entry.widget, Widget::Nested)
                    && (self.advanced || !entry.field.advanced)
            })
            .map(|(place, _)| place)
    }

    /// Whether there are fields rarely needed.
    #[must_use]
    pub fn has_advanced(&self) -> bool {
        self.entries.iter().any(|entry| entry.field.advanced)
    }

    /// Puts the keys into the next field, or the one before, around the end.
    pub fn step(&mut self, forward: bool) {
        let places: Vec<usize> = self.visible().collect();
        let Some(number) = std::num::NonZeroUsize::new(places.len()) else { return };
        let here = places.iter().position(|place| *place == self.at).unwrap_or(0);
        let by = if forward { 1 } else { number.get() - 1 };
        self.at = places[(here + by) % number];
    }

    /// Whether a list to choose from is open.
    #[must_use]
    pub fn is_picking(&self) -> bool {
        self.entries.get(self.at).is_some_and(
            |entry| matches!(&entry.widget, Widget::Pick(pick) if pick.search.is_some()),
        )
    }

    /// The field with the keys.
    pub fn current(&mut self) -> Option<&mut Entry> {
        self.entries.get_mut(self.at)
    }

    /// The contents changed: checks the field, and has the backend asked a little later.
    pub fn changed(&mut self, now: Timestamp, catalogue: &Catalogue) {
        self.revision += 1;
        self.refusal = None;
        if let Some(entry) = self.current() {
            entry.check(false);
        }
        self.nest(catalogue);
        if matches!(self.purpose, Purpose::New) {
            self.preview_due = Some(now + PREVIEW_AFTER);
        }
    }

    /// Everything given, as it is sent.
    #[must_use]
    pub fn params(&self) -> Params {
        let mut params = Params::new();
        for entry in self.entries.iter().filter(|entry| !entry.hidden) {
            if let Widget::Nested = entry.widget {
                params.insert(entry.field.name.to_string(), Json::Object(Params::new()));
                continue;
            }
            let Ok(Some(value)) = entry.value() else { continue };
            match &entry.within {
                None => {
                    params.insert(entry.field.name.to_string(), value);
                }
                Some(within) => {
                    if let Some(Json::Object(inner)) = params.get_mut(within) {
                        inner.insert(entry.field.name.to_string(), value);
                    }
                }
            }
        }
        params
    }

    /// Only what differs from what was there before. A field emptied takes its default again.
    #[must_use]
    pub fn changes(&self, before: &Params) -> Params {
        let after = self.params();
        let mut changes: Params = after
            .iter()
            .filter(|(name, value)| before.get(*name) != Some(*value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for entry in self.entries.iter().filter(|entry| entry.within.is_none()) {
            let name = entry.field.name.as_ref();
            let emptied = before.get(name).is_some_and(|value| !value.is_null());
            if emptied && !after.contains_key(name) && !entry.field.is_secret() {
                changes.insert(name.to_owned(), Json::Null);
            }
        }
        changes
    }

    /// Checks everything, and puts the keys into the first field that is wrong. Returns whether
    /// nothing is. What is merely still missing further down is gone to without a word.
    pub fn check(&mut self) -> bool {
        let relaunch = matches!(self.purpose, Purpose::Relaunch { .. });
        let here = self.at;
        let mut wrong = None;
        for (place, entry) in self.entries.iter_mut().enumerate() {
            if entry.hidden {
                continue;
            }
            let kept = relaunch && entry.field.is_secret();
            entry.check(entry.field.required && !kept);
            if entry.error.is_some() {
                wrong = wrong.or(Some(place));
                if place > here && matches!(entry.value(), Ok(None)) {
                    entry.error = None;
                }
            }
        }
        if let Some(at) = wrong {
            self.advanced |= self.entries[at].field.advanced;
            self.at = at;
        }
        wrong.is_none()
    }

    /// Shows a refusal at its field, or above all of them.
    pub fn refuse(&mut self, refusal: &Refusal, go: bool) {
        let place = refusal.field.as_ref().and_then(|name| {
            let (within, name) = match name.split_once('.') {
                Some((within, name)) => (Some(within), name),
                None => (None, name.as_str()),
            };
            self.entries.iter().position(|entry| {
                entry.field.name == name && entry.within.as_deref() == within && !entry.hidden
            })
        });
        match place {
            Some(at) => {
                // Beside its field a sentence need not name it.
                let field = &self.entries[at].field.name;
                let told = refusal.message.as_str();
                let told =
                    told.strip_prefix(field.as_ref()).and_then(|rest| rest.strip_prefix(": "));
                self.entries[at].error = Some(told.unwrap_or(&refusal.message).to_owned());
                if go {
                    self.advanced |= self.entries[at].field.advanced;
                    self.at = at;
                }
            }
            None => self.refusal = Some(refusal.message.clone()),
        }
    }

    /// The requests it makes.
    #[must_use]
    pub fn submits(&self, actor: &str) -> Vec<Submit> {
        let submit = |params| Submit {
            kind: self.spec.kind.to_string(),
            params,
            actor: actor.to_owned(),
            ..Submit::default()
        };
        match &self.purpose {
            Purpose::New | Purpose::Relaunch { .. } => vec![submit(self.params())],
            Purpose::Many { field, things } => things
                .iter()
                .map(|(id, _)| {
                    let mut params = self.params();
                    params.insert(field.clone(), (*id).into());
                    submit(params)
                })
                .collect(),
        }
    }

    /// What it would be done to, by name: for the confirmation.
    #[must_use]
    pub fn things(&self) -> Vec<String> {
        if let Purpose::Many { things, .. } = &self.purpose {
            return things.iter().map(|(_, name)| name.clone()).collect();
        }
        let subject = self.spec.subject.as_deref();
        let named = self
            .entries
            .iter()
            .find(|entry| entry.within.is_none() && Some(entry.field.name.as_ref()) == subject);
        match named.map(|entry| &entry.widget) {
            Some(Widget::Pick(pick)) => {
                pick.chosen.iter().map(|chosen| chosen.label.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether a required choice may be made for the operator: the first of many where something
    /// new is made, and only an only one elsewhere.
    #[must_use]
    pub fn may_choose(&self, at: usize, number: usize) -> bool {
        let entry = &self.entries[at];
        entry.field.required
            && (number == 1 || (self.spec.effect == Effect::Creates && entry.within.is_none()))
    }
}
