//! An operation with its steps: what was run, what it said, what undo did.

use super::facts::fact;
use super::in_flight;
use crate::domain::{Operation, OperationDetail, Params, ResourceId, Step, StepState, as_lines};
use crate::ui::model::Model;
use crate::ui::style::canvas::StyledLine;
use crate::ui::style::text;
use crate::ui::style::theme::{Role, Theme};
use crate::ui::view::columns::operation_state;

/// How many lines of a command's output are shown.
const TAIL: usize = 20;

/// How many lines of what was asked for are shown: a batch has thousands.
const PARAMETERS: usize = 100;

/// Its lines.
#[must_use]
pub fn lines(
    model: &Model,
    theme: &Theme,
    detail: Option<&OperationDetail>,
    width: u16,
) -> Vec<StyledLine> {
    let Some(detail) = detail else {
        return vec![StyledLine::new(theme.glyphs.more, Role::Quiet)];
    };
    let mut lines = head(model, theme, &detail.operation, width);
    if !detail.children.is_empty() {
        lines.push(StyledLine::empty());
        lines.push(StyledLine::new("Operations", Role::Title));
        lines.extend(detail.children.iter().map(|child| of_child(theme, child)));
        if detail.more_children > 0 {
            let more = format!("{} and {} more", theme.glyphs.more, detail.more_children);
            lines.push(StyledLine::new(more, Role::Quiet));
        }
    }
    lines.push(StyledLine::empty());
    lines.push(StyledLine::new("Steps", Role::Title));
    if detail.steps.is_empty() {
        lines.push(StyledLine::new("none taken yet", Role::Quiet));
    }
    for step in &detail.steps {
        of_step(model, theme, step, width, &mut lines);
    }
    lines
}

fn head(model: &Model, theme: &Theme, operation: &Operation, width: u16) -> Vec<StyledLine> {
    let (glyph, role) = operation_state(&theme.glyphs, operation.state);
    let spec = model.catalogue.get(&operation.kind);
    let title = spec.map_or(operation.kind.as_str(), |spec| spec.title.as_ref());
    let mut lines = vec![
        StyledLine::new(format!("{glyph} {} ", operation.state), role)
            .with(format!("{title} {}", in_flight::about(operation)), Role::Title),
    ];
    let what = in_flight::what(operation);
    if !what.is_empty() {
        let role = match operation.state {
            crate::domain::State::Error => Role::Bad,
            crate::domain::State::Pending => Role::Waiting,
            _ => Role::Text,
        };
        lines.extend(
            text::wrap(&what, usize::from(width)).into_iter().map(|l| StyledLine::new(l, role)),
        );
    } else if let Some(comment) = &operation.comment {
        fact(&mut lines, "comment", comment, Role::Text, width);
    }
    if let Some(outcome) = &operation.outcome {
        fact(&mut lines, "outcome", &outcome.message, Role::Text, width);
    }
    if let Some(progress) = &operation.progress
        && operation.state == crate::domain::State::Run
        && let Some(fraction) = progress.fraction
    {
        let cells = usize::from(width / 3).max(6);
        let done = ((fraction.clamp(0.0, 1.0) * cells as f64).round() as usize).min(cells);
        let left = progress.left_s.map(|left| format!("   {} left", text::clock(left)));
        lines.push(
            StyledLine::new(theme.glyphs.bar_done.repeat(done), Role::Bar)
                .with(theme.glyphs.bar_rest.repeat(cells - done), Role::BarRest)
                .with(format!(" {:.0}%{}", fraction * 100.0, left.unwrap_or_default()), Role::Text),
        );
    }
    fact(&mut lines, "kind", &operation.kind, Role::Text, width);
    if let Some(parent) = operation.parent {
        fact(&mut lines, "part of", &parent.to_string(), Role::Text, width);
    }
    fact(&mut lines, "asked by", &operation.actor, Role::Text, width);
    let moment = |at| text::moment(at, model.now, &model.zone);
    let mut times = format!("asked {}", moment(operation.created));
    if let Some(started) = operation.started {
        times.push_str(&format!(", began {}", moment(started)));
        times += &match operation.finished {
            Some(end) => format!(", took {}", text::took(started, end)),
            None => {
                format!(", runs for {}", text::span(text::seconds_between(started, model.now)))
            }
        };
    }
    fact(&mut lines, "times", &times, Role::Text, width);
    if operation.priority != 0 {
        fact(&mut lines, "priority", &format!("{:+}", operation.priority), Role::Text, width);
    }
    if operation.attempt > 0 {
        fact(&mut lines, "attempt", &(operation.attempt + 1).to_string(), Role::Text, width);
    }
    // What is gone by now is called as it was.
    let own = operation.resource.zip(operation.resource_name.as_deref());
    let name = |id| match own {
        Some((own, name)) if own == id => name.to_owned(),
        _ => model.name(id),
    };
    let given = given(model, theme, &operation.kind, &operation.params, name);
    for (number, line) in given.iter().enumerate() {
        let label = if number == 0 { "asked for" } else { "" };
        fact(&mut lines, label, line, Role::Text, width);
    }
    lines
}

/// What a kind is asked for with, a line for each value; resources are called what `name` says.
#[must_use]
pub fn given(
    model: &Model,
    theme: &Theme,
    kind: &str,
    params: &Params,
    name: impl Fn(ResourceId) -> String,
) -> Vec<String> {
    let spec = model.catalogue.get(kind);
    let called =
        spec.map(|spec| spec.called_by_name(params, &model.catalogue, |id| Some(name(id))));
    let mut given = as_lines(called.as_ref().unwrap_or(params));
    let more = given.len().saturating_sub(PARAMETERS);
    if more > 0 {
        given.truncate(PARAMETERS);
        given.push(format!("{} and {more} more", theme.glyphs.more));
    }
    given
}

/// An operation that this one asked for, and how it stands.
fn of_child(theme: &Theme, child: &Operation) -> StyledLine {
    let (glyph, role) = operation_state(&theme.glyphs, child.state);
    let words = [&child.uid.to_string(), &child.kind, &in_flight::about(child)];
    let words: Vec<&str> = words.iter().map(|it| it.as_str()).filter(|it| !it.is_empty()).collect();
    let what = match in_flight::what(child) {
        what if what.is_empty() => child.comment.clone().unwrap_or_default(),
        what => what,
    };
    StyledLine::new(format!("{glyph} "), role)
        .with(format!("{:<8}", child.state.word()), role)
        .with(format!("{}  ", words.join(" ")), Role::Text)
        .with(what, Role::Quiet)
}

fn of_step(model: &Model, theme: &Theme, step: &Step, width: u16, lines: &mut Vec<StyledLine>) {
    let g = theme.glyphs;
    let (glyph, role) = match step.state {
        StepState::Running => (g.busy, Role::Busy),
        StepState::Done => (g.good, Role::Good),
        StepState::Failed | StepState::Refused | StepState::UndoFailed => (g.bad, Role::Bad),
        StepState::Undone => (g.resting, Role::Resting),
    };
    let took = text::took(step.started, step.finished.unwrap_or(model.now));
    let name_width = usize::from(width).saturating_sub(24).clamp(10, 32);
    let name = text::fit(&step.name, name_width, g.more).into_owned();
    let gap = " ".repeat(name_width.saturating_sub(text::width(&name)));
    lines.push(
        StyledLine::new(format!("{glyph} "), role)
            .with(format!("{name}{gap} "), Role::Text)
            .with(format!("{:<11} ", step.state.word()), role)
            .with(took, Role::Quiet),
    );
    let room = usize::from(width).saturating_sub(4).max(8);
    if let Some(error) = &step.error {
        let broken = text::wrap(error, room);
        lines.extend(broken.into_iter().map(|l| StyledLine::new(format!("  {l}"), Role::Bad)));
    }
    for command in &step.commands {
        for (number, part) in text::wrap(&command.line, room).into_iter().enumerate() {
            let mark = if number == 0 { "  $ " } else { "    " };
            lines.push(StyledLine::new(mark, Role::Quiet).with(part, Role::Text));
        }
        let tail: Vec<&str> = command.tail.lines().collect();
        for line in &tail[tail.len().saturating_sub(TAIL)..] {
            lines.push(StyledLine::new(format!("    {line}"), Role::Quiet));
        }
        if let Some(ended) = &command.ended {
            let role =
                if matches!(ended.as_str(), "exit 0" | "ok") { Role::Quiet } else { Role::Bad };
            let took = command.took_ms as f64 / 1000.0;
            lines.push(StyledLine::new(format!("    {ended} after {took:.1} s"), role));
        }
    }
}
