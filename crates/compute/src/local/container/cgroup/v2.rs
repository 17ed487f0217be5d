//! What only version 2 of control groups needs: controllers are handed on level by level, a cgroup that does so
//! holds no processes, and the kernel enforces a new memory limit by killing.

use super::{CgroupError, REQUIRED, io_error, is_busy, make_directory, read, read_number, write};
use std::io;
use std::path::Path;

/// Where the processes of a container's own root go before that root may have controllers, as other tools that
/// run containers in containers name it.
pub(super) const ROOT_LEAF: &str = "init";
/// Processes that are born while others are moved need another round; more rounds mean a fork bomb.
const ROOT_ROUNDS_MAX: usize = 100;
/// What every cgroup has as its share of the CPU in version 1 and as its weight in version 2.
const CPU_SHARES_DEFAULT: u64 = 1024;
const CPU_WEIGHT_DEFAULT: u64 = 100;

/// Makes each directory on the way and lets the next level use the controllers.
pub(super) fn make(root: &Path, path: &str) -> Result<(), CgroupError> {
    let mut at = root.to_path_buf();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        match enable_controllers(&at) {
            Err(CgroupError::Io { source, .. }) if at == root && is_busy(&source) => {
                empty_root(root)?;
                enable_controllers(root)
            }
            other => other,
        }
        .map_err(|error| match error {
            CgroupError::Io { path, source, .. } => CgroupError::Unusable(format!(
                "controllers cannot be enabled in {}: {source}",
                path.display()
            )),
            other => other,
        })?;
        at.push(part);
        make_directory(&at)?;
    }
    Ok(())
}

/// Hands the controllers that limits need on to the cgroups right below. All in one write: a cgroup with
/// processes lets the CPU alone be handed on, becomes one for threads thereby, and never takes the others.
pub(super) fn enable_controllers(at: &Path) -> Result<(), CgroupError> {
    let file = at.join("cgroup.subtree_control");
    let enabled = read(&file)?;
    let missing =
        REQUIRED.iter().filter(|required| !enabled.split_whitespace().any(|name| name == **required));
    let missing: Vec<String> = missing.map(|controller| format!("+{controller}")).collect();
    if missing.is_empty() { Ok(()) } else { write(&file, &missing.join(" ")) }
}

/// A cgroup with processes cannot hand controllers on, unless it is the machine's own root. What looks like the
/// root within a container is none, so its processes move one level down.
fn empty_root(root: &Path) -> Result<(), CgroupError> {
    let leaf = root.join(ROOT_LEAF);
    make_directory(&leaf)?;
    for _ in 0..ROOT_ROUNDS_MAX {
        let pids = read(&root.join("cgroup.procs"))?;
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids.lines() {
            match write(&leaf.join("cgroup.procs"), pid) {
                // It ended meanwhile.
                Err(CgroupError::Io { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {}
                other => other?,
            }
        }
    }
    let path = root.join("cgroup.procs");
    Err(CgroupError::Unusable(format!("{} does not get empty", path.display())))
}

/// The same part of a busy CPU, in version 2's unit.
pub(super) fn weight_of(shares: u64) -> u64 {
    (shares * CPU_WEIGHT_DEFAULT / CPU_SHARES_DEFAULT).clamp(1, 10_000)
}

/// What the cgroup has in memory and in swap.
pub(super) fn used(at: &Path) -> Result<u64, CgroupError> {
    // A kernel that does not count swap has no such file.
    let in_swap = read_number(&at.join("memory.swap.current")).unwrap_or(0);
    Ok(read_number(&at.join("memory.current"))?.saturating_add(in_swap))
}

/// The kernel would kill what is above a new limit; version 1 refuses such a limit, and so do we. What is in swap comes back.
pub(super) fn set_memory(at: &Path, bytes: u64) -> Result<(), CgroupError> {
    let used = || used(at);
    // One that has never had a limit says so by a word.
    let lowers = read_number(&at.join("memory.max")).is_ok_and(|present| bytes < present);
    let above = used()?.saturating_sub(bytes);
    if lowers && above > 0 {
        // Missing before Linux 5.19, and an error when less was freed than asked; what counts is what is left.
        let _ = write(&at.join("memory.reclaim"), &above.to_string());
        if used()? > bytes {
            return Err(io_error("lower", &at.join("memory.max"), io::ErrorKind::ResourceBusy.into()));
        }
    }
    write(&at.join("memory.max"), &bytes.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_the_same_part_as_shares() {
        assert_eq!([1024, 8192, 2, 262_144].map(weight_of), [100, 800, 1, 10_000]);
    }
}
