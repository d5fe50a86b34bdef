//! Families of a simulation: kinds that ask for others, what they ask for, and what must hold of
//! parents and children.

use serde_json::{Value as Json, json};

use crate::backend::engine::journal::{Child, Context, JOIN, SPAWN, Spawned, Stop};
use crate::backend::engine::kind::ChildRules;
use crate::domain::{Failure, Field, FieldType, Params, Progress, State, Submit, Text, Uid};

use super::chance::Chance;
use super::platter::Platter;

/// The kinds that ask for others, with their lanes and steps: one that waits for its children, one
/// that leaves them, and one whose children share what it holds.
pub(super) const KINDS: [(&str, &str, &[&str]); 3] = [
    ("batch", "side", &["open", SPAWN, JOIN, "close"]),
    ("scatter", "work", &["open", SPAWN, "close"]),
    ("renew", "build", &["open", SPAWN, JOIN, "close"]),
];

/// What a kind that asks for others is told.
pub(super) fn fields() -> Vec<Field> {
    let at_once = FieldType::Integer { min: 0, max: 4, unit: Text::default() };
    vec![
        Field::required("asks", FieldType::Text { max: 4000 }, "What it asks for, as JSON."),
        Field::required("at_once", at_once, "How many children at once; 0: all."),
        Field::required("stops", FieldType::Flag, "Whether none starts after an error."),
    ]
}

/// How the children of an operation are run.
pub(super) fn child_rules(params: &Params) -> ChildRules {
    let at_once = params.get("at_once").and_then(Json::as_u64).unwrap_or(0);
    ChildRules {
        at_once: u32::try_from(at_once).ok().filter(|most| *most > 0),
        stop_on_error: params.get("stops").and_then(Json::as_bool).unwrap_or(false),
    }
}

/// What an operation asks for.
pub(super) fn asks(params: &Params) -> Vec<Submit> {
    let asks = params.get("asks").and_then(Json::as_str).unwrap_or("[]");
    serde_json::from_str(asks).unwrap_or_default()
}

/// The request for a family: `one` of the things, if there is any, is what it is about.
pub(super) fn request(chance: &Chance, things: &[u64], deep: bool) -> Option<Submit> {
    let one = chance.one_of(things);
    let kind = match (chance.number(0, 3), one) {
        (0, Some(_)) if deep => "renew",
        (1, _) => "scatter",
        _ => "batch",
    };
    let number = chance.number(1, 5);
    let asks: Vec<Submit> = (0..number)
        .filter_map(|_| match kind {
            "renew" => {
                // Most of the time what it holds itself: anything else is refused.
                let thing = if chance.happens(900) { one } else { chance.one_of(things) };
                let kind = if chance.happens(500) { "change" } else { "look" };
                ask(kind, json!({ "thing": thing? }))
            }
            _ => child(chance, things, deep),
        })
        .collect();
    let mut params = json!({
        "asks": serde_json::to_string(&asks).ok()?,
        "at_once": chance.number(0, 4),
        "stops": chance.happens(300),
    });
    if kind == "renew" {
        params["thing"] = one?.into();
    }
    ask(kind, params)
}

fn child(chance: &Chance, things: &[u64], deep: bool) -> Option<Submit> {
    let one = chance.one_of(things);
    match (chance.number(0, 100), one) {
        (0..10, _) if deep => request(chance, things, false),
        (0..20, _) => {
            ask("make", json!({ "name": format!("child-{}", chance.number(0, 1_000_000)) }))
        }
        (20..50, Some(one)) => ask("change", json!({ "thing": one })),
        (50..70, Some(one)) => ask("look", json!({ "thing": one })),
        (70..75, Some(one)) => ask("remove", json!({ "thing": one })),
        _ => ask("tick", json!({})),
    }
}

fn ask(kind: &str, params: Json) -> Option<Submit> {
    let Json::Object(params) = params else { return None };
    Some(Submit { kind: kind.to_owned(), params, ..Submit::default() })
}

/// Asks for children. Returns those that were accepted.
pub(super) async fn spawn(cx: &Context, asks: Vec<Submit>) -> Result<Vec<Uid>, Stop> {
    let asked = asks.len();
    let spawned = cx.spawn_all(asks).await?;
    if spawned.len() != asked {
        return Err(Failure::new(format!("{asked} were asked for, {spawned:?} came of it")).into());
    }
    Ok(spawned.iter().filter_map(Spawned::child).collect())
}

/// What became of the children for whom an operation has waited.
///
/// # Errors
/// When that cannot be.
pub(super) fn joined(uid: Uid, children: &[Uid], joined: &[Child]) -> Result<(), String> {
    let same = joined.iter().map(|child| child.uid).eq(children.iter().copied());
    let settled = joined.iter().all(|it| !matches!(it.state, State::Pending | State::Run));
    if same && settled {
        return Ok(());
    }
    Err(format!("{uid} has waited for {children:?}, and that is {joined:?}"))
}

/// Whether an operation fails because of how its children ended. The same after a crash.
pub(super) fn fails(uid: Uid, joined: &[Child]) -> Result<(), Failure> {
    match joined.iter().find(|child| child.state != State::Done) {
        Some(child) if !uid.0.is_multiple_of(3) => {
            Err(Failure::new(format!("{} ended as {}", child.uid, child.state)))
        }
        _ => Ok(()),
    }
}

/// Looks at what is told of how far an operation is that waits for its children.
///
/// # Errors
/// When that is not how far they are.
pub(super) fn progress(uid: Uid, progress: &Progress, platter: &Platter) -> Result<(), String> {
    let Some((done, rest)) = progress.phase.split_once(" of ") else { return Ok(()) };
    let all = rest.split_once(" done").map(|(all, _)| all);
    let (Ok(done), Some(Ok(all))) = (done.parse::<usize>(), all.map(str::parse::<usize>)) else {
        return Ok(());
    };
    let children = platter.children(uid).filter(|it| it.state == State::Done).count();
    let least = done as f64 / all.max(1) as f64;
    let told = progress.fraction.unwrap_or(-1.0);
    if done > children.min(all) || !(least - 1e-9..=1.0).contains(&told) {
        return Err(format!("{uid} is told to be at {progress:?}, and {children} are DONE"));
    }
    Ok(())
}
