//! `disk_delete`: a free disk, moved into the trash.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::{
    Disk, DiskState, Effect, Field, FieldType, Hint, LockMode, LockRule, OperationSpec, Outcome,
    Preview, Risk,
};

use super::{AdmissionContext, Context, Kind, disks};

/// The kind.
pub struct DiskDelete;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    disk: u64,
}

impl Kind for DiskDelete {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "disk_delete".into(),
            title: "Delete".into(),
            doc: "Moves a disk into the trash, from where it can be restored until its time there \
                  is over."
                .into(),
            doing: "being deleted".into(),
            resource: Some(Disk::KIND),
            effect: Effect::Changes,
            subject: Some("disk".into()),
            lane: "disk".into(),
            risk: Risk::Destructive,
            warning: "It can be restored from the trash; after that it is lost for good.".into(),
            fields: vec![Field::required(
                "disk",
                FieldType::Resource { of: Disk::KIND, states: vec!["free".into()] },
                "The disk to delete.",
            )],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("delete", &["X", "delete"], 30),
            locks: vec![LockRule { field: "disk".into(), mode: LockMode::Exclusive }],
            requires: vec!["free".into()],
            state_after: Some("trashed".into()),
            reject_duplicates: true,
            steps: vec!["trash".into()],
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some(disk) = world.inventory.get::<Disk>(params.disk) else {
            return Preview::default();
        };
        let days = world.settings.trash_days;
        let effect = format!(
            "Disk '{}' goes into the trash, and is removed for good after {days} days.",
            disk.name
        );
        Preview { effects: vec![effect], ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = params.disk;
        cx.step("trash")
            .label("moving it into the trash")
            .undo(move |step| async move {
                let disk = step.cx().get::<Disk>(id)?;
                if disks::is_untouched(&step, is_ready(&disk)) {
                    return Ok(());
                }
                disks::restore(&step, disk)
            })
            .run(|step| async move {
                let disk = step.cx().get::<Disk>(id)?;
                if !is_ready(&disk) {
                    return Err(disks::refused(&disk, DiskState::Free));
                }
                disks::trash(&step, disk, step.cx().now())
            })
            .await?;
        Ok(Outcome::default())
    }
}

/// Whether the step can begin with a disk.
fn is_ready(disk: &Disk) -> bool {
    disk.state == DiskState::Free
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::backend::testing::harness::Harness;
    use crate::domain::{DiskState, Reason, State};

    #[tokio::test]
    async fn a_deleted_disk_lies_in_the_trash_and_its_name_is_free() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        harness.done("disk_delete", json!({ "disk": disk })).await;
        let trashed = harness.disk(disk).await;
        assert_eq!(trashed.state, DiskState::Trashed);
        assert!(trashed.trashed.is_some());
        assert_eq!(trashed.path, harness.dir().join("trash/1.qcow2"));
        assert!(trashed.path.exists());
        assert!(!harness.dir().join("disks/1.qcow2").exists());
        harness.some_disk().await;
    }

    #[tokio::test]
    async fn an_attached_one_is_refused() {
        let mut harness = Harness::open();
        let (vm, disk) = (harness.some_vm().await, harness.some_disk().await);
        harness.done("disk_attach", json!({ "disk": disk, "vm": vm })).await;
        let (reason, field, _) = harness.refused("disk_delete", json!({ "disk": disk })).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "disk"));
    }

    #[tokio::test]
    async fn a_lost_file_is_told_and_nothing_changes() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        std::fs::remove_file(harness.disk(disk).await.path).unwrap();
        let (uid, why) = harness.fails("disk_delete", json!({ "disk": disk })).await;
        assert!(why.contains("disks/1.qcow2"), "{why}");
        assert_eq!(harness.disk(disk).await.state, DiskState::Free);
        assert_eq!(harness.detail(uid).await.operation.state, State::Error);
    }
}
