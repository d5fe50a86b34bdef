//! One output of a source: what it is called, whether it can be made, and the job that makes it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::backend::ports::{EncodeJob, MediaInfo};
use crate::backend::presets::Preset;
use crate::backend::settings::Settings;
use crate::domain::arguments::below;
use crate::domain::{self, Failure, Reason, Refusal, display};

use super::super::AdmissionContext;

/// One output, as a request names it.
#[derive(Debug, Clone)]
pub(super) struct Rendition {
    /// The path of its fields in the request.
    pub(super) within: String,
    /// What is encoded.
    pub(super) source: PathBuf,
    /// The name of the preset it is encoded with.
    pub(super) preset: String,
    /// The file that was asked for, if one was.
    pub(super) output: Option<PathBuf>,
}

impl Rendition {
    /// The file it becomes, unless its preset is gone.
    pub(super) fn output(&self, settings: &Settings) -> Option<PathBuf> {
        settings.presets.get(&self.preset).map(|preset| self.output_by(preset))
    }

    /// The file it becomes: the one asked for, or one beside the source that is not the source.
    fn output_by(&self, preset: &Preset) -> PathBuf {
        self.output.clone().unwrap_or_else(|| {
            let output = self.source.with_extension(&preset.extension);
            if output == self.source {
                let stem = self.source.file_stem().unwrap_or_default().to_string_lossy();
                output.with_file_name(format!("{stem}-{}.{}", preset.name, preset.extension))
            } else {
                output
            }
        })
    }

    /// The job, as far as it is known before the source was looked at.
    ///
    /// # Errors
    /// When its preset is gone.
    pub(super) fn job(
        &self,
        id: u64,
        settings: &Settings,
        media: MediaInfo,
    ) -> Result<EncodeJob, Failure> {
        let preset = settings.presets.get(&self.preset).ok_or_else(|| {
            Failure::new(format!(
                "there is no preset '{}' any more; cancel this and encode with another",
                self.preset
            ))
        })?;
        Ok(EncodeJob {
            dir: settings.encoding_dir(id),
            source: self.source.clone(),
            output: self.output_by(preset),
            arguments: preset.arguments(),
            media,
        })
    }

    /// The parameters of an operation that makes only this one.
    pub(super) fn params(&self, settings: &Settings) -> domain::Params {
        let params = [
            ("source", json!(self.source)),
            ("preset", json!(self.preset)),
            ("output", json!(self.output(settings))),
        ];
        params.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }

    /// Checks whether it can be made: what is asked for, then what is there. `makers` say what is
    /// being made already; `None` leaves out what is there.
    ///
    /// # Errors
    /// The first check that fails.
    pub(super) fn admit(
        &self,
        world: &AdmissionContext<'_>,
        makers: Option<&[(String, PathBuf)]>,
    ) -> Result<(), Refusal> {
        let Some(output) = self.output(world.settings) else {
            let path = below(&self.within, "preset");
            let message = format!("{path}: there is no '{}'", self.preset);
            return Err(Refusal::field(Reason::Value, path, &self.preset, message));
        };
        let wrong = |reason, why: &str| Err(self.refused(&output, reason, why));
        if output.file_name().is_none() || output.to_string_lossy().ends_with('/') {
            return wrong(Reason::Value, "names no file; add a file name");
        }
        if place(&output) == place(&self.source) {
            return wrong(Reason::Value, "is the source itself; name another output");
        }
        let dir = output.parent().unwrap_or(Path::new("/"));
        if is_below(dir, &world.settings.state_dir) {
            let why = "would lie among hostler's own files; choose a folder elsewhere";
            return wrong(Reason::Value, why);
        }
        let Some(makers) = makers else { return Ok(()) };
        match std::fs::symlink_metadata(&output) {
            Ok(_) => return wrong(Reason::Existence, "exists already; name another output"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return wrong(Reason::Existence, &format!("cannot be looked at: {error}"));
            }
        }
        if !dir.is_dir() {
            return wrong(Reason::Existence, "would be in a folder that does not exist; make it");
        }
        if let Some(other) = maker(makers, &output) {
            let why = format!("is being made already by {other}; name another output");
            return wrong(Reason::Existence, &why);
        }
        let writable = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        if let Err(error) = rustix::fs::access(dir, writable) {
            let why = format!("cannot be written: {error}; choose a folder you may write to");
            return wrong(Reason::Privileges, &why);
        }
        let needed = std::fs::metadata(&self.source).map_or(0, |source| source.len());
        match free_bytes(dir) {
            Ok(free) if free < needed => wrong(Reason::State, &no_room(free, needed)),
            Ok(_) => Ok(()),
            Err(error) => wrong(Reason::State, &format!("has unknown room: {error}")),
        }
    }

    /// The refusal of its output, and why: what comes after the file in the sentence.
    fn refused(&self, output: &Path, reason: Reason, why: &str) -> Refusal {
        let (path, shown) = (below(&self.within, "output"), output.display().to_string());
        let message = format!("{path}: {shown} {why}");
        Refusal::field(reason, path, shown, message)
    }
}

/// That there is not enough room where an output is to be, in bytes. How much is lacking is told,
/// because what is free and what is needed may read alike.
pub(super) fn no_room(free: u64, needed: u64) -> String {
    format!(
        "has too little room: the source takes {}, {} more than is free; free some space or name \
         an output elsewhere",
        display::bytes(needed),
        display::bytes(needed.saturating_sub(free))
    )
}

/// The refusal of outputs of which two would be one file.
pub(super) fn shared(all: &[Rendition], world: &AdmissionContext<'_>) -> Option<Refusal> {
    let mut places = HashMap::new();
    for (number, rendition) in all.iter().enumerate() {
        let output = rendition.output(world.settings).unwrap_or_default();
        match places.entry(place(&output)) {
            Entry::Vacant(free) => drop(free.insert(number)),
            Entry::Occupied(before) => {
                let before = &all[*before.get()].within;
                let why = format!("is what {before} makes too; name another output");
                return Some(rendition.refused(&output, Reason::Value, &why));
            }
        }
    }
    None
}

/// Where a file is or will be: two paths are of one file if their places are alike, the same name
/// in the same folder, however that is reached.
fn place(path: &Path) -> (Option<(u64, u64)>, PathBuf) {
    match (path.parent().and_then(identity), path.file_name()) {
        (Some(folder), Some(name)) => (Some(folder), name.into()),
        _ => (None, path.to_owned()),
    }
}

/// Who is making an output already, or will.
fn maker<'a>(makers: &'a [(String, PathBuf)], output: &Path) -> Option<&'a str> {
    let wanted = place(output);
    let maker = makers.iter().find(|(_, other)| place(other) == wanted);
    maker.map(|(who, _)| who.as_str())
}

/// Whether a folder is another one or lies in it, however they are reached.
fn is_below(dir: &Path, above: &Path) -> bool {
    let Some(above) = identity(above) else { return false };
    // Links are resolved first: what is above a link is not above what it leads to.
    dir.canonicalize().is_ok_and(|dir| dir.ancestors().any(|it| identity(it) == Some(above)))
}

/// What tells a file from every other: its filesystem and its number there.
fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Bytes that are free in a folder's filesystem for whoever is no superuser.
pub(super) fn free_bytes(dir: &Path) -> std::io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
