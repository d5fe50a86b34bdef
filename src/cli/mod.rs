//! The script-facing command line: everything a person or a script does without the console.
//!
//! This room knows only `domain`. It is given a backend and never asks where that is; `main`
//! decides. Help, completions and the man page come from the same definitions, and those of `run`
//! from the catalogue.

mod ask;
mod define;
mod doctor;
mod fields;
mod manual;
mod many;
mod named;
mod nested;
mod operate;
mod recover;
mod show;
mod table;
mod unread;
mod value;
mod wait;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use serde::Serialize;

pub use ask::{Keyboard, Terminal};
pub use define::{
    Cli, CliCommand, LaneCommand, ListArgs, ManyArgs, OperationCommand, RunArgs, command, parse,
};
pub use doctor::{Check, checks, doctor, tell as tell_checks};
pub use fields::parse as parse_fields;
pub use manual::{complete, man};
pub use recover::{Recovered, recovered};
pub use unread::{config_file, is_about_a_kind, state_dir};

use crate::domain::display::one_line;
use crate::domain::{
    Backend, BackendError, BackendExt, Catalogue, Control, Event, EventStream, Fact, Filter,
    FilterError, List, Reason, Rows, Sort, Subject, Uid, question,
};
use crate::time_zone;

/// How long a command waits for a backend that was lost to come back, or for another one.
const LOST: Duration = Duration::from_secs(30);

/// Everything a command needs from outside.
pub struct CliContext<'a> {
    /// Who does the work.
    pub backend: Arc<dyn Backend>,
    /// Who asks: `cli:root`.
    pub actor: String,
    /// Where answers go.
    pub out: &'a mut dyn Write,
    /// Where errors and notes go.
    pub err: &'a mut dyn Write,
    /// Where secrets come from.
    pub keyboard: &'a mut dyn Keyboard,
    /// How many columns the terminal has; `None` where the output is no terminal.
    pub columns: Option<u16>,
    /// Whether `err` is a terminal that a progress bar can be drawn on.
    pub bar: bool,
    /// Whether nothing may be asked for.
    pub read_only: bool,
    /// Why there is nothing at all, where that is known: what a list that is empty says.
    pub nothing_because: Option<String>,
}

/// How a command ended, if not well.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// It was not written as it must be.
    #[error("{0}")]
    Usage(String),
    /// It was understood, and failed.
    #[error("{0}")]
    Failed(String),
    /// The backend said no, or could not be reached.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Whoever waited for an operation waits no longer.
    #[error("{0} goes on; `hostler operation cancel {number}` calls it off", number = .0.0)]
    Interrupted(Uid),
    /// The answer could not be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// The exit status, by one rule for every command:
    ///
    /// | status | meaning |
    /// |---|---|
    /// | 0 | done |
    /// | 1 | failed, or refused because of what is there, who asks, or how things stand |
    /// | 2 | not written as it must be: a type, a syntax, a value, a kind, a field, a filter |
    /// | 3 | the backend was not reached |
    /// | 130 | interrupted while it waited; what it waited for goes on |
    ///
    /// Somebody who stops reading (`hostler list vms | head`) is no error: 0.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Backend(BackendError::Refused(refusal)) => match refusal.reason {
                Reason::Type | Reason::Syntax | Reason::Value => 2,
                Reason::Existence
                | Reason::Privileges
                | Reason::State
                | Reason::OperationPending { .. } => 1,
            },
            Self::Backend(BackendError::Unreachable { .. }) => 3,
            Self::Backend(BackendError::NotFound { .. } | BackendError::Failed { .. }) => 1,
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Interrupted(_) => 130,
            Self::Failed(_) | Self::Output(_) => 1,
        }
    }

    /// Writes it as one line, and returns the status to exit with.
    pub fn report(&self, err: &mut dyn Write) -> ExitCode {
        if self.status() != 0 {
            // When even standard error is gone, the status is all that can be said.
            let _ = writeln!(err, "hostler: {}", one_line(&self.to_string()));
        }
        ExitCode::from(self.status())
    }
}

/// Runs a command that asks a backend, and says how it ended.
///
/// `serve`, `doctor`, `completions`, `man` and the console itself are not for this
/// function: they need no backend or start one.
pub async fn run(command: CliCommand, mut session: CliContext<'_>) -> ExitCode {
    match carry_out(command, &mut session).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(session.err),
    }
}

async fn carry_out(command: CliCommand, session: &mut CliContext<'_>) -> Result<(), CliError> {
    match command {
        CliCommand::Run(args) => wait::run(args, session).await,
        CliCommand::List(args) => list(args, session).await,
        CliCommand::Show { id, json } => show(&id, json, session).await,
        CliCommand::Watch { json } => watch(json, session).await,
        CliCommand::Operation { command } => operate::operation(command, session).await,
        CliCommand::Lane { command } => {
            allowed(session)?;
            Ok(session.backend.control(Control::from(command)).await?)
        }
        CliCommand::Serial { vm } => serial(&vm, session).await,
        other => Err(CliError::Usage(format!("{other:?} asks no backend"))),
    }
}

/// Read-only means that nothing is asked for.
fn allowed(session: &CliContext<'_>) -> Result<(), CliError> {
    if session.read_only {
        return Err(CliError::Failed(
            "hostler is read-only here; leave out --read-only or set read_only = false in the \
             configuration"
                .to_owned(),
        ));
    }
    Ok(())
}

async fn list(args: ListArgs, session: &mut CliContext<'_>) -> Result<(), CliError> {
    let of = match args.what.as_str() {
        "lanes" | "lane" => return lanes(&args, session).await,
        "operations" | "operation" => Subject::Operations,
        kind => Subject::Resources(kind.parse().map_err(CliError::Usage)?),
    };
    let filter = filter(&args.filter, of, &session.backend.catalogue())?;
    let sort = args.sort.map(|given| sorted(&given, of)).transpose()?;
    let list = List { of, filter, sort, offset: 0, limit: args.limit, around: None };
    list.check().map_err(|error| misread(error, of))?;
    let page = session.backend.ask(list).await?;
    if args.json {
        return json(session.out, &page);
    }
    let shown = match &page.rows {
        Rows::Resources(rows) => rows.len() as u64,
        Rows::Operations(rows) => rows.len() as u64,
    };
    let names = match &page.rows {
        Rows::Resources(rows) => {
            let listed = of.columns().iter().filter(|column| column.listed);
            named::referred(rows, listed, session).await?
        }
        Rows::Operations(_) => table::Names::new(),
    };
    table::rows(session.out, &page.rows, &names, session.columns)?;
    let many = match of {
        Subject::Operations => "operations",
        Subject::Resources(kind) => &kind.spec().many,
    };
    let note = match (page.total, &session.nothing_because) {
        (0, Some(why)) => format!("hostler: {why}"),
        (0, None) if args.filter.is_empty() => format!("there are no {many}"),
        (0, None) => format!("no {many} match '{}'", args.filter),
        (total, _) if shown < total => format!("{shown} of {total}; see --limit and --filter"),
        _ => return Ok(()),
    };
    // The answer itself is there.
    let _ = writeln!(session.err, "{note}");
    Ok(())
}

/// Reads what to sort by.
fn sorted(given: &str, of: Subject) -> Result<Sort, CliError> {
    let word = given.trim_start_matches('-');
    let column = of.called(word).or_else(|| of.column(word)).ok_or_else(|| {
        let known: Vec<_> = of.columns().iter().map(|column| &*column.title).collect();
        let (what, near) = (of.plural(), value::near(word, &known));
        CliError::Usage(format!("{what} have no column '{word}'; {near}"))
    })?;
    Ok(Sort { column: column.name.to_string(), descending: given.starts_with('-') })
}

/// Reads a filter; days, times and ages are meant here and now.
fn filter(text: &str, of: Subject, catalogue: &Catalogue) -> Result<Filter, CliError> {
    let kinds: Vec<&str> = catalogue.iter().map(|spec| &*spec.kind).collect();
    let now = Timestamp::now().to_zoned(time_zone::here());
    Filter::read(text, of, &now, &kinds).map_err(|found| misread(found.why, of))
}

/// Reads a filter that says what something is done to. What picks everything because it says
/// nothing, or lacks a closing quote, was a mistake: an empty variable of a script.
fn picking(text: &str, of: Subject, catalogue: &Catalogue) -> Result<Filter, CliError> {
    let picked = filter(text, of, catalogue)?;
    if picked.terms.is_empty() {
        let why = "the filter says nothing, and would pick everything; to mean that, write id>0";
        return Err(CliError::Usage(why.to_owned()));
    }
    if text.matches('"').count() % 2 == 1 {
        return Err(CliError::Usage("a quote in the filter is not closed".to_owned()));
    }
    Ok(picked)
}

/// A filter or an order that these rows cannot have.
fn misread(error: FilterError, of: Subject) -> CliError {
    let what = of.plural();
    CliError::Usage(match error {
        FilterError::Column(column) => format!(
            "{what} have no column '{column}'; there are {}; a text with a sign in it is looked \
             for in quotes: '\"{column}:…\"'",
            of.columns().iter().map(|column| &*column.title).collect::<Vec<_>>().join(", ")
        ),
        FilterError::Value(why) => format!("the filter is not understood: {why}"),
    })
}

async fn lanes(args: &ListArgs, session: &mut CliContext<'_>) -> Result<(), CliError> {
    if !args.filter.is_empty() || args.sort.is_some() {
        let why = "lanes are neither filtered nor sorted: there are a handful; leave out --filter \
                   and --sort";
        return Err(CliError::Usage(why.to_owned()));
    }
    let mut lanes = session.backend.ask(question::GetLanes).await?;
    lanes.truncate(args.limit as usize);
    if args.json {
        return json(session.out, &lanes);
    }
    Ok(table::lanes(session.out, &lanes, session.columns)?)
}

async fn show(id: &str, as_json: bool, session: &mut CliContext<'_>) -> Result<(), CliError> {
    // Nothing else is called by a number alone.
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || id.starts_with('#') || id.starts_with("operation/") {
        let uid = id.parse().map_err(CliError::Usage)?;
        let mut detail = session.backend.ask(question::GetOperation { uid }).await?;
        if as_json {
            return json(session.out, &detail);
        }
        detail.operation.params = named::params(&detail.operation, session).await?;
        return Ok(show::operation(session.out, &detail)?);
    }
    let id = named::resource(id, session).await?;
    let resource = session.backend.ask(question::GetResource { id }).await?;
    if as_json {
        return json(session.out, &resource);
    }
    let catalogue = session.backend.catalogue();
    let names = named::called(show::named(&resource, &catalogue), session).await?;
    Ok(show::resource(session.out, &resource, &names, &catalogue)?)
}

async fn watch(as_json: bool, session: &mut CliContext<'_>) -> Result<(), CliError> {
    let mut events = PatientEvents::new(session.backend.subscribe());
    let mut news = show::News::default();
    loop {
        let event = events.next().await?;
        if as_json {
            json(session.out, &event)?;
        } else if let Some(line) = news.line(&event) {
            writeln!(session.out, "{}", one_line(&line))?;
        }
        session.out.flush()?;
    }
}

/// Events that are not waited for for ever: a backend that was lost is given its time to come back.
struct PatientEvents {
    events: EventStream,
    /// Since when it is lost, and why.
    lost: Option<(tokio::time::Instant, String)>,
}

impl PatientEvents {
    fn new(events: EventStream) -> Self {
        Self { events, lost: None }
    }

    async fn next(&mut self) -> Result<Event, CliError> {
        let next = match &self.lost {
            None => self.events.next().await,
            Some((since, why)) => tokio::time::timeout_at(*since + LOST, self.events.next())
                .await
                .map_err(|_| BackendError::Unreachable { message: why.clone() })?,
        };
        let event = next.ok_or_else(gone)?;
        match &event.fact {
            Fact::Lost { why } => self.lost = Some((tokio::time::Instant::now(), why.clone())),
            _ => self.lost = None,
        }
        Ok(event)
    }
}

async fn serial(vm: &str, session: &mut CliContext<'_>) -> Result<(), CliError> {
    let id = named::resource(vm, session).await?;
    if id.kind.spec().serial.is_empty() {
        let catalogue = session.backend.catalogue();
        let kinds = catalogue.resources().iter().map(|kind| kind.spec());
        let kinds: Vec<&str> =
            kinds.filter(|spec| !spec.serial.is_empty()).map(|spec| &*spec.many).collect();
        let kinds = kinds.join(" and ");
        return Err(CliError::Usage(format!("{id} has no serial line; only {kinds} have one")));
    }
    allowed(session)?;
    let line = session.backend.serial(id.id).await?;
    ask::passthrough(line, session.out, session.err).await
}

/// The backend has stopped while it was listened to.
fn gone() -> CliError {
    BackendError::Unreachable {
        message: "the backend has stopped; start hostler again and look what became of it"
            .to_owned(),
    }
    .into()
}

/// Writes one JSON document on one line.
fn json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value)
        .map_err(|error| CliError::Failed(format!("cannot write the answer as JSON: {error}")))?;
    Ok(writeln!(out, "{text}")?)
}
