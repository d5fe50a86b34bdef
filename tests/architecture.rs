//! Who may know whom, as `ARCHITECTURE.md` says; and that files stay readable.
//!
//! Reads the paths in `src` (`crate::…`, `super::…`) and fails on a breach. The reader is simple on
//! purpose: it cuts comments and texts away and looks at every path that is left.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file may have this many lines.
const LONGEST: usize = 600;

/// The rooms below `src`, and the other rooms each may know. Only `main` knows all.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("ui", &["domain"]),
    ("wire", &["domain"]),
    ("backend", &["domain"]),
    ("cli", &["domain"]),
    ("config", &["domain"]),
    ("lib", &["domain", "ui", "wire", "backend", "cli", "config"]),
    ("main", &["domain", "ui", "wire", "backend", "cli", "config"]),
];

/// Within the backend: operations ask ports, and never see what is behind them.
const OPERATIONS: (&str, &str) = ("backend/operations", "backend/drivers");

/// Within the backend: what could be a crate of its own, and knows nothing of what lies beside it.
const ENGINE: (&str, &str) = ("backend/engine", "backend");

/// Folders in which no file may know, over others, itself.
const WITHOUT_CIRCLES: &[&str] = &["backend/engine"];

/// Everything wrong with a file; `path` is relative to `src`, `text` its content.
fn breaches(path: &Path, text: &str) -> Vec<String> {
    let name = path.display();
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(format!("{name}:1: the first line is no //! that says what this file is for"));
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        found.push(format!("{name}: {lines} lines; it holds two ideas, split it"));
    }
    let code = code_only(text);
    for (number, line) in code.lines().enumerate() {
        if line.contains("todo!") || line.contains("unimplemented!") {
            found.push(format!("{name}:{}: something is left to do", number + 1));
        }
    }
    let place = module_path(path);
    let room = place.first().map_or("lib", String::as_str);
    let Some((_, may)) = ROOMS.iter().find(|(known, _)| *known == room) else {
        found.push(format!("{name}: there is no room '{room}' in the plan"));
        return found;
    };
    for (line, path) in paths(&code, &place) {
        let Some(other) = path.first() else { continue };
        let is_room = ROOMS.iter().any(|(known, _)| known == other);
        if is_room && other != room && !may.contains(&other.as_str()) {
            found.push(format!("{name}:{line}: {room} may not know {}", path.join("::")));
        }
        let (inside, outside) = OPERATIONS;
        if place.join("/").starts_with(inside) && path.join("/").starts_with(outside) {
            found.push(format!("{name}:{line}: operations know ports, never drivers"));
        }
        let (inside, around) = ENGINE;
        // A visibility names the rooms around, and nothing in them.
        let leaves = path.len() > 1 && is_below(&path, around) && !is_below(&path, inside);
        if is_below(&place, inside) && leaves {
            found.push(format!("{name}:{line}: the engine may not know {}", path.join("::")));
        }
    }
    found
}

/// Whether a path leads to a folder or into it.
fn is_below(path: &[String], folder: &str) -> bool {
    folder.split('/').enumerate().all(|(at, part)| path.get(at).is_some_and(|is| is == part))
}

/// The files of a folder that know themselves over others, as `a → b → a`. A subfolder counts as
/// one file with the file it belongs to, and `mod.rs` knows all.
fn circles(folder: &str, files: &[(PathBuf, String)]) -> Vec<String> {
    let depth = folder.split('/').count();
    let node = |path: &[String]| path.get(depth).cloned().unwrap_or_else(|| "mod".to_owned());
    let mut knows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files {
        let place = module_path(path);
        if !is_below(&place, folder) || place[depth..].iter().any(|part| part == "tests") {
            continue;
        }
        let own = node(&place);
        let code = code_only(text);
        // What its own tests name with `super` is itself.
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let known = paths(code, &place).into_iter().map(|(_, path)| path);
        // A visibility names the folder, and nothing in it.
        let known = known.filter(|path| is_below(path, folder) && path.len() > depth);
        let known = known.map(|path| node(&path));
        knows.entry(own.clone()).or_default().extend(known.filter(|it| *it != own));
    }
    // What is named of a folder without a file of that name stands in its `mod.rs`.
    let all: BTreeSet<String> = knows.keys().cloned().collect();
    for known in knows.values_mut() {
        *known = known
            .iter()
            .map(|it| if all.contains(it) { it.clone() } else { "mod".to_owned() })
            .collect();
    }
    let others = all.iter().filter(|it| *it != "mod").cloned();
    knows.entry("mod".to_owned()).or_default().extend(others);
    let mut found = Vec::new();
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    for file in &all {
        walk(file, &knows, &mut way, &mut done, &mut found);
    }
    found
}

/// Goes along what a file knows, and puts down where it comes back to the way it came.
fn walk(
    file: &str,
    knows: &BTreeMap<String, BTreeSet<String>>,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
    found: &mut Vec<String>,
) {
    if let Some(at) = way.iter().position(|it| it == file) {
        found.push(format!("{} → {file}", way[at..].join(" → ")));
    }
    if !done.insert(file.to_owned()) {
        return;
    }
    way.push(file.to_owned());
    for known in knows.get(file).into_iter().flatten() {
        walk(known, knows, way, done, found);
    }
    way.pop();
}

/// `backend/drivers/mod.rs` → `[backend, drivers]`; `cli.rs` → `[cli]`; `lib.rs` → `[lib]`.
fn module_path(path: &Path) -> Vec<String> {
    let mut place: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if place.last().is_some_and(|last| last == "mod") {
        place.pop();
    }
    place
}

/// The text with comments and the contents of strings blanked, line breaks kept.
fn code_only(text: &str) -> String {
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
fn paths(code: &str, place: &[String]) -> Vec<(usize, Vec<String>)> {
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
fn tree(text: &str, start: &[String]) -> Vec<Vec<String>> {
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

fn files(dir: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

/// Every file below `src`, by its path from there, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    assert!(all.len() > 20, "the sources are not where they were");
    let text = |file: &PathBuf| std::fs::read_to_string(file).unwrap();
    all.iter().map(|file| (file.strip_prefix(&src).unwrap().to_owned(), text(file))).collect()
}

#[test]
fn nobody_knows_whom_they_may_not() {
    let found: Vec<String> =
        sources().iter().flat_map(|(path, text)| breaches(path, text)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_file_knows_itself_over_others() {
    let sources = sources();
    let found: Vec<String> =
        WITHOUT_CIRCLES.iter().flat_map(|folder| circles(folder, &sources)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_circle_is_found() {
    let of = |files: &[(&str, &str)]| {
        let files: Vec<_> =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        circles("backend/engine", &files)
    };
    let (core, kind) = ("backend/engine/core.rs", "backend/engine/kind.rs");
    assert_eq!(of(&[(core, "use super::kind::Kind;"), (kind, "use crate::domain::Uid;")]), [""; 0]);
    let found = of(&[
        (core, "use super::kind::Kind;"),
        (kind, "use super::journal::{Stop, Context};"),
        ("backend/engine/journal.rs", "use super::work;"),
        ("backend/engine/journal/step.rs", "use crate::backend::engine::core::Engine;"),
        ("backend/engine/work.rs", ""),
    ]);
    assert_eq!(found, ["core → kind → journal → core"]);
    let found = of(&[("backend/engine/mod.rs", "mod core;"), (core, "use super::Stop;")]);
    assert_eq!(found, ["core → mod → core"]);
    let tests = "struct A;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n";
    assert_eq!(of(&[("backend/engine/mod.rs", "mod core;"), (core, tests)]), [""; 0]);
}

#[test]
fn a_breach_is_found() {
    for (path, code, said) in [
        (
            "domain/vm.rs",
            "use crate::backend::ports;",
            "domain/vm.rs:2: domain may not know backend::ports",
        ),
        (
            "ui/mod.rs",
            "use crate::{domain::Vm, wire::{Client, Server}};",
            "ui may not know wire::Client",
        ),
        (
            "ui/view/vms.rs",
            "use super::super::super::backend::Embedded;",
            "may not know backend::Embedded",
        ),
        ("wire/client.rs", "fn f() { crate::ui::run() }", "wire may not know ui::run"),
        ("cli/mod.rs", "use crate::\n    config::Config;", "cli may not know config::Config"),
        ("config.rs", "use super::ui::theme;", "config may not know ui::theme"),
        ("backend/mod.rs", "use hostler::wire::Client;", "backend may not know wire::Client"),
        ("backend/operations/vm.rs", "use crate::backend::drivers::qemu;", "never drivers"),
        ("backend/operations/vm.rs", "use super::super::drivers::qemu;", "never drivers"),
        (
            "backend/operations/vm.rs",
            "use crate::backend::{ports, drivers::qemu};",
            "never drivers",
        ),
        ("backend/engine/core.rs", "use crate::backend::ports::Clock;", "the engine may not know"),
        ("backend/engine/core.rs", "use super::super::settings;", "the engine may not know"),
        ("ui/mod.rs", "fn f() { todo!() }", "ui/mod.rs:2: something is left to do"),
        ("attic/mod.rs", "", "no room 'attic'"),
    ] {
        let found = breaches(Path::new(path), &format!("//! A sample.\n{code}\n"));
        assert!(found.iter().any(|found| found.contains(said)), "{path}: {code}: {found:?}");
    }
    assert_eq!(breaches(Path::new("ui/mod.rs"), "use std::fmt;\n").len(), 1, "no //!");
    let long = format!("//! Long.\n{}", "\n".repeat(LONGEST));
    assert_eq!(breaches(Path::new("ui/mod.rs"), &long).len(), 1);
}

#[test]
fn what_is_allowed_is_not_found() {
    for (path, code) in [
        ("ui/mod.rs", "use crate::domain::{Vm, disk::Disk};\nuse super::ui::theme;"),
        ("ui/view/mod.rs", "use super::widget::Table; // crate::backend is not for us"),
        ("ui/help.rs", "const TEXT: &str = \"see crate::backend::ports and todo!\";"),
        ("ui/help.rs", "const TEXT: &str = r#\"a \" crate::wire::Client\"#;"),
        ("backend/operations/vm.rs", "use crate::backend::ports::Hypervisor;"),
        ("backend/mod.rs", "use crate::backend::drivers::qemu;"),
        (
            "backend/engine/core.rs",
            "use crate::backend::engine::live;\npub(in crate::backend) fn f() {}",
        ),
        ("main.rs", "use hostler::{backend, cli, config, domain, ui, wire};"),
        ("wire/client.rs", "fn f() { mysuper::ui::x(); let c = '\"'; } // \" use crate::ui::x"),
    ] {
        let found = breaches(Path::new(path), &format!("//! A sample.\n{code}\n"));
        assert!(found.is_empty(), "{path}: {code}: {found:?}");
    }
}
