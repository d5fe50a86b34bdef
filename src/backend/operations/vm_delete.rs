//! `vm_delete`: a halted VM and its own files, gone. Its disks become free.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::ports::GuestStatus;
use crate::backend::settings::Settings;
use crate::domain::display;
use crate::domain::{
    Disk, DiskState, Effect, Failure, Field, FieldType, Hint, LockMode, LockRule, OperationSpec,
    Outcome, Preview, Resource, ResourceId, Risk, Task, Vm,
};

use super::{AdmissionContext, Context, Kind, StepContext, files, guests};

/// How many of the tasks are named that need a VM.
const TASKS_NAMED: usize = 5;

/// The kind.
pub struct VmDelete;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    vm: u64,
}

impl Kind for VmDelete {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        let at_rest = vec!["halted".into(), "crashed".into(), "invalid".into()];
        OperationSpec {
            kind: "vm_delete".into(),
            title: "Delete".into(),
            doc:
                "Deletes a halted virtual machine with its root disk. Disks that were attached to \
                 it become free and keep what is on them."
                    .into(),
            doing: "being deleted".into(),
            resource: Some(Vm::KIND),
            effect: Effect::Deletes,
            subject: Some("vm".into()),
            lane: "vm".into(),
            risk: Risk::Destructive,
            warning: "Its root disk and everything on it is lost for good.".into(),
            fields: vec![Field::required(
                "vm",
                FieldType::Resource { of: Vm::KIND, states: at_rest.clone() },
                "The VM to delete.",
            )],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("delete", &["X", "delete"], 30),
            locks: vec![LockRule { field: "vm".into(), mode: LockMode::Exclusive }],
            requires: at_rest,
            state_after: Some("deleted".into()),
            reject_duplicates: true,
            steps: vec!["aside".into(), "files".into()],
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some(vm) = world.inventory.get::<Vm>(params.vm) else { return Preview::default() };
        let bytes = files::bytes(&guests::root_path(world.settings, vm.id));
        let mut effects = vec![format!(
            "VM '{}' and its root disk of {} are deleted for good.",
            vm.name,
            display::bytes(bytes)
        )];
        let names = vm.disks.iter().filter_map(|id| world.inventory.get::<Disk>(*id));
        effects.extend(names.map(|disk| format!("Disk '{}' becomes free.", disk.name)));
        effects.extend(left_without(vm.id, world));
        Preview { effects, ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = params.vm;
        let dir = cx.settings().vm_dir(id);
        let off = |step: StepContext| async move {
            let vm = step.cx().get::<Vm>(id)?;
            let guest = step.cx().settings().guest(&vm);
            let hypervisor = &step.cx().ports().hypervisor;
            if hypervisor.status(&guest).await? != GuestStatus::Off {
                let again = || format!("vm/{id} '{}' runs again; stop it and relaunch", vm.name);
                return Err(Failure::new(hypervisor.astray(&guest).unwrap_or_else(again)));
            }
            let name = vm.name.clone();
            match step.cx().said_later(&Resource::Vm(vm))? {
                None => Ok(()),
                Some(_) => Err(Failure::refused(format!(
                    "vm/{id} '{name}' stays: a later database said something else of it, so an \
                     older copy of the database may have been put back. Cancel this, stop hostler \
                     and run `hostler recover`"
                ))),
            }
        };
        files::delete(&cx, &dir, off, |step| {
            for disk in step.cx().get::<Vm>(id)?.disks {
                let mut disk = step.cx().get::<Disk>(disk)?;
                disk.state = DiskState::Free;
                disk.vm = None;
                step.put(Resource::Disk(disk));
            }
            step.remove(ResourceId::new(Vm::KIND, id));
            Ok(())
        })
        .await?;
        Ok(Outcome::default())
    }
}

/// That tasks ask for something with this VM, which will not be there when they fire.
fn left_without(vm: u64, world: &AdmissionContext<'_>) -> Option<String> {
    let needs_it = |task: &&Task| {
        let Some(spec) = world.catalogue.get(&task.kind) else { return false };
        spec.resources_named(&task.params, Some(world.catalogue)).any(|(of, argument)| {
            of == Vm::KIND && world.inventory.find(of, argument.value) == Some(vm)
        })
    };
    let tasks = world.inventory.of(Task::KIND).filter_map(|row| row.get::<Task>());
    let names: Vec<String> =
        tasks.filter(needs_it).map(|task| format!("'{}'", task.name)).collect();
    let (named, others) = names.split_at(names.len().min(TASKS_NAMED));
    let more =
        if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    (!named.is_empty()).then(|| {
        format!("Tasks that need it are refused whenever they fire: {}{more}.", named.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use crate::backend::testing::harness::Harness;
    use crate::domain::{Backend as _, Control, DiskState, Params, Reason, ResourceId, State, Vm};

    #[tokio::test]
    async fn nothing_is_left_but_its_disks() {
        let mut harness = Harness::open();
        let vm = harness.some_halted_vm().await;
        let disk = harness.some_disk().await;
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        harness.done("vm_delete", json!({ "vm": vm })).await;
        assert_eq!(harness.resource(ResourceId::new(Vm::KIND, vm)).await, None);
        let disk = harness.disk(disk).await;
        assert_eq!((disk.state, disk.vm), (DiskState::Free, None));
        harness.backend.in_step().await;
        assert_eq!(std::fs::read_dir(harness.dir().join("vms")).unwrap().count(), 0);
        // The name is free again.
        let again = json!({ "hostname": "web-1", "password": "correct horse", "os": "tiny" });
        harness.done("vm_create", again).await;
    }

    #[tokio::test]
    async fn the_tasks_that_need_it_are_named_before() {
        let mut harness = Harness::open();
        let vm = harness.some_halted_vm().await;
        let needing = async |harness: &Harness| {
            let effects = harness.preview("vm_delete", json!({ "vm": vm })).await.effects;
            effects.into_iter().find(|it| it.starts_with("Tasks"))
        };
        // They wait longer than the clock goes on by itself.
        let task = |name: &str, kind: &str, params: Json| {
            let start = "2099-01-01";
            json!({ "name": name, "kind": kind, "params": params, "start": start })
        };
        let starts = |name: &str, vm: Json| task(name, "vm_start", json!({ "vm": vm }));
        // A disk of the VM's number is none of it.
        assert_eq!(harness.some_disk().await, vm);
        harness.done("task_create", task("a", "disk_delete", json!({ "disk": vm }))).await;
        assert_eq!(needing(&harness).await, None);
        harness.done("task_create", starts("named", "web-1".into())).await;
        let one = "Tasks that need it are refused whenever they fire: 'named'.";
        assert_eq!(needing(&harness).await.as_deref(), Some(one));
        for number in 1..=5 {
            harness.done("task_create", starts(&format!("t{number}"), vm.into())).await;
        }
        let several = "'named', 't1', 't2', 't3', 't4' and 1 more.";
        assert!(needing(&harness).await.is_some_and(|it| it.ends_with(several)));
    }

    #[tokio::test]
    async fn one_that_cannot_be_removed_does_not_come_back_and_is_gone_when_relaunched() {
        let mut harness = Harness::open();
        let vm = harness.some_halted_vm().await;
        let vms = harness.dir().join("vms");
        let aside = vms.join(format!("{vm}.deleted"));
        std::fs::rename(vms.join(vm.to_string()), harness.dir().join("kept")).unwrap();
        std::os::unix::fs::symlink(harness.dir().join("kept"), &aside).unwrap();
        let (uid, why) = harness.fails("vm_delete", json!({ "vm": vm })).await;
        assert!(why.contains("1.deleted"), "{why}");
        let (reason, _, refusal) = harness.refused("vm_start", json!({ "vm": vm })).await;
        assert_eq!(reason, Reason::State);
        assert!(refusal.message.contains("is not whole any more: vm_delete #"), "{refusal}");
        harness.backend.control(Control::Cancel { uid }).await.unwrap_err();
        std::fs::remove_file(&aside).unwrap();
        harness.control(Control::Relaunch { uid, params: Params::new() }).await;
        assert_eq!(harness.reaches(uid, &[State::Done]).await.attempt, 1);
        assert_eq!(harness.resource(ResourceId::new(Vm::KIND, vm)).await, None);
    }

    #[tokio::test]
    async fn one_of_which_a_later_database_said_something_else_stays() {
        let mut harness = Harness::open();
        let vm = harness.some_halted_vm().await;
        harness.backend.leave(false).await;
        let path = harness.dir().join(format!("vms/{vm}/vm.json"));
        let mut said: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        said["newest"] = json!({ "operation": 99, "created_ms": 0 });
        said["cpu"] = json!(7);
        std::fs::write(&path, serde_json::to_vec(&said).unwrap()).unwrap();
        let mut harness = harness.restart().await;
        let before = harness.everything().await;
        let (uid, why) = harness.fails("vm_delete", json!({ "vm": vm })).await;
        assert!(why.contains("a later database said something else of it"), "{why}");
        harness.control(Control::Cancel { uid }).await;
        assert_eq!(harness.everything().await, before);
    }

    #[tokio::test]
    async fn a_running_one_is_refused() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        let (reason, field, _) = harness.refused("vm_delete", json!({ "vm": vm })).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "vm"));
    }

    #[tokio::test]
    async fn one_that_runs_behind_our_back_is_left_alone() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        harness.done("vm_stop", json!({ "vm": vm, "force": true })).await;
        harness.fake.orphan(vm);
        let before = harness.everything().await;
        let (_, why) = harness.fails("vm_delete", json!({ "vm": vm })).await;
        assert!(why.contains("runs again"), "{why}");
        assert_eq!(harness.everything().await, before);
    }
}
