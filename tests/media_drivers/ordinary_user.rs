//! What somebody who is not root can do, and is told.

use std::path::Path;
use std::process::{Command, Output};

/// The number of a user that owns nothing: `nobody`.
const NOBODY: &str = "65534";

/// Runs the hostler in `dir` as nobody.
fn as_nobody(dir: &Path, arguments: &[&str]) -> Output {
    Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .arg(dir.join("hostler"))
        .arg("--state")
        .arg(dir.join("state"))
        .args(arguments)
        .env("HOME", dir)
        .output()
        .unwrap()
}

#[test]
fn building_debian_is_refused_with_what_to_do_and_leaves_no_image() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become somebody else");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_hostler"), dir.path().join("hostler")).unwrap();
    let given = Command::new("chown").arg("-R").arg(NOBODY).arg(dir.path()).status().unwrap();
    assert!(given.success());

    let asked = as_nobody(dir.path(), &["run", "image_build", "recipe=debian", "--wait"]);
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(!asked.status.success() && said.contains("building debian needs root"), "{said}");
    assert!(said.contains("image_fetch"), "{said}");
    let images = as_nobody(dir.path(), &["list", "images", "--json"]);
    let listed = String::from_utf8_lossy(&images.stdout);
    assert!(images.status.success() && !listed.contains("being_created"), "{images:?}");
}
