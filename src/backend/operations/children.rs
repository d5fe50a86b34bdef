//! What kinds share whose operations ask for others as their children: asking, waiting, and the
//! sentence about what became of them.

use crate::backend::engine::journal::{self, Child, Spawned, Stop};
use crate::backend::engine::secrets::hide;
use crate::domain::{Failure, Params, State, Submit, Uid};

use super::{AdmissionContext, Context};

/// How many reasons are told.
const REASONS: usize = 3;

/// How many operations a preview of those that are asked for tells of.
pub(super) const PREVIEWED: usize = 20;

/// What a preview says of the others, where there are more.
pub(super) fn more(all: usize) -> Option<String> {
    let more = all.saturating_sub(PREVIEWED);
    (more > 0).then(|| format!("… and {more} more."))
}

/// A request as people read it: `vm_stop vm/3 'web-1'`, or with all that is given where it is about
/// nothing that is there.
pub(super) fn title(kind: &str, params: &Params, world: &AdmissionContext<'_>) -> String {
    let spec = world.catalogue.get(kind);
    let about = spec.and_then(|spec| spec.done_to(params));
    let about = about.and_then(|id| world.inventory.resource(id));
    if let Some(about) = about {
        return format!("{kind} {} '{}'", about.id(), about.name());
    }
    let params = hide(params);
    let given = params.iter().filter(|(_, value)| !value.is_null());
    let given = given.map(|(name, value)| match value.as_str() {
        Some(text) => format!(" {name}={text}"),
        None => format!(" {name}={value}"),
    });
    std::iter::once(kind.to_owned()).chain(given).collect()
}

/// Asks for children and waits for all of them. Returns how they ended, none of them in `ERROR`,
/// and a sentence about that.
///
/// # Errors
/// Names those that failed or were refused, or says why nothing was started.
pub(super) async fn run(cx: &Context, requests: Vec<Submit>) -> Result<(String, Vec<Child>), Stop> {
    let spawned = cx.spawn_all(requests).await?;
    let accepted: Vec<Uid> = spawned.iter().filter_map(Spawned::child).collect();
    if accepted.is_empty() {
        let why = journal::refused(&spawned).unwrap_or_default();
        return Err(Failure::new(format!("{why}; nothing was started")).into());
    }
    let children = cx.join_all(&accepted).await?;
    let (summary, whole) = summary(&spawned, &children);
    if whole { Ok((summary, children)) } else { Err(Failure::new(summary).into()) }
}

/// What became of them, in a sentence, and whether all are done: `7 done, 1 failed: #12 disk/3
/// 'data': …`. What was called off by itself is not: whoever wants it after all relaunches the
/// parent, and whoever does not cancels that.
fn summary(spawned: &[Spawned], children: &[Child]) -> (String, bool) {
    let of = |state| children.iter().filter(move |child| child.state == state);
    let (failed, cancelled) = (of(State::Error).count(), of(State::Cancel).count());
    let refusals = || spawned.iter().filter_map(Spawned::refusal);
    let mut words = format!("{} done", of(State::Done).count());
    for (number, word) in
        [(failed, "failed"), (cancelled, "cancelled"), (refusals().count(), "refused")]
    {
        if number > 0 {
            words.push_str(&format!(", {number} {word}"));
        }
    }
    let why = |child: &Child| format!("{} {}: {}", child.uid, child.about, child.why());
    let reasons = of(State::Error).map(why).chain(refusals().map(|it| it.message.clone()));
    let mut reasons: Vec<String> = reasons.collect();
    let more = reasons.len().saturating_sub(REASONS);
    reasons.truncate(REASONS);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    if reasons.is_empty() && cancelled > 0 {
        reasons.push("relaunch this to ask for that again, or cancel it to leave it so".to_owned());
    }
    let whole = reasons.is_empty();
    let separator = if whole { "" } else { ": " };
    (format!("{words}{separator}{}", reasons.join("; ")), whole)
}
