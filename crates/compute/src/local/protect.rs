//! Keeps the platform's own processes alive and quick beside busy containers.

use super::cgroup::{CgroupError, Cgroups};
use super::machine::cgroup_parent;
use std::io;

/// CPU shares as cgroup v1 counts them; an ordinary cgroup has 1,024. With every core busy the platform still
/// gets eight parts to one container's one.
const CPU_SHARES: u32 = 8 * 1024;
/// Killed for memory only after nearly everything else; -1000 would mean never, even when we are the leak.
const OOM_SCORE_ADJ: i32 = -900;

/// Why the platform's processes are not protected.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("cannot set oom_score_adj to {OOM_SCORE_ADJ}: {0} (it takes CAP_SYS_RESOURCE)")]
    OutOfMemoryScore(#[source] io::Error),
}

/// The cgroup of a platform's own processes. It is not below the one of its containers.
pub fn platform_cgroup(platform: &str) -> String {
    format!("/apron-platform-{platform}")
}

/// Moves the calling process into the platform's cgroup, with a high CPU weight, and makes it one of the last
/// to be killed for memory. Children inherit both; the start of a container takes them off again. Needs
/// root. The CPU weight is in place even when the error is about memory; a platform that cannot be protected
/// works all the same, so the caller warns and goes on.
pub fn protect_self(platform: &str) -> Result<(), ProtectError> {
    let cgroups = Cgroups::detect()?;
    let cgroup = platform_cgroup(platform);
    // Before the weight: it keeps a service manager from taking that away.
    cgroups.prepare(&cgroup_parent(platform))?;
    cgroups.set_cpu_weight(&cgroup, CPU_SHARES)?;
    cgroups.join(&cgroup, std::process::id() as i32)?;
    // Last, because it is what a host may refuse while the rest works.
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ.to_string())
        .map_err(ProtectError::OutOfMemoryScore)
}
