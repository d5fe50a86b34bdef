//! `encoding_delete`: takes an encoding off the list, and its output off the disk when asked to.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{
    Effect, Encoding, EncodingState, Failure, Field, FieldType, Hint, LockMode, LockRule,
    OperationSpec, Outcome, Preview, ResourceId, Risk,
};

use super::{AdmissionContext, Context, Kind, files};

/// The kind.
pub(super) struct EncodingDelete;

/// Its parameters.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    encoding: u64,
    output: bool,
}

impl Kind for EncodingDelete {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        let ended = ["finished", "failed", "cancelled"];
        OperationSpec {
            kind: "encoding_delete".into(),
            title: "Delete".into(),
            doc: "Takes an encoding off the list; the encoded file stays unless asked otherwise."
                .into(),
            doing: "deleting".into(),
            resource: Some(Encoding::KIND),
            effect: Effect::Deletes,
            subject: Some("encoding".into()),
            lane: "task".into(),
            risk: Risk::Disruptive,
            warning: "What is known of the encoding is forgotten; the encoded file stays.".into(),
            fields: vec![
                Field::required(
                    "encoding",
                    FieldType::Resource {
                        of: Encoding::KIND,
                        states: ended.map(Into::into).to_vec(),
                    },
                    "The encoding to delete.",
                ),
                Field::optional(
                    "output",
                    FieldType::Flag,
                    false,
                    "Remove the encoded file too, where the encoding was finished.",
                )
                .destructive("The encoded file is removed for good."),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("delete", &["X", "delete"], 30),
            locks: vec![LockRule { field: "encoding".into(), mode: LockMode::Exclusive }],
            requires: ended.map(Into::into).to_vec(),
            state_after: Some("deleted".into()),
            reject_duplicates: true,
            steps: vec!["look".into(), "delete".into()],
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some(encoding) = world.inventory.get::<Encoding>(params.encoding) else {
            return Preview::default();
        };
        let mut effects = vec![format!("Takes '{}' off the list.", encoding.name)];
        if params.output && encoding.state == EncodingState::Finished {
            effects.push(format!("Removes {} for good.", encoding.output.display()));
        }
        Preview { effects, ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = ResourceId::new(Encoding::KIND, params.encoding);
        let output = params.output;
        cx.step("look")
            .label("looking at its output")
            .run(|step| async move {
                let encoding = step.cx().get::<Encoding>(id.id)?;
                if output && is_its(&encoding)? {
                    files::removable(&encoding.output)?;
                }
                Ok(())
            })
            .await?;
        cx.step("delete")
            .pivot()
            .run(|step| async move {
                let encoding = step.cx().get::<Encoding>(id.id)?;
                // What has taken its place since is left alone.
                if output && is_its(&encoding).is_ok_and(|is_there| is_there) {
                    files::remove_file(&encoding.output)?;
                }
                step.remove(id);
                Ok(())
            })
            .await?;
        Ok(Outcome::default())
    }
}

/// Whether the file that an encoding made is there; also `false` where it made none.
///
/// # Errors
/// When another one has its name, or it is not known which file it made.
fn is_its(encoding: &Encoding) -> Result<bool, Failure> {
    // A file of that name is this encoding's only when it was finished.
    if encoding.state != EncodingState::Finished {
        return Ok(false);
    }
    let Some(found) = files::identity(&encoding.output)? else { return Ok(false) };
    let Encoding { id, output, made, .. } = encoding;
    let output = output.display();
    match made {
        Some(made) if *made == found => Ok(true),
        Some(_) => Err(Failure::refused(format!(
            "{output} is not the file that encoding/{id} made, or was changed since; cancel this, \
             delete the encoding without 'output', and remove the file yourself if it is to go"
        ))),
        None => Err(Failure::refused(format!(
            "encoding/{id} does not say which file it made, as an older hostler did not note that; \
             cancel this, delete the encoding without 'output', and remove {output} yourself"
        ))),
    }
}
