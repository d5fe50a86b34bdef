//! The real tools behind the ports: QEMU, qemu-img, ffmpeg, the image builders.
//!
//! Drivers know `ports` and `domain` and nothing of queues, stores or screens.

pub mod ffmpeg;
pub mod image;
pub mod process;
pub mod supervise;
pub mod toolbox;
pub mod whole;
