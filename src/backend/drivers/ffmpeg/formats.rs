//! Which formats are opened, and what the others are called when they are refused.
//!
//! Playlists, scripts, manifests and numbered pictures name other files, which ffmpeg would read in
//! their place: whoever may hand a file in could have any file of the box encoded. ffmpeg tells a
//! format by the content and not by the name, so only formats that hold all they need are opened,
//! and from nowhere but files.

/// Formats that hold their own pictures and sound, by ffmpeg's names (`ffmpeg -demuxers`).
const OPENED: &[&str] = &[
    "aac",
    "ac3",
    "aiff",
    "amr",
    "amrnb",
    "amrwb",
    "apng",
    "ape",
    "asf",
    "au",
    "av1",
    "avi",
    "avs2",
    "avs3",
    "caf",
    "cavsvideo",
    "dirac",
    "dnxhd",
    "dsf",
    "dts",
    "dtshd",
    "dv",
    "eac3",
    "flac",
    "flv",
    "gif",
    "gxf",
    "h261",
    "h263",
    "h264",
    "hevc",
    "ivf",
    "live_flv",
    "m4v",
    "matroska",
    "webm",
    "mjpeg",
    "mlp",
    "mov",
    "mp4",
    "m4a",
    "3gp",
    "3g2",
    "mj2",
    "mp3",
    "mpc",
    "mpc8",
    "mpeg",
    "mpegts",
    "mpegvideo",
    "mxf",
    "nsv",
    "nut",
    "obu",
    "ogg",
    "oma",
    "rm",
    "swf",
    "tak",
    "truehd",
    "tta",
    "vc1",
    "vc1test",
    "vivo",
    "voc",
    "vvc",
    "w64",
    "wav",
    "wtv",
    "wv",
    "yuv4mpegpipe",
];

/// What ffprobe is told before a file is known.
pub(super) fn looked_for() -> [String; 4] {
    ["-protocol_whitelist", "file", "-format_whitelist", &OPENED.join(",")].map(str::to_owned)
}

/// What ffmpeg is told once a file was found to be of a format, by all of ffprobe's names for it:
/// what has taken the file's place meanwhile is not opened as anything else.
pub(super) fn opened_as(container: &str) -> Vec<String> {
    let mut arguments = vec!["-protocol_whitelist", "file"];
    if let Some(name) = container.split(',').next().filter(|name| !name.is_empty()) {
        arguments.extend(["-format_whitelist", name, "-f", name]);
    }
    arguments.into_iter().map(str::to_owned).collect()
}

/// What a file of a format that is not opened is: `it is a playlist (hls), …`.
pub(super) fn refused(format: &str) -> String {
    match format {
        "concat" | "dash" | "hls" | "imf" | "webm_dash_manifest" => format!(
            "it is a playlist ({format}), which names other files; encode those, or join them with \
             ffmpeg first"
        ),
        "rtp" | "rtsp" | "sdp" => format!(
            "it describes a stream on the network ({format}); record that first and encode the \
             recording"
        ),
        "avisynth" | "ffmetadata" | "vapoursynth" => format!("it is a script ({format})"),
        "tty" => "it is text".to_owned(),
        "image2" => "it is a picture".to_owned(),
        _ if format.ends_with("_pipe") => "it is a picture".to_owned(),
        "aqtitle" | "ass" | "jacosub" | "lrc" | "microdvd" | "mpl2" | "mpsub" | "pjs"
        | "realtext" | "sami" | "srt" | "stl" | "subviewer" | "subviewer1" | "sup"
        | "tedcaptions" | "vobsub" | "vplayer" | "webvtt" => {
            format!("it is subtitles ({format}) without a film")
        }
        _ => format!(
            "it is of the format {format}, which is not opened here; convert it with ffmpeg first"
        ),
    }
}

/// The format in what ffprobe says of a file that it was not allowed to open:
/// `[hls @ 0x55f6] Format not on whitelist 'aac,…'`.
pub(super) fn not_opened(said: &str) -> Option<&str> {
    let line = said.lines().find(|line| line.contains("Format not on whitelist"))?;
    line.strip_prefix('[')?.split_once(" @ ").map(|(format, _)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_names_other_files_is_opened() {
        for format in ["hls", "concat", "dash", "image2", "sdp", "lavfi", "tty", "vobsub", "imf"] {
            assert!(!OPENED.contains(&format), "{format}");
        }
        assert!(refused("hls").starts_with("it is a playlist (hls)"));
        assert_eq!(refused("png_pipe"), "it is a picture");
        assert!(refused("srt").contains("subtitles"));
        assert!(refused("bink").contains("format bink"));
    }

    #[test]
    fn a_format_once_found_is_the_only_one_opened() {
        let arguments = opened_as("mov,mp4,m4a,3gp,3g2,mj2");
        assert_eq!(
            arguments,
            ["-protocol_whitelist", "file", "-format_whitelist", "mov", "-f", "mov"]
        );
        assert_eq!(opened_as(""), ["-protocol_whitelist", "file"]);
    }

    #[test]
    fn the_format_is_found_in_what_ffprobe_says() {
        let said = "[concat @ 0x55] Format not on whitelist 'mov'\nx.mp4: Invalid argument\n";
        assert_eq!(not_opened(said), Some("concat"));
        assert_eq!(not_opened("x.mp4: Invalid data found"), None);
    }
}
