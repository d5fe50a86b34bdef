//! What the kinds about VMs share: a VM as the hypervisor knows it, and how one is powered down.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;

use crate::backend::engine::journal::Stop;
use crate::backend::ports::{Drive, GuestEvent, GuestSpec, GuestStatus, ProgressReport, ROOT_DISK};
use crate::backend::settings::Settings;
use crate::domain::{
    Disk, DiskFormat, Failure, Field, FieldType, Image, ImageForm, Reason, Refusal, Resource,
    ResourceId, ResourceKind, State, Vm, VmState,
};

use super::{AdmissionContext, Context, StepContext, files};

/// The id of the root disk's device.
const ROOT: &str = "hostler-root";
/// How long a guest may take to hear the power button before it is pressed again: one that still
/// boots loses it.
const PRESS_AGAIN: Duration = Duration::from_secs(5);

/// The file of a VM's root disk.
pub fn root_path(settings: &Settings, vm: u64) -> PathBuf {
    settings.vm_dir(vm).join(ROOT_DISK)
}

/// The file of a VM's cloud-init seed.
pub fn seed_path(settings: &Settings, vm: u64) -> PathBuf {
    settings.vm_dir(vm).join("seed.img")
}

/// How an image boots.
///
/// # Errors
/// When it is not ready.
pub fn form(image: &Image) -> Result<&ImageForm, Failure> {
    image.form.as_ref().ok_or_else(|| {
        Failure::new(format!(
            "image/{} '{}' is not ready; wait for it and relaunch",
            image.id, image.name
        ))
    })
}

/// Everything needed to launch a VM, of which every file is looked at.
///
/// # Errors
/// When its image or one of its disks is gone, or what is to be opened is no file of ours.
pub fn launchable(cx: &Context, vm: &Vm) -> Result<GuestSpec, Failure> {
    let settings = cx.settings();
    let image = cx.get::<Image>(vm.image)?;
    let disks = vm
        .disks
        .iter()
        .map(|id| cx.get::<Disk>(*id).and_then(drive))
        .collect::<Result<Vec<_>, _>>()?;
    let (form, root, seed) =
        (form(&image)?, root_path(settings, vm.id), seed_path(settings, vm.id));
    let of_vm = [root.as_path(), &seed].into_iter().chain(disks.iter().map(|it| it.path.as_path()));
    of_vm.chain(form.files()).try_for_each(|path| files::own(settings, path))?;
    Ok(GuestSpec {
        guest: settings.guest(vm),
        name: vm.name.clone(),
        memory_mib: vm.memory_mib,
        cpu: vm.cpu,
        form: form.clone(),
        root: Some(Drive { device: ROOT.to_owned(), path: root, format: DiskFormat::Qcow2 }),
        seed: Some(seed),
        disks,
        forwards: vm.ports.clone(),
        launch: cx.attempt_name(),
    })
}

/// A disk as a drive of a guest.
///
/// # Errors
/// When its file is missing, which QEMU would tell of a node of its own.
fn drive(disk: Disk) -> Result<Drive, Failure> {
    if std::fs::symlink_metadata(&disk.path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
    {
        let Disk { id, name, path, .. } = disk;
        return Err(Failure::new(format!(
            "disk/{id} '{name}': its file {} is missing; put it back, or detach the disk",
            path.display()
        )));
    }
    Ok(Drive::from(&disk))
}

/// Sees to it that the root disk of a VM that rests is over its image, also after the state
/// directory was moved.
///
/// # Errors
/// When the image is gone, or the root disk cannot be told where it is.
pub async fn settle_root(step: &StepContext, vm: &Vm) -> Result<(), Failure> {
    let image = step.cx().get::<Image>(vm.image)?;
    let Some((path, format)) = form(&image)?.disk() else { return Ok(()) };
    // What lives behind our back is only found started.
    if is_up(step, vm).await? {
        return Ok(());
    }
    let root = root_path(step.cx().settings(), vm.id);
    step.cx().ports().disks.rebase(&root, path, format, step.log()).await
}

/// A VM that has just been launched.
pub fn running(cx: &Context, id: u64, accelerator: String) -> Result<Resource, Failure> {
    let mut vm = cx.get::<Vm>(id)?;
    vm.state = VmState::Running;
    vm.accelerator = Some(accelerator);
    vm.started = Some(cx.now());
    vm.crashed = None;
    vm.note = None;
    Ok(Resource::Vm(vm))
}

/// How long the guest may take to shut down, as it is asked for.
pub fn timeout(settings: &Settings) -> Field {
    Field::optional(
        "timeout_s",
        FieldType::Integer { min: 1, max: 3600, unit: "s".into() },
        settings.stop_timeout.as_secs().clamp(1, 3600),
        "How long the guest may take to shut down.",
    )
    .advanced()
}

/// The step in which a VM's guest is made to shut down, by its power button.
pub async fn shut_down(cx: &Context, vm: u64, timeout_s: u64) -> Result<(), Stop> {
    let timeout = Duration::from_secs(timeout_s);
    cx.step("power_button")
        .label("waiting for the guest")
        .run(|step| async move { power_down(&step, &step.cx().get::<Vm>(vm)?, timeout).await })
        .await
}

/// Presses a VM's power button until its guest has shut down or its process is gone.
///
/// # Errors
/// When the guest does not within `timeout`, or cannot because it stands still.
async fn power_down(step: &StepContext, vm: &Vm, timeout: Duration) -> Result<(), Failure> {
    let ports = step.cx().ports();
    let guest = step.cx().settings().guest(vm);
    // By the time that passes: the clock may be set meanwhile.
    let late = ports.clock.uptime() + timeout;
    // Watched before it is asked, so that nothing falls between the two.
    let mut events = ports.hypervisor.watch(&guest).await?.fuse();
    loop {
        match ports.hypervisor.status(&guest).await? {
            GuestStatus::Off | GuestStatus::ShutDown => return Ok(()),
            GuestStatus::Paused | GuestStatus::Broken => {
                return Err(Failure::new(format!(
                    "vm/{} '{}' stands still and hears no power button; relaunch with force=true \
                     to cut its power",
                    vm.id, vm.name
                )));
            }
            GuestStatus::Unreachable => {
                let astray = ports.hypervisor.astray(&guest);
                return Err(Failure::new(astray.unwrap_or_else(|| {
                    format!(
                        "vm/{} '{}' runs, but its QEMU cannot be spoken to; shut it down from \
                         inside, or relaunch with force=true to cut its power",
                        vm.id, vm.name
                    )
                })));
            }
            GuestStatus::Running => {}
        }
        let left = late.saturating_sub(ports.clock.uptime());
        if left.is_zero() {
            return Err(Failure::new(format!(
                "vm/{} '{}' has not shut down in {} s; relaunch to wait longer, or relaunch with \
                 force=true to cut its power",
                vm.id,
                vm.name,
                timeout.as_secs()
            )));
        }
        // When the guest will be done nobody knows; the patience that is used up says nothing of
        // it. What is told seldom must not count down.
        let detail = format!("gives up after {} s", timeout.as_secs());
        step.report(ProgressReport { detail: Some(detail), ..ProgressReport::default() });
        ports.hypervisor.power_button(&guest, step.log()).await?;
        let mut pause = ports.clock.until(step.cx().now() + left.min(PRESS_AGAIN));
        loop {
            tokio::select! {
                biased;
                Some(event) = events.next() => {
                    if matches!(event, GuestEvent::ShutDown | GuestEvent::Gone) {
                        break;
                    }
                }
                () = &mut pause => break,
            }
        }
    }
}

/// Refuses a name that a living resource of the kind has already.
///
/// # Errors
/// [`Reason::Existence`], naming the field, the one who has the name, and the operation that began
/// that one where it failed.
pub fn free_name(
    world: &AdmissionContext<'_>,
    field: &str,
    kind: ResourceKind,
    name: &str,
) -> Result<(), Refusal> {
    let Some(id) = world.inventory.named(kind, name) else { return Ok(()) };
    let taken = world.inventory.resource(ResourceId::new(kind, id));
    let is_begun = taken.is_some_and(|it| !it.is_whole());
    let failed = world.asked.filter(|_| is_begun).and_then(|asked| {
        asked
            .operations()
            .find(|it| it.resource == Some(ResourceId::new(kind, id)) && it.state == State::Error)
    });
    let advice = match failed {
        Some(operation) => format!(
            "operation {} began it and failed: relaunch or cancel that, or choose another name",
            operation.uid.0
        ),
        None => "choose another name".to_owned(),
    };
    let message = format!("{field}: {kind}/{id} is called '{name}' already; {advice}");
    Err(Refusal::field(Reason::Existence, field, name, message))
}

/// Whether a VM has a process whose guest has not shut down: whether disks are plugged in and out.
///
/// # Errors
/// When that cannot be found out.
pub async fn is_up(step: &StepContext, vm: &Vm) -> Result<bool, Failure> {
    let guest = step.cx().settings().guest(vm);
    let status = step.cx().ports().hypervisor.status(&guest).await?;
    Ok(!matches!(status, GuestStatus::Off | GuestStatus::ShutDown))
}
