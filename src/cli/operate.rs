//! What is done to operations: one, several, or all that match a filter.

use std::collections::HashSet;
use std::ops::Bound;

use futures_util::StreamExt;

use super::define::{ManyArgs, OperationCommand};
use super::{CliContext, CliError, PatientEvents, allowed, ask, fields, picking, wait};
use crate::domain::{
    BackendError, BackendExt, Control, Filter, FilterTest, List, Operation, Params, Rows, Sort,
    State, Subject, Uid, question,
};

/// How many are asked for at once: a connection each where the backend is another process.
const AT_ONCE: usize = 32;

/// What can be done to many.
#[derive(Clone, Copy)]
enum Verb {
    Cancel,
    Relaunch,
}

impl Verb {
    fn control(self, uid: Uid) -> Control {
        match self {
            Self::Cancel => Control::Cancel { uid },
            Self::Relaunch => Control::Relaunch { uid, params: Params::new() },
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Relaunch => "relaunch",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Relaunch => "relaunched",
        }
    }
}

/// Carries it out.
pub(super) async fn operation(
    command: OperationCommand,
    session: &mut CliContext<'_>,
) -> Result<(), CliError> {
    if !matches!(command, OperationCommand::Wait { .. }) {
        allowed(session)?;
    }
    let control = match command {
        OperationCommand::Wait { uid, json } => {
            let events = PatientEvents::new(session.backend.subscribe());
            return wait::follow(uid, events, json, session).await;
        }
        OperationCommand::Priority { uid, priority } => Control::Priority { uid, priority },
        OperationCommand::Cancel { uids, many } => {
            return several(Verb::Cancel, uids, many, session).await;
        }
        OperationCommand::Relaunch { what, many } => {
            let (mut uids, mut given) = (Vec::new(), Vec::new());
            for (place, word) in what.into_iter().enumerate() {
                if word.contains('=') {
                    given.push(word);
                } else {
                    uids.push(word.parse().map_err(|_| neither(place + 1))?);
                }
            }
            match uids.as_slice() {
                _ if given.is_empty() => {
                    return several(Verb::Relaunch, uids, many, session).await;
                }
                [uid] => {
                    let params = changed(*uid, &given, session).await?;
                    Control::Relaunch { uid: *uid, params }
                }
                _ => {
                    return Err(CliError::Usage(
                        "fields can be changed of one operation at a time; name its number before \
                         them"
                            .to_owned(),
                    ));
                }
            }
        }
    };
    session.backend.control(control.clone()).await?;
    tell(&control, session)
}

/// What is to be relaunched, or with what, is not understood. It is not repeated: it may be a
/// secret whose field was left out.
fn neither(nth: usize) -> CliError {
    CliError::Usage(format!(
        "argument {nth} is neither an operation number nor a field; write that like name=value"
    ))
}

/// Does the same to several operations. Those a filter picks are counted and asked about first.
async fn several(
    verb: Verb,
    uids: Vec<Uid>,
    many: ManyArgs,
    session: &mut CliContext<'_>,
) -> Result<(), CliError> {
    if let [uid] = uids.as_slice() {
        session.backend.control(verb.control(*uid)).await?;
        return tell(&verb.control(*uid), session);
    }
    let uids = match &many.filter {
        None => uids,
        Some(text) => {
            let uids = matching(
                verb,
                picking(text, Subject::Operations, &session.backend.catalogue())?,
                session,
            )
            .await?;
            if uids.is_empty() {
                writeln!(session.err, "no operation that matches can be {}", verb.done())?;
                return Ok(());
            }
            if !many.yes {
                let of = if uids.len() == 1 { "operation" } else { "operations" };
                ask::confirmed(verb.word(), uids.len(), of, session)?;
            }
            uids
        }
    };
    let all = uids.len();
    let backend = session.backend.clone();
    let mut answers = futures_util::stream::iter(uids)
        .map(|uid| {
            let answer = backend.control(verb.control(uid));
            async move { (uid, answer.await) }
        })
        .buffer_unordered(AT_ONCE);
    let (mut done, mut failed) = (HashSet::new(), Vec::new());
    while let Some((uid, answer)) = answers.next().await {
        match answer {
            Ok(()) => drop(done.insert(uid)),
            // Nobody is left who could be asked for the others.
            Err(error @ BackendError::Unreachable { .. }) => return Err(error.into()),
            Err(error) => failed.push((uid, error)),
        }
    }
    let (mut refused, mut first) = (0, None);
    for (uid, error) in failed {
        // What cannot be found out is no cancel.
        let went = goes_with(uid, &done, session);
        if matches!(verb, Verb::Cancel) && went.await.unwrap_or(false) {
            continue;
        }
        refused += 1;
        first.get_or_insert(error);
    }
    writeln!(session.out, "{} {}", all - refused, verb.done())?;
    match first {
        None => Ok(()),
        Some(first) => {
            Err(CliError::Failed(format!("{refused} of {all} not {}: {first}", verb.done())))
        }
    }
}

/// Whether an operation is called off, and one above it is among these: it went with that.
async fn goes_with(
    uid: Uid,
    called_off: &HashSet<Uid>,
    session: &CliContext<'_>,
) -> Result<bool, CliError> {
    if called_off.is_empty() {
        return Ok(false);
    }
    let Operation { state, cancelling, mut parent, .. } = found(uid, session).await?;
    if state != State::Cancel && !cancelling {
        return Ok(false);
    }
    while let Some(above) = parent {
        if called_off.contains(&above) {
            return Ok(true);
        }
        parent = found(above, session).await?.parent;
    }
    Ok(false)
}

async fn found(uid: Uid, session: &CliContext<'_>) -> Result<Operation, CliError> {
    Ok(session.backend.ask(question::GetOperation { uid }).await?.operation)
}

/// Says what was done, in the console's words: what has something to undo is not cancelled yet.
fn tell(control: &Control, session: &mut CliContext<'_>) -> Result<(), CliError> {
    match control {
        Control::Cancel { uid } => writeln!(session.out, "{uid}: cancelling")?,
        Control::Relaunch { uid, .. } => writeln!(session.out, "{uid}: queued again")?,
        Control::Priority { uid, priority } => {
            writeln!(session.out, "{uid}: priority {priority}")?;
        }
        Control::Lane { .. } => {}
    }
    Ok(())
}

/// The operations that match, of those in a state in which it can be done.
async fn matching(
    verb: Verb,
    filter: Filter,
    session: &CliContext<'_>,
) -> Result<Vec<Uid>, CliError> {
    let filter = match verb {
        Verb::Cancel => {
            filter.and_state(true, State::Done.word()).and_state(true, State::Cancel.word())
        }
        Verb::Relaunch => filter.and_state(false, State::Error.word()),
    };
    let mut uids: Vec<Uid> = Vec::new();
    loop {
        // Window after window by number, so that what ends meanwhile shifts nothing.
        let from = uids.last().map_or(Bound::Unbounded, |last| Bound::Excluded(last.0 as f64));
        let after = FilterTest::Within { column: "uid".to_owned(), from, to: Bound::Unbounded };
        let list = List {
            of: Subject::Operations,
            filter: filter.clone().and(false, after),
            sort: Some(Sort { column: "uid".to_owned(), descending: false }),
            offset: 0,
            limit: List::MOST,
            around: None,
        };
        let page = session.backend.ask(list).await?;
        let Rows::Operations(rows) = page.rows else { return Ok(uids) };
        uids.extend(rows.iter().map(|operation| operation.uid));
        if rows.len() < List::MOST as usize {
            return Ok(uids);
        }
    }
}

/// The parameters to change in a relaunch; their types are those of the operation's kind.
async fn changed(
    uid: Uid,
    given: &[String],
    session: &mut CliContext<'_>,
) -> Result<Params, CliError> {
    let operation = found(uid, session).await?;
    let catalogue = session.backend.catalogue();
    let present = Some(&*operation.params);
    fields::parse(&catalogue, &operation.kind, given, present, session.keyboard)
}
