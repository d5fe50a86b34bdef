//! A kind of operation of one's own, driven through the library: `cargo run --example own_kind --
//! /tmp/greetings Ada`.
//!
//! `greet` appends a line to a file in the state directory. That is one step, so it is done once
//! whatever happens: kill the program in the middle, start it again on the same directory, and the
//! operation goes on by itself. Everything else follows from the catalogue entry: with it, the same
//! backend offers a form, `hostler run greet`, its help and its place in the palette.

#![allow(clippy::print_stdout, reason = "what it says is for people")]

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use futures_util::StreamExt;
use hostler::backend::operations::{Context, Kind, KindEntry, Stop};
use hostler::backend::settings::Settings;
use hostler::backend::{Embedded, drivers, own};
use hostler::domain::{
    Backend, Fact, Failure, Field, FieldType, Operation, OperationSpec, Outcome, State, Submit,
};
use serde::{Deserialize, Serialize};

/// The kind.
struct Greet;

/// Its parameters, as its fields describe them.
#[derive(Serialize, Deserialize)]
struct Greeting {
    name: String,
}

impl Kind for Greet {
    type Params = Greeting;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "greet".into(),
            title: "Greet".into(),
            doc: "Greets somebody, in writing.".into(),
            doing: "greeting".into(),
            lane: "greetings".into(),
            fields: vec![Field::required("name", FieldType::Text { max: 40 }, "Who is greeted.")],
            steps: vec!["write".into()],
            ..OperationSpec::default()
        }
    }

    async fn run(cx: Context, greeting: Greeting) -> Result<Outcome, Stop> {
        let line = format!("{}: hello, {}", cx.uid(), greeting.name);
        let file = cx.settings().state_dir.join("greetings.txt");
        let said = cx
            .step("write")
            .run(|_| {
                let (file, line) = (file.clone(), line.clone());
                async move { append_once(&file, &line) }
            })
            .await?;
        Ok(Outcome::new(said, serde_json::Value::Null))
    }
}

/// Appends a line. An earlier life may have died between doing that and recording it, so it looks
/// first.
fn append_once(file: &Path, line: &str) -> Result<String, Failure> {
    let failure = |error| Failure::io(format!("write {}", file.display()), &error);
    let written = match std::fs::read_to_string(file) {
        Ok(written) => written,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failure(error)),
    };
    if !written.lines().any(|known| known == line) {
        let mut file =
            std::fs::File::options().append(true).create(true).open(file).map_err(failure)?;
        writeln!(file, "{line}").and_then(|()| file.sync_all()).map_err(failure)?;
    }
    Ok(line.to_owned())
}

/// Greets somebody on a state directory of its own. Returns what came of it.
///
/// # Errors
/// When another program has the directory, or the operation does not end well.
pub async fn greet(state_dir: PathBuf, name: &str) -> anyhow::Result<Operation> {
    let owned = own(&state_dir)?.context("another program has that state directory")?;
    let settings = Settings::new(state_dir);
    let ports = drivers::real(&settings);
    let kinds = vec![KindEntry::of::<Greet>(&settings)];
    let backend = Embedded::start(owned, settings, ports, kinds)?;

    let mut events = backend.subscribe();
    let params = [("name".to_owned(), name.into())].into_iter().collect();
    let (kind, actor) = ("greet".to_owned(), "example".to_owned());
    let accepted = backend.submit(Submit { kind, params, actor, ..Submit::default() }).await?;
    // From here on it is on disk, and is done even if this program is not there any more.
    let ended = loop {
        let event = events.next().await.context("the backend has stopped")?;
        if let Fact::Operation(operation) = event.fact
            && operation.uid == accepted.uid
            && (operation.state.is_end() || operation.state == State::Error)
        {
            break operation;
        }
    };
    backend.leave(true).await;
    if ended.state != State::Done {
        bail!("{} is {}: {}", ended.uid, ended.state, ended.message());
    }
    Ok((*ended).clone())
}

#[tokio::main]
#[allow(dead_code, reason = "the test calls what it calls")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(dir), Some(name)) = (arguments.next(), arguments.next()) else {
        bail!("usage: own_kind STATE_DIR NAME");
    };
    let done = greet(dir.into(), &name.to_string_lossy()).await?;
    println!("{}", done.message());
    Ok(())
}
