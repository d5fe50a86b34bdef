//! Reads Rust sources as far as rules about them need: which module a file is, and what it names.
//!
//! Simple on purpose: comments and texts are cut away, and every path that is left is looked at.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "no test uses all of it, and in tests a panic is the report"
)]

use std::path::{Path, PathBuf};

/// `backend/drivers/mod.rs` → `[backend, drivers]`; `cli.rs` → `[cli]`; `lib.rs` → `[lib]`.
pub fn module_path(path: &Path) -> Vec<String> {
    let mut place: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if place.last().is_some_and(|last| last == "mod") {
        place.pop();
    }
    place
}

/// The text with comments and the contents of strings blanked, line breaks kept.
pub fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = string_length(rest) {
            length
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.extend(rest[..skipped].matches('\n'));
        code.push(' ');
        rest = &rest[skipped..];
    }
    code
}

/// How long the string or character literal at the start of `text` is, if there is one.
fn string_length(text: &str) -> Option<usize> {
    if let Some(raw) = text.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = 2 + hashes;
            return Some(
                text[body..].find(&close).map_or(text.len(), |at| body + at + close.len()),
            );
        }
    }
    if text.starts_with("'\"'") || text.starts_with("'/'") {
        return Some(3);
    }
    if let Some(escape) = text.strip_prefix("'\\") {
        return escape.char_indices().skip(1).find(|(_, c)| *c == '\'').map(|(at, _)| at + 3);
    }
    let body = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            '"' if !escaped => return Some(at + 2),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Some(text.len())
}

/// Every path from the crate's root that code in the module `place` names, with its line.
pub fn paths(code: &str, place: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for root in ["crate", "super", "hostler"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let Some(rest) = code[at + root.len()..].strip_prefix("::") else { continue };
            let mut start: Vec<String> = match root {
                // One step up. Inside a `mod tests` that is one too many, and names no room then.
                "super" => place[..place.len().saturating_sub(1)].to_vec(),
                _ => Vec::new(),
            };
            let mut rest = rest;
            while let Some(further) = rest.strip_prefix("super::") {
                start.pop();
                rest = further;
            }
            let line = code[..at].matches('\n').count() + 1;
            found.extend(tree(rest, &start).into_iter().map(|path| (line, path)));
        }
    }
    found
}

/// The paths of a use tree: `a::{b, c::d}` → `a::b`, `a::c::d`.
pub fn tree(text: &str, start: &[String]) -> Vec<Vec<String>> {
    let mut path = start.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(inner) = rest.strip_prefix('{') {
            return branches(inner).iter().flat_map(|branch| tree(branch, &path)).collect();
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end > 0 {
            path.push(rest[..end].to_owned());
        }
        match rest[end..].strip_prefix("::") {
            Some(further) => rest = further.trim_start(),
            None => return vec![path],
        }
    }
}

/// Splits `b, c::{d, e}} …` at the commas of the outermost level, up to its closing brace.
fn branches(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut all) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                all.push(&text[from..at]);
                return all;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    all
}

/// Every Rust file below a folder, in order.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
    all.sort();
    all
}
