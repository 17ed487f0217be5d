//! Ctrl-C during a bench: what it made is taken away, as at a regular end.
//!
//! A signal that ended this process at once would leave directories, and platforms with all that they made on the
//! machine. So it only sets a mark: the next step of the bench fails on it, and everything is removed on the way
//! out. What runs in our process group gets the same Ctrl-C and does not hold the bench up; other signals are for
//! us alone and are passed on. A platform has a group of its own: it is stopped once, and in order.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getpgid};
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on, for the whole process and for good. Children are started with no signal blocked. Call it before
/// there is another thread.
pub(super) fn watch() -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().context("cannot block signals")?;
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            if signal != Signal::SIGINT {
                for pid in children().filter(|pid| getpgid(Some(*pid)) == getpgid(None)) {
                    let _ = kill(pid, Signal::SIGTERM);
                }
            }
        }
    });
    Ok(())
}

/// # Errors
/// After a signal: nothing more is to be begun.
pub(super) fn check() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::SeqCst), "interrupted");
    Ok(())
}

fn children() -> impl Iterator<Item = Pid> {
    // Only the main thread starts programs.
    let own = std::process::id();
    let list = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
    let pids: Vec<i32> = list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    pids.into_iter().map(Pid::from_raw)
}
