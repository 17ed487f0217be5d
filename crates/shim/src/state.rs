//! `state.json`: what of the container is known, for whoever comes later.

use crate::sys::{self, Path};
use crate::text::Text;

/// Version of the format; a reader accepts any and ignores members that it does not know.
pub const VERSION: u64 = 1;
/// Every text is filled with spaces to this size, so that the exit overwrites reserved blocks.
pub const FILE_BYTES: usize = 512;

const NAME: &[u8] = b"state.json\0";
const NEXT: &[u8] = b"state.json.next\0";

/// A container that runs, or has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub shim_pid: i32,
    pub shim_start_time: u64,
    /// The container's init, in the host's pid namespace.
    pub pid: i32,
    pub start_time: u64,
    pub started_at_ms: u64,
    pub exit: Option<Exit>,
    /// The kernel killed a process of this container for its memory limit.
    pub out_of_memory: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub at_ms: u64,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Code(u8),
    Signal(u8),
}

impl End {
    /// From a status as wait4 gives it for a process that has ended.
    pub fn from_wait_status(status: i32) -> End {
        let signal = (status & 0x7f) as u8;
        if signal == 0 { End::Code((status >> 8) as u8) } else { End::Signal(signal) }
    }
}

impl State {
    pub fn json(&self) -> Text<FILE_BYTES> {
        let mut text = Text::new();
        text.push(b"{\"version\":").push_number(VERSION);
        text.push(b",\"shim_pid\":").push_number(self.shim_pid as u64);
        text.push(b",\"shim_start_time\":").push_number(self.shim_start_time);
        text.push(b",\"pid\":").push_number(self.pid as u64);
        text.push(b",\"start_time\":").push_number(self.start_time);
        text.push(b",\"started_at_ms\":").push_number(self.started_at_ms);
        match self.exit {
            None => text.push(b",\"exit\":null"),
            Some(Exit { at_ms, end: End::Code(code) }) => text
                .push(b",\"exit\":{\"code\":")
                .push_number(code.into())
                .push(b",\"signal\":null,\"at_ms\":")
                .push_number(at_ms)
                .push(b"}"),
            Some(Exit { at_ms, end: End::Signal(signal) }) => text
                .push(b",\"exit\":{\"code\":null,\"signal\":")
                .push_number(signal.into())
                .push(b",\"at_ms\":")
                .push_number(at_ms)
                .push(b"}"),
        };
        text.push(b",\"out_of_memory\":").push(if self.out_of_memory { b"true" } else { b"false" });
        text.push(b"}").pad_to(FILE_BYTES - 1).push(b"\n");
        text
    }
}

/// The file with the blocks for its next text, open.
pub struct StateFile {
    directory: i32,
    next: i32,
}

impl StateFile {
    /// Publishes the first state and reserves room for the last one. The error is a negated errno.
    pub fn create(directory: i32, state: &State) -> Result<StateFile, isize> {
        let text = state.json();
        let first = write_next(directory, text.bytes())?;
        sys::close(first);
        publish(directory)?;
        let next = write_next(directory, text.bytes())?;
        Ok(StateFile { directory, next })
    }

    /// Publishes the last state; needs no new block of the disk.
    pub fn finish(self, state: &State) -> Result<(), isize> {
        let text = state.json();
        let written = sys::pwrite(self.next, text.bytes(), 0);
        sys::close(self.next);
        if written < 0 {
            return Err(written);
        }
        publish(self.directory)
    }
}

fn write_next(directory: i32, text: &[u8]) -> Result<i32, isize> {
    let Some(path) = Path::new(NEXT) else { return Err(-22) };
    let fd = sys::openat(directory, path, sys::O_WRONLY | sys::O_CREAT | sys::O_TRUNC, 0o600);
    if fd < 0 {
        return Err(fd);
    }
    let written = sys::write(fd as i32, text);
    if written < 0 {
        sys::close(fd as i32);
        return Err(written);
    }
    Ok(fd as i32)
}

fn publish(directory: i32) -> Result<(), isize> {
    let (Some(from), Some(to)) = (Path::new(NEXT), Path::new(NAME)) else { return Err(-22) };
    match sys::renameat(directory, from, to) {
        error if error < 0 => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_told_apart() {
        assert_eq!(End::from_wait_status(3 << 8), End::Code(3));
        assert_eq!(End::from_wait_status(9), End::Signal(9));
        // With a core dump.
        assert_eq!(End::from_wait_status(0x80 | 11), End::Signal(11));
    }

    #[test]
    fn the_largest_text_fits() {
        let state = State {
            shim_pid: i32::MAX,
            shim_start_time: u64::MAX,
            pid: i32::MAX,
            start_time: u64::MAX,
            started_at_ms: u64::MAX,
            exit: Some(Exit { at_ms: u64::MAX, end: End::Signal(64) }),
            out_of_memory: false,
        };
        let text = state.json();
        let text = std::str::from_utf8(text.bytes()).unwrap();
        assert_eq!(text.len(), FILE_BYTES);
        assert!(text.trim_end().ends_with("\"out_of_memory\":false}"), "{text}");
    }
}
