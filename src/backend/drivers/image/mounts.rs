//! What is mounted in a folder, and how it is taken out of there: a build that is killed leaves the
//! box's own `/proc`, `/sys` and `/dev` in the tree it was filling.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::domain::Failure;

/// Unmounts everything below a folder, the latest first. Finding nothing there is success.
///
/// # Errors
/// When something stays mounted: nothing below the folder may be removed then.
pub(super) fn unmount_below(folder: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::io(format!("look into {}", folder.display()), &error);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(held) => held,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) if folder.is_symlink() => {
            return Err(Failure::new(format!(
                "cannot remove {}: it is a link, and hostler follows none there; remove the link",
                folder.display()
            )));
        }
        Err(error) => return Err(failed(error.into())),
    };
    // As the kernel names it: a link on the way there would hide what is mounted.
    let folder = std::fs::read_link(format!("/proc/self/fd/{}", held.as_raw_fd()));
    let folder = folder.map_err(failed)?;
    let mounts = std::fs::read("/proc/self/mountinfo").map_err(failed)?;
    for place in below(&mounts, &folder).into_iter().rev() {
        // In use by somebody, it is at least taken out of the tree.
        unmount(&place, UnmountFlags::NOFOLLOW)
            .or_else(|_| unmount(&place, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH))
            .map_err(|error| {
                Failure::new(format!(
                    "cannot remove {}: {} is mounted in it and stays so: {error}; unmount it and \
                     relaunch",
                    folder.display(),
                    place.display()
                ))
            })?;
    }
    Ok(())
}

/// Where something is mounted below a folder, in the order it was mounted. See proc(5): the fifth
/// field of a line is the place, with whitespace as `\040`.
fn below(mountinfo: &[u8], folder: &Path) -> Vec<PathBuf> {
    mountinfo
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(plain)
        .filter(|place| place != folder && place.starts_with(folder))
        .collect()
}

/// A field with its escapes, a backslash and three octal digits each, made plain.
fn plain(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'\\')
            .then(|| std::str::from_utf8(after.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::mount::{MountFlags, mount, mount_bind};

    use super::*;
    use crate::backend::drivers::image::Images;
    use crate::backend::drivers::supervise::Supervision;
    use crate::backend::ports::ImageTool;

    #[test]
    fn places_are_read_as_they_are_named() {
        let mountinfo =
            b"22 1 0:21 / /b rw - tmpfs t rw\n23 22 0:22 / /b/a\\040\\134c rw - x y z\n\
                          24 1 0:23 / /bc rw - x y z\n";
        assert_eq!(below(mountinfo, Path::new("/b")), [Path::new("/b/a \\c")]);
        assert!(below(mountinfo, Path::new("/c")).is_empty());
    }

    #[tokio::test]
    async fn what_a_killed_build_left_mounted_is_unmounted_and_not_emptied() {
        let home = tempfile::tempdir().unwrap();
        let (dir, precious) = (home.path().join("images/1 a"), home.path().join("precious"));
        for dir in [&dir.join("tree/dev"), &dir.join("tree/proc"), &precious] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(precious.join("file"), "x").unwrap();
        let tmpfs = |place: &Path| mount("hostler-test", place, "tmpfs", MountFlags::empty(), None);
        if let Err(error) = tmpfs(&dir.join("tree/dev")) {
            println!("left out: nothing can be mounted here: {error}");
            return;
        }
        fs::create_dir(dir.join("tree/dev/shm")).unwrap();
        tmpfs(&dir.join("tree/dev/shm")).unwrap();
        mount_bind(&precious, dir.join("tree/proc")).unwrap();
        // Somebody who looks around in there does not hold it up.
        let _busy = fs::File::create(dir.join("tree/dev/shm/busy")).unwrap();
        // The state directory may be reached by a link.
        std::os::unix::fs::symlink(home.path().join("images"), home.path().join("link")).unwrap();

        let images = Images::new(Supervision::default());
        for _ in 0..2 {
            images.remove_leftovers(&home.path().join("link/1 a")).await.unwrap();
            assert!(!dir.exists());
        }
        assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "x");
    }

    #[tokio::test]
    async fn nothing_is_unmounted_or_removed_behind_a_link() {
        let home = tempfile::tempdir().unwrap();
        let (outside, images) = (home.path().join("outside"), home.path().join("images"));
        for dir in [&outside.join("mounted"), &images] {
            fs::create_dir_all(dir).unwrap();
        }
        std::os::unix::fs::symlink(&outside, images.join("1")).unwrap();
        let place = outside.join("mounted");
        if let Err(error) = mount("hostler-test", &place, "tmpfs", MountFlags::empty(), None) {
            println!("left out: nothing can be mounted here: {error}");
            return;
        }
        fs::write(place.join("file"), "x").unwrap();
        let refused = Images::new(Supervision::default()).remove_leftovers(&images.join("1")).await;
        let still = fs::read_to_string(place.join("file"));
        let _ = unmount(&place, UnmountFlags::DETACH);
        assert!(refused.unwrap_err().message.contains("is a link"));
        assert_eq!(still.unwrap(), "x");
    }
}
