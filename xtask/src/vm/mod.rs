//! `cargo xtask vm`: the platform on a machine that has nothing but cgroup version 2 and systemd.
//!
//! A developer's machine or a CI container may well have version 1; the code for version 2 would then never run.
//! An emulated machine needs no rights of its host but root, which assembles its file system. What is tested
//! stands in `guest/run.sh`; this module builds what that needs, boots, and believes its last line.

mod base;
mod machine;
mod payload;

use crate::program::quiet;
use anyhow::{Result, bail};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 4] = [
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("timeout", "coreutils"),
];

/// Builds, boots, and fails unless the test within the machine passed. Needs root. One run at a time: a second
/// one waits.
pub(crate) fn run(root: &Path) -> Result<()> {
    for (program, package) in PROGRAMS {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            bail!("{program} is missing; it is in the Debian package {package}");
        }
    }
    let dir = root.join("target/vm");
    fs::create_dir_all(&dir)?;
    let lock = File::create(dir.join("lock"))?;
    lock.lock()?;
    let base = base::cached(&dir)?;
    let payload = payload::pack(root, &dir)?;
    machine::boot(&base, &payload)
}

/// Makes an ext4 file system in the file `image` out of a directory.
fn make_disk(directory: &Path, image: &Path, mib: u64) -> Result<()> {
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-d"]).arg(directory).arg(image).arg(format!("{mib}M"));
    quiet(&mut command)
}

/// Removes a directory, which may be there.
fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
