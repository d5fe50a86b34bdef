//! What the kinds that make images share.

use std::path::PathBuf;

use crate::backend::engine::journal::Stop;
use crate::backend::ports::{MadeImage, Ports};
use crate::backend::settings::Settings;
use crate::backend::state_files::mark::Mark;
use crate::domain::{Failure, Image, ImageState, Resource, ResourceId};

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

/// Takes the step that makes an image in its folder.
pub async fn make<F, Fut>(
    cx: &Context,
    step: StepBuilder<'_>,
    undone: Undone,
    make: F,
) -> Result<(), Stop>
where
    F: Fn(StepContext, PathBuf) -> Fut,
    Fut: Future<Output = Result<MadeImage, Failure>>,
{
    let id = cx.id()?;
    step.undo(move |step| async move {
        if undone == Undone::Discarded || step.is_cancelled() {
            let dir = step.cx().settings().image_dir(id);
            let discard = step.cx().ports().images.remove_leftovers(&dir);
            files::unmake(step.cx(), ResourceId::new(Image::KIND, id), discard).await?;
        }
        unmade(&step, id)
    })
    .run(|step| {
        let making = make(step.clone(), step.cx().settings().image_dir(id));
        async move {
            files::claim(step.cx(), ResourceId::new(Image::KIND, id))?;
            made(&step, id, making.await?)
        }
    })
    .await
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
fn made(step: &StepContext, id: u64, made: MadeImage) -> Result<(), Failure> {
    let mut image = step.cx().get::<Image>(id)?;
    image.state = ImageState::Ready;
    image.form = Some(made.form);
    image.bytes = made.bytes;
    image.virtual_bytes = made.virtual_bytes;
    image.sha256 = Some(made.sha256);
    step.put(Resource::Image(image));
    Ok(())
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
