//! Long tools outlive who started them, run once, and are found again.

use std::os::unix::fs::PermissionsExt;

use hostler::backend::drivers::supervise::{
    Doing, ExitReport, LongCommand, Supervised, Supervision,
};

use super::{kill, supervision};

/// A tool that runs until a named pipe in its folder is written to; what it reads is its status.
fn waits() -> LongCommand {
    LongCommand::new("sh", ["-c", "echo x >> started; mkfifo gate; read code < gate; exit $code"])
}

/// Returns when the tool has opened its pipe, and lets it end with `code`.
async fn open(dir: &std::path::Path, code: &'static str) {
    let gate = dir.join("gate");
    tokio::task::spawn_blocking(move || {
        while !gate.exists() {
            std::thread::yield_now();
        }
        std::fs::write(gate, code).unwrap();
    })
    .await
    .unwrap();
}

/// Returns when the tool has started.
async fn started(it: &Supervised, dir: &std::path::Path) {
    while it.members().is_empty() || !dir.join("gate").exists() {
        tokio::task::yield_now().await;
    }
}

fn starts(dir: &std::path::Path) -> usize {
    std::fs::read_to_string(dir.join("started")).unwrap().lines().count()
}

#[tokio::test]
async fn how_a_tool_ends_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let command = LongCommand::new("sh", ["-c", "echo out; echo err >&2; exit 3"]);
    let it = supervision().start_or_adopt(dir.path(), &command).await.unwrap();
    assert_eq!(it.wait().await.unwrap(), ExitReport::Exit(3));
    assert_eq!(std::fs::read_to_string(it.stdout()).unwrap(), "out\n");
    assert_eq!(std::fs::read_to_string(it.stderr()).unwrap(), "err\n");
    assert_eq!(Supervised::at(dir.path()).state(), Doing::Ended(ExitReport::Exit(3)));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let command = LongCommand::new("no-such-tool", [""; 0]);
    let it = supervision().start_or_adopt(dir.path(), &command).await.unwrap();
    let ending = it.wait().await.unwrap();
    assert!(matches!(ending, ExitReport::NotStarted { missing: true, .. }), "{ending:?}");
}

#[tokio::test]
async fn starting_twice_runs_one() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (supervision(), supervision());
    let command = waits();
    let (first, second) = tokio::join!(
        one.start_or_adopt(dir.path(), &command),
        other.start_or_adopt(dir.path(), &command)
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    started(&first, dir.path()).await;
    assert_eq!(first.supervisor(), second.supervisor());
    let third = one.start_or_adopt(dir.path(), &command).await.unwrap();
    open(dir.path(), "0\n").await;
    for it in [first, second, third] {
        assert_eq!(it.wait().await.unwrap(), ExitReport::Exit(0));
    }
    assert_eq!(starts(dir.path()), 1);
    // Done is done: a later start finds it so.
    let late = one.start_or_adopt(dir.path(), &command).await.unwrap();
    assert_eq!(late.wait().await.unwrap(), ExitReport::Exit(0));
    assert_eq!(starts(dir.path()), 1);
}

#[tokio::test]
async fn a_failed_tool_is_started_anew() {
    let dir = tempfile::tempdir().unwrap();
    let job = dir.path().join("job");
    // Written beside the job, whose own folder is emptied.
    let command = LongCommand::new("sh", ["-c", "echo x >> ../started; exit 1"]);
    for _ in 0..2 {
        let it = supervision().start_or_adopt(&job, &command).await.unwrap();
        assert_eq!(it.wait().await.unwrap(), ExitReport::Exit(1));
    }
    assert_eq!(starts(dir.path()), 2);
}

#[tokio::test]
async fn a_tool_whose_supervisor_was_killed_still_counts_as_running() {
    let dir = tempfile::tempdir().unwrap();
    let command = waits();
    let it = supervision().start_or_adopt(dir.path(), &command).await.unwrap();
    started(&it, dir.path()).await;
    kill(it.supervisor().unwrap());
    while it.supervisor().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(it.state(), Doing::Running);
    let tool = it.members()[0];
    let again = supervision().start_or_adopt(dir.path(), &command).await.unwrap();
    assert_eq!(again.members()[0], tool);
    open(dir.path(), "0\n").await;
    assert_eq!(again.wait().await.unwrap(), ExitReport::Vanished);
    assert_eq!(starts(dir.path()), 1);
}

/// A hostler that does this instead of supervising.
fn instead(dir: &std::path::Path, does: &str) -> Supervision {
    let program = dir.join("hostler");
    std::fs::write(&program, format!("#!/bin/sh\n{does}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Supervision::by(program)
}

#[tokio::test]
async fn a_supervisor_killed_before_its_first_word_is_no_other_than_one_killed_later() {
    let dir = tempfile::tempdir().unwrap();
    let (job, command) = (dir.path().join("job"), LongCommand::new("true", [""; 0]));
    let killed = instead(dir.path(), "kill -9 $$");
    let it = killed.start_or_adopt(&job, &command).await.unwrap();
    assert_eq!(it.wait().await.unwrap(), ExitReport::Vanished);
    let broken = instead(dir.path(), "exit 3");
    let failure = broken.start_or_adopt(&job, &command).await.unwrap_err();
    assert!(failure.message.contains("it ended at once"), "{failure}");
    let it = supervision().start_or_adopt(&job, &command).await.unwrap();
    assert_eq!(it.wait().await.unwrap(), ExitReport::Exit(0));
}

#[tokio::test]
async fn a_supervisor_that_was_not_handed_the_lock_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (job, command) = (dir.path().join("job"), LongCommand::new("touch", ["made"]));
    let away = instead(dir.path(), "exec 0</dev/null; exit 0");
    away.start_or_adopt(&job, &command).await.unwrap_err();
    let by_hand = std::process::Command::new(env!("CARGO_BIN_EXE_hostler"))
        .arg("supervise")
        .arg(&job)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(!by_hand.status.success());
    let said = String::from_utf8(by_hand.stdout).unwrap();
    assert!(said.contains("was not handed over"), "{said}");
    assert!(!job.join("made").exists() && !job.join("pid").exists());
}

#[tokio::test]
async fn the_folder_of_a_tool_at_work_is_not_emptied_by_another_start() {
    let dir = tempfile::tempdir().unwrap();
    let (job, outer) = (dir.path().join("job"), dir.path().join("outer"));
    let mut command = waits();
    command.outer_dir = Some(outer.clone());
    let it = supervision().start_or_adopt(&job, &command).await.unwrap();
    started(&it, &outer).await;
    kill(it.supervisor().unwrap());
    // Whoever does not know the tool must end it before anything of it is removed.
    let tool = it.members()[0];
    let other = LongCommand::new("true", [""; 0]);
    let it = supervision().start_or_adopt(&job, &other).await.unwrap();
    // One that is dead and not yet buried has no command line either.
    assert!(std::fs::read(format!("/proc/{tool}/cmdline")).unwrap_or_default().is_empty());
    assert!(!outer.exists() && !job.join("gate").exists());
    assert_eq!(it.wait().await.unwrap(), ExitReport::Exit(0));
    it.remove().await.unwrap();
    it.remove().await.unwrap();
    assert!(!job.exists());
}

#[tokio::test]
async fn what_takes_the_place_of_the_folder_outside_is_neither_written_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let script = "mkfifo gate; read code < gate; echo made > made";
    let mut command = LongCommand::new("sh", ["-c", script]);
    command.outer_dir = Some(at("outer"));
    let it = supervision().start_or_adopt(&at("job"), &command).await.unwrap();
    started(&it, &at("outer")).await;
    // Whoever may write to the folder around it can do this.
    std::fs::rename(at("outer"), at("moved")).unwrap();
    std::fs::create_dir_all(at("precious/inside")).unwrap();
    std::fs::rename(at("precious"), at("outer")).unwrap();
    std::fs::write(at("moved/gate"), "0\n").unwrap();
    assert_eq!(it.wait().await.unwrap(), ExitReport::Exit(0));
    assert!(at("moved/made").exists() && !at("outer/made").exists());
    assert!(it.outer_folder().is_none());
    it.remove().await.unwrap();
    assert!(at("outer/inside").exists() && !at("job").exists());
}

/// It holds the number of the supervisor, and the folder outside is the same.
#[tokio::test]
async fn a_copy_of_a_job_neither_ends_the_original_nor_removes_what_that_writes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut command = LongCommand::new("sh", ["-c", "mkfifo gate; read code < gate; echo > made"]);
    command.outer_dir = Some(at("outer"));
    let it = supervision().start_or_adopt(&at("job"), &command).await.unwrap();
    started(&it, &at("outer")).await;
    let mut cp = std::process::Command::new("cp");
    assert!(cp.arg("-a").args([at("job"), at("copy")]).status().unwrap().success());
    let copy = Supervised::at(&at("copy"));
    assert_eq!(copy.state(), Doing::Ended(ExitReport::Vanished));
    assert_eq!((copy.supervisor(), copy.members()), (None, Vec::new()));
    copy.stop().await.unwrap();
    copy.remove().await.unwrap();
    assert!(!at("copy").exists() && at("outer/gate").exists());
    std::fs::write(at("outer/gate"), "0\n").unwrap();
    assert_eq!(it.wait().await.unwrap(), ExitReport::Exit(0));
    assert!(it.outer_folder().is_some() && at("outer/made").exists());
    // Nor what it has made by now, when nobody is at work any more.
    let mut cp = std::process::Command::new("cp");
    assert!(cp.arg("-a").args([at("job"), at("copy")]).status().unwrap().success());
    assert!(copy.outer_folder().is_none());
    copy.remove().await.unwrap();
    assert!(!at("copy").exists() && at("outer/made").exists());
    it.remove().await.unwrap();
    assert!(!at("job").exists() && !at("outer").exists());
}

#[tokio::test]
async fn a_pipe_in_the_place_of_what_is_read_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let it = supervision().start_or_adopt(dir.path(), &waits()).await.unwrap();
    started(&it, dir.path()).await;
    let tool = it.members();
    for name in ["command.json", "outer.json", "exit", "pid"] {
        let pipe = dir.path().join(name);
        let before = std::fs::read(&pipe).ok();
        let _absent = std::fs::remove_file(&pipe);
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (told, heard) = std::sync::mpsc::channel();
        let looked = it.clone();
        // On a thread of its own, for whoever opens a pipe hears of nothing else.
        std::thread::spawn(move || {
            let _nothing_there = (looked.outer_at_work(), looked.outer_folder());
            told.send((looked.state(), looked.members(), looked.command())).unwrap();
        });
        let found = heard.recv_timeout(std::time::Duration::from_secs(60)).expect("it waits");
        let (state, members, command) = found;
        assert_eq!(state, Doing::Running, "{name}");
        assert_eq!(members, if name == "pid" { Vec::new() } else { tool.clone() }, "{name}");
        assert_eq!(command.is_some(), name != "command.json", "{name}");
        std::fs::remove_file(&pipe).unwrap();
        if let Some(before) = before {
            std::fs::write(&pipe, before).unwrap();
        }
    }
    it.stop().await.unwrap();
    it.remove().await.unwrap();
    assert!(!dir.path().exists());
}

#[tokio::test]
async fn stopping_ends_a_supervisor_that_was_halted() {
    for tool_ended in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let it = supervision().start_or_adopt(dir.path(), &waits()).await.unwrap();
        started(&it, dir.path()).await;
        let supervisor = it.supervisor().unwrap().to_string();
        let mut halt = std::process::Command::new("kill");
        assert!(halt.args(["-STOP", &supervisor]).status().unwrap().success());
        if tool_ended {
            open(dir.path(), "0\n").await;
            while !it.members().is_empty() {
                tokio::task::yield_now().await;
            }
        }
        it.stop().await.unwrap();
        assert_eq!((it.supervisor(), it.members()), (None, Vec::new()));
        let ending = if tool_ended { ExitReport::Exit(0) } else { ExitReport::Signal(15) };
        assert_eq!(it.state(), Doing::Ended(ending));
    }
}

#[tokio::test]
async fn stopping_ends_the_tool_and_its_children_even_when_paused() {
    let dir = tempfile::tempdir().unwrap();
    let command = LongCommand::new("sh", ["-c", "sleep 1000 & mkfifo gate; read code < gate"]);
    let it = supervision().start_or_adopt(dir.path(), &command).await.unwrap();
    started(&it, dir.path()).await;
    let members = it.members();
    assert!(members.len() >= 2, "{members:?}");
    it.pause();
    it.stop().await.unwrap();
    assert_eq!(it.members(), [0; 0]);
    assert_eq!(it.state(), Doing::Ended(ExitReport::Signal(15)));
    it.stop().await.unwrap();
}

#[tokio::test]
async fn stopping_ends_what_the_tool_left_behind_too() {
    let dir = tempfile::tempdir().unwrap();
    // The child does not hear SIGTERM; its parent does, and is gone before it.
    let does = "(trap '' TERM; : > deaf; exec sleep 1000) & until [ -e deaf ]; do :; done; \
        mkfifo gate; read code < gate";
    let command = LongCommand::new("sh", ["-c", does]);
    let it = supervision().start_or_adopt(dir.path(), &command).await.unwrap();
    started(&it, dir.path()).await;
    it.stop().await.unwrap();
    assert_eq!(it.members(), [0; 0]);
    assert_eq!(it.state(), Doing::Ended(ExitReport::Signal(15)));
}

#[tokio::test]
async fn another_command_takes_the_place_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let it = supervision().start_or_adopt(dir.path(), &waits()).await.unwrap();
    started(&it, dir.path()).await;
    let other = LongCommand::new("true", [""; 0]);
    let it = supervision().start_or_adopt(dir.path(), &other).await.unwrap();
    assert_eq!(it.wait().await.unwrap(), ExitReport::Exit(0));
}
