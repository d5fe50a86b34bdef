//! The real tools behind the ports: QEMU, qemu-img, ffmpeg, the image builders.
//!
//! Drivers know `ports` and `domain` and nothing of queues, stores or screens.

pub mod partial;
pub mod process;
pub mod qemu;
pub mod qemu_img;
pub mod seed;
