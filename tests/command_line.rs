//! The command line: what is understood, what is asked of the backend, what is printed, and how it
//! ends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a panic is the report")]

#[path = "command_line/asking.rs"]
mod asking;
#[path = "support/fake.rs"]
mod fake;
#[path = "command_line/nested.rs"]
mod nested;
#[path = "command_line/operations.rs"]
mod operations;
#[path = "command_line/telling.rs"]
mod telling;

use std::process::ExitCode;
use std::sync::Arc;

use fake::{Asked, ScriptedBackend};
use hostler::cli::{self, CliContext, CliError, Keyboard};
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

struct CommandOutput {
    out: String,
    err: String,
    status: ExitCode,
}

impl CommandOutput {
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

async fn run_as(fake: &Arc<ScriptedBackend>, line: &str, keyboard: &mut Typist) -> CommandOutput {
    run_typed(fake, line.split_whitespace(), keyboard).await
}

/// Runs a command whose arguments hold spaces.
async fn run_words(fake: &Arc<ScriptedBackend>, command: &str, words: &[String]) -> CommandOutput {
    let words = std::iter::once(command).chain(words.iter().map(String::as_str));
    run_typed(fake, words, &mut Typist::default()).await
}

async fn run_typed(
    fake: &Arc<ScriptedBackend>,
    words: impl Iterator<Item = &str>,
    keyboard: &mut Typist,
) -> CommandOutput {
    let words = std::iter::once("hostler").chain(words);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = match cli::parse(&fake.catalogue(), words) {
        Err(error) => CliError::from(error).report(&mut err),
        Ok(parsed) => {
            let session = CliContext {
                backend: fake.clone(),
                actor: "cli:root".into(),
                out: &mut out,
                err: &mut err,
                keyboard,
                columns: None,
                bar: false,
                read_only: parsed.read_only,
                nothing_because: None,
            };
            cli::run(parsed.command.unwrap(), session).await
        }
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CommandOutput { out: text(out), err: text(err), status }
}

async fn run(fake: &Arc<ScriptedBackend>, line: &str) -> CommandOutput {
    run_as(fake, line, &mut Typist::default()).await
}

fn detail(operation: Operation) -> Result<Answer> {
    Ok(Answer::Operation(Box::new(OperationDetail {
        operation,
        steps: Vec::new(),
        children: Vec::new(),
        more_children: 0,
    })))
}

#[tokio::test]
async fn what_is_given_for_no_field_is_not_repeated() {
    let fake = ScriptedBackend::new();
    for line in [
        "run vm_create hostname=w os=1 pasword=hunter22",
        "run vm_create hostname=w os=1 pasword=hunter22 --dry-run",
        "run vm_create hostname=w os=1 hunter22",
        "run vm_create hostname=w os=1 --password=hunter22",
        "run task_create name=n kind=vm_create params.pasword=hunter22",
        "operation relaunch 7 hunter22",
        "operation relaunch hunter22 shares=2",
    ] {
        fake.will_answer(Ok(Answer::Lanes(Vec::new())));
        let ended = run(&fake, line).await;
        assert!(!ended.err.contains("hunter22"), "{line}: {}", ended.err);
        assert!(!ended.out.contains("hunter22"), "{line}: {}", ended.out);
    }
}

#[tokio::test]
async fn nothing_that_is_shown_moves_the_cursor_or_turns_the_line() {
    let evil = "a\u{1b}[2J\u{9b}m\u{202e}b\u{200b}";
    let shown = "a\u{fffd}[2J\u{fffd}m\u{fffd}b\u{fffd}";
    let fake = ScriptedBackend::new();
    fake.will_answer(Ok(Answer::Page(Page {
        total: 1,
        offset: 0,
        rows: Rows::Resources(vec![fake::vm(3, evil)]),
    })));
    let ended = run(&fake, "list vms").await;
    assert!(ended.with(0).out.contains(shown), "{:?}", ended.out);
    let mut preview = Preview {
        refusal: None,
        effects: vec![evil.to_owned()],
        commands: vec![evil.to_owned()],
        space: None,
    };
    fake.will_answer(Ok(Answer::Preview(preview.clone())));
    let ended = run(&fake, "run vm_delete vm=3 --dry-run").await;
    assert_eq!(ended.with(0).out, format!("{shown}\n$ {shown}\n"));
    // What is refused does none of it.
    preview.refusal = Some(Refusal::new(Reason::State, evil));
    fake.will_answer(Ok(Answer::Preview(preview)));
    let ended = run(&fake, "run vm_delete vm=3 --dry-run").await;
    assert_eq!((ended.with(1).out.as_str(), &ended.err), ("", &format!("hostler: {shown}\n")));
    // A program gets it as it is.
    fake.will_answer(Ok(Answer::Page(Page {
        total: 1,
        offset: 0,
        rows: Rows::Resources(vec![fake::vm(3, evil)]),
    })));
    let json = run(&fake, "list vms --json").await.json();
    assert_eq!(json["rows"]["resources"][0]["name"], evil);
}

#[tokio::test]
async fn every_reason_has_its_status() {
    let reasons = [
        (Reason::Type, 2),
        (Reason::Syntax, 2),
        (Reason::Value, 2),
        (Reason::Existence, 1),
        (Reason::Privileges, 1),
        (Reason::State, 1),
        (Reason::OperationPending { uid: Uid(7) }, 1),
    ];
    let message = || "so it is".to_owned();
    let errors = reasons
        .map(|(reason, status)| (BackendError::Refused(Refusal::new(reason, "no")), status))
        .into_iter()
        .chain([
            (BackendError::not_found("vm/9"), 1),
            (BackendError::Failed { message: message() }, 1),
            (BackendError::Unreachable { message: message() }, 3),
        ]);
    for (error, status) in errors {
        let fake = ScriptedBackend::new();
        fake.accepted.lock().unwrap().push_back(Err(error.clone()));
        run(&fake, "run vm_delete vm=9").await.with(status);
        fake.controlled.lock().unwrap().push_back(Err(error.clone()));
        run(&fake, "operation cancel 9").await.with(status);
        fake.will_answer(Err(error));
        run(&fake, "list vms").await.with(status);
    }
}

#[tokio::test]
async fn refusals_and_lost_backends_end_with_their_status() {
    let fake = ScriptedBackend::new();
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
    let fake = ScriptedBackend::new();
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
    let fake = ScriptedBackend::new();
    let page = Answer::Page(Page {
        total: 7,
        offset: 0,
        rows: Rows::Resources(vec![fake::vm(3, "web-3"), fake::vm(12, "日本")]),
    });
    fake.will_answer(Ok(page.clone()));
    let ended = run(&fake, "list vms --filter state:running --sort -memory --limit 2").await;
    ended.with(0);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert!(
        lines[0].starts_with("ID  NAME   STATE    CPU  MEMORY   RESIDENT  VCPU  OS"),
        "{}",
        ended.out
    );
    assert!(
        lines[1].starts_with("3   web-3  running  —    1.0 GiB  —         2     debian-12"),
        "{}",
        ended.out
    );
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
    let fake = ScriptedBackend::new();
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
async fn a_filter_that_says_nothing_picks_nothing_to_do_something_to() {
    let fake = ScriptedBackend::new();
    for filter in ["", "  ", "\"", "name~\"q8"] {
        for (command, words) in [
            ("operation", ["cancel", "--filter", filter, "--yes"]),
            ("operation", ["relaunch", "--filter", filter, "--yes"]),
            ("run", ["vm_delete", "--for", filter, "--yes"]),
        ] {
            let ended = run_words(&fake, command, &words.map(str::to_owned)).await;
            ended.with(2);
            let told = ["the filter says nothing", "a quote in the filter is not closed"];
            assert!(told.iter().any(|told| ended.err.contains(told)), "{filter}: {}", ended.err);
        }
    }
    assert!(fake.asked().is_empty(), "nothing was asked for");
}

#[tokio::test]
async fn one_thing_is_shown_whole() {
    let fake = ScriptedBackend::new();
    fake.will_answer(Ok(Answer::Resource(Box::new(fake::vm(3, "web-3")))));
    fake.will_answer(telling::page(vec![]));
    let ended = run(&fake, "show vm/3").await;
    assert!(ended.with(0).out.starts_with("vm/3 web-3\n"), "{}", ended.out);
    for word in ["memory           1.0 GiB", "debian-12", "running", "vcpu             2"] {
        assert!(ended.out.contains(word), "{}", ended.out);
    }
    fake.will_answer(detail(fake::operation(9, State::Error)));
    let ended = run(&fake, "show operation/9").await;
    assert!(ended.with(0).out.contains("the pool is full"), "{}", ended.out);
    assert_eq!(fake.asked().last(), Some(&Asked::Query(Query::Operation { uid: Uid(9) })));
    fake.will_answer(detail(fake::operation(9, State::Done)));
    assert_eq!(run(&fake, "show #9 --json").await.json()["operation"]["state"], "DONE");
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
    let fake = ScriptedBackend::new();
    fake.will_answer(Ok(Answer::Lanes(Vec::new())));
    let parsed = cli::parse(&fake.catalogue(), ["hostler", "list", "lanes", "--json"]).unwrap();
    let mut err = Vec::new();
    let session = CliContext {
        backend: fake.clone(),
        actor: String::new(),
        out: &mut Closed,
        err: &mut err,
        keyboard: &mut Typist::default(),
        columns: None,
        bar: false,
        read_only: false,
        nothing_because: None,
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

#[tokio::test]
async fn a_key_is_asked_with_and_an_outcome_is_told() {
    let fake = ScriptedBackend::new();
    run(&fake, "run vm_delete vm=3 --key nightly-7").await.with(0);
    let Some(Asked::Submit(submit)) = fake.asked().pop() else { panic!("nothing was asked for") };
    assert_eq!(submit.key.as_deref(), Some("nightly-7"));

    let made = Operation {
        outcome: Some(Outcome::new("made 3 \u{1b}things", json!({ "things": 3 }))),
        ..fake::operation(1, State::Done)
    };
    fake.will_answer(detail(made.clone()));
    let ended = run(&fake, "run vm_delete vm=3 --wait").await;
    ended.with(0);
    assert_eq!(ended.out, "#1 vm_create web-3 DONE: made 3 \u{fffd}things\n");
    fake.will_answer(detail(made.clone()));
    let ended = run(&fake, "run vm_delete vm=3 --wait --json").await;
    ended.with(0);
    let told: Json = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(told["outcome"]["data"]["things"], 3);
    fake.will_answer(detail(made.clone()));
    let shown = run(&fake, "show operation/1").await.out;
    assert!(
        shown.contains("outcome          made 3 \u{fffd}things\n    things         3"),
        "{shown}"
    );
    let rows = Rows::Operations(vec![made]);
    fake.will_answer(Ok(Answer::Page(Page { total: 1, offset: 0, rows })));
    let listed = run(&fake, "list operations").await.out;
    assert!(listed.contains("made 3 \u{fffd}things"), "{listed}");
}
