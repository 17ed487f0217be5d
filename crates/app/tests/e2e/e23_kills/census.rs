//! What the kernel holds of one platform, whatever the platform itself believes.

use crate::support::Platform;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// How many of each there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Census {
    shims: usize,
    /// Processes in the cgroups of instances and builds.
    applications: usize,
    cgroups: usize,
    interfaces: usize,
    /// Namespaces that are held by a mount: two for each instance, and those that are kept ready.
    namespaces: usize,
    /// Other mounts in the data directory.
    mounts: usize,
    /// Processes that name the data directory and are in no cgroup of an instance.
    others: usize,
}

impl Census {
    pub(super) fn take(platform: &Platform) -> Census {
        let (id, data) = (platform.id(), platform.data.to_string_lossy().into_owned());
        let (mut shims, mut inside, mut cgroups) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for hierarchy in hierarchies() {
            let parent = hierarchy.join(format!("apron-{id}"));
            for name in directories(&parent) {
                let processes = processes(&parent.join(&name));
                if name == "shims" {
                    shims.extend(processes);
                } else {
                    inside.extend(processes);
                    cgroups.insert(name);
                }
            }
        }
        let interfaces = directories(Path::new("/sys/class/net"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the kernel's mounts");
        let (namespaces, mounts): (Vec<&str>, Vec<&str>) =
            mounts.lines().filter(|line| line.contains(&data)).partition(|line| line.contains(" - nsfs "));
        let is_other = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&data)
        };
        let all = directories(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok());
        let others = all.filter(|pid| !shims.contains(pid) && !inside.contains(pid)).filter(is_other);
        Census {
            others: others.count(),
            // A hierarchy that limits nothing knows no cgroups of instances: their processes stay where they began.
            shims: shims.difference(&inside).count(),
            applications: inside.len(),
            cgroups: cgroups.len(),
            interfaces: interfaces.iter().filter(|name| name.contains(&id)).count(),
            namespaces: namespaces.len(),
            mounts: mounts.len(),
        }
    }

    /// What there must be with so many more instances, each of one process.
    pub(super) fn with(self, instances: usize) -> Census {
        Census {
            shims: self.shims + instances,
            applications: self.applications + instances,
            cgroups: self.cgroups + instances,
            interfaces: self.interfaces + instances,
            namespaces: self.namespaces + 2 * instances,
            mounts: self.mounts,
            others: self.others,
        }
    }
}

fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the kernel's mounts");
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let cgroups = fields.filter(|fields| fields.get(2).is_some_and(|kind| kind.starts_with("cgroup")));
    cgroups.map(|fields| PathBuf::from(fields[1])).collect()
}

/// Names of the directories there, and of links to such.
fn directories(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// In this cgroup and those below it.
fn processes(cgroup: &Path) -> Vec<i32> {
    let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    found.extend(directories(cgroup).iter().flat_map(|name| processes(&cgroup.join(name))));
    found
}
