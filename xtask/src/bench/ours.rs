//! What the platform itself takes of the machine: the supervisor, control, node and proxy, and the shims. Applications
//! are not ours.

use super::platform::Platform;
use super::process::{self, Seen};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// All processes of ours at one moment.
pub(super) struct Ours {
    at: Instant,
    /// User and system time of each, in seconds.
    cpu: BTreeMap<Seen, f64>,
    pub(super) pss_mib: f64,
    pub(super) processes: usize,
    /// Of the whole machine: what the kernel holds and cannot give back.
    pub(super) slab_mib: f64,
}

impl Ours {
    pub(super) fn now(platform: &Platform) -> Result<Ours> {
        let pids = pids(platform)?;
        let mut cpu = BTreeMap::new();
        for pid in &pids {
            // One that has ended meanwhile was short.
            if let (Some(seen), Some(seconds)) = (Seen::of(*pid), process::cpu_seconds(*pid)?) {
                cpu.insert(seen, seconds);
            }
        }
        let pss_kib: u64 = pids.iter().filter_map(|pid| process::pss_kib(*pid)).sum();
        Ok(Ours {
            at: Instant::now(),
            cpu,
            pss_mib: pss_kib as f64 / 1024.0,
            processes: pids.len(),
            slab_mib: slab_kib()? as f64 / 1024.0,
        })
    }

    /// Hundredths of a core that ours took since then. Those that have ended since are missing in it.
    pub(super) fn cpu_percent_since(&self, before: &Ours) -> f64 {
        let used = |(seen, now): (&Seen, &f64)| now - before.cpu.get(seen).copied().unwrap_or_default();
        let seconds: f64 = self.cpu.iter().map(used).sum();
        100.0 * seconds / (self.at - before.at).as_secs_f64()
    }
}

/// The supervisor and what descends from it, shims as the last of each line, and shims that an earlier node left.
fn pids(platform: &Platform) -> Result<BTreeSet<u32>> {
    let shims = shims(platform)?;
    let mut all = shims.clone();
    let mut open = vec![platform.pid()];
    while let Some(pid) = open.pop() {
        all.insert(pid);
        if !shims.contains(&pid) {
            open.extend(process::children(pid));
        }
    }
    Ok(all)
}

/// They have a cgroup to themselves, in every hierarchy that the platform uses.
fn shims(platform: &Platform) -> Result<BTreeSet<u32>> {
    let cgroup = platform.cgroup()?;
    let read =
        |root: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{root}{cgroup}/shims/cgroup.procs"));
    let text = ["pids/", "memory/", "cpu/", ""].iter().find_map(|root| read(root).ok());
    Ok(text.unwrap_or_default().lines().filter_map(|line| line.parse().ok()).collect())
}

fn slab_kib() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("SUnreclaim:"));
    let word = line.and_then(|line| line.split_whitespace().next());
    Ok(word.context("the kernel does not say what its slab holds")?.parse()?)
}
