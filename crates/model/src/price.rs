//! What a service used, and what others would charge for it.
//!
//! Usage is counted in whole numbers that only grow, so that sums are exact however often they are added up; money is
//! counted in billionths of a dollar and rounded once, towards zero, when it is asked for.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::AddAssign;

/// Billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub u64);

impl fmt::Display for NanoUsd {
    /// In dollars and cents, rounded to the nearest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = (self.0 + 5_000_000) / 10_000_000;
        write!(f, "${}.{:02}", cents / 100, cents % 100)
    }
}

/// What instances used in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU units (1024 are one vCPU) times milliseconds in which the instance was active: it had a request, or it was
    /// starting.
    pub active_unit_ms: u64,
    /// MiB times milliseconds in which the instance was provisioned: it was there, on any rung above zero.
    pub provisioned_mib_ms: u64,
    /// What a minimum per start adds to the first: CPU units times the milliseconds that a start was active for less.
    pub short_unit_ms: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Usage) {
        self.active_unit_ms = self.active_unit_ms.saturating_add(more.active_unit_ms);
        self.provisioned_mib_ms = self.provisioned_mib_ms.saturating_add(more.provisioned_mib_ms);
        self.short_unit_ms = self.short_unit_ms.saturating_add(more.short_unit_ms);
    }
}

impl Usage {
    /// An instance of this size that was there for so long, and active for a part of that, since one start. `ended`: it is
    /// known how long that start was active.
    pub fn of_start(
        cpu_units: u32,
        memory_mib: u32,
        provisioned_ms: u64,
        active_ms: u64,
        ended: bool,
    ) -> Usage {
        let short_ms = if ended { ACTIVE_MS_MIN.saturating_sub(active_ms) } else { 0 };
        Usage {
            active_unit_ms: active_ms.saturating_mul(cpu_units.into()),
            provisioned_mib_ms: provisioned_ms.saturating_mul(memory_mib.into()),
            short_unit_ms: short_ms.saturating_mul(cpu_units.into()),
        }
    }

    /// As if the instances had been active for all of the time: `units_per_mib` of CPU went with each MiB.
    pub fn always_active(self, size: (u32, u32)) -> Usage {
        let (cpu_units, memory_mib) = size;
        let all = u128::from(self.provisioned_mib_ms) * u128::from(cpu_units) / u128::from(memory_mib.max(1));
        Usage { active_unit_ms: saturated(all), short_unit_ms: 0, ..self }
    }
}

/// App Runner charges for a minute of CPU at least each time that an instance starts.
const ACTIVE_MS_MIN: u64 = 60_000;

/// What is charged for what, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    pub name: &'static str,
    /// Of one vCPU for an hour, while active.
    vcpu_hour: NanoUsd,
    /// Of one GB for an hour, always.
    gb_hour: NanoUsd,
    /// Of an application that is deployed automatically, for a month of 30 days.
    auto_deploy_month: NanoUsd,
    build_minute: NanoUsd,
}

/// AWS App Runner in us-east-1, us-east-2, us-west-2 and eu-west-1, as its page of prices had it in 2026.
pub const APP_RUNNER: Tariff = Tariff {
    name: "App Runner",
    vcpu_hour: NanoUsd(64_000_000),
    gb_hour: NanoUsd(7_000_000),
    auto_deploy_month: NanoUsd(1_000_000_000),
    build_minute: NanoUsd(5_000_000),
};

/// The same in ap-northeast-1.
pub const APP_RUNNER_TOKYO: Tariff = Tariff {
    name: "App Runner in Tokyo",
    vcpu_hour: NanoUsd(81_000_000),
    gb_hour: NanoUsd(9_000_000),
    ..APP_RUNNER
};

const HOUR_MS: u128 = 3_600_000;
const MONTH_MS: u128 = 30 * 24 * HOUR_MS;

/// The parts of a charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub cpu: NanoUsd,
    pub memory: NanoUsd,
    pub builds: NanoUsd,
    pub auto_deploy: NanoUsd,
}

impl Charge {
    pub fn total(self) -> NanoUsd {
        let Charge { cpu, memory, builds, auto_deploy } = self;
        NanoUsd(
            [cpu, memory, builds, auto_deploy].iter().fold(0, |sum: u64, part| sum.saturating_add(part.0)),
        )
    }
}

impl Tariff {
    /// For instances, for building, and for a time in which deployments were automatic.
    pub fn charge(&self, usage: Usage, build_ms: u64, auto_deploy_ms: u64) -> Charge {
        let part = |price: NanoUsd, amount: u128, unit: u128| {
            NanoUsd(saturated(u128::from(price.0) * amount / unit))
        };
        let unit_ms = u128::from(usage.active_unit_ms) + u128::from(usage.short_unit_ms);
        // A started minute is a minute.
        let build_minutes = u128::from(build_ms).div_ceil(60_000);
        Charge {
            cpu: part(self.vcpu_hour, unit_ms, 1_024 * HOUR_MS),
            memory: part(self.gb_hour, usage.provisioned_mib_ms.into(), 1_024 * HOUR_MS),
            builds: part(self.build_minute, build_minutes, 1),
            auto_deploy: part(self.auto_deploy_month, auto_deploy_ms.into(), MONTH_MS),
        }
    }
}

fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = HOUR_MS as u64;

    fn total(usage: Usage) -> String {
        APP_RUNNER.charge(usage, 0, 0).total().to_string()
    }

    /// 1 vCPU and 2 GB, as AWS's page of prices and the guides about it work it out.
    #[test]
    fn published_examples() {
        let of = |hours: u64, active_hours: u64| {
            Usage::of_start(1_024, 2_048, hours * HOUR, active_hours * HOUR, active_hours > 0)
        };
        assert_eq!(total(of(750, 0)), "$10.50");
        assert_eq!(total(of(750, 750)), "$58.50");
        assert_eq!(total(of(720, 0)), "$10.08");
        let busy = APP_RUNNER.charge(of(720, 720), 0, 0);
        assert_eq!([busy.cpu.to_string(), busy.memory.to_string()], ["$46.08", "$10.08"]);
        let extras = APP_RUNNER.charge(Usage::default(), 2 * 60_000 + 1, MONTH_MS as u64);
        assert_eq!([extras.builds.to_string(), extras.auto_deploy.to_string()], ["$0.02", "$1.00"]);
        assert_eq!(extras.builds, NanoUsd(15_000_000), "three minutes were begun");
    }

    #[test]
    fn a_start_costs_a_minute_of_cpu_at_least_once_it_is_over() {
        let charge = |active_ms, ended| {
            APP_RUNNER.charge(Usage::of_start(1_024, 2_048, 0, active_ms, ended), 0, 0).cpu.0
        };
        assert_eq!(charge(10_000, true), 64_000_000 / 60);
        assert_eq!(charge(10_000, false), 64_000_000 / 360);
        assert_eq!(charge(90_000, true), 64_000_000 / 40);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let whole = Usage::of_start(256, 512, 1_000_003, 70_001, true);
        let mut sum = Usage::default();
        for _ in 0..1_000 {
            sum += Usage::of_start(256, 512, 1_000, 70, false);
        }
        sum += Usage::of_start(256, 512, 3, 1, false);
        assert_eq!(sum, whole);
        let mut most = Usage { active_unit_ms: u64::MAX, ..whole };
        most += whole;
        assert_eq!(most.active_unit_ms, u64::MAX);
        assert!(APP_RUNNER.charge(most, u64::MAX, u64::MAX).total() > NanoUsd(0));
    }

    #[test]
    fn what_an_instance_that_is_always_active_would_cost() {
        let mostly_idle = Usage::of_start(1_024, 2_048, 750 * HOUR, HOUR, true);
        assert_eq!(total(mostly_idle.always_active((1_024, 2_048))), "$58.50");
    }

    #[test]
    fn money_is_shown_in_cents() {
        for (nano, expect) in
            [(0, "$0.00"), (4_999_999, "$0.00"), (5_000_000, "$0.01"), (58_500_000_000, "$58.50")]
        {
            assert_eq!(NanoUsd(nano).to_string(), expect);
        }
    }
}
