//! What a frozen cgroup has in memory goes to swap, where the machine has some. Version 2 only: version 1 has no way to ask for
//! it, and counts swap with memory under one limit.

use super::{CgroupError, Cgroups, Layout, below, read_number, write};
use std::fs;
use std::io;

/// Asked for at a time. Between two of them it is seen whether somebody has thawed it: a page that has just gone is a page that
/// has to be fetched.
const STEP_BYTES: u64 = 4 << 20;

impl Cgroups {
    /// Whether memory can be given back before the kernel needs it: the kernel is asked by cgroup (Linux 5.19).
    pub fn swaps_out(&self) -> bool {
        matches!(self.layout, Layout::V2 { .. })
    }

    /// Puts what the cgroup has in memory into swap, while it is frozen. Without room in swap nothing is done: then only caches
    /// of files could go, which the kernel takes by itself when it needs them. It goes on with what is left in memory, and what
    /// it touches is fetched; from then on it may use no swap, as before.
    pub fn swap_out(&self, path: &str) -> Result<(), CgroupError> {
        let Layout::V2 { root } = &self.layout else { return Ok(()) };
        if !has_swap(&fs::read_to_string("/proc/meminfo").unwrap_or_default()) {
            return Ok(());
        }
        let at = below(root, path);
        let limit = at.join("memory.swap.max");
        write(&limit, "max")?;
        let done = (|| {
            let steps = read_number(&at.join("memory.current"))? / STEP_BYTES + 1;
            for _ in 0..steps {
                if !self.is_freezing(path) {
                    break;
                }
                match reclaim(&at.join("memory.reclaim")) {
                    // Less than asked for, or nothing, was left to take.
                    Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                        break;
                    }
                    other => other?,
                }
            }
            Ok(())
        })();
        // What is there stays there.
        write(&limit, "0").and(done)
    }
}

/// Rather what the application wrote than its program, which would be read from a disk. Linux before 6.9 does not take that
/// wish.
fn reclaim(file: &std::path::Path) -> Result<(), CgroupError> {
    match write(file, &format!("{STEP_BYTES} swappiness=200")) {
        Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidInput => {
            write(file, &STEP_BYTES.to_string())
        }
        other => other,
    }
}

fn has_swap(meminfo: &str) -> bool {
    let free = meminfo.lines().find_map(|line| line.strip_prefix("SwapFree:"));
    free.and_then(|kib| kib.split_whitespace().next()?.parse().ok()).is_some_and(|kib: u64| kib > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_there_when_some_is_free() {
        assert!(has_swap("MemFree: 1 kB\nSwapTotal:  8 kB\nSwapFree:         4 kB\n"));
        assert!(!has_swap("SwapTotal:  8 kB\nSwapFree:         0 kB\n"));
        assert!(!has_swap(""));
    }
}
