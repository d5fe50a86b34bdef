//! One thing, atomic_file, and events as lines.

use std::io::Write;

use serde_json::Value as Json;

use super::one_line;
use crate::domain::{Event, Fact, Operation, OperationDetail, Resource};

/// Writes every member of a resource that has a value.
pub(super) fn resource(out: &mut dyn Write, resource: &Resource) -> std::io::Result<()> {
    writeln!(out, "{} {}", resource.id(), one_line(resource.name()))?;
    members(out, &serde_json::to_value(resource)?, &["resource", "id", "name"])
}

/// Writes an operation, its steps, and the commands they ran.
pub(super) fn operation(out: &mut dyn Write, detail: &OperationDetail) -> std::io::Result<()> {
    let Operation { uid, kind, outcome, .. } = &detail.operation;
    writeln!(out, "operation/{} {}", uid.0, one_line(kind))?;
    members(out, &serde_json::to_value(&detail.operation)?, &["uid", "kind", "outcome"])?;
    if let Some(outcome) = outcome {
        member(out, "outcome", &outcome.message)?;
        for (name, value) in outcome.data.as_object().into_iter().flatten() {
            member(out, &format!("  {name}"), &text(value))?;
        }
    }
    for step in &detail.steps {
        writeln!(
            out,
            "  step {} of attempt {}: {} {}",
            step.number,
            step.attempt,
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

fn members(out: &mut dyn Write, value: &Json, without: &[&str]) -> std::io::Result<()> {
    for (name, value) in value.as_object().into_iter().flatten() {
        if !value.is_null() && !without.contains(&name.as_str()) {
            member(out, name, &text(value))?;
        }
    }
    Ok(())
}

fn member(out: &mut dyn Write, name: &str, text: &str) -> std::io::Result<()> {
    writeln!(out, "  {name:<16} {}", one_line(text))
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An event for people.
pub(super) fn event(event: &Event) -> String {
    let at = event.at.strftime("%H:%M:%S");
    let what = match &event.fact {
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
    };
    format!("{at} {what}")
}
