//! `disk_purge`: a disk in the trash, removed for good.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::display;
use crate::domain::{
    Disk, DiskState, Effect, Failure, Field, FieldType, Hint, LockMode, LockRule, OperationSpec,
    Outcome, Preview, Resource, ResourceId, Risk,
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
                files::unused(settings, &path)?;
                files::removable(&path)?;
                still_trashed(step.cx(), step.cx().get::<Disk>(id)?)
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

/// Looks whether a disk was restored, or came into the trash anew, without the database knowing:
/// after an older one was put back, its file and its description are all that tells of it.
fn still_trashed(cx: &Context, disk: Disk) -> Result<(), Failure> {
    let (id, name, alive) = (disk.id, disk.name.clone(), cx.settings().disk_path(disk.id));
    let failed = |error| Failure::io(format!("look at disk/{id}"), &error);
    let what = if alive.try_exists().map_err(failed)? {
        format!("{} is there", alive.display())
    } else if cx.said_later(&Resource::Disk(disk))?.is_some() {
        "a later database said something else of it".to_owned()
    } else {
        return Ok(());
    };
    Err(Failure::refused(format!(
        "disk/{id} '{name}' stays: {what}; an older copy of the database may have been put back. \
         Cancel this, stop hostler and run `hostler recover`"
    )))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use crate::backend::testing::harness::Harness;
    use crate::domain::{Control, Disk, Reason, Resource, ResourceId};

    #[tokio::test]
    async fn nothing_is_left_of_it() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        let (reason, field, _) = harness.refused("disk_purge", json!({ "disk": disk })).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "disk"));
        harness.done("disk_delete", json!({ "disk": disk })).await;
        harness.done("disk_purge", json!({ "disk": disk })).await;
        assert_eq!(harness.resource(ResourceId::new(Disk::KIND, disk)).await, None);
        harness.backend.in_step().await;
        assert_eq!(std::fs::read_dir(harness.dir().join("trash")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn one_that_is_alive_although_the_database_does_not_say_so_stays() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        harness.done("disk_delete", json!({ "disk": disk })).await;
        let trashed = harness.disk(disk).await;
        // As a later database left it: restored.
        let alive = harness.dir().join(format!("disks/{disk}.qcow2"));
        std::fs::rename(&trashed.path, &alive).unwrap();
        let (uid, why) = harness.fails("disk_purge", json!({ "disk": disk })).await;
        assert!(why.contains("disks/1.qcow2 is there") && why.contains("recover"), "{why}");
        assert!(alive.exists());
        harness.control(Control::Cancel { uid }).await;
        // Deleted once more, and so to be kept for longer.
        std::fs::rename(&alive, &trashed.path).unwrap();
        let later = Some(harness.fake.ports().clock.now() + SignedDuration::from_hours(24));
        let later = Resource::Disk(Disk { trashed: later, ..trashed.clone() });
        let mut json = serde_json::to_value(&later).unwrap();
        json["newest"] = json!({ "operation": 99, "created_ms": 0 });
        let json = serde_json::to_vec(&json).unwrap();
        std::fs::write(trashed.path.with_extension("json"), json).unwrap();
        let (_, why) = harness.fails("disk_purge", json!({ "disk": disk })).await;
        assert!(why.contains("a later database said something else of it"), "{why}");
        assert!(trashed.path.exists());
    }
}
