//! What the bench asks of the machine: threads on one core, and enough open files.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use std::thread::{Builder, JoinHandle};

/// Keeps the calling thread on one core.
fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    // 0 is the calling thread, not its process.
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on core {cpu}"))
}

/// A thread on one core.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    cpu: usize,
    body: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<JoinHandle<Result<T>>> {
    let pinned = move || {
        pin(cpu)?;
        body()
    };
    Ok(Builder::new().name(name.to_owned()).spawn(pinned)?)
}

/// The thread's result. One that panicked has said so on stderr.
pub(super) fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread of the bench panicked")))
}

/// As many open files as this process may have; what it starts inherits the limit.
pub(super) fn raise_open_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit of open files")
}
