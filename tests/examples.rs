//! The examples do what they say, so that they stay true. What they call is called here; they are
//! built as programs as well.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed; clippy knows only the test functions themselves"
)]

#[path = "../examples/client.rs"]
mod client;
#[path = "support/hostler.rs"]
mod hostler_program;
#[path = "../examples/own_kind.rs"]
mod own_kind;

use std::path::Path;

use hostler::domain::{Event, Fact, Params, State};
use hostler_program::Sandbox;
use serde_json::{Value as Json, json};

#[tokio::test]
async fn a_kind_of_ones_own_is_done_and_kept() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("state");
    for (number, name) in [(1, "Ada"), (2, "Grace")] {
        let done = own_kind::greet(dir.clone(), name).await.unwrap();
        assert_eq!((done.uid.0, done.state), (number, State::Done));
        assert_eq!(done.message(), format!("#{number}: hello, {name}"));
    }
    let greetings = std::fs::read_to_string(dir.join("greetings.txt")).unwrap();
    assert_eq!(greetings, "#1: hello, Ada\n#2: hello, Grace\n");
    let error = own_kind::greet(dir, &"x".repeat(41)).await.unwrap_err().to_string();
    assert!(error.contains("name has 41 characters"), "{error}");
}

fn params(given: &Json) -> Params {
    given.as_object().cloned().unwrap()
}

async fn follow(dir: &Path, kind: &str, given: &Json) -> (State, Vec<Event>) {
    let mut out = Vec::new();
    let ended = client::follow(dir, kind, params(given), &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(format!("{} {kind} is on disk", ended.uid).as_str()));
    let events = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    (ended.state, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_socket_follows_what_it_asked_for_to_its_end() {
    let mut place = Sandbox::new();
    place.serve(&[]);
    let disk = json!({ "name": "data", "size_mb": 8, "fstype": "none" });
    let (state, events) = follow(place.dir(), "disk_create", &disk).await;
    assert_eq!(state, State::Done);
    assert!(matches!(events[0].fact, Fact::Missed), "{:?}", events[0]);
    assert_eq!(place.list("disks").len(), 1);
    let mut out = Vec::new();
    let refused = client::follow(place.dir(), "disk_create", params(&disk), &mut out).await;
    assert!(refused.unwrap_err().to_string().contains("name"), "and nothing is waited for");
}
