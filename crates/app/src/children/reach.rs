//! A way to the data directory for users that may not search its parents.
//!
//! A checkout below /root is the first place where someone tries Apron, and /root is closed to every other
//! user. Such a child gets a mount namespace of its own in which the closed parent is covered by an empty file
//! system that holds nothing but the data directory, under the same path as everywhere else.

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, DirBuilder, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Makes `data_dir` reachable for `uid`. Does nothing when it is. Called by root while this is the only thread.
pub(crate) fn ensure(data_dir: &Path, uid: u32) -> Result<()> {
    let Some(closed) = closed_parent(data_dir, uid)? else { return Ok(()) };
    let context = || format!("cannot open a way to {} for user {uid}", data_dir.display());
    unshare(CloneFlags::CLONE_NEWNS).with_context(context)?;
    // Opened in the new namespace: a mount of the old one could not be bound here.
    let data = File::open(data_dir).with_context(context)?;
    // What is mounted elsewhere later still arrives here, nothing of this reaches the host.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
        .with_context(context)?;
    // Copies of the node's mounts would keep namespaces alive that it has let go.
    for point in mounts_below(data_dir).with_context(context)? {
        umount2(&point, MntFlags::MNT_DETACH).with_context(context)?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), &closed, Some("tmpfs"), flags, Some("mode=755,size=64k")).with_context(context)?;
    DirBuilder::new().recursive(true).mode(0o755).create(data_dir).with_context(context)?;
    let source = format!("/proc/self/fd/{}", data.as_raw_fd());
    mount(Some(source.as_str()), data_dir, None::<&str>, MsFlags::MS_BIND, None::<&str>).with_context(context)
}

/// The topmost parent that the user may not search.
fn closed_parent(data_dir: &Path, uid: u32) -> Result<Option<PathBuf>> {
    let mut parents: Vec<&Path> = data_dir.ancestors().skip(1).collect();
    parents.reverse();
    for parent in parents {
        let metadata =
            fs::metadata(parent).with_context(|| format!("cannot look at {}", parent.display()))?;
        let needed = match (metadata.uid() == uid, metadata.gid() == uid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        if metadata.mode() & needed == 0 {
            return Ok(Some(parent.to_owned()));
        }
    }
    Ok(None)
}

/// Mount points strictly below a directory, deepest first.
fn mounts_below(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|row| row.split(' ').nth(4))
        .map(|point| PathBuf::from(unescaped(point)))
        .filter(|point| point.starts_with(dir) && point != dir)
        .collect();
    points.sort();
    points.reverse();
    Ok(points)
}

/// The kernel writes blanks, tabs, newlines and backslashes of paths in octal.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::scratch::Scratch;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_topmost_closed_parent_is_found() {
        let scratch = Scratch::new();
        let data = scratch.path().join("home/project/data");
        fs::create_dir_all(&data).unwrap();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        assert_eq!(closed_parent(&data, 61_900).unwrap(), None);
        for closed in ["home/project", "home"] {
            let closed = scratch.path().join(closed);
            fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
            assert_eq!(closed_parent(&data, 61_900).unwrap(), Some(closed));
        }
        assert_eq!(closed_parent(&data, 0).unwrap(), None);
    }

    #[test]
    fn mount_points_with_blanks_are_read() {
        assert_eq!(unescaped("/a\\040b\\134c"), "/a b\\c");
        assert!(mounts_below(Path::new("/")).unwrap().contains(&PathBuf::from("/proc")));
    }
}
