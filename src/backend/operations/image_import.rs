//! `image_import`: an image from a file that is on the box already.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{
    Effect, Field, FieldType, Hint, Image, OperationSpec, Outcome, Preview, Refusal, Resource, Risk,
};

use super::images::{self, Undone};
use super::{AdmissionContext, Context, Kind, files, guests};

/// The kind.
pub struct ImageImport;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    name: String,
    source: PathBuf,
    initrd: Option<PathBuf>,
    login: String,
}

impl Kind for ImageImport {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "image_import".into(),
            title: "Import".into(),
            doc: "Copies a qcow2, raw or ISO file, or a kernel with an initrd, and makes an image \
                  of it. The file itself stays as it is."
                .into(),
            doing: "being imported".into(),
            resource: Some(Image::KIND),
            effect: Effect::Creates,
            subject: None,
            lane: "image".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![
                Field::required("name", FieldType::Name, "The image's name."),
                Field::required(
                    "source",
                    FieldType::File,
                    "The file: a qcow2 or raw disk, an ISO, or a kernel.",
                ),
                Field::optional(
                    "initrd",
                    FieldType::File,
                    serde_json::Value::Null,
                    "The initial ramdisk, when the source is a kernel.",
                ),
                Field::optional(
                    "login",
                    FieldType::Name,
                    "root",
                    "The user account VMs get when none is named.",
                ),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("import", &["i"], 12).first("take an image from a file of yours"),
            locks: vec![],
            requires: vec![],
            state_after: Some("ready".into()),
            reject_duplicates: false,
            steps: vec!["import".into()],
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        guests::free_name(world, "name", Image::KIND, &params.name)
    }

    fn reserve(params: &Parameters, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        let (name, source) = (params.name.clone(), params.source.display().to_string());
        Some(images::reserved(id, name.clone(), name, source, params.login.clone(), world))
    }

    fn preview(params: &Parameters, _: &AdmissionContext<'_>) -> Preview {
        let bytes = files::bytes(&params.source) + params.initrd.as_deref().map_or(0, files::bytes);
        let effect =
            format!("{} is copied and becomes image '{}'.", params.source.display(), params.name);
        Preview { effects: vec![effect], space: Some(bytes), ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let step = cx.step("import").label("copying");
        let (source, initrd) = (&params.source, params.initrd.as_deref());
        images::make(&cx, step, Undone::Discarded, |step, dir| async move {
            let report = |meter| step.report(meter);
            step.cx().ports().images.import(&dir, source, initrd, &report, step.log()).await
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::backend::testing::harness::{FaultMatrix, Harness};
    use crate::domain::Reason;

    #[tokio::test]
    async fn it_survives_faults() {
        let tested = FaultMatrix {
            kind: "image_import",
            params: json!({ "name": "mine", "source": "/etc/hostname", "login": "me" }),
            setup: |_| Box::pin(async {}),
            undoes: true,
        };
        tested.survives_faults().await;
    }

    #[tokio::test]
    async fn the_source_must_be_a_file_and_the_name_free() {
        let mut harness = Harness::open();
        harness.done("image_import", json!({ "name": "mine", "source": "/etc/hostname" })).await;
        for (given, reason, field) in [
            (json!({ "name": "mine", "source": "/etc/hostname" }), Reason::Existence, "name"),
            (json!({ "name": "x", "source": "/etc/absent" }), Reason::Existence, "source"),
            (json!({ "name": "x", "source": "/etc" }), Reason::Existence, "source"),
            (json!({ "name": "x", "source": "/etc/../etc/hostname" }), Reason::Syntax, "source"),
        ] {
            let (found, at, refusal) = harness.refused("image_import", given).await;
            assert_eq!((found, at.as_str()), (reason, field), "{refusal}");
        }
    }
}
