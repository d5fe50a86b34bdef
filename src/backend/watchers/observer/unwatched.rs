//! What became of VMs while nobody watched them, as far as that is known without asking a guest.
//!
//! After the box was off no process lives of any. Whoever asks first would be answered from what
//! was so before, and refused; so this is found out before anybody can ask.

use crate::backend::engine::kind::locks;
use crate::backend::engine::storage::Opened;
use crate::backend::operations::KindEntry;
use crate::backend::ports::{Guest, Hypervisor, Ports};
use crate::backend::settings::Settings;
use crate::domain::{Disk, Operation, Resource, ResourceId, State, Vm, VmState};

/// Brings the records of VMs to where they are, whose processes ended while nobody watched. Returns
/// those VMs. One that a running operation holds is that operation's business.
pub(in crate::backend) fn put_right(
    opened: &mut Opened,
    (ports, settings): (&Ports, &Settings),
    kinds: &[KindEntry],
) -> Vec<Vm> {
    let Opened { operations, resources, .. } = opened;
    let up = |it: &&Resource| it.get::<Vm>().is_some_and(Vm::is_up);
    if !resources.iter().any(|it| up(&it)) {
        return Vec::new();
    }
    let running = operations.iter().filter(|it| it.state == State::Run);
    let held: Vec<ResourceId> = running.flat_map(|it| held(it, kinds)).collect();
    let is_free = |vm: &Vm| {
        let disks = vm.disks.iter().map(|disk| ResourceId::new(Disk::KIND, *disk));
        disks.chain([ResourceId::new(Vm::KIND, vm.id)]).all(|id| !held.contains(&id))
    };
    let free = resources.iter().filter(up).filter_map(Resource::get::<Vm>).filter(|vm| is_free(vm));
    let dead = ports.hypervisor.dead(free.map(|vm| settings.guest(vm)).collect());
    let mut changed = Vec::new();
    for resource in resources {
        let Resource::Vm(vm) = resource else { continue };
        if let Some(guest) = dead.iter().find(|guest| guest.id == vm.id) {
            *vm = ended(vm.clone(), guest, ports);
            changed.push(vm.clone());
        }
    }
    changed
}

/// The resources that an operation holds while it runs.
fn held(operation: &Operation, kinds: &[KindEntry]) -> Vec<ResourceId> {
    let Some(kind) = kinds.iter().find(|kind| kind.spec.kind == operation.kind) else {
        return operation.resource.into_iter().collect();
    };
    let locks = locks(&kind.spec, operation.resource, &operation.params);
    locks.into_iter().map(|(id, _)| id).collect()
}

/// A VM whose process is gone.
pub(super) fn ended(vm: Vm, guest: &Guest, ports: &Ports) -> Vm {
    let hypervisor: &dyn Hypervisor = &*ports.hypervisor;
    // Whoever ended it did not come to say so.
    if hypervisor.was_ended(guest) {
        return vm.halted(None);
    }
    let cause = hypervisor.last_words(guest).unwrap_or_else(|| {
        "it said nothing, as when it is killed (by kill -9, or by the kernel when memory runs out)"
            .to_owned()
    });
    let log = guest.dir.join("qemu.log");
    let note = format!("QEMU ended unexpectedly: {cause}; see {}", log.display());
    vm.crashed(ports.clock.now(), note)
}

/// What is to be told of a VM that has a note, which is logged.
pub(in crate::backend) fn tell(vm: &Vm) -> Option<String> {
    let (id, name, note) = (vm.id, &vm.name, vm.note.as_ref()?);
    let message = match vm.state {
        VmState::Crashed => format!("vm/{id} '{name}' crashed: {note}"),
        state => format!("vm/{id} '{name}' is {}: {note}", state.word()),
    };
    if vm.state == VmState::Halted {
        tracing::info!("{message}");
    } else {
        tracing::warn!("{message}");
    }
    Some(message)
}
