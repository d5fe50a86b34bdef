//! hostler before a backend of another version, and a backend before a client of one: what both
//! know works, and what is not understood is said in one sentence that names both.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a panic is the report")]

#[path = "support/fake.rs"]
mod fake;
#[path = "support/hostler.rs"]
mod hostler_program;

use std::fs::File;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hostler::backend::operations::all as operations_known;
use hostler::backend::settings::Settings;
use hostler::domain::*;
use hostler::wire::{Client, Server, native, socket_path};
use hostler_program::Sandbox;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

const THIS_VERSION: &str = env!("CARGO_PKG_VERSION");
const NEWER: &str = "hostler/99.1.0";
const OLDER: &str = "hostler/0.0.1";

/// A backend of some version, which answers each path in one way.
#[derive(Clone)]
struct Double {
    /// What it says it is; nothing: one of before that was told.
    product: &'static str,
    /// The digest it tells of its catalogue; nothing: one of before that was told.
    digest: Option<String>,
    /// What it answers with; nothing: it does not know the path.
    answers: Arc<[(&'static str, Json)]>,
    /// The paths it was asked for, with the client that asked.
    asked: Arc<Mutex<Vec<String>>>,
    /// The lock that an owner has, until it is told to end.
    lock: Arc<Mutex<Option<File>>>,
}

impl Double {
    /// Listens on the socket of a state directory, until the runtime ends.
    fn serve(dir: &Path, product: &'static str, answers: &[(&'static str, Json)]) -> Self {
        Self::offering(None, dir, product, answers)
    }

    /// The same, and it tells the digest of a catalogue, which is asked for or not.
    fn offering(
        catalogue: Option<&Catalogue>,
        dir: &Path,
        product: &'static str,
        answers: &[(&'static str, Json)],
    ) -> Self {
        let digest = catalogue.map(|it| native::catalogue_digest(it).unwrap());
        let (asked, lock) = (Arc::default(), Arc::default());
        let double = Self { product, digest, answers: answers.into(), asked, lock };
        let listener = tokio::net::UnixListener::bind(socket_path(dir)).unwrap();
        let router = axum::Router::new().fallback(Self::answer).with_state(double.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        double
    }

    async fn answer(State(double): State<Self>, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        double.asked.lock().unwrap().push(path.clone());
        if path == "/v1/stop" {
            double.lock.lock().unwrap().take();
        }
        let mut answer = match double.answers.iter().find(|(known, _)| *known == path) {
            _ if path == "/v1/here" => {
                Body::from_stream(stream::pending::<std::io::Result<Bytes>>()).into_response()
            }
            Some((_, answer)) => answer.to_string().into_response(),
            None => {
                let what = format!("{} {path}", request.method());
                let error = json!({ "error": "not_found", "what": what });
                (StatusCode::NOT_FOUND, error.to_string()).into_response()
            }
        };
        if !double.product.is_empty() {
            answer.headers_mut().insert(header::SERVER, double.product.parse().unwrap());
        }
        if let Some(digest) = &double.digest {
            answer.headers_mut().insert(native::CATALOGUE_DIGEST, digest.parse().unwrap());
        }
        answer
    }

    fn was_asked(&self, path: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == path)
    }
}

/// Descriptions of resources: `pools` are known to the backend alone.
fn resources() -> (&'static str, Json) {
    let pools = json!([{
        "word": "pool", "plural": "pools", "one": "pool", "many": "pools", "doc": "storage pools",
        "columns": [
            { "name": "id", "title": "id", "holds": "number", "listed": true },
            { "name": "name", "title": "name", "holds": "text", "width": 0, "from": 0,
              "listed": true },
            { "name": "state", "title": "state", "holds": "text", "width": 14, "from": 0,
              "listed": true },
        ],
        "states": [{ "word": "online", "tone": "running" }],
    }]);
    ("/v1/resources", pools)
}

/// A kind of operation with a field of a type.
fn kind(name: &str, of: &str) -> Json {
    json!({
        "kind": name, "title": "Scrub", "doc": "Reads all of a pool.", "doing": "being scrubbed",
        "resource": "pool", "effect": "changes", "subject": "pool", "lane": "disk", "risk": "none",
        "fields": [
            { "name": "pool", "doc": "The pool.", "type": "resource", "of": "pool", "states": [],
              "required": true },
            { "name": "speed", "doc": "How fast.", "type": of, "min": 1, "max": 9, "unit": "%",
              "nearest": { "star": 4 }, "required": false },
        ],
        "locks": [], "steps": ["read"],
    })
}

fn operations() -> (&'static str, Json) {
    ("/v1/catalogue", json!([kind("pool_scrub", "integer"), kind("pool_warp", "hyperspace")]))
}

fn pool() -> Json {
    json!({ "resource": "pool", "id": 1, "name": "fast", "state": "online" })
}

fn page(resources: &Json) -> (&'static str, Json) {
    let page = json!({ "total": 1, "offset": 0, "rows": { "resources": resources } });
    let page = json!({ "answer": "page", "value": page });
    ("/v1/query", page)
}

/// The error says it in one sentence, with both versions and what to do.
fn names_both(error: &str, theirs: &str) {
    let both =
        format!("is hostler {theirs} and this is hostler {THIS_VERSION}; restart the older one");
    assert!(error.contains(&both) && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn what_a_newer_backend_says_that_is_not_understood_names_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let unheard_of = ("/v1/query", json!({ "answer": "horoscope", "stars": 5 }));
    let answers = [resources(), operations(), unheard_of];
    let _double = Double::serve(dir.path(), NEWER, &answers);
    let client = Client::connect(&socket_path(dir.path())).await.unwrap();
    let error = client.query(Query::Counts).await.unwrap_err().to_string();
    assert!(error.starts_with("the backend's answer is not understood: "), "{error}");
    names_both(&error, "99.1.0");
}

#[tokio::test]
async fn a_catalogue_that_is_not_understood_names_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let broken = ("/v1/catalogue", json!([{ "kind": "pool_scrub", "effect": "enchants" }]));
    let _double = Double::serve(dir.path(), NEWER, &[resources(), broken]);
    let error = Client::connect(&socket_path(dir.path())).await.unwrap_err().to_string();
    assert!(error.starts_with("the backend's catalogue is not understood: "), "{error}");
    names_both(&error, "99.1.0");
}

#[tokio::test]
async fn a_place_that_an_older_backend_does_not_have_names_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let _double = Double::serve(dir.path(), OLDER, &[resources(), operations()]);
    let client = Client::connect(&socket_path(dir.path())).await.unwrap();
    let control = Control::Lane { name: "vm".into(), change: LaneChange::Pause };
    let error = client.control(control).await.unwrap_err().to_string();
    assert!(error.starts_with("the backend does not know 'POST /v1/control'"), "{error}");
    names_both(&error, "0.0.1");
}

#[tokio::test]
async fn a_backend_of_before_keys_is_not_asked_for_what_it_would_do_twice() {
    let dir = tempfile::tempdir().unwrap();
    let accepted = ("/v1/operations", json!({ "uid": 7, "resource": "pool/1" }));
    let double = Double::serve(dir.path(), OLDER, &[resources(), operations(), accepted]);
    let client = Client::connect(&socket_path(dir.path())).await.unwrap();
    client.submit(Submit::default()).await.unwrap();
    let keyed = Submit { key: Some("nightly".into()), ..Submit::default() };
    double.asked.lock().unwrap().clear();
    let error = client.submit(keyed).await.unwrap_err().to_string();
    assert!(error.contains("knows no keys"), "{error}");
    names_both(&error, "0.0.1");
    assert!(!double.was_asked("/v1/operations"));
}

#[tokio::test]
async fn a_backend_of_before_versions_were_told_works() {
    let dir = tempfile::tempdir().unwrap();
    let answers = [("/v1/catalogue", json!([])), page(&json!([]))];
    let _double = Double::serve(dir.path(), "", &answers);
    let client = Client::connect(&socket_path(dir.path())).await.unwrap();
    assert_eq!(client.catalogue(), Catalogue::default());
    let Answer::Page(page) = client.query(Query::Counts).await.unwrap() else { panic!("no page") };
    assert_eq!(page.total, 1);
    let error = client.submit(Submit::default()).await.unwrap_err().to_string();
    let said = format!("does not say which version of hostler it is, and this is {THIS_VERSION}");
    assert!(error.contains(&said), "{error}");
}

#[tokio::test]
async fn a_newer_client_that_is_not_understood_hears_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let server = Server::bind(dir.path()).unwrap();
    let serving = tokio::spawn(server.run(fake::ScriptedBackend::new(), stop.clone()));
    for (client, says_both) in [(NEWER, true), ("curl/8.5.0", false)] {
        let body = r#"{"query":"horoscope"}"#;
        let request = format!(
            "POST /v1/query HTTP/1.1\r\nhost: hostler\r\nuser-agent: {client}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = tokio::net::UnixStream::connect(socket_path(dir.path())).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(&format!("server: hostler/{THIS_VERSION}\r\n")), "{answer}");
        assert!(answer.contains("the request is not understood: "), "{answer}");
        let both = format!(
            "the client is hostler 99.1.0 and this is hostler {THIS_VERSION}; restart the older"
        );
        assert_eq!(answer.contains(&both), says_both, "{answer}");
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_catalogue_is_asked_for_unless_the_backend_says_that_it_has_the_same() {
    let same = concat!("hostler/", env!("CARGO_PKG_VERSION"));
    let own = fake::catalogue();
    let more = own
        .iter()
        .cloned()
        .chain([OperationSpec { kind: "user_welcome".into(), ..OperationSpec::default() }]);
    let other = Catalogue::with_resources(own.resources(), more);
    for (product, offered, asked) in [
        (same, Some(&own), false),
        (same, Some(&other), true),
        (same, None, true),
        (NEWER, Some(&own), false),
        (OLDER, None, true),
        ("", None, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let answers = [resources(), operations()];
        let double = Double::offering(offered, dir.path(), product, &answers);
        let client = Client::attach(&socket_path(dir.path()), &own).await.unwrap();
        assert_eq!(double.was_asked("/v1/catalogue"), asked, "{product} {offered:?}");
        assert_eq!(client.catalogue() == own, !asked, "{product}");
    }
}

/// Runs the real program beside a double that owns its state directory.
async fn run(place: &Arc<Sandbox>, line: &str) -> (Output, String) {
    let (place, line) = (place.clone(), line.to_owned());
    let run = move || place.run(&line.split(' ').collect::<Vec<_>>());
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    (output, String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_knows_the_kinds_of_the_backend_it_finds() {
    let place = Arc::new(Sandbox::new());
    std::fs::write(place.dir().join("hostler.lock"), "").unwrap();
    let accepted = ("/v1/operations", json!({ "uid": 7, "resource": "pool/1" }));
    let answers = [resources(), operations(), accepted, page(&json!([pool()]))];
    for product in [concat!("hostler/", env!("CARGO_PKG_VERSION")), NEWER] {
        let double = Double::serve(place.dir(), product, &answers);
        let (_, help) = run(&place, "run pool_scrub --help").await;
        assert!(help.contains("Reads all of a pool.") && help.contains("1 to 9 %"), "{help}");
        let (_, said) = run(&place, "run pool_scrub pool=1 speed=5").await;
        assert_eq!(said, "#7 pool_scrub accepted: pool/1\n");
        let (_, listed) = run(&place, "list pools").await;
        assert_eq!(listed, "ID  NAME  STATE\n1   fast  online\n");
        let (output, said) = run(&place, "run pool_warp pool=1").await;
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("pool_warp needs a newer hostler than this"), "{said}");
        let (_, help) = run(&place, "run pool_warp --help").await;
        assert!(help.contains("Not to be asked for: pool_warp needs a newer"), "{help}");
        let (output, said) = run(&place, "run pool_paint pool=1").await;
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("pool_paint"), "{said}");
        drop(double);
        std::fs::remove_file(socket_path(place.dir())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_are_known_are_not_asked_about() {
    let place = Arc::new(Sandbox::new());
    std::fs::write(place.dir().join("hostler.lock"), "").unwrap();
    let same = concat!("hostler/", env!("CARGO_PKG_VERSION"));
    let shown = json!({ "answer": "resource", "value": pool() });
    let answers = [resources(), operations(), ("/v1/query", shown)];
    let kinds = operations_known(&Settings::new(place.dir().to_owned())).into_iter();
    let own = Catalogue::new(kinds.map(|entry| entry.spec));
    let double = Double::offering(Some(&own), place.dir(), same, &answers);
    run(&place, "show vm/3").await;
    run(&place, "list vms").await;
    run(&place, "run vm_start vm=3").await;
    assert!(double.was_asked("/v1/query") && double.was_asked("/v1/operations"));
    assert!(!double.was_asked("/v1/catalogue") && !double.was_asked("/v1/resources"));
    let (_, said) = run(&place, "show pool/1").await;
    assert!(said.starts_with("pool/1 fast\n"), "{said}");
    assert!(double.was_asked("/v1/resources"));
}

#[tokio::test]
async fn only_the_kind_with_an_unknown_type_cannot_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let _double = Double::serve(dir.path(), NEWER, &[resources(), operations()]);
    let catalogue = Client::connect(&socket_path(dir.path())).await.unwrap().catalogue();
    let beyond = |kind| catalogue.get(kind).unwrap().beyond_us();
    assert_eq!(beyond("pool_scrub"), None);
    let why = beyond("pool_warp").unwrap();
    assert!(why.contains("its field 'speed'") && why.contains(THIS_VERSION), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_does_not_tell_what_depends_on_it_is_stopped_all_the_same() {
    let place = Arc::new(Sandbox::new());
    std::fs::write(place.dir().join("hostler.lock"), "").unwrap();
    let answers = [resources(), operations(), ("/v1/stop", Json::Null)];
    let double = Double::serve(place.dir(), OLDER, &answers);
    let lock = File::open(place.dir()).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    *double.lock.lock().unwrap() = Some(lock);
    let (output, said) = run(&place, "stop").await;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("has ended; VMs that are up run on without it\n"), "{said}");
    assert!(said.contains("did not tell what depends on it: "), "{said}");
}
