//! The hypervisor that is faked: processes in memory.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures_core::Stream;
use futures_util::stream;
use tokio::sync::broadcast;

use crate::backend::ports::{
    CommandLog, Drive, Guest, GuestEvent, GuestSpec, GuestStatus, GuestUsage, Hypervisor,
    PortFuture,
};
use crate::domain::{Accelerator, Failure, Serial};

use super::files::write;
use super::{FakeBox, FakePorts, Process};

impl FakeBox {
    fn process(&mut self, guest: &Guest) -> Result<&mut Process, Failure> {
        self.processes
            .get_mut(&guest.id)
            .ok_or_else(|| Failure::new(format!("vm/{} does not run; start it first", guest.id)))
    }
}

impl Hypervisor for FakePorts {
    fn accelerator(&self) -> PortFuture<'_, Accelerator> {
        Box::pin(async { Ok(Accelerator { name: "tcg".into(), why: "this is a fake".into() }) })
    }

    fn launch<'a>(&'a self, spec: &'a GuestSpec, _: &'a CommandLog) -> PortFuture<'a, String> {
        Box::pin(self.call(format!("launch vm/{}", spec.guest.id), |world| {
            for file in spec.root.iter().chain(&spec.disks).map(|drive| &drive.path) {
                if !file.exists() {
                    return Err(Failure::new(format!("{} does not exist", file.display())));
                }
            }
            write(&spec.guest.dir.join("qemu.log"), "qemu")?;
            let process = world.processes.entry(spec.guest.id).or_insert_with(|| Process {
                status: GuestStatus::Running,
                plugged: spec.disks.iter().map(|drive| drive.device.clone()).collect(),
                launch: spec.launch.clone(),
                presses: 0,
                events: broadcast::Sender::new(16),
                astray: None,
            });
            if let Some(astray) = &process.astray {
                return Err(Failure::new(astray));
            }
            process.status = GuestStatus::Running;
            world.ended.remove(&spec.guest.id);
            Ok("tcg".to_owned())
        }))
    }

    fn status<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, GuestStatus> {
        let world = self.world();
        let status = world.processes.get(&guest.id).map_or(GuestStatus::Off, |it| it.status);
        let told = if world.answers {
            Ok(status)
        } else {
            Err(Failure::passing(format!("the QEMU of vm/{} gives no answer", guest.id)))
        };
        Box::pin(async move { told })
    }

    fn watch<'a>(
        &'a self,
        guest: &'a Guest,
    ) -> PortFuture<'a, Pin<Box<dyn Stream<Item = GuestEvent> + Send>>> {
        let events = self.world().processes.get(&guest.id).map(|it| it.events.subscribe());
        Box::pin(async move {
            let Some(events) = events else {
                let gone: Pin<Box<dyn Stream<Item = _> + Send>> =
                    Box::pin(stream::iter([GuestEvent::Gone]));
                return Ok(gone);
            };
            let events: Pin<Box<dyn Stream<Item = _> + Send>> =
                Box::pin(stream::unfold(events, |mut events| async move {
                    events.recv().await.ok().map(|event| (event, events))
                }));
            Ok(events)
        })
    }

    fn power_button<'a>(&'a self, guest: &'a Guest, _: &'a CommandLog) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("power_button vm/{}", guest.id), |world| {
            let obeys_after = world.obeys_after;
            let process = world.process(guest)?;
            process.presses += 1;
            if process.presses == obeys_after {
                process.status = GuestStatus::ShutDown;
                let _ = process.events.send(GuestEvent::ShutDown);
            }
            Ok(())
        }))
    }

    fn reset<'a>(&'a self, guest: &'a Guest, _: &'a CommandLog) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("reset vm/{}", guest.id), |world| {
            let process = world.process(guest)?;
            process.status = GuestStatus::Running;
            process.presses = 0;
            let _ = process.events.send(GuestEvent::Reset { by_guest: false });
            Ok(())
        }))
    }

    fn quit<'a>(&'a self, guest: &'a Guest, _: &'a CommandLog) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("quit vm/{}", guest.id), |world| {
            if let Some(process) = world.processes.remove(&guest.id) {
                world.ended.insert(guest.id);
                let _ = process.events.send(GuestEvent::Gone);
            }
            Ok(())
        }))
    }

    fn withdraw<'a>(
        &'a self,
        guest: &'a Guest,
        launch: &'a str,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("withdraw vm/{}", guest.id), move |world| {
            if world.processes.get(&guest.id).is_some_and(|it| it.launch == launch)
                && let Some(process) = world.processes.remove(&guest.id)
            {
                world.ended.insert(guest.id);
                let _ = process.events.send(GuestEvent::Gone);
            }
            Ok(())
        }))
    }

    fn attach<'a>(
        &'a self,
        guest: &'a Guest,
        drive: &'a Drive,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("attach {} vm/{}", drive.device, guest.id), |world| {
            world.process(guest)?.plugged.insert(drive.device.clone());
            Ok(())
        }))
    }

    fn detach<'a>(
        &'a self,
        guest: &'a Guest,
        device: &'a str,
        _: &'a CommandLog,
    ) -> PortFuture<'a, ()> {
        Box::pin(self.call(format!("detach {device} vm/{}", guest.id), |world| {
            world.process(guest)?.plugged.remove(device);
            Ok(())
        }))
    }

    fn plugged<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, BTreeSet<String>> {
        let plugged = self.world().process(guest).map(|it| it.plugged.clone());
        Box::pin(async { plugged })
    }

    fn serial<'a>(&'a self, guest: &'a Guest) -> PortFuture<'a, Serial> {
        let why = format!("vm/{} has no serial line: it is a fake", guest.id);
        Box::pin(async move { Err(Failure::new(why)) })
    }

    fn dead(&self, guests: Vec<Guest>) -> Vec<Guest> {
        let world = self.world();
        guests.into_iter().filter(|guest| !world.processes.contains_key(&guest.id)).collect()
    }

    fn was_ended(&self, guest: &Guest) -> bool {
        self.world().ended.contains(&guest.id)
    }

    fn last_words(&self, guest: &Guest) -> Option<String> {
        let log = std::fs::read_to_string(guest.dir.join("qemu.log")).ok()?;
        log.lines().last().map(str::to_owned)
    }

    fn astray(&self, guest: &Guest) -> Option<String> {
        self.world().processes.get(&guest.id)?.astray.clone()
    }

    fn usage(&self, guest: &Guest) -> Option<GuestUsage> {
        let world = self.world();
        world.processes.contains_key(&guest.id).then_some(world.usage)
    }
}
