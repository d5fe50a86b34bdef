//! One field of a form: what is in it, and whether that may stand there.

use crossterm::event::{KeyCode, KeyEvent};
use serde_json::Value as Json;
use tui_input::Input;

use crate::domain::size::whole_number;
use crate::domain::{Catalogue, Every, Field, FieldType, Operation, ResourceKind};

use crate::ui::input::edit;
use crate::ui::input::fuzzy::rank;

/// Something that can be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What is sent.
    pub value: Json,
    /// What is shown and searched.
    pub label: String,
    /// What it means, beside it.
    pub note: String,
}

/// A choice among a few or, searched, among many.
#[derive(Debug, Clone, Default)]
pub struct Pick {
    /// What can be chosen.
    pub options: Vec<Candidate>,
    /// What is chosen.
    pub chosen: Option<Candidate>,
    /// What is typed to find one, while the list is open.
    pub search: Option<Input>,
    /// What matches, best first, while the list is open.
    pub matches: Vec<Candidate>,
    /// The selected match.
    pub at: usize,
    /// Living resources to choose from, and the states they must be in.
    pub live: Option<(ResourceKind, Vec<String>)>,
}

impl Pick {
    /// Opens the list, searching for `typed`; where that is nothing, at what is chosen.
    pub fn open(&mut self, typed: &str) {
        self.search = Some(Input::from(typed));
        self.find();
        let chosen = self.chosen.as_ref().filter(|_| typed.is_empty());
        let at =
            chosen.and_then(|it| self.matches.iter().position(|other| other.value == it.value));
        self.at = at.unwrap_or(0);
    }

    /// Works out what matches what is typed.
    pub fn find(&mut self) {
        let Some(search) = &self.search else { return };
        let typed = search.value().trim();
        self.matches = if typed.is_empty() {
            self.options.clone()
        } else {
            rank(typed, self.options.iter(), |option| option.label.as_str())
        };
        self.at = self.at.min(self.matches.len().saturating_sub(1));
    }

    /// Takes the selected match and closes the list. Where what is typed matches nothing, the list
    /// stays open, and it is returned why.
    ///
    /// # Errors
    /// What is wrong with what is typed, in a few words shown beside it.
    pub fn take(&mut self) -> Result<(), String> {
        let typed = self.search.as_ref().map_or("", |search| search.value().trim());
        match (self.matches.get(self.at), typed) {
            (Some(option), _) => self.chosen = Some(option.clone()),
            (None, "") => {}
            (None, typed) => return Err(format!("nothing here matches '{typed}'")),
        }
        self.close();
        Ok(())
    }

    /// Closes the list.
    pub fn close(&mut self) {
        self.search = None;
        self.matches.clear();
        self.at = 0;
    }

    /// Chooses the next one, or the one before.
    pub fn step(&mut self, forward: bool) {
        let number = self.options.len();
        if number == 0 {
            return;
        }
        let at = self
            .chosen
            .as_ref()
            .and_then(|chosen| self.options.iter().position(|option| option.value == chosen.value));
        let next = match (at, forward) {
            (None, true) => 0,
            (None, false) => number - 1,
            (Some(at), true) => (at + 1) % number,
            (Some(at), false) => (at + number - 1) % number,
        };
        self.chosen = self.options.get(next).cloned();
    }
}

/// What is in a field.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a form has a handful of them")]
pub enum Widget {
    /// A line of text; also numbers and repeat fields, checked as they are typed.
    Line(Input),
    /// A secret.
    Secret {
        /// What is typed.
        input: Input,
        /// Whether it is shown.
        shown: bool,
    },
    /// Yes or no.
    Flag(bool),
    /// One of several.
    Pick(Pick),
    /// Several lines.
    Lines {
        /// Each.
        lines: Vec<Input>,
        /// The one being typed in.
        at: usize,
    },
    /// Nothing itself: the fields of the kind chosen in another field stand below it.
    Nested,
    /// Nothing itself: the fields of a record stand below it.
    Group,
    /// Nothing itself: the items of a list stand below it.
    Items,
}

/// A field of a form.
#[derive(Debug, Clone)]
pub struct FormField {
    /// Where its value stands in the request: `formats.0.size`.
    pub path: String,
    /// Its catalogue entry; that of its list for an item.
    pub field: Field,
    /// What is in it.
    pub widget: Widget,
    /// What is wrong with it.
    pub error: Option<String>,
    /// Whether the backend said so, for whom that may depend on other fields.
    pub refused: bool,
    /// Paths that begin with what is typed.
    pub paths: Vec<String>,
    /// It is given from elsewhere and not shown.
    pub hidden: bool,
    /// It is not shown until the fields rarely needed are asked for.
    pub advanced: bool,
    /// It holds a secret that is hidden from us, which stays as it is unless another is typed.
    pub kept: bool,
    /// What stands in it was put there and not typed: the first key typed replaces it.
    pub selected: bool,
}

impl FormField {
    /// A field with its default in it.
    #[must_use]
    pub fn new(field: &Field, path: &str, catalogue: &Catalogue) -> Self {
        let pick = |options| Widget::Pick(Pick { options, ..Pick::default() });
        let widget = match &field.of {
            FieldType::Secret { .. } => Widget::Secret { input: Input::default(), shown: false },
            FieldType::Flag => Widget::Flag(false),
            FieldType::Choice { choices } => pick(
                choices
                    .iter()
                    .map(|choice| Candidate {
                        value: choice.value.as_ref().into(),
                        label: choice.value.to_string(),
                        note: choice.label.to_string(),
                    })
                    .collect(),
            ),
            FieldType::Resource { of, states } => Widget::Pick(Pick {
                live: Some((*of, states.iter().map(ToString::to_string).collect())),
                ..Pick::default()
            }),
            FieldType::Kind => pick(
                catalogue
                    .iter()
                    .map(|spec| Candidate {
                        value: spec.kind.as_ref().into(),
                        label: spec.kind.to_string(),
                        note: spec.doc.to_string(),
                    })
                    .collect(),
            ),
            FieldType::Lines => Widget::Lines { lines: vec![Input::default()], at: 0 },
            FieldType::Params { .. } => Widget::Nested,
            FieldType::Record { .. } => Widget::Group,
            FieldType::List { .. } => Widget::Items,
            FieldType::Text { .. }
            | FieldType::Name
            | FieldType::Hostname
            | FieldType::Integer { .. }
            | FieldType::File
            | FieldType::NewFile
            | FieldType::Url
            | FieldType::Every { .. }
            | FieldType::Unknown => Widget::Line(Input::default()),
        };
        let mut entry = Self {
            path: path.to_owned(),
            field: field.clone(),
            widget,
            error: None,
            refused: false,
            paths: Vec::new(),
            hidden: false,
            advanced: field.advanced,
            kept: false,
            selected: false,
        };
        let default = entry.field.default.clone();
        entry.set(&default);
        entry
    }

    /// Puts a value in. What stands for a hidden secret is not one.
    pub fn set(&mut self, value: &Json) {
        let text = match value {
            Json::Null => String::new(),
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        match &mut self.widget {
            Widget::Line(input) => {
                self.selected = !text.is_empty();
                *input = Input::from(text);
            }
            Widget::Secret { input, .. } => {
                self.kept = text == Operation::HIDDEN;
                *input = if self.kept { Input::default() } else { Input::from(text) };
            }
            Widget::Flag(flag) => *flag = value.as_bool().unwrap_or(false),
            Widget::Pick(pick) => {
                pick.chosen = (!value.is_null()).then(|| {
                    let known = pick.options.iter().find(|option| option.value == *value);
                    known.cloned().unwrap_or_else(|| Candidate {
                        value: value.clone(),
                        label: text,
                        note: String::new(),
                    })
                });
            }
            Widget::Lines { lines, at } => {
                *lines = value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Json::as_str)
                    .map(Input::from)
                    .collect();
                if lines.is_empty() {
                    lines.push(Input::default());
                }
                *at = lines.len() - 1;
            }
            Widget::Nested | Widget::Group | Widget::Items => {}
        }
    }

    /// What is in it as it was typed or chosen, whether or not that may stand there.
    #[must_use]
    pub fn content(&self) -> String {
        match &self.widget {
            Widget::Line(input) | Widget::Secret { input, .. } => input.value().to_owned(),
            Widget::Flag(flag) => flag.to_string(),
            Widget::Pick(pick) => {
                pick.chosen.as_ref().map(|chosen| chosen.value.to_string()).unwrap_or_default()
            }
            Widget::Lines { lines, .. } => {
                lines.iter().map(Input::value).collect::<Vec<_>>().join("\n")
            }
            Widget::Nested | Widget::Group | Widget::Items => String::new(),
        }
    }

    /// What is in it, `None` where nothing is given.
    ///
    /// # Errors
    /// What is wrong with it, in a few words shown beside it.
    pub fn value(&self) -> Result<Option<Json>, String> {
        match &self.widget {
            Widget::Line(input) => self.line(input.value().trim()),
            Widget::Secret { input, .. } => {
                let FieldType::Secret { min } = self.field.of else { return Ok(None) };
                let secret = input.value();
                match secret.chars().count() {
                    0 => Ok(self.kept.then(|| Operation::HIDDEN.into())),
                    length if length < min as usize => {
                        Err(format!("at least {min} characters; there are {length}"))
                    }
                    _ if secret.len() > FieldType::LONGEST_SECRET => {
                        Err(format!("at most {} bytes", FieldType::LONGEST_SECRET))
                    }
                    _ => Ok(Some(secret.into())),
                }
            }
            Widget::Flag(flag) => Ok(Some((*flag).into())),
            Widget::Pick(pick) => Ok(pick.chosen.as_ref().map(|chosen| chosen.value.clone())),
            Widget::Lines { lines, .. } => {
                let lines: Vec<Json> = lines
                    .iter()
                    .map(|line| line.value().trim())
                    .filter(|line| !line.is_empty())
                    .map(Json::from)
                    .collect();
                Ok((!lines.is_empty()).then_some(Json::Array(lines)))
            }
            Widget::Nested | Widget::Group | Widget::Items => Ok(None),
        }
    }

    /// What a typed line comes to, in the field's own type.
    fn line(&self, text: &str) -> Result<Option<Json>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let first = text.chars().next().unwrap_or(' ');
        match &self.field.of {
            FieldType::Text { max } if text.chars().count() > *max as usize => {
                return Err(format!("at most {max} characters"));
            }
            FieldType::Name => {
                if !first.is_ascii_alphanumeric() {
                    return Err("a name begins with a letter or a digit".into());
                }
                only(text, "-._")?;
            }
            FieldType::Hostname => {
                if !first.is_ascii_alphabetic() {
                    return Err("a host name begins with a letter".into());
                }
                only(text, "-")?;
            }
            FieldType::Integer { min, max, unit } => {
                let number = whole_number(text, unit)
                    .map_err(|wanted| format!("'{text}' must be {wanted}"))?;
                if !(*min..=*max).contains(&number) {
                    return Err(format!("from {min} to {max} {unit}").trim_end().to_owned());
                }
                return Ok(Some(number.into()));
            }
            FieldType::File | FieldType::NewFile if !text.starts_with('/') => {
                return Err("a path begins with /".into());
            }
            FieldType::Url if !text.starts_with("http://") && !text.starts_with("https://") => {
                return Err("a URL begins with http:// or https://".into());
            }
            FieldType::Every { min, max } => match text.parse::<Every>()? {
                Every::At(at) if !(*min..=*max).contains(&at) => {
                    return Err(format!("* or from {min} to {max}"));
                }
                Every::At(_) | Every::Any => {}
            },
            _ => {}
        }
        Ok(Some(text.into()))
    }

    /// Checks what is in it, and whether anything must be.
    pub fn check(&mut self, needed: bool) {
        self.refused = false;
        self.error = match self.value() {
            Err(why) => Some(why),
            Ok(None) if needed && !self.holds_others() => Some("needed".to_owned()),
            Ok(_) => None,
        };
    }

    /// Whether it has no value of its own, only those of the entries below it.
    #[must_use]
    pub const fn holds_others(&self) -> bool {
        matches!(self.widget, Widget::Nested | Widget::Group | Widget::Items)
    }

    /// Lets a key edit the line in it. What is selected is replaced by what is typed, erased as
    /// one, and kept by the keys that only move. Returns whether the key meant anything there.
    pub fn edit(&mut self, key: KeyEvent) -> bool {
        let (Widget::Line(input) | Widget::Secret { input, .. }) = &mut self.widget else {
            return false;
        };
        let mut edited = input.clone();
        if !edit::edit(&mut edited, key) {
            return false;
        }
        let changes = edited.value() != input.value() || key.code == KeyCode::Delete;
        if std::mem::take(&mut self.selected) && changes {
            let is_longer = edited.value().len() > input.value().len();
            edited = Input::default();
            if is_longer {
                edit::edit(&mut edited, key);
            }
        }
        *input = edited;
        true
    }

    /// Puts pasted text into the line in it, in the place of what is selected.
    pub fn paste(&mut self, text: &str) {
        if let Widget::Line(input) | Widget::Secret { input, .. } = &mut self.widget {
            if std::mem::take(&mut self.selected) {
                *input = Input::default();
            }
            edit::paste(input, text);
        }
    }

    /// Changes a number by the arrow keys.
    pub fn add(&mut self, by: i64) {
        if let (FieldType::Integer { min, max, unit }, Widget::Line(input)) =
            (&self.field.of, &mut self.widget)
        {
            let number = whole_number(input.value().trim(), unit).unwrap_or(*min);
            self.selected = false;
            *input = Input::from(number.saturating_add(by).clamp(*min, *max).to_string());
        }
    }

    /// Whether it names a file on the box.
    #[must_use]
    pub const fn is_path(&self) -> bool {
        matches!(self.field.of, FieldType::File | FieldType::NewFile)
    }
}

/// Refuses what is neither a letter, a digit nor one of `others`, and more than 63 characters.
fn only(text: &str, others: &str) -> Result<(), String> {
    if let Some(wrong) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !others.contains(*c)) {
        let others: Vec<String> = others.chars().map(String::from).collect();
        return Err(format!(
            "'{wrong}' may not be in it: letters, digits and {}",
            others.join(" ")
        ));
    }
    if text.len() > 63 {
        return Err("at most 63 characters".into());
    }
    Ok(())
}
