//! The media drivers against the real tools: supervision, ffmpeg, images and the toolbox.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "media_drivers/encoding.rs"]
mod encoding;
#[path = "media_drivers/hostile.rs"]
mod hostile;
#[path = "media_drivers/images.rs"]
mod images;
#[path = "media_drivers/ordinary_user.rs"]
mod ordinary_user;
#[path = "media_drivers/supervision.rs"]
mod supervision;
#[path = "media_drivers/tiny.rs"]
mod tiny;

use std::sync::Mutex;

use hostler::backend::drivers::supervise::Supervision;
use hostler::backend::ports::ProgressReport;

/// Supervision by the hostler that was built for these tests, which are none themselves.
fn supervision() -> Supervision {
    Supervision::by(env!("CARGO_BIN_EXE_hostler"))
}

/// Remembers everything that was reported.
#[derive(Default)]
struct Reported(Mutex<Vec<ProgressReport>>);

impl Reported {
    fn take(&self, meter: ProgressReport) {
        self.0.lock().unwrap().push(meter);
    }

    /// The fractions, in the order they came.
    fn fractions(&self) -> Vec<f64> {
        self.0.lock().unwrap().iter().filter_map(|meter| meter.fraction).collect()
    }
}

/// Whether numbers never fall.
fn rises(numbers: &[f64]) -> bool {
    numbers.windows(2).all(|pair| pair[0] <= pair[1])
}

/// Sends SIGKILL to a process.
fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
