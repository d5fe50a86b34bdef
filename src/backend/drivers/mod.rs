//! The real tools behind the ports: QEMU, qemu-img, ffmpeg, the image builders.
//!
//! Drivers know `ports` and `domain` and nothing of queues, stores or screens.

pub mod atomic_file;
pub mod clock;
pub mod ffmpeg;
#[cfg(feature = "failpoints")]
pub mod fuzz;
pub mod image;
pub mod partial;
pub mod process;
pub mod qemu;
pub mod qemu_img;
pub mod room;
pub mod seed;
pub mod supervise;
pub mod toolbox;

use std::sync::Arc;

use super::ports::Ports;
use super::settings::Settings;

/// The real drivers, long tools run under this very program.
#[must_use]
pub fn real(settings: &Settings) -> Ports {
    let supervision = supervise::Supervision::default();
    Ports {
        hypervisor: Arc::new(qemu::Qemu::new(settings.state_dir.join("probes"))),
        disks: Arc::new(qemu_img::QemuImg::new()),
        images: Arc::new(image::Images::new(supervision.clone())),
        encoder: Arc::new(ffmpeg::Ffmpeg::new(supervision)),
        clock: Arc::new(clock::SystemClock),
        toolbox: Arc::new(toolbox::HostToolbox),
    }
}
