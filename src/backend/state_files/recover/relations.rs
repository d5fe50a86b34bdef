//! Which disk is attached to which VM: by what is taken in, what the database knows, and what each
//! QEMU has. Disk and VM are described one after the other, so either may say less than is so.

use std::collections::BTreeMap;

use crate::domain::{Disk, DiskState, Resource, ResourceId, ResourceKind, Vm};

use super::Plan;

impl Plan<'_> {
    /// Makes VMs and disks agree. A disk that its VM may still use must not be called free.
    pub(super) fn relate(&mut self) {
        let all = |kind| self.inventory.of(kind).map(|it| (**it).clone());
        let vms: BTreeMap<u64, Vm> = all(Vm::KIND)
            .filter_map(|it| match it {
                Resource::Vm(vm) => Some((vm.id, vm)),
                _ => None,
            })
            .collect();
        let disks: Vec<Disk> = all(Disk::KIND)
            .filter_map(|it| match it {
                Resource::Disk(disk) if disk.state != DiskState::BeingCreated => Some(disk),
                _ => None,
            })
            .collect();
        let holders: BTreeMap<u64, Option<u64>> =
            disks.iter().map(|disk| (disk.id, self.holder(disk, &vms))).collect();
        for disk in disks {
            let vm = holders[&disk.id];
            let state = match (disk.state, vm) {
                (DiskState::Trashed, _) => DiskState::Trashed,
                (_, Some(_)) => DiskState::Attached,
                (_, None) => DiskState::Free,
            };
            let how = vm.map_or_else(|| "free".to_owned(), |vm| format!("attached to vm/{vm}"));
            self.change(Resource::Disk(Disk { state, vm, ..disk }), how);
        }
        for (_, vm) in vms {
            let has = |disk: &u64| holders.get(disk) == Some(&Some(vm.id));
            let mut has_now: Vec<u64> = vm.disks.iter().copied().filter(has).collect();
            has_now.extend(holders.keys().filter(|disk| has(disk) && !vm.disks.contains(disk)));
            let how = match has_now.len() {
                1 => "has 1 disk".to_owned(),
                many => format!("has {many} disks"),
            };
            self.change(Resource::Vm(Vm { disks: has_now, ..vm }), how);
        }
    }

    /// The VM that has a disk: the one whose QEMU has it, or else the one that is said to by what
    /// is taken in, or else the one that the database says.
    fn holder(&self, disk: &Disk, vms: &BTreeMap<u64, Vm>) -> Option<u64> {
        if disk.state == DiskState::Trashed {
            return None;
        }
        let plugged = self.plugged.iter().find(|(_, disks)| disks.contains(&disk.id));
        if let Some((vm, _)) = plugged {
            return Some(*vm);
        }
        let lists = |vm: &&Vm| vm.disks.contains(&disk.id);
        let is_taken = |vm: &&Vm| self.is_taken(Vm::KIND, vm.id);
        // A QEMU that was asked and does not have it is believed.
        let others = || vms.values().filter(|vm| !self.plugged.contains_key(&vm.id));
        let said = disk.vm.filter(|_| self.is_taken(Disk::KIND, disk.id));
        let names = |number: Option<u64>| others().find(move |vm| Some(vm.id) == number);
        let holder = others()
            .filter(is_taken)
            .find(lists)
            .or_else(|| names(said))
            .or_else(|| names(disk.vm))
            .or_else(|| others().find(lists));
        holder.map(|vm| vm.id)
    }

    fn is_taken(&self, kind: ResourceKind, number: u64) -> bool {
        self.taken.contains_key(&ResourceId::new(kind, number))
    }

    /// Puts down what a resource is now, unless it is that already.
    fn change(&mut self, resource: Resource, how: String) {
        let id = resource.id();
        if self.inventory.resource(id).is_some_and(|known| *known == resource) {
            return;
        }
        let what = format!("{id} '{}'", resource.name());
        // What is taken in is told already.
        self.done.taken.entry(what).or_insert(how);
        self.put(resource);
    }
}
