//! One thing with all that is known of it, and events as lines.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::table::Names;
use super::{one_line, table};
use crate::domain::{Event, Fact, Operation, OperationDetail, Quantity, Resource, as_lines};
use crate::time_zone;

/// Writes every member of a resource that has a value: what a column is read from under its title
/// and as lists write it, anything else as the document has it.
pub(super) fn resource(
    out: &mut dyn Write,
    resource: &Resource,
    names: &Names,
) -> std::io::Result<()> {
    writeln!(out, "{} {}", resource.id(), one_line(resource.name()))?;
    let spec = resource.kind().spec();
    let document = serde_json::to_value(resource)?;
    for (name, value) in given(&document, &["resource", "id", "name"]) {
        let column = spec.column_of_member(name);
        // A minute, as lists write moments, says too little of how long something took.
        match column.filter(|column| column.holds != Quantity::Moment) {
            Some(column) => {
                member(out, &column.title, &table::text(column.read(value), column, names))?;
            }
            None => member(out, name, &plain(value))?,
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
        member(out, name, &plain(value))?;
    }
    for (number, line) in as_lines(&detail.operation.params).iter().enumerate() {
        member(out, if number == 0 { "params" } else { "" }, line)?;
    }
    if detail.operation.attempt > 0 {
        member(out, "attempt", &nth(detail.operation.attempt))?;
    }
    if let Some(outcome) = outcome {
        member(out, "outcome", &outcome.message)?;
        for (name, value) in outcome.data.as_object().into_iter().flatten() {
            member(out, &format!("  {name}"), &plain(value))?;
        }
    }
    for child in &detail.children {
        let about = child.resource_name.as_deref().unwrap_or_default();
        let title = one_line(&format!("{} {} {about}", child.uid, child.kind));
        let comment = one_line(child.comment.as_deref().unwrap_or_default());
        writeln!(out, "  child {} {} {comment}", title.trim_end(), child.state)?;
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

fn member(out: &mut dyn Write, name: &str, text: &str) -> std::io::Result<()> {
    writeln!(out, "  {name:<16} {}", one_line(text))
}

/// An attempt as people count them: from 1.
fn nth(attempt: u32) -> String {
    attempt.saturating_add(1).to_string()
}

/// A value of a document that no description tells of, for people: moments in their time zone,
/// anything else as it is.
fn plain(value: &Json) -> String {
    let Json::String(text) = value else { return value.to_string() };
    match text.parse::<Timestamp>() {
        Ok(at) => at.to_zoned(time_zone::here()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => text.clone(),
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
        Fact::Load(load) => format!("the box is at {:.0}% cpu", load.cpu_percent),
        Fact::Host(host) => format!("{} has {} tools missing", host.name, host.missing().count()),
        Fact::Notice { message } => message.clone(),
        Fact::Missed => "events before this one were missed".to_owned(),
        Fact::Lost { why } => format!("lost the backend: {why}"),
    }
}
