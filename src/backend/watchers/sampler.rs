//! The sampler: how much VMs and the box use, and what the box can do. While nobody listens it
//! rests, and while nothing changes enough to show it says nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::domain::{Fact, Load, Resource, ResourceId, Tool, ToolState, Vm, VmState};

use super::Site;
use crate::backend::load::{self, CpuTime};
use crate::backend::ports::GuestUsage;

/// How often is looked while somebody listens.
const EVERY: Duration = Duration::from_secs(2);
/// How often tools are looked for while somebody listens.
const TOOLS_EVERY: Duration = Duration::from_secs(300);

/// Samples for ever.
pub(in crate::backend) async fn run(site: &Site) {
    let load = read_load(site, None);
    site.change_host(|host| {
        host.name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        host.version = env!("CARGO_PKG_VERSION").to_owned();
        host.state_dir = site.settings().state_dir.clone();
        host.trash_days = Some(site.settings().trash_days);
        host.load = load;
    });
    tokio::join!(tools(site), samples(site));
}

/// Keeps up with which tools are there and what guests run under.
async fn tools(site: &Site) {
    loop {
        site.engine.events.until_subscribed().await;
        let found = site.ports().toolbox.tools().await;
        let before = site.host();
        if before.tools != found {
            let probe = before.accelerator.is_none();
            site.change_host(|host| host.tools = found);
            if probe && has_hypervisor(&site.host().tools) {
                match site.ports().hypervisor.accelerator().await {
                    Ok(accelerator) => {
                        site.change_host(|host| host.accelerator = Some(accelerator));
                    }
                    Err(failure) => tracing::warn!(%failure, "the accelerator was not found out"),
                }
            }
        }
        tokio::time::sleep(TOOLS_EVERY).await;
    }
}

/// Whether nothing that runs guests is known to be missing.
fn has_hypervisor(tools: &[Tool]) -> bool {
    tools.iter().all(|tool| {
        !tool.name.starts_with("qemu-system") || matches!(tool.state, ToolState::Present { .. })
    })
}

async fn samples(site: &Site) {
    let mut sampler = Sampler::default();
    loop {
        if !site.engine.events.has_subscribers() {
            site.engine.events.until_subscribed().await;
            sampler = Sampler::default();
        }
        sampler.vms(site);
        sampler.host(site);
        tokio::time::sleep(EVERY).await;
    }
}

/// What was seen and told last.
#[derive(Default)]
struct Sampler {
    cpu: Option<CpuTime>,
    vms: HashMap<u64, Seen>,
}

struct Seen {
    at: Instant,
    usage: GuestUsage,
    told: Option<(f32, u64)>,
}

impl Sampler {
    fn vms(&mut self, site: &Site) {
        let guests: Vec<_> = site.engine.inventory(|inventory| {
            let vms = inventory.of(Vm::KIND).filter_map(|it| match &**it {
                Resource::Vm(vm) if vm.state == VmState::Running => Some(vm),
                _ => None,
            });
            vms.map(|vm| site.settings().guest(vm)).collect()
        });
        self.vms.retain(|id, _| guests.iter().any(|guest| guest.id == *id));
        for guest in guests {
            let Some(usage) = site.ports().hypervisor.usage(&guest) else { continue };
            let at = Instant::now();
            let Some(seen) = self.vms.get_mut(&guest.id) else {
                self.vms.insert(guest.id, Seen { at, usage, told: None });
                continue;
            };
            let took = at.duration_since(seen.at).as_secs_f64() * 1000.0;
            let worked = usage.cpu_ms.saturating_sub(seen.usage.cpu_ms) as f64;
            let now = ((worked * 100.0 / took.max(1.0)) as f32, usage.memory_mib);
            (seen.at, seen.usage) = (at, usage);
            if seen.told.is_some_and(|told| !usage_shows(told, now)) {
                continue;
            }
            seen.told = Some(now);
            note_usage(site, guest.id, now);
            let (cpu_percent, memory_mib) = now;
            site.engine.events.publish(Fact::Usage { vm: guest.id, cpu_percent, memory_mib });
        }
    }

    fn host(&mut self, site: &Site) {
        let Some(cpu) = load::cpu_time() else { return };
        let percent = self.cpu.map(|earlier| cpu.percent_since(earlier));
        self.cpu = Some(cpu);
        let now = read_load(site, percent);
        let busy = site.engine.look(|live| live.queue().counts().0 > 0);
        if !load_shows(&site.host().load, &now, busy) {
            return;
        }
        site.change_load(now);
    }
}

/// Lets filters and lists know what a VM uses. It is observed, never stored.
fn note_usage(site: &Site, id: u64, (cpu_percent, memory_mib): (f32, u64)) {
    site.engine.observe(ResourceId::new(Vm::KIND, id), |resource| {
        let Resource::Vm(vm) = resource else { return None };
        let mut vm = vm.clone();
        vm.cpu_percent = Some(cpu_percent);
        vm.memory_used_mib = Some(memory_mib);
        Some(Resource::Vm(vm))
    });
}

fn read_load(site: &Site, cpu_percent: Option<f32>) -> Load {
    let (memory_used, memory_total) = load::memory().unwrap_or_default();
    let (pool_used, pool_total) = load::pool(&site.settings().state_dir).unwrap_or_default();
    Load { cpu_percent, memory_used, memory_total, pool_used, pool_total }
}

/// Whether a VM's use differs enough from what was told: a point of processor, or 1 % of memory.
fn usage_shows(told: (f32, u64), now: (f32, u64)) -> bool {
    (told.0 - now.0).abs() >= 1.0 || told.1.abs_diff(now.1) * 100 > told.1
}

/// Whether the box's load differs enough from what was told: 5 points of processor, 10 while
/// nothing is in flight, or 1 % of memory or pool.
fn load_shows(told: &Load, now: &Load, busy: bool) -> bool {
    let points = if busy { 5.0 } else { 10.0 };
    let percent = |told: u64, now: u64, total: u64| told.abs_diff(now) * 100 >= total.max(1);
    let cpu_shows = match (told.cpu_percent, now.cpu_percent) {
        (Some(told), Some(now)) => (told - now).abs() >= points,
        (told, now) => told != now,
    };
    cpu_shows
        || told.memory_total != now.memory_total
        || told.pool_total != now.pool_total
        || percent(told.memory_used, now.memory_used, now.memory_total)
        || percent(told.pool_used, now.pool_used, now.pool_total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::testing::harness::Harness;
    use crate::domain::{Answer, Backend, Query};

    #[test]
    fn small_changes_are_not_worth_a_word() {
        let told = Load {
            cpu_percent: Some(20.0),
            memory_used: 500,
            memory_total: 1000,
            pool_used: 500,
            pool_total: 1000,
        };
        assert!(!load_shows(&told, &Load { cpu_percent: Some(24.0), ..told }, true));
        assert!(load_shows(&told, &Load { cpu_percent: Some(25.0), ..told }, true));
        assert!(!load_shows(&told, &Load { cpu_percent: Some(29.0), ..told }, false));
        assert!(load_shows(&told, &Load { cpu_percent: Some(30.0), ..told }, false));
        // Nothing is not nothing measured.
        let unknown = Load { cpu_percent: None, ..told };
        assert!(load_shows(&unknown, &Load { cpu_percent: Some(0.0), ..told }, true));
        assert!(load_shows(&told, &unknown, true) && !load_shows(&unknown, &unknown, true));
        assert!(!load_shows(&told, &Load { memory_used: 509, ..told }, true));
        assert!(load_shows(&told, &Load { memory_used: 510, ..told }, true));
        assert!(load_shows(&told, &Load { pool_used: 490, ..told }, true));
        assert!(!usage_shows((10.0, 400), (10.9, 404)));
        assert!(usage_shows((10.0, 400), (11.0, 400)));
        assert!(usage_shows((10.0, 400), (10.0, 405)));
    }

    #[tokio::test]
    async fn the_box_tells_what_it_can_do() {
        let mut harness = Harness::open();
        let found = match harness.backend.query(Query::Host).await.unwrap() {
            Answer::Host(host) => *host,
            other => panic!("{other:?}"),
        };
        let found = match found.accelerator {
            Some(_) => found,
            None => {
                harness
                    .hears(|fact| match fact {
                        Fact::Host(host) if host.accelerator.is_some() => Some((**host).clone()),
                        _ => None,
                    })
                    .await
            }
        };
        assert_eq!(found.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(found.state_dir, harness.dir());
        assert_eq!(found.tools.len(), 1);
        assert!(!found.name.is_empty() && found.load.memory_total > 0);
    }
}
