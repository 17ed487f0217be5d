//! `apron serve`: from flags to a running platform.

pub(crate) use crate::config::Arguments;

use crate::config;
use crate::supervisor;
use anyhow::{Context, Result};
use std::process::ExitCode;

/// Runs the platform until it is asked to stop. The error is one sentence for the person who started it.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    let settings = config::resolve(&arguments)?;
    if arguments.check {
        return Ok(ExitCode::SUCCESS);
    }
    crate::log::start();
    // The supervisor waits and restarts; one thread does that, and a fork from it is simple.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Only the main thread takes signals, so that it can hold them back.
        .on_thread_start(supervisor::hold_signals)
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(supervisor::run(settings));
    // A blocked task must not keep the process.
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}
