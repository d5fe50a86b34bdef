//! What ffprobe tells of a file, and whether that makes it a video or a song.

use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;

use super::formats;
use crate::backend::drivers::process;
use crate::backend::ports::{CommandLog, MediaInfo};
use crate::domain::Failure;

/// Asks ffprobe.
pub(super) async fn ask(path: &Path, log: &CommandLog) -> Result<MediaInfo, Failure> {
    let shown = path.display();
    let no_media = |why: &str| Failure::new(format!("{shown} is no video or audio file: {why}"));
    match std::fs::metadata(path) {
        Err(error) => return Err(Failure::io(format!("read {shown}"), &error)),
        Ok(found) if found.is_dir() => return Err(no_media("a folder")),
        // ffprobe would wait for ever for whoever writes into a pipe.
        Ok(found) if !found.is_file() => return Err(no_media("no regular file")),
        Ok(found) if found.len() == 0 => return Err(no_media("empty")),
        Ok(_) => {}
    }
    let told = ["-v", "warning", "-of", "json", "-show_format", "-show_streams"];
    let mut arguments: Vec<OsString> = told.into_iter().map(Into::into).collect();
    arguments.extend(formats::looked_for().map(Into::into));
    arguments.push(path.into());
    let ended = process::run_quiet(log, "ffprobe", &arguments).await?;
    if let Some(format) = formats::not_opened(&ended.stderr) {
        return Err(no_media(&formats::refused(format)));
    }
    if !ended.ok {
        let complaint = ended.error_line();
        let why = complaint.strip_prefix(&format!("{shown}: ")).unwrap_or(&complaint);
        return Err(no_media(why));
    }
    let guessed = ended.stderr.contains("Estimating duration from bitrate");
    parse(&ended.stdout, guessed).map_err(|why| no_media(&why))
}

/// What ffprobe said, or why that is no video and no song.
pub(in crate::backend::drivers) fn parse(json: &str, guessed: bool) -> Result<MediaInfo, String> {
    let report: ProbeReport =
        serde_json::from_str(json).map_err(|error| format!("ffprobe said: {error}"))?;
    let container = report.format.format_name;
    // ffprobe takes text for a terminal recording, and a picture for a video of one frame. It has
    // not opened them, but a report is not believed for that.
    if container == "tty" || container == "image2" || container.ends_with("_pipe") {
        return Err(formats::refused(&container));
    }
    let first = |sort: &str| {
        report
            .streams
            .iter()
            .find(|stream| stream.codec_type == sort && stream.disposition.attached_pic == 0)
    };
    let (video, audio) = (first("video"), first("audio"));
    if video.is_none() && audio.is_none() {
        return Err("it has neither pictures nor sound".to_owned());
    }
    Ok(MediaInfo {
        duration_s: report.format.duration.as_deref().and_then(seconds),
        bytes: report.format.size.and_then(|text| text.parse().ok()).unwrap_or_default(),
        container,
        video: video.is_some(),
        audio: audio.is_some(),
        size: video.and_then(|stream| stream.width.zip(stream.height)),
        fps: video.and_then(|stream| stream.avg_frame_rate.as_deref().and_then(ratio)),
        video_s: video.and_then(Stream::seconds),
        audio_s: audio.and_then(Stream::seconds),
        guessed,
    })
}

#[derive(Deserialize)]
struct ProbeReport {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Format,
}

#[derive(Deserialize, Default)]
struct Format {
    #[serde(default)]
    format_name: String,
    duration: Option<String>,
    size: Option<String>,
}

#[derive(Deserialize)]
struct Stream {
    #[serde(default)]
    codec_type: String,
    #[serde(default)]
    disposition: Disposition,
    duration: Option<String>,
    #[serde(default)]
    tags: Tags,
    width: Option<u32>,
    height: Option<u32>,
    avg_frame_rate: Option<String>,
}

#[derive(Deserialize, Default)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Deserialize, Default)]
struct Tags {
    /// Where Matroska keeps it: `00:01:02.500000000`.
    #[serde(rename = "DURATION")]
    duration: Option<String>,
}

impl Stream {
    fn seconds(&self) -> Option<f64> {
        let own = self.duration.as_deref().and_then(seconds);
        own.or_else(|| clock(self.tags.duration.as_deref()?).filter(is_positive))
    }
}

/// A length in seconds. ffprobe prints what files say of themselves, which may be anything.
fn seconds(text: &str) -> Option<f64> {
    text.parse().ok().filter(is_positive)
}

fn is_positive(number: &f64) -> bool {
    number.is_finite() && *number > 0.0
}

/// `01:02:03.5` in seconds.
fn clock(text: &str) -> Option<f64> {
    text.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

/// `30000/1001` as a number.
fn ratio(text: &str) -> Option<f64> {
    let (over, under) = text.split_once('/')?;
    let (over, under): (f64, f64) = (over.parse().ok()?, under.parse().ok()?);
    (under > 0.0 && over > 0.0).then_some(over / under).filter(is_positive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cover_picture_is_no_video() {
        let probe = parse(
            r#"{"streams": [
                {"codec_type": "audio", "duration": "180.5"},
                {"codec_type": "video", "width": 600, "height": 600,
                 "disposition": {"attached_pic": 1}}],
               "format": {"format_name": "mp3", "duration": "180.6", "size": "4000"}}"#,
            false,
        )
        .unwrap();
        assert!(probe.audio && !probe.video);
        assert_eq!(probe.size, None);
        assert_eq!(probe.length(true, true), Some(180.5));
    }

    #[test]
    fn only_the_wanted_streams_count() {
        let json = r#"{"streams": [
            {"codec_type": "video", "avg_frame_rate": "30000/1001",
             "tags": {"DURATION": "00:01:02.500000000"}},
            {"codec_type": "audio", "duration": "10.0"}],
            "format": {"format_name": "matroska,webm", "duration": "70.0"}}"#;
        let probe = parse(json, false).unwrap();
        assert_eq!(probe.length(true, true), Some(62.5));
        assert_eq!(probe.length(false, true), Some(10.0));
        assert!((probe.fps.unwrap() - 29.97).abs() < 0.01);
        assert_eq!(parse(json, true).unwrap().length(true, true), None);
    }

    #[test]
    fn text_and_pictures_are_refused() {
        let of = |container: &str| {
            parse(
                &format!(
                    r#"{{"streams": [{{"codec_type": "video"}}],
                        "format": {{"format_name": "{container}"}}}}"#
                ),
                false,
            )
        };
        assert_eq!(of("tty").unwrap_err(), "it is text");
        assert_eq!(of("png_pipe").unwrap_err(), "it is a picture");
        assert!(of("gif").is_ok());
    }
}
