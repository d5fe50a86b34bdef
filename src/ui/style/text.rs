//! Text for a screen: what may be shown, how wide it is, and how sizes and times read.
//!
//! Everything here is pure. Nothing that came from outside reaches the terminal before
//! [`clean`] has seen it.

use std::borrow::Cow;

use jiff::{Timestamp, tz::TimeZone};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

pub use crate::domain::display::{bytes, clean};

/// How many columns the text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// Returns how many columns the text takes, as screens count them.
#[must_use]
pub fn columns(text: &str) -> u16 {
    u16::try_from(width(text)).unwrap_or(u16::MAX)
}

/// The text cut to at most `max` columns; a cut is shown by `mark`.
#[must_use]
pub fn fit<'a>(text: &'a str, max: usize, mark: &str) -> Cow<'a, str> {
    if text.width() <= max {
        return Cow::Borrowed(text);
    }
    let room = max.saturating_sub(mark.width());
    let mut cut = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        let wide = grapheme.width();
        if used + wide > room {
            break;
        }
        used += wide;
        cut.push_str(grapheme);
    }
    if mark.width() <= max {
        cut.push_str(mark);
    }
    Cow::Owned(cut)
}

/// The text broken at spaces into lines of at most `max` columns.
#[must_use]
pub fn wrap(text: &str, max: usize) -> Vec<String> {
    let max = max.max(1);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word = Cow::Borrowed(word);
            if !line.is_empty() && line.width() + 1 + word.width() > max {
                lines.push(std::mem::take(&mut line));
            }
            // A word longer than a line is broken where the line ends.
            while word.width() > max {
                let head = fit(&word, max, "").into_owned();
                if head.is_empty() {
                    break;
                }
                let rest = word[head.len()..].to_owned();
                lines.push(head);
                word = Cow::Owned(rest);
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        lines.push(line);
    }
    lines
}

/// Two sizes with one unit: `11.2/24.0 GiB`.
#[must_use]
pub fn share(used: u64, total: u64) -> String {
    let total_text = bytes(total);
    let (number, unit) = total_text.split_once(' ').unwrap_or((&total_text, ""));
    let scale = match unit {
        "KiB" => 1_u64 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => 1,
    };
    let used = used as f64 / scale as f64;
    let used = if used >= 99.95 { format!("{used:.0}") } else { format!("{used:.1}") };
    format!("{used}/{number} {unit}")
}

/// Thousands set apart by thin gaps: `48 211`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A number in few columns: `9 999`, `48k`, `1.2M`.
#[must_use]
pub fn about(number: u64) -> String {
    match number {
        0..10_000 => count(number),
        10_000..1_000_000 => format!("{}k", number / 1000),
        _ => format!("{:.1}M", number as f64 / 1e6),
    }
}

/// A span of time as a clock shows it: `04:12`, `1:04:12`.
#[must_use]
pub fn clock(seconds: u64) -> String {
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m:02}:{s:02}") }
}

/// A span of time in its two largest units: `4 d 2 h`.
#[must_use]
pub fn span(seconds: u64) -> String {
    let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, _) => format!("{m} m {s} s"),
        (0, ..) => format!("{h} h {m} m"),
        _ => format!("{d} d {h} h"),
    }
}

/// A span of time as steps take it: `0.1 s`, and from ten seconds on in its two largest units.
#[must_use]
pub fn took(from: Timestamp, to: Timestamp) -> String {
    let millis = to.as_millisecond().saturating_sub(from.as_millisecond()).max(0);
    match millis {
        0..10_000 => format!("{:.1} s", millis as f64 / 1000.0),
        _ => span(u64::try_from(millis / 1000).unwrap_or(0)),
    }
}

/// Seconds from one time to a later one, 0 when it is not later.
#[must_use]
pub fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second() - from.as_second()).unwrap_or(0)
}

/// A point in time as read today: only the time when it is today, else day and time.
#[must_use]
pub fn moment(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    if at.date() == now.date() {
        at.strftime("%H:%M:%S").to_string()
    } else if at.year() == now.year() {
        at.strftime("%d %b %H:%M").to_string()
    } else {
        at.strftime("%Y-%m-%d").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_never_split_a_wide_character() {
        assert_eq!(fit("日本語", 5, "…"), "日本…");
        assert_eq!(fit("日本語", 4, "…"), "日…");
        assert_eq!(fit("abc", 3, "…"), "abc");
        assert_eq!(fit("abc", 0, "…"), "");
    }

    #[test]
    fn lines_are_broken_at_spaces_and_long_words_anywhere() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("日本語", 1), ["日本語"]);
    }

    #[test]
    fn sizes_and_spans_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_503_238_554), "1.4 GiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(share(11 << 30, 24 << 30), "11.0/24.0 GiB");
        assert_eq!(count(1_048_211), "1 048 211");
        assert_eq!(clock(252), "04:12");
        assert_eq!(span(4 * 86_400 + 7200), "4 d 2 h");
    }
}
