//! One thing with all that is known of it, and events as lines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::table::Names;
use super::{one_line, table};
use crate::domain::{
    Catalogue, Event, Fact, Operation, OperationDetail, Quantity, Resource, ResourceId,
    ResourceKind, as_lines,
};
use crate::time_zone;

/// The resources that are named by number in a resource: in its columns, in members called as a
/// kind is, and in what it asks for by itself.
pub(super) fn named(resource: &Resource, catalogue: &Catalogue) -> BTreeSet<ResourceId> {
    let columns = resource.kind().spec().columns.iter();
    let referred = columns.filter_map(|it| it.referred(&resource.field(&it.name)?));
    let members = serde_json::to_value(resource).unwrap_or_default();
    let members = members.as_object().into_iter().flatten();
    let asks = resource.asks_for().and_then(|(kind, given)| Some((catalogue.get(kind)?, given)));
    let asks =
        asks.into_iter().flat_map(|(spec, given)| spec.resources_named(given, Some(catalogue)));
    let asked = asks.filter_map(|(of, it)| Some(ResourceId::new(of, it.value.as_u64()?)));
    referred.chain(members.flat_map(|(name, value)| numbers(name, value))).chain(asked).collect()
}

/// The resources that a member of a document names, if it is called as a kind is: `image`, `disks`.
fn numbers(name: &str, value: &Json) -> Vec<ResourceId> {
    let Ok(kind) = name.parse::<ResourceKind>() else { return Vec::new() };
    let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    values.iter().filter_map(Json::as_u64).map(|id| ResourceId::new(kind, id)).collect()
}

/// Writes every member of a resource that has a value: what a column is read from under its title
/// and as lists write it, anything else as the document has it, what it holds a line each.
pub(super) fn resource(
    out: &mut dyn Write,
    resource: &Resource,
    names: &Names,
    catalogue: &Catalogue,
) -> std::io::Result<()> {
    writeln!(out, "{} {}", resource.id(), one_line(resource.name()))?;
    let spec = resource.kind().spec();
    let mut document = serde_json::to_value(resource)?;
    let name = |id: ResourceId| names.get(&id).cloned();
    if let Some((kind, given)) = resource.asks_for()
        && let Some(spec) = catalogue.get(kind)
    {
        document["params"] = Json::Object(spec.called_by_name(given, catalogue, name));
    }
    for (member, value) in given(&document, &["resource", "id", "name"]) {
        let column = spec.column_of_member(member);
        // A minute, as lists write moments, says too little of how long something took.
        if let Some(column) = column.filter(|column| column.holds != Quantity::Moment) {
            let text = table::text(column.read(value), column, names);
            one(out, &column.title, &text)?;
            continue;
        }
        let called = numbers(member, value);
        if called.is_empty() {
            several(out, member, &lines(value))?;
        } else {
            let called = called.into_iter().map(|id| name(id).unwrap_or_else(|| id.to_string()));
            several(out, member, &called.collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Writes an operation, its steps, and the commands they ran.
pub(super) fn operation(out: &mut dyn Write, detail: &OperationDetail) -> std::io::Result<()> {
    let Operation { uid, kind, outcome, .. } = &detail.operation;
    writeln!(out, "operation/{} {}", uid.0, one_line(kind))?;
    let without = ["uid", "kind", "params", "outcome", "attempt"];
    for (name, value) in given(&serde_json::to_value(&detail.operation)?, &without) {
        several(out, name, &lines(value))?;
    }
    several(out, "params", &as_lines(&detail.operation.params))?;
    if detail.operation.attempt > 0 {
        one(out, "attempt", &nth(detail.operation.attempt))?;
    }
    if let Some(outcome) = outcome {
        one(out, "outcome", &outcome.message)?;
        for (name, value) in outcome.data.as_object().into_iter().flatten() {
            several(out, &format!("  {name}"), &lines(value))?;
        }
    }
    for child in &detail.children {
        let about = child.resource_name.as_deref().unwrap_or_default();
        let title = one_line(&format!("{} {} {about}", child.uid, child.kind));
        let comment = one_line(child.comment.as_deref().unwrap_or_default());
        let line = format!("  child {} {} {comment}", title.trim_end(), child.state);
        writeln!(out, "{}", line.trim_end())?;
    }
    if detail.more_children > 0 {
        writeln!(out, "  and {} more children", detail.more_children)?;
    }
    for step in &detail.steps {
        writeln!(
            out,
            "  step {} of attempt {}: {} {}",
            step.number,
            nth(step.attempt),
            one_line(&step.name),
            step.state.word()
        )?;
        if let Some(error) = &step.error {
            writeln!(out, "    {}", one_line(error))?;
        }
        for command in &step.commands {
            let ended = one_line(command.ended.as_deref().unwrap_or("running"));
            writeln!(out, "    $ {} → {ended}, {} ms", one_line(&command.line), command.took_ms)?;
            for line in command.tail.lines() {
                writeln!(out, "      {}", one_line(line))?;
            }
        }
    }
    Ok(())
}

/// The members of a document that have a value, but for some.
fn given<'a>(document: &'a Json, without: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a Json)> {
    let members = document.as_object().into_iter().flatten();
    members
        .map(|(name, value)| (name.as_str(), value))
        .filter(|(name, value)| !value.is_null() && !without.contains(name))
}

fn one(out: &mut dyn Write, name: &str, text: &str) -> std::io::Result<()> {
    writeln!(out, "  {name:<16} {}", one_line(text))
}

/// Writes a member with a line for each of what it holds.
fn several(out: &mut dyn Write, name: &str, lines: &[String]) -> std::io::Result<()> {
    for (number, line) in lines.iter().enumerate() {
        one(out, if number == 0 { name } else { "" }, line)?;
    }
    Ok(())
}

/// An attempt as people count them: from 1.
fn nth(attempt: u32) -> String {
    attempt.saturating_add(1).to_string()
}

/// A value of a document that no description tells of, for people: each item of a list on a line,
/// and each member of a record.
fn lines(value: &Json) -> Vec<String> {
    match told(value) {
        Json::Array(items) if items.is_empty() => vec!["none".to_owned()],
        Json::Array(items) => items.iter().map(|item| lines(item).join(" ")).collect(),
        Json::Object(members) => as_lines(&members),
        Json::String(text) => vec![text],
        other => vec![other.to_string()],
    }
}

/// A value with its moments in the time zone of the box.
fn told(value: &Json) -> Json {
    match value {
        Json::String(text) => match text.parse::<Timestamp>() {
            Ok(at) => {
                at.to_zoned(time_zone::here()).strftime("%Y-%m-%d %H:%M:%S").to_string().into()
            }
            Err(_) => value.clone(),
        },
        Json::Array(items) => items.iter().map(told).collect(),
        Json::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), told(value))).collect()
        }
        other => other.clone(),
    }
}

/// Events for people, each told once: what changed only where a line does not show it is no news.
#[derive(Default)]
pub(super) struct News {
    /// The last line about each thing.
    told: BTreeMap<String, String>,
    /// Whether anything came yet.
    has_begun: bool,
}

impl News {
    /// The most things remembered.
    const KEPT: usize = 10_000;

    /// The line for an event; `None` where the one before said the same.
    pub(super) fn line(&mut self, event: &Event) -> Option<String> {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        // What was before the beginning was not asked for.
        if is_first && matches!(event.fact, Fact::Missed) {
            return None;
        }
        let what = fact(&event.fact);
        if let Some(about) = about(&event.fact) {
            if self.told.len() >= Self::KEPT {
                self.told.clear();
            }
            if self.told.insert(about, what.clone()).as_ref() == Some(&what) {
                return None;
            }
        }
        Some(format!("{} {what}", event.at.to_zoned(time_zone::here()).strftime("%H:%M:%S")))
    }
}

/// What a fact is about, and what of it; `None` where each is news.
fn about(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::Operation(operation) => format!("{}", operation.uid),
        Fact::Progress { uid, .. } => format!("{uid} progress"),
        Fact::Step { uid, step } => format!("{uid} step {}", step.number),
        Fact::Resource(resource) => resource.id().to_string(),
        Fact::Usage { vm, .. } => format!("vm/{vm} usage"),
        Fact::Lane(lane) => format!("lane {}", lane.name),
        Fact::Load(_) => "load".to_owned(),
        Fact::Host(_) => "host".to_owned(),
        Fact::Gone(_) | Fact::Notice { .. } | Fact::Missed | Fact::Lost { .. } => return None,
    })
}

/// A fact for people.
fn fact(fact: &Fact) -> String {
    match fact {
        Fact::Operation(operation) => {
            let name = operation.resource_name.as_deref().unwrap_or_default();
            let message = operation.message();
            format!("{} {} {name} {} {message}", operation.uid, operation.kind, operation.state)
        }
        Fact::Progress { uid, progress } => {
            let far = progress.fraction.map(|far| format!("{:.0}%", far * 100.0));
            format!("{uid} {} {}", progress.phase, far.unwrap_or_default())
        }
        Fact::Step { uid, step } => {
            let error = step.error.as_deref().unwrap_or_default();
            format!("{uid} step {} {} {error}", step.name, step.state.word())
        }
        Fact::Resource(resource) => {
            format!("{} {} {}", resource.id(), resource.name(), resource.state())
        }
        Fact::Gone(id) => format!("{id} is gone"),
        Fact::Usage { vm, cpu_percent, memory_mib } => {
            format!("vm/{vm} uses {cpu_percent:.0}% cpu, {memory_mib} MiB")
        }
        Fact::Lane(lane) => format!(
            "lane {} is {:?}: width {}, {} running, {} waiting",
            lane.name, lane.state, lane.width, lane.running, lane.waiting
        )
        .to_lowercase(),
        Fact::Load(load) => match load.cpu_percent {
            Some(percent) => format!("the box is at {percent:.0}% cpu"),
            None => "the cpu of the box is being measured".to_owned(),
        },
        Fact::Host(host) => format!("{} has {} tools missing", host.name, host.missing().count()),
        Fact::Notice { message } => message.clone(),
        Fact::Missed => "events before this one were missed".to_owned(),
        Fact::Lost { why } => format!("lost the backend: {why}"),
    }
}
