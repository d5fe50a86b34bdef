//! Fuzzy search: what matches what is typed, best first.

use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

/// The most matches that are shown.
pub const MOST_MATCHES: usize = 100;

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
    scored.into_iter().take(MOST_MATCHES).map(|(_, item)| item.clone()).collect()
}
