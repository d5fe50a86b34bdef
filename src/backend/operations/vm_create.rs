//! `vm_create`: a VM from an image, up and running.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backend::engine::journal::Stop;
use crate::backend::engine::secrets::Sealed;
use crate::backend::ports::Seed;
use crate::backend::settings::Settings;
use crate::backend::watchers::load;
use crate::domain::{
    Effect, Field, FieldType, FsType, ImageForm, ImageState, LockMode, LockRule, OperationSpec,
    Outcome, Preview, Reason, Refusal, Resource, ResourceId, ResourceKind, Risk, Vm, VmState,
};

use super::{AdmissionContext, Context, Kind, files, guests};

/// The root disk of an image without one, in MB. It takes what is written to it, no more.
const BLANK_MB: u64 = 8 * 1024;
/// What an overlay takes before anything is written to it, in bytes.
const OVERLAY_BYTES: u64 = 200 * 1024;
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
            resource: ResourceKind::Vm,
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
                    FieldType::Resource { of: ResourceKind::Image, states: vec!["ready".into()] },
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
            ],
            locks: vec![LockRule { field: "os".into(), mode: LockMode::Shared }],
            requires: vec![],
            state_after: Some("running".into()),
            reject_duplicates: false,
            steps: vec!["disks".into(), "start".into()],
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
        guests::free_name(world, "hostname", ResourceKind::Vm, &params.hostname)?;
        match world.inventory.image(params.os) {
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
        let image = world.inventory.image(params.os)?;
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
        let Some(image) = world.inventory.image(params.os) else { return Preview::default() };
        let memory = memory_mib(params, world.settings);
        let login = params.login.as_deref().unwrap_or(&image.login);
        let mut effects = vec![
            format!(
                "VM '{}' with {memory} MiB of memory and {} processor{} is created from {} and \
                 started.",
                params.hostname,
                params.cpu,
                if params.cpu == 1 { "" } else { "s" },
                image.name
            ),
            logs_in(image.form.as_ref(), login),
        ];
        if let Some(free) = load::available_mib().filter(|free| *free < memory) {
            effects.push(format!(
                "The box has only {free} MiB of memory free: it will swap, or QEMU may be killed."
            ));
        }
        let root = "root.qcow2";
        let (command, space) = match image.form.as_ref().and_then(guests::backing) {
            Some((path, format)) => (
                format!(
                    "qemu-img create -f qcow2 -b {} -F {} {root}",
                    path.display(),
                    format.word()
                ),
                OVERLAY_BYTES,
            ),
            None => (format!("qemu-img create -f qcow2 {root} {BLANK_MB}M"), OVERLAY_BYTES),
        };
        Preview { refusal: None, effects, commands: vec![command], space: Some(space) }
    }

    async fn run(cx: Context, params: Parameters) -> Result<Outcome, Stop> {
        let vm = cx.vm(cx.id()?)?;
        let image = cx.image(params.os)?;
        let settings = cx.settings();
        let resource = ResourceId::new(ResourceKind::Vm, vm.id);
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
                    files::make_room(step.cx().settings(), root)?;
                    let root = async {
                        match guests::backing(guests::form(image)?) {
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

        cx.step("start")
            .label("starting QEMU")
            .undo(move |step| async move {
                let mut vm = step.cx().vm(id)?;
                let guest = guests::guest(step.cx().settings(), &vm);
                step.cx().ports().hypervisor.quit(&guest, step.log()).await?;
                vm = guests::halted(vm, None);
                vm.state = VmState::BeingCreated;
                step.put(Resource::Vm(vm));
                Ok(())
            })
            .run(|step| async move {
                let spec = guests::launchable(step.cx(), &step.cx().vm(id)?)?;
                let launched = step.cx().ports().hypervisor.launch(&spec, step.log()).await?;
                step.put(guests::running(step.cx(), id, launched)?);
                Ok(())
            })
            .await?;
        Ok(Outcome::default())
    }
}

/// User names that `useradd` takes.
fn check_login(login: &str) -> Result<(), Refusal> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if login.starts_with(|c: char| c.is_ascii_lowercase())
        && login.chars().all(inside)
        && login.len() <= 32
    {
        return Ok(());
    }
    Err(Refusal::field(
        Reason::Syntax,
        "login",
        login,
        "login may hold small letters, digits, '-' and '_', starts with a letter and has at most \
         32 characters",
    ))
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::testing::harness::{Harness, Trial};
    use crate::domain::{Backend, Control, State};

    const PASSWORD: &str = "correct horse";

    #[tokio::test]
    async fn a_vm_runs_when_it_is_done() {
        let mut harness = Harness::open();
        let vm = harness.some_vm().await;
        let vm = harness.vm(vm).await;
        assert_eq!((vm.name.as_str(), vm.state, vm.memory_mib), ("web-1", VmState::Running, 256));
        assert_eq!((vm.login.as_str(), vm.os.as_str()), ("root", "tiny"));
        assert_eq!(vm.accelerator.as_deref(), Some("tcg"));
        assert!(vm.started.is_some());
        let seed = std::fs::read_to_string(harness.dir().join("vms/1/seed.img")).unwrap();
        assert!(seed.starts_with("web-1 root $6$"), "{seed}");
        assert!(!seed.contains(PASSWORD));
    }

    #[tokio::test]
    async fn it_survives_faults() {
        let trial = Trial {
            kind: "vm_create",
            params: json!({ "hostname": "web-1", "password": PASSWORD, "os": "tiny" }),
            setup: |harness| Box::pin(async { assert_eq!(harness.some_image().await, 1) }),
            undoes: true,
        };
        trial.survives_faults().await;
    }

    #[tokio::test]
    async fn what_cannot_work_is_refused_with_field_and_reason() {
        let mut harness = Harness::open();
        let os = harness.some_image().await;
        let good = json!({ "hostname": "web-1", "password": PASSWORD, "os": os });
        harness.done("vm_create", good.clone()).await;
        for (field, value, reason) in [
            ("hostname", json!("web-1"), Reason::Existence),
            ("hostname", json!("../etc"), Reason::Syntax),
            ("password", json!("short"), Reason::Value),
            ("password", json!("x".repeat(1025)), Reason::Value),
            ("password", json!({ "hashed": "anything" }), Reason::Type),
            ("ssh_keys", json!(vec!["ssh-ed25519 AAAA me"; 1001]), Reason::Value),
            ("os", json!("absent"), Reason::Existence),
            ("shares", json!(65), Reason::Value),
            ("cpu", json!(0), Reason::Value),
            ("login", json!("Root"), Reason::Syntax),
            ("ssh_keys", json!(["rm -rf"]), Reason::Syntax),
        ] {
            let mut given = good.clone();
            given[field] = value;
            if field != "hostname" {
                given["hostname"] = json!("web-2");
            }
            let (found, at, refusal) = harness.refused("vm_create", given).await;
            assert_eq!((found, at.as_str()), (reason, field), "{refusal}");
        }
    }

    #[tokio::test]
    async fn a_hash_from_outside_is_refused_and_one_made_here_is_kept() {
        let mut harness = Harness::open();
        harness.some_image().await;
        let hash = format!("$6$saltsalt${}", "x".repeat(86));
        let sealed = json!({ "hostname": "web-1", "password": { "hashed": hash }, "os": "tiny" });
        let task = json!({
            "name": "nightly", "kind": "vm_create", "params": sealed, "start": "2099-01-01"
        });
        for (kind, given) in [("vm_create", sealed.clone()), ("task_create", task.clone())] {
            let preview = harness.preview(kind, given.clone()).await;
            let (reason, _, refusal) = harness.refused(kind, given).await;
            assert_eq!(reason, Reason::Type);
            assert!(refusal.message.contains("hashed here"), "{refusal}");
            assert_eq!(preview.refusal, Some(refusal));
        }

        // What a task holds was hashed when it was made, and comes from within.
        let mut task = task;
        task["params"]["password"] = json!(PASSWORD);
        let id = harness.done("task_create", task).await;
        harness.fake.trouble(0, crate::backend::testing::fake::Trouble::Before);
        harness.done("task_run", json!({ "task": id })).await;
        let failed = crate::domain::Uid(4);
        assert_eq!(harness.ends(failed).await.state, State::Error);
        let params = json!({ "password": { "hashed": hash } });
        let relaunch =
            Control::Relaunch { uid: failed, params: params.as_object().unwrap().clone() };
        let error = harness.backend.control(relaunch).await.unwrap_err();
        assert!(error.to_string().contains("hashed here"), "{error}");
        harness
            .control(Control::Relaunch { uid: failed, params: crate::domain::Params::new() })
            .await;
        assert_eq!(harness.reaches(failed, &[State::Done, State::Error]).await.state, State::Done);
        let seed = std::fs::read_to_string(harness.dir().join("vms/1/seed.img")).unwrap();
        assert!(seed.starts_with("web-1 root $6$") && !seed.contains("saltsalt"), "{seed}");
    }

    #[tokio::test]
    async fn a_request_of_any_size_is_answered_in_a_few_words() {
        let harness = Harness::open();
        let long = "x".repeat(300_000);
        let given = json!({ "hostname": "web-1", "password": long, "os": "tiny" });
        let (reason, _, refusal) = harness.refused("vm_create", given).await;
        assert_eq!(reason, Reason::Value);
        assert!(refusal.message.contains("at most"), "{}", refusal.message.len());
        let name = "x".repeat(100_000);
        for given in [json!({ "os": name }), json!({ "recipe": name }), json!({ &*name: 1 })] {
            let kind = if given.get("recipe").is_some() { "image_build" } else { "vm_create" };
            let (_, _, refusal) = harness.refused(kind, given).await;
            let told = serde_json::to_string(&refusal).unwrap();
            assert!(told.len() < 2000, "{} bytes", told.len());
        }
    }

    #[tokio::test]
    async fn an_image_that_is_not_ready_is_refused() {
        let mut harness = Harness::open();
        harness.fake.trouble(0, crate::backend::testing::fake::Trouble::Before);
        let failed = harness.fails("image_build", json!({ "recipe": "tiny" })).await;
        let given = json!({ "hostname": "web-1", "password": PASSWORD, "os": "tiny" });
        let (reason, field, _) = harness.refused("vm_create", given).await;
        assert_eq!((reason, field.as_str()), (Reason::State, "os"));
        assert_eq!(harness.detail(failed.0).await.operation.state, State::Error);
    }

    #[tokio::test]
    async fn the_preview_tells_memory_command_and_space_and_keeps_no_password() {
        let mut harness = Harness::open();
        harness.some_image().await;
        let given = json!({ "hostname": "web-1", "password": PASSWORD, "os": "tiny", "shares": 4 });
        let preview = harness.preview("vm_create", given).await;
        assert_eq!(preview.refusal, None);
        assert!(preview.effects[0].contains("1024 MiB"), "{:?}", preview.effects);
        assert!(preview.commands[0].starts_with("qemu-img create -f qcow2 -b /"));
        assert_eq!(preview.space, Some(OVERLAY_BYTES));
        assert!(!serde_json::to_string(&preview).unwrap().contains(PASSWORD));
    }

    #[test]
    fn a_login_is_promised_only_where_an_account_is_made() {
        let direct = ImageForm::Direct {
            kernel: "/kernel".into(),
            initrd: "/initrd".into(),
            append: String::new(),
        };
        let said = logs_in(Some(&direct), "root");
        assert!(!said.contains("can log in") && said.contains("no password"), "{said}");
        let said = logs_in(Some(&ImageForm::Iso { path: "/cd.iso".into() }), "admin");
        assert!(!said.contains("can log in with"), "{said}");
        let disk = ImageForm::Disk { path: "/disk".into(), format: crate::domain::DiskFormat::Raw };
        assert!(logs_in(Some(&disk), "admin").contains("'admin' can log in with the password"));
    }

    #[tokio::test]
    async fn too_little_memory_is_said_before() {
        let mut harness = Harness::open();
        harness.some_image().await;
        let given =
            json!({ "hostname": "web-1", "password": PASSWORD, "os": "tiny", "shares": 64 });
        let preview = harness.preview("vm_create", given).await;
        let warned = preview.effects.iter().any(|effect| effect.contains("memory free"));
        assert_eq!(warned, load::available_mib().unwrap() < 64 * 256);
    }
}
