//! Fuzzy search: what matches what is typed, best first.

use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

/// The most matches that are shown.
pub const MOST_MATCHES: usize = 100;

/// The items that match what is typed, best first.
pub fn rank<'a, T: Clone + 'a>(
    typed: &str,
    items: impl Iterator<Item = &'a T>,
    text: impl Fn(&T) -> &str,
) -> Vec<T> {
    let pattern = Pattern::parse(typed, CaseMatching::Ignore, Normalization::Smart);
    let mut scored = scored(&pattern, items, text);
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    scored.into_iter().take(MOST_MATCHES).map(|(_, item)| item.clone()).collect()
}

/// The items that match what is typed by their name, best first, and after them those in whose
/// description each word of it stands, in their order: in a sentence nearly any letters are found
/// one after the other.
pub fn rank_described<'a, T: Clone + 'a>(
    typed: &str,
    items: impl Iterator<Item = &'a T> + Clone,
    name: impl Fn(&T) -> &str,
    description: impl Fn(&T) -> &str,
) -> Vec<T> {
    let by_name = Pattern::parse(typed, CaseMatching::Ignore, Normalization::Smart);
    let words =
        Pattern::new(typed, CaseMatching::Ignore, Normalization::Smart, AtomKind::Substring);
    let mut matcher = Matcher::new(Config::DEFAULT);
    let mut characters = Vec::new();
    let mut is_named = |item: &T| {
        let name = Utf32Str::new(name(item), &mut characters);
        by_name.score(name, &mut matcher).is_some()
    };
    let others: Vec<&T> = items.clone().filter(|item| !is_named(item)).collect();
    let described = scored(&words, others.into_iter(), description);
    let mut found = rank(typed, items, &name);
    let room = MOST_MATCHES.saturating_sub(found.len());
    found.extend(described.into_iter().take(room).map(|(_, item)| item.clone()));
    found
}

/// The items that match a pattern, in their order, and how well.
fn scored<'a, T>(
    pattern: &Pattern,
    items: impl Iterator<Item = &'a T>,
    text: impl Fn(&T) -> &str,
) -> Vec<(u32, &'a T)> {
    let mut matcher = Matcher::new(Config::DEFAULT);
    let mut characters = Vec::new();
    items
        .filter_map(|item| {
            let score = pattern.score(Utf32Str::new(text(item), &mut characters), &mut matcher)?;
            Some((score, item))
        })
        .collect()
}
