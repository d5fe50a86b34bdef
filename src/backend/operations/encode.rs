//! `encode`: makes verified output files from one source, each with a preset.
//!
//! ```text
//!  one output:  probe ──▶ encode (beside the output, hidden) ──▶ finish (renamed, on disk)
//!  several:     spawn ──▶ an `encode` of one output for each ──▶ join
//! ```
//!
//! The encoder goes on without hostler and is found again. No file that was there before is ever
//! written over. Each of several outputs looks at the source itself, which takes no time beside the
//! encoding: it may be relaunched alone, when the source is another.

mod rendition;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backend::engine::journal::{JOIN, SPAWN, Stop};
use crate::backend::ports::{EncodeJob, Encoded, MediaInfo, PortFuture, Ports};
use crate::backend::settings::Settings;
use crate::domain::display;
use crate::domain::{
    Choice, Effect, Encoding, EncodingState, Failure, Field, FieldType, Hint, OperationSpec,
    Outcome, Preview, Reason, Refusal, Resource, Risk, State, Submit,
};

use super::{AdmissionContext, Context, Kind, StepContext, children, files};
use rendition::Rendition;

/// The word for it.
const KIND: &str = "encode";
/// The most outputs of one operation.
const MAX_FORMATS: u32 = 100;

/// The steps to one output.
const STEPS_TO_ONE: [&str; 3] = ["probe", "encode", "finish"];
/// The steps to several.
const STEPS_TO_SEVERAL: [&str; 2] = [SPAWN, JOIN];

/// The kind.
pub(super) struct Encode;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    source: PathBuf,
    /// That of every output that names none itself; none where no output is such.
    preset: Option<String>,
    output: Option<PathBuf>,
    #[serde(default)]
    formats: Vec<FormatParams>,
}

/// One of several outputs.
#[derive(Debug, Serialize, Deserialize)]
struct FormatParams {
    preset: Option<String>,
    output: Option<PathBuf>,
}

impl Parameters {
    /// What it makes: one output, or one for each of its formats.
    fn renditions(&self) -> Vec<Rendition> {
        let rendition = |within: String, preset: Option<&String>, output: Option<&PathBuf>| {
            let preset = preset.or(self.preset.as_ref()).cloned().unwrap_or_default();
            Rendition { within, source: self.source.clone(), preset, output: output.cloned() }
        };
        if self.formats.is_empty() {
            return vec![rendition(String::new(), None, self.output.as_ref())];
        }
        let formats = self.formats.iter().enumerate().map(|(number, format)| {
            let within = format!("formats.{number}");
            rendition(within, format.preset.as_ref(), format.output.as_ref())
        });
        formats.collect()
    }

    /// The refusal of an output for all of several.
    fn one_for_all(&self) -> Option<Refusal> {
        let output = self.output.as_ref().filter(|_| !self.formats.is_empty())?.display();
        let message = "output: each of the formats has its own; leave this one out";
        Some(Refusal::field(Reason::Value, "output", output.to_string(), message))
    }
}

impl Kind for Encode {
    type Params = Parameters;

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
            kind: KIND.into(),
            title: "Encode".into(),
            doc: "Encodes an audio or video file with a preset into a new file. Given several \
                  formats, it makes one file for each."
                .into(),
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
                    FieldType::Choice { choices: choices.clone() },
                    first,
                    "What to encode it into.",
                ),
                Field::optional(
                    "output",
                    FieldType::NewFile,
                    serde_json::Value::Null,
                    "The file it becomes; without one, beside the source with the preset's ending.",
                ),
                formats(choices),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("new", &["n"], 10).first("encode a video: no image needed"),
            locks: vec![],
            requires: vec![],
            state_after: None,
            reject_duplicates: false,
            steps: STEPS_TO_ONE.into_iter().chain(STEPS_TO_SEVERAL).map(Into::into).collect(),
        }
    }

    /// A preset that no output is made with was not asked for: it is the default.
    fn fill(params: Parameters, _: &AdmissionContext<'_>) -> Parameters {
        let is_used =
            params.formats.is_empty() || params.formats.iter().any(|it| it.preset.is_none());
        Parameters { preset: params.preset.filter(|_| is_used), ..params }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let mut renditions = params.renditions();
        let several = renditions.len() > 1;
        if !params.source.is_file() {
            // That is what is told then, and not what follows from it.
            renditions.retain(|it| it.output.is_some());
        }
        // What was done before stays where it is; the others are looked at when they are asked for.
        let again = several && world.relaunched.is_some();
        let makers = (!again).then(|| makers(world));
        let each = renditions.iter().filter_map(|it| it.admit(world, makers.as_deref()).err());
        let refusals =
            params.one_for_all().into_iter().chain(rendition::shared(&renditions, world));
        let other_way = world.relaunched.filter(|before| before.resource.is_none() != several);
        let other_way = other_way.map(|before| {
            let message = format!(
                "formats: a relaunch does not make several outputs of one, nor one of several; \
                 cancel {} and encode anew",
                before.uid
            );
            Refusal::field(Reason::State, "formats", params.formats.len().to_string(), message)
        });
        let first = refusals.chain(each).chain(other_way).min_by_key(|refusal| refusal.reason);
        first.map_or(Ok(()), Err)
    }

    fn reserve(params: &Parameters, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        let renditions = params.renditions();
        let [rendition] = renditions.as_slice() else { return None };
        Some(Resource::Encoding(Encoding {
            id,
            name: Self::name(params)?,
            state: EncodingState::Waiting,
            source: params.source.clone(),
            preset: rendition.preset.clone(),
            output: rendition.output(world.settings)?,
            duration_s: None,
            source_bytes: None,
            output_bytes: None,
            made: None,
            speed: None,
            created: world.now,
            finished: None,
        }))
    }

    fn name(params: &Parameters) -> Option<String> {
        let source = params.source.file_name()?.to_string_lossy();
        let mut presets: Vec<String> = Vec::new();
        for Rendition { preset, .. } in params.renditions() {
            if !presets.contains(&preset) {
                presets.push(preset);
            }
        }
        Some(format!("{source}→{}", presets.join(", ")))
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

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let mut preview = Preview::default();
        let mut folders = Vec::new();
        let renditions = params.renditions();
        for rendition in renditions.iter().take(children::PREVIEWED) {
            // The number is not given out yet; nobody looks into the job's folder.
            let Ok(job) = rendition.job(0, world.settings, MediaInfo::default()) else { continue };
            let (source, output) = (job.source.display(), job.output.display());
            preview.effects.push(format!("Encodes {source} into {output}."));
            preview.commands.push(world.ports.encoder.command_line(&job));
            let folder = job.output.parent().map(ToOwned::to_owned);
            folders.extend(folder.filter(|folder| !folders.contains(folder)));
        }
        preview.effects.extend(children::more(renditions.len()));
        for folder in &folders {
            if let Ok(free) = rendition::free_bytes(folder) {
                let place = match folders.as_slice() {
                    [_] => "there".to_owned(),
                    _ => format!("in {}", folder.display()),
                };
                preview.effects.push(format!("{} are free {place}.", display::bytes(free)));
            }
        }
        preview
    }

    /// What an attempt could not end, such as an ffmpeg that waits for a disk.
    fn remove_leftovers<'a>(
        ports: &'a Ports,
        settings: &'a Settings,
        id: u64,
    ) -> PortFuture<'a, ()> {
        Box::pin(async move { ports.encoder.remove_leftovers(&settings.encoding_dir(id)).await })
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let renditions = params.renditions();
        match renditions.as_slice() {
            [rendition] => encode(cx, rendition).await,
            _ => encode_each(cx, &params, &renditions).await,
        }
    }
}

/// The field of several outputs.
fn formats(choices: Vec<Choice>) -> Field {
    let format = FieldType::Record {
        fields: vec![
            Field::optional(
                "preset",
                FieldType::Choice { choices },
                serde_json::Value::Null,
                "What to encode it into; without one, what 'preset' says.",
            ),
            Field::optional(
                "output",
                FieldType::NewFile,
                serde_json::Value::Null,
                "The file it becomes; without one, beside the source with the preset's ending.",
            ),
        ],
    };
    Field::optional(
        "formats",
        FieldType::List { of: Box::new(format), min: 0, max: MAX_FORMATS },
        json!([]),
        "Several outputs instead of one: each is encoded as an operation of its own, and all are \
         cancelled and relaunched with this one.",
    )
    .advanced()
}

/// The outputs that are being made already or will be, and by whom: a row, or an operation that
/// makes several, of which each has a row that tells of it only once its own operation was asked
/// for.
fn makers(world: &AdmissionContext<'_>) -> Vec<(String, PathBuf)> {
    let rows = world.inventory.of(Encoding::KIND).filter_map(|row| match &**row {
        Resource::Encoding(Encoding {
            state: EncodingState::Waiting | EncodingState::Encoding,
            output,
            ..
        }) => Some((row.id().to_string(), output.clone())),
        _ => None,
    });
    let mut found: Vec<(String, PathBuf)> = rows.collect();
    for operation in world.under_way(KIND) {
        let formats = operation.params.get("formats").and_then(serde_json::Value::as_array);
        if formats.is_some_and(|formats| formats.len() > 1)
            && let Ok(params) = Parameters::deserialize(&*operation.params)
        {
            let outputs =
                params.renditions().into_iter().filter_map(|it| it.output(world.settings));
            found.extend(outputs.map(|output| (operation.uid.to_string(), output)));
        }
    }
    found
}

/// Makes several outputs, each by an operation of its own.
async fn encode_each(
    cx: Context,
    params: &Parameters,
    renditions: &[Rendition],
) -> Result<Outcome, Stop> {
    cx.takes(STEPS_TO_SEVERAL);
    let requests = renditions.iter().map(|rendition| {
        let params = rendition.params(cx.settings());
        Submit { kind: KIND.to_owned(), params, ..Submit::default() }
    });
    let (_, children) = children::run(&cx, requests.collect()).await?;
    let operations: Vec<_> = children.iter().map(|child| child.uid).collect();
    let outputs: Vec<_> =
        children.into_iter().filter_map(|child| Some(child.outcome?.data)).collect();
    let (made, all) = (outputs.len(), renditions.len());
    let message = format!("made {made} of {all} files from {}", params.source.display());
    Ok(Outcome::new(message, json!({ "operations": operations, "outputs": outputs })))
}

/// Makes one output.
async fn encode(cx: Context, rendition: &Rendition) -> Result<Outcome, Stop> {
    cx.takes(STEPS_TO_ONE);
    let id = cx.id()?;
    let job = rendition.job(id, cx.settings(), MediaInfo::default())?;
    let media = cx
        .step("probe")
        .label("looking at the source")
        .progress_range(0.0, 0.02)
        .run(|step| probe(step.cx().clone(), step, id, job.clone(), rendition.preset.clone()))
        .await?;
    let job = EncodeJob { media, ..job };

    let undone = job.clone();
    let encoded: Encoded = cx
        .step("encode")
        .label("encoding")
        .progress_range(0.02, 0.98)
        .undo(move |step| {
            let job = undone.clone();
            async move { step.cx().ports().encoder.remove_leftovers(&job.dir).await }
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
                encoding.made = files::identity(&job.output)?;
                encoding.speed = Some(encoded.speed);
                encoding.finished = Some(step.cx().now());
                step.put(Resource::Encoding(encoding));
                Ok(())
            }
        })
        .await?;
    Ok(outcome)
}

/// What is to be said about an output: its size, how long it plays, how fast it was made.
fn outcome(id: u64, job: &EncodeJob, encoded: &Encoded) -> Outcome {
    let (output, size) = (job.output.display(), display::bytes(encoded.bytes));
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
        Ok(found) if encoded.is(&found) => files::remove_file(&job.output),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::io(format!("look at {}", job.output.display()), &error)),
    }
}

#[cfg(test)]
mod tests;
