//! A client of the native socket: asks the backend of a state directory for one operation, prints
//! every event until that has ended, and says how.
//!
//! ```text
//! hostler --state /tmp/box serve &
//! cargo run --example client -- /tmp/box disk_create '{"name": "data", "size_mb": 64}'
//! ```
//!
//! The socket speaks HTTP with JSON bodies, so any program can do the same. A request with curl,
//! and the events as they come, one JSON document a line:
//!
//! ```text
//! curl --unix-socket /tmp/box/hostler.sock -H 'content-type: application/json' \
//!      -d '{"kind": "disk_create", "params": {"name": "data", "size_mb": 64}}' \
//!      http://hostler/v1/operations
//! curl --unix-socket /tmp/box/hostler.sock -N http://hostler/v1/events
//! ```

#![allow(clippy::print_stdout, reason = "what it says is for people")]

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, bail};
use futures_util::StreamExt;
use hostler::domain::{Backend, BackendExt, Fact, Operation, Params, State, Submit, question};
use hostler::wire::{Client, socket_path};

/// Asks for an operation, and writes every event until it has ended. Returns how it did.
///
/// # Errors
/// When nobody serves the directory, the request is refused, or the backend stops meanwhile.
pub async fn follow(
    state_dir: &Path,
    kind: &str,
    params: Params,
    out: &mut impl Write,
) -> anyhow::Result<Operation> {
    let client = Client::connect(&socket_path(state_dir)).await?;
    let mut events = client.subscribe();
    let submit = Submit { kind: kind.to_owned(), params, ..Submit::default() };
    let uid = client.submit(submit).await?.uid;
    writeln!(out, "{uid} {kind} is on disk")?;
    loop {
        let event = events.next().await.context("the backend has stopped")?;
        writeln!(out, "{}", serde_json::to_string(&event)?)?;
        let operation = match event.fact {
            Fact::Operation(operation) if operation.uid == uid => (*operation).clone(),
            // Said first, and after the connection was lost: what happened before is not told
            // again, so it is asked for.
            Fact::Missed => client.ask(question::GetOperation { uid }).await?.operation,
            _ => continue,
        };
        if operation.state.is_end() || operation.state == State::Error {
            return Ok(operation);
        }
    }
}

#[tokio::main]
#[allow(dead_code, reason = "the test calls what it calls")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, kind, params] = arguments.as_slice() else {
        bail!("usage: client STATE_DIR KIND PARAMS, the last as a JSON object");
    };
    let params = serde_json::from_str(params).context("PARAMS is no JSON object")?;
    let ended = follow(Path::new(dir), kind, params, &mut std::io::stdout()).await?;
    println!("{} {}: {}", ended.uid, ended.state, ended.message());
    if ended.state != State::Done {
        bail!("it did not end well");
    }
    Ok(())
}
