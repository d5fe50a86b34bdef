//! Kinds of operations that nobody knew when hostler was built, as those are that a configuration
//! describes: they come as objects with names that were read, stand in the catalogue beside
//! hostler's own, and are done, taken up and told like those.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use hostler::backend::engine::journal::Context;
use hostler::backend::engine::kind::Kind;
use hostler::backend::operations::{self, KindEntry, Stop};
use hostler::backend::settings::Settings;
use hostler::backend::{Embedded, drivers, own};
use hostler::cli;
use hostler::domain::*;
use hostler::wire::{Client, Server, socket_path};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

/// What a reader of a configuration has read.
const CONFIGURATION: &str = r#"
[[operation]]
name = "user_welcome"
title = "Welcome"
doc = "Writes somebody a letter and posts it."
lane = "post"
steps = ["write", "post"]

[[operation.field]]
name = "user"
doc = "Who it is for."
"#;

#[derive(Deserialize)]
struct Configuration {
    operation: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    title: String,
    doc: String,
    lane: String,
    steps: Vec<String>,
    field: Vec<DescribedField>,
}

#[derive(Deserialize)]
struct DescribedField {
    name: String,
    doc: String,
}

impl Described {
    fn spec(&self) -> OperationSpec {
        let text = FieldType::Text { max: 100 };
        let field =
            |it: &DescribedField| Field::required(it.name.clone(), text.clone(), it.doc.clone());
        OperationSpec {
            kind: self.name.clone().into(),
            title: self.title.clone().into(),
            doc: self.doc.clone().into(),
            doing: self.title.to_lowercase().into(),
            lane: self.lane.clone().into(),
            fields: self.field.iter().map(field).collect(),
            steps: self.steps.iter().map(|step| step.clone().into()).collect(),
            ..OperationSpec::default()
        }
    }
}

/// Every kind of a configuration.
fn described(configuration: &str) -> Vec<Described> {
    toml::from_str::<Configuration>(configuration).unwrap().operation
}

/// A described kind: each of its steps writes a line into a diary.
struct DiaryKind {
    spec: Arc<OperationSpec>,
    diary: PathBuf,
}

impl Kind for DiaryKind {
    fn spec(&self) -> &Arc<OperationSpec> {
        &self.spec
    }

    fn run(&self, cx: Context, params: &Params) -> BoxFuture<'static, Result<Outcome, Stop>> {
        let (spec, diary) = (self.spec.clone(), self.diary.clone());
        let given: Vec<String> =
            params.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Box::pin(async move {
            for name in &spec.steps {
                let line = format!("{} {name} {}", spec.kind, given.join(" "));
                cx.step(name.clone()).run(|_| std::future::ready(write(&diary, &line))).await?;
            }
            Ok(Outcome::new(format!("{} done", spec.title), serde_json::Value::Null))
        })
    }
}

fn write(diary: &Path, line: &str) -> Result<(), Failure> {
    let file = std::fs::File::options().append(true).create(true).open(diary);
    let written = file.and_then(|mut file| writeln!(file, "{line}"));
    written.map_err(|error| Failure::io(format!("write {}", diary.display()), &error))
}

/// hostler's own kinds, and those of a configuration.
fn start(dir: &Path, configuration: &str) -> Result<Embedded, BackendError> {
    let owned = own(&dir.join("state")).unwrap().expect("nobody has it");
    let settings = Settings::new(dir.join("state"));
    let ports = drivers::real(&settings);
    let mut kinds = operations::all(&settings);
    kinds.extend(described(configuration).iter().map(|it| {
        KindEntry::new(it.spec(), |spec, env| {
            let diary = env.settings.state_dir.with_file_name("diary.txt");
            Arc::new(DiaryKind { spec, diary })
        })
    }));
    Embedded::start(owned, settings, ports, kinds)
}

/// Waits until an operation has come to its end or an error.
async fn rest(backend: &Embedded, mut events: EventStream, uid: Uid) -> OperationDetail {
    let rests = |it: &Operation| it.uid == uid && (it.state.is_end() || it.state == State::Error);
    let ask = question::GetOperation { uid };
    if !rests(&backend.ask(ask).await.unwrap().operation) {
        while let Some(event) = events.next().await {
            if matches!(&event.fact, Fact::Operation(it) if rests(it)) {
                break;
            }
        }
    }
    *backend.ask(question::GetOperation { uid }).await.unwrap()
}

fn welcome(user: &str) -> Submit {
    let params = [("user".to_owned(), user.into())].into_iter().collect();
    Submit { kind: "user_welcome".to_owned(), params, ..Submit::default() }
}

#[tokio::test]
async fn a_kind_that_is_read_is_done_like_any_other() {
    let place = tempfile::tempdir().unwrap();
    let backend = start(place.path(), CONFIGURATION).unwrap();
    let events = backend.subscribe();
    let uid = backend.submit(welcome("ana")).await.unwrap().uid;
    let OperationDetail { operation, steps, .. } = rest(&backend, events, uid).await;
    assert_eq!((operation.state, operation.message()), (State::Done, "Welcome done"));
    let steps: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["write", "post"]);
    let diary = std::fs::read_to_string(place.path().join("diary.txt")).unwrap();
    assert_eq!(diary, "user_welcome write user=\"ana\"\nuser_welcome post user=\"ana\"\n");
    let lanes = backend.ask(question::GetLanes).await.unwrap();
    assert!(lanes.iter().any(|lane| lane.name == "post"), "{lanes:?}");
    // Its fields are checked like any other's.
    let Err(BackendError::Refused(refusal)) = backend.submit(welcome(&"x".repeat(101))).await
    else {
        panic!("a name of 101 characters was taken")
    };
    assert_eq!((refusal.reason, refusal.field.as_deref()), (Reason::Value, Some("user")));
    backend.leave(true).await;
}

#[tokio::test]
async fn the_command_line_has_it_from_the_catalogue() {
    let place = tempfile::tempdir().unwrap();
    let backend = start(place.path(), CONFIGURATION).unwrap();
    let catalogue = backend.catalogue();
    let parsed = cli::parse(&catalogue, ["hostler", "run", "user_welcome", "user=ana"]).unwrap();
    assert!(parsed.command.is_some());
    let help = cli::parse(&catalogue, ["hostler", "run", "user_welcome", "--help"]);
    let help = help.err().unwrap().to_string();
    assert!(help.contains("Writes somebody a letter") && help.contains("Who it is for."), "{help}");
    // It is about nothing that could be looked for.
    assert!(!help.contains("--for"), "{help}");
    let mut page = Vec::new();
    cli::man(&catalogue, &mut page).unwrap();
    assert!(String::from_utf8(page).unwrap().contains("HOSTLER RUN USER_WELCOME"));
    backend.leave(true).await;
}

#[tokio::test]
async fn a_client_of_the_same_version_without_it_asks_what_there_is() {
    let place = tempfile::tempdir().unwrap();
    let backend = start(place.path(), CONFIGURATION).unwrap();
    let state_dir = place.path().join("state");
    let stop = CancellationToken::new();
    let server = Server::bind(&state_dir).unwrap();
    let serving = tokio::spawn(server.run(Arc::new(backend.clone()), stop.clone()));
    let kinds = operations::all(&Settings::new(state_dir.clone()));
    let own = Catalogue::new(kinds.into_iter().map(|entry| entry.spec));
    assert!(own.get("user_welcome").is_none());
    let client = Client::attach(&socket_path(&state_dir), &own).await.unwrap();
    assert_eq!(client.catalogue(), backend.catalogue());
    drop(client);
    stop.cancel();
    serving.await.unwrap().unwrap();
    backend.leave(true).await;
}

#[tokio::test]
async fn one_that_is_described_no_more_waits_for_a_person() {
    let place = tempfile::tempdir().unwrap();
    let backend = start(place.path(), CONFIGURATION).unwrap();
    let pause = Control::Lane { name: "post".into(), change: LaneChange::Pause };
    // The lane is there once something was asked for in it.
    let events = backend.subscribe();
    let first = backend.submit(welcome("ana")).await.unwrap().uid;
    rest(&backend, events, first).await;
    backend.control(pause).await.unwrap();
    let uid = backend.submit(welcome("bob")).await.unwrap().uid;
    backend.leave(true).await;
    let without = start(place.path(), "operation = []").unwrap();
    let events = without.subscribe();
    let operation = rest(&without, events, uid).await.operation;
    assert_eq!(operation.state, State::Error);
    let why = operation.comment.clone().unwrap_or_default();
    assert!(why.contains("user_welcome"), "{why}");
    without.leave(true).await;
    // Described again, it is done.
    let backend = start(place.path(), CONFIGURATION).unwrap();
    let resume = Control::Lane { name: "post".into(), change: LaneChange::Resume };
    backend.control(resume).await.unwrap();
    let events = backend.subscribe();
    backend.control(Control::Relaunch { uid, params: Params::new() }).await.unwrap();
    assert_eq!(rest(&backend, events, uid).await.operation.state, State::Done);
    backend.leave(true).await;
}

#[tokio::test]
async fn names_that_cannot_be_told_apart_are_refused_before_anything_starts() {
    for (name, said) in [
        ("vm_start", "there are two kinds of operation 'vm_start'"),
        ("user welcome", "'user welcome' is no word for a kind of operation"),
        ("../welcome", "'../welcome' is no word for a kind of operation"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let error = start(place.path(), &CONFIGURATION.replace("user_welcome", name)).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}
