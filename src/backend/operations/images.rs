//! What the kinds that make images share.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backend::engine::journal::Stop;
use crate::backend::ports::{MadeImage, Ports};
use crate::backend::settings::Settings;
use crate::backend::state_files::mark::Mark;
use crate::domain::display;
use crate::domain::{Failure, Image, ImageState, Outcome, Resource, ResourceId};

use super::{AdmissionContext, Context, StepBuilder, StepContext, files};

/// An image that is not made yet.
pub fn reserved(
    id: u64,
    name: String,
    label: String,
    source: String,
    login: String,
    world: &AdmissionContext<'_>,
) -> Resource {
    Resource::Image(Image {
        id,
        name,
        state: ImageState::BeingCreated,
        label,
        form: None,
        source,
        bytes: 0,
        virtual_bytes: 0,
        sha256: None,
        login,
        created: world.now,
    })
}

/// What becomes of the files when the step that makes an image is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// They are discarded.
    Discarded,
    /// They stay for a relaunch, unless the operation was cancelled.
    Kept,
}

/// What the step that makes an image returns.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    name: String,
    bytes: u64,
    virtual_bytes: u64,
    /// How long it took, in milliseconds, since hostler was last started.
    took_ms: u64,
}

impl Ready {
    fn outcome(self, id: u64) -> Outcome {
        let Self { name, bytes, virtual_bytes, took_ms } = self;
        let (size, took) = (display::bytes(bytes), took_ms as f64 / 1000.0);
        let message = format!("image '{name}' is ready: {size}, in {took:.1} s");
        let data = json!({
            "image": id, "bytes": bytes, "virtual_bytes": virtual_bytes, "took_ms": took_ms,
        });
        Outcome::new(message, data)
    }
}

/// Takes the step that makes an image in its folder, and returns what became of it.
pub async fn make<F, Fut>(
    cx: &Context,
    step: StepBuilder<'_>,
    undone: Undone,
    make: F,
) -> Result<Outcome, Stop>
where
    F: Fn(StepContext, PathBuf) -> Fut,
    Fut: Future<Output = Result<MadeImage, Failure>>,
{
    let id = cx.id()?;
    let step = step.undo(move |step| async move {
        if undone == Undone::Discarded || step.is_cancelled() {
            let dir = step.cx().settings().image_dir(id);
            let discard = step.cx().ports().images.remove_leftovers(&dir);
            files::unmake(step.cx(), ResourceId::new(Image::KIND, id), discard).await?;
        }
        unmade(&step, id)
    });
    // hostler 0.1 recorded nothing.
    let ready: Option<Ready> = step
        .run(|step| {
            let making = make(step.clone(), step.cx().settings().image_dir(id));
            async move {
                files::claim(step.cx(), ResourceId::new(Image::KIND, id))?;
                let began = step.cx().now();
                made(&step, id, making.await?, began).map(Some)
            }
        })
        .await?;
    Ok(ready.map(|ready| ready.outcome(id)).unwrap_or_default())
}

/// Removes what a failed attempt kept for a relaunch, when the operation is called off after all. A
/// folder without the mark of one that was making it stays.
///
/// # Errors
/// When something in it cannot be removed.
pub async fn remove_leftovers(ports: &Ports, settings: &Settings, id: u64) -> Result<(), Failure> {
    let (dir, resource) = (&settings.state_dir, ResourceId::new(Image::KIND, id));
    let failed = |error| Failure::io(format!("remove the files of {resource}"), &error);
    if Mark::read(dir, resource).map_err(failed)?.is_some() {
        ports.images.remove_leftovers(&settings.image_dir(id)).await?;
        Mark::remove(dir, resource).map_err(failed)?;
    }
    Ok(())
}

/// Takes in an image that has been made.
fn made(step: &StepContext, id: u64, made: MadeImage, began: Timestamp) -> Result<Ready, Failure> {
    let took = step.cx().now().duration_since(began);
    let mut image = step.cx().get::<Image>(id)?;
    image.state = ImageState::Ready;
    image.form = Some(made.form);
    image.bytes = made.bytes;
    image.virtual_bytes = made.virtual_bytes;
    image.sha256 = Some(made.sha256);
    let ready = Ready {
        name: image.name.clone(),
        bytes: made.bytes,
        virtual_bytes: made.virtual_bytes,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(0),
    };
    step.put(Resource::Image(image));
    Ok(ready)
}

/// The image is not ready any more: the step that made it is undone.
fn unmade(step: &StepContext, id: u64) -> Result<(), Failure> {
    let mut image = step.cx().get::<Image>(id)?;
    image.state = ImageState::BeingCreated;
    image.form = None;
    image.bytes = 0;
    image.virtual_bytes = 0;
    image.sha256 = None;
    step.put(Resource::Image(image));
    Ok(())
}
