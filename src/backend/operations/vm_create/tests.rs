//! What `vm_create` promises.

use serde_json::json;

use super::*;
use crate::backend::load;
use crate::backend::testing::harness::{FaultMatrix, Harness};
use crate::domain::{Backend, Control, Protocol, State};

const LOGIN_PASSWORD: &str = "correct horse";

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
    assert!(!seed.contains(LOGIN_PASSWORD));
}

#[tokio::test]
async fn it_endures_everything() {
    let tested = FaultMatrix {
        kind: "vm_create",
        params: json!({ "hostname": "web-1", "password": LOGIN_PASSWORD, "os": "tiny" }),
        setup: |harness| Box::pin(async { assert_eq!(harness.some_image().await, 1) }),
        undoes: true,
    };
    tested.survives_faults().await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_field_and_reason() {
    let mut harness = Harness::open();
    let os = harness.some_image().await;
    let good = json!({ "hostname": "web-1", "password": LOGIN_PASSWORD, "os": os });
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
        ("login", json!("x".repeat(33)), Reason::Value),
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
    task["params"]["password"] = json!(LOGIN_PASSWORD);
    let id = harness.done("task_create", task).await;
    harness.fake.trouble(0, crate::backend::testing::fake::CallFault::Before);
    harness.fails("task_run", json!({ "task": id })).await;
    let failed = crate::domain::Uid(4);
    assert_eq!(harness.ends(failed).await.state, State::Error);
    let params = json!({ "password": { "hashed": hash } });
    let relaunch = Control::Relaunch { uid: failed, params: params.as_object().unwrap().clone() };
    let error = harness.backend.control(relaunch).await.unwrap_err();
    assert!(error.to_string().contains("hashed here"), "{error}");
    harness.control(Control::Relaunch { uid: failed, params: crate::domain::Params::new() }).await;
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
    harness.fake.trouble(0, crate::backend::testing::fake::CallFault::Before);
    let failed = harness.fails("image_build", json!({ "recipe": "tiny" })).await;
    let given = json!({ "hostname": "web-1", "password": LOGIN_PASSWORD, "os": "tiny" });
    let (reason, field, _) = harness.refused("vm_create", given).await;
    assert_eq!((reason, field.as_str()), (Reason::State, "os"));
    assert_eq!(harness.detail(failed.0).await.operation.state, State::Error);
}

#[tokio::test]
async fn the_preview_tells_memory_command_and_space_and_keeps_no_password() {
    let mut harness = Harness::open();
    harness.some_image().await;
    let given =
        json!({ "hostname": "web-1", "password": LOGIN_PASSWORD, "os": "tiny", "shares": 4 });
    let preview = harness.preview("vm_create", given).await;
    assert_eq!(preview.refusal, None);
    assert!(preview.effects[0].contains("1.0 GiB of memory"), "{:?}", preview.effects);
    assert!(preview.commands[0].starts_with("qemu-img create -f qcow2 -b /"));
    assert_eq!(preview.space, Some(EMPTY_BYTES));
    assert!(!serde_json::to_string(&preview).unwrap().contains(LOGIN_PASSWORD));
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
        json!({ "hostname": "web-1", "password": LOGIN_PASSWORD, "os": "tiny", "shares": 64 });
    let preview = harness.preview("vm_create", given).await;
    let warned = preview.effects.iter().any(|effect| effect.contains("memory free"));
    assert_eq!(warned, load::available_mib().unwrap() < 64 * 256, "{:?}", preview.effects);
}

fn with_disks() -> FaultMatrix {
    FaultMatrix {
        kind: "vm_create",
        params: json!({
            "hostname": "web-1", "password": LOGIN_PASSWORD, "os": "tiny", "disks": ["data", "more"]
        }),
        setup: |harness| {
            Box::pin(async {
                harness.some_image().await;
                harness.some_disk().await;
                harness.done("disk_create", json!({ "name": "more", "size_mb": 20 })).await;
            })
        },
        undoes: true,
    }
}

#[tokio::test]
async fn with_disks_it_endures_everything() {
    with_disks().survives_faults().await;
}

#[tokio::test]
async fn a_vm_has_its_disks_and_ports_from_the_start() {
    let mut harness = Harness::open();
    (with_disks().setup)(&mut harness).await;
    let mut given = with_disks().params;
    given["ports"] = json!([{ "port": 2222, "guest": 22 }]);
    let preview = harness.preview("vm_create", given.clone()).await;
    for said in ["disk 'data' from the start", "127.0.0.1:2222 leads to port 22"] {
        let says = preview.effects.iter().any(|effect| effect.contains(said));
        assert!(says, "{said}: {:?}", preview.effects);
    }
    let vm = harness.done("vm_create", given).await;
    let vm = harness.vm(vm).await;
    assert_eq!(vm.disks, [1, 2]);
    assert_eq!(vm.ports, [Forward { port: 2222, guest: 22, protocol: Protocol::Tcp }]);
    for disk in [1, 2] {
        let disk = harness.disk(disk).await;
        assert_eq!((disk.state, disk.vm), (DiskState::Attached, Some(vm.id)));
    }
}

#[tokio::test]
async fn every_disk_of_the_list_is_held() {
    use crate::domain::{LaneChange, Wait};
    let mut harness = Harness::open();
    (with_disks().setup)(&mut harness).await;
    let lane = |change| Control::Lane { name: "vm".into(), change };
    harness.control(lane(LaneChange::Pause)).await;
    let create = harness.submit("vm_create", with_disks().params).await.unwrap();
    for disk in ["data", "more"] {
        let delete = harness.submit("disk_delete", json!({ "disk": disk })).await.unwrap();
        let waiting = harness.detail(delete.uid).await.operation;
        assert!(
            matches!(&waiting.wait, Some(Wait::Operation { uid, .. }) if *uid == create.uid),
            "{disk}: {waiting:?}"
        );
        harness.control(Control::Cancel { uid: delete.uid }).await;
    }
    harness.control(lane(LaneChange::Resume)).await;
    assert_eq!(harness.ends(create.uid).await.state, State::Done);
}

#[tokio::test]
async fn a_disk_or_a_port_that_is_not_free_is_refused_where_it_is_named() {
    let mut harness = Harness::open();
    (with_disks().setup)(&mut harness).await;
    let port = |port: u16| json!({ "port": port, "guest": 22 });
    let mut given = with_disks().params;
    given["disks"] = json!(["more"]);
    given["ports"] = json!([port(2222)]);
    harness.done("vm_create", given).await;
    let given = |disks: serde_json::Value, ports: serde_json::Value| {
        json!({
            "hostname": "web-2",
            "password": LOGIN_PASSWORD,
            "os": "tiny",
            "disks": disks,
            "ports": ports,
        })
    };
    for (given, reason, path) in [
        (given(json!(["data", "more"]), json!([])), Reason::State, "disks.1"),
        (given(json!([]), json!([port(80), port(2222)])), Reason::Existence, "ports.1.port"),
        (given(json!([]), json!([port(80), port(80)])), Reason::Value, "ports.1.port"),
        (given(json!([]), json!([{ "port": 0, "guest": 1 }])), Reason::Value, "ports.0.port"),
        (given(json!([]), json!([{ "port": 80 }])), Reason::Type, "ports.0.guest"),
    ] {
        let (found, field, refusal) = harness.refused("vm_create", given).await;
        assert_eq!((found, field.as_str()), (reason, path), "{refusal}");
    }
}

#[test]
fn a_request_of_before_there_were_disks_and_ports_still_fits() {
    let old = json!({
        "hostname": "web-1", "password": { "hashed": "x" }, "os": 1, "shares": 1, "cpu": 1,
        "login": null, "ssh_keys": []
    });
    let params: Parameters = serde_json::from_value(old).unwrap();
    assert!(params.disks.is_empty() && params.ports.is_empty());
}
