//! The file in which sorting and the open tab are remembered from one start to the next.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::file::{self, gone};
use crate::ui::model::Preferences;

/// What is remembered from last time, and why it is not.
pub(super) fn remembered(file: Option<&Path>) -> (Preferences, Option<String>) {
    let Some(file) = file else { return (Preferences::default(), None) };
    match file::read_text(file) {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(preferences) => (preferences, None),
            Err(error) => {
                let told =
                    format!("{} is not understood and is begun anew: {error}", file.display());
                (Preferences::default(), Some(told))
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (Preferences::default(), None)
        }
        Err(error) => {
            (Preferences::default(), Some(format!("cannot read {}: {error}", file.display())))
        }
    }
}

/// Writes beside, then renames. A link that lies there is replaced, not followed.
pub(super) fn save(file: &Path, preferences: &Preferences) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let beside = file.with_extension("partial");
    gone(std::fs::remove_file(&beside))?;
    File::create_new(&beside)?.write_all(&serde_json::to_vec_pretty(preferences)?)?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn it_is_read_from_a_file_and_written_through_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, letter) = (dir.path().join("console.json"), dir.path().join("letter"));
        std::fs::write(&letter, "dear all").unwrap();
        symlink(&letter, dir.path().join("console.partial")).unwrap();
        save(&file, &Preferences::default()).unwrap();
        assert_eq!(std::fs::read_to_string(&letter).unwrap(), "dear all");
        assert_eq!(remembered(Some(&file)).1, None);
        std::fs::remove_file(&file).unwrap();
        symlink("/dev/zero", &file).unwrap();
        let why = remembered(Some(&file)).1.unwrap();
        assert!(why.ends_with("it is no regular file"), "{why}");
    }
}
