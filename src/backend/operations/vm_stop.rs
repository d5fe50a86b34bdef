//! `vm_stop`: a running VM, shut down by its own guest or, when asked for, by cutting its power.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{
    Effect, Field, FieldType, Hint, LockMode, LockRule, OperationSpec, Outcome, Preview, Resource,
    Risk, Vm,
};

use super::{AdmissionContext, Context, Kind, guests};

/// The kind.
pub struct VmStop;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    vm: u64,
    force: bool,
    timeout_s: u64,
}

impl Kind for VmStop {
    type Params = Parameters;

    fn spec(settings: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "vm_stop".into(),
            title: "Stop".into(),
            doc:
                "Presses the power button until the guest has shut down, then ends its process. By \
                  force, its power is cut at once."
                    .into(),
            doing: "stopping".into(),
            resource: Some(Vm::KIND),
            effect: Effect::Changes,
            subject: Some("vm".into()),
            lane: "vm".into(),
            risk: Risk::Disruptive,
            warning:
                "Whatever runs in the guest is ended; by force, what it has not written to its \
                      disks is lost."
                    .into(),
            fields: vec![
                Field::required(
                    "vm",
                    FieldType::Resource {
                        of: Vm::KIND,
                        states: vec!["running".into(), "paused".into()],
                    },
                    "The VM to stop.",
                ),
                Field::optional(
                    "force",
                    FieldType::Flag,
                    false,
                    "Cut its power at once instead of asking the guest.",
                ),
                guests::timeout(settings),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("stop", &["S"], 12),
            locks: vec![LockRule { field: "vm".into(), mode: LockMode::Exclusive }],
            requires: vec!["running".into(), "paused".into()],
            state_after: Some("halted".into()),
            reject_duplicates: true,
            steps: vec!["power_button".into(), "quit".into()],
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some(vm) = world.inventory.get::<Vm>(params.vm) else { return Preview::default() };
        let effect = if params.force {
            format!("The power of VM '{}' is cut at once.", vm.name)
        } else {
            format!(
                "The guest of VM '{}' is asked to shut down, and has {} s for it.",
                vm.name, params.timeout_s
            )
        };
        let commands = if params.force {
            vec!["QMP quit".to_owned()]
        } else {
            vec!["QMP system_powerdown".to_owned(), "QMP quit".to_owned()]
        };
        Preview { effects: vec![effect], commands, ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = params.vm;
        if !params.force {
            guests::shut_down(&cx, id, params.timeout_s).await?;
        }
        cx.step("quit")
            .label("ending QEMU")
            .run(|step| async move {
                let vm = step.cx().get::<Vm>(id)?;
                let guest = step.cx().settings().guest(&vm);
                step.cx().ports().hypervisor.quit(&guest, step.log()).await?;
                step.put(Resource::Vm(vm.halted(None)));
                Ok(())
            })
            .await?;
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::backend::testing::harness::{FaultMatrix, Harness};
    use crate::domain::{Control, Reason, State, VmState};

    use crate::backend::testing::harness::params;

    #[tokio::test]
    async fn it_survives_faults() {
        let tested = FaultMatrix {
            kind: "vm_stop",
            params: json!({ "vm": "web-1" }),
            setup: |harness| Box::pin(async { assert_eq!(harness.some_vm().await, 1) }),
            // What has been shut down cannot be woken up as it was.
            undoes: false,
        };
        tested.survives_faults().await;
    }

    #[tokio::test]
    async fn the_button_is_pressed_until_the_guest_hears_it() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        harness.fake.obeys_after(3);
        harness.fake.calls();
        harness.done("vm_stop", json!({ "vm": vm })).await;
        let button = "power_button vm/1";
        assert_eq!(harness.fake.calls(), [button, button, button, "quit vm/1"]);
        assert_eq!(harness.vm(vm).await.state, VmState::Halted);
    }

    #[tokio::test]
    async fn a_deaf_guest_is_reported_and_force_is_offered() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        harness.fake.obeys_after(0);
        let (uid, why) = harness.fails("vm_stop", json!({ "vm": vm, "timeout_s": 12 })).await;
        assert!(why.contains("has not shut down in 12 s") && why.contains("force=true"), "{why}");
        assert_eq!(harness.vm(vm).await.state, VmState::Running);
        harness.fake.calls();
        let force = params(json!({ "force": true }));
        harness.control(Control::Relaunch { uid, params: force }).await;
        harness.reaches(uid, &[State::Done]).await;
        assert_eq!(harness.fake.calls(), ["quit vm/1"]);
        assert_eq!(harness.vm(vm).await.state, VmState::Halted);
    }

    #[tokio::test]
    async fn a_second_one_is_refused_while_one_is_pending() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        harness.fake.trouble(0, crate::backend::testing::fake::CallFault::Hang);
        let first = harness.submit("vm_stop", json!({ "vm": vm })).await.unwrap();
        harness.fake.hung().await;
        let (reason, _, _) = harness.refused("vm_stop", json!({ "vm": vm })).await;
        assert_eq!(reason, Reason::OperationPending { uid: first.uid });
        // It is checked against what will be: starting it again makes sense now.
        harness.submit("vm_start", json!({ "vm": vm })).await.unwrap();
    }
}
