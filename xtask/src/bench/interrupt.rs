//! Ctrl-C during a bench: what it made is taken away, as at a regular end.
//!
//! A signal that ended this process at once would leave directories, and platforms with all that they made on the
//! machine. So it only sets a mark: the next step of the bench fails on it, and everything is removed on the way
//! out. What runs in our process group gets the same Ctrl-C and does not hold the bench up. A platform has a group
//! of its own: it is stopped once, and in order.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn mark(_signal: i32) {
    INTERRUPTED.store(true, Ordering::SeqCst);
}

/// From now on, for the whole process. Programs that are started have the usual reaction to signals: a handler,
/// unlike a blocked signal, ends with exec.
pub(super) fn watch() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(mark), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does nothing but store to an atomic.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("cannot catch {signal}"))?;
    }
    Ok(())
}

/// # Errors
/// After a signal: nothing more is to be begun.
pub(super) fn check() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::SeqCst), "interrupted");
    Ok(())
}
