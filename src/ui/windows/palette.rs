//! The palette: fuzzy search over actions, kinds, things and operations.

use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use tui_input::Input;

use crate::ui::input::action::Action;
use crate::ui::model::Tab;

/// What choosing an entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Do an action.
    Action(Action),
    /// Go to a row of a tab.
    Row(Tab, u64),
    /// Look at an operation.
    Operation(u64),
}

/// Something that can be found.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What is searched and shown.
    pub text: String,
    /// What it is, beside it.
    pub note: String,
    /// Its key, where it has one.
    pub key: String,
    /// What choosing it does.
    pub target: Target,
}

/// The palette.
#[derive(Debug, Clone, Default)]
pub struct Palette {
    /// What is typed.
    pub input: Input,
    /// The actions and kinds.
    pub fixed: Vec<Candidate>,
    /// The things the backend found for what is typed, per tab.
    pub found: Vec<(Tab, Vec<Candidate>)>,
    /// What matches, best first.
    pub matches: Vec<Candidate>,
    /// The selected match.
    pub at: usize,
}

/// At most this many matches are shown.
const SHOWN: usize = 100;

impl Palette {
    /// A palette over these actions and kinds.
    #[must_use]
    pub fn new(fixed: Vec<Candidate>) -> Self {
        let mut palette = Self { fixed, ..Self::default() };
        palette.search();
        palette
    }

    /// Works out what matches what is typed.
    pub fn search(&mut self) {
        let typed = self.input.value().trim().to_owned();
        let found = self.found.iter().flat_map(|(_, candidates)| candidates);
        let all = self.fixed.iter().chain(found);
        self.matches = if typed.is_empty() {
            all.take(SHOWN).cloned().collect()
        } else {
            rank(&typed, all, |candidate| candidate.text.as_str())
        };
        // An operation can be named outright, whether or not it was found.
        if let Some(uid) = typed.strip_prefix('#').and_then(|digits| digits.parse().ok()) {
            self.matches.insert(
                0,
                Candidate {
                    text: format!("#{uid}"),
                    note: "look at this operation".into(),
                    key: String::new(),
                    target: Target::Operation(uid),
                },
            );
        }
        self.at = self.at.min(self.matches.len().saturating_sub(1));
    }
}

/// The items that match what is typed, best first.
pub fn rank<'a, T: Clone + 'a>(
    typed: &str,
    items: impl Iterator<Item = &'a T>,
    text: impl Fn(&T) -> &str,
) -> Vec<T> {
    let mut matcher = Matcher::new(Config::DEFAULT);
    let pattern = Pattern::parse(typed, CaseMatching::Ignore, Normalization::Smart);
    let mut characters = Vec::new();
    let mut scored: Vec<(u32, &T)> = items
        .filter_map(|item| {
            let score = pattern.score(Utf32Str::new(text(item), &mut characters), &mut matcher)?;
            Some((score, item))
        })
        .collect();
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    scored.into_iter().take(SHOWN).map(|(_, item)| item.clone()).collect()
}
