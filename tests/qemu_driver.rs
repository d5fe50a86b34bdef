//! The QEMU driver against the real QEMU, with a real guest.

#[path = "support/guest.rs"]
mod guest;

use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use guest::{TinyImage, TinyVm, until};
use hostler::backend::drivers::qemu::Qemu;
use hostler::backend::ports::{CommandLog, Drive, GuestEvent, GuestStatus, Hypervisor};
use hostler::domain::DiskFormat;

/// Made once for all tests of this file. The folders are kept until the process ends.
static IMAGE: LazyLock<TinyImage> = LazyLock::new(|| TinyImage::make(shared("image")));

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
    let (qemu, vm, log) = (qemu(), TinyVm::new(&IMAGE), CommandLog::default());
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
