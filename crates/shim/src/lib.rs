//! The parent process of one container.
//!
//! It exists so that an application outlives everything above it: the shim holds the read end of the
//! application's output and is the process that can wait for its exit, so node, control and proxy may come
//! and go. There is one per instance, hence no standard library, no heap and no C library: a few pages.
//!
//! **Start.** `apron launch` creates the container, then execve's into the shim without a change of pid, so the
//! container's init is already its child. Descriptors are fixed (`fd`), the rest are `key=value` arguments
//! (`run::Arguments`). Signals that a terminal, a service manager or a closed pipe send are ignored by then.
//!
//! **Interface.** Files in the instance's directory; both formats only grow, because a newer node reads what an
//! older shim writes.
//!
//! - `state.json`, replaced as a whole by a rename: `{version, shim_pid, shim_start_time, pid, start_time,
//!   started_at_ms, exit: null | {code, signal, at_ms}, out_of_memory}`. Start times are field 22 of
//!   `/proc/PID/stat` and tell a process from a later one with the same pid. Its blocks are reserved when the
//!   shim starts, so that an exit can be recorded on a full disk.
//! - `output-<20 digits>`, at most two segments of `log::SEGMENT_BYTES_MAX`; the digits are the offset of the
//!   segment's first byte in everything that was ever written for this instance, so offsets grow over rotation
//!   and over restarts. One record a line: `<milliseconds since 1970> <kind> <text>\n`, where kind is `|` for a
//!   line, `+` for a piece of a line that goes on in the next record, and `!` for a note of the shim's own.
//!
//! When the container has ended the shim writes what is left of the output, then the exit, and ends itself.

#![cfg_attr(not(test), no_std)]

pub mod log;
pub mod run;
pub mod state;
pub mod sys;
pub mod text;

/// Descriptors that are open when the shim starts.
pub mod fd {
    /// The instance's directory.
    pub const DIRECTORY: i32 = 3;
    /// Read end of the application's standard output and error; non-blocking.
    pub const OUTPUT: i32 = 4;
    /// Pipe to whoever launched: `started\n`, or `failed <errno> <what>\n`, then closed.
    pub const STATUS: i32 = 5;
    /// The cgroup file that counts `oom_kill`: `memory.events` or, in version 1, `memory.oom_control`.
    pub const OUT_OF_MEMORY: i32 = 6;
}
