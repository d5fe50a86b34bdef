//! Paths in records, when the state directory has another place than it had: they follow it.

use std::path::{Path, PathBuf};

use crate::domain::Resource;

use super::homes;

/// Brings the paths in a resource to where the state directory is now. Says whether any was
/// elsewhere.
pub fn follow(state_dir: &Path, resource: &mut Resource) -> bool {
    let homes = homes(resource.id());
    let mut any = false;
    for file in resource.files_mut() {
        any |= homes.iter().any(|home| follow_file(state_dir, home, file));
    }
    any
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
