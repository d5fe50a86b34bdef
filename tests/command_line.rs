//! The command line: what is understood, what is asked of the backend, what is printed, how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a panic is the report")]

#[path = "support/fake.rs"]
mod fake;

use std::process::ExitCode;
use std::sync::Arc;

use fake::{Asked, Fake};
use hostler::cli::{self, Keyboard, Session, Trouble};
use hostler::domain::*;
use serde_json::{Value as Json, json};

/// A keyboard at which somebody types what the test says.
#[derive(Default)]
struct Typist {
    terminal: bool,
    secrets: Vec<&'static str>,
    lines: Vec<&'static str>,
}

impl Keyboard for Typist {
    fn is_terminal(&self) -> bool {
        self.terminal
    }

    fn secret(&mut self, _prompt: &str) -> std::io::Result<String> {
        Ok(self.secrets.remove(0).to_owned())
    }

    fn line(&mut self) -> std::io::Result<String> {
        Ok(self.lines.remove(0).to_owned())
    }
}

struct Ended {
    out: String,
    err: String,
    status: ExitCode,
}

impl Ended {
    fn json(&self) -> Json {
        assert_eq!(self.out.lines().count(), 1, "one document: {}", self.out);
        serde_json::from_str(&self.out).unwrap()
    }

    #[track_caller]
    fn with(&self, status: u8) -> &Self {
        assert_eq!(self.status, ExitCode::from(status), "{}{}", self.out, self.err);
        self
    }
}

async fn run_as(fake: &Arc<Fake>, line: &str, keyboard: &mut Typist) -> Ended {
    run_typed(fake, line.split_whitespace(), keyboard).await
}

/// Runs a command whose arguments hold spaces.
async fn run_words(fake: &Arc<Fake>, command: &str, words: &[String]) -> Ended {
    let words = std::iter::once(command).chain(words.iter().map(String::as_str));
    run_typed(fake, words, &mut Typist::default()).await
}

async fn run_typed(
    fake: &Arc<Fake>,
    words: impl Iterator<Item = &str>,
    keyboard: &mut Typist,
) -> Ended {
    let words = std::iter::once("hostler").chain(words);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = match cli::parse(&fake.catalogue(), words) {
        Err(error) => Trouble::from(error).tell(&mut err),
        Ok(parsed) => {
            let session = Session {
                backend: fake.clone(),
                actor: "cli:root".into(),
                out: &mut out,
                err: &mut err,
                keyboard,
                columns: None,
                bar: false,
                read_only: parsed.read_only,
            };
            cli::run(parsed.command.unwrap(), session).await
        }
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { out: text(out), err: text(err), status }
}

async fn run(fake: &Arc<Fake>, line: &str) -> Ended {
    run_as(fake, line, &mut Typist::default()).await
}

fn submitted(fake: &Fake) -> Submit {
    match fake.asked().last() {
        Some(Asked::Submit(submit)) => submit.clone(),
        other => panic!("not submitted: {other:?}"),
    }
}

fn detail(operation: Operation) -> Result<Answer> {
    Ok(Answer::Operation(Box::new(OperationDetail { operation, steps: Vec::new() })))
}

#[tokio::test]
async fn fields_become_parameters_of_their_types() {
    let fake = Fake::new();
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
async fn parameters_of_another_kind_take_its_types() {
    let fake = Fake::new();
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
    let fake = Fake::new();
    for (line, said) in [
        ("run disk_create name", "'name' is no field; write it like name=value"),
        ("run disk_create nam=x", "disk_create has no field 'nam'; did you mean name?"),
        ("run disk_create name=x name=y", "name is given twice"),
        ("run disk_create", "disk_create needs name; see hostler run disk_create --help"),
        ("run vm_delete vm=disk/3", "vm is 'disk/3'; it must be a vm, like vm/3"),
        (
            "run vm_create hostname=w os=1 shares=many",
            "shares is 'many'; it must be a whole number",
        ),
        ("run vm_create hostname=w os=1 start=maybe", "start is 'maybe'; it must be yes or no"),
        ("run vm_create hostname=w os=1", "vm_create needs password; give password=- to read it"),
        ("run task_create name=n params.vm=3", "params.… needs kind=KIND"),
        ("run task_create name=n kind=vm_delete params.wm=3", "in params: vm_delete has no field"),
        ("run task_create name=n kind=vm_delet params.vm=3", "did you mean vm_delete?"),
        ("run vm_creat hostname=w", "unrecognized subcommand 'vm_creat'"),
        ("list cats", "invalid value 'cats'"),
        ("list vms --sort colour", "vms have no column 'colour'; there are id, name, state"),
        ("list vms --filter colour:red", "vms have no column 'colour'"),
        ("list vms --filter memory>big", "'big' is no size, like 500MiB"),
        ("list operations --filter created>soon", "'soon' is no time, like 2026-11-20"),
        ("list operations --filter kind>=a", "kind is a text: it takes : != ~ !~"),
        ("list disks --filter state:", "nothing follows 'state:'"),
        ("show 3", "'3' is no resource; write it like vm/3"),
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
    let fake = Fake::new();
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
    let fake = Fake::new();
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

#[tokio::test]
async fn refusals_and_lost_backends_end_with_their_status() {
    let fake = Fake::new();
    let refusal = Refusal::field(Reason::Existence, "vm", "9", "vm/9 does not exist");
    fake.accepted.lock().unwrap().push_back(Err(refusal.into()));
    let ended = run(&fake, "run vm_delete vm=9").await;
    ended.with(1);
    assert_eq!(ended.err, "hostler: vm/9 does not exist\n");

    let message = "could not reach\nthe backend".to_owned();
    fake.will_answer(Err(BackendError::Unreachable { message }));
    let ended = run(&fake, "list vms").await;
    ended.with(3);
    assert_eq!(ended.err, "hostler: could not reach the backend\n");
}

#[tokio::test]
async fn read_only_asks_for_nothing() {
    let fake = Fake::new();
    for line in [
        "run vm_delete vm=9",
        "operation cancel 1",
        "operation relaunch 1",
        "lane pause vm",
        "serial vm/3",
    ] {
        let ended = run(&fake, &format!("--read-only {line}")).await;
        ended.with(1);
        assert!(ended.err.contains("read-only"), "{}", ended.err);
    }
    assert_eq!(fake.asked(), []);
    fake.will_answer(Ok(Answer::Lanes(Vec::new())));
    run(&fake, "--read-only list lanes").await.with(0);
}

#[tokio::test]
async fn lists_are_tables_or_one_document() {
    let fake = Fake::new();
    let page = Answer::Page(Page {
        total: 7,
        offset: 0,
        rows: Rows::Resources(vec![fake::vm(3, "web-3"), fake::vm(12, "日本")]),
    });
    fake.will_answer(Ok(page.clone()));
    let ended = run(&fake, "list vms --filter state:running --sort -memory --limit 2").await;
    ended.with(0);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert!(lines[0].starts_with("ID  NAME   STATE    OS         VCPU  MEMORY"), "{}", ended.out);
    assert!(lines[1].starts_with("3   web-3  running  debian-12  2     1 GiB"), "{}", ended.out);
    assert!(lines[2].starts_with("12  日本   running"), "{}", ended.out);
    assert_eq!(ended.err, "2 of 7; see --limit and --filter\n");
    let Some(Asked::Query(Query::List(list))) = fake.asked().pop() else { panic!() };
    assert_eq!(list.sort, Some(Sort { column: "memory".into(), descending: true }));
    assert_eq!(list.limit, 2);

    fake.will_answer(Ok(page));
    let json = run(&fake, "list vms --json").await.json();
    assert_eq!(json["total"], 7);
    assert_eq!(json["rows"]["resources"][0]["memory_mib"], 1024);
}

#[tokio::test]
async fn what_a_filter_says_is_what_is_asked() {
    let fake = Fake::new();
    for (what, filter, terms) in [
        (
            "disks",
            "size>=1 size<2GiB",
            json!([
                {"not": false, "within": {
                    "column": "size", "from": {"Included": 1.0}, "to": "Unbounded"
                }},
                {"not": false, "within": {
                    "column": "size", "from": "Unbounded", "to": {"Excluded": 2048.0}
                }},
            ]),
        ),
        ("disks", "state!=free", json!([{"not": true, "is": {"column": "state", "text": "free"}}])),
        ("vms", "-web", json!([{"not": true, "word": "web"}])),
        ("operations", "#22", json!([{"not": false, "word": "#22"}])),
    ] {
        let page = Page { total: 0, offset: 0, rows: Rows::Operations(vec![]) };
        fake.will_answer(Ok(Answer::Page(page)));
        let words: Vec<String> = [what, "--filter", filter].map(str::to_owned).into();
        run_words(&fake, "list", &words).await.with(0);
        let Some(Asked::Query(Query::List(list))) = fake.asked().pop() else { panic!("{filter}") };
        assert_eq!(serde_json::to_value(&list.filter).unwrap(), terms);
    }
}

#[tokio::test]
async fn one_thing_is_shown_whole() {
    let fake = Fake::new();
    fake.will_answer(Ok(Answer::Resource(Box::new(fake::vm(3, "web-3")))));
    let ended = run(&fake, "show vm/3").await;
    assert!(ended.with(0).out.starts_with("vm/3 web-3\n"), "{}", ended.out);
    for word in ["memory_mib", "debian-12", "running"] {
        assert!(ended.out.contains(word), "{}", ended.out);
    }
    fake.will_answer(detail(fake::operation(9, State::Error)));
    let ended = run(&fake, "show operation/9").await;
    assert!(ended.with(0).out.contains("the pool is full"), "{}", ended.out);
    assert_eq!(fake.asked().last(), Some(&Asked::Query(Query::Operation { uid: Uid(9) })));
    fake.will_answer(detail(fake::operation(9, State::Done)));
    assert_eq!(run(&fake, "show #9 --json").await.json()["operation"]["state"], "DONE");
}

#[tokio::test]
async fn controls_say_what_they_mean() {
    let fake = Fake::new();
    let lane = |change| Control::Lane { name: "encode".into(), change };
    for (line, control) in [
        ("operation cancel #7", Control::Cancel { uid: Uid(7) }),
        ("operation priority 7 -5", Control::Priority { uid: Uid(7), priority: -5 }),
        (
            "operation relaunch operation/7",
            Control::Relaunch { uid: Uid(7), params: Params::new() },
        ),
        ("lane pause encode", lane(LaneChange::Pause)),
        ("lane resume encode", lane(LaneChange::Resume)),
        ("lane drain encode", lane(LaneChange::Drain)),
        ("lane width encode 3", lane(LaneChange::Width(3))),
    ] {
        run(&fake, line).await.with(0);
        assert_eq!(fake.asked().last(), Some(&Asked::Control(control)), "{line}");
    }
    fake.will_answer(detail(fake::operation(7, State::Error)));
    run(&fake, "operation relaunch 7 shares=2").await.with(0);
    let Some(Asked::Control(Control::Relaunch { params, .. })) = fake.asked().pop() else {
        panic!()
    };
    assert_eq!(Json::Object(params), json!({"shares": 2}));
}

#[tokio::test]
async fn what_a_filter_picks_is_counted_and_asked_about() {
    let page = |uids: std::ops::Range<u64>| {
        let rows = uids.map(|uid| fake::operation(uid, State::Error)).collect::<Vec<_>>();
        let total = rows.len() as u64;
        Ok(Answer::Page(Page { total, offset: 0, rows: Rows::Operations(rows) }))
    };
    let controls = |fake: &Fake| {
        let asked = fake.asked().into_iter();
        asked.filter(|asked| matches!(asked, Asked::Control(_))).count()
    };
    let fake = Fake::new();
    fake.will_answer(page(1..4));
    let ended = run(&fake, "operation cancel --filter kind:encode").await;
    ended.with(2);
    assert!(ended.err.contains("the filter picks 3 operations; add --yes"), "{}", ended.err);
    for answer in ["n", ""] {
        let mut typist = Typist { terminal: true, lines: vec![answer], ..Typist::default() };
        fake.will_answer(page(1..4));
        let ended = run_as(&fake, "operation cancel --filter kind:encode", &mut typist).await;
        ended.with(1);
        assert!(ended.err.starts_with("cancel 3 operations? [y/N] "), "{}", ended.err);
    }
    assert_eq!(controls(&fake), 0);
    let mut typist = Typist { terminal: true, lines: vec!["y"], ..Typist::default() };
    fake.will_answer(page(1..4));
    let ended = run_as(&fake, "operation cancel --filter kind:encode", &mut typist).await;
    assert_eq!(ended.with(0).out, "3 cancelled\n");
    assert_eq!(controls(&fake), 3);

    // Window after window, by number; and what is refused is told, though the others are done.
    let fake = Fake::new();
    fake.will_answer(page(1..10_001));
    fake.will_answer(page(10_001..10_003));
    fake.controlled.lock().unwrap().push_back(Err(BackendError::failed("it has ended")));
    let ended = run(&fake, "operation relaunch --filter age<1d --yes").await;
    ended.with(1);
    assert_eq!(ended.out, "10001 relaunched\n");
    assert!(ended.err.contains("1 of 10002 not relaunched: it has ended"), "{}", ended.err);
    let lists = fake.asked().into_iter().filter_map(|asked| match asked {
        Asked::Query(Query::List(list)) => Some(list),
        _ => None,
    });
    let lists: Vec<List> = lists.collect();
    let last = lists.last().unwrap().filter.terms.last().unwrap();
    assert_eq!(
        serde_json::to_value(last).unwrap()["within"]["from"],
        json!({ "Excluded": 10_000.0 })
    );
    assert!(lists[0].filter.terms.iter().any(|term| {
        term.test == FilterTest::Is { column: "state".into(), text: "ERROR".into() } && !term.not
    }));

    // Several by number need no question; nothing that matches is no error.
    let fake = Fake::new();
    run(&fake, "operation cancel 1 #2 operation/3").await.with(0);
    assert_eq!(controls(&fake), 3);
    fake.will_answer(page(1..1));
    let ended = run(&fake, "operation relaunch --filter kind:encode --yes").await;
    assert!(ended.with(0).err.contains("no operation that matches can be relaunched"));
    for (line, said) in [
        ("operation cancel --filter colour:red --yes", "operations have no column 'colour'"),
        ("operation relaunch 1 2 shares=3", "fields can be changed of one operation at a time"),
        ("operation relaunch x", "'x' is no operation number"),
        ("operation cancel", "required"),
    ] {
        let ended = run(&fake, line).await;
        assert!(ended.with(2).err.contains(said), "{line}: {}", ended.err);
    }
}

#[tokio::test]
async fn a_relaunch_changes_what_is_within_without_naming_the_kind_again() {
    let fake = Fake::new();
    let mut task = fake::operation(7, State::Error);
    task.kind = "task_create".into();
    let within = json!({"hostname": "web-1", "os": "debian-12", "password": Operation::HIDDEN});
    let params = json!({"name": "nightly", "kind": "vm_create", "params": within});
    task.params = params.as_object().unwrap().clone().into();
    let sent = |fake: &Fake| match fake.asked().pop() {
        Some(Asked::Control(Control::Relaunch { params, .. })) => Json::Object(params),
        other => panic!("{other:?}"),
    };

    // A secret is hidden from us too, and cannot be sent back.
    fake.will_answer(detail(task.clone()));
    let refused = run(&fake, "operation relaunch 7 params.shares=3").await;
    assert!(refused.with(2).err.contains("params.password=-"));

    Arc::make_mut(&mut task.params)["params"].as_object_mut().unwrap().remove("password");
    fake.will_answer(detail(task.clone()));
    run(&fake, "operation relaunch 7 params.shares=3").await.with(0);
    let whole = json!({"hostname": "web-1", "os": "debian-12", "shares": 3});
    assert_eq!(sent(&fake), json!({"params": whole}));

    // Another kind has fields of its own.
    fake.will_answer(detail(task));
    run(&fake, "operation relaunch 7 kind=vm_delete params.vm=4").await.with(0);
    assert_eq!(sent(&fake), json!({"kind": "vm_delete", "params": {"vm": 4}}));
}

#[tokio::test]
async fn waiting_ends_when_the_operation_does() {
    let fake = Fake::new();
    fake.will_answer(detail(fake::operation(1, State::Pending)));
    let wait = run(&fake, "run vm_delete vm=3 --wait");
    let story = async {
        // Told once somebody listens.
        while fake.tell(1, Fact::Operation(fake::operation(8, State::Done).into())) == 0 {
            tokio::task::yield_now().await;
        }
        fake.tell(2, Fact::Operation(fake::operation(1, State::Run).into()));
        for percent in 0..100 {
            let phase = "booting".into();
            let fraction = Some(f64::from(percent) / 100.0);
            let progress = Progress { phase, fraction, ..Progress::default() };
            fake.tell(3 + percent as u64, Fact::Progress { uid: Uid(1), progress });
        }
        fake.tell(103, Fact::Operation(fake::operation(1, State::Done).into()));
    };
    let (ended, ()) = tokio::join!(wait, story);
    ended.with(0);
    assert_eq!(ended.out, "#1 vm_create web-3 DONE\n");
    assert!(ended.err.contains("#1 vm_create web-3 RUN booting 50%\n"), "{}", ended.err);
    assert_eq!(ended.err.matches("booting").count(), 10, "in tenths: {}", ended.err);
}

#[tokio::test]
async fn a_failed_operation_fails_the_command_and_says_why() {
    let fake = Fake::new();
    fake.will_answer(detail(fake::operation(1, State::Error)));
    let ended = run(&fake, "operation wait 1").await;
    ended.with(1);
    assert!(
        ended.err.lines().last().unwrap().contains("failed: the pool is full"),
        "{}",
        ended.err
    );

    fake.will_answer(detail(fake::operation(1, State::Cancel)));
    let ended = run(&fake, "operation wait 1 --json").await;
    assert_eq!(ended.with(1).json()["state"], "CANCEL");
}

#[tokio::test]
async fn after_missed_events_the_operation_is_asked_for_again() {
    let fake = Fake::new();
    fake.will_answer(detail(fake::operation(1, State::Run)));
    fake.will_answer(detail(fake::operation(1, State::Done)));
    let story = async {
        while fake.tell(0, Fact::Missed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    let (ended, ()) = tokio::join!(run(&fake, "operation wait 1 --json"), story);
    assert_eq!(ended.with(0).json()["uid"], 1);
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done() {
    let fake = Fake::new();
    let preview = Preview {
        refusal: None,
        effects: vec!["vm/3 is deleted".into()],
        commands: vec!["rm /x".into()],
        space: Some(2048),
    };
    fake.will_answer(Ok(Answer::Preview(preview.clone())));
    let ended = run(&fake, "run vm_delete vm=3 --dry-run").await;
    assert_eq!(ended.with(0).out, "vm/3 is deleted\n$ rm /x\ntakes 2 KiB on disk\n");
    assert!(!fake.asked().iter().any(|asked| matches!(asked, Asked::Submit(_))));

    let refusal = Some(Refusal::new(Reason::State, "vm/3 runs; stop it first"));
    fake.will_answer(Ok(Answer::Preview(Preview { refusal, ..preview })));
    let ended = run(&fake, "run vm_delete vm=3 --dry-run --json").await;
    assert_eq!(ended.with(1).json()["refusal"]["reason"], "state");
    assert_eq!(ended.err, "hostler: vm/3 runs; stop it first\n");
}

#[tokio::test]
async fn watching_prints_one_line_for_each_event() {
    let fake = Fake::new();
    let parsed = cli::parse(&fake.catalogue(), ["hostler", "watch", "--json"]).unwrap();
    // The reader goes away after three lines, which ends the watch.
    let mut out = Head { lines: 3, seen: Vec::new() };
    let mut err = Vec::new();
    let session = Session {
        backend: fake.clone(),
        actor: String::new(),
        out: &mut out,
        err: &mut err,
        keyboard: &mut Typist::default(),
        columns: None,
        bar: false,
        read_only: true,
    };
    let story = async {
        let notice = || Fact::Notice { message: "two\nlines".into() };
        while fake.tell(1, notice()) == 0 {
            tokio::task::yield_now().await;
        }
        for seq in 2..=4 {
            fake.tell(seq, notice());
        }
    };
    let (status, ()) = tokio::join!(cli::run(parsed.command.unwrap(), session), story);
    assert_eq!(status, ExitCode::SUCCESS);
    let text = String::from_utf8(out.seen).unwrap();
    let seqs: Vec<u64> =
        text.lines().map(|line| serde_json::from_str::<Event>(line).unwrap().seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
}

/// A reader that goes away after some lines.
struct Head {
    lines: usize,
    seen: Vec<u8>,
}

impl std::io::Write for Head {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.seen.iter().filter(|&&byte| byte == b'\n').count() == self.lines {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.seen.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A reader that went away.
struct Closed;

impl std::io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_closed_pipe_ends_quietly() {
    let fake = Fake::new();
    fake.will_answer(Ok(Answer::Lanes(Vec::new())));
    let parsed = cli::parse(&fake.catalogue(), ["hostler", "list", "lanes", "--json"]).unwrap();
    let mut err = Vec::new();
    let session = Session {
        backend: fake.clone(),
        actor: String::new(),
        out: &mut Closed,
        err: &mut err,
        keyboard: &mut Typist::default(),
        columns: None,
        bar: false,
        read_only: false,
    };
    assert_eq!(cli::run(parsed.command.unwrap(), session).await, ExitCode::SUCCESS);
    assert!(err.is_empty());
}

#[test]
fn every_kind_is_in_completions_man_page_and_help() {
    let catalogue = fake::catalogue();
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish]
    {
        let mut script = Vec::new();
        cli::complete(&catalogue, shell, &mut script).unwrap();
        let script = String::from_utf8(script).unwrap();
        for spec in &catalogue {
            assert!(script.contains(spec.kind.as_ref()), "{} in {shell}", spec.kind);
        }
    }
    let mut page = Vec::new();
    cli::man(&catalogue, &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    let help = cli::parse(&catalogue, ["hostler", "run", "--help"]).unwrap_err().to_string();
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for spec in &catalogue {
        let heading = format!(".SH HOSTLER RUN {}\n", spec.kind.to_uppercase());
        assert!(page.contains(&heading), "{heading}{page}");
        // Its first sentence, whole.
        let brief = spec.doc.split(". ").next().unwrap_or_default().trim_end_matches('.');
        assert!(words.contains(&format!("{} {brief}", spec.kind)), "{help}");
        let help = cli::parse(&catalogue, ["hostler", "run", &spec.kind, "--help"]).unwrap_err();
        assert!(!help.use_stderr());
        let help = help.to_string();
        for field in &spec.fields {
            let doc = field.doc.as_ref();
            assert!(help.contains(field.name.as_ref()) && help.contains(doc), "{help}");
        }
    }
    cli::command(&catalogue).debug_assert();
}
