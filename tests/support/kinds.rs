//! How every kind of the catalogue is asked for on an empty box: which requests must come before
//! it, and what its fields hold. Derived from the catalogue entries, so that a new kind needs
//! nothing here, unless a field's type does not tell what it is to hold.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::path::{Path, PathBuf};

use hostler::backend::operations;
use hostler::backend::settings::Settings;
use hostler::domain::{Effect, Field, FieldType, Image, OperationSpec, ResourceKind};
use serde_json::{Value, json};

use super::media;
use super::publisher::Publisher;

/// The whole catalogue.
pub fn catalogue() -> Vec<OperationSpec> {
    let kinds = operations::all(&Settings::new("/nowhere".into()));
    kinds.into_iter().map(|entry| entry.spec).collect()
}

/// A request on the way to the kind that is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRequest {
    pub kind: String,
    pub fields: Vec<(String, GivenValue)>,
}

/// What a field is given.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenValue {
    /// A value.
    Value(Value),
    /// The resource that an earlier request was about, by its place in the plan.
    Made(usize),
    /// Something that lies outside the state directory.
    Thing(Thing),
    /// A list of one.
    List(Box<GivenValue>),
}

/// What requests need that hostler does not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// A short video.
    Video,
    /// A small disk image.
    DiskImage,
    /// The URL of that disk image.
    Published,
}

/// What fields are given whose type does not tell what they are to hold.
pub fn given(kind: &str, field: &str) -> Option<GivenValue> {
    let value = |value| Some(GivenValue::Value(value));
    match (kind, field) {
        ("disk_create", "size_mb") => value(json!(8)),
        ("encode", "source") => Some(GivenValue::Thing(Thing::Video)),
        ("encode", "preset") => value(json!("mp4")),
        ("image_import", "source") => Some(GivenValue::Thing(Thing::DiskImage)),
        ("image_fetch", "url") => Some(GivenValue::Thing(Thing::Published)),
        ("task_create", "kind") => value(json!("disk_create")),
        ("task_create", "params") => value(json!({ "name": "fired", "size_mb": 8 })),
        ("batch", "operations") => value(json!([
            { "kind": "disk_create", "params": { "name": "batched", "size_mb": 8 } },
        ])),
        // By itself it never fires during a test.
        ("task_create", "start") => value(json!("2099-01-01")),
        _ => None,
    }
}

/// The other ways in which a kind can be asked for, where it takes other steps then: what is given
/// besides.
pub fn other_ways(kind: &str) -> Vec<(&'static str, GivenValue)> {
    match kind {
        "encode" => {
            let formats = json!([{ "preset": "mp4" }, { "preset": "webm" }]);
            vec![("formats", GivenValue::Value(formats))]
        }
        _ => Vec::new(),
    }
}

/// What may be left out and is given all the same: a step is taken for it.
fn has_a_step(kind: &str, field: &str) -> bool {
    matches!((kind, field), ("vm_create", "disks"))
}

/// What is given besides where a kind only prepares for another: what need not wait for a guest.
fn hurried(kind: &str, field: &str) -> Option<GivenValue> {
    matches!((kind, field), ("vm_stop", "force")).then(|| GivenValue::Value(json!(true)))
}

/// The kind that makes what others need, where more than one could: one whose guest boots.
fn preferred(of: ResourceKind) -> Option<&'static str> {
    (of == Image::KIND).then_some("image_build")
}

/// The requests that lead to a kind, itself the last, on an empty box.
///
/// # Errors
/// A sentence that says what keeps the kind from being asked for, and what to do.
pub fn plan(catalogue: &[OperationSpec], kind: &str) -> Result<Vec<SampleRequest>, String> {
    let spec = catalogue.iter().find(|spec| spec.kind == kind);
    let spec = spec.ok_or_else(|| format!("there is no kind {kind}"))?;
    let mut plan = RequestPlan { catalogue, requests: Vec::new(), under_way: Vec::new() };
    plan.request(spec, false)?;
    Ok(plan.requests)
}

/// The requests that lead to a kind in each of its ways.
///
/// # Errors
/// As [`plan`].
pub fn plans(catalogue: &[OperationSpec], kind: &str) -> Result<Vec<Vec<SampleRequest>>, String> {
    let usual = plan(catalogue, kind)?;
    let others = other_ways(kind).into_iter().map(|(field, given)| {
        let mut plan = usual.clone();
        if let Some(last) = plan.last_mut() {
            last.fields.push((field.to_owned(), given));
        }
        plan
    });
    Ok(std::iter::once(usual.clone()).chain(others).collect())
}

struct RequestPlan<'a> {
    catalogue: &'a [OperationSpec],
    requests: Vec<SampleRequest>,
    /// The kinds that are being prepared for, so that none prepares for itself.
    under_way: Vec<String>,
}

impl RequestPlan<'_> {
    /// Adds a request and all that it needs. Returns its place.
    fn request(&mut self, spec: &OperationSpec, prepares: bool) -> Result<usize, String> {
        self.under_way.push(spec.kind.to_string());
        let mut fields = Vec::new();
        for field in &spec.fields {
            let known = given(&spec.kind, &field.name);
            let hurried = prepares.then(|| hurried(&spec.kind, &field.name)).flatten();
            let holds = match known.or(hurried) {
                Some(given) => given,
                None if field.required => self.value(spec, field)?,
                None if !prepares && has_a_step(&spec.kind, &field.name) => {
                    self.value(spec, field)?
                }
                None => continue,
            };
            fields.push((field.name.to_string(), holds));
        }
        self.under_way.pop();
        self.requests.push(SampleRequest { kind: spec.kind.to_string(), fields });
        Ok(self.requests.len() - 1)
    }

    /// What a field that must be given may hold.
    fn value(&mut self, spec: &OperationSpec, field: &Field) -> Result<GivenValue, String> {
        let value = match &field.of {
            FieldType::Resource { of, states } => {
                let subject = spec.subject.as_ref() == Some(&field.name);
                let states = if subject { &spec.requires } else { states };
                let states: Vec<&str> = states.iter().map(AsRef::as_ref).collect();
                return self.make(*of, &states).map(GivenValue::Made).map_err(|why| {
                    format!("{} cannot be set up: {}: {why}", spec.kind, field.name)
                });
            }
            FieldType::Text { .. } | FieldType::Name | FieldType::Hostname => {
                json!(format!("fresh-{}", self.requests.len()))
            }
            FieldType::Secret { min } => json!("correct horse ".repeat(*min as usize / 14 + 1)),
            FieldType::Integer { min, .. } => json!(min),
            FieldType::Flag => json!(true),
            FieldType::Choice { choices } => json!(choices.first().map(|it| it.value.clone())),
            FieldType::Lines => json!(["a line"]),
            FieldType::Every { min, .. } => json!(min),
            FieldType::List { of, .. } => {
                let item = Field { of: (**of).clone(), ..field.clone() };
                return Ok(GivenValue::List(Box::new(self.value(spec, &item)?)));
            }
            FieldType::File
            | FieldType::NewFile
            | FieldType::Url
            | FieldType::Kind
            | FieldType::Record { .. }
            | FieldType::Params { .. }
            | FieldType::Unknown => {
                return Err(format!(
                    "{} cannot be set up: nothing says what its field {} is to hold; add a line to \
                     `given` in tests/support/kinds.rs",
                    spec.kind, field.name
                ));
            }
        };
        Ok(GivenValue::Value(value))
    }

    /// Adds the requests after which a new resource is in one of these states; none means any.
    /// Returns the place of the last, which is about that resource.
    fn make(&mut self, of: ResourceKind, states: &[&str]) -> Result<usize, String> {
        let leaves = |spec: &OperationSpec| match spec.state_after.as_deref() {
            Some(state) => states.is_empty() || states.contains(&state),
            // What it leaves depends on how it ends; done, as a test wants it.
            None => spec.effect == Effect::Creates,
        };
        let mut ways: Vec<&OperationSpec> = self
            .catalogue
            .iter()
            .filter(|spec| {
                spec.resource == Some(of) && spec.effect != Effect::Deletes && leaves(spec)
            })
            .filter(|spec| !self.under_way.contains(&spec.kind.to_string()))
            .collect();
        let liked = |spec: &&OperationSpec| preferred(of).is_some_and(|kind| spec.kind == kind);
        ways.sort_by_key(|spec| (spec.effect != Effect::Creates, !liked(spec)));
        let mut complaints = Vec::new();
        for way in ways {
            let (before, under_way) = (self.requests.clone(), self.under_way.clone());
            match self.request(way, true) {
                Ok(place) => return Ok(place),
                Err(complaint) => complaints.push(complaint),
            }
            (self.requests, self.under_way) = (before, under_way);
        }
        let wanted = if states.is_empty() { "any state".to_owned() } else { states.join(" or ") };
        Err(match complaints.is_empty() {
            true => format!(
                "no kind makes a new {of} that is {wanted}; say in a catalogue entry that one \
                 leaves it so"
            ),
            false => complaints.join("; "),
        })
    }
}

/// What lies outside the state directory.
pub struct Things {
    dir: tempfile::TempDir,
    video: PathBuf,
    disk: PathBuf,
    publisher: Publisher,
}

impl Things {
    /// Makes all of them.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let video = media::video(dir.path(), "clip.mkv", 1, "64x48");
        let disk = dir.path().join("small.qcow2");
        let made = std::process::Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&disk)
            .arg("1M")
            .status()
            .expect("qemu-img runs");
        assert!(made.success());
        let bytes = std::fs::read(&disk).expect("the image");
        let publisher = Publisher::holding_back(bytes, usize::MAX);
        Self { dir, video, disk, publisher }
    }

    /// The folder they lie in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What a field is given for a thing.
    pub fn value(&self, thing: Thing) -> Value {
        match thing {
            Thing::Video => json!(self.video),
            Thing::DiskImage => json!(self.disk),
            Thing::Published => json!(self.publisher.url("small.qcow2")),
        }
    }
}
