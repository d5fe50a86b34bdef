//! What makes the code easy to read and can be counted: no line wider than the screen, no file with
//! two ideas, no circle between the files of a folder, no name for two things. Long functions are
//! found by `clippy::too_many_lines`.
//!
//! What was there before a rule is listed beside it. A list only gets shorter: an entry that is no
//! longer true fails as well.
#![allow(clippy::unwrap_used, reason = "in tests, a panic is the report")]

#[path = "support/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use source::{code_only, files, module_path, paths};

/// Columns of a line. rustfmt gives up without a word on what it cannot break.
const MAX_COLUMNS: usize = 100;

/// Lines of a file.
const MAX_LINES: usize = 500;

/// Names that several types have, and how many: what the engine has, and what operations make of it
/// with typed parameters, ports and settings; and faults, where they can be planned and where not.
const SHARED_TYPES: &[(&str, usize)] = &[
    ("AdmissionContext", 2),
    ("Clock", 2),
    ("Context", 2),
    ("Faults", 2),
    ("Kind", 2),
    ("StepBuilder", 2),
    ("StepContext", 2),
];

/// Names that every kind of operation may have for itself.
const PER_KIND: &[&str] = &["Parameters"];

/// Names that every window of the console may have for its own actions and their place.
const PER_WINDOW: &[&str] = &["ACTIONS", "CLEAR", "DOWN", "KIND", "OPEN", "SCOPE", "UP"];

/// Names that several constants have, and how many.
const SHARED_CONSTANTS: &[(&str, usize)] = &[("AGAIN", 2), ("FILE", 2), ("UNKNOWN", 2)];

/// A Rust file: its path from the root of the repository, and what is in it.
struct Source {
    path: String,
    text: String,
}

/// Every Rust file of ours.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: Vec<_> = ["src", "tests", "benches", "examples"]
        .into_iter()
        .map(|folder| root.join(folder))
        .filter(|folder| folder.exists())
        .flat_map(|folder| files(&folder))
        .map(|file| Source {
            path: file.strip_prefix(root).unwrap().display().to_string(),
            text: std::fs::read_to_string(&file).unwrap(),
        })
        .collect();
    assert!(sources.len() > 20, "the sources are not where they were");
    sources
}

/// Lines that are too wide.
fn wide_lines(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    lines
        .map(|(at, line)| (at + 1, line.chars().count()))
        .filter(|(_, columns)| *columns > MAX_COLUMNS)
        .map(|(line, columns)| format!("{}:{line}: {columns} columns", source.path))
        .collect()
}

/// A file that is too long.
fn long_file(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > MAX_LINES)
        .then(|| format!("{}: {lines} lines; it holds two ideas, split it", source.path))
}

/// Whether a file holds nothing but tests: those may know everything.
fn is_test(path: &str) -> bool {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    stem.ends_with("_tests") || stem.split('/').any(|part| part == "tests" || part == "testing")
}

/// Which module of a folder knows which other one: by folder, then by module.
#[derive(Default)]
struct Knowledge(BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>>);

impl Knowledge {
    /// Reads what the files below `src` name outside their tests.
    fn of(sources: &[Source]) -> Self {
        let parsed: Vec<_> = sources
            .iter()
            .filter_map(|source| {
                let path = source.path.strip_prefix("src/").filter(|path| !is_test(path))?;
                let code = code_only(&source.text);
                let code = code.split("#[cfg(test)]\nmod tests {").next()?.to_owned();
                Some((module_path(Path::new(path)), code))
            })
            .collect();
        let modules: BTreeSet<&[String]> =
            parsed.iter().map(|(place, _)| place.as_slice()).collect();
        let exports = exports(&parsed);
        let mut knowledge = Self::default();
        for (place, code) in &parsed {
            for (_, path) in paths(code, place) {
                let shared = place.iter().zip(&path).take_while(|(a, b)| a == b).count();
                let (Some(from), Some(to)) = (place.get(shared), path.get(shared)) else {
                    continue;
                };
                let folder = &place[..shared];
                let to = if modules.contains(&path[..=shared]) {
                    to
                } else if let Some(module) = exports.get(&path[..=shared]) {
                    module
                } else {
                    continue;
                };
                if from != to {
                    let known = knowledge.0.entry(folder.to_vec()).or_default();
                    known.entry(from.clone()).or_default().insert(to.clone());
                }
            }
        }
        knowledge
    }

    /// The circles, one line each: `ui: keymap model`.
    fn circles(&self) -> BTreeSet<String> {
        let mut circles = BTreeSet::new();
        for (folder, known) in &self.0 {
            for module in known.keys() {
                let circle: Vec<&str> = reach(known, module)
                    .into_iter()
                    .filter(|other| reach(known, other).contains(module.as_str()))
                    .collect();
                if !circle.is_empty() {
                    circles.insert(format!("{}: {}", folder.join("/"), circle.join(" ")));
                }
            }
        }
        circles
    }
}

/// Everything a module knows, and what that knows, and so on.
fn reach<'a>(known: &'a BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for other in known.get(module).into_iter().flatten() {
            if reached.insert(other.as_str()) {
                next.push(other);
            }
        }
    }
    reached
}

/// Names that a module passes on from one of its children: `pub use disk::Disk` in `domain` makes
/// `[domain, Disk]` one of `disk`.
fn exports(parsed: &[(Vec<String>, String)]) -> BTreeMap<Vec<String>, String> {
    let mut exports = BTreeMap::new();
    for (place, code) in parsed {
        for (at, _) in code.match_indices("use ") {
            let line = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
            if !code[line..at].starts_with("pub") {
                continue;
            }
            let tree = code[at + 4..].split(';').next().unwrap_or_default();
            for path in source::tree(tree, &[]) {
                if let ([child, ..], Some(name)) = (path.as_slice(), path.last()) {
                    let name = place.iter().chain([name]).cloned().collect();
                    exports.insert(name, child.clone());
                }
            }
        }
    }
    exports
}

/// A line without `pub`, `pub(crate)` and the like.
fn without_visibility(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("pub") else { return line };
    let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |r| r.1);
    rest.trim_start()
}

/// The identifier after the first of these words a line begins with.
fn named<'a>(line: &'a str, words: &[&str]) -> Option<&'a str> {
    let rest = words.iter().find_map(|word| line.strip_prefix(word))?;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    Some(&rest[..end]).filter(|name| !name.is_empty() && *name != "_")
}

/// The types a file defines.
fn types(code: &str) -> impl Iterator<Item = &str> {
    code.lines().filter_map(|line| {
        // Within an `impl`, a `type` is an associated one.
        named(without_visibility(line), &["type "]).or_else(|| {
            named(without_visibility(line.trim_start()), &["struct ", "enum ", "trait ", "union "])
        })
    })
}

/// The constants a file defines, without associated ones.
fn constants(code: &str) -> impl Iterator<Item = &str> {
    code.lines()
        .filter_map(|line| named(without_visibility(line), &["const ", "static "]))
        .filter(|name| *name != "fn")
}

/// Names that are there more than once, with how often and where.
fn shared<'a, I: Iterator<Item = &'a str>>(
    sources: &'a [Source],
    codes: &'a [String],
    names: impl Fn(&'a str) -> I,
) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (source, code) in sources.iter().zip(codes) {
        for name in names(code) {
            places.entry(name).or_default().push(&source.path);
        }
    }
    places.retain(|_, places| places.len() > 1);
    places
}

/// What is wrong with a list of shared names: those that are new, and those that are fewer now.
fn compare(found: &BTreeMap<&str, Vec<&str>>, listed: &[(&str, usize)]) -> Vec<String> {
    let listed: BTreeMap<&str, usize> = listed.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, places) in found {
        if listed.get(name).is_none_or(|known| *known < places.len()) {
            wrong.push(format!("{name} means several things: {}", places.join(", ")));
        }
    }
    for (name, known) in listed {
        let now = found.get(name).map_or(0, Vec::len);
        if now < known {
            wrong.push(format!("{name} is no longer there {known} times but {now}: say so"));
        }
    }
    wrong
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn no_line_is_wider_than_the_screen() {
    let wrong: Vec<_> = sources().iter().flat_map(wide_lines).collect();
    assert_none(&wrong);
}

#[test]
fn no_file_holds_two_ideas() {
    let wrong: Vec<_> = sources().iter().filter_map(long_file).collect();
    assert_none(&wrong);
}

#[test]
fn no_files_of_a_folder_know_each_other_in_a_circle() {
    let found = Knowledge::of(&sources()).circles();
    let circles: Vec<_> = found.into_iter().map(|it| format!("{it}: a circle")).collect();
    assert_none(&circles);
}

#[test]
fn one_name_means_one_thing() {
    let sources = sources();
    let codes: Vec<String> = sources.iter().map(|source| code_only(&source.text)).collect();
    let mut by_type = shared(&sources, &codes, types);
    by_type.retain(|name, _| !PER_KIND.contains(name));
    let mut wrong = compare(&by_type, SHARED_TYPES);
    let mut by_constant = shared(&sources, &codes, constants);
    by_constant.retain(|name, _| !PER_WINDOW.contains(name));
    wrong.extend(compare(&by_constant, SHARED_CONSTANTS));
    assert_none(&wrong);
}

fn sample(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn what_is_too_wide_or_too_long_is_found() {
    let wide = sample("src/a.rs", &format!("{}\n{}é\n", "é".repeat(100), "x".repeat(100)));
    assert_eq!(wide_lines(&wide), ["src/a.rs:2: 101 columns"]);
    assert_eq!(long_file(&sample("src/a.rs", &"\n".repeat(500))), None);
    assert!(long_file(&sample("src/a.rs", &"\n".repeat(501))).is_some());
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let circles = |files: &[(&str, &str)]| -> Vec<String> {
        let sources: Vec<_> = files.iter().map(|(path, text)| sample(path, text)).collect();
        Knowledge::of(&sources).circles().into_iter().collect()
    };
    let keymap = ("src/ui/keymap.rs", "use super::model::Model;");
    for model in ["use crate::ui::keymap;", "fn f() { super::keymap::read() }"] {
        assert_eq!(circles(&[keymap, ("src/ui/model.rs", model)]), ["ui: keymap model"]);
    }
    // Through a third file, a deeper one, and a name that is passed on.
    let passed_on = [
        keymap,
        ("src/ui/mod.rs", "pub use keymap::Keymap;"),
        ("src/ui/model.rs", ""),
        ("src/ui/model/pane.rs", "use crate::ui::{theme, text};"),
        ("src/ui/theme.rs", "use super::Keymap;"),
        ("src/ui/text.rs", ""),
    ];
    assert_eq!(circles(&passed_on), ["ui: keymap model theme"]);
    // Tests may know everything; parents know their children, and those what they stand in.
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::ui::keymap;\n}\n";
    assert!(circles(&[keymap, ("src/ui/model.rs", tests)]).is_empty());
    let family = [("src/ui/a.rs", "use super::a::b::C;"), ("src/ui/a/b.rs", "use super::D;")];
    assert!(circles(&family).is_empty());
}

#[test]
fn a_name_for_two_things_is_found_and_a_list_only_gets_shorter() {
    let sources = [
        sample("a.rs", "pub(super) struct Entry<'a>;\nconst WAIT: u8 = 1;\nconst fn f() {}\n"),
        sample("b.rs", "mod x {\n    enum Entry {}\n}\nstatic WAIT: u8 = 1;\nconst fn f() {}\n"),
        sample(
            "c.rs",
            "impl X {\n    type Entry = u8;\n    const WAIT: u8 = 2;\n}\n// struct Entry\n",
        ),
    ];
    let codes: Vec<String> = sources.iter().map(|source| code_only(&source.text)).collect();
    let found = shared(&sources, &codes, types);
    assert_eq!(found, BTreeMap::from([("Entry", vec!["a.rs", "b.rs"])]));
    assert_eq!(shared(&sources, &codes, constants).len(), 1);
    assert_eq!(compare(&found, &[]).len(), 1);
    assert_eq!(compare(&found, &[("Entry", 2)]), [""; 0]);
    assert_eq!(compare(&found, &[("Entry", 3)]).len(), 1, "fewer than listed");
    assert_eq!(compare(&found, &[("Entry", 2), ("Gone", 2)]).len(), 1);
}

/// The documents that name files.
const DOCUMENTS: [&str; 3] = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"];

/// What a document names in backticks that can only be a file or a folder of the repository.
fn named_paths(document: &str) -> Vec<&str> {
    const FOLDERS: [&str; 7] =
        ["src/", "tests/", "benches/", "examples/", "assets/", "docs/", ".ci/"];
    let inside = document.split("```").step_by(2).flat_map(|prose| {
        prose.split('`').skip(1).step_by(2).filter(|it| !it.contains(char::is_whitespace))
    });
    let is_path = |it: &&str| {
        let is_pattern = it.contains('*') || it.contains("NAME");
        let is_file = it.ends_with(".rs") || FOLDERS.iter().any(|folder| it.starts_with(folder));
        is_file && !is_pattern
    };
    inside.filter(is_path).collect()
}

/// Whether there is such a file or folder, or a Rust file whose path ends so.
fn is_there(path: &str, sources: &[Source]) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(path).exists() || sources.iter().any(|source| Path::new(&source.path).ends_with(path))
}

#[test]
fn what_the_documents_name_is_there() {
    let (root, sources) = (Path::new(env!("CARGO_MANIFEST_DIR")), sources());
    let mut missing = Vec::new();
    for name in DOCUMENTS {
        let document = std::fs::read_to_string(root.join(name)).unwrap();
        let named = named_paths(&document);
        let gone = named.into_iter().filter(|path| !is_there(path, &sources));
        missing.extend(gone.map(|path| format!("{name} names {path}, which is not there")));
    }
    assert!(missing.is_empty(), "\n{}\n", missing.join("\n"));
}

#[test]
fn a_path_in_a_document_is_found() {
    let document = "`x.rs`, `src/a/` and `assets/b.toml`\n```\ncat `src/no.rs`\n```\n`src/**` \
                    `cargo x.rs` `Model`";
    assert_eq!(named_paths(document), ["x.rs", "src/a/", "assets/b.toml"]);
    let sources = [sample("src/ui/a/x.rs", "")];
    assert!(is_there("a/x.rs", &sources) && is_there("tests/tidy.rs", &sources));
    assert!(!is_there("b/x.rs", &sources) && !is_there("src/nothing.rs", &sources));
}
