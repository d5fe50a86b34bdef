//! Doors for fuzzers: what the parsers of the tools' answers do with anything at all. Only there
//! with the feature `failpoints`, and for nobody else.

use super::{ffmpeg, image, qemu, qemu_img};
use crate::backend::ports::{DiskInfo, MediaInfo, ProgressReport};

/// The end of ffmpeg's progress file, as people are told it.
#[must_use]
pub fn progress(text: &str, duration_s: Option<f64>) -> Option<ProgressReport> {
    ffmpeg::progress::EncoderProgress::parse(text).map(|progress| progress.meter(duration_s))
}

/// What ffprobe says of a file.
///
/// # Errors
/// Why that is no video and no song.
pub fn probe(json: &str) -> Result<MediaInfo, String> {
    ffmpeg::probe::parse(json, false)
}

/// What `qemu-img info` says of a disk.
#[must_use]
pub fn disk_info(json: &str) -> Option<DiskInfo> {
    qemu_img::parse_info(json)
}

/// A line of QMP: an event's name, or what a command's answer comes to.
///
/// # Errors
/// What is told when it is neither.
pub fn qmp(line: &str) -> Result<String, String> {
    let mut said = qemu::qmp::parse(line).map_err(|error| error.to_string())?;
    match qemu::qmp::event(&mut said) {
        Some(event) => Ok(event.name),
        None => qemu::qmp::outcome(said).map(|it| it.to_string()).map_err(|it| it.to_string()),
    }
}

/// The checksum of a file in a list of them.
#[must_use]
pub fn checksum(list: &str, file: &str) -> Option<String> {
    image::checksum::find(list, file).map(|expected| expected.hex().to_owned())
}
