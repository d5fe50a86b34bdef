//! `vm_create`: a VM from an image, up and running.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backend::engine::journal::Stop;
use crate::backend::engine::secrets::Sealed;
use crate::backend::ports::{ROOT_DISK, Seed};
use crate::backend::settings::Settings;
use crate::domain::display;
use crate::domain::{
    Disk, DiskState, Effect, Failure, Field, FieldType, Forward, FsType, Hint, Image, ImageForm,
    ImageState, LockMode, LockRule, OperationSpec, Outcome, Preview, Reason, Refusal, Resource,
    ResourceId, Risk, Vm, VmState,
};

use super::demand::Demand;
use super::{AdmissionContext, Context, Kind, files, forwards, guests};

/// The root disk of an image without one, in MB. It takes what is written to it, no more.
const BLANK_MB: u64 = 8 * 1024;
/// What a root disk takes before anything is written to it, in bytes.
const EMPTY_BYTES: u64 = 200 * 1024;
/// The most disks it has from the start.
const MOST_DISKS: u32 = 16;
/// What keys in the form of OpenSSH begin with.
const KEY_TYPES: [&str; 4] = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];

/// The kind.
pub struct VmCreate;

/// Its parameters.
#[derive(Serialize, Deserialize)]
pub struct Parameters {
    hostname: String,
    password: Sealed,
    os: u64,
    shares: u32,
    cpu: u32,
    login: Option<String>,
    ssh_keys: Vec<String>,
    #[serde(default)]
    disks: Vec<u64>,
    #[serde(default)]
    ports: Vec<Forward>,
}

impl Kind for VmCreate {
    type Params = Parameters;

    fn spec(_: &Settings) -> OperationSpec {
        OperationSpec {
            kind: "vm_create".into(),
            title: "Create".into(),
            doc: "Creates a virtual machine from an image and starts it. Its root disk is an \
                  overlay of the image's, so this takes the same time whatever the image's size."
                .into(),
            doing: "being created".into(),
            resource: Some(Vm::KIND),
            effect: Effect::Creates,
            subject: None,
            lane: "vm".into(),
            risk: Risk::None,
            warning: "".into(),
            fields: vec![
                Field::required(
                    "hostname",
                    FieldType::Hostname,
                    "The guest's host name, which is also the VM's name here.",
                ),
                Field::required(
                    "password",
                    FieldType::Secret { min: 8 },
                    "The password of the user account in the guest, where the image makes one; it \
                     is kept hashed.",
                ),
                Field::required(
                    "os",
                    FieldType::Resource { of: Image::KIND, states: vec!["ready".into()] },
                    "The image the VM is created from.",
                ),
                Field::optional(
                    "shares",
                    FieldType::Integer { min: 1, max: 64, unit: "shares".into() },
                    1,
                    "Its shares of the box's memory.",
                ),
                Field::optional(
                    "cpu",
                    FieldType::Integer { min: 1, max: 16, unit: "processors".into() },
                    1,
                    "How many processors the guest sees.",
                ),
                Field::optional(
                    "login",
                    FieldType::Name,
                    serde_json::Value::Null,
                    "The user account to make in the guest, where the image makes one; the image's \
                     own when left out.",
                ),
                Field::optional(
                    "ssh_keys",
                    FieldType::Lines,
                    serde_json::json!([]),
                    "Public SSH keys that may log in to the user account, one a line.",
                )
                .advanced(),
                Field::optional(
                    "disks",
                    FieldType::List {
                        of: Box::new(FieldType::Resource {
                            of: Disk::KIND,
                            states: vec!["free".into()],
                        }),
                        min: 0,
                        max: MOST_DISKS,
                    },
                    serde_json::json!([]),
                    "Free disks that the guest has from its first start on.",
                )
                .advanced(),
                forwards::field(),
            ],
            locks: vec![
                LockRule { field: "os".into(), mode: LockMode::Shared },
                LockRule { field: "disks".into(), mode: LockMode::Exclusive },
            ],
            offered_on: Vec::new(),
            edits: false,
            hint: Hint::new("new", &["n"], 10),
            requires: vec![],
            state_after: Some("running".into()),
            reject_duplicates: false,
            steps: vec!["disks".into(), "attach".into(), "start".into()],
        }
    }

    fn admit(params: &Parameters, world: &AdmissionContext<'_>) -> Result<(), Refusal> {
        if let Some(login) = &params.login {
            check_login(login)?;
        }
        for (line, key) in params.ssh_keys.iter().enumerate() {
            if !KEY_TYPES.iter().any(|start| key.starts_with(start)) || !key.contains(' ') {
                return Err(Refusal::field(
                    Reason::Syntax,
                    "ssh_keys",
                    key,
                    format!(
                        "ssh_keys: line {} is no public SSH key; they look like 'ssh-ed25519 AAAA… \
                         name'",
                        line + 1
                    ),
                ));
            }
        }
        if let Some(login) = &params.login {
            check_length(login)?;
        }
        forwards::admit_each_once(&params.ports)?;
        guests::free_name(world, "hostname", Vm::KIND, &params.hostname)?;
        forwards::admit_free(&params.ports, world)?;
        admit_disks(&params.disks, world)?;
        match world.inventory.get::<Image>(params.os) {
            Some(image) if image.state != ImageState::Ready => Err(Refusal::field(
                Reason::State,
                "os",
                params.os.to_string(),
                format!(
                    "os: image/{} '{}' is {}; wait until it is ready",
                    image.id,
                    image.name,
                    image.state.word()
                ),
            )),
            _ => Ok(()),
        }
    }

    fn reserve(params: &Parameters, id: u64, world: &AdmissionContext<'_>) -> Option<Resource> {
        let image = world.inventory.get::<Image>(params.os)?;
        Some(Resource::Vm(Vm {
            id,
            name: params.hostname.clone(),
            state: VmState::BeingCreated,
            uuid: Uuid::new_v4(),
            image: image.id,
            os: image.name.clone(),
            shares: params.shares,
            memory_mib: memory_mib(params, world.settings),
            cpu: params.cpu,
            login: params.login.clone().unwrap_or_else(|| image.login.clone()),
            disks: vec![],
            ports: params.ports.clone(),
            accelerator: None,
            created: world.now,
            started: None,
            crashed: None,
            note: None,
            cpu_percent: None,
            memory_used_mib: None,
        }))
    }

    fn preview(params: &Parameters, world: &AdmissionContext<'_>) -> Preview {
        let Some(image) = world.inventory.get::<Image>(params.os) else {
            return Preview::default();
        };
        let memory = display::mib(memory_mib(params, world.settings));
        let login = params.login.as_deref().unwrap_or(&image.login);
        let mut effects = vec![
            format!(
                "VM '{}' with {memory} of memory and {} processor{} is created from {} and \
                 started.",
                params.hostname,
                params.cpu,
                if params.cpu == 1 { "" } else { "s" },
                image.name
            ),
            logs_in(image.form.as_ref(), login),
        ];
        let disks = params.disks.iter().filter_map(|id| world.inventory.get::<Disk>(*id));
        effects.extend(disks.map(|disk| format!("It has disk '{}' from the start.", disk.name)));
        effects.extend(params.ports.iter().map(|port| format!("{}.", forwards::sentence(port))));
        let root = ROOT_DISK;
        let command = match image.form.as_ref().and_then(ImageForm::disk) {
            Some((path, format)) => {
                let (path, format) = (path.display(), format.word());
                format!("qemu-img create -f qcow2 -b {path} -F {format} {root}")
            }
            None => format!("qemu-img create -f qcow2 {root} {BLANK_MB}M"),
        };
        Preview { refusal: None, effects, commands: vec![command], space: Some(EMPTY_BYTES) }
    }

    fn demands(params: &Parameters, world: &AdmissionContext<'_>) -> Vec<Demand> {
        let image = world.inventory.get::<Image>(params.os);
        let disk = image.filter(|it| it.form.as_ref().is_some_and(|form| form.disk().is_some()));
        let most = disk.map_or(BLANK_MB << 20, |image| image.virtual_bytes);
        vec![
            Demand::Memory(memory_mib(params, world.settings)),
            Demand::Room { what: "its root disk", most },
        ]
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let vm = cx.get::<Vm>(cx.id()?)?;
        let image = cx.get::<Image>(params.os)?;
        let settings = cx.settings();
        let resource = ResourceId::new(Vm::KIND, vm.id);
        let root = guests::root_path(settings, vm.id);
        let seed_path = guests::seed_path(settings, vm.id);
        let seed = seed(&vm, &params);
        let id = vm.id;

        cx.step("disks")
            .label("making the root disk and the seed")
            .undo(move |step| async move {
                files::unmake(step.cx(), resource, files::remove(step.cx(), resource)).await
            })
            .run(|step| {
                let (image, root, name) = (&image, &root, &vm.name);
                let (seed_path, seed) = (&seed_path, &seed);
                async move {
                    let disks = &step.cx().ports().disks;
                    files::claim(step.cx(), resource)?;
                    let settings = step.cx().settings();
                    files::make_room(settings, root)?;
                    let of_image = guests::form(image)?.files();
                    let mut given = of_image.into_iter().chain([root.as_path(), seed_path]);
                    given.try_for_each(|path| files::own(settings, path))?;
                    let root = async {
                        match guests::form(image)?.disk() {
                            Some((path, format)) => {
                                let bytes = image.virtual_bytes;
                                disks.overlay(root, path, format, bytes, step.log()).await
                            }
                            None => {
                                disks.create(root, BLANK_MB, FsType::None, name, step.log()).await
                            }
                        }
                    };
                    // The seed is written while qemu-img works; what failed is told when both have
                    // ended.
                    let (root, seed) = tokio::join!(root, disks.seed(seed_path, seed));
                    root.and(seed)
                }
            })
            .await?;

        if !params.disks.is_empty() {
            attach(&cx, id, params.disks).await?;
        }

        cx.step("start")
            .label("starting QEMU")
            .undo(move |step| async move {
                let mut vm = step.cx().get::<Vm>(id)?;
                let guest = step.cx().settings().guest(&vm);
                step.cx().ports().hypervisor.quit(&guest, step.log()).await?;
                vm = vm.halted(None);
                vm.state = VmState::BeingCreated;
                step.put(Resource::Vm(vm));
                Ok(())
            })
            .run(|step| async move {
                let spec = guests::launchable(step.cx(), &step.cx().get::<Vm>(id)?)?;
                let launched = step.cx().ports().hypervisor.launch(&spec, step.log()).await?;
                step.put(guests::running(step.cx(), id, launched)?);
                Ok(())
            })
            .await?;
        Ok(Outcome::default())
    }
}

/// The step that gives a VM, before it has a process, its disks.
async fn attach(cx: &Context, id: u64, disks: Vec<u64>) -> Result<(), Stop> {
    cx.step("attach")
        .label("giving it its disks")
        .undo(move |step| async move {
            let mut vm = step.cx().get::<Vm>(id)?;
            for disk in std::mem::take(&mut vm.disks) {
                step.put(Resource::Disk(Disk {
                    state: DiskState::Free,
                    vm: None,
                    ..step.cx().get::<Disk>(disk)?
                }));
            }
            step.put(Resource::Vm(vm));
            Ok(())
        })
        .run(|step| {
            let disks = disks.clone();
            async move {
                for disk in &disks {
                    let disk = step.cx().get::<Disk>(*disk)?;
                    // It may have changed while this was waiting.
                    if disk.state != DiskState::Free {
                        return Err(Failure::refused(format!(
                            "{}; cancel this, or relaunch it without that disk",
                            not_free(&disk)
                        )));
                    }
                    step.put(Resource::Disk(Disk {
                        state: DiskState::Attached,
                        vm: Some(id),
                        ..disk
                    }));
                }
                step.put(Resource::Vm(Vm { disks, ..step.cx().get::<Vm>(id)? }));
                Ok(())
            }
        })
        .await
}

/// The disks must be free.
fn admit_disks(disks: &[u64], world: &AdmissionContext<'_>) -> Result<(), Refusal> {
    for (number, id) in disks.iter().enumerate() {
        let Some(disk) =
            world.inventory.get::<Disk>(*id).filter(|disk| disk.state != DiskState::Free)
        else {
            continue;
        };
        let path = format!("disks.{number}");
        let message = format!("{path}: {}; choose another", not_free(disk));
        return Err(Refusal::field(Reason::State, path, id.to_string(), message));
    }
    Ok(())
}

fn not_free(disk: &Disk) -> String {
    format!("disk/{} '{}' is {}, not free", disk.id, disk.name, disk.state.word())
}

/// How user names that `useradd` takes are written.
fn check_login(login: &str) -> Result<(), Refusal> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if login.starts_with(|c: char| c.is_ascii_lowercase()) && login.chars().all(inside) {
        return Ok(());
    }
    Err(Refusal::field(
        Reason::Syntax,
        "login",
        login,
        "login may hold small letters, digits, '-' and '_', and starts with a letter",
    ))
}

/// How long they may be.
fn check_length(login: &str) -> Result<(), Refusal> {
    const MOST: usize = 32;
    if login.len() <= MOST {
        return Ok(());
    }
    let message = format!("login has {} characters; at most {MOST} are allowed", login.len());
    Err(Refusal::field(Reason::Value, "login", login, message))
}

fn memory_mib(params: &Parameters, settings: &Settings) -> u64 {
    u64::from(params.shares) * settings.share_mib
}

/// Who can log in, in a sentence. What starts without a root disk of its own makes no accounts.
fn logs_in(form: Option<&ImageForm>, login: &str) -> String {
    match form {
        Some(ImageForm::Direct { .. }) => {
            "Its serial console is a shell of root's that asks for no password; the one given is \
             not used."
                .to_owned()
        }
        Some(ImageForm::Iso { .. }) => {
            "It starts from the image as from a CD: who can log in is for that to say; login and \
             password are passed on in its seed."
                .to_owned()
        }
        _ => format!("In the guest, '{login}' can log in with the password given."),
    }
}

fn seed(vm: &Vm, params: &Parameters) -> Seed {
    Seed {
        instance_id: vm.uuid.to_string(),
        hostname: vm.name.clone(),
        login: vm.login.clone(),
        password_hash: params.password.hashed.clone(),
        ssh_keys: params.ssh_keys.clone(),
    }
}

#[cfg(test)]
mod tests;
