//! The shim's one loop: copy output until the container has ended, record the exit.

use crate::fd;
use crate::log::{Kind, Lines, Log, Position, SEGMENT_BYTES_MAX};
use crate::state::{End, Exit, State, StateFile};
use crate::sys::{self, Path, PollFd};
use crate::text::{Text, parse_number};

/// A line that waits for its end is shown after this long, so that progress without line feeds is seen.
const PARTIAL_LINE_MS: u64 = 1000;
/// After the container's end its pipe holds no more than this many reads; a bound in case it does.
const DRAIN_READS_MAX: u32 = 1024;

/// The `key=value` arguments. Unknown keys are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// The container's init, a child of this process.
    pub pid: u64,
    pub start_time: u64,
    pub shim_start_time: u64,
    pub started_at_ms: u64,
    pub log_start: u64,
    pub log_length: u64,
    pub log_previous: Option<u64>,
}

impl Arguments {
    pub fn take(&mut self, argument: &[u8]) {
        let Some(equals) = argument.iter().position(|byte| *byte == b'=') else { return };
        let Some(number) = parse_number(&argument[equals + 1..]) else { return };
        match &argument[..equals] {
            b"pid" => self.pid = number,
            b"start_time" => self.start_time = number,
            b"shim_start_time" => self.shim_start_time = number,
            b"started_at_ms" => self.started_at_ms = number,
            b"log_start" => self.log_start = number,
            b"log_length" => self.log_length = number,
            b"log_previous" => self.log_previous = Some(number),
            _ => {}
        }
    }
}

/// Runs to the end of the container and exits.
pub fn run(arguments: &Arguments) -> ! {
    if let Some(name) = Path::new(b"apron-shim\0") {
        sys::set_name(name);
    }
    let pid = arguments.pid as i32;
    let mut state = State {
        shim_pid: sys::getpid(),
        shim_start_time: arguments.shim_start_time,
        pid,
        start_time: arguments.start_time,
        started_at_ms: arguments.started_at_ms,
        exit: None,
        out_of_memory: false,
    };
    let position = Position {
        start: arguments.log_start,
        length: arguments.log_length,
        previous: arguments.log_previous,
    };
    if pid <= 1 {
        fail(0, -22, b"no pid was given");
    }
    let pidfd = sys::pidfd_open(pid);
    if pidfd < 0 {
        fail(pid, pidfd, b"pidfd_open");
    }
    let mut log = match Log::open(fd::DIRECTORY, position, SEGMENT_BYTES_MAX) {
        Ok(log) => log,
        Err(error) => fail(pid, error, b"the output file"),
    };
    let state_file = match StateFile::create(fd::DIRECTORY, &state) {
        Ok(file) => file,
        Err(error) => fail(pid, error, b"state.json"),
    };
    sys::write(fd::STATUS, b"started\n");
    sys::close(fd::STATUS);

    copy_until_end(pidfd as i32, &mut log);
    let (_, status) = sys::wait(pid);
    state.exit = Some(Exit { at_ms: sys::wall_time_ms(), end: End::from_wait_status(status) });
    state.out_of_memory = out_of_memory_kills() > 0;
    let code = if state_file.finish(&state).is_ok() { 0 } else { 1 };
    sys::exit(code)
}

fn copy_until_end(pidfd: i32, log: &mut Log) {
    let mut lines = Lines::new();
    let mut output_open = true;
    loop {
        let output = if output_open { fd::OUTPUT } else { -1 };
        let mut fds = [
            PollFd { fd: output, events: sys::POLLIN, revents: 0 },
            PollFd { fd: pidfd, events: sys::POLLIN, revents: 0 },
        ];
        let ready = sys::poll(&mut fds, lines.is_partial().then_some(PARTIAL_LINE_MS));
        let now = sys::wall_time_ms();
        if ready == 0 {
            lines.finish(now, Kind::Piece, log);
        }
        if fds[0].revents != 0 {
            output_open = copy_once(&mut lines, now, log) != Copied::End;
        }
        if fds[1].revents != 0 {
            for _ in 0..DRAIN_READS_MAX {
                if !output_open || copy_once(&mut lines, now, log) != Copied::Some {
                    break;
                }
            }
            lines.finish(now, Kind::Line, log);
            log.flush(now);
            return;
        }
        log.flush(now);
    }
}

#[derive(PartialEq, Eq)]
enum Copied {
    Some,
    Nothing,
    End,
}

fn copy_once(lines: &mut Lines, now: u64, log: &mut Log) -> Copied {
    match sys::read(fd::OUTPUT, lines.space()) {
        sys::EAGAIN | sys::EINTR => Copied::Nothing,
        count if count > 0 => {
            lines.advance(count as usize, now, log);
            Copied::Some
        }
        _ => Copied::End,
    }
}

/// What the cgroup counts; the same words in both versions of cgroups.
fn out_of_memory_kills() -> u64 {
    let mut text = [0u8; 1024];
    let count = sys::pread(fd::OUT_OF_MEMORY, &mut text, 0).max(0) as usize;
    text[..count]
        .split(|byte| *byte == b'\n')
        .find_map(|line| parse_number(line.strip_prefix(b"oom_kill ")?))
        .unwrap_or(0)
}

/// Before the state is published there is nothing to keep: the container goes with the shim.
fn fail(pid: i32, error: isize, what: &[u8]) -> ! {
    let mut text = Text::<128>::new();
    text.push(b"failed ").push_number(error.unsigned_abs() as u64).push(b" ").push(what).push(b"\n");
    sys::write(fd::STATUS, text.bytes());
    if pid > 1 {
        sys::kill(pid, sys::SIGKILL);
        sys::wait(pid);
    }
    sys::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_unknown_ones_ignored() {
        let mut arguments = Arguments::default();
        for argument in ["apron-shim", "pid=12", "log_previous=0", "later=1", "start_time=x"] {
            arguments.take(argument.as_bytes());
        }
        assert_eq!(arguments, Arguments { pid: 12, log_previous: Some(0), ..Arguments::default() });
    }
}
