//! Takes everything of one data directory off the machine: containers, shims, namespaces, mounts, cgroups,
//! interfaces, routes and packet rules. What lies in the content store and the unpacked layers stays.
//!
//! It works from what the kernel and the directory show, not from a node's memory, so that it also cleans up
//! after a node that died at any point. Repeating it is a success.

use crate::local::container::alive;
use crate::local::container::cgroup::{CgroupError, Cgroups};
use crate::local::container::launch::LaunchError;
use crate::local::container::pair::{PairError, Pairs};
use crate::local::machine::{self, cgroup_parent};
use crate::local::network::{self, NetworkError};
use crate::local::node::{self, LockError};
use crate::local::protect::unprotect_self;
use apron_images::tree;
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Mounts below the data directory may hide others; more rounds than this never helped.
const UNMOUNT_ROUNDS_MAX: usize = 16;

/// What could not be removed. The same call again goes on where this one stopped.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    #[error(transparent)]
    Node(#[from] LockError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Pair(#[from] PairError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
}

/// Removes everything but stored data. Refused while a node of this directory lives. Blocking, up to seconds.
pub fn purge(data_dir: &Path) -> Result<(), PurgeError> {
    let node_dir = machine::node_dir(data_dir);
    let file = |path: &Path| {
        let path = path.to_owned();
        move |error| PurgeError::File { path, error }
    };
    let Some(platform) = node::read_id(data_dir).map_err(file(&data_dir.join("id")))? else {
        // Nothing was ever started from here: every name on the host begins with the id.
        return Ok(());
    };
    if !node_dir.is_dir() {
        network::purge(&platform)?;
        leave_platform_cgroup(&platform);
        return Ok(());
    }
    let _lock = node::lock(&node_dir)?;
    let cgroups = Cgroups::detect()?;
    let parent = cgroup_parent(&platform);

    let instances = node_dir.join(machine::INSTANCES);
    for name in names_in(&instances).map_err(file(&instances))? {
        alive::destroy(&instances.join(&name), &format!("{parent}/{name}"))?;
    }
    // What has no directory any more, builds, and the shims.
    for name in cgroups.list(&parent) {
        cgroups.kill_all(&format!("{parent}/{name}"))?;
    }
    cgroups.remove(&parent)?;
    network::purge(&platform)?;
    Pairs::purge(&node_dir.join(machine::PAIRS))?;
    unmount_below(&node_dir).map_err(file(&node_dir))?;
    for gone in [machine::INSTANCES, machine::WANTED, machine::BUILDS] {
        let path = node_dir.join(gone);
        tree::remove(&path).map_err(file(&path))?;
    }
    network::restore_forwarding(&node_dir)?;
    let book = node_dir.join(network::BOOK);
    crate::local::durable::remove(&book).map_err(file(&book))?;
    leave_platform_cgroup(&platform);
    Ok(())
}

/// The caller may be the last process of the platform's cgroup. One that is still in use, by a process of ours that
/// does not end, is no reason to fail: everything else is gone.
fn leave_platform_cgroup(platform: &str) {
    if let Err(error) = unprotect_self(platform) {
        tracing::warn!(%error, "the platform's own cgroup is still in use");
    }
}

fn names_in(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Unmounts, deepest first, what is mounted below `dir` in this mount namespace.
fn unmount_below(dir: &Path) -> io::Result<()> {
    let dir = dir.canonicalize()?;
    for _ in 0..UNMOUNT_ROUNDS_MAX {
        let mounts = mounts_below(&fs::read_to_string("/proc/self/mountinfo")?, &dir);
        if mounts.is_empty() {
            return Ok(());
        }
        for mount in mounts.iter().rev() {
            // One that went with another is gone all the same; the next round sees what is left.
            let _ = umount2(mount, MntFlags::MNT_DETACH);
        }
    }
    Err(io::Error::other("mounts below it cannot be removed"))
}

fn mounts_below(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let target = |line: &str| line.split(' ').nth(4).map(|field| PathBuf::from(unescape(field)));
    mountinfo.lines().filter_map(target).filter(|path| path != dir && path.starts_with(dir)).collect()
}

/// Blanks, tabs, line ends and backslashes stand as octal numbers in mountinfo.
fn unescape(field: &str) -> String {
    let mut text = field.to_owned();
    for (code, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(code, character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mounts_below_only() {
        let table = "22 1 8:1 / / rw - ext4 x rw\n\
                     40 22 0:5 net:[4026] /data/node/pairs/1/net rw - nsfs nsfs rw\n\
                     41 22 8:1 /a /data/node/a\\040b rw - ext4 x rw\n\
                     42 22 8:1 /a /data/nodes rw - ext4 x rw\n\
                     43 22 8:1 /a /data/node rw - ext4 x rw\n";
        let found = mounts_below(table, Path::new("/data/node"));
        assert_eq!(found, [PathBuf::from("/data/node/pairs/1/net"), PathBuf::from("/data/node/a b")]);
    }

    #[test]
    fn a_directory_without_an_id_has_nothing() {
        let dir = std::env::temp_dir().join(format!("apron-purge-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        purge(&dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
