//! What test programs that were killed left on the machine. Directories and cgroups carry the number of the process
//! that made them, `KIND-PID` or `KIND-PID-NUMBER`, below `target/tmp` and as `apron-test-…`.

use apron_compute::local::container::cgroup::Cgroups;
use apron_compute::local::container::pair::Pairs;
use apron_compute::local::purge::purge;
use nix::mount::{MntFlags, umount2};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Removes what predecessors left of this kind of test. Another program of the same kind may do so at the same time.
pub(crate) fn sweep(kind: &str) {
    let prefix = format!("apron-test-{kind}-");
    let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = hierarchies.chain([CGROUPS.into()]).flat_map(|dir| names(&dir));
    let cgroups: BTreeSet<String> = all.filter(|name| is_stale(name, &prefix)).collect();
    for cgroup in cgroups.iter().map(|name| format!("/{name}")) {
        let known = Cgroups::detect().expect("a cgroup hierarchy");
        let _ = known.kill_all(&cgroup).and_then(|()| known.remove(&cgroup));
    }
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let prefix = format!("{kind}-");
    for dir in names(root).iter().filter(|name| is_stale(name, &prefix)).map(|name| root.join(name)) {
        if dir.join("id").exists() {
            let _ = purge(&dir);
        }
        let _ = Pairs::purge(&dir.join("pairs"));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().rev().filter_map(|mount| mount.split(' ').nth(1)).map(Path::new);
        for point in points.filter(|point| point.starts_with(&dir)) {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(&dir);
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Made by a process that is gone.
fn is_stale(name: &str, prefix: &str) -> bool {
    let pid = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next()?.parse::<i32>().ok());
    pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}
