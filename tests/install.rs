//! `.ci/install`, with a package database that says what the test wants.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a panic is the report")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Runs the script with our own `dpkg-query`, `apt-cache` and `apt-get` in front of the real ones.
/// `missing` is not installed, `qemu_utils` is the version installed; everything but
/// `reiserfsprogs` can be had in version 7.2. Returns what was said and what apt was asked.
fn install(missing: &str, qemu_utils: &str) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let asked = dir.path().join("asked");
    let tool = |name: &str, body: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    tool(
        "dpkg-query",
        &format!(
            "for last; do :; done\ncase $3 in *Version*) echo '{qemu_utils}'; exit;; esac\n\
             case ' {missing} ' in *\" $last \"*) exit 1;; esac\nprintf installed"
        ),
    );
    tool("apt-cache", "[ $2 = reiserfsprogs ] || echo '  Candidate: 1:7.2'");
    tool("apt-get", &format!("echo \"$@\" >> {}", asked.display()));
    tool("id", "echo 0");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/install");
    tool("cargo", "echo 'cargo 1.99.0 (f2d3ce0bd 2026-03-21)'");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let ended = Command::new(script).arg("run").env("PATH", path).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    (said, std::fs::read_to_string(asked).unwrap_or_default())
}

#[test]
fn a_toolchain_that_will_not_do_is_said_before_anything_is_installed() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/install");
    for (cargo, why) in [
        ("exit 127", "cargo is missing: get Rust 1."),
        ("echo 'cargo 1.65.0'", "cargo 1.65.0 is too old: get Rust 1."),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cargo");
        std::fs::write(&path, format!("#!/bin/sh\n{cargo}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let ended = Command::new(&script).arg("run").env("PATH", path).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success(), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

/// Elsewhere the script only names the packages.
fn on_debian() -> bool {
    Path::new("/usr/bin/dpkg").exists()
}

#[test]
fn nothing_is_asked_when_nothing_is_missing() {
    if on_debian() {
        assert_eq!(install("", "1:7.2"), (String::new(), String::new()));
    }
}

#[test]
fn what_is_missing_is_said_and_installed() {
    if !on_debian() {
        return;
    }
    let (said, asked) = install("ffmpeg mmdebstrap", "1:7.2");
    assert!(said.contains("ffmpeg                 encodings"), "{said}");
    assert_eq!(asked, "update -q\ninstall -y -q --no-install-recommends ffmpeg mmdebstrap\n");
}

#[test]
fn a_newer_qemu_utils_is_put_back_so_that_qemu_can_be_installed() {
    if !on_debian() {
        return;
    }
    let (said, asked) = install("qemu-system-x86", "1:10.0");
    assert!(said.contains("qemu-utils 1:10.0 is newer than what apt has"), "{said}");
    let line = "install -y -q --no-install-recommends --allow-downgrades qemu-system-x86 \
                qemu-utils=1:7.2";
    assert_eq!(asked.lines().last(), Some(line));
    let (_, asked) = install("qemu-system-x86", "1:7.2");
    assert!(!asked.contains("downgrades"), "{asked}");
}

#[test]
fn a_package_that_apt_has_not_does_not_stop_the_others() {
    if !on_debian() {
        return;
    }
    let (said, asked) = install("reiserfsprogs ffmpeg", "1:7.2");
    assert!(said.contains("apt has no reiserfsprogs here"), "{said}");
    assert!(asked.ends_with("--no-install-recommends ffmpeg\n"), "{asked}");
}

#[test]
fn the_linters_are_built_only_where_they_are_missing() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/install");
    for (deny, built) in [("exit 101", true), ("echo 'cargo-deny 0.20.2'", false)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cargo");
        let body = format!("case $1 in deny) {deny};; *) echo 'cargo 1.99.0';; esac");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let mut command = Command::new(&script);
        let ended = command.arg("lint").env("PATH", path).env("DRY_RUN", "1").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{said}");
        assert_eq!(said.contains("+ cargo install --locked"), built, "{said}");
    }
}
