//! What the kinds that make images share.

use crate::backend::journal::StepContext;
use crate::backend::ports::MadeImage;
use crate::domain::{Failure, Image, ImageState, Resource};

use super::World;

/// An image that is not made yet.
pub fn reserved(
    id: u64,
    name: String,
    label: String,
    source: String,
    login: String,
    world: &World<'_>,
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

/// Takes in an image that has been made.
pub fn made(step: &StepContext, id: u64, made: MadeImage) -> Result<(), Failure> {
    let mut image = step.cx().image(id)?;
    image.state = ImageState::Ready;
    image.form = Some(made.form);
    image.bytes = made.bytes;
    image.virtual_bytes = made.virtual_bytes;
    image.sha256 = Some(made.sha256);
    step.put(Resource::Image(image));
    Ok(())
}

/// The image is not ready any more: the step that made it is undone.
pub fn unmade(step: &StepContext, id: u64) -> Result<(), Failure> {
    let mut image = step.cx().image(id)?;
    image.state = ImageState::BeingCreated;
    image.form = None;
    image.bytes = 0;
    image.virtual_bytes = 0;
    image.sha256 = None;
    step.put(Resource::Image(image));
    Ok(())
}
