//! Text that somebody else chose, made fit to be shown: names of files and guests, what tools say,
//! errors; and sizes and hashes, as they are written everywhere.
//!
//! Everything that reaches a terminal, a table or the log goes through here; documents for programs
//! do not, which take it as it is. What is shown can neither move the cursor nor turn the line
//! around, and nothing in it is unseen.

use std::borrow::Cow;

/// What stands in the place of what may not be shown.
const INSTEAD: char = '\u{fffd}';

/// The text with every character replaced that a terminal would obey instead of showing it, or that
/// nobody could see.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.contains(is_harmful) {
        Cow::Owned(text.chars().map(|c| if is_harmful(c) { INSTEAD } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The text [`clean`] and on one line: every run of spaces and line breaks is one space.
#[must_use]
pub fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().map(clean).collect();
    words.join(" ")
}

/// Whether a character is a control character, gives text a direction, or takes no place although
/// it makes a name another: Unicode's `Cc`, its bidirectional controls, its separators of lines,
/// and what it calls default ignorable.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Words as a sentence lists them, such as `halted, crashed or invalid`, with `before_last` between
/// the last two.
#[must_use]
pub fn listed(words: &[impl AsRef<str>], before_last: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [most @ .., last] if !most.is_empty() => {
            format!("{} {before_last} {last}", most.join(", "))
        }
        few => few.concat(),
    }
}

/// Bytes, as people read them everywhere: `1.4 GiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1023.5 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 || size >= 99.95 {
        format!("{size:.0} {}", UNITS[unit])
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

/// MiB, as people read them everywhere: `1.5 GiB` for 1536.
#[must_use]
pub fn mib(mib: u64) -> String {
    bytes(mib.saturating_mul(1 << 20))
}

/// Bytes in hexadecimal, two digits each, as hashes are written everywhere.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_turns_the_line_or_is_unseen_is_shown() {
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        for harmful in [
            "\u{7f}",
            "\u{9b}",
            "\u{ad}",
            "\u{61c}",
            "\u{200b}",
            "\u{200d}",
            "\u{200e}",
            "\u{202e}",
            "\u{2028}",
            "\u{2060}",
            "\u{2066}",
            "\u{2069}",
            "\u{feff}",
            "\u{fe0f}",
            "\u{e0041}",
        ] {
            assert_eq!(clean(&format!("a{harmful}b")), "a\u{fffd}b", "{harmful:?}");
        }
    }

    #[test]
    fn what_can_be_seen_stays() {
        for text in ["straße 日本", "שלום", "e\u{301}", "🙂", "…·→✔"] {
            assert!(matches!(clean(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn one_line_is_one_line() {
        assert_eq!(one_line(" a\tb\r\n\u{2028}c\u{1b}[m  \u{202e}d"), "a b c\u{fffd}[m \u{fffd}d");
    }
}
