//! The share of its CPU that a throttled instance gets: one in sixty, whatever its size.

use super::super::instances::{self, Instance, Rung};
use super::super::platform::{Platform, STATIC_IMAGE};
use super::super::{Outcome, Verdict, interrupt};
use super::DEPLOY_TIME_MAX;
use anyhow::Result;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// vCPUs, the GB that go with them, and threads that never rest: as many as could use all of it.
const SIZES: [(&str, f64, &str, &str); 3] =
    [("0.25", 0.25, "0.5", "1"), ("1", 1.0, "2", "1"), ("4", 4.0, "8", "4")];
const TIME: Duration = Duration::from_secs(60);
/// What starts and is throttled gets its last slice of the quota of before.
const SETTLE: Duration = Duration::from_secs(2);
/// The sixtieth.
const FRACTION: f64 = 60.0;
/// How far from 1 the share may be: 0.9 to 1.1 of the sixtieth.
const BAR_DISTANCE: f64 = 0.1;

/// One size, and what its instance used in how many seconds.
struct Measured {
    vcpus: f64,
    threads: &'static str,
    used_s: f64,
    seconds: f64,
}

impl Measured {
    /// Of a sixtieth of the quota.
    fn share(&self) -> f64 {
        self.used_s / (self.seconds * self.vcpus / FRACTION)
    }
}

/// All sizes at once: together they may use a tenth of a core.
pub(super) fn run(platform: &Platform) -> Result<Outcome> {
    let mut spinning: Vec<Instance> = Vec::new();
    for (cpu, _, memory, threads) in SIZES {
        let service = format!("spin-{}", spinning.len());
        let spin = format!("SPIN={threads}");
        let options = [STATIC_IMAGE, "--cpu", cpu, "--memory", memory, "--env", &spin];
        platform.deploy(&service, 1, &options, DEPLOY_TIME_MAX)?;
        let instance = instances::only(platform, &service)?;
        // The next one starts on a machine that has its cores back.
        instance.sleeps(Rung::Throttled)?;
        spinning.push(instance);
    }
    std::thread::sleep(SETTLE);
    let used = || spinning.iter().map(Instance::cpu_us).collect::<Result<Vec<u64>>>();
    let (before, began) = (used()?, Instant::now());
    while began.elapsed() < TIME {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(500));
    }
    let (after, seconds) = (used()?, began.elapsed().as_secs_f64());
    let measured = SIZES.iter().zip(before.iter().zip(after)).map(|(size, (before, after))| Measured {
        vcpus: size.1,
        threads: size.3,
        used_s: (after - before) as f64 / 1e6,
        seconds,
    });
    outcome(&measured.collect::<Vec<_>>())
}

fn outcome(all: &[Measured]) -> Result<Outcome> {
    let cores = std::thread::available_parallelism()?;
    let mut text = format!(
        "Throttled instances of `examples/static-binary` whose threads never rest, side by side for {} s, on a machine \
         of {cores} cores. The share is what the kernel counted over a sixtieth of the instance's vCPUs, of which the \
         largest size has more than this machine has cores.\n\n\
         | vCPUs | threads | CPU used, s | a sixtieth, s | share |\n|---|---|---|---|---|\n",
        TIME.as_secs(),
    );
    let mut verdicts = Vec::new();
    for one in all {
        let Measured { vcpus, threads, used_s, seconds } = one;
        let sixtieth = seconds * vcpus / FRACTION;
        writeln!(text, "| {vcpus} | {threads} | {used_s:.3} | {sixtieth:.3} | {:.3} |", one.share())?;
        let what = format!("CPU of a throttled instance of {vcpus} vCPU, its share's distance from 1");
        verdicts.push(Verdict::new(what, (one.share() - 1.0).abs(), BAR_DISTANCE));
    }
    Ok(Outcome { text, verdicts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_is_as_wrong_as_too_much() {
        let of = |vcpus: f64, used_s: f64| Measured { vcpus, threads: "1", used_s, seconds: 60.0 };
        let outcome = outcome(&[of(1.0, 1.0), of(4.0, 3.0), of(0.25, 0.3125)]).unwrap();
        let figures: Vec<f64> = outcome.verdicts.iter().map(|verdict| verdict.figure).collect();
        assert_eq!(figures, [0.0, 0.25, 0.25]);
        assert!(outcome.text.contains("| 4 | 1 | 3.000 | 4.000 | 0.750 |"), "{}", outcome.text);
    }
}
