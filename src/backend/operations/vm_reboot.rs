//! `vm_reboot`: a running VM, started anew by its own guest or, when asked for, at once.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::ports::GuestStatus;
use crate::backend::settings::Settings;
use crate::domain::{
    Effect, Failure, Field, FieldType, Hint, LockMode, LockRule, OperationSpec, Outcome, Preview,
    Risk, Vm,
};

use super::{AdmissionContext, Context, Kind, guests};

/// The kind.
pub struct VmReboot;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    vm: u64,
    force: bool,
    timeout_s: u64,
}

impl Kind for VmReboot {
    type Params = Parameters;

    fn spec(settings: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "vm_reboot".into(),
            title: "Reboot".into(),
            doc: "Presses the power button until the guest has shut down, then starts it anew in \
                  the same process. By force, it is reset at once."
                .into(),
            doing: "rebooting".into(),
            resource: Some(Vm::KIND),
            effect: Effect::Changes,
            subject: Some("vm".into()),
            lane: "vm".into(),
            risk: Risk::Disruptive,
            warning: "Whatever runs in the guest is ended; by force, what it has not written to \
                      its disks is lost."
                .into(),
            fields: vec![
                Field::required(
                    "vm",
                    FieldType::Resource { of: Vm::KIND, states: vec!["running".into()] },
                    "The VM to reboot.",
                ),
                Field::optional(
                    "force",
                    FieldType::Flag,
                    false,
                    "Reset it at once instead of asking the guest.",
                ),
                guests::timeout(settings),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("reboot", &["r"], 13),
            locks: vec![LockRule { field: "vm".into(), mode: LockMode::Exclusive }],
            requires: vec!["running".into()],
            state_after: Some("running".into()),
            reject_duplicates: true,
            steps: vec!["power_button".into(), "reset".into()],
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some(vm) = world.inventory.get::<Vm>(params.vm) else { return Preview::default() };
        let effect = if params.force {
            format!("VM '{}' is reset at once, as by its reset button.", vm.name)
        } else {
            format!(
                "The guest of VM '{}' is asked to shut down, has {} s for it, and is started anew.",
                vm.name, params.timeout_s
            )
        };
        let mut commands = vec!["QMP system_reset".to_owned()];
        if !params.force {
            commands.insert(0, "QMP system_powerdown".to_owned());
        }
        Preview { effects: vec![effect], commands, ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = params.vm;
        if !params.force {
            guests::shut_down(&cx, id, params.timeout_s).await?;
        }
        cx.step("reset")
            .label("starting the guest anew")
            .run(|step| async move {
                let vm = step.cx().get::<Vm>(id)?;
                let guest = step.cx().settings().guest(&vm);
                let hypervisor = &step.cx().ports().hypervisor;
                if hypervisor.status(&guest).await? == GuestStatus::Off {
                    return Err(Failure::new(format!(
                        "vm/{id} '{}' has ended in the meantime; start it with vm_start",
                        vm.name
                    )));
                }
                hypervisor.reset(&guest, step.log()).await
            })
            .await?;
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::backend::testing::fake::CallFault;
    use crate::backend::testing::harness::{Harness, params};
    use crate::domain::{Control, Fact, State, VmState};

    #[tokio::test]
    async fn the_guest_shuts_down_before_it_is_started_anew() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        harness.fake.obeys_after(2);
        harness.fake.calls();
        harness.done("vm_reboot", json!({ "vm": vm })).await;
        assert_eq!(harness.fake.calls(), ["power_button vm/1", "power_button vm/1", "reset vm/1"]);
        assert_eq!(harness.vm(vm).await.state, VmState::Running);
        harness.done("vm_reboot", json!({ "vm": vm, "force": true })).await;
        assert_eq!(harness.fake.calls(), ["reset vm/1"]);
    }

    #[tokio::test]
    async fn waiting_for_the_guest_is_told_in_words_and_not_as_nothing_done() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        harness.fake.obeys_after(2);
        harness.submit("vm_reboot", json!({ "vm": vm })).await.unwrap();
        let mut told = async |such: &str| {
            harness
                .hears(|fact| match fact {
                    Fact::Progress { progress, .. } if progress.phase == such => {
                        Some((progress.fraction, progress.detail.clone()))
                    }
                    _ => None,
                })
                .await
        };
        assert_eq!(told("waiting for the guest").await, (None, None));
        let (fraction, detail) = told("waiting for the guest").await;
        assert_eq!(fraction, None);
        assert!(detail.is_some_and(|detail| detail.starts_with("gives up after ")));
        assert_eq!(told("starting the guest anew").await.0, Some(0.5));
    }

    #[tokio::test]
    async fn a_deaf_guest_goes_on_and_force_is_offered() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        harness.fake.obeys_after(0);
        let (uid, why) = harness.fails("vm_reboot", json!({ "vm": vm })).await;
        assert!(why.contains("force=true"), "{why}");
        assert_eq!(harness.vm(vm).await.state, VmState::Running);
        let force = params(json!({ "force": true }));
        harness.control(Control::Relaunch { uid, params: force }).await;
        harness.reaches(uid, &[State::Done]).await;
    }

    #[tokio::test]
    async fn an_interrupted_one_is_taken_up_again() {
        for at in 0..2 {
            let mut harness = Harness::open();
            let vm = harness.some_vm().await;
            harness.fake.trouble(at, CallFault::Hang);
            let accepted = harness.submit("vm_reboot", json!({ "vm": vm })).await.unwrap();
            harness.fake.hung().await;
            let mut harness = harness.restart().await;
            assert_eq!(harness.ends(accepted.uid).await.state, State::Done);
            assert_eq!(harness.vm(vm).await.state, VmState::Running);
        }
    }
}
