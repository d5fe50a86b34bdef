//! Builds the `debian` image from the distribution's packages: mmdebstrap fills a folder, mke2fs
//! turns that into a filesystem, qemu-img into a disk. Kernel and initial ramdisk lie beside it, so
//! no boot loader is needed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{atomic_file, blocking, describe, mounts};
use crate::backend::drivers::process;
use crate::backend::drivers::supervise::{
    Doing, ExitReport, LongCommand, Stall, Supervised, Supervision,
};
use crate::backend::ports::{CommandLog, MadeImage, ProgressReport, Report};
use crate::domain::{DiskFormat, Failure, ImageForm};
use crate::file;

/// What a guest needs to be reached and set up. `systemd-networkd` comes with systemd.
const PACKAGES: &[&str] = &[
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "udev",
    "iproute2",
    "cloud-init",
    "openssh-server",
    "qemu-guest-agent",
    "sudo",
    "ca-certificates",
    "e2fsprogs",
    "iputils-ping",
    "less",
    "nano",
];

/// The size of the disk as a guest sees it. Only what is written takes room.
const DISK_BYTES: u64 = 4 << 30;

/// What building takes at most, in bytes: the tree, the filesystem made of it, and the disk.
pub(super) const BUILD_BYTES: u64 = 3 << 30;

/// The label of the root filesystem.
const FS_LABEL: &str = "hostler-root";

/// The kernel's command line. Without `rw`, cloud-init finds a root it cannot write.
const APPEND: &str = "root=LABEL=hostler-root rw console=tty0 console=ttyS0 quiet";

/// What mmdebstrap says when it gets on, and how much of its time is behind it then.
const STAGES: &[(&str, f64)] = &[
    ("running apt-get update", 0.02),
    ("downloading packages", 0.06),
    ("extracting archives", 0.2),
    ("installing essential", 0.27),
    ("installing remaining", 0.4),
    ("cleaning package lists", 0.98),
];

/// How much of the whole is mmdebstrap's.
const SHARE: f64 = 0.85;

/// What the guest gets beside its packages: path, content.
const FILES: &[(&str, &str)] = &[
    // Looking for other sources of data takes a minute.
    ("etc/cloud/cloud.cfg.d/90_hostler.cfg", "datasource_list: [NoCloud, None]\n"),
    // Whatever card there is asks for an address, also when cloud-init says nothing of it.
    ("etc/systemd/network/80-dhcp.network", "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n"),
    ("etc/fstab", "LABEL=hostler-root / ext4 defaults 0 1\n"),
    // Empty means: make one on first boot. mmdebstrap leaves the name of the box it ran on.
    ("etc/machine-id", ""),
];

/// Services that are started: the link, what it leads to.
const SERVICES: &[(&str, &str)] = &[
    (
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "/lib/systemd/system/systemd-networkd.service",
    ),
    (
        "etc/systemd/system/dbus-org.freedesktop.network1.service",
        "/lib/systemd/system/systemd-networkd.service",
    ),
    (
        "etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service",
        "/lib/systemd/system/serial-getty@.service",
    ),
    ("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
];

/// Why it cannot be built by whoever runs hostler, as a whole sentence.
pub(super) fn obstacle() -> Option<String> {
    (!rustix::process::geteuid().is_root()).then(|| {
        "building debian needs root, for it makes files of many owners; start hostler as root, or \
         fetch an image instead (image_fetch)"
            .to_owned()
    })
}

/// Builds it in `dir`, goes on with what an earlier call left running, or finds it built.
pub(super) async fn build(
    supervision: &Supervision,
    dir: &Path,
    report: Report<'_>,
    log: &CommandLog,
) -> Result<MadeImage, Failure> {
    let form = ImageForm::DirectDisk {
        path: dir.join("disk.qcow2"),
        format: DiskFormat::Qcow2,
        kernel: dir.join("kernel"),
        initrd: dir.join("initrd"),
        append: APPEND.to_owned(),
    };
    let io = |what: String| move |error: io::Error| Failure::io(what, &error);
    let tree = dir.join("tree");
    if !dir.join("disk.qcow2").exists() {
        obstacle().map_or(Ok(()), |why| Err(Failure::new(why)))?;
        std::fs::create_dir_all(dir).map_err(io(format!("make {}", dir.display())))?;
        bootstrap(supervision, dir, &tree, report, log).await?;
        report(ProgressReport {
            fraction: Some(SHARE),
            detail: Some("furnishing".into()),
            ..ProgressReport::default()
        });
        let (place, from) = (dir.to_owned(), tree.clone());
        blocking(move || {
            furnish(&from)
                .map_err(|error| Failure::io(format!("furnish {}", from.display()), &error))?;
            take_boot_files(&place, &from)
        })
        .await?;
        make_disk(dir, &tree, report, log).await?;
        let (partial, disk) = (dir.join("disk.qcow2.partial"), dir.join("disk.qcow2"));
        blocking(move || {
            atomic_file::publish(&partial, &disk)
                .map_err(|error| Failure::io(format!("write {}", disk.display()), &error))
        })
        .await?;
    }
    blocking(move || remove_tree(&tree)).await?;
    Supervised::at(&dir.join("job")).remove().await?;
    describe(form, DISK_BYTES, report).await
}

/// Fills the tree with packages.
async fn bootstrap(
    supervision: &Supervision,
    dir: &Path,
    tree: &Path,
    report: Report<'_>,
    log: &CommandLog,
) -> Result<(), Failure> {
    let job = dir.join("job");
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = suite(&os_release);
    let sources = sources(&suite, &os_release, Path::new("/etc/apt"));
    let command = bootstrap_command(&suite, tree, &sources)?;
    let running = Supervised::at(&job);
    let adopts = running.command().as_ref() == Some(&command)
        && matches!(running.state(), Doing::Running | Doing::Ended(ExitReport::Exit(0)));
    if !adopts {
        // mmdebstrap wants an empty folder.
        running.stop().await?;
        let tree = tree.to_owned();
        blocking(move || remove_tree(&tree)).await?;
    }
    let begun = log.begin(command.line());
    let clock = Instant::now();
    let tool = supervision.start_or_adopt(&job, &command).await?;
    let ending = follow(&tool, report).await?;
    let stderr = file::read_end(tool.stderr()).unwrap_or_default();
    let took = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
    log.end(begun, ending.words(), process::tail(&stderr), took);
    match ending {
        ExitReport::Exit(0) => Ok(()),
        ExitReport::NotStarted { missing: true, .. } => Err(Failure::new(
            "mmdebstrap is not installed; `hostler doctor` tells how to get it, then relaunch",
        )),
        ExitReport::NotStarted { error, .. } => {
            Err(Failure::new(format!("cannot build debian: mmdebstrap does not start: {error}")))
        }
        ExitReport::Vanished | ExitReport::Signal(_) => Err(Failure::passing(
            "cannot build debian: mmdebstrap was killed; relaunch to begin anew",
        )),
        ExitReport::Exit(_) => {
            let why = last_complaint(&stderr).unwrap_or_else(|| ending.words());
            Err(Failure::new(format!(
                "cannot build debian: mmdebstrap: {why}; check that the package mirror can be \
                 reached and that there is room, then relaunch"
            )))
        }
    }
}

fn bootstrap_command(suite: &str, tree: &Path, sources: &[String]) -> Result<LongCommand, Failure> {
    let tree = tree.to_str().ok_or_else(|| {
        Failure::new(format!("cannot build in {}: its name is not UTF-8", tree.display()))
    })?;
    let include = format!("--include={}", PACKAGES.join(","));
    let fixed = ["--variant=minbase", "--mode=root", &include, suite, tree];
    let arguments = fixed.into_iter().chain(sources.iter().map(String::as_str));
    let mut command = LongCommand::new("mmdebstrap", arguments);
    command.environment.insert("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned());
    Ok(command)
}

/// The suite to build: the host's own where it is a Debian.
fn suite(os_release: &str) -> String {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    (value("ID=").as_deref() == Some("debian"))
        .then(|| value("VERSION_CODENAME="))
        .flatten()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "bookworm".to_owned())
}

/// Where packages come from: the host's own mirrors of that suite, so that a box without the
/// internet works too; none at all means mmdebstrap's own choice.
fn sources(suite: &str, os_release: &str, apt: &Path) -> Vec<String> {
    if !os_release.lines().any(|line| line == "ID=debian") {
        return Vec::new();
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(apt.join("sources.list.d"))
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.push(apt.join("sources.list"));
    files.sort();
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    files
        .iter()
        .flat_map(|path| {
            let text = read(path);
            if path.extension() == Some(OsStr::new("sources")) {
                text.split("\n\n").filter_map(|part| stanza(part, suite)).collect::<Vec<_>>()
            } else {
                text.lines().filter_map(|line| one_line(line, suite)).collect()
            }
        })
        .collect()
}

/// A stanza of a deb822 file as lines for `sources.list`, if it is of that suite and of Debian.
fn stanza(stanza: &str, suite: &str) -> Option<String> {
    let value = |key: &str| {
        let mut lines = stanza.lines().filter(|line| !line.starts_with('#'));
        let words = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(words.split_whitespace().collect::<Vec<_>>())
    };
    let disabled = value("Enabled").is_some_and(|words| words == ["no"]);
    if disabled || !value("Types")?.contains(&"deb") {
        return None;
    }
    let components = value("Components")?;
    let key =
        value("Signed-By").filter(|words| words.first().is_some_and(|key| key.starts_with('/')));
    let options = key.map(|words| format!("[signed-by={}] ", words.join(","))).unwrap_or_default();
    let mut lines = Vec::new();
    for uri in value("URIs")? {
        for of in value("Suites")?.into_iter().filter(|of| belongs(of, suite)) {
            lines.push(format!("deb {options}{uri} {of} {}", components.join(" ")));
        }
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// A line of a `sources.list`, if it is of that suite.
fn one_line(line: &str, suite: &str) -> Option<String> {
    let line = line.trim();
    let rest = line.strip_prefix("deb ")?.trim_start();
    let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
    let of = rest.split_whitespace().nth(1)?;
    belongs(of, suite).then(|| line.to_owned())
}

/// Whether a suite is Debian's own of that name: `bookworm`, `bookworm-updates`.
fn belongs(of: &str, suite: &str) -> bool {
    of.strip_prefix(suite)
        .is_some_and(|rest| ["", "-updates", "-security", "/updates"].contains(&rest))
}

/// Reports how far mmdebstrap is until it ends.
async fn follow(tool: &Supervised, report: Report<'_>) -> Result<ExitReport, Failure> {
    let mut stall = Stall::watch(vec![tool.stdout(), tool.stderr()]);
    let mut every = tokio::time::interval(Duration::from_millis(500));
    let wait = tool.wait();
    tokio::pin!(wait);
    loop {
        tokio::select! {
            ending = &mut wait => return ending,
            _ = every.tick() => {
                // Not there yet means nothing said yet.
                report(stage(&file::read_end(tool.stderr()).unwrap_or_default()));
                if stall.is_over(tool) {
                    tool.stop().await?;
                    return Err(Failure::passing(
                        "cannot build debian: mmdebstrap has said nothing for an hour and was \
                         ended; check that the package mirror answers, then relaunch",
                    ));
                }
            }
        }
    }
}

/// How far mmdebstrap is by what it has said.
fn stage(stderr: &str) -> ProgressReport {
    let told = || stderr.lines().rev().filter_map(|line| line.strip_prefix("I: "));
    let known = |line| STAGES.iter().find(|(words, _)| str::starts_with(line, words));
    ProgressReport {
        fraction: told().find_map(known).map(|(_, share)| share * SHARE),
        detail: told().next().map(|line| line.trim_end_matches('.').to_owned()),
        ..ProgressReport::default()
    }
}

/// The last error mmdebstrap or apt names.
fn last_complaint(stderr: &str) -> Option<String> {
    let lines = || stderr.lines().rev().map(str::trim);
    lines()
        .find(|line| line.starts_with("E: ") && !line.contains("apt-get") && !line.contains("run_"))
        .or_else(|| lines().find(|line| line.starts_with("E: ")))
        .or_else(|| lines().find(|line| !line.is_empty()))
        .map(|line| line.trim_start_matches("E: ").to_owned())
}

/// Makes a guest out of a folder of packages. May be done twice.
fn furnish(tree: &Path) -> io::Result<()> {
    for (path, content) in FILES {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(tree))?;
        std::fs::write(path, content)?;
    }
    for (link, target) in SERVICES {
        let link = tree.join(link);
        std::fs::create_dir_all(link.parent().unwrap_or(tree))?;
        atomic_file::remove(&link)?;
        symlink(target, &link)?;
    }
    atomic_file::remove(&tree.join("etc/hostname"))?;
    atomic_file::remove(&tree.join("var/lib/dbus/machine-id"))?;
    // Every guest gets keys of its own, from cloud-init.
    let ssh = tree.join("etc/ssh");
    for entry in std::fs::read_dir(&ssh).into_iter().flatten() {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_")) {
            atomic_file::remove(&path)?;
        }
    }
    Ok(())
}

/// Copies kernel and initial ramdisk out of the tree.
fn take_boot_files(dir: &Path, tree: &Path) -> Result<(), Failure> {
    for (prefix, name) in [("vmlinuz-", "kernel"), ("initrd.img-", "initrd")] {
        let boot = tree.join("boot");
        let mut found: Vec<PathBuf> = std::fs::read_dir(&boot)
            .map_err(|error| Failure::io(format!("read {}", boot.display()), &error))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            })
            .collect();
        found.sort();
        let newest = found.pop().ok_or_else(|| {
            Failure::new(format!("cannot build debian: its packages brought no {prefix}*"))
        })?;
        let partial = dir.join(format!(".{name}.partial"));
        std::fs::copy(&newest, &partial)
            .and_then(|_| atomic_file::publish(&partial, &dir.join(name)))
            .map_err(|error| Failure::io(format!("copy {}", newest.display()), &error))?;
    }
    Ok(())
}

/// Turns the tree into `disk.qcow2.partial`.
async fn make_disk(
    dir: &Path,
    tree: &Path,
    report: Report<'_>,
    log: &CommandLog,
) -> Result<(), Failure> {
    let tell = |fraction, what: &str| {
        report(ProgressReport {
            fraction: Some(fraction),
            detail: Some(what.to_owned()),
            ..ProgressReport::default()
        });
    };
    tell(0.88, "making the filesystem");
    let (raw, disk) = (dir.join("disk.raw.partial"), dir.join("disk.qcow2.partial"));
    let io = |error| Failure::io(format!("write {}", raw.display()), &error);
    atomic_file::remove(&raw).map_err(io)?;
    let file = std::fs::File::create(&raw).map_err(io)?;
    file.set_len(DISK_BYTES).map_err(io)?;
    let os = OsStr::new;
    let options = ["-q", "-F", "-t", "ext4", "-L", FS_LABEL, "-d"].map(os);
    let mke2fs: Vec<&OsStr> = options.into_iter().chain([tree.as_os_str()]).collect();
    let mke2fs: Vec<&OsStr> = mke2fs.into_iter().chain([raw.as_os_str()]).collect();
    process::run_ok(log, "build debian", "mke2fs", &mke2fs).await?;
    tell(0.94, "making the disk");
    let convert: [&OsStr; 7] = [
        os("convert"),
        os("-f"),
        os("raw"),
        os("-O"),
        os("qcow2"),
        raw.as_os_str(),
        disk.as_os_str(),
    ];
    process::run_ok(log, "build debian", "qemu-img", &convert).await?;
    atomic_file::remove(&raw).map_err(io)
}

/// Removes what is left of a tree. What a build that was killed left mounted in it is unmounted
/// first: it would be emptied too.
pub(super) fn remove_tree(tree: &Path) -> Result<(), Failure> {
    mounts::unmount_below(tree)?;
    atomic_file::remove_dir(tree)
        .map_err(|error| Failure::io(format!("remove {}", tree.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_suite_and_mirrors_are_used_where_it_is_a_debian() {
        let debian = "PRETTY_NAME=\"x\"\nVERSION_CODENAME=trixie\nID=debian\n";
        assert_eq!(suite(debian), "trixie");
        assert_eq!(suite("ID=ubuntu\nVERSION_CODENAME=noble\n"), "bookworm");
        assert_eq!(suite(""), "bookworm");

        let apt = tempfile::tempdir().unwrap();
        let parts = apt.path().join("sources.list.d");
        std::fs::create_dir(&parts).unwrap();
        std::fs::write(
            parts.join("debian.sources"),
            "Types: deb deb-src\n# old\nURIs: http://mirror/debian\n\
             Suites: trixie trixie-updates trixie-backports\nComponents: main contrib\n\
             Signed-By: /k.gpg\n\nTypes: deb\nURIs: https://x\nSuites: nodistro\nComponents: \
             main\n",
        )
        .unwrap();
        std::fs::write(
            apt.path().join("sources.list"),
            "# deb http://no/ trixie main\ndeb [arch=amd64] http://s/ trixie-security main\n\
             deb http://other/ sid main\n",
        )
        .unwrap();
        assert_eq!(
            sources("trixie", debian, apt.path()),
            [
                "deb [arch=amd64] http://s/ trixie-security main",
                "deb [signed-by=/k.gpg] http://mirror/debian trixie main contrib\n\
                 deb [signed-by=/k.gpg] http://mirror/debian trixie-updates main contrib",
            ]
        );
        assert_eq!(sources("trixie", "ID=fedora\n", apt.path()), [""; 0]);
    }

    #[test]
    fn mmdebstraps_words_tell_how_far_it_is() {
        let meter = stage("I: reading sources...\nI: extracting archives...\nW: odd\n");
        assert_eq!(meter.fraction, Some(0.2 * SHARE));
        assert_eq!(meter.detail.as_deref(), Some("extracting archives"));
        assert_eq!(stage("").fraction, None);
    }

    #[test]
    fn the_error_that_says_why_is_found() {
        let stderr = "I: running apt-get update...\nErr:1 http://m trixie\n\
            E: Failed to fetch http://m/InRelease  Could not connect\n\
            E: run_chroot failed\nI: removing tempdir\n";
        assert_eq!(
            last_complaint(stderr).unwrap(),
            "Failed to fetch http://m/InRelease  Could not connect"
        );
    }

    #[test]
    fn furnishing_takes_the_hosts_name_away_and_can_be_repeated() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("etc/ssh")).unwrap();
        std::fs::write(tree.path().join("etc/hostname"), "box").unwrap();
        std::fs::write(tree.path().join("etc/ssh/ssh_host_rsa_key"), "secret").unwrap();
        furnish(tree.path()).unwrap();
        furnish(tree.path()).unwrap();
        assert!(!tree.path().join("etc/hostname").exists());
        assert!(!tree.path().join("etc/ssh/ssh_host_rsa_key").exists());
        assert_eq!(std::fs::read_to_string(tree.path().join("etc/machine-id")).unwrap(), "");
        let getty = "etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service";
        assert!(std::fs::read_link(tree.path().join(getty)).is_ok());
    }
}
