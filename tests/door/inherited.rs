//! What the caller of hostler has open is not for what outlives hostler.

use std::fs::File;
use std::process::Stdio;

use rustix::io::{FdFlags, fcntl_setfd};

use super::hostler::Sandbox;
use super::{begin, end};

/// Whether a process has a file open.
fn has_open(pid: u32, file: &std::path::Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("what it has open");
    open.flatten().any(|open| std::fs::read_link(open.path()).is_ok_and(|open| open == file))
}

#[test]
fn what_a_caller_has_open_is_not_kept_open_by_what_outlives_hostler() {
    let place = Sandbox::new();
    let path = place.dir().canonicalize().expect("its path").join("config.toml");
    std::fs::write(&path, "").expect("a file");
    let file = File::open(&path).expect("a file");
    let task = ["run", "task_create", "name=t", "kind=disk_create", "params.name=a"];
    let mut create = place.command();
    create.args(task).args(["params.size_mb=2", "hour=3", "--wait"]);
    create.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    fcntl_setfd(&file, FdFlags::empty()).expect("inherited");
    let child = create.spawn().expect("it runs");
    fcntl_setfd(&file, FdFlags::CLOEXEC).expect("not inherited");
    assert!(has_open(child.id(), &path), "what is started has it");
    let output = end(child);
    assert!(output.status.success(), "{output:?}");
    place.wait("it has gone to the background", || place.backends().len() == 1);
    assert!(!has_open(place.backends()[0], &path));
    let stopped = end(begin(&place, &["stop"]));
    assert!(stopped.status.success(), "{stopped:?}");
}
