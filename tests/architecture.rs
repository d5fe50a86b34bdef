//! Who may know whom, as `ARCHITECTURE.md` says; and that files stay readable.
//!
//! Reads the paths in `src` (`crate::…`, `super::…`) and fails on a breach. The reader is simple on
//! purpose: it cuts comments and texts away and looks at every path that is left.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a panic is the report")]

#[path = "architecture/circles.rs"]
mod circles;

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
    }
    found
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

#[test]
fn nobody_knows_whom_they_may_not() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    assert!(all.len() > 20, "the sources are not where they were");
    let found: Vec<String> = all
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            breaches(file.strip_prefix(&src).unwrap(), &text)
        })
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
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
        ("main.rs", "use hostler::{backend, cli, config, domain, ui, wire};"),
        ("wire/client.rs", "fn f() { mysuper::ui::x(); let c = '\"'; } // \" use crate::ui::x"),
    ] {
        let found = breaches(Path::new(path), &format!("//! A sample.\n{code}\n"));
        assert!(found.is_empty(), "{path}: {code}: {found:?}");
    }
}

/// The rooms in which no kind of resource and no kind of operation has a name: what they show and
/// do of one is in its description.
const NAMELESS: &[&str] = &["ui", "cli", "wire", "domain", "config", "lib"];

/// Where kinds of resources are named after all: their own files, and what the console shows of
/// single kinds beyond their descriptions.
const NAMED: &[&str] = &["domain/resources/", "ui/model/special.rs", "ui/view/special.rs"];

/// The kinds that code names; `types` are those of resources, `operations` the words of the others.
fn kinds_in(text: &str, types: &[String], operations: &[String]) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code = code_only(text);
    let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let types = types.iter().filter(|name| words.contains(&name.as_str()));
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let texts: Vec<&str> = lines.collect();
    let operations = operations.iter().filter(|kind| {
        let quoted = format!("\"{kind}\"");
        texts.iter().any(|line| line.contains(&quoted))
    });
    types.chain(operations).cloned().collect()
}

/// The types and operations there are.
fn kinds() -> (Vec<String>, Vec<String>) {
    use hostler::backend::{operations, settings::Settings};
    let types = hostler::domain::ResourceKind::ALL.iter().map(|kind| {
        let (first, rest) = kind.word().split_at(1);
        first.to_uppercase() + rest
    });
    let operations = operations::all(&Settings::new("/nowhere".into())).into_iter();
    (types.collect(), operations.map(|entry| entry.spec.kind.into_owned()).collect())
}

#[test]
fn a_kind_is_named_in_its_own_file_and_in_named_special_views() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (types, operations) = kinds();
    let mut all = Vec::new();
    files(&src, &mut all);
    let mut found = Vec::new();
    for file in all {
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        let room = name.split(['/', '.']).next().unwrap_or_default();
        if NAMELESS.contains(&room) && !NAMED.iter().any(|own| name.starts_with(own)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let kinds = kinds_in(&text, &types, &operations);
            found.extend(kinds.into_iter().map(|kind| format!("{name} names {kind}")));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_name_is_found() {
    let (types, operations) = kinds();
    let find = |code: &str| kinds_in(code, &types, &operations);
    assert_eq!(find("match kind { Vm::KIND => 1 }"), ["Vm"]);
    assert_eq!(find("if spec.kind == \"disk_attach\" {}"), ["disk_attach"]);
    assert!(find("// Vm, \"disk_attach\"\nlet text = \"a Vm\";").is_empty());
    assert!(find("#[cfg(test)]\nmod tests { use Vm; }").is_empty());
}
