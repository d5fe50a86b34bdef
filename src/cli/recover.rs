//! `recover`: what was taken in again, and what was left.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::{CliError, json, one_line};

/// What recovering did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// What was taken in, and how.
    pub taken: BTreeMap<String, String>,
    /// What was left where it is, and why.
    pub left: BTreeMap<String, String>,
}

/// Writes what recovering did.
///
/// # Errors
/// When it cannot be written.
pub fn recovered(done: &Recovered, as_json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    if as_json {
        return json(out, done);
    }
    for (what, how) in &done.taken {
        writeln!(out, "✔ {}: {}", one_line(what), one_line(how))?;
    }
    for (what, why) in &done.left {
        writeln!(out, "✖ {}: left where it is: {}", one_line(what), one_line(why))?;
    }
    let would = if done.dry_run { "would be " } else { "" };
    writeln!(out, "{} {would}taken in, {} left", done.taken.len(), done.left.len())?;
    Ok(())
}
