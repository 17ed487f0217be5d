//! What a frozen cgroup has in memory goes to swap, where the machine has some. Version 2 only: version 1 has no way to ask for
//! it, and counts swap with memory under one limit.

use super::{CgroupError, Cgroups, Layout, below, read_number, v2, write};
use crate::local::kernel::memory_kib;
use std::io;
use std::path::Path;

/// Asked for at a time. Between two of them it is seen whether somebody has thawed it: a page that has just gone is a page that
/// has to be fetched.
const STEP_BYTES: u64 = 4 << 20;

impl Cgroups {
    /// Whether memory can be given back before the kernel needs it: the kernel is asked by cgroup (Linux 5.19).
    pub fn swaps_out(&self) -> bool {
        matches!(self.layout, Layout::V2 { .. })
    }

    /// Puts what the cgroup has in memory into swap, while it is frozen and `goes_on` says so. Without room in swap nothing is
    /// done: then only caches of files could go, which the kernel takes by itself when it needs them. It goes on with what is
    /// left in memory, and what it touches is fetched; from then on it may use no swap, as before.
    ///
    /// In swap it may have as much as in memory. One that has used more of both than its limit of memory keeps what it has.
    ///
    /// # Errors
    /// A file of the cgroup, which may have gone.
    pub fn swap_out(&self, path: &str, goes_on: impl Fn() -> bool) -> Result<(), CgroupError> {
        let Layout::V2 { root } = &self.layout else { return Ok(()) };
        let at = below(root, path);
        let (used, most) = (v2::used(&at)?, read_number(&at.join("memory.max"))?);
        if used > most || memory_kib("SwapFree").unwrap_or(0) == 0 {
            return Ok(());
        }
        let limit = at.join("memory.swap.max");
        write(&limit, &most.to_string())?;
        let mut last = Ok(true);
        for _ in 0..used / STEP_BYTES + 1 {
            if !matches!(last, Ok(true)) || !goes_on() || !self.is_freezing(path) {
                break;
            }
            last = reclaim(&at.join("memory.reclaim"));
        }
        // What is there stays there.
        write(&limit, "0").and(last.map(drop))
    }
}

/// One step. False: less than asked for, or nothing, was left to take.
///
/// Rather what the application wrote than its program, which would be read from a disk. Linux before 6.9 does not take that
/// wish.
fn reclaim(file: &Path) -> Result<bool, CgroupError> {
    let kind = |error: &CgroupError| match error {
        CgroupError::Io { source, .. } => Some(source.kind()),
        _ => None,
    };
    let mut done = write(file, &format!("{STEP_BYTES} swappiness=200"));
    if done.as_ref().is_err_and(|error| kind(error) == Some(io::ErrorKind::InvalidInput)) {
        done = write(file, &STEP_BYTES.to_string());
    }
    match done {
        Err(error) if kind(&error) == Some(io::ErrorKind::WouldBlock) => Ok(false),
        other => other.map(|()| true),
    }
}
