//! Wakes from each rung, starts from zero, and the CPU of a frozen instance.
//!
//! Every request comes on a connection of its own, so that what is added is all that the sleep adds. Beside those to an
//! instance that sleeps stand as many to the same instance awake, asked in the same run.

use super::super::asks::ms;
use super::super::instances::{self, CALM, Rung};
use super::super::platform::{Platform, STATIC_IMAGE};
use super::super::spread::Spread;
use super::super::{Effort, Outcome, Verdict, interrupt};
use super::{AFTER_MS, DEPLOY_TIME_MAX};
use anyhow::Result;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const SERVICE: &str = "idle";

/// The bars of the idle ladder: milliseconds added to the 99th of a hundred requests, and of the 95th of a hundred starts.
const THROTTLED_BAR_MS: f64 = 1.0;
const FROZEN_BAR_MS: f64 = 1.5;
const ZERO_BAR_MS: f64 = 100.0;
/// Microseconds of CPU that a frozen instance uses.
const FROZEN_CPU_BAR_US: f64 = 0.0;

pub(super) fn run(platform: &Platform, effort: Effort) -> Result<Outcome> {
    platform.deploy(SERVICE, 1, &[STATIC_IMAGE], DEPLOY_TIME_MAX)?;
    platform.run(&["tag", SERVICE, &format!("apron:idle-after-ms={AFTER_MS}")])?;
    let instance = instances::only(platform, SERVICE)?;

    let mut rows = Vec::new();
    for (rung, count) in [(Rung::Throttled, 10), (Rung::Frozen, 10), (Rung::Zero, 2)] {
        // As many as the issue asks for: 200 wakes and 50 starts in a whole run.
        let count = count * effort.starts + if rung == Rung::Zero { effort.starts / 2 } else { 0 };
        platform.run(&["tag", SERVICE, "apron:idle=off"])?;
        let awake = asked(platform, count, || Ok(()))?;
        platform.run(&["tag", SERVICE, rung.tag()])?;
        let asleep = asked(platform, count, || instance.sleeps(rung))?;
        rows.push((rung, awake, asleep));
    }
    platform.run(&["tag", SERVICE, Rung::Frozen.tag()])?;
    platform.request(SERVICE)?;
    instance.sleeps(Rung::Frozen)?;
    std::thread::sleep(CALM);
    let time = Duration::from_secs(u64::from(effort.seconds) * 10);
    let before = instance.cpu_us()?;
    std::thread::sleep(time);
    let used_us = instance.cpu_us()? - before;
    outcome(&rows, used_us, time)
}

/// Milliseconds of so many requests, each after `ready`.
fn asked(platform: &Platform, count: usize, ready: impl Fn() -> Result<()>) -> Result<Vec<f64>> {
    let one = |_| {
        interrupt::check()?;
        ready()?;
        let began = Instant::now();
        platform.request(SERVICE)?;
        Ok(ms(began.elapsed()))
    };
    // The first one is not like the others: what it needs is in no cache.
    one(0)?;
    (0..count).map(one).collect()
}

fn outcome(rows: &[(Rung, Vec<f64>, Vec<f64>)], used_us: u64, time: Duration) -> Result<Outcome> {
    let mut text = "Requests to `examples/static-binary` through the proxy, one at a time, each on a connection of its own, \
                    while its instance is awake and while it sleeps. Milliseconds.\n\n\
                    | the instance is | requests | median | 95th of a hundred | 99th of a hundred | longest | median awake |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut verdicts = Vec::new();
    for (rung, awake, asleep) in rows {
        let awake = Spread::of(awake.iter().copied())?.median;
        let p95 = Spread::percentile(asleep.iter().copied(), 95)?;
        let p99 = Spread::percentile(asleep.iter().copied(), 99)?;
        let spread = Spread::of(asleep.iter().copied())?;
        let (name, verdict) = match rung {
            Rung::Throttled => {
                let what = "wake from throttled, added to the median awake, p99 ms";
                ("throttled", Verdict::new(what, p99 - awake, THROTTLED_BAR_MS))
            }
            Rung::Frozen => {
                let what = "wake from frozen, added to the median awake, p99 ms";
                ("frozen", Verdict::new(what, p99 - awake, FROZEN_BAR_MS))
            }
            Rung::Zero => {
                let what = "request to a service at zero, static binary, p95 ms";
                ("without a process", Verdict::new(what, p95, ZERO_BAR_MS))
            }
        };
        writeln!(
            text,
            "| {name} | {} | {:.2} | {p95:.2} | {p99:.2} | {:.2} | {awake:.2} |",
            asleep.len(),
            spread.median,
            spread.highest
        )?;
        verdicts.push(verdict);
    }
    let seconds = time.as_secs();
    writeln!(text, "\nCPU that a frozen instance used in {seconds} s: {used_us} µs.")?;
    let what = format!("CPU of a frozen instance in {seconds} s, µs");
    verdicts.push(Verdict::new(what, used_us as f64, FROZEN_CPU_BAR_US));
    Ok(Outcome { text, verdicts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_has_the_bar_and_a_start_as_a_whole() {
        let rows = [
            (Rung::Throttled, vec![1.0; 3], vec![1.5; 3]),
            (Rung::Frozen, vec![1.0; 3], vec![3.0; 3]),
            (Rung::Zero, vec![1.0; 3], vec![50.0; 3]),
        ];
        let outcome = outcome(&rows, 0, Duration::from_secs(60)).unwrap();
        let figures: Vec<f64> = outcome.verdicts.iter().map(|verdict| verdict.figure).collect();
        assert_eq!(figures, [0.5, 2.0, 50.0, 0.0]);
        assert!(outcome.text.contains("| frozen | 3 | 3.00 |"), "{}", outcome.text);
    }
}
