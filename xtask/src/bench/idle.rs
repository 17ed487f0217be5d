//! What the sleep of instances costs those who ask: wakes from each rung of the idle ladder, and starts from zero.
//!
//! Every request comes on a connection of its own, so that what is added is all that the sleep adds. Beside those to an
//! instance that sleeps stand as many to the same instance awake, asked in the same run.

use super::platform::{self, Platform, STATIC_IMAGE};
use super::spread::Spread;
use super::{Effort, Outcome, Verdict, interrupt};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SERVICE: &str = "idle";
const DEPLOY_TIME_MAX: Duration = Duration::from_secs(60);
/// Throttled, frozen and stopped so soon.
const AFTER_MS: &str = "100/200/300";
const SLEEP_TIME_MAX: Duration = Duration::from_secs(30);
const POLL_PAUSE: Duration = Duration::from_millis(5);
/// For the other end of a start or a step down to be over, the refill of the pool of namespaces included.
const CALM: Duration = Duration::from_millis(200);

/// The bars of the idle ladder: milliseconds added to the 99th of a hundred requests, and of the 95th of a hundred starts.
const THROTTLED_BAR_MS: f64 = 1.0;
const FROZEN_BAR_MS: f64 = 1.5;
const ZERO_BAR_MS: f64 = 100.0;
/// Microseconds of CPU that a frozen instance uses.
const FROZEN_CPU_BAR_US: f64 = 0.0;

/// A rung, and what to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rung {
    Throttled,
    Frozen,
    Zero,
}

impl Rung {
    fn tag(self) -> &'static str {
        match self {
            Rung::Throttled => "apron:idle=throttle",
            Rung::Frozen => "apron:idle=freeze",
            Rung::Zero => "apron:idle=zero",
        }
    }
}

pub(super) fn run(root: &Path, effort: Effort) -> Result<Outcome> {
    let platform = Platform::start(&platform::binary(root)?, "idle")?;
    platform.import_static_image(root)?;
    platform.deploy(SERVICE, 1, &[STATIC_IMAGE], DEPLOY_TIME_MAX)?;
    platform.run(&["tag", SERVICE, &format!("apron:idle-after-ms={AFTER_MS}")])?;
    let instance = Instance::of(&platform)?;

    let mut rows = Vec::new();
    for (rung, count) in [(Rung::Throttled, 10), (Rung::Frozen, 10), (Rung::Zero, 2)] {
        // As many as the issue asks for: 200 wakes and 50 starts in a whole run.
        let count = count * effort.starts + if rung == Rung::Zero { effort.starts / 2 } else { 0 };
        platform.run(&["tag", SERVICE, "apron:idle=off"])?;
        let awake = asked(&platform, count, || Ok(()))?;
        platform.run(&["tag", SERVICE, rung.tag()])?;
        let asleep = asked(&platform, count, || instance.sleeps(rung))?;
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
        Ok(began.elapsed().as_secs_f64() * 1e3)
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

/// The cgroup of the service's only instance, in whichever version there is.
struct Instance {
    name: String,
}

impl Instance {
    fn of(platform: &Platform) -> Result<Instance> {
        let data = PathBuf::from(platform.path("data")?);
        let id = std::fs::read_to_string(data.join("id"))?;
        let wanted = std::fs::read_dir(data.join("node/wanted"))?;
        let names = wanted.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let instances: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
        ensure!(instances.len() == 1, "there are {} instances", instances.len());
        Ok(Instance { name: format!("apron-{}/{}", id.trim(), instances[0]) })
    }

    /// The text of the first of these files that there is; `CG` stands for the cgroup.
    fn read(&self, files: &[&str]) -> Option<String> {
        let path = |file: &str| format!("/sys/fs/cgroup/{}", file.replace("CG", &self.name));
        files.iter().find_map(|file| std::fs::read_to_string(path(file)).ok())
    }

    /// Waits until it does.
    fn sleeps(&self, rung: Rung) -> Result<()> {
        let began = Instant::now();
        while !self.is_on(rung) {
            ensure!(began.elapsed() < SLEEP_TIME_MAX, "the instance does not go to sleep");
            interrupt::check()?;
            std::thread::sleep(POLL_PAUSE);
        }
        if rung == Rung::Zero {
            std::thread::sleep(CALM);
        }
        Ok(())
    }

    fn is_on(&self, rung: Rung) -> bool {
        let state = || self.read(&["freezer/CG/freezer.state", "CG/cgroup.events"]);
        match rung {
            // A period that is not the usual one, or a quota far below the instance's core.
            Rung::Throttled => {
                let quota = self.read(&["cpu/CG/cpu.cfs_quota_us", "CG/cpu.max"]);
                let quota =
                    quota.as_deref().and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
                quota.is_some_and(|quota_us| quota_us < 10_000)
            }
            Rung::Frozen => state().is_some_and(|text| text.trim() == "FROZEN" || text.contains("frozen 1")),
            Rung::Zero => state().is_none(),
        }
    }

    fn cpu_us(&self) -> Result<u64> {
        if let Some(ns) = self.read(&["cpuacct/CG/cpuacct.usage"]) {
            return Ok(ns.trim().parse::<u64>()? / 1_000);
        }
        let stat = self.read(&["CG/cpu.stat"]).context("the instance has no cgroup")?;
        let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(used.context("cpu.stat does not say what was used")?.parse()?)
    }
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
