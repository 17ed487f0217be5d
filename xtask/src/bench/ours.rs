//! What the platform itself takes of the machine: the supervisor, control, node and proxy, and the shims. Applications
//! are not ours.

use super::platform::Platform;
use super::process::{self, Seen};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What each child of the supervisor is called in its records.
const CHILDREN: [&str; 3] = ["control", "node", "proxy"];
const SUPERVISOR: &str = "supervisor";
const SHIMS: &str = "shims";
/// What a child starts for a moment.
const OTHERS: &str = "others";
/// All of them, as a table has them.
const ROLES: [&str; 6] = [SUPERVISOR, "control", "node", "proxy", SHIMS, OTHERS];

/// One process of ours.
struct Process {
    role: &'static str,
    /// User and system time, in seconds.
    cpu_s: f64,
    pss_mib: f64,
}

/// All processes of ours at one moment.
pub(super) struct Ours {
    at: Instant,
    processes: BTreeMap<Seen, Process>,
    /// Of the whole machine: what the kernel holds and cannot give back.
    pub(super) slab_mib: f64,
}

impl Ours {
    pub(super) fn now(platform: &Platform) -> Result<Ours> {
        let shims = shims(platform)?;
        let mut roles = BTreeMap::from([(platform.pid(), SUPERVISOR)]);
        for role in CHILDREN {
            roles.insert(platform.child(role)?.pid, role);
        }
        roles.extend(shims.iter().map(|pid| (*pid, SHIMS)));
        let mut processes = BTreeMap::new();
        for pid in pids(platform, &shims) {
            // One that has ended meanwhile was short.
            if let (Some(seen), Some(cpu_s)) = (Seen::of(pid), process::cpu_seconds(pid)?) {
                let pss_mib = process::pss_kib(pid).unwrap_or_default() as f64 / 1024.0;
                let role = roles.get(&pid).copied().unwrap_or(OTHERS);
                processes.insert(seen, Process { role, cpu_s, pss_mib });
            }
        }
        Ok(Ours { at: Instant::now(), processes, slab_mib: slab_kib()? as f64 / 1024.0 })
    }

    pub(super) fn pss_mib(&self) -> f64 {
        self.processes.values().map(|process| process.pss_mib).sum()
    }

    /// Hundredths of a core that ours took since then.
    pub(super) fn cpu_percent_since(&self, before: &Ours) -> f64 {
        self.roles_since(before).into_iter().map(|role| role.cpu_percent).sum()
    }

    /// A table of what each kind of process has and took since then.
    pub(super) fn table_since(&self, before: &Ours) -> String {
        let mut text = "| of ours | processes | MiB of PSS | % of a core |\n|---|---|---|---|\n".to_owned();
        for Role { role, processes, pss_mib, cpu_percent } in self.roles_since(before) {
            text.push_str(&format!("| {role} | {processes} | {pss_mib:.1} | {cpu_percent:.2} |\n"));
        }
        text
    }

    /// Those that have ended since are missing in it.
    fn roles_since(&self, before: &Ours) -> Vec<Role> {
        let seconds = (self.at - before.at).as_secs_f64();
        let mut roles = ROLES.map(|role| Role { role, processes: 0, pss_mib: 0.0, cpu_percent: 0.0 });
        for (seen, process) in &self.processes {
            let used_s = process.cpu_s - before.processes.get(seen).map_or(0.0, |before| before.cpu_s);
            let Some(role) = roles.iter_mut().find(|one| one.role == process.role) else { continue };
            role.processes += 1;
            role.pss_mib += process.pss_mib;
            role.cpu_percent += 100.0 * used_s / seconds;
        }
        roles.into_iter().filter(|role| role.processes > 0).collect()
    }
}

/// All processes of one kind.
struct Role {
    role: &'static str,
    processes: usize,
    pss_mib: f64,
    cpu_percent: f64,
}

/// The supervisor and what descends from it, shims as the last of each line, and shims that an earlier node left.
fn pids(platform: &Platform, shims: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut all = shims.clone();
    let mut open = vec![platform.pid()];
    while let Some(pid) = open.pop() {
        all.insert(pid);
        if !shims.contains(&pid) {
            open.extend(process::children(pid));
        }
    }
    all
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_used_before_does_not_count() {
        let at = Instant::now();
        let process = |role, cpu_s| Process { role, cpu_s, pss_mib: 1.5 };
        let seen = |pid| Seen { pid, start_time: 1 };
        let before = Ours { at, processes: BTreeMap::from([(seen(1), process(SHIMS, 5.0))]), slab_mib: 0.0 };
        let processes = BTreeMap::from([
            (seen(1), process(SHIMS, 5.5)),
            (seen(2), process(SHIMS, 0.25)),
            (seen(3), process("node", 1.0)),
        ]);
        let after = Ours { at: at + Duration::from_secs(100), processes, slab_mib: 0.0 };
        assert_eq!(after.cpu_percent_since(&before), 1.75);
        assert_eq!(after.pss_mib(), 4.5);
        let table = after.table_since(&before);
        assert!(table.ends_with("| node | 1 | 1.5 | 1.00 |\n| shims | 2 | 3.0 | 0.75 |\n"), "{table}");
    }
}
