//! Operating system images that virtual machines are created from.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::DiskFormat;
use super::value::Value;

/// What an image is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// It is being fetched, imported or built.
    BeingCreated,
    /// VMs can be created from it.
    Ready,
}

impl ImageState {
    /// The word for it on screens, in filters and on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BeingCreated => "being_created",
            Self::Ready => "ready",
        }
    }
}

/// How an image boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "form")]
pub enum ImageForm {
    /// A disk with its own boot loader. VMs get a copy-on-write overlay of it.
    Disk {
        /// The disk's file.
        path: PathBuf,
        /// How its bytes lie in the file.
        format: DiskFormat,
    },
    /// A disk without a boot loader: QEMU loads kernel and initrd itself.
    DirectDisk {
        /// The disk's file.
        path: PathBuf,
        /// How its bytes lie in the file.
        format: DiskFormat,
        /// The kernel.
        kernel: PathBuf,
        /// The initial ramdisk.
        initrd: PathBuf,
        /// The kernel's command line.
        append: String,
    },
    /// A kernel and an initrd that need no disk. VMs get a blank root disk.
    Direct {
        /// The kernel.
        kernel: PathBuf,
        /// The initial ramdisk.
        initrd: PathBuf,
        /// The kernel's command line.
        append: String,
    },
    /// A bootable CD or DVD. VMs get a blank root disk.
    Iso {
        /// The ISO file.
        path: PathBuf,
    },
}

/// An image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Its number.
    pub id: u64,
    /// Its name, such as `debian-12`.
    pub name: String,
    /// What it is doing.
    pub state: ImageState,
    /// What it is, for people: `Debian 12 (bookworm)`.
    pub label: String,
    /// How it boots; `None` until it is ready.
    #[serde(default)]
    pub form: Option<ImageForm>,
    /// Where it came from: a URL, a file or a builder's name.
    pub source: String,
    /// Bytes its files take on disk.
    #[serde(default)]
    pub bytes: u64,
    /// Size of its disk as a guest sees it, in bytes; 0 where it has none.
    #[serde(default)]
    pub virtual_bytes: u64,
    /// SHA-256 of its main file, in hexadecimal, as verified.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The user account to create when the operator names none.
    pub login: String,
    /// When it was asked for.
    pub created: Timestamp,
}

impl Image {
    /// The columns filters and sorting know beyond `id`, `name` and `state`.
    pub const COLUMNS: &[&str] = &["label", "source", "bytes", "created"];

    /// The value of a column.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Value> {
        match name {
            "label" => Some(Value::Text(self.label.clone())),
            "source" => Some(Value::Text(self.source.clone())),
            "bytes" => Some(Value::Number(self.bytes as f64)),
            "created" => Some(Value::Number(self.created.as_second() as f64)),
            _ => None,
        }
    }
}
