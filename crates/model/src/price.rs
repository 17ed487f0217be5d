//! What a service used, and what others would charge for it.
//!
//! Usage is counted in whole numbers that only grow, so that sums are exact however often they are added up; money is
//! counted in billionths of a dollar and rounded once, towards zero, when it is asked for.

use crate::instance::InstanceSize;
use crate::service::Service;
use crate::time::{DAY_MS, WallTime};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::ParseIntError;
use std::ops::AddAssign;
use std::str::FromStr;

/// Billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// All nine digits behind the point.
    pub fn exact(self) -> String {
        format!("{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

impl FromStr for NanoUsd {
    type Err = ParseIntError;

    /// What `exact` gives.
    fn from_str(text: &str) -> Result<NanoUsd, ParseIntError> {
        let (dollars, nano) = text.split_once('.').unwrap_or((text, "0"));
        let (dollars, nano): (u64, u64) = (dollars.parse()?, format!("{nano:0<9}").parse()?);
        Ok(NanoUsd(dollars.saturating_mul(1_000_000_000).saturating_add(nano)))
    }
}

impl fmt::Display for NanoUsd {
    /// In dollars and cents, rounded to the nearest; less than a cent in hundredths of one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.saturating_add(50_000) / 100_000 {
            0 if self.0 > 0 => f.write_str("<$0.0001"),
            hundredths @ 1..100 => write!(f, "$0.{hundredths:04}"),
            _ => {
                let cents = self.0.saturating_add(5_000_000) / 10_000_000;
                write!(f, "${}.{:02}", cents / 100, cents % 100)
            }
        }
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
    /// MiB times milliseconds in which it was not, because nobody asked for it: App Runner has an instance there.
    #[serde(default)]
    pub asleep_mib_ms: u64,
    /// What a minimum per start adds to the first: CPU units times the milliseconds that a start was active for less.
    pub short_unit_ms: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Usage) {
        self.active_unit_ms = self.active_unit_ms.saturating_add(more.active_unit_ms);
        self.provisioned_mib_ms = self.provisioned_mib_ms.saturating_add(more.provisioned_mib_ms);
        self.asleep_mib_ms = self.asleep_mib_ms.saturating_add(more.asleep_mib_ms);
        self.short_unit_ms = self.short_unit_ms.saturating_add(more.short_unit_ms);
    }
}

impl Usage {
    /// Of one instance of this size that is active for all of the time.
    pub fn always(cpu_units: u32, memory_mib: u32, ms: u64) -> Usage {
        Usage {
            active_unit_ms: ms.saturating_mul(cpu_units.into()),
            provisioned_mib_ms: ms.saturating_mul(memory_mib.into()),
            ..Usage::default()
        }
    }
}

/// App Runner charges for a minute of CPU at least each time that an instance starts.
pub const ACTIVE_MS_MIN: u64 = 60_000;

/// How a service stands to its cap, the tag `apron:cap-usd-month`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cap {
    /// It has none, or is far from it.
    #[default]
    Below,
    /// No further instances are started.
    Held,
    /// Instances have a sixtieth of their CPU.
    Throttled,
}

/// Of a cap, in percent: from here on nothing more is started.
const HELD_PERCENT: u128 = 90;

/// How a charge stands to a cap of so many dollars.
pub fn cap(charge: Charge, usd: u32) -> Cap {
    let (charged, cap) = (u128::from(charge.total().0) * 100, u128::from(usd) * 1_000_000_000);
    if charged >= cap * 100 {
        Cap::Throttled
    } else if charged >= cap * HELD_PERCENT {
        Cap::Held
    } else {
        Cap::Below
    }
}

/// What App Runner would have charged for what a service used from one time to another. The fee for automatic
/// deployments is that of a service which is configured as it is now.
pub fn charge(service: &Service, (usage, build_ms): (Usage, u64), from: WallTime, to: WallTime) -> Charge {
    let auto = if service.config.auto_deployments {
        let (from, to) = existed(service, from, to);
        Months::between(from, to)
    } else {
        Months::default()
    };
    app_runner(&service.region).charge(usage, build_ms, auto)
}

/// What one instance of the service's size would have cost that was there, and active, as long as the service.
pub fn always_on(service: &Service, from: WallTime, to: WallTime) -> NanoUsd {
    let InstanceSize { cpu_units, memory_mib } = service.config.size;
    let (from, to) = existed(service, from, to);
    let usage = Usage::always(cpu_units, memory_mib, to.0.saturating_sub(from.0));
    app_runner(&service.region).charge(usage, 0, Months::default()).total()
}

/// The part of this time in which there was the service; none where its end is not behind its beginning.
fn existed(service: &Service, from: WallTime, to: WallTime) -> (WallTime, WallTime) {
    (from.max(service.created_at), service.deleted_at.map_or(to, |deleted| deleted.min(to)))
}

/// Calendar months and shares of them: so many parts, of which a month has `MONTH_PARTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Months(u128);

/// A multiple of the days of each month, so that shares of all of them are whole numbers.
const MONTH_DAYS: u64 = 28 * 29 * 30 * 31;
const MONTH_PARTS: u128 = MONTH_DAYS as u128 * DAY_MS as u128;

impl Months {
    /// Each moment counts as a share of the month that it is in, UTC: a whole month is one, whatever its length.
    pub fn between(from: WallTime, to: WallTime) -> Months {
        let (mut at, mut parts) = (from.0, 0_u128);
        while at < to.0 {
            let month = WallTime(at);
            let (end, days) = match month.days_of_month() {
                Some(days) => (month.month_begin().0 + days * DAY_MS, days),
                // Further away than calendars go months are of 30 days.
                None => (to.0, 30),
            };
            let end = end.min(to.0);
            parts += u128::from(end - at) * u128::from(MONTH_DAYS / days);
            at = end;
        }
        Months(parts)
    }
}

/// What is charged for what, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    pub name: &'static str,
    /// Of one vCPU for an hour, while active.
    vcpu_hour: NanoUsd,
    /// Of one GB for an hour, always.
    gb_hour: NanoUsd,
    /// Of an application that is deployed automatically, for a calendar month.
    auto_deploy_month: NanoUsd,
    build_minute: NanoUsd,
}

/// AWS App Runner in us-east-1, us-east-2, us-west-2 and eu-west-1, as its page of prices had it in 2026.
pub const APP_RUNNER: Tariff = Tariff {
    name: "App Runner in us-east-1",
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

/// What App Runner charges in a region, where that is known, and else what it does in us-east-1.
pub fn app_runner(region: &str) -> Tariff {
    if region == "ap-northeast-1" { APP_RUNNER_TOKYO } else { APP_RUNNER }
}

const HOUR_MS: u128 = 3_600_000;

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
    pub fn charge(&self, usage: Usage, build_ms: u64, auto_deploy: Months) -> Charge {
        let part = |price: NanoUsd, amount: u128, unit: u128| {
            NanoUsd(saturated(u128::from(price.0) * amount / unit))
        };
        let unit_ms = u128::from(usage.active_unit_ms) + u128::from(usage.short_unit_ms);
        // Always, also while ours is not there.
        let mib_ms = u128::from(usage.provisioned_mib_ms) + u128::from(usage.asleep_mib_ms);
        // A started minute is a minute.
        let build_minutes = u128::from(build_ms).div_ceil(60_000);
        Charge {
            cpu: part(self.vcpu_hour, unit_ms, 1_024 * HOUR_MS),
            memory: part(self.gb_hour, mib_ms, 1_024 * HOUR_MS),
            builds: part(self.build_minute, build_minutes, 1),
            auto_deploy: part(self.auto_deploy_month, auto_deploy.0, MONTH_PARTS),
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

    /// Of 2026: the number of its first day since 1970.
    const NOVEMBER: u64 = 20_758;

    /// When it begins.
    fn day(number: u64) -> WallTime {
        WallTime(number * DAY_MS)
    }

    fn total(usage: Usage) -> String {
        APP_RUNNER.charge(usage, 0, Months::default()).total().to_string()
    }

    /// 1 vCPU and 2 GB, as AWS's page of prices and the guides about it work it out.
    #[test]
    fn published_examples() {
        let of = |hours: u64, active_hours: u64| {
            let active_unit_ms = Usage::always(1_024, 2_048, active_hours * HOUR).active_unit_ms;
            Usage { active_unit_ms, ..Usage::always(1_024, 2_048, hours * HOUR) }
        };
        assert_eq!(total(of(750, 0)), "$10.50");
        assert_eq!(total(of(750, 750)), "$58.50");
        assert_eq!(total(of(720, 0)), "$10.08");
        let none = Months::default();
        let busy = APP_RUNNER.charge(of(720, 720), 0, none);
        assert_eq!([busy.cpu.to_string(), busy.memory.to_string()], ["$46.08", "$10.08"]);
        let month = Months::between(day(NOVEMBER), day(NOVEMBER + 30));
        let extras = APP_RUNNER.charge(Usage::default(), 2 * 60_000 + 1, month);
        assert_eq!([extras.builds.to_string(), extras.auto_deploy.to_string()], ["$0.02", "$1.00"]);
        assert_eq!(extras.builds, NanoUsd(15_000_000), "three minutes were begun");
        assert_eq!(app_runner("ap-northeast-1").charge(of(100, 100), 0, none).total().to_string(), "$9.90");
        assert_eq!(app_runner("eu-west-1"), APP_RUNNER);
    }

    #[test]
    fn what_is_asleep_has_its_memory_there() {
        let awake = Usage::always(1_024, 2_048, HOUR);
        let asleep = Usage { asleep_mib_ms: awake.provisioned_mib_ms, ..Usage::default() };
        let [awake, asleep] = [awake, asleep].map(|usage| APP_RUNNER.charge(usage, 0, Months::default()));
        assert_eq!((asleep.memory, asleep.cpu), (awake.memory, NanoUsd(0)));
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let mut sum = Usage::default();
        (0..1_000).for_each(|_| sum += Usage::always(256, 512, 1_000));
        sum += Usage::always(256, 512, 3);
        assert_eq!(sum, Usage::always(256, 512, 1_000_003));
        let mut most = Usage::always(1, 1, u64::MAX);
        most += sum;
        assert_eq!(most.active_unit_ms, u64::MAX);
        let ever = Months::between(WallTime(0), WallTime(u64::MAX));
        assert!(APP_RUNNER.charge(most, u64::MAX, ever).total() > NanoUsd(0));
    }

    #[test]
    fn a_calendar_month_of_automatic_deployments_is_a_dollar_whatever_its_length() {
        let fee = |from: u64, to: u64| {
            let months = Months::between(day(from), day(to));
            APP_RUNNER.charge(Usage::default(), 0, months).auto_deploy.exact()
        };
        // Of 2027, by their first days.
        let [january, february, march, april] = [20_819, 20_850, 20_878, 20_909];
        for (from, to) in [(NOVEMBER, NOVEMBER + 30), (january, february), (february, march), (march, april)]
        {
            assert_eq!(fee(from, to), "1.000000000", "{} days", to - from);
        }
        // February of 2028.
        let leap = 21_215;
        assert_eq!([fee(leap, leap + 29), fee(leap, leap + 28)], ["1.000000000", "0.965517241"]);
        assert_eq!(fee(january, january + 365), "12.000000000", "a year");
        // Ten days of 31, and seven of 28.
        assert_eq!(fee(january + 21, february + 7), "0.572580645");
        assert_eq!(fee(january + 1, april), "2.967741935");
        assert_eq!([fee(march, march), fee(april, march)], ["0.000000000"; 2]);
        let cut = WallTime(day(february).0 + 1);
        let [first, rest] =
            [(day(january), cut), (cut, day(april))].map(|(from, to)| Months::between(from, to));
        assert_eq!(Months(first.0 + rest.0), Months::between(day(january), day(april)), "wherever it is cut");
    }

    #[test]
    fn the_fee_alone_reaches_a_cap_of_a_dollar_as_the_month_ends() {
        let mut config = crate::fixture::image_config("r/web");
        config.auto_deployments = true;
        let service = Service { created_at: day(0), ..crate::fixture::service("web", config) };
        for (begin, days) in [(NOVEMBER, 30), (20_819, 31), (20_850, 28), (21_215, 29)] {
            let cap_after = |ms: u64| {
                let to = WallTime(day(begin).0 + ms);
                cap(charge(&service, (Usage::default(), 0), day(begin), to), 1)
            };
            let (held_ms, end_ms) = (days * DAY_MS * 9 / 10, days * DAY_MS);
            let caps = [held_ms - 1, held_ms, end_ms - 60_000, end_ms].map(cap_after);
            assert_eq!(caps, [Cap::Below, Cap::Held, Cap::Held, Cap::Throttled], "{days} days");
        }
    }

    #[test]
    fn a_cap_holds_and_then_throttles() {
        let of = |cents: u64| cap(Charge { cpu: NanoUsd(cents * 10_000_000), ..Charge::default() }, 10);
        assert_eq!([of(0), of(899), of(900), of(999), of(1_000), of(9_000)], {
            use Cap::{Below, Held, Throttled};
            [Below, Below, Held, Held, Throttled, Throttled]
        });
    }

    #[test]
    fn a_service_is_charged_for_the_time_that_it_exists() {
        let mut config = crate::fixture::image_config("r/web");
        config.size = InstanceSize { cpu_units: 1_024, memory_mib: 2_048 };
        config.auto_deployments = true;
        let created_at = WallTime(HOUR);
        let mut service = Service { created_at, ..crate::fixture::service("web", config) };
        let (from, to) = (WallTime(0), WallTime(HOUR + 30 * DAY_MS));
        let charged =
            |service: &Service| charge(service, (Usage::default(), 60_000), from, to).total().to_string();
        assert_eq!(charged(&service), "$0.97", "30 days of 31, and a minute");
        assert_eq!(always_on(&service, from, to).to_string(), "$56.16", "720 hours at $0.078");
        service.deleted_at = Some(WallTime(2 * HOUR));
        assert_eq!(always_on(&service, from, to).to_string(), "$0.08");
        service.config.auto_deployments = false;
        assert_eq!(charged(&service), "$0.0050");
    }

    #[test]
    fn money_is_shown_in_cents_or_what_is_less() {
        for (nano, expect) in [
            (0, "$0.00"),
            (1, "<$0.0001"),
            (50_000, "$0.0001"),
            (3_140_000, "$0.0031"),
            (9_949_999, "$0.0099"),
            (9_950_000, "$0.01"),
            (14_999_999, "$0.01"),
            (58_500_000_000, "$58.50"),
        ] {
            assert_eq!(NanoUsd(nano).to_string(), expect);
            assert_eq!(NanoUsd(nano).exact().parse(), Ok(NanoUsd(nano)));
        }
        assert_eq!(NanoUsd(1_050_000_000).exact(), "1.050000000");
        assert!("1.x".parse::<NanoUsd>().is_err());
    }
}
