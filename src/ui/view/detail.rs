//! Everything about what the keys are on, beside the list or in a window of its own.

use ratatui::layout::Rect;

use super::canvas::{Canvas, Line, spark};
use super::{flight, operation};
use crate::domain::{
    Disk, Encoding, Image, ImageForm, Repeat, Resource, ResourceId, ResourceKind, RunOutcome,
    State, Task, Vm,
};
use crate::ui::columns::{mib, state};
use crate::ui::model::{Model, PLOT_POINTS, Row};
use crate::ui::text;
use crate::ui::theme::{Role, Theme};

/// How wide the names of facts are.
const LABEL: usize = 9;

/// What stands over it.
#[must_use]
pub fn title(model: &Model) -> String {
    match model.shown() {
        Some(Row::Resource(resource)) => format!("{} · {}", resource.name(), resource.id()),
        Some(Row::Operation(operation)) => format!("Operation {}", operation.uid),
        None => "Detail".to_owned(),
    }
}

/// Draws it beside the list.
pub fn beside(model: &Model, canvas: &mut Canvas<'_>, area: Rect) {
    let width = area.width.saturating_sub(2);
    for (line, y) in lines(model, canvas.theme, width).iter().zip(area.y..area.bottom()) {
        canvas.line(area.x + 1, y, width, line);
    }
}

/// Its lines.
#[must_use]
pub fn lines(model: &Model, theme: &Theme, width: u16) -> Vec<Line> {
    match model.shown() {
        Some(Row::Resource(resource)) => of_resource(model, theme, resource, width),
        Some(Row::Operation(selected)) => match &model.beside {
            Some(view) if view.uid == selected.uid => operation::lines(model, theme, view, width),
            _ => {
                let view = crate::ui::model::OperationView {
                    uid: selected.uid,
                    detail: Some(crate::domain::OperationDetail {
                        operation: selected.clone(),
                        steps: Vec::new(),
                    }),
                    scroll: 0,
                };
                operation::lines(model, theme, &view, width)
            }
        },
        None => Vec::new(),
    }
}

/// A fact: its name and its value, which goes on below itself where it is long.
pub fn fact(lines: &mut Vec<Line>, label: &str, value: &str, role: Role, width: u16) {
    let room = usize::from(width).saturating_sub(LABEL + 1).max(8);
    for (number, part) in text::wrap(value, room).into_iter().enumerate() {
        let label = if number == 0 { label } else { "" };
        lines.push(Line::new(format!("{label:<LABEL$} "), Role::Quiet).with(part, role));
    }
}

fn of_resource(model: &Model, theme: &Theme, resource: &Resource, width: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    let glyphs = theme.glyphs;
    match model.flight.touching(resource.id(), resource.name()) {
        Some(operation) => {
            let doing = model
                .catalogue
                .get(&operation.kind)
                .map_or(operation.kind.as_str(), |spec| spec.doing.as_ref());
            let (glyph, role) = match operation.state {
                State::Run => (glyphs.busy, Role::Busy),
                _ => (glyphs.wait, Role::Waiting),
            };
            let what = flight::what(operation);
            let head = format!("{glyph} {doing}");
            // What it says of itself may begin with the same word.
            let tail = match what.strip_prefix(doing) {
                Some(rest) => rest.to_owned(),
                None if what.is_empty() => what,
                None => format!(" · {what}"),
            };
            lines.push(Line::new(head, role).with(tail, Role::Text));
            if let Some(progress) = &operation.progress
                && let Some(fraction) = progress.fraction
            {
                lines.push(bar(theme, fraction, progress.step, progress.steps, width));
            }
        }
        None => {
            let (glyph, role) = state(&glyphs, resource);
            lines.push(Line::new(format!("{glyph} {}", resource.state().replace('_', " ")), role));
            if let Some(operation) = model.flight.failed_on(resource.id()) {
                let what =
                    format!("{} {}: {}", operation.uid, operation.kind, flight::what(operation));
                fact(&mut lines, "failed", &what, Role::Bad, width);
            }
        }
    }
    match resource {
        Resource::Vm(vm) => of_vm(model, theme, vm, width, &mut lines),
        Resource::Disk(disk) => of_disk(model, disk, width, &mut lines),
        Resource::Task(task) => of_task(model, theme, task, width, &mut lines),
        Resource::Encoding(encoding) => of_encoding(model, theme, encoding, width, &mut lines),
        Resource::Image(image) => of_image(model, image, width, &mut lines),
    }
    lines
}

fn bar(theme: &Theme, fraction: f64, step: u32, steps: Option<u32>, width: u16) -> Line {
    let cells = usize::from(width / 3).max(6);
    let done = ((fraction.clamp(0.0, 1.0) * cells as f64).round() as usize).min(cells);
    let mut line = Line::new(theme.glyphs.bar_done.repeat(done), Role::Bar)
        .with(theme.glyphs.bar_rest.repeat(cells - done), Role::BarRest)
        .with(format!(" {:.0}%", fraction * 100.0), Role::Text);
    if let Some(steps) = steps {
        line = line.with(format!("   step {step} of {steps}"), Role::Quiet);
    }
    line
}

fn of_vm(model: &Model, theme: &Theme, vm: &Vm, width: u16, lines: &mut Vec<Line>) {
    if let Some(at) = vm.crashed {
        fact(lines, "crashed", &text::moment(at, model.now, &model.zone), Role::Bad, width);
    }
    if let Some(note) = &vm.note {
        fact(lines, "note", note, Role::Warning, width);
    }
    fact(lines, "os", &vm.os, Role::Text, width);
    let memory = format!("{} ({})", vm.shares, mib(vm.memory_mib));
    fact(lines, "shares", &memory, Role::Text, width);
    fact(lines, "cpu", &vm.cpu.to_string(), Role::Text, width);
    fact(lines, "login", &vm.login, Role::Text, width);
    let disks: Vec<String> = vm
        .disks
        .iter()
        .map(|disk| model.name(ResourceId::new(ResourceKind::Disk, *disk)))
        .collect();
    let disks = if disks.is_empty() { "the root disk only".to_owned() } else { disks.join(", ") };
    fact(lines, "disks", &disks, Role::Text, width);
    if let Some(started) = vm.started {
        // When, not how long: the screen need not change while nothing happens.
        let since = text::moment(started, model.now, &model.zone);
        let under = vm.accelerator.as_ref().map(|name| format!(" under {name}"));
        let up = format!("since {since}{}", under.unwrap_or_default());
        fact(lines, "up", &up, Role::Text, width);
    }
    if let Some(used) = vm.memory_used_mib {
        fact(lines, "memory", &format!("{} resident", mib(used)), Role::Text, width);
    }
    if let Some(points) = model.usage.get(&vm.id) {
        let per_cpu = vm.cpu.max(1) as f32;
        let room = usize::from(width).saturating_sub(LABEL + 8);
        let plot = spark(&theme.glyphs, points.iter().map(|point| point / per_cpu), room.min(40));
        let now = points.back().copied().unwrap_or_default();
        lines.push(
            Line::new(format!("{:<LABEL$} ", "load"), Role::Quiet)
                .with(plot, Role::Bar)
                .with(format!(" {now:.0}%"), Role::Text),
        );
    }
    created(model, vm.created, width, lines);
    fact(lines, "uuid", &vm.uuid.to_string(), Role::Quiet, width);
}

fn created(model: &Model, at: jiff::Timestamp, width: u16, lines: &mut Vec<Line>) {
    let at = text::moment(at, model.now, &model.zone);
    fact(lines, "created", &at, Role::Quiet, width);
}

fn of_disk(model: &Model, disk: &Disk, width: u16, lines: &mut Vec<Line>) {
    fact(lines, "size", &text::bytes(disk.size_mb << 20), Role::Text, width);
    fact(lines, "made as", disk.fstype.word(), Role::Text, width);
    if let Some(vm) = disk.vm {
        let name = model.name(ResourceId::new(ResourceKind::Vm, vm));
        fact(lines, "vm", &name, Role::Text, width);
        // udev puts the bus and the maker before it; a shell finds it all the same.
        let seen = format!("/dev/disk/by-id/*_{}", disk.device_id());
        fact(lines, "in guest", &seen, Role::Text, width);
    }
    let file = format!("{} ({})", disk.path.display(), disk.format.word());
    fact(lines, "file", &file, Role::Text, width);
    created(model, disk.created, width, lines);
    if let Some(at) = disk.trashed {
        let at = text::moment(at, model.now, &model.zone);
        fact(lines, "trashed", &at, Role::Warning, width);
    }
}

/// When a task fires, in words.
fn when(repeat: &Repeat) -> String {
    use crate::domain::Every::{Any, At};
    const DAYS: [&str; 7] =
        ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    let time = match (repeat.hour, repeat.minute) {
        (Any, Any) => "every minute".to_owned(),
        (Any, At(minute)) => format!("every hour at :{minute:02}"),
        (At(hour), Any) => format!("every minute from {hour:02}:00 to {hour:02}:59"),
        (At(hour), At(minute)) => format!("at {hour:02}:{minute:02}"),
    };
    let mut parts = vec![time];
    if let At(weekday) = repeat.weekday {
        parts.push(format!("on {}", DAYS.get(usize::from(weekday)).unwrap_or(&"?")));
    }
    if let At(day) = repeat.day {
        parts.push(format!("on day {day} of the month"));
    }
    if let At(week) = repeat.week {
        parts.push(format!("in week {week} of the month"));
    }
    if let Some(start) = repeat.start {
        parts.push(format!("from {start}"));
    }
    if let Some(end) = repeat.end {
        parts.push(format!("until {end}"));
    }
    parts.join(", ")
}

fn of_task(model: &Model, theme: &Theme, task: &Task, width: u16, lines: &mut Vec<Line>) {
    fact(lines, "when", &when(&task.repeat), Role::Text, width);
    let next = task.next.map(|next| text::moment(next, model.now, &model.zone));
    let never = if task.active { "never again" } else { "not while it is off" };
    fact(lines, "next", next.as_deref().unwrap_or(never), Role::Text, width);
    fact(lines, "does", &task.kind, Role::Text, width);
    for (name, value) in &task.params {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fact(lines, "", &format!("{name}={value}"), Role::Quiet, width);
    }
    if let Some(problem) = &task.problem {
        fact(lines, "problem", problem, Role::Bad, width);
    }
    lines.push(Line::empty());
    lines.push(Line::new("Firings", Role::Title));
    if task.runs.is_empty() {
        lines.push(Line::new("none yet", Role::Quiet));
    }
    for run in &task.runs {
        let due = text::moment(run.due, model.now, &model.zone);
        let (what, role) = match &run.outcome {
            RunOutcome::Queued { uid } => {
                (format!("{} queued as {uid}", theme.glyphs.good), Role::Good)
            }
            RunOutcome::Refused { why } => {
                (format!("{} refused: {why}", theme.glyphs.bad), Role::Bad)
            }
            RunOutcome::Missed => {
                (format!("{} missed: hostler was not running", theme.glyphs.wait), Role::Waiting)
            }
        };
        let hand = if run.by_hand { " by hand" } else { "" };
        let room = usize::from(width).saturating_sub(13).max(8);
        for (number, part) in text::wrap(&format!("{what}{hand}"), room).into_iter().enumerate() {
            let due = if number == 0 { due.as_str() } else { "" };
            lines.push(Line::new(format!("{due:<13}"), Role::Quiet).with(part, role));
        }
    }
}

/// How fast an encoding goes and went, where it is being encoded.
fn speed(model: &Model, theme: &Theme, encoding: &Encoding, width: u16) -> Option<Line> {
    let id = ResourceId::new(ResourceKind::Encoding, encoding.id);
    let operation = model.flight.touching(id, &encoding.name)?;
    let now = operation.progress.as_ref()?.speed?;
    let points = model.flight.speeds(operation.uid);
    // The height is a share of the fastest: there is no full speed to measure by.
    let fastest = points.clone().fold(f32::MIN_POSITIVE, f32::max);
    let now = format!(" {now:.1}×");
    let room = usize::from(width).saturating_sub(LABEL + 1 + text::width(&now));
    let shares = points.map(|point| point / fastest * 100.0);
    let plot = spark(&theme.glyphs, shares, room.min(PLOT_POINTS));
    Some(
        Line::new(format!("{:<LABEL$} ", "speed"), Role::Quiet)
            .with(plot, Role::Bar)
            .with(now, Role::Text),
    )
}

fn of_encoding(
    model: &Model,
    theme: &Theme,
    encoding: &Encoding,
    width: u16,
    lines: &mut Vec<Line>,
) {
    // First, so that it is seen on the smallest screen too.
    lines.extend(speed(model, theme, encoding, width));
    fact(lines, "preset", &encoding.preset, Role::Text, width);
    fact(lines, "source", &encoding.source.display().to_string(), Role::Text, width);
    let mut about = Vec::new();
    if let Some(seconds) = encoding.duration_s {
        about.push(text::clock(seconds.max(0.0) as u64));
    }
    if let Some(bytes) = encoding.source_bytes {
        about.push(text::bytes(bytes));
    }
    if !about.is_empty() {
        fact(lines, "", &about.join(" · "), Role::Quiet, width);
    }
    fact(lines, "output", &encoding.output.display().to_string(), Role::Text, width);
    if let Some(bytes) = encoding.output_bytes {
        fact(lines, "", &text::bytes(bytes), Role::Quiet, width);
    }
    if let Some(speed) = encoding.speed {
        fact(lines, "speed", &format!("{speed:.1}× as fast as it plays"), Role::Text, width);
    }
    created(model, encoding.created, width, lines);
    if let Some(at) = encoding.finished {
        let at = text::moment(at, model.now, &model.zone);
        fact(lines, "finished", &at, Role::Quiet, width);
    }
}

fn of_image(model: &Model, image: &Image, width: u16, lines: &mut Vec<Line>) {
    fact(lines, "what", &image.label, Role::Text, width);
    let form = match &image.form {
        Some(ImageForm::Disk { .. }) => "a disk with its own boot loader",
        Some(ImageForm::DirectDisk { .. }) => "a disk; QEMU loads the kernel",
        Some(ImageForm::Direct { .. }) => "a kernel and an initrd",
        Some(ImageForm::Iso { .. }) => "a bootable CD",
        None => "not ready yet",
    };
    fact(lines, "boots", form, Role::Text, width);
    fact(lines, "login", &image.login, Role::Text, width);
    fact(lines, "source", &image.source, Role::Text, width);
    let mut size = text::bytes(image.bytes);
    if image.virtual_bytes > 0 {
        size = format!("{size}, {} to a guest", text::bytes(image.virtual_bytes));
    }
    fact(lines, "size", &size, Role::Text, width);
    if let Some(sha256) = &image.sha256 {
        fact(lines, "sha256", sha256, Role::Quiet, width);
    }
    created(model, image.created, width, lines);
}
