//! `run KIND --for EXPR`: the same on every resource that matches, as one batch.

use super::{CliContext, CliError, RunArgs, ask, fields, picking};
use crate::domain::{BackendExt, List, Risk, Rows, Subject, Submit};

/// The most of them: what one list holds, and one batch.
const MOST: u32 = Submit::MOST_PARTS;

/// The batch that asks for the kind on every resource that matches `text`.
///
/// # Errors
/// When the kind is about none that is there, nothing matches, or more than fit in one batch.
pub(super) async fn batch(
    args: &RunArgs,
    text: &str,
    session: &mut CliContext<'_>,
) -> Result<Submit, CliError> {
    let catalogue = session.backend.catalogue();
    let spec = catalogue.get(&args.kind);
    let about = spec.and_then(|spec| Some((spec.subject()?, spec)));
    let Some(((field, of), spec)) = about else {
        let kind = &args.kind;
        return Err(CliError::Usage(format!("{kind} is about nothing that --for could look for")));
    };
    if args.key.is_some() {
        let why = "--key is for a request that is the same whenever it is made; what --for picks \
                   may be something else the next time";
        return Err(CliError::Usage(why.to_owned()));
    }
    if args.fields.iter().any(|given| given.split('=').next() == Some(field)) {
        return Err(CliError::Usage(format!("{field} is what --for looks for; leave it out")));
    }
    let list = List {
        of: Subject::Resources(of),
        filter: picking(text, Subject::Resources(of), &catalogue)?,
        sort: None,
        offset: 0,
        limit: MOST,
        around: None,
    };
    let page = session.backend.ask(list).await?;
    let Rows::Resources(rows) = page.rows else { return Err(CliError::Failed("no rows".into())) };
    if rows.is_empty() {
        return Err(CliError::Failed(format!("no {of} matches '{text}'")));
    }
    if page.total > u64::from(MOST) {
        let total = page.total;
        return Err(CliError::Usage(format!(
            "{total} match '{text}'; at most {MOST} are one batch"
        )));
    }
    // What the field is to hold is known only for each; a number stands for it.
    let given: Vec<String> =
        args.fields.iter().cloned().chain([format!("{field}={}", rows[0].id().id)]).collect();
    let keyboard = &mut ask::MaybeAsked { keyboard: session.keyboard, asks: !args.dry_run };
    let shared = fields::parse(&catalogue, &args.kind, &given, None, keyboard)?;
    let parts = rows.iter().map(|row| {
        let mut params = shared.clone();
        params.insert(field.to_owned(), row.id().id.into());
        Submit { kind: spec.kind.to_string(), params, ..Submit::default() }
    });
    let batch = Submit::batch(parts.collect(), args.keep_going, args.at_once);
    if spec.risk != Risk::None && !args.yes && !args.dry_run {
        let resource = of.spec();
        let what = if rows.len() == 1 { &resource.one } else { &resource.many };
        ask::confirmed(&format!("run {} on", spec.kind), rows.len(), what, session)?;
    }
    Ok(batch)
}

/// How many operations of which kinds a batch asks for, as `3 vm_stop`; `None` for anything else.
pub(super) fn counted(submit: &Submit) -> Option<String> {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for Submit { kind, .. } in submit.parts()? {
        match kinds.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, number)) => *number += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let told: Vec<String> = kinds.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
    Some(told.join(", "))
}
