//! Standard error as a log that is rather lost than waited for: decision 4.
//!
//! A reader may be slow, stopped (Ctrl-S in a terminal) or gone. Neither the supervisor, which restarts what dies,
//! nor a child may depend on it.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Write};
use std::os::fd::AsFd;

/// Of this much a pipe takes all or nothing without waiting, once it says that it is writable (PIPE_BUF).
pub(crate) const LINE_BYTES_MAX: usize = 4096;

/// A line for whoever started us.
pub(crate) fn say(line: &str) {
    write_or_lose(format!("{line}\n").as_bytes());
}

/// Sends log lines to standard error, which is a pipe of the supervisor's in its children.
pub(crate) fn start() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Lossy)
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false)
        .init();
}

struct Lossy;

impl Write for Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_or_lose(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one line with one call, cut where a longer one could block.
fn write_or_lose(line: &[u8]) {
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if !matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1)) {
        return;
    }
    let mut bytes = &line[..line.len().min(LINE_BYTES_MAX)];
    let cut;
    if bytes.len() < line.len() {
        cut = [&bytes[..LINE_BYTES_MAX - 1], b"\n"].concat();
        bytes = &cut;
    }
    // Not by std's writer, which repeats a partial write and so would wait after all.
    let _ = nix::unistd::write(stderr.as_fd(), bytes);
}
