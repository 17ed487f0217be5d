//! The second disk: the programs under test and the script that tests them.

use super::{make_disk, remove};
use crate::program::{self, quiet};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Beside what the files themselves take.
const SPARE_MIB: u64 = 32;

/// Builds everything and packs the disk.
pub(super) fn pack(root: &Path, dir: &Path) -> Result<PathBuf> {
    let payload = dir.join("payload");
    remove(&payload)?;
    fs::create_dir_all(&payload)?;
    let apron = program::build(root, "apron")?;
    let tests = program::build_unit_tests(root, "apron_compute")?;
    let make_image = program::build(root, "make-image")?;
    application(root, dir, &make_image, &payload.join("application.tar"))?;
    fs::copy(apron, payload.join("apron"))?;
    fs::copy(tests, payload.join("compute-tests"))?;
    fs::copy(root.join("docs/apron.service"), payload.join("apron.service"))?;
    fs::copy(root.join("xtask/src/vm/guest/run.sh"), payload.join("run.sh"))?;

    let mut bytes = 0;
    for entry in fs::read_dir(&payload)? {
        bytes += entry?.metadata()?.len();
    }
    let disk = dir.join("payload.ext4");
    let _ = fs::remove_file(&disk);
    // A quarter more, for the file system's own tables.
    make_disk(&payload, &disk, bytes * 5 / 4 / 1024 / 1024 + SPARE_MIB)?;
    remove(&payload)?;
    Ok(disk)
}

/// The image that is deployed: one static program.
fn application(root: &Path, dir: &Path, make_image: &Path, archive: &Path) -> Result<()> {
    let program = dir.join("application");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-C", "opt-level=2", "-C", "panic=abort", "-C", "strip=symbols"]);
    rustc.args(["-C", "target-feature=+crt-static", "-o"]).arg(&program);
    quiet(rustc.arg(root.join("xtask/src/vm/guest/application.rs")))?;
    quiet(Command::new(make_image).arg(&program).arg("vm-application:latest").arg(archive))
}
