//! Operating system images that virtual machines are created from.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::disk::DiskFormat;
use crate::domain::resource::{
    Column, Detail, Emphasis, Piece, Quantity, ResourceKind, ResourceSpec, ResourceType, StateSpec,
    StateTone,
};
use crate::domain::value::Value;

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

impl ImageForm {
    /// Returns the disk that root disks are overlays of, where it has one.
    #[must_use]
    pub fn disk(&self) -> Option<(&Path, DiskFormat)> {
        match self {
            Self::Disk { path, format } | Self::DirectDisk { path, format, .. } => {
                Some((path, *format))
            }
            Self::Direct { .. } | Self::Iso { .. } => None,
        }
    }

    /// Returns its files, the main one first. A guest may open each.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::Disk { path, .. } | Self::Iso { path } => vec![path],
            Self::DirectDisk { path, kernel, initrd, .. } => vec![path, kernel, initrd],
            Self::Direct { kernel, initrd, .. } => vec![kernel, initrd],
        }
    }

    /// The same, to be changed.
    fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Disk { path, .. } | Self::Iso { path } => vec![path],
            Self::DirectDisk { path, kernel, initrd, .. } => vec![path, kernel, initrd],
            Self::Direct { kernel, initrd, .. } => vec![kernel, initrd],
        }
    }
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

impl ResourceType for Image {
    const KIND: ResourceKind = ResourceKind::new("image");

    #[cfg(test)]
    const SAMPLE: &str = r#"{"resource":"image","id":1,"name":"a","state":"ready",
        "label":"b","source":"c",
        "bytes":9,"virtual_bytes":20,"login":"root","created":"2026-01-02T03:04:05Z"}"#;

    fn spec() -> ResourceSpec {
        let own = [
            Column::new("bytes", Quantity::Bytes).titled("size").shown(9, 44).listed(),
            Column::new("label", Quantity::Text).titled("what").shown(24, 62).listed().quiet(),
            Column::new("source", Quantity::Text).listed(),
            Column::new("virtual", Quantity::Bytes).member("virtual_bytes"),
            Column::created(),
        ];
        let state = |state: ImageState, tone| StateSpec::new(state.word(), tone);
        ResourceSpec {
            columns: Column::first(14).into_iter().chain(own).collect(),
            states: vec![
                state(ImageState::BeingCreated, StateTone::Busy),
                state(ImageState::Ready, StateTone::Running),
            ],
            aside: true,
            ..ResourceSpec::new("image", "images", "images")
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
            "label" => Some(Value::text(&self.label)),
            "source" => Some(Value::text(&self.source)),
            "bytes" => (self.bytes > 0).then_some(Value::Number(self.bytes as f64)),
            "virtual" => {
                (self.virtual_bytes > 0).then_some(Value::Number(self.virtual_bytes as f64))
            }
            "created" => Some(Value::Number(self.created.as_second() as f64)),
            _ => None,
        }
    }

    fn details(&self) -> Vec<Detail> {
        let boots = match &self.form {
            Some(ImageForm::Disk { .. }) => "a disk with its own boot loader",
            Some(ImageForm::DirectDisk { .. }) => "a disk; QEMU loads the kernel",
            Some(ImageForm::Direct { .. }) => "a kernel and an initrd",
            Some(ImageForm::Iso { .. }) => "a bootable CD",
            None => "not ready yet",
        };
        let mut size = vec![Piece::Amount(self.bytes as f64, Quantity::Bytes)];
        if self.virtual_bytes > 0 {
            let seen = Piece::Amount(self.virtual_bytes as f64, Quantity::Bytes);
            size.extend([Piece::text(", "), seen, Piece::text(" to a guest")]);
        }
        let mut details = vec![
            Detail::text("what", &self.label),
            Detail::text("boots", boots),
            Detail::text("login", &self.login),
            Detail::text("source", &self.source),
            Detail::pieces("size", size),
        ];
        if let Some(sha256) = &self.sha256 {
            details.push(Detail::text("sha256", sha256).with(Emphasis::Quiet));
        }
        details.push(Detail::moment("created", self.created).with(Emphasis::Quiet));
        details
    }

    fn note(&self) -> String {
        self.label.clone()
    }

    fn is_whole(&self) -> bool {
        self.state == ImageState::Ready
    }

    fn files_mut(&mut self) -> Vec<&mut PathBuf> {
        self.form.as_mut().map(ImageForm::files_mut).unwrap_or_default()
    }
}
