//! What the console knows of single kinds of resources beyond their descriptions: when tasks fire,
//! the load of guests.

use crate::domain::{Resource, ResourceKind, Task, Vm};

/// The kind whose list has the timeline.
pub const TIMELINE: ResourceKind = Task::KIND;

/// The kind whose load is observed.
pub const OBSERVED: ResourceKind = Vm::KIND;

/// What was observed of a resource and is not stored stays until it is observed anew.
#[must_use]
pub fn keep_observed(new: &Resource, old: &Resource) -> Resource {
    let mut new = new.clone();
    if let (Some(new), Some(old)) = (new.get_mut::<Vm>(), old.get::<Vm>())
        && new.state == old.state
    {
        new.cpu_percent = new.cpu_percent.or(old.cpu_percent);
        new.memory_used_mib = new.memory_used_mib.or(old.memory_used_mib);
    }
    new
}

/// Whether it is of a kind that has a load, and has none now.
#[must_use]
pub fn is_down(resource: &Resource) -> bool {
    resource.get::<Vm>().is_some_and(|vm| !vm.is_up())
}

/// Puts what was observed into a resource. Returns whether it is of a kind that has a load.
pub fn observe(resource: &mut Resource, cpu_percent: f32, memory_mib: u64) -> bool {
    let Some(vm) = resource.get_mut::<Vm>() else { return false };
    vm.cpu_percent = Some(cpu_percent);
    vm.memory_used_mib = Some(memory_mib);
    true
}
