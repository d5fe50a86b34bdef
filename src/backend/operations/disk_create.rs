//! `disk_create`: a new disk with a filesystem on it.

use serde::{Deserialize, Serialize};

use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::domain::display;
use crate::domain::{
    Choice, Disk, DiskFormat, DiskState, Effect, Field, FieldType, FsType, Hint, OperationSpec,
    Outcome, Preview, Reason, Refusal, Resource, ResourceId, Risk,
};

use super::demand::Demand;
use super::{AdmissionContext, Context, Kind, files, guests};

/// The kind.
pub struct DiskCreate;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    name: String,
    size_mb: u64,
    fstype: FsType,
}

impl Parameters {
    /// The most bytes it may take.
    const fn bytes(&self) -> u64 {
        self.size_mb.saturating_mul(1 << 20)
    }
}

impl Kind for DiskCreate {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        let choices = FsType::ALL
            .iter()
            .map(|fstype| {
                let label = match fstype {
                    FsType::None => "no filesystem: a blank disk".to_owned(),
                    _ => format!("at least {} MiB", fstype.smallest_mb()),
                };
                Choice { value: fstype.word().into(), label: label.into() }
            })
            .collect();
        OperationSpec {
            kind: "disk_create".into(),
            title: "Create".into(),
            doc: "Makes a disk with a filesystem on the whole of it, ready to be attached. Its \
                  file grows with what is written to it."
                .into(),
            doing: "being created".into(),
            resource: Some(Disk::KIND),
            effect: Effect::Creates,
            subject: None,
            lane: "disk".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![
                Field::required(
                    "name",
                    FieldType::Name,
                    "The disk's name, which is also the label of its filesystem where that has \
                     room.",
                ),
                Field::required(
                    "size_mb",
                    FieldType::Integer { min: 1, max: 1_048_576, unit: "MiB".into() },
                    "Its size as the guest sees it, in MiB.",
                ),
                Field::optional(
                    "fstype",
                    FieldType::Choice { choices },
                    "ext4",
                    "The filesystem it is made with.",
                ),
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("new", &["n"], 10),
            locks: vec![],
            requires: vec![],
            state_after: Some("free".into()),
            reject_duplicates: false,
            steps: vec!["make".into()],
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        let smallest = params.fstype.smallest_mb();
        if params.size_mb < smallest {
            return Err(Refusal::field(
                Reason::Value,
                "size_mb",
                params.size_mb.to_string(),
                format!(
                    "size_mb is {}; {} needs at least {smallest} MiB",
                    params.size_mb,
                    params.fstype.word()
                ),
            ));
        }
        guests::free_name(world, "name", Disk::KIND, &params.name)
    }

    fn reserve(params: &Parameters, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        Some(Resource::Disk(Disk {
            id,
            name: params.name.clone(),
            state: DiskState::BeingCreated,
            size_mb: params.size_mb,
            fstype: params.fstype,
            format: DiskFormat::Qcow2,
            path: world.settings.disk_path(id),
            vm: None,
            created: world.now,
            trashed: None,
        }))
    }

    fn preview(params: &Parameters, _: &AdmissionContext<'_>) -> Preview {
        let with = match params.fstype {
            FsType::None => "without a filesystem".to_owned(),
            fstype => format!("with {} on it", fstype.word()),
        };
        let size = display::mib(params.size_mb);
        let effects = vec![format!("Disk '{}' of {size} is made {with}.", params.name)];
        Preview { effects, space: Some(params.bytes()), ..Preview::default() }
    }

    fn demands(params: &Parameters, _: &AdmissionContext<'_>) -> Vec<Demand> {
        vec![Demand::Room { what: "the disk", most: params.bytes() }]
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = cx.id()?;
        let path = cx.settings().disk_path(id);
        let resource = ResourceId::new(Disk::KIND, id);
        cx.step("make")
            .label("making the disk")
            .undo(move |step| async move {
                files::unmake(step.cx(), resource, files::remove(step.cx(), resource)).await?;
                let mut disk = step.cx().get::<Disk>(id)?;
                disk.state = DiskState::BeingCreated;
                step.put(Resource::Disk(disk));
                Ok(())
            })
            .run(|step| {
                let (path, params) = (&path, &params);
                async move {
                    files::claim(step.cx(), resource)?;
                    files::own(step.cx().settings(), path)?;
                    let Parameters { name, size_mb, fstype } = params;
                    let tool = &step.cx().ports().disks;
                    tool.create(path, *size_mb, *fstype, name, step.log()).await?;
                    let mut disk = step.cx().get::<Disk>(id)?;
                    disk.state = DiskState::Free;
                    step.put(Resource::Disk(disk));
                    Ok(())
                }
            })
            .await?;
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::testing::harness::{FaultMatrix, Harness};

    #[tokio::test]
    async fn it_survives_faults() {
        let tested = FaultMatrix {
            kind: "disk_create",
            params: json!({ "name": "data", "size_mb": 20 }),
            setup: |_| Box::pin(async {}),
            undoes: true,
        };
        tested.survives_faults().await;
    }

    #[tokio::test]
    async fn a_disk_is_free_when_it_is_done() {
        let mut harness = Harness::open();
        let disk = harness.some_disk().await;
        let disk = harness.disk(disk).await;
        assert_eq!((disk.state, disk.fstype, disk.size_mb), (DiskState::Free, FsType::Ext4, 20));
        assert_eq!(disk.path, harness.dir().join("disks/1.qcow2"));
        assert!(disk.path.exists());
    }

    #[tokio::test]
    async fn what_cannot_work_is_refused_with_field_and_reason() {
        let mut harness = Harness::open();
        harness.some_disk().await;
        for (given, reason, field) in [
            (json!({ "name": "data", "size_mb": 20 }), Reason::Existence, "name"),
            (json!({ "name": "../x", "size_mb": 20 }), Reason::Syntax, "name"),
            (json!({ "name": "42", "size_mb": 20 }), Reason::Syntax, "name"),
            (json!({ "name": "x", "size_mb": 0 }), Reason::Value, "size_mb"),
            (json!({ "name": "x", "size_mb": 299, "fstype": "xfs" }), Reason::Value, "size_mb"),
            (json!({ "name": "x", "size_mb": 20, "fstype": "ntfs" }), Reason::Value, "fstype"),
            (json!({ "name": "x" }), Reason::Type, "size_mb"),
        ] {
            let (found, at, refusal) = harness.refused("disk_create", given).await;
            assert_eq!((found, at.as_str()), (reason, field), "{refusal}");
        }
    }

    #[tokio::test]
    async fn every_filesystem_has_its_smallest_size() {
        let mut harness = Harness::open();
        for fstype in FsType::ALL {
            let size = fstype.smallest_mb();
            let given = json!({ "name": fstype.word(), "size_mb": size, "fstype": fstype.word() });
            harness.done("disk_create", given).await;
        }
    }

    #[tokio::test]
    async fn one_that_may_outgrow_the_box_is_made_with_a_warning() {
        let harness = Harness::open();
        for (name, size_mb, warned) in [("small", 20, false), ("large", 1_048_576, true)] {
            let params = json!({ "name": name, "size_mb": size_mb, "fstype": "none" });
            let preview = harness.preview("disk_create", params.clone()).await;
            let accepted = harness.submit("disk_create", params).await.unwrap();
            let says = |said: &[String]| said.iter().any(|it| it.contains("will stop when"));
            assert_eq!(says(&accepted.warnings), warned, "{name} {:?}", accepted.warnings);
            assert_eq!(says(&preview.effects), warned, "{name} {:?}", preview.effects);
        }
    }
}
