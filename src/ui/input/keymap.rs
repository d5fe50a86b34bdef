//! Which keys ask for which action.
//!
//! The defaults are `assets/keymap.toml`; files of the operator's own change them. A key bound
//! twice where both could be meant, an unknown key and an unknown action are refused and named.

use std::collections::BTreeMap;
use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde::Deserialize;

use crate::ui::input::action::{Action, ActionEntry, Scope};

const DEFAULTS: &str = include_str!("../../../assets/keymap.toml");

/// What the default keys are called, in place of a file.
const DEFAULT_MAP: &str = "the built-in key map";

/// A key, with what is held down beside it. Shift is part of a character, not beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The key.
    pub code: KeyCode,
    /// What is held down beside it.
    pub modifiers: KeyModifiers,
}

impl From<KeyEvent> for Key {
    fn from(event: KeyEvent) -> Self {
        Self::new(event.code, event.modifiers)
    }
}

impl Key {
    /// The key in the one form it is compared in.
    #[must_use]
    pub fn new(code: KeyCode, modifiers: KeyModifiers) -> Self {
        let mut modifiers =
            modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        if matches!(code, KeyCode::Char(_) | KeyCode::BackTab) {
            modifiers -= KeyModifiers::SHIFT;
        }
        let code = match code {
            // Terminals without the newer protocols send Ctrl-] as Ctrl-5.
            KeyCode::Char('5') if modifiers == KeyModifiers::CONTROL => KeyCode::Char(']'),
            other => other,
        };
        Self { code, modifiers }
    }
}

const NAMED: &[(&str, KeyCode)] = &[
    ("space", KeyCode::Char(' ')),
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("backspace", KeyCode::Backspace),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pageup", KeyCode::PageUp),
    ("pagedown", KeyCode::PageDown),
];

impl std::str::FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut modifiers = KeyModifiers::NONE;
        let mut rest = text;
        for (prefix, modifier) in [
            ("ctrl-", KeyModifiers::CONTROL),
            ("alt-", KeyModifiers::ALT),
            ("shift-", KeyModifiers::SHIFT),
        ] {
            if let Some(after) = rest.strip_prefix(prefix)
                && !after.is_empty()
            {
                modifiers |= modifier;
                rest = after;
            }
        }
        let mut characters = rest.chars();
        let code = match (characters.next(), characters.next()) {
            (Some(character), None) => KeyCode::Char(character),
            _ => match NAMED.iter().find(|(name, _)| *name == rest) {
                Some((_, KeyCode::Tab)) if modifiers.contains(KeyModifiers::SHIFT) => {
                    KeyCode::BackTab
                }
                Some((_, code)) => *code,
                None => rest
                    .strip_prefix('f')
                    .and_then(|number| number.parse().ok())
                    .filter(|number| (1..=12).contains(number))
                    .map(KeyCode::F)
                    .ok_or_else(|| format!("'{text}' is no key"))?,
            },
        };
        Ok(Self::new(code, modifiers))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (modifier, name) in [
            (KeyModifiers::CONTROL, "ctrl-"),
            (KeyModifiers::ALT, "alt-"),
            (KeyModifiers::SHIFT, "shift-"),
        ] {
            if self.modifiers.contains(modifier) {
                f.write_str(name)?;
            }
        }
        match self.code {
            KeyCode::BackTab => f.write_str("shift-tab"),
            KeyCode::F(number) => write!(f, "f{number}"),
            code => match (NAMED.iter().find(|(_, named)| *named == code), code) {
                (Some((name, _)), _) => f.write_str(name),
                (None, KeyCode::Char(character)) => write!(f, "{character}"),
                (None, code) => write!(f, "{code:?}"),
            },
        }
    }
}

/// Sequences as written in a file: one or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// What a key leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// An action.
    Action(&'a Action),
    /// The beginning of a longer sequence.
    Prefix,
    /// Nothing.
    Nothing,
}

#[derive(Debug, Clone)]
struct Binding {
    keys: Vec<Key>,
    entry: usize,
    /// Whether no file of the operator's says so.
    is_own: bool,
}

/// The keys of an action, and the file that says so.
struct Sequences {
    sequences: Vec<Vec<Key>>,
    file: String,
}

impl Sequences {
    fn read(written: &[String], file: &str, action: &str) -> Result<Self, String> {
        let sequences = written.iter().map(|sequence| {
            let keys = sequence.split_whitespace();
            let keys =
                keys.map(|key| key.parse().map_err(|why| format!("{file}: {action}: {why}")));
            let keys: Vec<Key> = keys.collect::<Result<_, String>>()?;
            if keys.is_empty() {
                return Err(format!("{file}: {action}: an empty text is no key"));
            }
            Ok(keys)
        });
        Ok(Self { sequences: sequences.collect::<Result<_, _>>()?, file: file.to_owned() })
    }
}

/// The actions and the keys that ask for them.
#[derive(Debug, Clone, Default)]
pub struct Keymap {
    entries: Vec<ActionEntry>,
    bindings: Vec<Binding>,
}

impl Keymap {
    /// The default keys, changed by files of the operator's own, each given as its name and text.
    ///
    /// # Errors
    /// One sentence naming the file and the key or action at fault.
    pub fn new(entries: Vec<ActionEntry>, files: &[(String, String)]) -> Result<Self, String> {
        Self::with_others(entries, files, &[])
    }

    /// The same, where the files may name `others` too: what this backend does not offer and
    /// another may.
    ///
    /// # Errors
    /// One sentence naming the file and the key or action at fault.
    pub fn with_others(
        entries: Vec<ActionEntry>,
        files: &[(String, String)],
        others: &[String],
    ) -> Result<Self, String> {
        let is_known = |action: &str| {
            entries.iter().any(|entry| entry.name == action)
                || others.iter().any(|other| other == action)
        };
        let mut written: BTreeMap<String, Sequences> = BTreeMap::new();
        let own = (DEFAULT_MAP.to_owned(), DEFAULTS.to_owned());
        for (file, text) in std::iter::once(&own).chain(files) {
            let table: BTreeMap<String, OneOrMany> = toml::from_str(text)
                .map_err(|error| format!("{file} cannot be read: {}", error.message()))?;
            for (action, keys) in table {
                if !is_known(&action) {
                    return Err(format!("{file}: there is no action '{action}'"));
                }
                let keys = match keys {
                    OneOrMany::One(one) => vec![one],
                    OneOrMany::Many(many) => many,
                };
                let keys = Sequences::read(&keys, file, &action)?;
                written.insert(action, keys);
            }
        }
        let mut keymap = Self { entries, bindings: Vec::new() };
        for (place, entry) in keymap.entries.iter().enumerate() {
            let keys = match written.remove(&entry.name) {
                Some(keys) => keys,
                None => Sequences::read(&entry.keys, DEFAULT_MAP, &entry.name)?,
            };
            let is_own = keys.file == DEFAULT_MAP;
            for sequence in keys.sequences {
                let Some(taken) = keymap.conflict(place, &sequence) else {
                    keymap.bindings.push(Binding { keys: sequence, entry: place, is_own });
                    continue;
                };
                // What a backend suggests is not worth a quarrel.
                if is_own && taken.is_own && !entry.keys.is_empty() {
                    continue;
                }
                return Err(format!(
                    "{}: '{}' is bound twice: to {} and to {}",
                    keys.file,
                    show(&sequence),
                    keymap.entries[taken.entry].name,
                    entry.name
                ));
            }
        }
        Ok(keymap)
    }

    /// Another action these keys, or a beginning of them, already ask for.
    fn conflict(&self, place: usize, keys: &[Key]) -> Option<&Binding> {
        self.bindings.iter().find(|binding| {
            (binding.keys.starts_with(keys) || keys.starts_with(&binding.keys))
                && self.entries[binding.entry]
                    .scopes
                    .iter()
                    .any(|mine| self.entries[place].scopes.iter().any(|theirs| mine.meets(*theirs)))
        })
    }

    /// What these keys, pressed one after another, lead to in these scopes.
    #[must_use]
    pub fn find(&self, scopes: &[Scope], keys: &[Key]) -> Lookup<'_> {
        let mut found = Lookup::Nothing;
        for binding in &self.bindings {
            let entry = &self.entries[binding.entry];
            if !entry.scopes.iter().any(|scope| scopes.contains(scope)) {
                continue;
            }
            if binding.keys == keys {
                return Lookup::Action(&entry.action);
            }
            if binding.keys.starts_with(keys) {
                found = Lookup::Prefix;
            }
        }
        found
    }

    /// The whole table.
    #[must_use]
    pub fn entries(&self) -> &[ActionEntry] {
        &self.entries
    }

    /// The key to show for an action: the first bound to it.
    #[must_use]
    pub fn key(&self, action: &Action) -> Option<String> {
        self.bindings
            .iter()
            .find(|binding| self.entries[binding.entry].action == *action)
            .map(|binding| show(&binding.keys))
    }

    /// Every key bound to an action.
    #[must_use]
    pub fn keys(&self, action: &Action) -> Vec<String> {
        self.bindings
            .iter()
            .filter(|binding| self.entries[binding.entry].action == *action)
            .map(|binding| show(&binding.keys))
            .collect()
    }

    /// What the footer shows in these scopes, in its order: key and title.
    #[must_use]
    pub fn footer(&self, scopes: &[Scope]) -> Vec<(String, &ActionEntry)> {
        let mut shown: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| {
                entry.footer > 0 && entry.scopes.iter().any(|scope| scopes.contains(scope))
            })
            .filter_map(|entry| Some((self.key(&entry.action)?, entry)))
            .collect();
        shown.sort_by_key(|(_, entry)| entry.footer);
        shown
    }
}

fn show(keys: &[Key]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Catalogue;
    use crate::ui::windows::actions;

    fn with(text: &str) -> Result<Keymap, String> {
        Keymap::new(actions(&Catalogue::default()), &[("mine.toml".to_owned(), text.to_owned())])
    }

    #[test]
    fn the_defaults_are_whole_and_every_own_action_has_a_key() {
        let keymap = Keymap::new(actions(&Catalogue::default()), &[]).unwrap();
        for entry in keymap.entries() {
            assert!(keymap.key(&entry.action).is_some(), "{} has no key", entry.name);
        }
    }

    #[test]
    fn a_duplicate_is_refused_and_named() {
        let error = with("help = \"q\"").unwrap_err();
        assert!(
            error.contains("'q'") && error.contains("help") && error.contains("quit"),
            "{error}"
        );
        let error = with("lanes = \"x\"").unwrap_err();
        assert!(error.contains("cancel") && error.contains("lanes"), "{error}");
        let error = with("lanes = \"g g\"").unwrap_err();
        assert!(error.contains("top"), "{error}");
    }

    #[test]
    fn unknown_keys_and_actions_are_refused_with_file_and_key_named() {
        let error = with("fly = \"f\"").unwrap_err();
        assert!(error.contains("mine.toml") && error.contains("'fly'"), "{error}");
        let error = with("help = \"hyper-x\"").unwrap_err();
        assert!(error.contains("mine.toml") && error.contains("hyper-x"), "{error}");
    }

    #[test]
    fn sequences_wait_for_their_end() {
        let keymap = with("top = \"g g\"").unwrap();
        let g: Key = "g".parse().unwrap();
        assert_eq!(keymap.find(&[Scope::Everywhere], &[g]), Lookup::Prefix);
        assert_eq!(keymap.find(&[Scope::Everywhere], &[g, g]), Lookup::Action(&Action::Top));
        assert_eq!(keymap.find(&[Scope::Alone("In a form")], &[g]), Lookup::Nothing);
    }

    #[test]
    fn keys_read_as_they_are_written() {
        for text in ["ctrl-d", "G", "space", "shift-tab", "f12", "alt-x", "-", "ctrl-]", "pageup"] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        assert!("".parse::<Key>().is_err());
        assert!("f13".parse::<Key>().is_err());
    }
}
