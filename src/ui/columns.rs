//! What each list shows of a row: its columns, and what stands in them.

use crate::domain::{
    Disk, DiskState, Encoding, EncodingState, Image, ImageState, Operation, Resource, ResourceId,
    ResourceKind, Run, RunOutcome, State, Subject, Task, Vm, VmState, filter::head,
};

use super::model::{Model, Row, Tab};
use super::text;
use super::theme::{Glyphs, Role};

/// A column of a list.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The name filters and sorting use, where they know it.
    pub name: &'static str,
    /// How wide it is; 0 takes what is left.
    pub width: u16,
    /// Whether it stands on the right, as numbers do.
    pub right: bool,
    /// Shown only in lists at least this wide.
    pub from: u16,
}

impl Column {
    /// What stands over it: the word that means it in a filter too.
    #[must_use]
    pub fn title(&self, of: Subject) -> String {
        head(of, self.name).to_uppercase()
    }
}

const fn column(name: &'static str, width: u16, from: u16) -> Column {
    Column { name, width, right: false, from }
}

const fn number(name: &'static str, width: u16, from: u16) -> Column {
    Column { name, width, right: true, from }
}

/// The columns of a tab, as many as a list of that width has room for.
#[must_use]
pub fn columns(tab: Tab, width: u16) -> Vec<Column> {
    let all: &[Column] = match tab {
        Tab::Vms => &[
            column("name", 0, 0),
            column("state", 14, 0),
            number("cpu", 5, 44),
            number("memory", 6, 50),
            number("used", 8, 60),
            number("vcpu", 4, 90),
            column("os", 14, 66),
        ],
        Tab::Disks => &[
            column("name", 0, 0),
            column("state", 14, 0),
            number("size", 9, 38),
            column("fstype", 8, 52),
            column("vm", 14, 60),
        ],
        Tab::Tasks => &[
            column("name", 0, 0),
            column("state", 11, 0),
            column("next", 12, 38),
            column("kind", 13, 72),
            column("last", 14, 56),
        ],
        Tab::Encodings => &[
            column("name", 0, 0),
            column("state", 14, 0),
            column("preset", 8, 46),
            number("bytes", 9, 56),
            number("duration", 8, 66),
        ],
        Tab::Operations => &[
            number("uid", 7, 0),
            column("kind", 13, 0),
            column("name", 0, 0),
            column("state", 10, 0),
            column("actor", 13, 90),
            column("created", 12, 58),
        ],
        Tab::Images => &[
            column("name", 0, 0),
            column("state", 14, 0),
            number("bytes", 9, 44),
            column("label", 24, 62),
        ],
    };
    all.iter().filter(|column| width >= column.from).copied().collect()
}

/// What stands in a column, and what it means.
#[must_use]
pub fn cell(model: &Model, glyphs: &Glyphs, row: Row<'_>, name: &str) -> (String, Role) {
    match row {
        Row::Operation(operation) => of_operation(model, glyphs, operation, name),
        Row::Resource(resource) => match (name, resource) {
            ("name", _) => (resource.name().to_owned(), Role::Text),
            ("state", _) => {
                let (glyph, role) = state(glyphs, resource);
                (format!("{glyph} {}", resource.state().replace('_', " ")), role)
            }
            (_, Resource::Vm(vm)) => of_vm(glyphs, vm, name),
            (_, Resource::Disk(disk)) => of_disk(model, glyphs, disk, name),
            (_, Resource::Task(task)) => of_task(model, glyphs, task, name),
            (_, Resource::Encoding(encoding)) => of_encoding(glyphs, encoding, name),
            (_, Resource::Image(image)) => of_image(glyphs, image, name),
        },
    }
}

/// The glyph and meaning of a resource's state.
#[must_use]
pub const fn state(glyphs: &Glyphs, resource: &Resource) -> (&'static str, Role) {
    let making = (glyphs.busy, Role::Busy);
    let resting = (glyphs.resting, Role::Resting);
    match resource {
        Resource::Vm(vm) => match vm.state {
            VmState::BeingCreated => making,
            VmState::Halted => resting,
            VmState::Running => (glyphs.running, Role::Good),
            VmState::Paused => (glyphs.paused, Role::Waiting),
            VmState::Crashed | VmState::Invalid => (glyphs.bad, Role::Bad),
        },
        Resource::Disk(disk) => match disk.state {
            DiskState::BeingCreated => making,
            DiskState::Free | DiskState::Trashed => resting,
            DiskState::Attached => (glyphs.running, Role::Good),
        },
        Resource::Image(image) => match image.state {
            ImageState::BeingCreated => making,
            ImageState::Ready => (glyphs.running, Role::Good),
        },
        Resource::Task(task) => {
            if task.active {
                (glyphs.running, Role::Good)
            } else {
                resting
            }
        }
        Resource::Encoding(encoding) => match encoding.state {
            EncodingState::Waiting => (glyphs.wait, Role::Waiting),
            EncodingState::Encoding => making,
            EncodingState::Finished => (glyphs.good, Role::Good),
            EncodingState::Failed => (glyphs.bad, Role::Bad),
            EncodingState::Cancelled => resting,
        },
    }
}

/// The glyph and meaning of an operation's state.
#[must_use]
pub const fn operation_state(glyphs: &Glyphs, state: State) -> (&'static str, Role) {
    match state {
        State::Pending => (glyphs.wait, Role::Waiting),
        State::Run => (glyphs.play, Role::Busy),
        State::Done => (glyphs.good, Role::Good),
        State::Error => (glyphs.bad, Role::Bad),
        State::Cancel => (glyphs.resting, Role::Resting),
    }
}

fn none(glyphs: &Glyphs) -> (String, Role) {
    (glyphs.none.to_owned(), Role::Quiet)
}

/// Memory in MiB, briefly: `412M`, `1.0G`.
#[must_use]
pub fn mib(mib: u64) -> String {
    if mib < 1000 { format!("{mib}M") } else { format!("{:.1}G", mib as f64 / 1024.0) }
}

fn of_vm(glyphs: &Glyphs, vm: &Vm, name: &str) -> (String, Role) {
    let running = matches!(vm.state, VmState::Running | VmState::Paused);
    match name {
        "cpu" => match vm.cpu_percent.filter(|_| running) {
            Some(percent) => (format!("{percent:.0}%"), Role::Text),
            None => none(glyphs),
        },
        "memory" => (mib(vm.memory_mib), Role::Text),
        "used" => match vm.memory_used_mib.filter(|_| running) {
            Some(used) => (mib(used), Role::Text),
            None => none(glyphs),
        },
        "vcpu" => (vm.cpu.to_string(), Role::Text),
        "os" => (vm.os.clone(), Role::Quiet),
        _ => none(glyphs),
    }
}

fn of_disk(model: &Model, glyphs: &Glyphs, disk: &Disk, name: &str) -> (String, Role) {
    match name {
        "size" => (text::bytes(disk.size_mb << 20), Role::Text),
        "fstype" => (disk.fstype.word().to_owned(), Role::Text),
        "vm" => match disk.vm {
            Some(vm) => (model.name(ResourceId::new(ResourceKind::Vm, vm)), Role::Text),
            None => none(glyphs),
        },
        _ => none(glyphs),
    }
}

fn of_task(model: &Model, glyphs: &Glyphs, task: &Task, name: &str) -> (String, Role) {
    match name {
        "next" => match task.next {
            Some(next) => (text::moment(next, model.now, &model.zone), Role::Text),
            None => none(glyphs),
        },
        "kind" => (task.kind.clone(), Role::Text),
        _ => match task.runs.first() {
            Some(run) => last(model, glyphs, run),
            None => none(glyphs),
        },
    }
}

/// What happened when a task last fired, and when that was.
fn last(model: &Model, glyphs: &Glyphs, run: &Run) -> (String, Role) {
    let at = text::moment(run.due, model.now, &model.zone);
    let (glyph, role) = match &run.outcome {
        // How what is no longer in flight ended is not known here.
        RunOutcome::Queued { uid } => match model.flight.get(*uid) {
            Some(operation) => operation_state(glyphs, operation.state),
            None => return (at, Role::Text),
        },
        RunOutcome::Refused { .. } => return (format!("{} refused", glyphs.bad), Role::Bad),
        RunOutcome::Missed => return (format!("{} missed", glyphs.wait), Role::Waiting),
    };
    (format!("{glyph} {at}"), role)
}

fn of_encoding(glyphs: &Glyphs, encoding: &Encoding, name: &str) -> (String, Role) {
    match name {
        "preset" => (encoding.preset.clone(), Role::Text),
        "bytes" => match encoding.output_bytes {
            Some(bytes) => (text::bytes(bytes), Role::Text),
            None => none(glyphs),
        },
        "duration" => match encoding.duration_s {
            Some(seconds) => (text::clock(seconds.max(0.0) as u64), Role::Text),
            None => none(glyphs),
        },
        _ => none(glyphs),
    }
}

fn of_image(glyphs: &Glyphs, image: &Image, name: &str) -> (String, Role) {
    match name {
        "bytes" if image.bytes > 0 => (text::bytes(image.bytes), Role::Text),
        "label" => (image.label.clone(), Role::Quiet),
        _ => none(glyphs),
    }
}

fn of_operation(
    model: &Model,
    glyphs: &Glyphs,
    operation: &Operation,
    name: &str,
) -> (String, Role) {
    match name {
        "uid" => (operation.uid.to_string(), Role::Text),
        "kind" => (operation.kind.clone(), Role::Text),
        "name" => match &operation.resource_name {
            Some(name) => (name.clone(), Role::Text),
            None => none(glyphs),
        },
        "state" => {
            let (glyph, role) = operation_state(glyphs, operation.state);
            (format!("{glyph} {}", operation.state), role)
        }
        "actor" => (operation.actor.clone(), Role::Quiet),
        _ => (text::moment(operation.created, model.now, &model.zone), Role::Quiet),
    }
}
