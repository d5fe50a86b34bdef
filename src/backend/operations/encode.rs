//! `encode`: makes one verified output file from one source with one preset.
//!
//! ```text
//!  probe ──▶ encode (beside the output, hidden) ──▶ finish (renamed, on disk)
//! ```
//!
//! The encoder goes on without hostler and is found again. No file that was there before is ever
//! written over.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backend::engine::inventory::Inventory;
use crate::backend::engine::journal::Stop;
use crate::backend::ports::{EncodeJob, Encoded, MediaInfo};
use crate::backend::presets::Preset;
use crate::backend::settings::Settings;
use crate::domain::{
    Choice, Effect, Encoding, EncodingState, Failure, Field, FieldType, Hint, OperationSpec,
    Outcome, Preview, Reason, Refusal, Resource, ResourceId, Risk, State,
};

use super::{AdmissionContext, Context, Kind, StepContext};

/// The kind.
pub(super) struct Encode;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Params {
    source: PathBuf,
    preset: String,
    output: Option<PathBuf>,
}

impl Params {
    /// The file it becomes: the one asked for, or one beside the source that is not the source.
    fn output(&self, preset: &Preset) -> PathBuf {
        self.output.clone().unwrap_or_else(|| {
            let output = self.source.with_extension(&preset.extension);
            if output == self.source {
                let stem = self.source.file_stem().unwrap_or_default().to_string_lossy();
                output.with_file_name(format!("{stem}-{}.{}", preset.name, preset.extension))
            } else {
                output
            }
        })
    }

    fn name(&self) -> String {
        let source = self.source.file_name().unwrap_or_default().to_string_lossy();
        format!("{source}→{}", self.preset)
    }

    /// The job, as far as it is known before the source was looked at.
    fn job(&self, id: u64, settings: &Settings, media: MediaInfo) -> Result<EncodeJob, Failure> {
        let preset = settings.presets.get(&self.preset).ok_or_else(|| {
            Failure::new(format!(
                "there is no preset '{}' any more; cancel this and encode with another",
                self.preset
            ))
        })?;
        Ok(EncodeJob {
            dir: settings.encoding_dir(id),
            source: self.source.clone(),
            output: self.output(preset),
            arguments: preset.arguments(),
            media,
        })
    }
}

impl Kind for Encode {
    type Params = Params;

    fn spec(settings: &Settings) -> OperationSpec {
        let choices: Vec<Choice> = settings
            .presets
            .iter()
            .map(|preset| Choice {
                value: preset.name.clone().into(),
                label: preset.label.clone().into(),
            })
            .collect();
        let first = choices.first().map(|choice| choice.value.to_string());
        OperationSpec {
            kind: "encode".into(),
            title: "Encode".into(),
            doc: "Encodes an audio or video file with a preset into a new file.".into(),
            doing: "encoding".into(),
            resource: Some(Encoding::KIND),
            effect: Effect::Creates,
            subject: None,
            lane: "encode".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![
                Field::required("source", FieldType::File, "The file to encode."),
                Field::optional(
                    "preset",
                    FieldType::Choice { choices },
                    first,
                    "What to encode it into.",
                ),
                Field::optional(
                    "output",
                    FieldType::NewFile,
                    serde_json::Value::Null,
                    "The file it becomes; without one, beside the source with the preset's ending.",
                ),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("new", &["n"], 10).first("encode a video: no image needed"),
            locks: vec![],
            requires: vec![],
            state_after: None,
            reject_duplicates: false,
            steps: vec!["probe".into(), "encode".into(), "finish".into()],
        }
    }

    fn admit(params: &Params, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let Some(preset) = world.settings.presets.get(&params.preset) else {
            let message = format!("preset: there is no '{}'", params.preset);
            return Err(Refusal::field(Reason::Value, "preset", &params.preset, message));
        };
        let output = params.output(preset);
        let shown = output.display().to_string();
        let wrong = |reason, why: &str| {
            let message = format!("output: {shown} {why}");
            Err(Refusal::field(reason, "output", &shown, message))
        };
        if output.file_name().is_none() || shown.ends_with('/') {
            return wrong(Reason::Value, "names no file; add a file name");
        }
        if same_file(&output, &params.source) {
            return wrong(Reason::Value, "is the source itself; name another output");
        }
        let dir = output.parent().unwrap_or(Path::new("/"));
        if is_below(dir, &world.settings.state_dir) {
            let why = "would lie among hostler's own files; choose a folder elsewhere";
            return wrong(Reason::Value, why);
        }
        match std::fs::symlink_metadata(&output) {
            Ok(_) => return wrong(Reason::Existence, "exists already; name another output"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return wrong(Reason::Existence, &format!("cannot be looked at: {error}"));
            }
        }
        if !dir.is_dir() {
            return wrong(Reason::Existence, "would be in a folder that does not exist; make it");
        }
        if let Some(other) = maker(world.inventory, &output) {
            let why = format!("is being made already by {other}; name another output");
            return wrong(Reason::Existence, &why);
        }
        let writable = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        if let Err(error) = rustix::fs::access(dir, writable) {
            let why = format!("cannot be written: {error}; choose a folder you may write to");
            return wrong(Reason::Privileges, &why);
        }
        let needed = std::fs::metadata(&params.source).map_or(0, |source| source.len());
        match free_bytes(dir) {
            Ok(free) if free < needed => {
                let why = format!(
                    "has only {} MiB of room, and the source takes {} MiB; free some space or \
                     name an output elsewhere",
                    free >> 20,
                    needed >> 20
                );
                wrong(Reason::State, &why)
            }
            Ok(_) => Ok(()),
            Err(error) => wrong(Reason::State, &format!("has unknown room: {error}")),
        }
    }

    fn reserve(params: &Params, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        let preset = world.settings.presets.get(&params.preset)?;
        Some(Resource::Encoding(Encoding {
            id,
            name: params.name(),
            state: EncodingState::Waiting,
            source: params.source.clone(),
            preset: params.preset.clone(),
            output: params.output(preset),
            duration_s: None,
            source_bytes: None,
            output_bytes: None,
            speed: None,
            created: world.now,
            finished: None,
        }))
    }

    /// The row stays, and says how it ended.
    fn resource_after(resource: Resource, end: State) -> Option<Resource> {
        match resource {
            Resource::Encoding(mut encoding) => {
                encoding.state = match end {
                    State::Cancel => EncodingState::Cancelled,
                    _ => EncodingState::Failed,
                };
                Some(Resource::Encoding(encoding))
            }
            other => Some(other),
        }
    }

    fn preview(params: &Params, world: &AdmissionContext<'_>) -> Preview {
        // The number is not given out yet; nobody looks into the job's folder.
        let Ok(job) = params.job(0, world.settings, MediaInfo::default()) else {
            return Preview::default();
        };
        let output = job.output.display();
        let mut effects = vec![format!("Encodes {} into {output}.", job.source.display())];
        if let Some(Ok(free)) = job.output.parent().map(free_bytes) {
            effects.push(format!("{} MiB are free there.", free >> 20));
        }
        Preview {
            effects,
            commands: vec![world.ports.encoder.command_line(&job)],
            ..Preview::default()
        }
    }

    async fn run(cx: Context, params: Params) -> Result<Outcome, Stop> {
        let id = cx.id()?;
        let job = params.job(id, cx.settings(), MediaInfo::default())?;
        let media = cx
            .step("probe")
            .label("looking at the source")
            .progress_range(0.0, 0.02)
            .run(|step| probe(step.cx().clone(), step, id, job.clone(), params.preset.clone()))
            .await?;
        let job = EncodeJob { media, ..job };

        let undone = job.clone();
        let encoded: Encoded = cx
            .step("encode")
            .label("encoding")
            .progress_range(0.02, 0.98)
            .undo(move |step| {
                let job = undone.clone();
                async move { step.cx().ports().encoder.remove_leftovers(&job).await }
            })
            .run(|step| {
                let job = job.clone();
                async move {
                    let report = |meter| step.report(meter);
                    step.cx().ports().encoder.encode(&job, &report, step.log()).await
                }
            })
            .await?;

        let (undone, outcome) = (job.clone(), outcome(id, &job, &encoded));
        cx.step("finish")
            .label("putting the output in its place")
            .progress_range(0.98, 1.0)
            .undo(move |_| take_back(undone.clone(), encoded))
            .run(|step| {
                let job = job.clone();
                async move {
                    step.cx().ports().encoder.finish(&job, &encoded).await?;
                    let mut encoding = step.cx().get::<Encoding>(id)?;
                    encoding.state = EncodingState::Finished;
                    encoding.output_bytes = Some(encoded.bytes);
                    encoding.speed = Some(encoded.speed);
                    encoding.finished = Some(step.cx().now());
                    step.put(Resource::Encoding(encoding));
                    Ok(())
                }
            })
            .await?;
        Ok(outcome)
    }
}

/// What is to be said about an output: its size, how long it plays, how fast it was made.
fn outcome(id: u64, job: &EncodeJob, encoded: &Encoded) -> Outcome {
    let (output, size) = (job.output.display(), super::files::mib(encoded.bytes));
    let long = job.media.duration_s.map(|seconds| format!(", {seconds:.1} s long"));
    let long = long.unwrap_or_default();
    let message = format!("made {output}: {size}{long}, at {:.1}× its speed", encoded.speed);
    let data = json!({
        "encoding": id,
        "output": job.output,
        "bytes": encoded.bytes,
        "duration_s": job.media.duration_s,
        "speed": encoded.speed,
    });
    Outcome::new(message, data)
}

/// Looks at the source and says whether the preset suits it.
async fn probe(
    cx: Context,
    step: StepContext,
    id: u64,
    job: EncodeJob,
    preset: String,
) -> Result<MediaInfo, Failure> {
    let media = cx.ports().encoder.probe(&job.source, step.log()).await?;
    let refused =
        cx.settings().presets.get(&preset).and_then(|preset| preset.refuses(&job.source, &media));
    if let Some(why) = refused {
        return Err(Failure::new(why));
    }
    if tokio::fs::symlink_metadata(&job.output).await.is_ok() {
        return Err(Failure::new(format!(
            "{} has appeared since this was asked for; move it away and relaunch, or relaunch with \
             another output",
            job.output.display()
        )));
    }
    let mut encoding = cx.get::<Encoding>(id)?;
    encoding.state = EncodingState::Encoding;
    encoding.duration_s = media.duration_s;
    encoding.source_bytes = Some(media.bytes);
    step.put(Resource::Encoding(encoding));
    Ok(media)
}

/// Removes an output that was put in its place by a step cut short. Another file of that name is a
/// stranger's.
async fn take_back(job: EncodeJob, encoded: Encoded) -> Result<(), Failure> {
    match tokio::fs::symlink_metadata(&job.output).await {
        Ok(found) if encoded.is(&found) => super::files::remove_file(&job.output),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::io(format!("look at {}", job.output.display()), &error)),
    }
}

/// The encoding that is making an output already.
fn maker(inventory: &Inventory, output: &Path) -> Option<ResourceId> {
    let made = |row: &Resource| match row {
        Resource::Encoding(other) => {
            matches!(other.state, EncodingState::Waiting | EncodingState::Encoding)
                && same_file(&other.output, output)
        }
        _ => false,
    };
    inventory.of(Encoding::KIND).find(|row| made(row)).map(|row| row.id())
}

/// Whether two names, of which there may be no file yet, are of one: the same in the same folder,
/// however that is reached.
fn same_file(one: &Path, other: &Path) -> bool {
    if one == other {
        return true;
    }
    let folder = |path: &Path| path.parent().and_then(identity);
    one.file_name() == other.file_name() && folder(one).is_some_and(|it| folder(other) == Some(it))
}

/// Whether a folder is another one or lies in it, however they are reached.
fn is_below(dir: &Path, above: &Path) -> bool {
    let Some(above) = identity(above) else { return false };
    // Links are resolved first: what is above a link is not above what it leads to.
    dir.canonicalize().is_ok_and(|dir| dir.ancestors().any(|it| identity(it) == Some(above)))
}

/// What tells a file from every other: its filesystem and its number there.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Bytes that are free in a folder's filesystem for whoever is no superuser.
fn free_bytes(dir: &Path) -> std::io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests;
