//! The limit of the CPU, and what is left of it while an instance is throttled.

use super::{CgroupError, Cgroups, Layout, Limits, below, read, write};

/// Length of a CPU quota's period: the kernel's default, short enough that a throttled request is not seen.
const CPU_PERIOD_US: u64 = 100_000;
/// What the kernel takes at least for a quota, and at most for a period.
const CPU_QUOTA_US_MIN: u64 = 1_000;
const CPU_PERIOD_US_MAX: u64 = 1_000_000;

impl Limits {
    /// The period in which one in `share` of the CPU is a quota that the kernel takes. No longer than it has to be: for as
    /// long a process that has used its quota may stand still in the midst of what others wait for.
    fn throttled_period_us(&self, share: u32) -> u64 {
        let needed = (CPU_QUOTA_US_MIN * u64::from(share) * 1024).div_ceil(u64::from(self.cpu_units.max(1)));
        needed.clamp(CPU_PERIOD_US, CPU_PERIOD_US_MAX)
    }

    /// The same with so many times the CPU.
    pub(crate) fn boosted(&self, factor: u32) -> Limits {
        Limits { cpu_units: self.cpu_units.saturating_mul(factor.max(1)), ..*self }
    }

    /// CPU time per period.
    pub(super) fn quota_us(&self, period_us: u64) -> u64 {
        (u64::from(self.cpu_units) * period_us / 1024).max(CPU_QUOTA_US_MIN)
    }
}

impl Cgroups {
    /// Leaves it one in `share` of its CPU.
    pub fn throttle(&self, path: &str, limits: &Limits, share: u32) -> Result<(), CgroupError> {
        let period_us = limits.throttled_period_us(share);
        let quota_us = limits.quota_us(period_us) / u64::from(share.max(1));
        self.set_quota(path, quota_us.max(CPU_QUOTA_US_MIN), period_us)
    }

    /// Gives it its whole CPU again; who waits for the next period of a quota goes on at once.
    pub fn unthrottle(&self, path: &str, limits: &Limits) -> Result<(), CgroupError> {
        self.set_quota(path, limits.quota_us(CPU_PERIOD_US), CPU_PERIOD_US)
    }

    /// Whether it has far less CPU than its limits say; an unknown cgroup has not.
    pub fn is_throttled(&self, path: &str, limits: &Limits) -> bool {
        let read_number = |text: &str| text.trim().parse::<u64>().ok();
        let found = match &self.layout {
            Layout::V2 { root } => read(&below(root, path).join("cpu.max")).ok().and_then(|text| {
                let (quota, period) = text.trim().split_once(' ')?;
                Some((read_number(quota)?, read_number(period)?))
            }),
            Layout::V1 { controllers, .. } => {
                let cpu = below(&controllers["cpu"], path);
                let number = |name: &str| read(&cpu.join(name)).ok().and_then(|text| read_number(&text));
                number("cpu.cfs_quota_us").zip(number("cpu.cfs_period_us"))
            }
        };
        found.is_some_and(|(quota_us, period_us)| quota_us * 2 < limits.quota_us(period_us))
    }

    /// Takes the limit of the CPU away: who is to be killed needs some for it.
    pub(super) fn set_no_quota(&self, path: &str) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::V2 { root } => write(&below(root, path).join("cpu.max"), "max"),
            Layout::V1 { controllers, .. } => {
                write(&below(&controllers["cpu"], path).join("cpu.cfs_quota_us"), "-1")
            }
        }
    }

    fn set_quota(&self, path: &str, quota_us: u64, period_us: u64) -> Result<(), CgroupError> {
        match &self.layout {
            Layout::V2 { root } => {
                write(&below(root, path).join("cpu.max"), &format!("{quota_us} {period_us}"))
            }
            Layout::V1 { controllers, .. } => {
                let cpu = below(&controllers["cpu"], path);
                write(&cpu.join("cpu.cfs_period_us"), &period_us.to_string())?;
                write(&cpu.join("cpu.cfs_quota_us"), &quota_us.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(cpu_units: u32) -> Limits {
        Limits { cpu_units, memory_bytes: 0, pids: 1 }
    }

    #[test]
    fn quotas_follow_cpu_units() {
        let quota = |cpu_units| limits(cpu_units).quota_us(CPU_PERIOD_US);
        assert_eq!([quota(256), quota(1024), quota(4096), quota(1)], [25_000, 100_000, 400_000, 1_000]);
    }

    #[test]
    fn a_sixtieth_is_a_quota_that_the_kernel_takes() {
        for cpu_units in [64, 256, 512, 1024, 4096, 16_384] {
            let limits = limits(cpu_units);
            let period_us = limits.throttled_period_us(60);
            assert!((CPU_PERIOD_US..=CPU_PERIOD_US_MAX).contains(&period_us));
            let quota_us = limits.quota_us(period_us) / 60;
            let share = quota_us as f64 / period_us as f64 / (f64::from(cpu_units) / 1024.0) * 60.0;
            assert!(quota_us >= CPU_QUOTA_US_MIN && (0.98..1.02).contains(&share), "{cpu_units}: {share}");
        }
    }
}
