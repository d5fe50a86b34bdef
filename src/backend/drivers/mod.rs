//! The real tools behind the ports: QEMU, qemu-img, ffmpeg, the image builders.
//!
//! Drivers know `ports` and `domain` and nothing of queues, stores or screens.

pub mod clock;
pub mod ffmpeg;
pub mod image;
pub mod partial;
pub mod process;
pub mod supervise;
pub mod whole;
pub mod qemu;
pub mod qemu_img;
pub mod seed;
