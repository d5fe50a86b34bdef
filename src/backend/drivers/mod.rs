//! The real tools behind the ports: QEMU, qemu-img, ffmpeg, the image builders.
//!
//! Drivers know `ports` and `domain` and nothing of queues, stores or screens.

#[cfg(test)]
pub mod fake;
pub mod process;
