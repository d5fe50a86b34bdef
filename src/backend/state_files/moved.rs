//! Paths in records, when the state directory has another place than it had: they follow it.

use std::path::{Path, PathBuf};

use crate::domain::{Disk, Image, ImageForm, Resource};

use super::{TRASH, folder_of};

/// Brings the paths in a resource to where the state directory is now. Says whether any was
/// elsewhere.
pub fn follow(state_dir: &Path, resource: &mut Resource) -> bool {
    match resource {
        Resource::Disk(disk) => [folder_of(Disk::KIND), TRASH]
            .iter()
            .any(|folder| follow_file(state_dir, Path::new(folder), &mut disk.path)),
        Resource::Image(image) => {
            let folder = Path::new(folder_of(Image::KIND)).join(image.id.to_string());
            let files: Vec<&mut PathBuf> = match &mut image.form {
                Some(ImageForm::Disk { path, .. } | ImageForm::Iso { path }) => vec![path],
                Some(ImageForm::DirectDisk { path, kernel, initrd, .. }) => {
                    vec![path, kernel, initrd]
                }
                Some(ImageForm::Direct { kernel, initrd, .. }) => vec![kernel, initrd],
                None => Vec::new(),
            };
            let mut any = false;
            for file in files {
                any |= follow_file(state_dir, &folder, file);
            }
            any
        }
        Resource::Vm(_) | Resource::Task(_) | Resource::Encoding(_) | Resource::Foreign(_) => false,
    }
}

/// Brings a file of such a folder to where that is now. Says whether it was elsewhere.
fn follow_file(state_dir: &Path, folder: &Path, file: &mut PathBuf) -> bool {
    let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else { return false };
    if !parent.ends_with(folder) || parent == state_dir.join(folder) {
        return false;
    }
    *file = state_dir.join(folder).join(name);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_state_directory_follow_it() {
        let follows = |file: &str| {
            let mut file = PathBuf::from(file);
            follow_file(Path::new("/new"), Path::new("images/1"), &mut file).then_some(file)
        };
        assert_eq!(follows("/old/images/1/disk.raw"), Some("/new/images/1/disk.raw".into()));
        for stays in ["/new/images/1/disk.raw", "/old/images/11/disk.raw", "/old/1/disk.raw"] {
            assert_eq!(follows(stays), None, "{stays}");
        }
    }
}
