//! The file in which sorting and the open tab are remembered from one start to the next.

use std::path::Path;

use crate::ui::model::Preferences;

/// What is remembered from last time, and why it is not.
pub(super) fn remembered(file: Option<&Path>) -> (Preferences, Option<String>) {
    let Some(file) = file else { return (Preferences::default(), None) };
    match std::fs::read_to_string(file) {
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

/// Writes beside, then renames.
pub(super) fn save(file: &Path, preferences: &Preferences) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let beside = file.with_extension("partial");
    std::fs::write(&beside, serde_json::to_vec_pretty(preferences)?)?;
    std::fs::rename(&beside, file)
}
