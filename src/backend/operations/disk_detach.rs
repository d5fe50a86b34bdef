//! `disk_detach`: an attached disk, taken from its VM.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{
    Disk, Effect, Failure, Field, FieldType, Hint, LockMode, LockRule, OperationSpec, Outcome,
    Preview, Reason, Refusal, Risk, Vm,
};

use super::{AdmissionContext, Context, Kind, disks};

/// The kind.
pub struct DiskDetach;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    disk: u64,
    vm: Option<u64>,
}

impl Kind for DiskDetach {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "disk_detach".into(),
            title: "Detach".into(),
            doc: "Takes a disk from the virtual machine it is attached to. A running guest \
                  usually loses it at once, mounted or not."
                .into(),
            doing: "detaching".into(),
            resource: Some(Disk::KIND),
            effect: Effect::Changes,
            subject: Some("disk".into()),
            lane: "disk".into(),
            risk: Risk::Disruptive,
            warning:
                "A running guest usually loses it at once, mounted or not; a filesystem that is \
                 mounted breaks. Unmount it there first."
                    .into(),
            fields: vec![
                Field::required(
                    "disk",
                    FieldType::Resource { of: Disk::KIND, states: vec!["attached".into()] },
                    "The disk to detach.",
                ),
                Field::optional(
                    "vm",
                    FieldType::Resource { of: Vm::KIND, states: vec![] },
                    serde_json::Value::Null,
                    "The VM to take it from; the one it is attached to when left out.",
                )
                .advanced(),
            ],
            offered_on: vec![Vm::KIND],
            edits: false,
            hint: Hint::new("detach", &["d"], 16).of_row(),
            locks: vec![
                LockRule { field: "disk".into(), mode: LockMode::Exclusive },
                LockRule { field: "vm".into(), mode: LockMode::Exclusive },
            ],
            requires: vec!["attached".into()],
            state_after: Some("free".into()),
            reject_duplicates: true,
            steps: vec!["detach".into()],
        }
    }

    /// The VM is held too, so it must be among the parameters.
    fn fill(mut params: Parameters, world: &AdmissionContext<'_>) -> Parameters {
        if params.vm.is_none() {
            params.vm = world.inventory.get::<Disk>(params.disk).and_then(|disk| disk.vm);
        }
        params
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let Some(disk) = world.inventory.get::<Disk>(params.disk) else { return Ok(()) };
        if disk.vm.is_some() && disk.vm == params.vm {
            return Ok(());
        }
        let (field, value) = match params.vm {
            Some(vm) => ("vm", vm),
            None => ("disk", disk.id),
        };
        Err(Refusal::field(Reason::State, field, value.to_string(), elsewhere(disk)))
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let inventory = world.inventory;
        let disk = inventory.get::<Disk>(params.disk);
        let vm = params.vm.and_then(|vm| inventory.get::<Vm>(vm));
        let (Some(disk), Some(vm)) = (disk, vm) else { return Preview::default() };
        let is_up = if vm.is_up() { ", which is up" } else { "" };
        let effect = format!("Disk '{}' is taken from VM '{}'{is_up}.", disk.name, vm.name);
        Preview { effects: vec![effect], ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let Parameters { disk, vm } = params;
        let vm = vm.ok_or_else(|| Failure::new(format!("disk/{disk} is attached to no VM")))?;
        cx.step("detach")
            .label("waiting for the guest to let go")
            .undo(move |step| async move {
                let disk = step.cx().get::<Disk>(disk)?;
                if disks::is_untouched(&step, is_ready(&disk, vm)) {
                    return Ok(());
                }
                let vm = step.cx().get::<Vm>(vm)?;
                if step.was_cut_short() {
                    disks::let_go(&step, &disk, &vm).await?;
                }
                disks::attach(&step, disk, vm).await
            })
            .run(|step| async move {
                let (disk, vm) = (step.cx().get::<Disk>(disk)?, step.cx().get::<Vm>(vm)?);
                if !is_ready(&disk, vm.id) {
                    return Err(Failure::refused(elsewhere(&disk)));
                }
                disks::detach(&step, disk, vm).await
            })
            .await?;
        Ok(Outcome::default())
    }
}

/// Whether the step can begin with a disk, which it takes from a VM.
fn is_ready(disk: &Disk, vm: u64) -> bool {
    disk.vm == Some(vm)
}

/// Where a disk is instead of where it was said to be.
fn elsewhere(disk: &Disk) -> String {
    match disk.vm {
        Some(vm) => format!("disk/{} '{}' is attached to vm/{vm} now", disk.id, disk.name),
        None => format!(
            "disk/{} '{}' is attached to no VM yet; wait for what is pending on it",
            disk.id, disk.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::testing::harness::{FaultMatrix, Harness};
    use crate::domain::{DiskState, Vm};

    #[tokio::test]
    async fn it_survives_faults() {
        let tested = FaultMatrix {
            kind: "disk_detach",
            params: json!({ "disk": "data" }),
            setup: |harness| {
                Box::pin(async {
                    let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
                    harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
                })
            },
            undoes: true,
        };
        tested.survives_faults().await;
    }

    #[tokio::test]
    async fn a_halted_vm_gives_it_up_at_once() {
        let mut harness = Harness::open();
        let vm = harness.some_halted_vm().await;
        let disk = harness.some_disk().await;
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        harness.done("disk_detach", json!({ "disk": disk })).await;
        assert_eq!(harness.vm(vm).await.disks, Vec::<u64>::new());
        let disk = harness.disk(disk).await;
        assert_eq!((disk.state, disk.vm), (DiskState::Free, None));
    }

    #[tokio::test]
    async fn what_is_asked_promises_no_safeguard() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        let preview = harness.preview("disk_detach", json!({ "disk": disk })).await;
        let [effect] = preview.effects.as_slice() else { panic!("{:?}", preview.effects) };
        assert!(effect.ends_with(", which is up."), "{effect}");
        let spec = DiskDetach::spec(&crate::backend::testing::harness::settings(harness.dir()));
        assert!(spec.warning.contains("at once, mounted or not"), "{}", spec.warning);
    }

    #[tokio::test]
    async fn the_vm_is_held_although_nobody_named_it() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        harness.fake.trouble(0, crate::backend::testing::fake::CallFault::Hang);
        let first = harness.submit("disk_detach", json!({ "disk": disk })).await.unwrap();
        harness.fake.hung().await;
        let second = harness.submit("vm_stop", json!({ "vm": vm })).await.unwrap();
        let waits = harness.detail(second.uid).await.operation.wait;
        let resource = crate::domain::ResourceId::new(Vm::KIND, vm);
        assert_eq!(waits, Some(crate::domain::Wait::Operation { uid: first.uid, resource }));
    }

    /// What is half out cannot be plugged in.
    #[tokio::test]
    async fn a_guest_lets_go_of_it_before_it_gets_it_back() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        harness.fake.calls();
        harness.fake.trouble(0, crate::backend::testing::fake::CallFault::Hang);
        let detach = harness.submit("disk_detach", json!({ "disk": disk })).await.unwrap();
        harness.fake.hung().await;
        harness.control(crate::domain::Control::Cancel { uid: detach.uid }).await;
        harness.ends(detach.uid).await;
        let mut calls = harness.fake.calls();
        calls.retain(|call| call.starts_with("attach") || call.starts_with("detach"));
        let words: Vec<&str> = calls.iter().map(|call| &call[..6]).collect();
        assert_eq!(words, ["detach", "detach", "attach"], "{calls:?}");
        assert_eq!(harness.disk(disk).await.vm, Some(vm));
    }

    /// What others have attached to another VM was never in its hands.
    #[tokio::test]
    async fn a_disk_that_is_with_another_vm_by_now_stays_there() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        let other = json!({ "hostname": "web-2", "password": "correct horse", "os": "tiny" });
        let other = harness.done("vm_create", other).await;
        harness.fake.trouble(0, crate::backend::testing::fake::CallFault::Hang);
        let detach = harness.submit("disk_detach", json!({ "disk": disk })).await.unwrap();
        harness.fake.hung().await;
        harness.fake.calls();
        let mut harness = harness
            .restart_after(|dir| {
                let path = dir.join(crate::backend::engine::store::FILE);
                let store = rusqlite::Connection::open(path).unwrap();
                let changes = format!(
                    "UPDATE operation SET cancelling = 1 WHERE uid = {};
                     UPDATE resource SET doc = json_set(doc, '$.vm', {other})
                     WHERE kind = 'disk' AND id = {disk};",
                    detach.uid.0
                );
                store.execute_batch(&changes).unwrap();
            })
            .await;
        assert_eq!(harness.ends(detach.uid).await.state, crate::domain::State::Cancel);
        assert_eq!(harness.disk(disk).await.vm, Some(other));
        let calls = harness.fake.calls();
        assert!(!calls.iter().any(|call| call.contains("hostler-disk")), "{calls:?}");
    }

    /// It was waited for as long as it is ever waited for.
    #[tokio::test]
    async fn a_guest_that_did_not_let_go_is_not_waited_for_twice() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        harness.fake.calls();
        harness.fake.trouble(0, crate::backend::testing::fake::CallFault::Before);
        harness.fails("disk_detach", json!({ "disk": disk })).await;
        let calls = harness.fake.calls();
        let detached = calls.iter().filter(|call| call.starts_with("detach"));
        assert_eq!(detached.count(), 1, "{calls:?}");
        assert_eq!(harness.disk(disk).await.vm, Some(vm));
    }

    #[tokio::test]
    async fn a_free_disk_and_another_vm_are_refused() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        let (reason, field, _) = harness.refused("disk_detach", json!({ "disk": disk })).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "disk"));
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        let other = json!({ "hostname": "web-2", "password": "correct horse", "os": "tiny" });
        let other = harness.done("vm_create", other).await;
        let given = json!({ "disk": disk, "vm": other });
        let (reason, field, _) = harness.refused("disk_detach", given).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "vm"));
    }
}
