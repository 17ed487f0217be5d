//! A hundred services of a static binary: what the platform takes while all of them are idle, and what who asks meets
//! when many of them are called at once and none has a process.

use super::asks;
use super::instances::{self, Instance, Rung};
use super::ours::Ours;
use super::platform::{self, Platform, STATIC_IMAGE};
use super::spread::Spread;
use super::{Effort, Outcome, Verdict, interrupt};
use anyhow::{Result, ensure};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const SERVICES: usize = 100;
/// Services that are made at once.
const MADE_AT_ONCE: usize = 8;
/// What began with the last deployment is over.
const SETTLE: Duration = Duration::from_secs(20);
/// Between two calls of all, beside the time in which instances go to sleep.
const PAUSE: Duration = Duration::from_secs(2);
/// MiB, and hundredths of a core.
const PSS_BAR_MIB: f64 = 96.0;
const CPU_BAR_PERCENT: f64 = 0.5;
/// How many are called at once, and the bar of the 95th of a hundred in seconds.
const CALLED: [(usize, f64); 2] = [(25, 1.0), (SERVICES, 3.0)];
const LONGEST_BAR_S: f64 = 5.0;

/// What calls of so many at once came to.
struct Calls {
    at_once: usize,
    bar_s: f64,
    seconds: Vec<f64>,
    failed: usize,
}

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let platform = Platform::start(&platform::binary(root)?, "many")?;
    platform.import_static_image(root)?;
    let names = names("many", SERVICES);
    create(&platform, root, &names, &json!({ "apron:idle": "throttle" }))?;
    let instances = instances::all(&platform)?;
    ensure!(instances.len() == SERVICES, "there are {} instances", instances.len());
    let idle = idle(&platform, &instances, effort)?;

    let tags = json!({ "apron:idle": "zero", "apron:idle-after-ms": "100/200/300" });
    platform.services(root, &json!({ "tag": names, "tags": tags }))?;
    let mut calls = Vec::new();
    for (at_once, bar_s) in CALLED {
        let requests: Vec<String> = names[..at_once].iter().map(|name| asks::get(name, "/")).collect();
        let mut one = Calls { at_once, bar_s, seconds: Vec::new(), failed: 0 };
        for round in 1..=effort.rounds {
            eprintln!("{at_once} services at zero called at once, round {round} of {}", effort.rounds);
            instances::sleep(&instances, Rung::Zero)?;
            std::thread::sleep(PAUSE);
            let (times, failed) = asks::times(&asks::at_once(platform.apps(), &requests));
            one.seconds.extend(times.into_iter().map(|ms| ms / 1e3));
            one.failed += failed;
        }
        calls.push(one);
    }
    Ok(Outcome::of(vec![idle, called(&calls, effort.rounds)?]))
}

/// Names that many services of one kind have.
pub(super) fn names(kind: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{kind}-{number:03}")).collect()
}

/// Makes services of the static binary, of the smallest size that AWS knows.
pub(super) fn create(
    platform: &Platform,
    root: &Path,
    names: &[String],
    tags: &serde_json::Value,
) -> Result<()> {
    let wanted = json!({
        "create": names, "at_once": MADE_AT_ONCE, "image": STATIC_IMAGE, "cpu": "0.25 vCPU", "memory": "0.5 GB",
        "tags": tags, "env": {},
    });
    platform.services(root, &wanted)
}

/// Sleeps as long, or until somebody interrupts.
pub(super) fn wait(time: Duration) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < time {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

fn idle(platform: &Platform, instances: &[Instance], effort: Effort) -> Result<Outcome> {
    instances::sleep(instances, Rung::Throttled)?;
    wait(SETTLE)?;
    eprintln!("{SERVICES} idle services, {} minutes", effort.minutes);
    let before = Ours::now(platform)?;
    wait(Duration::from_secs(u64::from(effort.minutes) * 60))?;
    let after = Ours::now(platform)?;
    let cpu = after.cpu_percent_since(&before);
    let text = format!(
        "{SERVICES} services of `examples/static-binary` with one throttled instance each, for {} minutes without a \
         request. What the platform's own processes have at the end and took in that time; applications are not ours.\n\n{}",
        effort.minutes,
        after.table_since(&before),
    );
    let verdicts = vec![
        Verdict::new("100 idle services, memory of ours, MiB of PSS", after.pss_mib(), PSS_BAR_MIB),
        Verdict::new("100 idle services, CPU of ours, % of a core", cpu, CPU_BAR_PERCENT),
    ];
    Ok(Outcome { text, verdicts })
}

fn called(calls: &[Calls], rounds: usize) -> Result<Outcome> {
    let mut text = format!(
        "Some of them called at once, each by one request, when none of all has a process; {rounds} times. Seconds.\n\n\
         | called at once | requests | failed | median | 95th of a hundred | longest |\n|---|---|---|---|---|---|\n"
    );
    let mut verdicts = Vec::new();
    for Calls { at_once, bar_s, seconds, failed } in calls {
        let spread = Spread::of(seconds.iter().copied())?;
        let p95 = Spread::percentile(seconds.iter().copied(), 95)?;
        text.push_str(&format!(
            "| {at_once} | {} | {failed} | {:.3} | {p95:.3} | {:.3} |\n",
            seconds.len() + failed,
            spread.median,
            spread.highest
        ));
        let what = |what: &str| format!("{at_once} services at zero called at once, {what}");
        verdicts.extend([
            Verdict::new(what("p95 s"), p95, *bar_s),
            Verdict::new(what("longest s"), spread.highest, LONGEST_BAR_S),
            Verdict::new(what("failed"), *failed as f64, 0.0),
        ]);
    }
    Ok(Outcome { text, verdicts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_bar() {
        let of = |at_once, bar_s| Calls { at_once, bar_s, seconds: vec![0.5, 1.5], failed: 1 };
        let outcome = called(&[of(25, 1.0), of(100, 3.0)], 1).unwrap();
        let missed = outcome.verdicts.iter().filter(|verdict| verdict.figure > verdict.bar);
        assert_eq!(missed.count(), 3, "a p95 and two failures");
        assert!(outcome.text.contains("| 25 | 3 | 1 | 1.000 | 1.500 | 1.500 |"), "{}", outcome.text);
    }
}
