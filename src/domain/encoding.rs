//! Encodings: one source, one preset, one verified output.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::value::Value;

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
    /// When it was asked for.
    pub created: Timestamp,
    /// When its output was whole.
    #[serde(default)]
    pub finished: Option<Timestamp>,
}

impl Encoding {
    /// The columns filters and sorting know beyond `id`, `name` and `state`.
    pub const COLUMNS: &[&str] = &["source", "preset", "output", "duration", "bytes", "created"];

    /// The value of a column.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value> {
        match name {
            "source" => Some(Value::Text(self.source.display().to_string())),
            "preset" => Some(Value::Text(self.preset.clone())),
            "output" => Some(Value::Text(self.output.display().to_string())),
            "duration" => self.duration_s.map(Value::Number),
            "bytes" => self.output_bytes.map(|bytes| Value::Number(bytes as f64)),
            "created" => Some(Value::Number(self.created.as_second() as f64)),
            _ => None,
        }
    }
}
