//! A file system of a test's own.

use super::platform::{new_directory, remove};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mount in a directory of its own; both are gone at the end.
pub struct Mounted(PathBuf);

impl Mounted {
    /// By `mount` with these arguments.
    pub fn new(arguments: &[&str]) -> Mounted {
        let point = new_directory().join("mounted");
        fs::create_dir_all(&point).expect("a mount point");
        let mounted = Mounted(point);
        let status = Command::new("mount").args(arguments).arg(mounted.path()).status().expect("mount");
        assert!(status.success(), "mount {arguments:?}");
        mounted
    }

    /// A disk of a fixed size.
    pub fn disk(mib: u64) -> Mounted {
        Mounted::new(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        remove(self.0.parent().expect("a directory of its own"));
    }
}
