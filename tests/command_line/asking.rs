//! `hostler run`: how fields are written, what is refused before it is asked for, and secrets.

use hostler::cli;
use hostler::domain::*;
use serde_json::{Value as Json, json};

use super::fake::{self, Asked, ScriptedBackend};
use super::{Typist, run, run_as};

fn submitted(fake: &ScriptedBackend) -> Submit {
    match fake.asked().last() {
        Some(Asked::Submit(submit)) => submit.clone(),
        other => panic!("not submitted: {other:?}"),
    }
}

#[tokio::test]
async fn fields_become_parameters_of_their_types() {
    let fake = ScriptedBackend::new();
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    std::fs::write(&keys, "ssh-ed25519 AAA one\n\nssh-ed25519 BBB two\n").unwrap();
    let mut typist = Typist { lines: vec!["correct horse"], ..Typist::default() };
    let line = format!(
        "run vm_create hostname=web-3 password=- os=image/2 shares=4 start=no ssh_keys=@{} \
         ssh_keys=three --priority -3",
        keys.display()
    );
    let ended = run_as(&fake, &line, &mut typist).await;
    ended.with(0);
    assert_eq!(ended.out, "#1 vm_create accepted\n");
    let submit = submitted(&fake);
    assert_eq!(submit.actor, "cli:root");
    assert_eq!(submit.priority, -3);
    assert_eq!(
        Json::Object(submit.params),
        json!({
            "hostname": "web-3", "password": "correct horse", "os": 2, "shares": 4,
            "start": false,
            "ssh_keys": ["ssh-ed25519 AAA one", "ssh-ed25519 BBB two", "three"],
        })
    );

    run(&fake, "run vm_delete vm=web-3").await.with(0);
    assert_eq!(submitted(&fake).params["vm"], "web-3", "a name is for the backend to find");
    run(&fake, "run vm_delete vm=3").await.with(0);
    assert_eq!(submitted(&fake).params["vm"], 3);
}

#[tokio::test]
async fn a_size_may_be_written_with_a_unit_of_its_own() {
    let fake = ScriptedBackend::new();
    run(&fake, "run disk_create name=data size_mb=1.5G").await.with(0);
    assert_eq!(submitted(&fake).params["size_mb"], 1536);
    for (kind, may) in [("disk_create", true), ("vm_create", false)] {
        let mut command = cli::command(&fake::catalogue());
        let kind = command.find_subcommand_mut("run").unwrap().find_subcommand_mut(kind).unwrap();
        let help = kind.render_long_help().to_string();
        assert_eq!(help.contains("MiB, or a size like 512M or 2G"), may, "{help}");
    }
}

#[tokio::test]
async fn parameters_of_another_kind_take_its_types() {
    let fake = ScriptedBackend::new();
    let line = "run task_create name=nightly kind=vm_delete params.vm=vm/3 minute=*";
    run(&fake, line).await.with(0);
    assert_eq!(
        Json::Object(submitted(&fake).params),
        json!({"name": "nightly", "kind": "vm_delete", "minute": "*", "params": {"vm": 3}})
    );
    run(&fake, r#"run task_create name=n kind=vm_delete params={"vm":4}"#).await.with(0);
    assert_eq!(submitted(&fake).params["params"], json!({"vm": 4}));
}

#[tokio::test]
async fn what_is_written_wrongly_is_one_sentence_and_asks_nothing() {
    let fake = ScriptedBackend::new();
    for (line, said) in [
        ("run disk_create name", "what is given as field 1 is none; write it like name=value"),
        ("run disk_create nam=x", "disk_create has no field 'nam'; did you mean name?"),
        ("run disk_create name=x name=y", "name is given twice"),
        ("run disk_create", "disk_create needs name; see hostler run disk_create --help"),
        ("run vm_delete vm=disk/3", "vm is 'disk/3'; it must be a vm, like vm/3"),
        (
            "run vm_create hostname=w os=1 shares=many",
            "shares is 'many'; it must be a whole number",
        ),
        (
            "run disk_create name=x size_mb=1.7M",
            "size_mb is '1.7M'; it must be a whole number of MiB, or a size that is one, like 512M",
        ),
        ("run vm_create hostname=w os=1 start=maybe", "start is 'maybe'; it must be yes or no"),
        ("run vm_create hostname=w os=1", "vm_create needs password; give password=- to read it"),
        ("run task_create name=n params.vm=3", "params.… needs kind=KIND"),
        ("run task_create name=n kind=vm_delete params.wm=3", "in params: vm_delete has no field"),
        ("run task_create name=n kind=vm_delet params.vm=3", "did you mean vm_delete?"),
        ("run vm_creat hostname=w", "unrecognized subcommand 'vm_creat'"),
        ("list cats", "invalid value 'cats'"),
        ("list vms --sort colour", "vms have no column 'colour'; there are id, name, state"),
        ("list vms --sort -nam", "vms have no column 'nam'; did you mean name?"),
        ("list vms --filter colour:red", "vms have no column 'colour'"),
        ("list vms --filter memory>big", "'big' is no size, like 500MiB"),
        ("list operations --filter created>soon", "'soon' is no time, like 2026-11-20"),
        ("list operations --filter kind>=a", "kind is a text: it takes : != ~ !~"),
        ("list disks --filter state:", "nothing follows 'state:'"),
        ("list vms --filter state:runing", "'runing' is no state; did you mean running? there are"),
        (
            "list operations --filter kind:vm_craete",
            "'vm_craete' is no kind; did you mean vm_create? there are",
        ),
        ("operation cancel --filter state:eror", "'eror' is no state; did you mean ERROR?"),
        ("show cat/3", "'cat' is no resource; there are vm"),
        ("operation cancel x", "'x' is no operation number"),
        ("lane width vm 99", "99 is not in 1..=64"),
        ("serial disk/1", "disk/1 has no serial line"),
        ("--nonsense", "unexpected argument '--nonsense'"),
    ] {
        let ended = run(&fake, line).await;
        ended.with(2);
        assert!(ended.err.contains(said), "{line}: {}", ended.err);
        assert!(ended.err.starts_with("hostler: "), "{}", ended.err);
        assert_eq!((ended.out.as_str(), ended.err.lines().count()), ("", 1), "{}", ended.err);
    }
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_secret_on_the_command_line_is_refused_without_repeating_it() {
    let fake = ScriptedBackend::new();
    let ended = run(&fake, "run vm_create hostname=w os=1 password=hunter22").await;
    ended.with(2);
    assert!(
        ended.err.contains("process list") && ended.err.contains("password=-"),
        "{}",
        ended.err
    );
    assert!(!ended.err.contains("hunter22"));

    let line = r#"run task_create name=n kind=vm_create params={"password":"hunter22"}"#;
    let ended = run(&fake, line).await;
    ended.with(2);
    assert!(ended.err.contains("params.password=-"), "{}", ended.err);
    assert!(!ended.err.contains("hunter22"));

    let line =
        "run task_create name=n kind=vm_create params.hostname=w params.os=1 params.password=x";
    let ended = run(&fake, line).await;
    ended.with(2);
    assert!(ended.err.contains("process list"), "{}", ended.err);
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn a_missing_secret_is_asked_for_twice_on_a_terminal() {
    let fake = ScriptedBackend::new();
    let line = "run vm_create hostname=w os=1";
    let mut typist =
        Typist { terminal: true, secrets: vec!["one two", "one two"], ..Typist::default() };
    run_as(&fake, line, &mut typist).await.with(0);
    assert_eq!(submitted(&fake).params["password"], "one two");
    let mut typist = Typist { terminal: true, secrets: vec!["one", "two"], ..Typist::default() };
    let ended = run_as(&fake, line, &mut typist).await;
    ended.with(2);
    assert!(ended.err.contains("not typed the same twice"), "{}", ended.err);
}

/// What a request would do depends on none.
#[tokio::test]
async fn a_dry_run_asks_nobody_for_a_secret() {
    let fake = ScriptedBackend::new();
    fake.will_answer(Ok(Answer::Preview(Preview::default())));
    // This one panics when it is asked.
    let mut typist = Typist { terminal: true, ..Typist::default() };
    run_as(&fake, "run vm_create hostname=w os=1 --dry-run", &mut typist).await.with(0);
    assert!(matches!(fake.asked().last(), Some(Asked::Query(Query::Preview(_)))));
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done() {
    let fake = ScriptedBackend::new();
    let preview = Preview {
        refusal: None,
        effects: vec!["vm/3 is deleted".into()],
        commands: vec!["rm /x".into()],
        space: Some(2048),
    };
    fake.will_answer(Ok(Answer::Preview(preview.clone())));
    let ended = run(&fake, "run vm_delete vm=3 --dry-run").await;
    assert_eq!(ended.with(0).out, "vm/3 is deleted\n$ rm /x\ntakes 2.0 KiB on disk\n");
    assert!(!fake.asked().iter().any(|asked| matches!(asked, Asked::Submit(_))));

    let refusal = Some(Refusal::new(Reason::State, "vm/3 runs; stop it first"));
    fake.will_answer(Ok(Answer::Preview(Preview { refusal, ..preview })));
    let ended = run(&fake, "run vm_delete vm=3 --dry-run --json").await;
    assert_eq!(ended.with(1).json()["refusal"]["reason"], "state");
    assert_eq!(ended.err, "hostler: vm/3 runs; stop it first\n");
}

#[tokio::test]
async fn what_may_go_wrong_is_said_beside_the_answer() {
    let fake = ScriptedBackend::new();
    let warnings = vec!["The box has only 1.0 GiB left.".to_owned()];
    let accepted = Accepted { uid: Uid(7), warnings, ..Accepted::default() };
    fake.accepted.lock().unwrap().push_back(Ok(accepted));
    let ended = run(&fake, "run vm_delete vm=3").await;
    ended.with(0);
    assert_eq!(ended.out, "#7 vm_delete accepted\n");
    assert_eq!(ended.err, "hostler: The box has only 1.0 GiB left.\n");
}
