//! A form: the fields of a catalogue entry, what the backend says about them, and where the keys
//! are.

mod nested;

use jiff::Timestamp;
use serde_json::Value as Json;

use crate::domain::arguments::below;
use crate::domain::{
    Catalogue, Control, Effect, FieldType, OperationSpec, Params, Preview, Refusal, Risk, Submit,
    Uid, argument_mut,
};

use super::field::{FormField, Widget};
use crate::ui::model::Owner;

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
    /// Its fields, each followed by those it holds.
    pub entries: Vec<FormField>,
    /// The field with the keys.
    pub at: usize,
    /// Whether the fields rarely needed are shown.
    pub advanced: bool,
    /// What is done with it.
    pub purpose: Purpose,
    /// What its subject must belong to.
    pub owner: Option<Owner>,
    /// What would happen.
    pub preview: Option<Preview>,
    /// The first line shown of that.
    pub preview_at: usize,
    /// When to ask what would happen.
    pub preview_due: Option<Timestamp>,
    /// Counts changes, so that an answer about older contents is known.
    pub revision: u64,
    /// What is wrong with it as a whole.
    pub refusal: Option<String>,
    /// Whether it was sent and the answer is awaited.
    pub sending: bool,
    /// Whether it stands over the question that it is about, which is answered once it is sent.
    pub over_question: bool,
    /// What was in its fields, by their paths, before anybody changed anything.
    untouched: Vec<(String, String)>,
    /// Whether it was to be closed although that loses changes: once more closes it.
    pub leaving: bool,
}

impl Form {
    /// A form for a kind, with defaults.
    #[must_use]
    pub fn new(number: u64, spec: &OperationSpec, purpose: Purpose, catalogue: &Catalogue) -> Self {
        let entries = nested::entries(&spec.fields, "", None, catalogue);
        let mut form = Self {
            number,
            spec: spec.clone(),
            entries,
            at: 0,
            advanced: false,
            purpose,
            owner: None,
            preview: None,
            preview_at: 0,
            preview_due: None,
            revision: 0,
            refusal: None,
            sending: false,
            over_question: false,
            untouched: Vec::new(),
            leaving: false,
        };
        if let Purpose::Many { field, .. } = &form.purpose {
            let field = field.clone();
            for entry in &mut form.entries {
                entry.hidden |= entry.path == field;
            }
        }
        form.nest(catalogue);
        let first = form.visible().next();
        form.at = first.unwrap_or(0);
        form
    }

    /// Puts values in, at every depth.
    pub fn fill(&mut self, params: &Params, catalogue: &Catalogue) {
        let fields = self.spec.fields.clone();
        for field in fields.iter().filter(|field| params.contains_key(&*field.name)) {
            let value = params.get(&*field.name);
            let is_own = |entry: &FormField| entry.path == field.name;
            let Some(place) = self.entries.iter().position(is_own) else { continue };
            self.entries.retain(|entry| !nested::is_within(&entry.path, &field.name));
            let mut fresh = nested::entry(field, &field.name, value, catalogue);
            fresh[0].hidden = self.entries[place].hidden;
            self.entries.splice(place..=place, fresh);
        }
        self.nest_with(catalogue, params.clone());
        if !matches!(self.purpose, Purpose::Relaunch { .. }) {
            // A new operation has no secret yet that could be kept.
            for entry in &mut self.entries {
                entry.kept = false;
            }
        }
    }

    /// Puts the keys into the first field where something is missing, or the first.
    pub fn begin(&mut self) {
        let first = self.visible().find(|at| {
            let entry = &self.entries[*at];
            let is_missing = matches!(entry.value(), Ok(None)) && !entry.holds_others();
            entry.field.required && is_missing && !self.is_left_out(&entry.path)
        });
        let first = first.or_else(|| self.visible().next());
        self.at = first.unwrap_or(0);
    }

    /// Shows the fields of the kind chosen, below the field for its parameters.
    pub fn nest(&mut self, catalogue: &Catalogue) {
        self.nest_with(catalogue, Params::new());
    }

    /// The same, with these values in fields that were not shown before.
    fn nest_with(&mut self, catalogue: &Catalogue, mut values: Params) {
        let here = self.entries.get(self.at).map(|entry| entry.path.clone());
        let mut place = 0;
        // What comes in holds such fields again, perhaps.
        while let Some(holder) = self.entries.get(place) {
            place += 1;
            let FieldType::Params { of } = &holder.field.of else { continue };
            let path = holder.path.clone();
            let kind = below(nested::parent(&path), of);
            let kind = self.entries.iter().find(|entry| entry.path == kind);
            let kind = kind.and_then(|entry| entry.value().ok()?);
            let kind = kind.as_ref().and_then(Json::as_str).and_then(|kind| catalogue.get(kind));
            let wanted = kind.map(|kind| kind.fields.as_slice()).unwrap_or_default();
            let there = self.entries.iter().filter(|entry| nested::parent(&entry.path) == path);
            if there.map(|entry| &entry.field).eq(wanted) {
                continue;
            }
            let value = argument_mut(&mut values, &path).and_then(|value| value.as_object());
            let fresh = nested::entries(wanted, &path, value, catalogue);
            self.entries.retain(|entry| !nested::is_within(&entry.path, &path));
            self.entries.splice(place..place, fresh);
        }
        let at = self.entries.iter().position(|entry| Some(&entry.path) == here.as_ref());
        self.at = at.unwrap_or(self.at).min(self.entries.len().saturating_sub(1));
    }

    /// The places of the lines that are shown: the fields, and the names of records.
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        let is_shown = |entry: &FormField| {
            let is_row = match entry.widget {
                Widget::Nested => false,
                // An item of a list has its number before its first field.
                Widget::Group => !self.is_item(entry),
                _ => true,
            };
            is_row && !entry.hidden && (self.advanced || !entry.advanced)
        };
        let entries = self.entries.iter().enumerate();
        entries.filter(move |(_, entry)| is_shown(entry)).map(|(place, _)| place)
    }

    /// The places of the fields that are shown and can have the keys.
    pub fn visible(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows().filter(|place| !matches!(self.entries[*place].widget, Widget::Group))
    }

    /// Whether there are fields rarely needed.
    #[must_use]
    pub fn has_advanced(&self) -> bool {
        self.entries.iter().any(|entry| entry.advanced)
    }

    /// Whether a field rarely needed has another value among these than its default.
    #[must_use]
    pub fn has_advanced_values(&self, params: &Params) -> bool {
        self.spec.fields.iter().filter(|field| field.advanced).any(|field| {
            let value = params.get(&*field.name).filter(|value| !value.is_null());
            value.is_some_and(|value| *value != field.default)
        })
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
    pub fn current(&mut self) -> Option<&mut FormField> {
        self.entries.get_mut(self.at)
    }

    /// What is in its fields, by their paths.
    fn contents(&self) -> Vec<(String, String)> {
        self.entries.iter().map(|entry| (entry.path.clone(), entry.content())).collect()
    }

    /// Takes what is in it now for what nobody has changed yet.
    pub fn untouch(&mut self) {
        self.untouched = self.contents();
    }

    /// Whether somebody changed what is in it.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.contents() != self.untouched
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

    /// Only what differs from what was there before. A field emptied takes its default again.
    #[must_use]
    pub fn changes(&self, before: &Params) -> Params {
        let after = self.params();
        let mut changes: Params = after
            .iter()
            .filter(|(name, value)| before.get(*name) != Some(*value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for entry in self.entries.iter().filter(|entry| !entry.path.contains('.')) {
            let name = entry.path.as_str();
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
        let here = self.at;
        let mut wrong = None;
        for place in 0..self.entries.len() {
            let entry = &self.entries[place];
            if entry.hidden {
                continue;
            }
            let needed = entry.field.required && !self.is_left_out(&entry.path);
            let number = self.number_allowed(entry);
            let entry = &mut self.entries[place];
            entry.check(needed);
            entry.error = entry.error.take().or(number.err());
            if entry.error.is_some() {
                wrong = wrong.or(Some(place));
                if place > here && !entry.holds_others() && matches!(entry.value(), Ok(None)) {
                    entry.error = None;
                }
            }
        }
        if let Some(at) = wrong {
            self.advanced |= self.entries[at].advanced;
            self.at = at;
        }
        wrong.is_none()
    }

    /// Whether a list has as many items as it may.
    fn number_allowed(&self, entry: &FormField) -> Result<(), String> {
        let (FieldType::List { min, max, .. }, Widget::Items) = (&entry.field.of, &entry.widget)
        else {
            return Ok(());
        };
        match self.items(&entry.path) {
            number if number < *min as usize => Err(format!("at least {min}")),
            number if number > *max as usize => Err(format!("at most {max}")),
            _ => Ok(()),
        }
    }

    /// Forgets what the backend found wrong before: it has looked again.
    pub fn forget_refusals(&mut self) {
        self.refusal = None;
        for entry in self.entries.iter_mut().filter(|entry| entry.refused) {
            (entry.error, entry.refused) = (None, false);
        }
    }

    /// Shows a refusal at its field, or above all of them.
    pub fn refuse(&mut self, refusal: &Refusal, go: bool) {
        // What is about something that has no field of its own is told at what holds it.
        let mut path = refusal.field.as_deref().unwrap_or_default();
        let place = loop {
            let is_it = |place: &usize| self.entries[*place].path == path;
            match self.rows().find(is_it).or_else(|| self.hidden_row(path)) {
                Some(place) => break Some(place),
                None if path.is_empty() => break None,
                None => path = nested::parent(path),
            }
        };
        match place {
            Some(at) => {
                // Beside its field a sentence need not name it.
                let told = refusal.message.as_str();
                let told = told.strip_prefix(path).and_then(|rest| rest.strip_prefix(": "));
                let told = self.counted_from_one(told.unwrap_or(&refusal.message));
                self.entries[at].error = Some(told);
                self.entries[at].refused = true;
                if go {
                    self.advanced |= self.entries[at].advanced;
                    self.at = at;
                }
            }
            None => self.refusal = Some(self.counted_from_one(&refusal.message)),
        }
    }

    /// The place of a field that is not shown because it is rarely needed.
    fn hidden_row(&self, path: &str) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.path == path && entry.advanced && !entry.hidden)
            .filter(|place| !matches!(self.entries[*place].widget, Widget::Nested | Widget::Group))
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

    /// What queues again the failed operation that it is about, with what was changed; `None` where
    /// a new one is asked for.
    #[must_use]
    pub fn relaunch(&self) -> Option<Control> {
        let Purpose::Relaunch { uid, before } = &self.purpose else { return None };
        Some(Control::Relaunch { uid: *uid, params: self.changes(before) })
    }

    /// What it would be done to, by name: for the confirmation.
    #[must_use]
    pub fn things(&self) -> Vec<String> {
        if let Purpose::Many { things, .. } = &self.purpose {
            return things.iter().map(|(_, name)| name.clone()).collect();
        }
        // What makes something new is done to what it is to be called.
        let subject = self.spec.subject.as_deref().unwrap_or("name");
        let named = self.entries.iter().find(|entry| entry.path == subject);
        match named.map(|entry| &entry.widget) {
            Some(Widget::Pick(pick)) => {
                pick.chosen.iter().map(|chosen| chosen.label.clone()).collect()
            }
            Some(Widget::Line(input)) => vec![input.value().trim().to_owned()],
            _ => Vec::new(),
        }
    }

    /// What a field's choices must belong to.
    #[must_use]
    pub fn owner_for(&self, path: &str) -> Option<&Owner> {
        self.owner.as_ref().filter(|_| self.spec.subject.as_deref() == Some(path))
    }

    /// Whether a required choice may be made for the operator: the first of many where something
    /// new is made, and only an only one elsewhere. For what a task does that is dangerous none is.
    #[must_use]
    pub fn may_choose(&self, at: usize, number: usize, catalogue: &Catalogue) -> bool {
        let entry = &self.entries[at];
        let asks = self.nested_kind(&entry.path, catalogue).is_some_and(|it| it.risk != Risk::None);
        entry.field.required
            && !asks
            && (number == 1 || (self.spec.effect == Effect::Creates && !entry.path.contains('.')))
    }

    /// The kind of another operation among whose parameters a field stands.
    fn nested_kind<'a>(&self, path: &str, catalogue: &'a Catalogue) -> Option<&'a OperationSpec> {
        let value = |path: &str| self.entries.iter().find(|entry| entry.path == path);
        let ancestors = std::iter::successors(Some(path), |path| Some(nested::parent(path)));
        let mut holders = ancestors.skip(1).take_while(|path| !path.is_empty());
        holders.find_map(|holder| {
            let FieldType::Params { of } = &value(holder)?.field.of else { return None };
            let kind = value(&below(nested::parent(holder), of))?.value().ok()??;
            catalogue.get(kind.as_str()?)
        })
    }
}
