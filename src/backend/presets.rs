//! What can be encoded into: `assets/presets.toml`, as types.
//!
//! Knows what a source must have and what the encoder is told, and nothing of how it is run.

use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;

use super::ports::MediaInfo;

/// The file that comes with hostler.
const BUILTIN_PRESETS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/presets.toml"));

/// What a source must have for a preset to make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Needs {
    /// Moving pictures.
    Video,
    /// Sound.
    Audio,
}

/// One thing to encode into.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What it is called in `preset=…`.
    pub name: String,
    /// What it is, for people.
    pub label: String,
    /// The usual ending of such files, without the dot.
    pub extension: String,
    /// What a source must have.
    pub needs: Needs,
    /// ffmpeg's name of the container.
    pub format: String,
    /// What ffmpeg is told about streams and codecs.
    arguments: Vec<String>,
}

impl Preset {
    /// Everything between source and output: what [`EncodeJob::arguments`] takes.
    ///
    /// [`EncodeJob::arguments`]: super::ports::EncodeJob::arguments
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let format = ["-f".to_owned(), self.format.clone()];
        self.arguments.iter().cloned().chain(format).collect()
    }

    /// Why a source cannot be encoded with it, as a whole sentence; `None` when it can.
    #[must_use]
    pub fn refuses(&self, source: &Path, media: &MediaInfo) -> Option<String> {
        match self.needs {
            Needs::Video if !media.video => Some(format!(
                "{} has no video, and the preset {} needs some; choose a preset for sound, such as \
                 mp3",
                source.display(),
                self.name
            )),
            Needs::Audio if !media.audio => Some(format!(
                "{} has no sound, and the preset {} makes nothing else; choose a preset for video, \
                 such as mp4",
                source.display(),
                self.name
            )),
            _ => None,
        }
    }
}

/// The presets there are, in the order they are offered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presets {
    preset: Vec<Preset>,
}

impl Presets {
    /// Those that come with hostler.
    ///
    /// # Panics
    /// When `assets/presets.toml`, which is compiled in, is no table of presets: a defect that no
    /// test run survives.
    #[must_use]
    pub fn builtin() -> Self {
        // As with operating systems.
        static READ: LazyLock<Presets> = LazyLock::new(|| {
            toml::from_str(BUILTIN_PRESETS)
                .unwrap_or_else(|error| panic!("assets/presets.toml: {error}"))
        });
        READ.clone()
    }

    /// The preset of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Preset> {
        self.preset.iter().find(|preset| preset.name == name)
    }

    /// Every preset.
    pub fn iter(&self) -> std::slice::Iter<'_, Preset> {
        self.preset.iter()
    }
}

impl<'a> IntoIterator for &'a Presets {
    type Item = &'a Preset;
    type IntoIter = std::slice::Iter<'a, Preset>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_that_come_with_hostler_are_whole() {
        let presets = Presets::builtin();
        let names: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
        assert_eq!(names, ["mp4", "webm", "mp3", "flv"]);
        for preset in &presets {
            assert!(!preset.label.is_empty() && !preset.extension.contains('.'), "{preset:?}");
            let arguments = preset.arguments();
            assert!(arguments.iter().any(|argument| argument == "-map"), "{arguments:?}");
            assert_eq!(arguments[arguments.len() - 2..], ["-f", preset.format.as_str()]);
        }
    }

    #[test]
    fn a_preset_says_what_it_misses() {
        let presets = Presets::builtin();
        let song = MediaInfo { audio: true, ..MediaInfo::default() };
        let silent = MediaInfo { video: true, ..MediaInfo::default() };
        let why = |preset, media| presets.get(preset).unwrap().refuses(Path::new("/m/a"), media);
        assert_eq!(why("mp3", &song), None);
        assert_eq!(why("webm", &silent), None);
        assert!(why("mp4", &song).unwrap().starts_with("/m/a has no video"));
        assert!(why("mp3", &silent).unwrap().starts_with("/m/a has no sound"));
    }
}
