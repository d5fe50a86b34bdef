//! `disk_attach`: a free disk, given to a VM: while it runs, or with its next start.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{
    Disk, DiskState, Effect, Failure, Field, FieldType, Hint, LockMode, LockRule, OperationSpec,
    Outcome, Preview, Reason, Refusal, Risk, Vm, VmState,
};

use super::{AdmissionContext, Context, Kind, disks};

/// The kind.
pub struct DiskAttach;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    disk: u64,
    vm: u64,
}

impl Kind for DiskAttach {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "disk_attach".into(),
            title: "Attach".into(),
            doc: "Attaches a disk to a virtual machine. A running guest sees it at once, under \
                  /dev/disk/by-id; a halted one when it is started."
                .into(),
            doing: "attaching".into(),
            resource: Some(Disk::KIND),
            effect: Effect::Changes,
            subject: Some("disk".into()),
            lane: "disk".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![
                Field::required(
                    "disk",
                    FieldType::Resource { of: Disk::KIND, states: vec!["free".into()] },
                    "The disk to attach.",
                ),
                Field::required(
                    "vm",
                    FieldType::Resource {
                        of: Vm::KIND,
                        states: vec![
                            "running".into(),
                            "halted".into(),
                            "crashed".into(),
                            "paused".into(),
                        ],
                    },
                    "The VM that gets it.",
                ),
            ],
            offered_on: vec![Vm::KIND],
            edits: false,
            hint: Hint::new("attach", &["a"], 15),
            locks: vec![
                LockRule { field: "disk".into(), mode: LockMode::Exclusive },
                LockRule { field: "vm".into(), mode: LockMode::Exclusive },
            ],
            requires: vec!["free".into()],
            state_after: Some("attached".into()),
            reject_duplicates: false,
            steps: vec!["attach".into()],
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let Some(vm) = world.inventory.get::<Vm>(params.vm) else { return Ok(()) };
        if takes_disks(vm.state) {
            return Ok(());
        }
        Err(Refusal::field(
            Reason::State,
            "vm",
            vm.id.to_string(),
            format!("vm/{} '{}' is {}; wait until it is created", vm.id, vm.name, vm.state.word()),
        ))
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let inventory = world.inventory;
        let (Some(disk), Some(vm)) =
            (inventory.get::<Disk>(params.disk), inventory.get::<Vm>(params.vm))
        else {
            return Preview::default();
        };
        let when = match vm.state {
            VmState::Running | VmState::Paused => "is plugged into it while it runs",
            _ => "is there when it is started next",
        };
        let effects = vec![
            format!("Disk '{}' is attached to VM '{}' and {when}.", disk.name, vm.name),
            format!("The guest finds it under /dev/disk/by-id, as …{}.", disk.device_id()),
        ];
        Preview { effects, ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let Parameters { disk, vm } = params;
        cx.step("attach")
            .undo(move |step| async move {
                let disk = step.cx().get::<Disk>(disk)?;
                if disks::is_untouched(&step, is_ready(&disk)) {
                    return Ok(());
                }
                let vm = step.cx().get::<Vm>(vm)?;
                disks::detach(&step, disk, vm).await
            })
            .run(|step| async move {
                let (disk, vm) = (step.cx().get::<Disk>(disk)?, step.cx().get::<Vm>(vm)?);
                // Both may have changed while this was waiting.
                if !is_ready(&disk) {
                    return Err(disks::refused(&disk, DiskState::Free));
                }
                if !takes_disks(vm.state) {
                    return Err(Failure::refused(format!(
                        "vm/{} '{}' is {}; relaunch when it is created",
                        vm.id,
                        vm.name,
                        vm.state.word()
                    )));
                }
                disks::attach(&step, disk, vm).await
            })
            .await?;
        Ok(Outcome::default())
    }
}

/// Whether the step can begin with a disk.
fn is_ready(disk: &Disk) -> bool {
    disk.state == DiskState::Free
}

/// Whether a VM in that state can be given disks.
fn takes_disks(state: VmState) -> bool {
    matches!(state, VmState::Running | VmState::Paused | VmState::Halted | VmState::Crashed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::testing::fake::CallFault;
    use crate::backend::testing::harness::{FaultMatrix, Harness};

    fn hot() -> FaultMatrix {
        FaultMatrix {
            kind: "disk_attach",
            params: json!({ "disk": "data", "vm": "web-1" }),
            setup: |harness| {
                Box::pin(async {
                    harness.some_vm().await;
                    harness.some_disk().await;
                })
            },
            undoes: true,
        }
    }

    #[tokio::test]
    async fn it_survives_faults() {
        hot().survives_faults().await;
    }

    #[tokio::test]
    async fn a_halted_vm_gets_it_with_its_next_start() {
        let mut harness = Harness::open();
        let vm = harness.some_halted_vm().await;
        let disk = harness.some_disk().await;
        harness.fake.calls();
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        assert_eq!(harness.fake.calls(), Vec::<String>::new());
        assert_eq!(harness.vm(vm).await.disks, [disk]);
        assert_eq!(harness.disk(disk).await.vm, Some(vm));
        harness.done("vm_start", json!({ "vm": vm })).await;
        assert!(harness.fake.processes()[&vm].plugged.contains("hostler-disk-1"));
    }

    #[tokio::test]
    async fn an_attached_disk_and_an_unfinished_vm_are_refused() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        let disk = harness.some_disk().await;
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        let given = json!({ "disk": disk, "vm": vm });
        let (reason, field, _) = harness.refused("disk_attach", given).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "disk"));

        harness.done("disk_create", json!({ "name": "more", "size_mb": 20 })).await;
        harness.fake.trouble(0, CallFault::Before);
        let given = json!({ "hostname": "web-2", "password": "correct horse", "os": "tiny" });
        harness.fails("vm_create", given).await;
        let given = json!({ "disk": "more", "vm": "web-2" });
        let (reason, field, _) = harness.refused("disk_attach", given).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "vm"));
    }

    /// What was refused when its turn came has done nothing, so there is nothing to undo.
    #[tokio::test]
    async fn what_was_refused_takes_no_disk_away() {
        use crate::domain::{Control, LaneChange};
        for later in ["disk_attach", "disk_delete"] {
            let mut harness = Harness::open();
            let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
            harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
            let lane = |change| Control::Lane { name: "disk".into(), change };
            harness.control(lane(LaneChange::Pause)).await;
            let detach = harness.submit("disk_detach", json!({ "disk": disk })).await.unwrap();
            // Accepted, because the disk will be free by then.
            let given = match later {
                "disk_attach" => json!({ "disk": disk, "vm": vm }),
                _ => json!({ "disk": disk }),
            };
            let second = harness.submit(later, given).await.unwrap();
            harness.control(Control::Cancel { uid: detach.uid }).await;
            harness.control(lane(LaneChange::Resume)).await;
            let ended = harness.ends(second.uid).await;
            let found = harness.disk(disk).await;
            assert_eq!(
                (found.state, found.vm, harness.vm(vm).await.disks),
                (DiskState::Attached, Some(vm), vec![disk]),
                "{later}: {ended:?}"
            );
        }
    }
}
