//! `image_build`: an image from the distribution's own packages, where there is no internet.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{
    Choice, Effect, Field, FieldType, Hint, Image, OperationSpec, Outcome, Preview, Reason,
    Refusal, Resource, Risk,
};

use super::images::{self, Undone};
use super::{AdmissionContext, Context, Kind, guests};

/// What can be built: name, label, login.
const RECIPES: [(&str, &str, &str); 2] = [
    ("tiny", "a kernel and busybox in memory: built in seconds; a root shell, no password", "root"),
    (
        "debian",
        "Debian with systemd, cloud-init and SSH: built in minutes; log in as debian",
        "debian",
    ),
];

/// The kind.
pub struct ImageBuild;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    recipe: String,
    name: Option<String>,
}

impl Parameters {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.recipe)
    }
}

impl Kind for ImageBuild {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        let choices = RECIPES
            .iter()
            .map(|(value, label, _)| Choice { value: (*value).into(), label: (*label).into() })
            .collect();
        OperationSpec {
            kind: "image_build".into(),
            title: "Build".into(),
            doc: "Builds an image from the packages of the distribution this box runs. Needs its \
                  package mirror at most, no other place on the internet."
                .into(),
            doing: "being built".into(),
            resource: Some(Image::KIND),
            effect: Effect::Creates,
            subject: None,
            lane: "image".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![
                Field::optional("recipe", FieldType::Choice { choices }, "tiny", "What to build."),
                Field::optional(
                    "name",
                    FieldType::Name,
                    serde_json::Value::Null,
                    "The image's name; the recipe's when left out.",
                ),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("build", &["n", "b"], 10)
                .first("build an OS image here, from the distribution's packages"),
            locks: vec![],
            requires: vec![],
            state_after: Some("ready".into()),
            reject_duplicates: false,
            steps: vec!["build".into()],
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        guests::free_name(world, "name", Image::KIND, params.name())?;
        match world.ports.images.obstacle(&params.recipe) {
            Some(why) => {
                let why = format!("recipe: {why}");
                Err(Refusal::field(Reason::Privileges, "recipe", &params.recipe, why))
            }
            None => Ok(()),
        }
    }

    fn reserve(params: &Parameters, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        let (_, _, login) = RECIPES.iter().find(|(recipe, ..)| *recipe == params.recipe)?;
        let name = params.name().to_owned();
        let label = format!("{} built here", params.recipe);
        let source = format!("recipe {}", params.recipe);
        Some(images::reserved(id, name, label, source, (*login).to_owned(), world))
    }

    fn preview(params: &Parameters, _: &AdmissionContext<'_>) -> Preview {
        let what = RECIPES.iter().find(|(recipe, ..)| *recipe == params.recipe);
        let effects = what.map(|(_, label, _)| format!("Image '{}': {label}.", params.name()));
        Preview { effects: effects.into_iter().collect(), ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let step = cx.step("build").label("building the image");
        let recipe = &params.recipe;
        images::make(&cx, step, Undone::Discarded, |step, dir| async move {
            let report = |meter| step.report(meter);
            step.cx().ports().images.build(&dir, recipe, &report, step.log()).await
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
            kind: "image_build",
            params: json!({ "recipe": "debian" }),
            setup: |_| Box::pin(async {}),
            undoes: true,
        };
        tested.survives_faults().await;
    }

    #[tokio::test]
    async fn recipe_and_name_are_checked() {
        let mut harness = Harness::open();
        harness.some_image().await;
        for (given, reason, field) in [
            (json!({ "recipe": "tiny" }), Reason::Existence, "name"),
            (json!({ "recipe": "gentoo" }), Reason::Value, "recipe"),
        ] {
            let (found, at, refusal) = harness.refused("image_build", given).await;
            assert_eq!((found, at.as_str()), (reason, field), "{refusal}");
        }
        let params = json!({ "recipe": "tiny", "name": "tiny-2" });
        let uid = harness.submit("image_build", params).await.unwrap().uid;
        let outcome = harness.ends(uid).await.outcome.unwrap();
        assert!(outcome.message.starts_with("image 'tiny-2' is ready: "), "{}", outcome.message);
        assert_eq!(outcome.data["image"], 2);
    }
}
