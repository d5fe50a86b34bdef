//! Looks for the programs hostler drives, and says how to get those that are missing.

use std::path::Path;

use super::process;
use crate::backend::ports::{CommandLog, Toolbox};
use crate::domain::{BoxFuture, Tool, ToolState};

/// Where a tool is found.
enum Probe {
    /// A program of one of these names, asked for its version with these arguments.
    Program(&'static [&'static str], &'static [&'static str]),
    /// A busybox without libraries.
    StaticBusybox,
    /// A kernel for clouds in `/boot`.
    CloudKernel,
}

/// One tool, and the packages that bring it with apt-get, dnf, pacman, apk and zypper; an empty
/// word means that the distribution has none.
struct ToolSpec {
    name: &'static str,
    purpose: &'static str,
    found: Probe,
    packages: [&'static str; 5],
}

const fn program(
    name: &'static str,
    names: &'static [&'static str],
    version: &'static [&'static str],
    purpose: &'static str,
    packages: [&'static str; 5],
) -> ToolSpec {
    ToolSpec { name, purpose, found: Probe::Program(names, version), packages }
}

#[rustfmt::skip]
const KNOWN: &[ToolSpec] = &[
    program("qemu-system-x86_64", &["qemu-system-x86_64"], &["--version"], "running VMs",
        ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86", "qemu-system-x86_64",
            "qemu-x86"]),
    program("qemu-img", &["qemu-img"], &["--version"], "making disks and images",
        ["qemu-utils", "qemu-img", "qemu-img", "qemu-img", "qemu-img"]),
    program("ffmpeg", &["ffmpeg"], &["-version"], "encoding",
        ["ffmpeg", "ffmpeg-free", "ffmpeg", "ffmpeg", "ffmpeg"]),
    program("ffprobe", &["ffprobe"], &["-version"], "looking at videos before and after encoding",
        ["ffmpeg", "ffmpeg-free", "ffmpeg", "ffmpeg", "ffmpeg"]),
    program("mke2fs", &["mke2fs", "mkfs.ext4"], &["-V"], "ext3 and ext4 disks, and building debian",
        ["e2fsprogs", "e2fsprogs", "e2fsprogs", "e2fsprogs", "e2fsprogs"]),
    program("mkfs.xfs", &["mkfs.xfs"], &["-V"], "xfs disks",
        ["xfsprogs", "xfsprogs", "xfsprogs", "xfsprogs", "xfsprogs"]),
    program("mkfs.jfs", &["mkfs.jfs", "jfs_mkfs"], &["-V"], "jfs disks",
        ["jfsutils", "jfsutils", "jfsutils", "jfsutils", "jfsutils"]),
    program("mkreiserfs", &["mkreiserfs", "mkfs.reiserfs"], &["-V"], "reiserfs disks",
        ["reiserfsprogs", "reiserfs-utils", "reiserfsprogs", "", "reiserfs"]),
    program("mkfs.btrfs", &["mkfs.btrfs"], &["--version"], "btrfs disks",
        ["btrfs-progs", "btrfs-progs", "btrfs-progs", "btrfs-progs", "btrfsprogs"]),
    program("mmdebstrap", &["mmdebstrap"], &["--version"], "building the image debian",
        ["mmdebstrap", "mmdebstrap", "", "", ""]),
    ToolSpec { name: "busybox", purpose: "building the image tiny", found: Probe::StaticBusybox,
        packages: ["busybox-static", "busybox", "busybox", "busybox-static", "busybox-static"] },
    ToolSpec { name: "cloud kernel", purpose: "building the image tiny", found: Probe::CloudKernel,
        packages: ["linux-image-cloud-amd64", "", "", "", ""] },
];

/// The commands that install packages, in the order of [`ToolSpec::packages`].
const INSTALLERS: [&str; 5] = [
    "apt-get install -y",
    "dnf install -y",
    "pacman -S --noconfirm",
    "apk add",
    "zypper install -y",
];

/// The tools of this box.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostToolbox;

impl Toolbox for HostToolbox {
    fn tools(&self) -> BoxFuture<'_, Vec<Tool>> {
        Box::pin(async {
            let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
            let root = rustix::process::geteuid().is_root();
            let mut tools = Vec::new();
            for known in KNOWN {
                let state = match version(&known.found).await {
                    Some(version) => ToolState::Present { version },
                    None => ToolState::Missing { mend: mend(known, &os_release, root) },
                };
                tools.push(Tool {
                    name: known.name.to_owned(),
                    purpose: known.purpose.to_owned(),
                    state,
                });
            }
            tools
        })
    }
}

/// What a tool calls its version; `None` when it is not there or does not run.
async fn version(found: &Probe) -> Option<String> {
    match found {
        Probe::Program(names, arguments) => {
            let path = names.iter().find_map(|name| process::find(name))?;
            let log = CommandLog::default();
            let ended = process::run(&log, path.to_str()?, arguments).await.ok()?;
            // mkfs.jfs ends with 1 after telling its version.
            let said = format!("{}\n{}", ended.stdout, ended.stderr);
            version_in(&said).or_else(|| ended.ok.then(|| "unknown".to_owned()))
        }
        Probe::StaticBusybox => {
            let path = super::image::static_busybox()?;
            let ended =
                process::run(&CommandLog::default(), path.to_str()?, &["--help"]).await.ok()?;
            version_in(&ended.stdout)
        }
        Probe::CloudKernel => {
            super::image::cloud_kernel(Path::new("/boot")).map(|(version, _)| version)
        }
    }
}

/// The first word that looks like a version: `7.2.22`, `v6.2`, `n5.1`.
fn version_in(said: &str) -> Option<String> {
    said.split_whitespace()
        .map(|word| word.trim_matches(|c: char| "(),:".contains(c)))
        .map(|word| word.strip_prefix(['v', 'n']).unwrap_or(word))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .map(str::to_owned)
}

/// The exact command that brings a tool.
fn mend(known: &ToolSpec, os_release: &str, root: bool) -> String {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim_matches(['"', '\''])).unwrap_or_default()
    };
    let families = format!("{} {}", value("ID="), value("ID_LIKE="));
    let at = families.split_whitespace().find_map(|family| match family {
        "debian" | "ubuntu" => Some(0),
        "fedora" | "rhel" | "centos" => Some(1),
        "arch" => Some(2),
        "alpine" => Some(3),
        "suse" | "opensuse" => Some(4),
        _ => None,
    });
    let Some(at) = at else {
        return format!("install {} with your distribution's package manager", known.name);
    };
    if known.packages[at].is_empty() {
        return format!("this distribution has no package of {}; do without it", known.name);
    }
    // Ubuntu's kernel for virtual machines goes by another name.
    let package = match known.found {
        Probe::CloudKernel if value("ID=") == "ubuntu" => "linux-image-kvm",
        _ => known.packages[at],
    };
    let sudo = if root { "" } else { "sudo " };
    format!("{sudo}{} {package}", INSTALLERS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> &'static ToolSpec {
        KNOWN.iter().find(|known| known.name == name).unwrap()
    }

    #[test]
    fn the_mending_command_is_the_distributions_own() {
        let qemu = known("qemu-img");
        let debian = "ID=debian\n";
        assert_eq!(mend(qemu, debian, true), "apt-get install -y qemu-utils");
        assert_eq!(mend(qemu, debian, false), "sudo apt-get install -y qemu-utils");
        assert_eq!(
            mend(qemu, "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", true),
            "dnf install -y qemu-img"
        );
        assert_eq!(mend(qemu, "ID=arch\n", true), "pacman -S --noconfirm qemu-img");
        assert!(mend(known("mmdebstrap"), "ID=alpine\n", true).contains("has no package"));
        assert!(mend(qemu, "", true).contains("package manager"));
    }

    #[test]
    fn versions_are_found_in_what_tools_say() {
        for (said, version) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2)", "7.2.22"),
            ("mke2fs 1.47.0 (5-Feb-2023)", "1.47.0"),
            ("mkfs.btrfs, part of btrfs-progs v6.2", "6.2"),
            ("ffmpeg version n7.1 Copyright", "7.1"),
        ] {
            assert_eq!(version_in(said).as_deref(), Some(version));
        }
    }

    #[tokio::test]
    async fn the_tools_of_this_box_are_found() {
        let tools = HostToolbox.tools().await;
        assert_eq!(tools.len(), KNOWN.len());
        for tool in &tools {
            let ToolState::Present { version } = &tool.state else { panic!("{tool:?}") };
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{tool:?}");
        }
    }
}
