//! Encodings: one source, one preset, one verified output.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::resource::{
    Column, Detail, Emphasis, Piece, Quantity, ResourceKind, ResourceSpec, ResourceType, StateSpec,
    StateTone,
};
use crate::domain::value::Value;

/// What an encoding is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncodingState {
    /// Accepted; ffmpeg has not been started.
    Waiting,
    /// ffmpeg is at work.
    Encoding,
    /// The output is whole and verified.
    Finished,
    /// It failed; the operation says why.
    Failed,
    /// It was cancelled; nothing is left of the output.
    Cancelled,
}

impl EncodingState {
    /// The word for it on screens, in filters and on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Encoding => "encoding",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Which file an output is: what tells it from another one of the same name. Not the number of its
/// filesystem, which may be another after a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Its number in its filesystem.
    pub inode: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written to last.
    pub modified: Timestamp,
}

/// An encoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    /// Its number.
    pub id: u64,
    /// Its name: the file name of the source and the preset.
    pub name: String,
    /// What it is doing.
    pub state: EncodingState,
    /// The file that is encoded.
    pub source: PathBuf,
    /// The preset it is encoded with.
    pub preset: String,
    /// The file it becomes.
    pub output: PathBuf,
    /// Length of the source in seconds, where ffprobe could tell.
    #[serde(default)]
    pub duration_s: Option<f64>,
    /// Size of the source in bytes.
    #[serde(default)]
    pub source_bytes: Option<u64>,
    /// Size of the output in bytes, once it is whole.
    #[serde(default)]
    pub output_bytes: Option<u64>,
    /// Mean speed of the finished encoding, in seconds of video per second.
    #[serde(default)]
    pub speed: Option<f64>,
    /// Which file the output is, once it is in its place; `None` where an older hostler made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<FileIdentity>,
    /// When it was asked for.
    pub created: Timestamp,
    /// When its output was whole.
    #[serde(default)]
    pub finished: Option<Timestamp>,
}

impl ResourceType for Encoding {
    const KIND: ResourceKind = ResourceKind::new("encoding");

    #[cfg(test)]
    const SAMPLE: &str = r#"{"resource":"encoding","id":1,"name":"a","state":"finished",
        "source":"/a",
        "preset":"webm","output":"/b","duration_s":1.5,"source_bytes":9,"output_bytes":7,
        "created":"2026-01-02T03:04:05Z"}"#;

    fn spec() -> ResourceSpec {
        use Quantity as Q;
        let own = [
            Column::new("preset", Q::Text).shown(8, 46).listed(),
            Column::new("bytes", Q::Bytes)
                .titled("size")
                .member("output_bytes")
                .shown(9, 56)
                .listed(),
            Column::new("duration", Q::Seconds)
                .titled("length")
                .member("duration_s")
                .shown(8, 66)
                .listed(),
            Column::new("source", Q::Text),
            Column::new("source_bytes", Q::Bytes),
            Column::new("output", Q::Text).shown(28, 90).listed(),
            Column::created(),
        ];
        let state = |state: EncodingState, tone| StateSpec::new(state.word(), tone);
        ResourceSpec {
            intro: "encodings of video files, with ffmpeg".into(),
            columns: Column::first(14).into_iter().chain(own).collect(),
            states: vec![
                state(EncodingState::Waiting, StateTone::Waiting),
                state(EncodingState::Encoding, StateTone::Busy),
                state(EncodingState::Finished, StateTone::Finished),
                state(EncodingState::Failed, StateTone::Bad),
                state(EncodingState::Cancelled, StateTone::Resting),
            ],
            ..ResourceSpec::new("encoding", "encodings", "encodings")
        }
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn state(&self) -> &'static str {
        self.state.word()
    }

    fn value(&self, column: &str) -> Option<Value<'_>> {
        match column {
            "source" => Some(Value::text(self.source.display().to_string())),
            "preset" => Some(Value::text(&self.preset)),
            "output" => Some(Value::text(self.output.display().to_string())),
            "duration" => self.duration_s.map(Value::Number),
            "bytes" => self.output_bytes.map(|bytes| Value::Number(bytes as f64)),
            "source_bytes" => self.source_bytes.map(|bytes| Value::Number(bytes as f64)),
            "created" => Some(Value::Number(self.created.as_second() as f64)),
            _ => None,
        }
    }

    fn details(&self) -> Vec<Detail> {
        let mut details = vec![
            Detail::text("preset", &self.preset),
            Detail::text("source", self.source.display().to_string()),
        ];
        let length = self.duration_s.map(|it| Piece::Amount(it, Quantity::Seconds));
        let size = self.source_bytes.map(|it| Piece::Amount(it as f64, Quantity::Bytes));
        let between = length.is_some() && size.is_some();
        let between = between.then(|| Piece::text(" · "));
        let about: Vec<Piece> = [length, between, size].into_iter().flatten().collect();
        if !about.is_empty() {
            details.push(Detail::pieces("", about).with(Emphasis::Quiet));
        }
        details.push(Detail::text("output", self.output.display().to_string()));
        if let Some(bytes) = self.output_bytes {
            let bytes = Detail::amount("", bytes as f64, Quantity::Bytes);
            details.push(bytes.with(Emphasis::Quiet));
        }
        if let Some(speed) = self.speed {
            details.push(Detail::text("speed", format!("{speed:.1}× as fast as it plays")));
        }
        details.push(Detail::moment("created", self.created).with(Emphasis::Quiet));
        details
            .extend(self.finished.map(|at| Detail::moment("finished", at).with(Emphasis::Quiet)));
        details
    }

    fn is_whole(&self) -> bool {
        !matches!(self.state, EncodingState::Waiting | EncodingState::Encoding)
    }

    /// It is named after its files; the same file may be encoded again and again.
    fn holds_name(&self) -> bool {
        false
    }
}
