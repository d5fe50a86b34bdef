//! Who may know whom, as `ARCHITECTURE.md` says.
//!
//! Reads the paths in `src` (`crate::…`, `super::…`) and fails on a breach.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a panic is the report")]

#[path = "support/source.rs"]
mod source;

use std::path::Path;

#[path = "architecture/circles.rs"]
mod circles;

use source::{code_only, files, module_path, paths};

/// Every room that others may know.
const EVERY_ROOM: &[&str] = &[
    "domain",
    "file",
    "open_files",
    "time_zone",
    "watched_fd",
    "ui",
    "wire",
    "backend",
    "cli",
    "config",
];

/// The rooms below `src`, and the other rooms each may know. Only `main` knows all.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("file", &[]),
    ("open_files", &[]),
    ("time_zone", &[]),
    ("watched_fd", &[]),
    ("ui", &["domain", "file", "time_zone", "watched_fd"]),
    ("wire", &["domain", "file", "open_files"]),
    ("backend", &["domain", "file", "open_files", "time_zone", "watched_fd"]),
    ("cli", &["domain", "file", "time_zone"]),
    ("config", &["domain", "file"]),
    ("lib", EVERY_ROOM),
    ("main", EVERY_ROOM),
];

/// Within the backend: operations ask ports, and never see what is behind them.
const OPERATIONS_RULE: (&str, &str) = ("backend/operations", "backend/drivers");

/// Within the backend: what could be a crate of its own, and knows nothing of what lies beside it.
const ENGINE_RULE: (&str, &str) = ("backend/engine", "backend");

/// Everything wrong with a file; `path` is relative to `src`, `text` its content.
fn breaches(path: &Path, text: &str) -> Vec<String> {
    let name = path.display();
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(format!("{name}:1: the first line is no //! that says what this file is for"));
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
        let (inside, outside) = OPERATIONS_RULE;
        if place.join("/").starts_with(inside) && path.join("/").starts_with(outside) {
            found.push(format!("{name}:{line}: operations know ports, never drivers"));
        }
        let (inside, around) = ENGINE_RULE;
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

#[test]
fn nobody_knows_whom_they_may_not() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let all = files(&src);
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
        ("backend/engine/queue.rs", "use crate::backend::ports::Ports;", "the engine may not know"),
        ("ui/mod.rs", "fn f() { todo!() }", "ui/mod.rs:2: something is left to do"),
        ("attic/mod.rs", "", "no room 'attic'"),
    ] {
        let found = breaches(Path::new(path), &format!("//! A sample.\n{code}\n"));
        assert!(found.iter().any(|found| found.contains(said)), "{path}: {code}: {found:?}");
    }
    assert_eq!(breaches(Path::new("ui/mod.rs"), "use std::fmt;\n").len(), 1, "no //!");
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
/// single kinds beyond their descriptions; and where the kind is named that asks for others.
const NAMING_FILES: &[&str] =
    &["domain/resources/", "domain/submit.rs", "ui/model/special.rs", "ui/view/special.rs"];

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
    let all = files(&src);
    let mut found = Vec::new();
    for file in all {
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        let room = name.split(['/', '.']).next().unwrap_or_default();
        let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
        if NAMELESS.contains(&room)
            && !is_test
            && !NAMING_FILES.iter().any(|own| name.starts_with(own))
        {
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

/// How a file is read that may keep us waiting, or never end.
const UNBOUNDED: &[&str] = &["fs::read(", "fs::read_to_string(", "File::open("];

/// Places that only the system fills.
const OF_THE_SYSTEM: &[&str] = &["\"/proc", "\"/etc/", "\"/dev/", "MOUNTS"];

/// Who opens folders, or what the distribution has installed, and how often.
const OTHERWISE: &[(&str, usize)] = &[
    ("backend/drivers/atomic_file.rs", 2),
    ("backend/drivers/image/debian.rs", 1),
    ("backend/drivers/image/tiny.rs", 5),
    ("backend/engine/store/compact.rs", 1),
];

/// How often a text reads files in such a way, tests left out.
fn unbounded_reads(text: &str) -> usize {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let reads = |line: &&str| UNBOUNDED.iter().any(|how| line.contains(how));
    let lines = lines.filter(reads);
    lines.filter(|line| !OF_THE_SYSTEM.iter().any(|place| line.contains(place))).count()
}

/// Whatever lies in the state directory may be a pipe by now: `file` and `store::plain` open it.
#[test]
fn what_lies_in_the_state_directory_is_read_in_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in files(&src) {
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        let is_test = name.contains("test") || name.contains("/simulation/");
        if is_test || !(name.starts_with("backend/") || name.starts_with("main")) {
            continue;
        }
        let known = OTHERWISE.iter().find(|(known, _)| *known == name);
        let found = unbounded_reads(&std::fs::read_to_string(&file).unwrap());
        assert_eq!(found, known.map_or(0, |(_, count)| *count), "{name}: use crate::file");
    }
    assert_eq!(unbounded_reads("let it = std::fs::read(path)?;"), 1);
    assert_eq!(unbounded_reads("let it = fs::read(\"/proc/stat\")?;"), 0);
}
