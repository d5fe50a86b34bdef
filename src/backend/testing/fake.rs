//! Fakes for tests: a hypervisor, a disk tool, an image tool and a clock that work in memory and
//! with small real files, note every call, and can be told to go wrong at a given one.

mod clocks;
mod encoder;
mod files;
mod guests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, watch};

pub use clocks::Clocks;

use crate::backend::ports::{GuestEvent, GuestStatus, GuestUsage, Ports, Toolbox};
use crate::domain::{BoxFuture, Failure, Tool, ToolState};

use encoder::NoEncoder;

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFault {
    /// It fails and has done nothing.
    Before,
    /// It finds no room, for so many calls in a row.
    NoRoom(u32),
    /// It has done its work, and fails.
    After,
    /// It has done its work, and never returns.
    Hang,
}

/// A QEMU in memory.
#[derive(Debug, Clone)]
pub struct Process {
    /// What its guest is doing.
    pub status: GuestStatus,
    /// The devices plugged in.
    pub plugged: BTreeSet<String>,
    launch: String,
    presses: u32,
    events: broadcast::Sender<GuestEvent>,
    /// Why it is not its VM at work.
    astray: Option<String>,
}

struct FakeBox {
    calls: Vec<String>,
    /// At which call, counted from when it was asked for, and how.
    trouble: Option<(usize, CallFault)>,
    processes: BTreeMap<u64, Process>,
    /// After how many presses of the power button guests shut down; 0 for never.
    obeys_after: u32,
    usage: GuestUsage,
    /// The VMs whose latest run was ended by us.
    ended: BTreeSet<u64>,
    /// Whether it is told what VMs are doing.
    answers: bool,
}

/// Everything that is faked. Its clones are one and the same.
#[derive(Clone)]
pub struct FakePorts {
    world: Arc<Mutex<FakeBox>>,
    hung: Arc<Notify>,
    clocks: Arc<watch::Sender<Clocks>>,
}

impl Default for FakePorts {
    fn default() -> Self {
        let world = FakeBox {
            calls: Vec::new(),
            trouble: None,
            processes: BTreeMap::new(),
            obeys_after: 1,
            usage: GuestUsage { cpu_ms: 0, memory_mib: 64 },
            ended: BTreeSet::new(),
            answers: true,
        };
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        Self {
            world: Arc::new(Mutex::new(world)),
            hung: Arc::default(),
            clocks: Arc::new(watch::Sender::new(Clocks { wall: start, uptime: Duration::ZERO })),
        }
    }
}

impl FakePorts {
    /// Ports that all lead here; there is no encoder.
    pub fn ports(&self) -> Ports {
        Ports {
            hypervisor: Arc::new(self.clone()),
            disks: Arc::new(self.clone()),
            images: Arc::new(self.clone()),
            encoder: Arc::new(NoEncoder),
            clock: Arc::new(self.clone()),
            toolbox: Arc::new(self.clone()),
        }
    }

    fn world(&self) -> MutexGuard<'_, FakeBox> {
        self.world.lock().unwrap()
    }

    /// The calls made since this was asked last.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world().calls)
    }

    /// The call with that number from now, counted from 0, goes wrong.
    pub fn trouble(&self, at: usize, trouble: CallFault) {
        self.world().trouble = Some((at, trouble));
    }

    /// Returns when a call hangs.
    pub async fn hung(&self) {
        self.hung.notified().await;
    }

    /// The processes that live.
    pub fn processes(&self) -> BTreeMap<u64, Process> {
        self.world().processes.clone()
    }

    /// After how many presses of the power button guests shut down; 0 for never.
    pub fn obeys_after(&self, presses: u32) {
        self.world().obeys_after = presses;
    }

    /// Whether it is told from now on what VMs are doing.
    pub fn answers(&self, answers: bool) {
        self.world().answers = answers;
    }

    /// A guest comes to be in a state by itself.
    pub fn becomes(&self, vm: u64, status: GuestStatus, event: GuestEvent) {
        let mut world = self.world();
        let process = world.processes.get_mut(&vm).unwrap();
        process.status = status;
        // Nobody need be watching.
        let _ = process.events.send(event);
        if status == GuestStatus::Off {
            world.processes.remove(&vm);
        }
    }

    /// Other disks are put in the places of those that a VM's process has.
    pub fn goes_astray(&self, vm: u64, why: &str) {
        self.world().processes.get_mut(&vm).unwrap().astray = Some(why.to_owned());
        self.becomes(vm, GuestStatus::Unreachable, GuestEvent::Paused);
    }

    /// A process that nobody launched.
    pub fn orphan(&self, vm: u64) {
        let process = Process {
            status: GuestStatus::Running,
            plugged: BTreeSet::new(),
            launch: String::new(),
            presses: 0,
            events: broadcast::Sender::new(16),
            astray: None,
        };
        self.world().processes.insert(vm, process);
    }

    async fn call<T>(
        &self,
        call: String,
        effect: impl FnOnce(&mut FakeBox) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (result, trouble) = {
            let mut world = self.world();
            world.calls.push(call.clone());
            let trouble = match &mut world.trouble {
                Some((0, trouble)) => Some(*trouble),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            };
            if trouble.is_some() {
                world.trouble = None;
            }
            if let Some(CallFault::NoRoom(left)) = trouble {
                if left > 1 {
                    world.trouble = Some((0, CallFault::NoRoom(left - 1)));
                }
                return Err(Failure::no_room(format!("no room for {call}")));
            }
            if trouble == Some(CallFault::Before) {
                return Err(Failure::new(format!("told to fail before {call}")));
            }
            (effect(&mut world), trouble)
        };
        match trouble {
            Some(CallFault::After) => Err(Failure::new(format!("told to fail after {call}"))),
            Some(CallFault::Hang) => {
                self.hung.notify_one();
                std::future::pending().await
            }
            _ => result,
        }
    }
}

impl Toolbox for FakePorts {
    fn tools(&self) -> BoxFuture<'_, Vec<Tool>> {
        Box::pin(async {
            vec![Tool {
                name: "qemu-img".into(),
                purpose: "makes disks".into(),
                state: ToolState::Present { version: "0".into() },
            }]
        })
    }
}
