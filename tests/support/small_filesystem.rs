//! A small filesystem, for what happens when there is no room.

use std::path::Path;
use std::process::Command;

/// A small filesystem on a state directory; unmounted when dropped.
pub struct SmallFilesystem<'a>(&'a Path);

impl<'a> SmallFilesystem<'a> {
    /// Mounts one of `mib` MiB, or returns why that cannot be done: mostly, we are not root.
    pub fn mount(dir: &'a Path, mib: u32) -> Result<Self, String> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "hostler-test"])
            .arg(dir)
            .output()
            .map_err(|error| error.to_string())?;
        if mounted.status.success() {
            Ok(Self(dir))
        } else {
            Err(String::from_utf8_lossy(&mounted.stderr).into_owned())
        }
    }
}

impl Drop for SmallFilesystem<'_> {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still hold it.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
