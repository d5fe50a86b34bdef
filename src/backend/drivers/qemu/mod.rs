//! Drives QEMU: one detached process per VM, spoken to through QMP.
//!
//! ```text
//! launch ──▶ qemu -daemonize ──▶ outlives us; found again by UUID and folder
//!               │ qmp.sock      commands: one short connection each, one at a time
//!               │ events.sock   one connection while somebody watches
//!               │ serial.sock   one connection while somebody watches
//!               └ qemu.pid      locked by QEMU: no second one on the same VM
//! ```
//!
//! The serial line and QEMU itself write logs, which are kept short while somebody watches the VM.
//!
//! Nothing here knows of operations, stores or screens. Every file of a VM is in [`Guest::dir`].

mod accelerator;
mod command;
mod control;
mod disks;
mod events;
mod launch;
mod living;
mod logs;
pub(super) mod qmp;
mod serial;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::backend::ports::{
    CommandLog, Drive, Guest, GuestEvent, GuestSpec, GuestStatus, GuestUsage, Hypervisor,
    PortFuture,
};
use crate::domain::{Accelerator, Failure, Serial};

/// The program that is driven.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// QEMU as the hypervisor.
#[derive(Debug)]
pub struct Qemu {
    program: String,
    dir: PathBuf,
    log_bytes: u64,
    accelerator: OnceCell<Accelerator>,
    machines: Mutex<HashMap<Uuid, Arc<Machine>>>,
}

/// What is kept in memory of a VM. Losing it loses nothing.
#[derive(Debug, Default)]
struct Machine {
    /// Held while its control socket is in use: QEMU serves one client at a time.
    control: tokio::sync::Mutex<()>,
    events: events::QmpEvents,
    serial: serial::SerialLine,
}

impl Qemu {
    /// Drives `qemu-system-x86_64`, and remembers in `dir` what was found out about this box.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::with_program(PROGRAM, dir)
    }

    /// Drives another binary that understands the same arguments.
    #[must_use]
    pub fn with_program(program: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            dir: dir.into(),
            log_bytes: logs::MAX_LOG_BYTES,
            accelerator: OnceCell::new(),
            machines: Mutex::default(),
        }
    }

    /// Lets each log of a guest grow to that many bytes before it is cut.
    #[must_use]
    pub fn with_log_bytes(self, log_bytes: u64) -> Self {
        Self { log_bytes, ..self }
    }

    async fn find_accelerator(&self) -> Result<&Accelerator, Failure> {
        self.accelerator.get_or_try_init(|| accelerator::find(&self.program, &self.dir)).await
    }

    fn machine(&self, guest: &Guest) -> Arc<Machine> {
        let mut machines = self.machines.lock();
        Arc::clone(machines.entry(guest.uuid).or_default())
    }
}

impl Hypervisor for Qemu {
    fn accelerator(&self) -> PortFuture<'_, Accelerator> {
        Box::pin(async { self.find_accelerator().await.cloned() })
    }

    fn launch<'a>(&'a self, spec: &'a GuestSpec, log: &'a CommandLog) -> PortFuture<'a, String> {
        Box::pin(async move {
            let accelerator = self.find_accelerator().await?;
            let machine = self.machine(&spec.guest);
            let _turn = machine.control.lock().await;
            launch::launch(&self.program, &accelerator.name, spec, self.log_bytes, log).await
        })
    }

    fn status<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, GuestStatus> {
        Box::pin(async move {
            let machine = self.machine(guest);
            let _turn = machine.control.lock().await;
            control::status(guest).await
        })
    }

    fn watch<'a>(
        &'a self,
        guest: &'a Guest,
    ) -> PortFuture<'a, Pin<Box<dyn Stream<Item = GuestEvent> + Send>>> {
        Box::pin(async { self.machine(guest).events.watch(guest, self.log_bytes).await })
    }

    fn power_button<'a>(&'a self, guest: &'a Guest, log: &'a CommandLog) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let machine = self.machine(guest);
            let _turn = machine.control.lock().await;
            control::power_button(guest, log).await
        })
    }

    fn reset<'a>(&'a self, guest: &'a Guest, log: &'a CommandLog) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let machine = self.machine(guest);
            let _turn = machine.control.lock().await;
            control::reset(guest, log).await
        })
    }

    fn quit<'a>(&'a self, guest: &'a Guest, log: &'a CommandLog) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let machine = self.machine(guest);
            let _turn = machine.control.lock().await;
            control::quit(guest, log).await
        })
    }

    fn withdraw<'a>(
        &'a self,
        guest: &'a Guest,
        launch: &'a str,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let machine = self.machine(guest);
            let _turn = machine.control.lock().await;
            control::withdraw(guest, launch, log).await
        })
    }

    fn attach<'a>(
        &'a self,
        guest: &'a Guest,
        drive: &'a Drive,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let machine = self.machine(guest);
            let _turn = machine.control.lock().await;
            disks::attach(guest, drive, log).await
        })
    }

    fn detach<'a>(
        &'a self,
        guest: &'a Guest,
        device: &'a str,
        log: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(async move { disks::detach(&self.machine(guest), guest, device, log).await })
    }

    fn plugged<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, BTreeSet<String>> {
        Box::pin(async move {
            let machine = self.machine(guest);
            let _turn = machine.control.lock().await;
            disks::plugged_in(guest).await
        })
    }

    fn serial<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, Serial> {
        Box::pin(async {
            let machine = self.machine(guest);
            machine.serial.open(guest, &machine.control).await
        })
    }

    fn dead(&self, guests: Vec<Guest>) -> Vec<Guest> {
        living::dead(guests)
    }

    fn was_ended(&self, guest: &Guest) -> bool {
        command::Files::of(guest).ended.exists()
    }

    fn last_words(&self, guest: &Guest) -> Option<String> {
        logs::last_words(&self.program, guest)
    }

    fn astray(&self, guest: &Guest) -> Option<String> {
        let living = living::Living::find(guest)?;
        let place = living.astray(guest)?;
        Some(control::astray(guest, &living, &place))
    }

    fn usage(&self, guest: &Guest) -> Option<GuestUsage> {
        living::usage(guest)
    }
}
