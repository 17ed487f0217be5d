//! Keeps the platform's own processes alive and quick beside busy containers.

use crate::local::container::ahead;
use crate::local::container::cgroup::{CgroupError, Cgroups};
use crate::local::machine::{cgroup_parent, shim_cgroup};
use std::io;
use std::time::Duration;

/// CPU shares as cgroup v1 counts them; an ordinary cgroup has 1,024. With every core busy the platform still
/// gets eight parts to one container's one.
const CPU_SHARES: u32 = 8 * 1024;
/// Killed for memory only after nearly everything else; -1000 would mean never, even when we are the leak.
const OOM_SCORE_ADJ: i32 = -900;
/// How often it is looked whether shims wait that nobody will take, and the pause between two looks.
const SHIMS_LOOKS: usize = 50;
const SHIMS_PAUSE: Duration = Duration::from_millis(10);

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

/// Takes back what `protect_self` made on the host: the calling process goes to the root cgroup, and the
/// platform's cgroup goes when it is the last in it, with the containers' one when there are none. Whoever called
/// `protect_self` first calls this last, also when it could not start. A process of the platform that is about to
/// end is waited for, 2 s at most; one that serves on keeps the cgroup. Blocking.
pub fn unprotect_self(platform: &str) -> Result<(), ProtectError> {
    let cgroups = Cgroups::detect()?;
    let own = platform_cgroup(platform);
    let pid = std::process::id() as i32;
    if cgroups.pids(&own)?.contains(&pid) {
        cgroups.join("/", pid)?;
    }
    // Shims are made before there is an instance. Those that wait end by themselves when their node has ended.
    let shims = shim_cgroup(platform);
    for _ in 0..SHIMS_LOOKS {
        if !cgroups.pids(&shims).unwrap_or_default().into_iter().any(ahead::waits) {
            break;
        }
        std::thread::sleep(SHIMS_PAUSE);
    }
    cgroups.remove_if_empty(&shims);
    cgroups.remove_if_empty(&cgroup_parent(platform));
    Ok(cgroups.remove(&own)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root. In a process of its own, because the test's own is everybody's.
    #[test]
    fn nothing_is_left_of_a_platform_that_did_not_start() {
        let platform = format!("{:08x}", std::process::id().wrapping_mul(2_654_435_769));
        // SAFETY: the child makes what the test asks for and ends without destructors; another thread's lock on the
        // allocator is handled by the C library's fork.
        match unsafe { libc::fork() } {
            0 => {
                let done = std::panic::catch_unwind(|| {
                    let protected = match protect_self(&platform) {
                        Ok(()) | Err(ProtectError::OutOfMemoryScore(_)) => Cgroups::detect()
                            .is_ok_and(|c| c.pids(&platform_cgroup(&platform)).unwrap().len() == 1),
                        Err(ProtectError::Cgroup(_)) => false,
                    };
                    let shims = Cgroups::detect().and_then(|c| c.prepare(&shim_cgroup(&platform)));
                    let protected = protected && shims.is_ok();
                    unprotect_self(&platform).is_ok() && unprotect_self(&platform).is_ok() && protected
                });
                // SAFETY: ends this process.
                unsafe { libc::_exit(if done.is_ok_and(|done| done) { 0 } else { 1 }) }
            }
            pid => {
                let mut status = 0;
                // SAFETY: the status is ours.
                assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
                let cgroups = Cgroups::detect().unwrap();
                let left = cgroups.list("/").into_iter().filter(|name| name.contains(&platform));
                assert_eq!(left.collect::<Vec<_>>(), Vec::<String>::new());
                assert_eq!(status, 0);
            }
        }
    }
}
