//! `disk_purge`: a disk in the trash, removed for good.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::backend::state_files::{TRASH, description};
use crate::domain::display;
use crate::domain::{
    Disk, DiskState, Effect, Failure, Field, FieldType, Hint, LockMode, LockRule, OperationSpec,
    Outcome, Preview, Resource, ResourceId, Risk,
};

use super::{AdmissionContext, Context, Kind, files};

/// How long the description of a disk that has changed may take to be written.
const WRITTEN_ANEW: Duration = Duration::from_secs(10);

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
                still_trashed(settings, &step.cx().get::<Disk>(id)?).await
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
async fn still_trashed(settings: &Settings, disk: &Disk) -> Result<(), Failure> {
    let (root, id) = (&settings.state_dir, disk.id);
    let failed = |error| Failure::io(format!("look at disk/{id}"), &error);
    let alive = settings.disk_path(id);
    let is_alive = alive.try_exists().map_err(failed)?;
    let is_later = || {
        let described = description::read(root, &description::of_disk(root, TRASH, id))?;
        let later = |it: Resource| matches!(it, Resource::Disk(it) if it.trashed > disk.trashed);
        Ok(described.is_some_and(later))
    };
    // Our own description may be about to be written anew, as after the clock was set back; that of
    // a later database never is.
    let deadline = tokio::time::Instant::now() + WRITTEN_ANEW;
    while !is_alive && is_later().map_err(failed)? && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(WRITTEN_ANEW / 200).await;
    }
    if !is_alive && !is_later().map_err(failed)? {
        return Ok(());
    }
    let what = if is_alive {
        format!("{} is there", alive.display())
    } else {
        "it came into the trash later than the database says".to_owned()
    };
    Err(Failure::refused(format!(
        "disk/{id} '{}' stays: {what}; an older copy of the database may have been put back. \
         Cancel this, stop hostler and run `hostler recover`",
        disk.name
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
        assert!(why.contains("came into the trash later"), "{why}");
        assert!(trashed.path.exists());
    }
}
