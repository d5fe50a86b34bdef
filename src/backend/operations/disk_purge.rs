//! `disk_purge`: a disk in the trash, removed for good.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::display;
use crate::domain::{
    Disk, DiskState, Effect, Failure, Field, FieldType, Hint, LockMode, LockRule, OperationSpec,
    Outcome, Preview, ResourceId, Risk,
};

use super::{AdmissionContext, Context, Kind, files};

/// The kind.
pub struct DiskPurge;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    disk: u64,
}

impl Kind for DiskPurge {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "disk_purge".into(),
            title: "Purge".into(),
            doc: "Removes a disk from the trash for good and frees its space.".into(),
            doing: "being purged".into(),
            resource: Some(Disk::KIND),
            effect: Effect::Deletes,
            subject: Some("disk".into()),
            lane: "disk".into(),
            risk: Risk::Destructive,
            warning: "Everything on it is lost for good.".into(),
            fields: vec![Field::required(
                "disk",
                FieldType::Resource { of: Disk::KIND, states: vec!["trashed".into()] },
                "The disk to remove.",
            )],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("purge", &["P"], 31),
            locks: vec![LockRule { field: "disk".into(), mode: LockMode::Exclusive }],
            requires: vec!["trashed".into()],
            state_after: Some("deleted".into()),
            reject_duplicates: true,
            steps: vec!["look".into(), "remove".into()],
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some(disk) = world.inventory.get::<Disk>(params.disk) else {
            return Preview::default();
        };
        let takes = display::bytes(files::bytes(&disk.path));
        let effect = format!("Disk '{}' is removed for good; {takes} become free.", disk.name);
        Preview { effects: vec![effect], ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = params.disk;
        cx.step("look")
            .label("looking at it")
            .run(|step| async move {
                if step.cx().get::<Disk>(id)?.state != DiskState::Trashed {
                    return Err(Failure::new(format!(
                        "disk/{id} is not in the trash any more; cancel this"
                    )));
                }
                let settings = step.cx().settings();
                let path = settings.trash_path(id);
                files::own(settings, &path)?;
                files::unused(settings, &path)
            })
            .await?;
        cx.step("remove")
            .label("removing it")
            .pivot()
            .run(|step| async move {
                files::remove_trashed(step.cx().settings(), id)?;
                step.remove(ResourceId::new(Disk::KIND, id));
                Ok(())
            })
            .await?;
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::backend::testing::harness::Harness;
    use crate::domain::{Disk, Reason, ResourceId};

    #[tokio::test]
    async fn nothing_is_left_of_it() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        let (reason, field, _) = harness.refused("disk_purge", json!({ "disk": disk })).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "disk"));
        harness.done("disk_delete", json!({ "disk": disk })).await;
        harness.done("disk_purge", json!({ "disk": disk })).await;
        assert_eq!(harness.resource(ResourceId::new(Disk::KIND, disk)).await, None);
        assert_eq!(std::fs::read_dir(harness.dir().join("trash")).unwrap().count(), 0);
    }
}
