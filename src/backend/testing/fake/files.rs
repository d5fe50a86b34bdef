//! The tools for disks and images that are faked: small real files.

use std::path::{Path, PathBuf};

use crate::backend::ports::{
    Checksum, CommandLog, DiskInfo, DiskTool, ImageTool, MadeImage, PortFuture, ProgressReport,
    Report, Seed,
};
use crate::domain::{DiskFormat, Failure, FsType, ImageForm};
use crate::file;

use super::FakePorts;

pub(super) fn write(path: &Path, what: &str) -> Result<(), Failure> {
    std::fs::write(path, what)
        .map_err(|error| Failure::io(format!("write {}", path.display()), &error))
}

impl DiskTool for FakePorts {
    fn create<'a>(
        &'a self,
        path: &'a Path,
        size_mb: u64,
        fstype: FsType,
        _: &'a str,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("create {size_mb} MB {}", fstype.word()), move |_| {
            write(path, &format!("disk of {size_mb}"))
        }))
    }

    fn overlay<'a>(
        &'a self,
        path: &'a Path,
        backing: &'a Path,
        _: DiskFormat,
        _: u64,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        let content = format!("overlay of {}", backing.display());
        Box::pin(self.call("overlay".into(), move |_| write(path, &content)))
    }

    fn rebase<'a>(
        &'a self,
        path: &'a Path,
        backing: &'a Path,
        format: DiskFormat,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        self.overlay(path, backing, format, 0, log)
    }

    fn info<'a>(&'a self, path: &'a Path, _: &'a CommandLog) -> PortFuture<'a, DiskInfo> {
        let content = std::fs::read_to_string(path).unwrap_or_default();
        let size_mb = content.strip_prefix("disk of ").and_then(|size| size.parse::<u64>().ok());
        let info = DiskInfo {
            format: "qcow2".into(),
            virtual_bytes: size_mb.unwrap_or(1024) << 20,
            actual_bytes: content.len() as u64,
            backing: content.strip_prefix("overlay of ").map(Into::into),
        };
        Box::pin(async move { Ok(info) })
    }

    fn seed<'a>(&'a self, path: &'a Path, seed: &'a Seed) -> PortFuture<'a, ()> {
        Box::pin(self.call("seed".to_owned(), |_| {
            write(path, &format!("{} {} {}", seed.hostname, seed.login, seed.password_hash))
        }))
    }
}

impl FakePorts {
    fn make<'a>(
        &'a self,
        call: String,
        dir: &'a Path,
        report: Report<'a>,
    ) -> PortFuture<'a, MadeImage> {
        Box::pin(self.call(call, move |_| {
            report(ProgressReport { fraction: Some(0.5), ..ProgressReport::default() });
            std::fs::create_dir_all(dir)
                .map_err(|error| Failure::io(format!("make {}", dir.display()), &error))?;
            let path: PathBuf = dir.join("disk.qcow2");
            write(&path, "image")?;
            Ok(MadeImage {
                form: ImageForm::Disk { path, format: DiskFormat::Qcow2 },
                bytes: 5,
                virtual_bytes: 1 << 30,
                sha256: "00".repeat(32),
            })
        }))
    }
}

impl ImageTool for FakePorts {
    fn fetch<'a>(
        &'a self,
        dir: &'a Path,
        url: &'a str,
        checksum: &'a Checksum,
        _: u64,
        report: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        self.make(format!("fetch {url} {checksum:?}"), dir, report)
    }

    fn import<'a>(
        &'a self,
        dir: &'a Path,
        source: &'a Path,
        _: Option<&'a Path>,
        report: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        self.make(format!("import {}", source.display()), dir, report)
    }

    fn build<'a>(
        &'a self,
        dir: &'a Path,
        recipe: &'a str,
        report: Report<'a>,
        _: &'a CommandLog,
    ) -> PortFuture<'a, MadeImage> {
        self.make(format!("build {recipe}"), dir, report)
    }

    fn remove_leftovers<'a>(&'a self, dir: &'a Path) -> PortFuture<'a, ()> {
        Box::pin(self.call("remove_leftovers".to_owned(), move |_| {
            let gone = file::gone(std::fs::remove_dir_all(dir));
            gone.map_err(|error| Failure::io(format!("remove {}", dir.display()), &error))
        }))
    }
}
