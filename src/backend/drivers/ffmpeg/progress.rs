//! What ffmpeg tells of itself while it works: the file it writes for `-progress`.
//!
//! Blocks of `key=value` lines, each closed by `progress=continue` or `progress=end`. The file only
//! grows, so its last whole block is the latest. (`out_time_ms` is really microseconds; it is not
//! used.)

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::backend::ports::ProgressReport;

/// More than a block takes, in bytes.
const BLOCK: u64 = 2048;

/// How far ffmpeg is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::backend::drivers) struct EncoderProgress {
    /// How much media has been written, in seconds.
    pub(super) out_s: Option<f64>,
    /// Frames per second it encodes.
    fps: Option<f64>,
    /// Seconds of media per second, since it began.
    pub(super) speed: Option<f64>,
    /// Bytes written.
    bytes: Option<u64>,
}

impl EncoderProgress {
    /// The latest whole block of the file; `None` before there is one.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut file = match crate::file::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(2 * BLOCK)))?;
        let mut tail = Vec::new();
        file.take(2 * BLOCK).read_to_end(&mut tail)?;
        Ok(Self::parse(&String::from_utf8_lossy(&tail)))
    }

    /// The latest whole block of the end of the file.
    pub(in crate::backend::drivers) fn parse(text: &str) -> Option<Self> {
        let (whole, _begun) = text.rsplit_once("\nprogress=")?;
        let block = whole.rsplit_once("\nprogress=").map_or(whole, |(_, block)| block);
        let value = |key: &str| {
            let mut values = block.lines().filter_map(|line| line.strip_prefix(key));
            values.next_back().map(|value| value.trim().trim_end_matches('x'))
        };
        // Whatever is larger, or no number, is nothing to show to anybody.
        let number =
            |key| value(key).and_then(|text| text.parse::<f64>().ok()).filter(|it| it.abs() < 1e15);
        Some(Self {
            out_s: number("out_time_us=").map(|us| us.max(0.0) / 1e6),
            fps: number("fps=").filter(|&fps| fps > 0.0),
            speed: number("speed=").filter(|&speed| speed > 0.0),
            bytes: value("total_size=").and_then(|text| text.parse().ok()),
        })
    }

    /// The same for the operator, where the whole is `duration_s` seconds long.
    pub(in crate::backend::drivers) fn meter(&self, duration_s: Option<f64>) -> ProgressReport {
        let duration_s = duration_s.filter(|&duration| duration > 0.0);
        let fraction =
            duration_s.zip(self.out_s).map(|(whole, done)| (done / whole).clamp(0.0, 1.0));
        let left_s = match (duration_s, self.out_s, self.speed) {
            (Some(whole), Some(done), Some(speed)) => {
                Some(((whole - done).max(0.0) / speed).ceil() as u64)
            }
            _ => None,
        };
        let mut figures = Vec::new();
        if let Some(speed) = self.speed {
            figures.push(format!("{speed:.1}×"));
        }
        if let Some(fps) = self.fps {
            figures.push(format!("{fps:.0} fps"));
        }
        if duration_s.is_none() {
            if let Some(done) = self.out_s {
                figures.push(format!("{done:.0} s"));
            }
            if let Some(bytes) = self.bytes {
                figures.push(format!("{:.1} MB", bytes as f64 / 1e6));
            }
            figures.push("length unknown".to_owned());
        }
        let detail = (!figures.is_empty()).then(|| figures.join(" · "));
        ProgressReport { fraction, left_s, detail, speed: self.speed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "frame=10\nfps=0.00\ntotal_size=48\nout_time_us=-40000\nspeed=N/A\n\
        progress=continue\nframe=90\nfps=58.21\ntotal_size=2500000\nout_time_us=3000000\n\
        speed=1.94x\nprogress=continue\nframe=91\nfps=";

    #[test]
    fn the_latest_whole_block_counts() {
        let progress = EncoderProgress::parse(TWO).unwrap();
        assert_eq!(progress.out_s, Some(3.0));
        let meter = progress.meter(Some(12.0));
        assert_eq!(meter.fraction, Some(0.25));
        assert_eq!(meter.left_s, Some(5));
        assert_eq!(meter.detail.as_deref(), Some("1.9× · 58 fps"));
        assert_eq!(meter.speed, Some(1.94));
    }

    #[test]
    fn an_unknown_length_is_said() {
        let meter = EncoderProgress::parse(TWO).unwrap().meter(None);
        assert_eq!((meter.fraction, meter.left_s), (None, None));
        let detail = meter.detail.unwrap();
        assert_eq!(detail, "1.9× · 58 fps · 3 s · 2.5 MB · length unknown");
    }

    #[test]
    fn the_beginning_says_nothing() {
        assert_eq!(EncoderProgress::parse("frame=1\nfps=0.0"), None);
        let first = EncoderProgress::parse(&TWO[..90]).unwrap();
        assert_eq!(first.out_s, Some(0.0));
        assert_eq!(first.speed, None);
    }
}
