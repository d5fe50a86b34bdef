//! What has come of everything, in a form in which two lives can be compared: without times, hashes
//! and whatever else differs from life to life and means nothing.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::hostler::Sandbox;

/// Everything there is, at rest.
#[derive(Debug, PartialEq)]
pub struct Account {
    /// Every operation with its steps.
    operations: Vec<Value>,
    /// Every resource.
    resources: Vec<Value>,
    /// Every file in the state directory and of the outputs.
    files: BTreeSet<String>,
    /// How many guests and encoders run.
    running: (usize, usize),
}

impl Account {
    /// Waits until nothing is in flight, and looks at everything.
    pub fn of(place: &Sandbox, outside: &Path) -> Self {
        let ended = |operation: &Value| {
            matches!(operation["state"].as_str(), Some("DONE" | "CANCEL" | "ERROR"))
        };
        place.wait("every operation ends", || place.list("operations").iter().all(ended));
        let operations = place.list("operations").into_iter().map(|operation| {
            let uid = operation["uid"].as_u64().expect("a uid");
            let mut detail = place.json(&["show", &format!("operation/{uid}")]);
            for step in detail["steps"].as_array_mut().expect("steps") {
                // What was done again says so.
                step["commands"] = Value::Null;
            }
            detail
        });
        let mut operations: Vec<Value> = operations.collect();
        let kinds = ["vms", "disks", "images", "tasks", "encodings"];
        let mut resources: Vec<Value> = kinds.iter().flat_map(|kind| place.list(kind)).collect();
        for value in operations.iter_mut().chain(&mut resources) {
            smooth(value, place.dir());
        }
        let mut found = files(place.dir());
        found.extend(files(outside));
        let running = (place.guests().len(), place.encoders().len());
        Self { operations, resources, files: found, running }
    }

    /// The names of the steps that operations of a kind have taken.
    pub fn steps(&self, kind: &str) -> BTreeSet<String> {
        let of_kind = self.operations.iter().filter(|it| it["operation"]["kind"] == kind);
        let steps = of_kind.flat_map(|detail| detail["steps"].as_array().into_iter().flatten());
        steps.filter_map(|step| step["name"].as_str()).map(str::to_owned).collect()
    }

    /// What another account has that this one has not, or the other way round; `None` when they are
    /// the same.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        let only = |a: &[Value], b: &[Value]| {
            let only = a.iter().filter(|it| !b.contains(it)).map(Value::to_string);
            only.collect::<Vec<_>>().join("\n    ")
        };
        let files = |a: &BTreeSet<String>, b: &BTreeSet<String>| format!("{:?}", a - b);
        Some(format!(
            "not as without the crash\n  missing: {} {} {}\n  too much: {} {} {}\n  running: {:?} \
             instead of {:?}",
            only(&self.operations, &other.operations),
            only(&self.resources, &other.resources),
            files(&self.files, &other.files),
            only(&other.operations, &self.operations),
            only(&other.resources, &self.resources),
            files(&other.files, &self.files),
            other.running,
            self.running,
        ))
    }
}

/// Replaces what differs from life to life by what it is.
fn smooth(value: &mut Value, here: &Path) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match name.as_str() {
                    // The load of a running guest, the speed of an encoder.
                    "cpu_percent" | "memory_used_mib" | "speed" | "progress" | "took_ms" => {
                        *value = Value::Null;
                    }
                    // A file made anew is another one.
                    "inode" => *value = Value::Null,
                    "message" => {
                        *value = without_measures(value.as_str().unwrap_or_default()).into();
                        smooth(value, here);
                    }
                    _ => smooth(value, here),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| smooth(value, here)),
        Value::String(text) => {
            let is_hash = text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
            let is_sealed = text.starts_with("$5$") || text.starts_with("$6$");
            if text.parse::<jiff::Timestamp>().is_ok() {
                *text = "a time".to_owned();
            } else if text.parse::<uuid::Uuid>().is_ok() {
                *text = "a uuid".to_owned();
            } else if is_hash || is_sealed {
                *text = "a hash".to_owned();
            } else {
                *text = text.replace(&*here.to_string_lossy(), "HERE");
            }
        }
        _ => {}
    }
}

/// A sentence without how long something took or how fast it was: `in 0.8 s`, `at 9.9× its speed`.
fn without_measures(sentence: &str) -> String {
    let mut words: Vec<&str> = sentence.split(' ').collect();
    for at in 0..words.len() {
        let is_time = words[at] == "s" && at > 0 && words[at - 1].parse::<f64>().is_ok();
        if is_time {
            words[at - 1] = "some";
        } else if words[at].ends_with('×') {
            words[at] = "some×";
        }
    }
    words.join(" ")
}

/// Every file and folder below a folder, by its path from there; without the books that hostler
/// keeps about itself, its logs and its probes.
pub fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let own = folder == dir
                && (name.starts_with("hostler.")
                    || ["config.toml", "secret.txt", "probes"].contains(&name.as_str()));
            if own || name.contains(".log") || name.contains(".stderr") {
                continue;
            }
            let from_here = path.strip_prefix(dir).expect("below").to_string_lossy().into_owned();
            found.insert(from_here);
            if entry.file_type().is_ok_and(|file| file.is_dir()) {
                folders.push(path);
            }
        }
    }
    found
}
