//! A realistic box: what it has, what is in flight and what was done.

use hostler::domain::*;
use jiff::Timestamp;
use serde_json::json;

/// The time it always is here.
pub fn now() -> Timestamp {
    "2026-03-14T02:47:00Z".parse().unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - jiff::SignedDuration::from_secs(seconds)
}

/// The virtual machines.
pub fn vms() -> Vec<Resource> {
    let names = [
        "db-1",
        "db-2",
        "build",
        "mail",
        "web-1",
        "web-2",
        "web-3",
        "日本語-vm",
        "old-web",
        "gitea",
        "proxy",
        "ci-runner-with-a-rather-long-name",
        "metrics",
        "lab",
    ];
    names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let id = at as u64 + 1;
            let state = match at {
                1 | 8 => VmState::Halted,
                9 => VmState::Paused,
                13 => VmState::Invalid,
                _ => VmState::Running,
            };
            let running = state == VmState::Running;
            Resource::Vm(Vm {
                id,
                name: (*name).to_owned(),
                state,
                uuid: format!("00000000-0000-4000-8000-{id:012}").parse().unwrap(),
                image: 1,
                os: if at % 3 == 0 { "alpine-3.22" } else { "debian-12" }.to_owned(),
                shares: 4,
                memory_mib: 1024,
                cpu: 2,
                login: "admin".to_owned(),
                disks: if at == 6 { vec![1, 3] } else { Vec::new() },
                ports: vec![],
                accelerator: running.then(|| "tcg".to_owned()),
                created: ago(86_400 * 9),
                started: running.then(|| ago(86_400 * 4 + 7_300)),
                crashed: None,
                note: (at == 13).then(|| {
                    "its root disk /var/lib/hostler/vm/14/root.qcow2 is missing".to_owned()
                }),
                cpu_percent: running.then_some(at as f32 * 7.0),
                memory_used_mib: running.then_some(300 + at as u64 * 41),
            })
        })
        .collect()
}

/// A few of everything else.
pub fn others() -> Vec<Resource> {
    let mut all = Vec::new();
    for id in 1..=5_u64 {
        let attached = id == 1 || id == 3;
        all.push(Resource::Disk(Disk {
            id,
            name: format!("data{id}"),
            state: if attached { DiskState::Attached } else { DiskState::Free },
            size_mb: 1024 * id,
            fstype: FsType::ALL[id as usize],
            format: DiskFormat::Qcow2,
            path: format!("/var/lib/hostler/disks/{id}.qcow2").into(),
            vm: attached.then_some(7),
            created: ago(86_400 * 3),
            trashed: None,
        }));
    }
    for (id, name, kind) in [(1, "nightly-reboot", "vm_reboot"), (2, "weekly-encode", "encode")] {
        all.push(Resource::Task(Task {
            id,
            name: name.to_owned(),
            active: id == 1,
            kind: kind.to_owned(),
            params: Params::from_iter([("vm".to_owned(), json!(7))]),
            repeat: Repeat { hour: Every::At(3), minute: Every::At(0), ..Repeat::default() },
            next: (id == 1).then(|| now() + jiff::SignedDuration::from_secs(780)),
            runs: vec![
                Run {
                    due: ago(85_600),
                    outcome: RunOutcome::Queued { uid: Uid(48_100) },
                    by_hand: false,
                },
                Run { due: ago(172_000), outcome: RunOutcome::Missed, by_hand: false },
            ],
            missed: 0,
            refused: 0,
            problem: None,
            settled: ago(60),
            created: ago(86_400 * 30),
        }));
    }
    for (id, name, state) in [
        (1, "talk.mov → webm", EncodingState::Encoding),
        (2, "intro.mov → mp4", EncodingState::Finished),
        (3, "broken.avi → mp4", EncodingState::Failed),
    ] {
        all.push(Resource::Encoding(Encoding {
            id,
            name: name.to_owned(),
            state,
            source: "/srv/video/talk.mov".into(),
            preset: "webm".to_owned(),
            output: "/srv/video/talk.webm".into(),
            duration_s: Some(754.2),
            source_bytes: Some(812_000_000),
            output_bytes: (id == 2).then_some(91_000_000),
            made: None,
            speed: (id == 2).then_some(2.3),
            created: ago(400),
            finished: (id == 2).then(|| ago(100)),
        }));
    }
    for (id, name, label) in
        [(1, "debian-12", "Debian 12 (bookworm)"), (2, "tiny", "kernel and busybox")]
    {
        all.push(Resource::Image(Image {
            id,
            name: name.to_owned(),
            state: ImageState::Ready,
            label: label.to_owned(),
            form: Some(ImageForm::Disk { path: "/x".into(), format: DiskFormat::Qcow2 }),
            source: "debian".to_owned(),
            bytes: 420_000_000 / id,
            virtual_bytes: 8 << 30,
            sha256: Some(
                "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
            ),
            login: "admin".to_owned(),
            created: ago(86_400 * 20),
        }));
    }
    all
}

fn operation(uid: u64, kind: &str, state: State, id: ResourceId, name: &str) -> Operation {
    Operation {
        uid: Uid(uid),
        kind: kind.to_owned(),
        state,
        params: Params::from_iter([(id.kind.word().to_owned(), json!(id.id))]).into(),
        resource: Some(id),
        resource_name: Some(name.to_owned()),
        actor: "console:root".to_owned(),
        priority: 0,
        attempt: 0,
        cancelling: false,
        past_pivot: false,
        comment: None,
        created: ago(60),
        started: (state != State::Pending).then(|| ago(50)),
        finished: matches!(state, State::Done | State::Error).then(|| ago(5)),
        updated: ago(5),
        parent: None,
        outcome: None,
        progress: None,
        wait: None,
    }
}

/// Operations: two run, one waits, one failed, many are done.
pub fn operations() -> Vec<Operation> {
    let web3 = ResourceId::new(Vm::KIND, 7);
    let mut reboot = operation(48_211, "vm_reboot", State::Run, web3, "web-3");
    reboot.progress = Some(Progress {
        phase: "waiting for the guest".to_owned(),
        fraction: Some(0.62),
        left_s: Some(14),
        step: 3,
        steps: Some(5),
        ..Progress::default()
    });
    let talk = ResourceId::new(Encoding::KIND, 1);
    let mut encode = operation(48_209, "encode", State::Run, talk, "talk.mov → webm");
    encode.params = Params::from_iter([("source".to_owned(), json!("/srv/video/talk.mov"))]).into();
    encode.progress = Some(Progress {
        phase: "encoding".to_owned(),
        fraction: Some(0.38),
        left_s: Some(252),
        detail: Some("2.3× · 58 fps".to_owned()),
        speed: Some(2.3),
        step: 2,
        steps: Some(3),
    });
    let mut stop = operation(48_212, "vm_stop", State::Pending, web3, "web-3");
    stop.wait = Some(Wait::Operation { uid: Uid(48_211), resource: web3 });
    let data4 = ResourceId::new(Disk::KIND, 4);
    let mut failed = operation(48_190, "disk_create", State::Error, data4, "data4");
    failed.comment = Some(
        "cannot write /var/lib/hostler/disks/4.partial: no space left on device; free some space \
         and relaunch"
            .to_owned(),
    );
    failed.params = Params::from_iter([
        ("name".to_owned(), json!("data4")),
        ("size_mb".to_owned(), json!(4096)),
    ])
    .into();
    let mut all = vec![stop, reboot, encode, failed];
    for uid in (48_100..48_189).rev() {
        all.push(operation(uid, "vm_start", State::Done, web3, "web-3"));
    }
    all
}

/// The steps of an operation.
pub fn steps() -> Vec<Step> {
    let step = |number, name: &str, state| Step {
        attempt: 0,
        number,
        name: name.to_owned(),
        state,
        started: ago(50 - i64::from(number)),
        finished: (state != StepState::Running).then(|| ago(49 - i64::from(number))),
        error: (state == StepState::Failed).then(|| "mkfs.ext3 was killed".to_owned()),
        commands: vec![Command {
            line: format!("qemu-img create -f qcow2 /var/lib/hostler/disks/{number}.partial 4096M"),
            ended: (state != StepState::Running).then(|| "exit 0".to_owned()),
            tail: "Formatting '4.partial', fmt=qcow2 size=4294967296".to_owned(),
            took_ms: 412,
        }],
    };
    vec![
        step(1, "make the file", StepState::Done),
        step(2, "make the filesystem", StepState::Running),
    ]
}

/// The box.
pub fn host(missing: bool) -> Host {
    let present = |name: &str, version: &str| Tool {
        name: name.to_owned(),
        purpose: "guests run".to_owned(),
        state: ToolState::Present { version: version.to_owned() },
    };
    let mut tools = vec![present("qemu-system-x86_64", "7.2.19"), present("qemu-img", "7.2.19")];
    tools.push(if missing {
        Tool {
            name: "ffmpeg".to_owned(),
            purpose: "videos cannot be encoded".to_owned(),
            state: ToolState::Missing { mend: "apt-get install -y ffmpeg".to_owned() },
        }
    } else {
        present("ffmpeg", "5.1.7-0+deb12u1")
    });
    Host {
        name: "box7".to_owned(),
        version: "0.1.0".to_owned(),
        state_dir: "/var/lib/hostler".into(),
        accelerator: Some(Accelerator {
            name: "tcg".to_owned(),
            why: "/dev/kvm opens, but a probe guest never ran".to_owned(),
        }),
        tools,
        trash_days: Some(7),
        load: Load {
            cpu_percent: Some(23.0),
            memory_used: 11 << 30,
            memory_total: 24 << 30,
            pool_used: 212 << 30,
            pool_total: 500 << 30,
        },
    }
}
