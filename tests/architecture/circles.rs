//! Within a room, what a file uses never leads back to it: whoever reads one need not know those
//! that build on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::{code_only, files, module_path, paths, tree};

/// The rooms, and what begins the names of modules that may be in a circle: a kind of resource is
/// found in the list of all kinds, which names each of them; the state of a form has its nested
/// fields in a file of their own.
const CHECKED: [(&str, &[&str]); 2] = [
    ("domain", &["domain::catalogue", "domain::operation", "domain::resource"]),
    ("ui", &["ui::windows::form::state"]),
];

/// A module: the code of its file without tests, and what it makes others' names its own with.
struct Module {
    code: String,
    /// Where `pub use` leads, by the name it gives.
    exports: BTreeMap<String, Vec<String>>,
}

type Modules = BTreeMap<Vec<String>, Module>;

fn module(place: &[String], text: &str) -> Module {
    let code = code_only(text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default());
    let mut exports = BTreeMap::new();
    for item in code.split("pub use ").skip(1) {
        let item = item.split(';').next().unwrap_or_default();
        let item = item.strip_prefix("self::").unwrap_or(item);
        for path in tree(item, place) {
            exports.insert(path.last().unwrap().clone(), path);
        }
    }
    Module { code, exports }
}

/// The module that a path names or leads into, by way of what others export.
fn target(modules: &Modules, path: &[String]) -> Option<Vec<String>> {
    let length = (1..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let (place, rest) = path.split_at(length);
    match rest.first().and_then(|name| modules[place].exports.get(name)) {
        Some(exported) => target(modules, exported),
        None => Some(place.to_vec()),
    }
}

/// The modules that one uses.
fn uses(modules: &Modules, place: &[String]) -> BTreeSet<Vec<String>> {
    let code = &modules[place].code;
    let own = format!("crate::{}::", place.join("::"));
    let mut used: BTreeSet<_> = paths(&code.replace("self::", &own), place)
        .into_iter()
        .filter_map(|(_, path)| target(modules, &path))
        .collect();
    // A parent names its children without any prefix. Declaring and exporting them is no use.
    let children =
        modules.keys().filter(|other| other.split_last().is_some_and(|(_, p)| p == place));
    for child in children {
        let name = format!("{}::", child.last().unwrap());
        let mentions = code.split("pub use ").enumerate().any(|(number, part)| {
            let part = if number == 0 { part } else { part.split_once(';').map_or("", |it| it.1) };
            part.match_indices(&name).any(|(at, _)| {
                let before = part[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
            })
        });
        if mentions {
            used.insert(child.clone());
        }
    }
    used.remove(place);
    used
}

/// The sets of modules that all lead to each other.
fn circles(modules: &Modules) -> Vec<Vec<String>> {
    let uses: BTreeMap<_, _> = modules.keys().map(|place| (place, uses(modules, place))).collect();
    let reached = |from: &Vec<String>| {
        let (mut all, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(place) = next.pop() {
            for used in &uses[place] {
                if all.insert(used) {
                    next.push(used);
                }
            }
        }
        all
    };
    let reached: BTreeMap<_, _> = modules.keys().map(|place| (place, reached(place))).collect();
    let circle = |place: &Vec<String>| {
        let others = reached[place].iter().filter(|other| reached[**other].contains(place));
        others.map(|other| other.join("::")).collect::<Vec<_>>()
    };
    let all: BTreeSet<_> = modules.keys().map(circle).filter(|circle| circle.len() > 1).collect();
    all.into_iter().collect()
}

fn read(room: &str) -> Modules {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    files(&src.join(room))
        .iter()
        .map(|file| {
            let place = module_path(file.strip_prefix(&src).unwrap());
            let module = module(&place, &std::fs::read_to_string(file).unwrap());
            (place, module)
        })
        .collect()
}

#[test]
fn no_file_is_used_by_what_it_uses() {
    for (room, allowed) in CHECKED {
        let modules = read(room);
        assert!(modules.len() > 10, "{room} is not where it was");
        let is_allowed = |name: &String| allowed.iter().any(|begins| name.starts_with(begins));
        let circles = circles(&modules).into_iter().filter(|it| !it.iter().all(is_allowed));
        let told: Vec<String> = circles.map(|circle| circle.join(" ↔ ")).collect();
        assert!(told.is_empty(), "\n{}\n", told.join("\n"));
    }
}

#[test]
fn a_circle_is_found() {
    let sample = |files: &[(&str, &str)]| -> Modules {
        let place = |name: &str| name.split('/').map(str::to_owned).collect::<Vec<_>>();
        files.iter().map(|(name, text)| (place(name), module(&place(name), text))).collect()
    };
    let direct = sample(&[
        ("ui", "pub mod a;\npub mod b;"),
        ("ui/a", "use crate::ui::b::B;"),
        ("ui/b", "use super::a::A;"),
    ]);
    assert_eq!(circles(&direct), [["ui::a", "ui::b"]]);
    let exported = sample(&[
        ("ui", "mod a;\nmod b;\npub use a::A;\npub use b::{B, C};"),
        ("ui/a", "use super::{C, D};"),
        ("ui/b", "use crate::ui::A;"),
    ]);
    assert_eq!(circles(&exported), [["ui::a", "ui::b"]]);
    let parent = sample(&[("ui", "mod a;\nfn f() { a::g() }"), ("ui/a", "use super::f;")]);
    assert_eq!(circles(&parent), [["ui", "ui::a"]]);
    let none = sample(&[
        ("ui", "mod a;\nmod b;\npub use self::a::A;"),
        ("ui/a", "//! See super::b.\n#[cfg(test)]\nmod tests {\n    use super::*;\n}"),
        ("ui/b", "use super::A; // crate::ui::b"),
    ]);
    assert!(circles(&none).is_empty());
}
