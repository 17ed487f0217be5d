//! What the machine must offer, checked before anything is changed, each with one sentence that says what to do.

use apron_compute::local::container::cgroup::Cgroups;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use std::fs;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub(super) enum PreflightError {
    #[error("apron serve must run as root: it makes namespaces, mounts and cgroups for instances")]
    NotRoot,
    #[error("this kernel has no overlayfs, which instances need ({0}); load the module 'overlay'")]
    NoOverlay(String),
    #[error(
        "instances cannot be kept in {dir}: overlayfs refuses its file system ({reason}); choose another --data-dir"
    )]
    NoUpper { dir: String, reason: String },
    #[error("no usable cgroup hierarchy, which limits instances: {0}")]
    NoCgroup(String),
}

/// Checks that need no data directory.
pub(super) fn machine() -> Result<(), PreflightError> {
    if !geteuid().is_root() {
        return Err(PreflightError::NotRoot);
    }
    Cgroups::detect().map(|_| ()).map_err(|e| PreflightError::NoCgroup(e.to_string()))
}

/// Mounts an overlay in the data directory the way an instance's is mounted, and takes it away again.
pub(super) fn overlay(node_dir: &Path) -> Result<(), PreflightError> {
    let dir = node_dir.join("preflight");
    // A thread of its own has a mount namespace of its own, so that nothing can stay behind on the host.
    let tried = std::thread::scope(|scope| scope.spawn(|| try_overlay(&dir)).join());
    let tried = tried.unwrap_or_else(|_| Err("the check failed".into()));
    let _ = fs::remove_dir_all(&dir);
    tried.map_err(|reason| match known_file_system("overlay") {
        true => PreflightError::NoUpper { dir: node_dir.display().to_string(), reason },
        false => PreflightError::NoOverlay(reason),
    })
}

fn try_overlay(dir: &Path) -> Result<(), String> {
    let text = |e: nix::errno::Errno| e.desc().to_owned();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir_all(dir.join(name)).map_err(|e| e.to_string())?;
    }
    unshare(CloneFlags::CLONE_NEWNS).map_err(text)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>)
        .map_err(text)?;
    // Relative names keep characters of the path out of the option syntax. With its mount namespace the thread
    // got a working directory of its own.
    nix::unistd::chdir(dir).map_err(text)?;
    let options = "lowerdir=lower,upperdir=upper,workdir=work";
    mount(Some("overlay"), "merged", Some("overlay"), MsFlags::empty(), Some(options)).map_err(text)?;
    umount2("merged", MntFlags::MNT_DETACH).map_err(text)
}

fn known_file_system(name: &str) -> bool {
    fs::read_to_string("/proc/filesystems")
        .is_ok_and(|table| table.lines().any(|row| row.split_ascii_whitespace().last() == Some(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::scratch::Scratch;

    /// Needs root and a machine that can run instances.
    #[test]
    fn this_machine_will_do_and_nothing_stays_mounted() {
        machine().unwrap();
        let scratch = Scratch::new();
        overlay(scratch.path()).unwrap();
        assert!(!scratch.path().join("preflight").exists());
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(scratch.path().to_str().unwrap()));
    }

    #[test]
    fn a_file_system_that_cannot_be_an_upper_is_named() {
        // procfs takes no directories at all.
        let error = overlay(Path::new("/proc/self")).unwrap_err();
        assert!(matches!(error, PreflightError::NoUpper { .. }), "{error}");
    }
}
