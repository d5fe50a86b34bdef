//! The configuration file: TOML in, [`Config`] out.
//!
//! Every error is one sentence that names the file, the line and the key. This room knows nobody:
//! what a theme or an action is called is for those who have themes and actions, and [`Origin`]
//! lets them report an error in the same way.
//!
//! The values are read from [`DeTable`] and not by a derived `Deserialize`: serde gives the type
//! that was expected, and neither the full name of the key, nor the range, nor the key that was
//! meant.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::file;

/// The example that is shipped: every key with its default and what it is for.
pub const EXAMPLE: &str = include_str!("../config.example.toml");

/// Every key there is. `keymap.…` takes any action's name besides.
pub const KEYS: &[&str] = &[
    "state_dir",
    "share_mib",
    "trash_days",
    "stop_timeout_s",
    "read_only",
    "theme",
    "mouse",
    "ascii",
    "lanes.vm",
    "lanes.disk",
    "lanes.image",
    "lanes.encode",
    "lanes.task",
    "lanes.batch",
    "operations.keep",
    "operations.keep_days",
    "log.level",
    "log.file",
];

/// What hostler was told to do differently. The keys are explained in [`EXAMPLE`]. What is `None`
/// was not told: what holds then is for those who use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything is kept; `None` for [`default_state_dir`].
    pub state_dir: Option<PathBuf>,
    /// Memory of one share, in MiB.
    pub share_mib: Option<u64>,
    /// Days a deleted disk stays in the trash.
    pub trash_days: Option<u32>,
    /// Seconds a guest gets to shut itself down.
    pub stop_timeout_s: Option<u32>,
    /// Nothing can be asked for.
    pub read_only: bool,
    /// A theme's name or file.
    pub theme: String,
    /// Whether the mouse is used.
    pub mouse: bool,
    /// Whether to draw with ASCII only; `None`: as the terminal needs it.
    pub ascii: Option<bool>,
    /// The width of each lane that was told one, by its name.
    pub lanes: BTreeMap<String, u32>,
    /// How many operations are kept.
    pub keep_operations: Option<u32>,
    /// Days an operation is kept after its end.
    pub keep_operations_days: Option<u32>,
    /// The least a message must be to be written to the log.
    pub log_level: String,
    /// The log file; `None` for `hostler.log` in the state directory.
    pub log_file: Option<PathBuf>,
    /// Keys for actions, by the action's name.
    pub keymap: BTreeMap<String, Vec<String>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: None,
            share_mib: None,
            trash_days: None,
            stop_timeout_s: None,
            read_only: false,
            theme: "terminal".to_owned(),
            mouse: true,
            ascii: None,
            lanes: BTreeMap::new(),
            keep_operations: None,
            keep_operations_days: None,
            log_level: "info".to_owned(),
            log_file: None,
            keymap: BTreeMap::new(),
        }
    }
}

/// A configuration that cannot be used: one sentence with file, line and key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Which key was read from which line of which file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    lines: BTreeMap<String, (PathBuf, usize)>,
}

impl Origin {
    /// Returns an error about a key that was read, from somebody who knows more about its value:
    /// `what` goes on from the key, as in "is no theme".
    pub fn error(&self, key: &str, what: impl fmt::Display) -> ConfigError {
        match self.lines.get(key) {
            Some((file, line)) => error_at(file, *line, format!("{key} {what}")),
            None => ConfigError(format!("{key} {what}")),
        }
    }

    /// The files something was read from.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = self.lines.values().map(|(file, _)| file.as_path()).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

/// Where a configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSources {
    /// The files, the stronger one last.
    pub files: Vec<PathBuf>,
    /// Whether they were named, and so must be there.
    pub named: bool,
}

impl ConfigSources {
    /// Returns the file that was named, or else the default places.
    #[must_use]
    pub fn of(named: Option<&Path>) -> Self {
        let absolute = |file: &Path| std::path::absolute(file).unwrap_or(file.to_owned());
        match named {
            Some(file) => Self { files: vec![absolute(file)], named: true },
            None => Self { files: default_files(), named: false },
        }
    }
}

impl Config {
    /// Reads `explicit` alone, or else the files in the default places that exist.
    ///
    /// # Errors
    /// When a file cannot be read (`explicit` must exist), or says something it must not.
    pub fn load(explicit: Option<&Path>) -> Result<(Self, Origin), ConfigError> {
        Self::read(&ConfigSources {
            files: explicit.map_or_else(default_files, |file| vec![file.to_owned()]),
            named: explicit.is_some(),
        })
    }

    /// Reads what there is at these places.
    ///
    /// # Errors
    /// When a file cannot be read (one that was named must exist), or says something it must not.
    pub fn read(sources: &ConfigSources) -> Result<(Self, Origin), ConfigError> {
        let mut config = Self::default();
        let mut origin = Origin::default();
        for file in &sources.files {
            match file::read_text(file) {
                Ok(text) => config.merge(file, &text, &mut origin)?,
                Err(error) if !sources.named && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(ConfigError(format!("cannot read {}: {error}", file.display())));
                }
            }
        }
        Ok((config, origin))
    }

    /// Takes over what `text` says; `file` is its name in errors.
    ///
    /// # Errors
    /// The first error, in the order of the lines.
    pub fn merge(
        &mut self,
        file: &Path,
        text: &str,
        origin: &mut Origin,
    ) -> Result<(), ConfigError> {
        let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            error_at(file, line(at), error.message().replace('\n', ", "))
        })?;
        let mut entries = Vec::new();
        flatten("", table.get_ref(), &mut entries);
        entries.sort_by_key(|entry| entry.at);
        for KeyValue { key, at, value } in entries {
            let said = match value {
                Some(value) => self.set(&key, value),
                None => Err(unknown(&key)),
            };
            said.map_err(|what| error_at(file, line(at), what))?;
            origin.lines.insert(key, (file.to_owned(), line(at)));
        }
        Ok(())
    }

    /// Sets one key. Errors begin with it.
    fn set(&mut self, key: &str, value: &DeValue<'_>) -> Result<(), String> {
        let value = Setting { key, value };
        match key {
            "state_dir" => self.state_dir = Some(value.path()?),
            "share_mib" => self.share_mib = Some(value.whole(64..=65_536)?.into()),
            "trash_days" => self.trash_days = Some(value.whole(0..=3650)?),
            "stop_timeout_s" => self.stop_timeout_s = Some(value.whole(5..=3600)?),
            "read_only" => self.read_only = value.flag()?,
            "theme" => self.theme = value.text()?.to_owned(),
            "mouse" => self.mouse = value.flag()?,
            "ascii" => {
                self.ascii = match value.one_of(&["auto", "always", "never"])? {
                    "always" => Some(true),
                    "never" => Some(false),
                    _ => None,
                }
            }
            "operations.keep" => self.keep_operations = Some(value.whole(1000..=100_000_000)?),
            "operations.keep_days" => self.keep_operations_days = Some(value.whole(1..=36_500)?),
            "log.level" => {
                let level = value.one_of(&["error", "warn", "info", "debug", "trace"])?;
                self.log_level = level.to_owned();
            }
            "log.file" => self.log_file = Some(value.path()?),
            _ => match key.split_once('.') {
                Some(("lanes", lane)) if KEYS.contains(&key) => {
                    self.lanes.insert(lane.to_owned(), value.whole(1..=64)?);
                }
                Some(("keymap", action)) => {
                    self.keymap.insert(action.to_owned(), value.keys()?);
                }
                _ => return Err(unknown(key)),
            },
        }
        Ok(())
    }
}

/// The files that are read when none is named, the stronger one last.
#[must_use]
pub fn default_files() -> Vec<PathBuf> {
    let own = directories::ProjectDirs::from("", "", "hostler")
        .map(|dirs| dirs.config_dir().join("config.toml"));
    std::iter::once(PathBuf::from("/etc/hostler/config.toml")).chain(own).collect()
}

/// The state directory when none is named: root's is the system's.
#[must_use]
pub fn default_state_dir() -> PathBuf {
    let system = PathBuf::from("/var/lib/hostler");
    if rustix::process::geteuid().is_root() {
        return system;
    }
    directories::ProjectDirs::from("", "", "hostler")
        .and_then(|dirs| dirs.state_dir().map(Path::to_owned))
        .unwrap_or(system)
}

/// A key with its value; without one it is a table that may hold no keys of ours.
struct KeyValue<'a> {
    key: String,
    at: usize,
    value: Option<&'a DeValue<'a>>,
}

fn flatten<'a>(prefix: &str, table: &'a DeTable<'a>, entries: &mut Vec<KeyValue<'a>>) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let at = name.span().start;
        match value.get_ref() {
            DeValue::Table(inner)
                if ["lanes", "operations", "log", "keymap"].contains(&key.as_str()) =>
            {
                flatten(&format!("{key}."), inner, entries);
            }
            DeValue::Table(_) if !KEYS.contains(&key.as_str()) => {
                entries.push(KeyValue { key, at, value: None });
            }
            value => entries.push(KeyValue { key, at, value: Some(value) }),
        }
    }
}

/// A value and the key it was given for.
struct Setting<'a> {
    key: &'a str,
    value: &'a DeValue<'a>,
}

impl<'a> Setting<'a> {
    fn wrong(&self, wanted: impl fmt::Display) -> String {
        let given = match self.value {
            DeValue::String(text) => format!("\"{text}\""),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            other => format!("a TOML {}", other.type_str()),
        };
        format!("{} is {given}; it must be {wanted}", self.key)
    }

    fn whole(&self, range: RangeInclusive<u32>) -> Result<u32, String> {
        self.value
            .as_integer()
            .and_then(|number| {
                let digits = number.as_str().replace('_', "");
                u32::from_str_radix(&digits, number.radix()).ok()
            })
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                self.wrong(format!("a whole number from {} to {}", range.start(), range.end()))
            })
    }

    fn flag(&self) -> Result<bool, String> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    fn text(&self) -> Result<&'a str, String> {
        self.value
            .as_str()
            .filter(|text| !text.is_empty() && !text.contains(char::is_control))
            .ok_or_else(|| self.wrong("a text in quotes"))
    }

    fn path(&self) -> Result<PathBuf, String> {
        self.value
            .as_str()
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .ok_or_else(|| self.wrong("an absolute path in quotes"))
    }

    fn one_of(&self, words: &[&'static str]) -> Result<&'static str, String> {
        let text = self.value.as_str();
        words
            .iter()
            .copied()
            .find(|word| Some(*word) == text)
            .ok_or_else(|| self.wrong(format!("one of \"{}\"", words.join("\", \""))))
    }

    fn keys(&self) -> Result<Vec<String>, String> {
        let wrong = || self.wrong("a key in quotes, or a list of them");
        match self.value {
            DeValue::String(key) => Ok(vec![key.to_string()]),
            DeValue::Array(keys) => keys
                .iter()
                .map(Spanned::get_ref)
                .map(|key| key.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect(),
            _ => Err(wrong()),
        }
    }
}

fn error_at(file: &Path, line: usize, what: impl fmt::Display) -> ConfigError {
    // What was written may hold line breaks; an error is one line.
    let mut said = String::new();
    for c in what.to_string().chars() {
        if c.is_control() { said.extend(c.escape_default()) } else { said.push(c) }
    }
    ConfigError(format!("{}, line {line}: {said}", file.display()))
}

fn unknown(key: &str) -> String {
    let near = KEYS
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, key), *known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 3 + 1);
    match near {
        Some((_, known)) => format!("{key} is no key hostler knows; did you mean {known}?"),
        None => {
            format!("{key} is no key hostler knows; config.example.toml has all of them, remove it")
        }
    }
}

#[cfg(test)]
mod tests;
