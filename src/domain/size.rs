//! Numbers with a unit as people write them, sizes above all: `1.5GiB`, `512M`.
//!
//! A letter alone means a power of 1024, as everything hostler shows: `2G` is `2GiB`.

/// Returns the number a text begins with, and its unit in lower case.
pub(in crate::domain) fn number(text: &str) -> Option<(f64, String)> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+'));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    Some((number.parse().ok()?, unit.trim().to_ascii_lowercase()))
}

/// Returns a size in bytes; `own` is the unit of a number without one.
pub(in crate::domain) fn size(text: &str, own: f64) -> Option<f64> {
    let (number, unit) = number(text)?;
    Some(number * if unit.is_empty() { own } else { unit_of_size(&unit)? })
}

/// Returns whether a unit is one of size: `MiB`.
#[must_use]
pub fn is_unit(unit: &str) -> bool {
    unit_of_size(&unit.to_ascii_lowercase()).is_some()
}

/// The bytes of a unit in lower case.
fn unit_of_size(unit: &str) -> Option<f64> {
    if unit == "b" {
        return Some(1.0);
    }
    let (letter, rest) = unit.split_at_checked(1)?;
    let power = i32::try_from("kmgtp".find(letter)?).ok()? + 1;
    match rest {
        "" | "ib" => Some(1024_f64.powi(power)),
        "b" => Some(1000_f64.powi(power)),
        _ => None,
    }
}

/// Returns the whole number of `unit` that a text means. Where that is a unit of size, the text may
/// have one of its own: of `MiB`, `1.5G` are 1536.
///
/// # Errors
/// What it must be, to follow "it must be".
pub fn whole_number(text: &str, unit: &str) -> Result<i64, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let Some(own) = unit_of_size(&unit.to_ascii_lowercase()) else {
        return Err("a whole number".to_owned());
    };
    let number = size(text, own).map(|bytes| bytes / own);
    number
        .filter(|number| number.fract() == 0.0 && number.abs() < i64::MAX as f64)
        .map(|number| number as i64)
        .ok_or_else(|| format!("a whole number of {unit}, or a size that is one, like 512M or 2G"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_in_a_unit_of_size_may_be_given_in_another() {
        for (text, unit, number) in [
            ("64", "MiB", 64),
            ("-1", "MiB", -1),
            ("2G", "MiB", 2048),
            ("512M", "MiB", 512),
            ("1.5g", "MiB", 1536),
            ("1.5 GiB", "MiB", 1536),
            ("2048k", "MiB", 2),
            ("1T", "GiB", 1024),
            ("7", "shares", 7),
        ] {
            assert_eq!(whole_number(text, unit), Ok(number), "{text} {unit}");
        }
        let sizes = "a whole number of MiB, or a size that is one, like 512M or 2G";
        for text in ["", "many", "1.5", "2GB", "0.3M", "2X", "G", "99999999999999999999P"] {
            assert_eq!(whole_number(text, "MiB"), Err(sizes.to_owned()), "{text}");
        }
        for unit in ["", "s", "shares", "processors"] {
            assert_eq!(whole_number("2G", unit), Err("a whole number".to_owned()), "{unit}");
        }
    }
}
