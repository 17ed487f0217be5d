//! Base images of managed runtimes: those that the end-to-end tests have assembled, where there are any. Without them
//! the platform assembles its own at the first build, which takes a minute and Debian's mirror.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

/// Whom the platform gives its content to.
const CONTROL_UID: u32 = 61_900;

/// Puts them into a data directory in which no platform runs yet.
pub(super) fn put(root: &Path, data: &Path) -> Result<()> {
    let cache = root.join("target/test-bases");
    let blobs = data.join("content/blobs/sha256");
    copy(&cache.join("content/blobs/sha256"), &blobs)?;
    copy(&cache.join("bases"), &data.join("node/bases"))?;
    for directory in [data.join("content"), data.join("content/blobs"), blobs] {
        chown(&directory, Some(CONTROL_UID), Some(CONTROL_UID))?;
    }
    Ok(())
}

/// Copies the files of a directory, which may not be there. Not links: the platform changes the owner of what is its own.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let target = to.join(entry.file_name());
            fs::copy(entry.path(), &target).with_context(|| entry.path().display().to_string())?;
            chown(&target, Some(CONTROL_UID), Some(CONTROL_UID))?;
        }
    }
    Ok(())
}
