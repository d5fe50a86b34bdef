//! The QEMU driver against the real QEMU, with a real guest.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a panic is the report")]

#[path = "qemu_driver/disks.rs"]
mod disks;
#[path = "support/guest.rs"]
mod guest;
#[path = "qemu_driver/identity.rs"]
mod identity;

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use guest::{TinyImage, TinyVm, until};
use hostler::backend::drivers::qemu::Qemu;
use hostler::backend::ports::{CommandLog, Drive, GuestEvent, GuestStatus, Hypervisor};
use hostler::domain::DiskFormat;

/// Made once for all tests of this file. The folders are kept until the process ends.
static TINY_IMAGE: LazyLock<TinyImage> = LazyLock::new(|| TinyImage::make(shared("image")));

/// A folder all tests of this run share.
fn shared(name: &str) -> &'static Path {
    static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
    let dir = DIR.path().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    Box::leak(dir.into_boxed_path())
}

fn qemu() -> Qemu {
    Qemu::new(shared("accelerator"))
}

/// Waits for an event; a minute and a half is no measure but an end to waiting.
async fn event(events: &mut (impl futures_util::Stream<Item = GuestEvent> + Unpin)) -> GuestEvent {
    let next = tokio::time::timeout(Duration::from_secs(90), events.next()).await;
    next.expect("no event came").expect("the events ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_boots_and_its_power_button_ends_it() {
    let (qemu, vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Off);
    assert_eq!(qemu.usage(vm.guest()), None);
    let probed = qemu.accelerator().await.unwrap();
    println!("{probed:?}");

    let clock = Instant::now();
    let accelerator = qemu.launch(&vm.spec, &log).await.unwrap();
    println!("launched in {:?}", clock.elapsed());
    assert_eq!(accelerator, probed.name);
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Running);
    let mut events = qemu.watch(vm.guest()).await.unwrap();
    let mut serial = qemu.serial(vm.guest()).await.unwrap();
    until(&mut serial, "guest is up").await;
    println!("up in {:?}", clock.elapsed());
    let usage = qemu.usage(vm.guest()).unwrap();
    assert!(usage.cpu_ms > 0 && usage.memory_mib > 0, "{usage:?}");

    qemu.power_button(vm.guest(), &log).await.unwrap();
    assert_eq!(event(&mut events).await, GuestEvent::ShutDown);
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::ShutDown);
    qemu.quit(vm.guest(), &log).await.unwrap();
    assert_eq!(event(&mut events).await, GuestEvent::Gone);
    assert_eq!(events.next().await, None);
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Off);
    qemu.quit(vm.guest(), &log).await.unwrap();

    let lines: Vec<_> = log.commands().into_iter().map(|it| (it.line, it.ended)).collect();
    assert!(lines[0].0.starts_with("qemu-system-x86_64 -name guest=tiny -uuid "), "{lines:?}");
    assert_eq!(lines[0].1.as_deref(), Some("exit 0"));
    assert_eq!(lines[1], ("QMP system_powerdown".into(), Some("ok".into())));
    assert_eq!(lines[2], ("QMP quit".into(), Some("ok".into())));
}

/// QEMU would wait for ever for whoever reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_place_of_a_log_keeps_nobody_waiting() {
    let (qemu, vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    for name in ["serial.log", "qemu.log", "qemu.stderr"] {
        let pipe = vm.guest().dir.join(name);
        std::fs::create_dir_all(&vm.guest().dir).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let launched = tokio::time::timeout(Duration::from_secs(90), qemu.launch(&vm.spec, &log));
        let failure = launched.await.expect("it waits").unwrap_err();
        assert!(failure.message.contains(name) && failure.message.contains("move it away"));
        std::fs::remove_file(pipe).unwrap();
    }
    assert!(log.commands().is_empty(), "no QEMU was launched");
}

/// What listens on the box is QEMU's, whether anybody listens in the guest or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_the_box_leads_to_the_guest() {
    use hostler::domain::{Forward, Protocol};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    let (qemu, mut vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    vm.spec.forwards = vec![Forward { port, guest: 22, protocol: Protocol::Tcp }];
    // Somebody has it already: said in QEMU's words.
    let failure = qemu.launch(&vm.spec, &log).await.unwrap_err();
    assert!(failure.message.contains(&port.to_string()), "{failure}");
    drop(free);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    qemu.launch(&vm.spec, &log).await.unwrap();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    qemu.quit(vm.guest(), &log).await.unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_boots_the_guest_anew_even_after_it_has_shut_down() {
    let (qemu, vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    qemu.launch(&vm.spec, &log).await.unwrap();
    let mut events = qemu.watch(vm.guest()).await.unwrap();
    let mut serial = qemu.serial(vm.guest()).await.unwrap();
    let mut second = qemu.serial(vm.guest()).await.unwrap();
    until(&mut serial, "guest is up").await;
    until(&mut second, "guest is up").await;

    qemu.reset(vm.guest(), &log).await.unwrap();
    assert_eq!(event(&mut events).await, GuestEvent::Reset { by_guest: false });
    until(&mut serial, "guest is up").await;

    serial.input.send(b"reboot -f\n").unwrap();
    while event(&mut events).await != (GuestEvent::Reset { by_guest: true }) {}
    until(&mut serial, "guest is up").await;

    serial.input.send(b"poweroff -f\n").unwrap();
    while event(&mut events).await != GuestEvent::ShutDown {}
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::ShutDown);
    qemu.reset(vm.guest(), &log).await.unwrap();
    while event(&mut events).await != GuestEvent::Resumed {}
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Running);
    until(&mut serial, "guest is up").await;
    // Both watchers have seen all of it.
    for _ in 0..3 {
        until(&mut second, "guest is up").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_come_and_go_while_the_guest_runs() {
    let (qemu, mut vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    let disk = |name: &str, device: &str| {
        let path = vm.file(name);
        std::fs::File::create(&path).unwrap().set_len(8 << 20).unwrap();
        Drive { device: device.into(), path, format: DiskFormat::Raw }
    };
    let (cold, hot) = (disk("a,b.img", "hostler-disk-1"), disk("hot,1.img", "hostler-disk-2"));
    vm.spec.disks = vec![cold.clone()];
    let guest = vm.guest().clone();
    qemu.launch(&vm.spec, &log).await.unwrap();
    let mut serial = qemu.serial(&guest).await.unwrap();
    until(&mut serial, "disks: hostler-disk-1\r").await;

    qemu.attach(&guest, &hot, &log).await.unwrap();
    until(&mut serial, "hostler-disk-2\r").await;
    qemu.attach(&guest, &hot, &log).await.unwrap();
    let twice = Drive { device: "hostler-disk-3".into(), ..hot.clone() };
    let failure = qemu.attach(&guest, &twice, &log).await.unwrap_err();
    assert!(failure.message.contains("attached to it already, as hostler-disk-2"), "{failure}");

    // Another VM cannot have it either, cold or hot.
    let mut other = TinyVm::new(&TINY_IMAGE);
    other.spec.guest.id = 2;
    other.spec.disks = vec![hot.clone()];
    let failure = qemu.launch(&other.spec, &log).await.unwrap_err();
    assert!(failure.message.contains("lock"), "{failure}");
    other.spec.disks.clear();
    qemu.launch(&other.spec, &log).await.unwrap();
    let failure = qemu.attach(other.guest(), &hot, &log).await.unwrap_err();
    assert!(failure.message.contains("is in use by another program or VM"), "{failure}");
    qemu.quit(other.guest(), &log).await.unwrap();

    for device in ["hostler-disk-1", "hostler-disk-2"] {
        qemu.detach(&guest, device, &log).await.unwrap();
        qemu.detach(&guest, device, &log).await.unwrap();
    }
    until(&mut serial, "disks:\r").await;
    // The images are let go of: what was plugged in can be plugged in anew.
    qemu.attach(&guest, &cold, &log).await.unwrap();
    until(&mut serial, "disks: hostler-disk-1\r").await;
    let lines: Vec<_> = log.commands().into_iter().map(|command| command.line).collect();
    assert!(lines.iter().any(|line| line.starts_with("QMP device_add {")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_unplugged_although_it_was_asked_before_the_guest_was_up() {
    let (qemu, mut vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    let path = vm.file("early.img");
    std::fs::File::create(&path).unwrap().set_len(8 << 20).unwrap();
    let drive = Drive { device: "hostler-disk-1".into(), path, format: DiskFormat::Raw };
    vm.spec.disks = vec![drive];
    qemu.launch(&vm.spec, &log).await.unwrap();
    qemu.detach(vm.guest(), "hostler-disk-1", &log).await.unwrap();
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_vm_is_adopted_by_another_driver() {
    let (first, vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    let accelerator = first.launch(&vm.spec, &log).await.unwrap();
    drop(first);
    let second = qemu();
    let adopted = CommandLog::default();
    assert_eq!(second.launch(&vm.spec, &adopted).await.unwrap(), accelerator);
    assert!(adopted.commands().is_empty(), "{adopted:?}");
    let mut serial = second.serial(vm.guest()).await.unwrap();
    until(&mut serial, "guest is up").await;
    // Whoever comes late gets the last lines from the log.
    drop(serial);
    let mut late = qemu().serial(vm.guest()).await.unwrap();
    until(&mut late, "guest is up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_qemu_is_noticed_and_launched_again() {
    let (qemu, vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    qemu.launch(&vm.spec, &log).await.unwrap();
    let mut events = qemu.watch(vm.guest()).await.unwrap();
    let mut others = qemu.watch(vm.guest()).await.unwrap();
    assert!(vm.kill());
    assert_eq!(event(&mut events).await, GuestEvent::Gone);
    assert_eq!(event(&mut others).await, GuestEvent::Gone);
    assert_eq!(qemu.last_words(vm.guest()), None);
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Off);
    assert_eq!(qemu.usage(vm.guest()), None);
    assert!(!qemu.was_ended(vm.guest()), "not by us");
    let failure = qemu.power_button(vm.guest(), &log).await.unwrap_err();
    assert_eq!(failure.message, "vm/1 does not run; start it first");
    assert!(qemu.serial(vm.guest()).await.is_err());
    // It left sockets and a pidfile, which are in nobody's way.
    qemu.launch(&vm.spec, &log).await.unwrap();
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Running);
    qemu.quit(vm.guest(), &log).await.unwrap();
    assert!(qemu.was_ended(vm.guest()));
    qemu.launch(&vm.spec, &log).await.unwrap();
    assert!(!qemu.was_ended(vm.guest()), "it runs again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_floods_its_serial_line_does_not_fill_the_host() {
    const MOST: u64 = 64 << 10;
    let (qemu, vm, log) =
        (qemu().with_log_bytes(MOST), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    qemu.launch(&vm.spec, &log).await.unwrap();
    let _events = qemu.watch(vm.guest()).await.unwrap();
    let mut serial = qemu.serial(vm.guest()).await.unwrap();
    until(&mut serial, "guest is up").await;
    serial.input.send(b"yes flood\n").unwrap();
    let logs = ["serial.log", "serial.log.1"].map(|name| vm.guest().dir.join(name));
    let [grows, kept] = logs.each_ref();
    // The flood itself is the clock: it is waited for until the log was cut twice.
    let mut cuts = Vec::new();
    let flooded = async {
        while cuts.len() < 2 {
            serial.output.next().await.expect("the flood ended");
            if let Ok(found) = kept.metadata() {
                cuts.push(std::os::unix::fs::MetadataExt::ino(&found));
                cuts.dedup();
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(120), flooded).await;
    assert!(waited.is_ok(), "{} bytes were written", grows.metadata().unwrap().len());
    // By then it had been cut: what is there now began anew.
    assert!(kept.metadata().unwrap().len() >= MOST);
    assert!(std::fs::read_to_string(kept).unwrap().contains("\r\nflood\r\n"));
    // Whoever comes late sees the last lines, wherever they are kept.
    drop(serial);
    let mut late = qemu.serial(vm.guest()).await.unwrap();
    assert!(until(&mut late, "flood\r\nflood\r\n").await.len() >= 14);
    qemu.quit(vm.guest(), &log).await.unwrap();
}

/// The numbers of the processes that were started for a VM.
fn processes(vm: &TinyVm) -> Vec<i32> {
    vm.processes().into_iter().map(|(pid, _)| pid.as_raw_pid()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_vm_without_its_pidfile_is_adopted_and_ends_well() {
    let (first, vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    first.launch(&vm.spec, &log).await.unwrap();
    let living = processes(&vm);
    std::fs::remove_file(vm.guest().dir.join("qemu.pid")).unwrap();
    let second = qemu();
    assert_eq!(second.status(vm.guest()).await.unwrap(), GuestStatus::Running);
    assert!(second.usage(vm.guest()).is_some());
    let mut again = vm.spec.clone();
    again.launch = "another".into();
    let adopted = CommandLog::default();
    second.launch(&again, &adopted).await.unwrap();
    assert_eq!(processes(&vm), living);
    // It was not this launch that started it.
    second.withdraw(vm.guest(), "another", &adopted).await.unwrap();
    assert_eq!(second.status(vm.guest()).await.unwrap(), GuestStatus::Running);
    assert!(adopted.commands().is_empty(), "{adopted:?}");
    second.withdraw(vm.guest(), "test", &log).await.unwrap();
    assert_eq!(processes(&vm), Vec::<i32>::new());
    let last = log.commands().pop().unwrap();
    assert_eq!((last.line.as_str(), last.ended.as_deref()), ("QMP quit", Some("ok")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_vm_that_lost_all_its_files_is_named_and_never_doubled_or_killed() {
    let (first, mut vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    let path = vm.file("root.img");
    std::fs::File::create(&path).unwrap().set_len(8 << 20).unwrap();
    vm.spec.root = Some(Drive { device: "root".into(), path, format: DiskFormat::Raw });
    first.launch(&vm.spec, &log).await.unwrap();
    let living = processes(&vm);
    for name in ["qemu.pid", "qmp.sock", "events.sock", "serial.sock"] {
        std::fs::remove_file(vm.guest().dir.join(name)).unwrap();
    }
    let second = qemu();
    assert_eq!(second.status(vm.guest()).await.unwrap(), GuestStatus::Unreachable);
    let mut events = second.watch(vm.guest()).await.unwrap();
    let mut again = vm.spec.clone();
    again.launch = "another".into();
    let failure = second.launch(&again, &log).await.unwrap_err();
    let named = format!("the QEMU of vm/1 runs (process {})", living[0]);
    assert!(failure.message.starts_with(&named), "{failure}");
    second.withdraw(vm.guest(), "another", &log).await.unwrap();
    assert_eq!(processes(&vm), living);
    // Whoever asks for its end gets it, and the end is seen.
    second.quit(vm.guest(), &log).await.unwrap();
    assert_eq!(event(&mut events).await, GuestEvent::Gone);
    assert_eq!(processes(&vm), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_the_place_of_what_is_read_keeps_nobody_waiting() {
    let (qemu, vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    qemu.launch(&vm.spec, &log).await.unwrap();
    let probes = tempfile::tempdir().unwrap();
    let pipes = [vm.guest().dir.join("qemu.pid"), probes.path().join("accelerator.json")];
    for pipe in &pipes {
        let _absent = std::fs::remove_file(pipe);
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    // On a thread of its own, for whoever opens a pipe hears of nothing else.
    let (guest, dir) = (vm.guest().clone(), probes.path().to_owned());
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let probed = runtime.block_on(async { Qemu::new(dir).accelerator().await });
        told.send((self::qemu().usage(&guest), probed)).unwrap();
    });
    let (usage, probed) = heard.recv_timeout(Duration::from_secs(90)).expect("it waits");
    assert!(usage.is_some() && probed.is_ok(), "{probed:?}");
    qemu.quit(vm.guest(), &log).await.unwrap();
    assert_eq!(processes(&vm), Vec::<i32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_is_called_off_leaves_nothing_behind() {
    let (qemu, vm) = (qemu(), TinyVm::new(&TINY_IMAGE));
    qemu.accelerator().await.unwrap();
    let started = std::sync::Arc::new(tokio::sync::Notify::new());
    let told = started.clone();
    let log = CommandLog::watched(move |_| told.notify_one());
    tokio::select! {
        biased;
        launched = qemu.launch(&vm.spec, &log) => panic!("nobody called it off: {launched:?}"),
        // QEMU has been started and has no pidfile yet.
        () = started.notified() => {}
    }
    qemu.quit(vm.guest(), &log).await.unwrap();
    assert_eq!(processes(&vm), Vec::<i32>::new());
    let log = CommandLog::default();
    qemu.launch(&vm.spec, &log).await.unwrap();
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_qemu_cannot_do_is_said_in_its_own_words() {
    let (qemu, mut vm, log) = (qemu(), TinyVm::new(&TINY_IMAGE), CommandLog::default());
    let path = vm.file("missing.qcow2");
    vm.spec.root = Some(Drive { device: "root".into(), path, format: DiskFormat::Qcow2 });
    let failure = qemu.launch(&vm.spec, &log).await.unwrap_err();
    assert!(failure.message.starts_with("cannot launch vm/1: QEMU: "), "{failure}");
    assert!(failure.message.contains("missing.qcow2"), "{failure}");
    assert!(failure.message.ends_with("No such file or directory"), "{failure}");
    assert_eq!(log.commands()[0].ended.as_deref(), Some("exit 1"));

    vm.spec.guest.dir = vm.file(&"long".repeat(30));
    let failure = qemu.launch(&vm.spec, &log).await.unwrap_err();
    assert!(failure.message.contains("state directory with a shorter path"), "{failure}");
    assert_eq!(qemu.status(vm.guest()).await.unwrap(), GuestStatus::Off);

    let missing = Qemu::with_program("qemu-system-none", shared("none"));
    let failure = missing.accelerator().await.unwrap_err();
    assert!(failure.message.contains("qemu-system-none is not installed"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accelerator_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let probed = Qemu::new(dir.path()).accelerator().await.unwrap();
    assert!(["kvm", "tcg"].contains(&probed.name.as_str()) && !probed.why.is_empty());
    std::fs::remove_file(dir.path().join("probe.img")).unwrap();
    // No probe is run, or there would be a disk for it again.
    assert_eq!(Qemu::new(dir.path()).accelerator().await.unwrap(), probed);
    assert!(!dir.path().join("probe.img").exists());
}
