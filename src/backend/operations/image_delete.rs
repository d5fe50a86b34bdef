//! `image_delete`: an image nobody needs, gone.

use serde::{Deserialize, Serialize};

use crate::backend::engine::inventory::Inventory;
use crate::backend::engine::journal::Stop;
use crate::backend::settings::Settings;
use crate::backend::state_files::description;
use crate::domain::display;
use crate::domain::{
    Effect, Failure, Field, FieldType, Hint, Image, LockMode, LockRule, OperationSpec, Outcome,
    Preview, Reason, Refusal, ResourceId, Risk, Vm,
};

use super::{AdmissionContext, Context, Kind, StepContext, files};

/// How many of the VMs are named that run from an image.
const VMS_NAMED: usize = 5;

/// The kind.
pub struct ImageDelete;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    image: u64,
}

impl Kind for ImageDelete {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "image_delete".into(),
            title: "Delete".into(),
            doc: "Deletes an image that no virtual machine is made from.".into(),
            doing: "being deleted".into(),
            resource: Some(Image::KIND),
            effect: Effect::Deletes,
            subject: Some("image".into()),
            lane: "image".into(),
            risk: Risk::Destructive,
            warning: "It must be fetched, imported or built again to be used again.".into(),
            fields: vec![Field::required(
                "image",
                FieldType::Resource { of: Image::KIND, states: vec!["ready".into()] },
                "The image to delete.",
            )],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("delete", &["X", "delete"], 30),
            locks: vec![LockRule { field: "image".into(), mode: LockMode::Exclusive }],
            requires: vec!["ready".into()],
            state_after: Some("deleted".into()),
            reject_duplicates: true,
            steps: vec!["aside".into(), "files".into()],
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        match in_use(params.image, world.inventory) {
            Some(why) => {
                let image = params.image.to_string();
                Err(Refusal::field(Reason::State, "image", image, why))
            }
            None => Ok(()),
        }
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some(image) = world.inventory.get::<Image>(params.image) else {
            return Preview::default();
        };
        let takes = display::bytes(image.bytes);
        let effect = format!("Image '{}' is deleted; {takes} become free.", image.name);
        Preview { effects: vec![effect], ..Preview::default() }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let id = params.image;
        let dir = cx.settings().image_dir(id);
        let unused = |step: StepContext| async move {
            // A VM may have been asked for while this was waiting.
            match step.cx().inventory(|inventory| in_use(id, inventory)) {
                Some(why) => Err(Failure::refused(why)),
                None => unknown_use(step.cx().settings(), id),
            }
        };
        files::delete(&cx, &dir, unused, |step| {
            step.remove(ResourceId::new(Image::KIND, id));
            Ok(())
        })
        .await?;
        Ok(Outcome::default())
    }
}

/// Why an image is needed still: the VMs whose root disks are overlays of it.
fn in_use(image: u64, inventory: &Inventory) -> Option<String> {
    used_by(image, inventory.of(Vm::KIND).filter_map(|row| row.get::<Vm>()))
}

fn used_by<'a>(image: u64, vms: impl Iterator<Item = &'a Vm>) -> Option<String> {
    let vms = vms.filter(|vm| vm.image == image);
    let vms: Vec<String> = vms.map(|vm| format!("vm/{} '{}'", vm.id, vm.name)).collect();
    let (named, others) = vms.split_at(vms.len().min(VMS_NAMED));
    let more =
        if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    let named = named.join(", ");
    match vms.len() {
        0 => None,
        1 => Some(format!("{named} runs from image/{image}; delete that first")),
        _ => Some(format!("{named}{more} run from image/{image}; delete them first")),
    }
}

/// Looks for VMs of an image that the database does not know: after an older one was put back,
/// their descriptions are all that tells of them.
fn unknown_use(settings: &Settings, image: u64) -> Result<(), Failure> {
    let described = description::vms(&settings.state_dir)
        .map_err(|error| Failure::io("read the descriptions of VMs", &error))?;
    match described.iter().find(|vm| vm.image == image) {
        Some(vm) => Err(Failure::refused(format!(
            "image/{image} is what vm/{} '{}' runs from, which the database does not know; stop \
             hostler and run `hostler recover`",
            vm.id, vm.name
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::used_by;

    use crate::backend::testing::fake::CallFault;
    use crate::backend::testing::harness::Harness;
    use crate::domain::{Image, Reason, ResourceId, State};

    #[tokio::test]
    async fn an_image_of_a_vm_that_is_only_described_stays() {
        let mut harness = Harness::open();
        let id = harness.some_halted_vm().await;
        let vm = harness.vm(id).await;
        let image = vm.image;
        harness.done("vm_delete", json!({ "vm": id })).await;
        let unknown = crate::domain::Resource::Vm(crate::domain::Vm { id: 9, ..vm });
        let place = harness.dir().join("vms/9");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("vm.json"), serde_json::to_vec(&unknown).unwrap()).unwrap();
        let (_, why) = harness.fails("image_delete", json!({ "image": image })).await;
        assert!(why.contains("vm/9") && why.contains("recover"), "{why}");
        assert!(harness.dir().join("images/1").exists());
    }

    #[tokio::test]
    async fn nothing_is_left_of_it() {
        let mut harness = Harness::open();
        let image = harness.some_image().await;
        harness.done("image_delete", json!({ "image": image })).await;
        assert_eq!(harness.resource(ResourceId::new(Image::KIND, image)).await, None);
        harness.backend.in_step().await;
        assert_eq!(std::fs::read_dir(harness.dir().join("images")).unwrap().count(), 0);
        harness.some_image().await;
    }

    #[tokio::test]
    async fn one_that_vms_run_from_is_refused_and_the_vms_are_named() {
        let mut harness = Harness::open();
        harness.some_vm().await;
        let (reason, field, refusal) = harness.refused("image_delete", json!({ "image": 1 })).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "image"));
        let told = "vm/1 'web-1' runs from image/1; delete that first";
        assert_eq!(refusal.message, told);
        let vm = harness.vm(1).await;
        let many: Vec<_> = (1..=7).map(|id| crate::domain::Vm { id, ..vm.clone() }).collect();
        assert_eq!(used_by(1, many.iter()), Some(
            "vm/1 'web-1', vm/2 'web-1', vm/3 'web-1', vm/4 'web-1', vm/5 'web-1' and 2 more run \
             from image/1; delete them first".to_owned()
        ));
    }

    #[tokio::test]
    async fn a_vm_asked_for_in_the_meantime_keeps_its_image() {
        let mut harness = Harness::open();
        harness.some_image().await;
        // The lane is taken by a build that does not end, so the deletion waits.
        harness.fake.trouble(0, CallFault::Hang);
        let other = json!({ "recipe": "tiny", "name": "other" });
        let build = harness.submit("image_build", other).await.unwrap();
        harness.fake.hung().await;
        let delete = harness.submit("image_delete", json!({ "image": 1 })).await.unwrap();
        let vm = json!({ "hostname": "web-1", "password": "correct horse", "os": "tiny" });
        let vm = harness.submit("vm_create", vm).await.unwrap();
        harness.control(crate::domain::Control::Cancel { uid: build.uid }).await;
        let failed = harness.ends(delete.uid).await;
        assert_eq!(failed.state, State::Error);
        assert!(failed.comment.unwrap().contains("web-1"));
        assert_eq!(harness.ends(vm.uid).await.state, State::Done);
    }
}
