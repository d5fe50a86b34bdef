//! Files and folders that kinds move and remove themselves. Each call finds the work done and calls
//! that success.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::backend::journal::{Context, StepContext, Stop};
use crate::domain::Failure;

/// Makes the folder a file is to be in, readable by the owner alone.
///
/// # Errors
/// When it cannot be made.
pub fn make_room(path: &Path) -> Result<(), Failure> {
    let Some(dir) = path.parent() else { return Ok(()) };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Failure::io(format!("make {}", dir.display()), &error))
}

/// Removes a file, or finds it gone.
///
/// # Errors
/// When it cannot be removed.
pub fn remove_file(path: &Path) -> Result<(), Failure> {
    gone(fs::remove_file(path), path)
}

/// Removes a folder with everything in it, or finds it gone. Without a point to be cancelled at: it
/// is removed whole or its failure is told.
///
/// # Errors
/// When something in it cannot be removed.
pub fn remove_dir(path: &Path) -> Result<(), Failure> {
    gone(fs::remove_dir_all(path), path)
}

fn gone(removed: std::io::Result<()>, path: &Path) -> Result<(), Failure> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::io(format!("remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// Moves a file or folder, or finds it moved. It is under its new name on disk when this returns.
///
/// # Errors
/// When it is at neither place, or something else is at the new one.
pub fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    let what = || format!("move {} to {}", from.display(), to.display());
    match (from.exists(), to.exists()) {
        (false, true) => return Ok(()),
        (true, true) => {
            return Err(Failure::new(format!("cannot {}: both are there", what())));
        }
        _ => {}
    }
    make_room(to)?;
    let moved = fs::rename(from, to).and_then(|()| {
        [from.parent(), to.parent()]
            .into_iter()
            .flatten()
            .try_for_each(|dir| fs::File::open(dir)?.sync_all())
    });
    moved.map_err(|error| Failure::io(what(), &error))
}

/// The two steps in which a folder is removed as a whole or not at all: `aside` moves it away,
/// unless `may` says why not, and `files` removes it and does what `then` says. A folder that was
/// never made is nothing to remove.
pub async fn delete<F, Fut>(
    cx: &Context,
    dir: &Path,
    may: F,
    then: impl Fn(&StepContext) -> Result<(), Failure>,
) -> Result<(), Stop>
where
    F: Fn(StepContext) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let (dir, aside) = (dir.to_owned(), dir.with_file_name(format!("{name}.deleted")));
    let (home, moved) = (dir.clone(), aside.clone());
    cx.step("aside")
        .says("putting its files aside")
        .undo(move |_| {
            let moved = set_aside(&moved, &home);
            async move { moved }
        })
        .run(|step| {
            let (may, dir, aside) = (may(step), &dir, &aside);
            async move {
                may.await?;
                set_aside(dir, aside)
            }
        })
        .await?;
    cx.step("files")
        .says("removing its files")
        .run(|step| {
            let removed = remove_dir(&aside).and_then(|()| then(&step));
            async move { removed }
        })
        .await
}

/// Moves a folder, or finds it moved, or that it was never made.
fn set_aside(dir: &Path, aside: &Path) -> Result<(), Failure> {
    if dir.exists() { rename(dir, aside) } else { Ok(()) }
}

/// What a file takes on the box, in bytes; 0 where there is none.
#[must_use]
pub fn bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}
