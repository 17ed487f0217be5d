//! Instances of a platform as the machine shows them: which there are, and on which rung of the idle ladder each is.

use super::interrupt;
use super::platform::Platform;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SLEEP_TIME_MAX: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_millis(5);
/// For the other end of a start or a step down to be over, the refill of the pool of namespaces included.
pub(super) const CALM: Duration = Duration::from_millis(200);

/// A rung, and what to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rung {
    Throttled,
    Frozen,
    Zero,
}

impl Rung {
    /// The tag by which a service names its lowest rung.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Rung::Throttled => "apron:idle=throttle",
            Rung::Frozen => "apron:idle=freeze",
            Rung::Zero => "apron:idle=zero",
        }
    }
}

/// The cgroup of an instance, in whichever version there is.
pub(super) struct Instance {
    pub(super) service: String,
    cgroup: String,
}

/// What the node was told to run, below the data of a platform: a file for each instance, named by its id.
pub(super) struct Wanted {
    pub(super) id: String,
    file: PathBuf,
}

impl Wanted {
    pub(super) fn list(data: &Path) -> Result<Vec<Wanted>> {
        let mut list = Vec::new();
        for entry in std::fs::read_dir(data.join("node/wanted")).context("cannot read what the node runs")? {
            let file = entry?.path();
            let id = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".json"));
            if let Some(id) = id.map(str::to_owned) {
                list.push(Wanted { id, file });
            }
        }
        Ok(list)
    }

    /// None: it has gone meanwhile.
    pub(super) fn read(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(&self.file).ok()?).ok()
    }
}

/// Every instance that the node was told to run.
pub(super) fn all(platform: &Platform) -> Result<Vec<Instance>> {
    let parent = platform.cgroup()?;
    let mut instances = Vec::new();
    for wanted in Wanted::list(&platform.data()?)? {
        let Some(wish) = wanted.read() else { continue };
        let service = wish["spec"]["service_name"].as_str().context("a wish without its service")?;
        let cgroup = format!("{parent}/{}", wanted.id);
        instances.push(Instance { service: service.to_owned(), cgroup });
    }
    Ok(instances)
}

/// Those of one service.
pub(super) fn of(platform: &Platform, service: &str) -> Result<Vec<Instance>> {
    Ok(all(platform)?.into_iter().filter(|instance| instance.service == service).collect())
}

/// The only one of a service.
pub(super) fn only(platform: &Platform, service: &str) -> Result<Instance> {
    let mut instances = of(platform, service)?;
    ensure!(instances.len() == 1, "{service} has {} instances", instances.len());
    instances.pop().context("it was there")
}

/// Waits until all of them sleep so deeply.
pub(super) fn sleep(instances: &[Instance], rung: Rung) -> Result<()> {
    let began = Instant::now();
    for instance in instances {
        while !instance.is_on(rung) {
            let late = began.elapsed() >= SLEEP_TIME_MAX;
            ensure!(!late, "an instance of {} does not go to sleep: {rung:?}", instance.service);
            interrupt::check()?;
            std::thread::sleep(POLL_PAUSE);
        }
    }
    if rung == Rung::Zero {
        std::thread::sleep(CALM);
    }
    Ok(())
}

impl Instance {
    /// The text of the first of these files that there is; `CG` stands for the cgroup.
    fn read(&self, files: &[&str]) -> Option<String> {
        let path = |file: &str| format!("/sys/fs/cgroup/{}", file.replace("CG", &self.cgroup));
        files.iter().find_map(|file| std::fs::read_to_string(path(file)).ok())
    }

    /// Waits until it does.
    pub(super) fn sleeps(&self, rung: Rung) -> Result<()> {
        sleep(std::slice::from_ref(self), rung)
    }

    fn is_on(&self, rung: Rung) -> bool {
        let state = || self.read(&["freezer/CG/freezer.state", "CG/cgroup.events"]);
        match rung {
            // A sixtieth is below a tenth of a core for every size up to six of them.
            Rung::Throttled => self.quota().is_some_and(|cores| cores < 0.1),
            Rung::Frozen => state().is_some_and(|text| text.trim() == "FROZEN" || text.contains("frozen 1")),
            Rung::Zero => state().is_none(),
        }
    }

    /// Cores that it may use; none without a limit.
    pub(super) fn quota(&self) -> Option<f64> {
        let quota = self.read(&["cpu/CG/cpu.cfs_quota_us", "CG/cpu.max"])?;
        let period = self.read(&["cpu/CG/cpu.cfs_period_us", "CG/cpu.max"])?;
        let quota: f64 = quota.split_whitespace().next()?.parse().ok()?;
        let period: f64 = period.split_whitespace().last()?.parse().ok()?;
        (quota > 0.0).then_some(quota / period)
    }

    pub(super) fn cpu_us(&self) -> Result<u64> {
        if let Some(ns) = self.read(&["cpuacct/CG/cpuacct.usage"]) {
            return Ok(ns.trim().parse::<u64>()? / 1_000);
        }
        let stat = self.read(&["CG/cpu.stat"]).context("the instance has no cgroup")?;
        let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(used.context("cpu.stat does not say what was used")?.parse()?)
    }

    /// The first of its processes.
    pub(super) fn pid(&self) -> Result<u32> {
        let text = self.read(&["pids/CG/cgroup.procs", "CG/cgroup.procs"]).context("it has no cgroup")?;
        let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        pids.into_iter().min().context("it has no process")
    }
}
