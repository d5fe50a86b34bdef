//! `disk_restore`: a deleted disk, back from the trash.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::display;
use crate::domain::{
    Disk, DiskState, Effect, Failure, Field, FieldType, Hint, LockMode, LockRule, OperationSpec,
    Outcome, Preview, Refusal, Risk,
};

use super::{AdmissionContext, Context, Kind, disks, guests};

/// The kind.
pub struct DiskRestore;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    disk: u64,
    name: Option<String>,
}

impl Kind for DiskRestore {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "disk_restore".into(),
            title: "Restore".into(),
            doc: "Takes a disk out of the trash with everything on it.".into(),
            doing: "being restored".into(),
            resource: Some(Disk::KIND),
            effect: Effect::Changes,
            subject: Some("disk".into()),
            lane: "disk".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![
                Field::required(
                    "disk",
                    FieldType::Resource { of: Disk::KIND, states: vec!["trashed".into()] },
                    "The disk to restore.",
                ),
                Field::optional(
                    "name",
                    FieldType::Name,
                    serde_json::Value::Null,
                    "Its name from now on; the one it had when left out.",
                ),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("restore", &["u"], 17),
            locks: vec![LockRule { field: "disk".into(), mode: LockMode::Exclusive }],
            requires: vec!["trashed".into()],
            state_after: Some("free".into()),
            reject_duplicates: true,
            steps: vec!["restore".into()],
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let Some(disk) = world.inventory.get::<Disk>(params.disk) else { return Ok(()) };
        let name = params.name.as_deref().unwrap_or(&disk.name);
        match world.inventory.named(Disk::KIND, name) {
            Some(other) if other != disk.id => guests::free_name(world, "name", Disk::KIND, name),
            _ => Ok(()),
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some(disk) = world.inventory.get::<Disk>(params.disk) else {
            return Preview::default();
        };
        let name = params.name.as_deref().unwrap_or(&disk.name);
        let effect =
            format!("Disk '{name}' of {} can be attached again.", display::mib(disk.size_mb));
        Preview { effects: vec![effect], ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = params.disk;
        let before = cx.get::<Disk>(id)?;
        cx.step("restore")
            .label("taking it out of the trash")
            .undo(move |step| {
                let disk = before.clone();
                async move {
                    let is = step.cx().get::<Disk>(disk.id)?;
                    if disks::is_untouched(&step, is_ready(&is)) {
                        return Ok(());
                    }
                    let since = disk.trashed.unwrap_or_else(|| step.cx().now());
                    disks::trash(&step, disk, since)
                }
            })
            .run(|step| {
                let name = params.name.clone();
                async move {
                    let mut disk = step.cx().get::<Disk>(id)?;
                    if !is_ready(&disk) {
                        return Err(disks::refused(&disk, DiskState::Trashed));
                    }
                    disk.name = name.unwrap_or(disk.name);
                    // Somebody may have taken the name while this was waiting.
                    if let Some(other) = step.cx().inventory(|it| it.named(Disk::KIND, &disk.name))
                        && other != id
                    {
                        return Err(Failure::refused(format!(
                            "disk/{other} is called '{}' by now; relaunch with another name",
                            disk.name
                        )));
                    }
                    disks::restore(&step, disk)
                }
            })
            .await?;
        Ok(Outcome::default())
    }
}

/// Whether the step can begin with a disk.
fn is_ready(disk: &Disk) -> bool {
    disk.state == DiskState::Trashed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::backend::testing::harness::Harness;
    use crate::domain::{DiskState, Reason};

    #[tokio::test]
    async fn a_restored_disk_is_as_it_was() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        let before = harness.everything().await;
        harness.done("disk_delete", json!({ "disk": disk })).await;
        harness.done("disk_restore", json!({ "disk": disk })).await;
        let mut after = harness.everything().await;
        // The empty folder of the trash is no trace of it.
        after["files"].as_array_mut().unwrap().retain(|file| file != "trash");
        assert_eq!(after, before);
    }

    #[tokio::test]
    async fn a_taken_name_is_refused_and_another_is_taken() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        harness.done("disk_delete", json!({ "disk": disk })).await;
        harness.some_disk().await;
        let (reason, field, _) = harness.refused("disk_restore", json!({ "disk": disk })).await;
        assert_eq!((reason, field.as_str()), (Reason::Existence, "name"));
        harness.done("disk_restore", json!({ "disk": disk, "name": "old-data" })).await;
        let disk = harness.disk(disk).await;
        assert_eq!((disk.state, disk.name.as_str()), (DiskState::Free, "old-data"));
    }

    #[tokio::test]
    async fn a_disk_that_is_not_in_the_trash_is_refused() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        let (reason, field, _) = harness.refused("disk_restore", json!({ "disk": disk })).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "disk"));
    }
}
