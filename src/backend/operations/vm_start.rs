//! `vm_start`: a halted VM, running again.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::ports::GuestStatus;
use crate::backend::settings::Settings;
use crate::domain::display;
use crate::domain::{
    Effect, Field, FieldType, Hint, LockMode, LockRule, OperationSpec, Outcome, Preview, Resource,
    Risk, Vm, VmState,
};

use super::demand::Demand;
use super::{AdmissionContext, Context, Kind, guests};

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
            doc:
                "Starts a halted or crashed virtual machine with the disks that are attached to it."
                    .into(),
            doing: "starting".into(),
            resource: Some(Vm::KIND),
            effect: Effect::Changes,
            subject: Some("vm".into()),
            lane: "vm".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![Field::required(
                "vm",
                FieldType::Resource {
                    of: Vm::KIND,
                    states: vec!["halted".into(), "crashed".into()],
                },
                "The VM to start.",
            )],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("start", &["s"], 11),
            locks: vec![LockRule { field: "vm".into(), mode: LockMode::Exclusive }],
            requires: vec!["halted".into(), "crashed".into()],
            state_after: Some("running".into()),
            reject_duplicates: false,
            steps: vec!["start".into()],
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some(vm) = world.inventory.get::<Vm>(params.vm) else { return Preview::default() };
        let effects = vec![format!(
            "VM '{}' is started with {} of memory, {} processors and {} disks beside its own.",
            vm.name,
            display::mib(vm.memory_mib),
            vm.cpu,
            vm.disks.len()
        )];
        Preview { effects, ..Preview::default() }
    }

    fn demands(params: &Parameters, world: &AdmissionContext<'_>) -> Vec<Demand> {
        let vm = world.inventory.get::<Vm>(params.vm);
        vm.map(|vm| Demand::Memory(vm.memory_mib)).into_iter().collect()
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = params.vm;
        cx.step("start")
            .label("starting QEMU")
            .undo(move |step| async move {
                let vm = step.cx().get::<Vm>(id)?;
                let guest = step.cx().settings().guest(&vm);
                let hypervisor = &step.cx().ports().hypervisor;
                hypervisor.withdraw(&guest, &step.cx().attempt_name(), step.log()).await?;
                // What lives now is not of our making: it stays, and is put on record. The observer
                // finds out what else there is to say about it.
                let lives = hypervisor.status(&guest).await? != GuestStatus::Off;
                if lives && !vm.is_up() {
                    step.put(Resource::Vm(Vm { state: VmState::Running, crashed: None, ..vm }));
                }
                Ok(())
            })
            .run(|step| async move {
                let vm = step.cx().get::<Vm>(id)?;
                let spec = guests::launchable(step.cx(), &vm)?;
                guests::settle_root(&step, &vm).await?;
                let launched = step.cx().ports().hypervisor.launch(&spec, step.log()).await?;
                step.put(guests::running(step.cx(), id, launched)?);
                Ok(())
            })
            .await?;
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::backend::ports::{GuestEvent, GuestStatus};
    use crate::backend::testing::fake::CallFault;
    use crate::backend::testing::harness::{FaultMatrix, Harness, params};
    use crate::domain::{Control, Reason, ResourceId, State, Vm, VmState};

    #[tokio::test]
    async fn it_survives_faults() {
        let tested = FaultMatrix {
            kind: "vm_start",
            params: json!({ "vm": "web-1" }),
            setup: |harness| Box::pin(async { assert_eq!(harness.some_halted_vm().await, 1) }),
            undoes: true,
        };
        tested.survives_faults().await;
    }

    #[tokio::test]
    async fn a_crashed_vm_can_be_started() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        harness.fake.becomes(vm, GuestStatus::Off, GuestEvent::Gone);
        let id = ResourceId::new(Vm::KIND, vm);
        harness.becomes(id, |it| it.state() == "crashed").await;
        harness.done("vm_start", json!({ "vm": vm })).await;
        let vm = harness.vm(vm).await;
        assert_eq!((vm.state, vm.crashed, vm.note), (VmState::Running, None, None));
    }

    #[tokio::test]
    async fn a_guest_that_lives_behind_our_back_outlives_a_start_that_fails() {
        for trouble in [CallFault::Before, CallFault::After] {
            let mut harness = Harness::open();
            let vm = harness.some_halted_vm().await;
            harness.fake.orphan(vm);
            harness.fake.trouble(0, trouble);
            harness.fails("vm_start", json!({ "vm": vm })).await;
            assert!(harness.fake.processes().contains_key(&vm), "{trouble:?}");
            assert_eq!(harness.vm(vm).await.state, VmState::Running, "{trouble:?}");
        }
    }

    #[tokio::test]
    async fn who_gives_no_answer_is_not_put_on_record_as_alive() {
        let mut harness = Harness::open();
        let vm = harness.some_halted_vm().await;
        harness.fake.answers(false);
        let (uid, why) = harness.fails("vm_start", json!({ "vm": vm })).await;
        assert!(why.contains("no answer") && why.contains("could not be undone"), "{why}");
        assert_eq!(harness.vm(vm).await.state, VmState::Halted);
        harness.fake.answers(true);
        harness.control(Control::Relaunch { uid, params: params(json!({})) }).await;
        harness.reaches(uid, &[State::Done]).await;
        assert_eq!(harness.vm(vm).await.state, VmState::Running);
    }

    #[tokio::test]
    async fn a_started_vm_runs_and_cannot_be_started_again() {
        let mut harness = Harness::open();
        let vm = harness.some_halted_vm().await;
        assert_eq!(harness.vm(vm).await.state, VmState::Halted);
        harness.done("vm_start", json!({ "vm": vm })).await;
        assert_eq!(harness.vm(vm).await.state, VmState::Running);
        let (reason, field, refusal) = harness.refused("vm_start", json!({ "vm": vm })).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "vm"), "{refusal}");
    }
}
