//! `run`, and waiting for an operation: a bar on a terminal, plain lines elsewhere.

use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::ask::MaybeAsked;
use super::{CliContext, CliError, PatientEvents, RunArgs, fields, json, many, one_line};
use crate::domain::display::bytes;
use crate::domain::{
    BackendError, BackendExt, Fact, Operation, Preview, Progress, State, Submit, Uid, question,
};

/// Asks for an operation.
pub(super) async fn run(args: RunArgs, session: &mut CliContext<'_>) -> Result<(), CliError> {
    if !args.dry_run {
        super::allowed(session)?;
    }
    let catalogue = session.backend.catalogue();
    let asked = match &args.each {
        Some(text) => many::batch(&args, text, session).await?,
        None => {
            let keyboard = &mut MaybeAsked { keyboard: session.keyboard, asks: !args.dry_run };
            let params = fields::parse(&catalogue, &args.kind, &args.fields, None, keyboard)?;
            Submit { kind: args.kind, params, ..Submit::default() }
        }
    };
    let submit =
        Submit { actor: session.actor.clone(), priority: args.priority, key: args.key, ..asked };
    let kind = submit.kind.clone();
    let counted = many::counted(&submit);
    if args.dry_run {
        if let Some(counted) = counted.filter(|_| !args.json) {
            writeln!(session.err, "{counted}")?;
        }
        let preview = session.backend.ask(question::GetPreview(submit)).await?;
        return tell(&preview, args.json, session);
    }
    // Before it is asked for, so that nothing that happens to it is missed.
    let events = args.wait.then(|| PatientEvents::new(session.backend.subscribe()));
    let accepted = session.backend.submit(submit).await?;
    for warning in &accepted.warnings {
        // It is accepted all the same, whoever can be told.
        let _ = writeln!(session.err, "hostler: {}", one_line(warning));
    }
    match events {
        Some(events) => follow(accepted.uid, events, args.json, session).await,
        None if args.json => json(session.out, &accepted),
        None => {
            write!(session.out, "{} {kind} accepted", accepted.uid)?;
            match accepted.resource.map(|it| it.to_string()).or(counted) {
                Some(what) => writeln!(session.out, ": {what}")?,
                None => writeln!(session.out)?,
            }
            Ok(())
        }
    }
}

/// Says what a request would do.
fn tell(preview: &Preview, as_json: bool, session: &mut CliContext<'_>) -> Result<(), CliError> {
    if as_json {
        json(session.out, preview)?;
    } else if preview.refusal.is_none() {
        for effect in &preview.effects {
            writeln!(session.out, "{}", one_line(effect))?;
        }
        for command in &preview.commands {
            writeln!(session.out, "$ {}", one_line(command))?;
        }
        if let Some(space) = preview.space {
            writeln!(session.out, "takes {} on disk", bytes(space))?;
        }
    }
    match &preview.refusal {
        Some(refusal) => Err(BackendError::Refused(refusal.clone()).into()),
        None => Ok(()),
    }
}

/// Waits until an operation has ended, and says how it goes meanwhile.
pub(super) async fn follow(
    uid: Uid,
    mut events: PatientEvents,
    as_json: bool,
    session: &mut CliContext<'_>,
) -> Result<(), CliError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut meter = Meter::new(session.bar && !as_json);
    let mut operation = ask(uid, session).await?;
    loop {
        meter.state(&operation, session.err);
        if !matches!(operation.state, State::Pending | State::Run) {
            meter.clear();
            return ended(&operation, as_json, session);
        }
        let event = tokio::select! {
            event = events.next() => event?,
            _ = interrupt.recv() => {
                meter.clear();
                return Err(CliError::Interrupted(uid));
            }
        };
        match event.fact {
            // What happened before the question was answered is told after it.
            Fact::Operation(now) if now.uid == uid && stands(&now) >= stands(&operation) => {
                let known = operation.progress.take();
                operation = Operation::clone(&now);
                // Its start is told before its first progress, which may be known already.
                if operation.state == State::Run {
                    operation.progress = operation.progress.or(known);
                }
            }
            Fact::Progress { uid: of, progress } if of == uid => {
                operation.progress = Some(progress);
            }
            Fact::Missed => match ask(uid, session).await {
                Ok(now) => operation = now,
                // Lost again at once: `Lost` and another `Missed` follow.
                Err(CliError::Backend(BackendError::Unreachable { .. })) => {}
                Err(error) => return Err(error),
            },
            Fact::Lost { why } => meter.line(&format!("lost the backend: {why}"), session.err),
            _ => {}
        }
    }
}

/// How far an operation is on its way, for telling old news from new.
fn stands(operation: &Operation) -> (u32, u8) {
    let stage = match operation.state {
        State::Pending => 0,
        State::Run => 1,
        State::Done | State::Error | State::Cancel => 2,
    };
    (operation.attempt, stage)
}

async fn ask(uid: Uid, session: &CliContext<'_>) -> Result<Operation, CliError> {
    Ok(session.backend.ask(question::GetOperation { uid }).await?.operation)
}

/// The last word on an operation.
fn ended(
    operation: &Operation,
    as_json: bool,
    session: &mut CliContext<'_>,
) -> Result<(), CliError> {
    if as_json {
        json(session.out, operation)?;
    }
    let title = title(operation);
    let Operation { uid, comment, past_pivot, .. } = operation;
    match operation.state {
        State::Error => {
            let why = comment.as_deref().unwrap_or("no reason was given");
            let relaunch = format!("mend it and run 'hostler operation relaunch {}'", uid.0);
            // What is past its pivot only goes forward.
            let or = match past_pivot {
                true => String::new(),
                false => format!(", or 'hostler operation cancel {}'", uid.0),
            };
            Err(CliError::Failed(format!("{title} failed: {why}; {relaunch}{or}")))
        }
        State::Cancel => Err(CliError::Failed(format!("{title} was cancelled"))),
        _ if as_json => Ok(()),
        state => match operation.message() {
            "" => Ok(writeln!(session.out, "{title} {state}")?),
            message => Ok(writeln!(session.out, "{title} {state}: {}", one_line(message))?),
        },
    }
}

fn title(operation: &Operation) -> String {
    let name = operation.resource_name.as_deref().unwrap_or_default();
    one_line(&format!("{} {} {name}", operation.uid, operation.kind))
}

/// Shows how far an operation is.
struct Meter {
    bar: Option<ProgressBar>,
    /// The last plain line: said once.
    last: String,
}

impl Meter {
    fn new(bar: bool) -> Self {
        let bar = bar.then(|| {
            let bar = ProgressBar::new(1000);
            if let Ok(style) =
                ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3}% {msg}")
            {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, last: String::new() }
    }

    fn state(&mut self, operation: &Operation, err: &mut dyn Write) {
        let progress = operation.progress.clone().unwrap_or_default();
        let doing = match (&operation.wait, operation.state) {
            (Some(wait), _) => one_line(&wait.to_string()),
            (None, State::Pending) => "waits".to_owned(),
            _ => one_line(&words(&progress)),
        };
        if let Some(bar) = &self.bar {
            bar.set_prefix(title(operation));
            bar.set_position((progress.fraction.unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u64);
            bar.set_message(doing);
            return;
        }
        // In tenths: a log wants to see that it moves, not every frame.
        let tenths = progress.fraction.map(|fraction| (fraction * 10.0) as u32 * 10);
        let far = tenths.map(|tenths| format!(" {tenths}%")).unwrap_or_default();
        let doing = if operation.state == State::Run { &progress.phase } else { &doing };
        self.line(&format!("{} {} {doing}{far}", title(operation), operation.state), err);
    }

    /// Says how it goes. That nobody can be told is no reason not to wait for the end.
    fn line(&mut self, text: &str, err: &mut dyn Write) {
        let text = one_line(text);
        if text == self.last {
            return;
        }
        let _ = match &self.bar {
            Some(bar) => bar.suspend(|| writeln!(err, "{text}")),
            None => writeln!(err, "{text}"),
        };
        self.last = text;
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn words(progress: &Progress) -> String {
    let detail = progress.detail.as_deref().map(|detail| format!(" · {detail}"));
    let left = progress.left_s.map(|left| format!(" · {:02}:{:02} left", left / 60, left % 60));
    format!("{}{}{}", progress.phase, detail.unwrap_or_default(), left.unwrap_or_default())
}
