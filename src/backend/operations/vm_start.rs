//! `vm_start`: a halted VM, running again.

use serde::{Deserialize, Serialize};

use crate::backend::journal::{Context, Stop};
use crate::backend::load;
use crate::backend::settings::Settings;
use crate::domain::{
    Effect, Field, FieldType, LockMode, LockRule, OperationSpec, Preview, Resource, ResourceKind,
    Risk,
};

use super::{Kind, World, guests};

/// The kind.
pub struct VmStart;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    vm: u64,
}

impl Kind for VmStart {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "vm_start".into(),
            title: "Start".into(),
            doc: "Starts a halted virtual machine with the disks that are attached to it.".into(),
            doing: "starting".into(),
            resource: ResourceKind::Vm,
            effect: Effect::Changes,
            subject: Some("vm".into()),
            lane: "vm".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![Field::required(
                "vm",
                FieldType::Resource { of: ResourceKind::Vm, states: vec!["halted".into()] },
                "The VM to start.",
            )],
            locks: vec![LockRule { field: "vm".into(), mode: LockMode::Exclusive }],
            requires: vec!["halted".into()],
            leaves: Some("running".into()),
            once: false,
            steps: vec!["start".into()],
        }
    }

    fn preview(params: &Parameters, world: &World<'_>) -> Preview {
        let Some(vm) = world.inventory.vm(params.vm) else { return Preview::default() };
        let mut effects = vec![format!(
            "VM '{}' is started with {} MiB of memory, {} processors and {} disks beside its own.",
            vm.name,
            vm.memory_mib,
            vm.cpu,
            vm.disks.len()
        )];
        if let Some(free) = load::available_mib().filter(|free| *free < vm.memory_mib) {
            effects.push(format!(
                "The box has only {free} MiB of memory free: it will swap, or QEMU may be killed."
            ));
        }
        Preview { effects, ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<(), Stop> {
        let id = params.vm;
        cx.step("start")
            .says("starting QEMU")
            .undo(move |step| async move {
                let vm = step.cx().vm(id)?;
                let guest = guests::guest(step.cx().settings(), &vm);
                step.cx().ports().hypervisor.quit(&guest, step.log()).await?;
                let note = vm.note.clone();
                step.put(Resource::Vm(guests::halted(vm, note)));
                Ok(())
            })
            .run(|step| async move {
                let spec = guests::launchable(step.cx(), &step.cx().vm(id)?)?;
                let launched = step.cx().ports().hypervisor.launch(&spec, step.log()).await?;
                step.put(guests::running(step.cx(), id, launched)?);
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{House, Trial};
    use crate::domain::{Reason, VmState};

    #[tokio::test]
    async fn it_endures_everything() {
        let trial = Trial {
            kind: "vm_start",
            params: json!({ "vm": "web-1" }),
            setup: |house| Box::pin(async { assert_eq!(house.some_halted_vm().await, 1) }),
            undoes: true,
        };
        trial.endure().await;
    }

    #[tokio::test]
    async fn a_started_vm_runs_and_cannot_be_started_again() {
        let mut house = House::open();
        let vm = house.some_halted_vm().await;
        assert_eq!(house.vm(vm).await.state, VmState::Halted);
        house.done("vm_start", json!({ "vm": vm })).await;
        assert_eq!(house.vm(vm).await.state, VmState::Running);
        let (reason, field, refusal) = house.refused("vm_start", json!({ "vm": vm })).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "vm"), "{refusal}");
    }
}
