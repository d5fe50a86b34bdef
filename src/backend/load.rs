//! How loaded the box is, as the kernel tells it under `/proc` and by `statvfs`.

use std::path::Path;

/// Processor time since the box started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTime {
    /// Spent on work.
    pub busy: u64,
    /// In all.
    pub total: u64,
}

impl CpuTime {
    /// Use over all processors since an earlier reading, in percent.
    #[must_use]
    pub fn percent_since(self, earlier: Self) -> f32 {
        let total = self.total.saturating_sub(earlier.total);
        let busy = self.busy.saturating_sub(earlier.busy);
        if total == 0 { 0.0 } else { (busy as f64 * 100.0 / total as f64) as f32 }
    }
}

/// Processor time, of all processors together.
#[must_use]
pub fn cpu_time() -> Option<CpuTime> {
    parse_cpu(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// Memory in use and in all, in bytes.
#[must_use]
pub fn memory() -> Option<(u64, u64)> {
    let (available, total) = parse_memory(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some((total.saturating_sub(available), total))
}

/// Memory that can be had without swapping, in MiB.
#[must_use]
pub fn available_mib() -> Option<u64> {
    let (available, _) = parse_memory(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(available / (1024 * 1024))
}

/// Bytes used and in all on the filesystem of a folder. What is kept back for root counts as used.
#[must_use]
pub fn pool(dir: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(dir).ok()?;
    let total = found.f_blocks * found.f_frsize;
    Some((total.saturating_sub(found.f_bavail * found.f_frsize), total))
}

/// `cpu  user nice system idle iowait irq softirq steal guest guest_nice` of `proc(5)`.
fn parse_cpu(stat: &str) -> Option<CpuTime> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|it| it.parse().ok()).collect();
    // What guests took is in user and nice already.
    let total: u64 = ticks.iter().take(8).sum();
    let idle: u64 = ticks.get(3..5)?.iter().sum();
    Some(CpuTime { busy: total - idle, total })
}

/// Available and total memory of `/proc/meminfo`, in bytes.
fn parse_memory(meminfo: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    Some((bytes("MemAvailable")?, bytes("MemTotal")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_without_counting_guests_twice() {
        let time = parse_cpu("cpu  10 5 15 60 10 0 0 0 8 2\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(time, CpuTime { busy: 30, total: 100 });
        let later = CpuTime { busy: 80, total: 200 };
        assert!((later.percent_since(time) - 50.0).abs() < 0.01);
        assert!(time.percent_since(later).abs() < 0.01);
        assert_eq!(parse_cpu("intr 5"), None);
    }

    #[test]
    fn memory_is_read() {
        let text = "MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(parse_memory(text), Some((1 << 20, 2 << 20)));
        assert_eq!(parse_memory(""), None);
    }

    #[test]
    fn this_box_can_be_read() {
        let (used, total) = memory().unwrap();
        assert!(used < total);
        assert!(cpu_time().unwrap().total > 0);
        assert!(pool(Path::new("/")).unwrap().1 > 0);
    }
}
