//! Writes a cpio archive in the `newc` format, as the kernel takes an initial ramdisk: see the
//! kernel's own `Documentation/driver-api/early-userspace/buffer-format.rst`.
//!
//! The same files give the same bytes: no times, no owners but root, numbers in order.
//!
//! Own code: the format is one header a file, and a crate for it would have to be told all that is
//! left out here.

use std::collections::BTreeSet;
use std::io::{self, Write};

/// An archive being written.
pub(super) struct Archive<W: Write> {
    to: W,
    entries: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(super) const fn new(to: W) -> Self {
        Self { to, entries: 0, folders: BTreeSet::new() }
    }

    /// Adds a file, and the folders above it. `path` has no slash in front; `mode` is its
    /// permissions.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.folders_above(path)?;
        self.entry(path, 0o100_000 | mode, 1, content)
    }

    /// Adds a symbolic link, and the folders above it.
    pub(super) fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.folders_above(path)?;
        self.entry(path, 0o120_777, 1, target.as_bytes())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, 1, &[])?;
        Ok(self.to)
    }

    fn folders_above(&mut self, path: &str) -> io::Result<()> {
        for (at, _) in path.match_indices('/') {
            let folder = &path[..at];
            if self.folders.insert(folder.to_owned()) {
                self.entry(folder, 0o040_755, 2, &[])?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, links: u32, content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let too_big = |_| io::Error::other(format!("{name} is too big for an initial ramdisk"));
        let size = u32::try_from(content.len()).map_err(too_big)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_big)?;
        write!(self.to, "070701")?;
        // ino, mode, uid, gid, nlink, mtime, size, device twice two, name's size, check sum
        for field in [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0] {
            write!(self.to, "{field:08X}")?;
        }
        self.to.write_all(name.as_bytes())?;
        // The header is 110 bytes long; name and content each end on a multiple of four.
        self.pad(110 + name.len() + 1, 1)?;
        self.to.write_all(content)?;
        self.pad(content.len(), 0)
    }

    /// Writes `least` zeros, and then as many as bring `length` to a multiple of four.
    fn pad(&mut self, length: usize, least: usize) -> io::Result<()> {
        let zeros = least + (4 - length % 4) % 4;
        self.to.write_all(&[0; 4][..zeros])
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn cpio_itself_reads_it() {
        let mut archive = Archive::new(Vec::new());
        archive.file("etc/a/one", 0o644, b"1").unwrap();
        archive.file("etc/a/empty", 0o755, b"").unwrap();
        archive.link("bin/sh", "busybox").unwrap();
        let bytes = archive.finish().unwrap();
        let mut cpio = Command::new("busybox")
            .args(["cpio", "-tv"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        let listing = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        let rows: Vec<Vec<&str>> =
            listing.lines().map(|line| line.split_whitespace().collect()).collect();
        let found: Vec<(&str, &str)> = rows
            .iter()
            .map(|row| {
                let name = row.iter().position(|word| word.contains(':')).unwrap() + 1;
                (row[0], row[name])
            })
            .collect();
        assert_eq!(
            found,
            [
                ("drwxr-xr-x", "etc"),
                ("drwxr-xr-x", "etc/a"),
                ("-rw-r--r--", "etc/a/one"),
                ("-rwxr-xr-x", "etc/a/empty"),
                ("drwxr-xr-x", "bin"),
                ("lrwxrwxrwx", "bin/sh"),
            ]
        );
    }
}
