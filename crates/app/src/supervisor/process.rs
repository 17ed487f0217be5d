//! A process by its pidfd, which never comes to mean another one as a number does.

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process that lived when the value was made.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// Clock ticks after boot; with the pid it names a process for as long as the machine is up.
    pub(super) start_time: u64,
    descriptor: AsyncFd<OwnedFd>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Code(i32),
    Signal(i32),
    /// It was not our child, so nobody told us.
    Unknown,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Code(code) => write!(f, "ended with code {code}"),
            Ended::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "was ended by {signal}"),
                Err(_) => write!(f, "was ended by signal {number}"),
            },
            Ended::Unknown => f.write_str("ended"),
        }
    }
}

impl Process {
    /// A child that was just started and not yet waited for. Needs the runtime.
    pub(super) fn of_child(pid: i32) -> io::Result<Process> {
        let descriptor = open(pid)?;
        let start_time =
            start_time(pid).ok_or_else(|| io::Error::other("the process left no trace in /proc"))?;
        Ok(Process { pid, start_time, descriptor: watched(descriptor)? })
    }

    /// The process that a record names, if it is still that one and alive. Needs the runtime.
    pub(super) fn find(pid: i32, recorded_start_time: u64) -> io::Result<Option<Process>> {
        let descriptor = match open(pid) {
            Ok(descriptor) => descriptor,
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(e) => return Err(e),
        };
        // The start time is read with the pidfd open: if it matches, the pidfd is of that process.
        if start_time(pid) != Some(recorded_start_time) {
            return Ok(None);
        }
        Ok(Some(Process { pid, start_time: recorded_start_time, descriptor: watched(descriptor)? }))
    }

    /// Sends a signal; a process that has ended is a success.
    pub(super) fn signal(&self, signal: Signal) {
        let descriptor = self.descriptor.get_ref().as_raw_fd();
        // SAFETY: the descriptor is an open pidfd, a null siginfo means what kill(2) would send.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, descriptor, signal as i32, std::ptr::null::<u8>(), 0)
        };
        if sent != 0 {
            let error = Errno::last();
            if error != Errno::ESRCH {
                tracing::error!(pid = self.pid, %signal, %error, "cannot send a signal");
            }
        }
    }

    /// Waits until it has ended and, where it is our child, reaps it. May be dropped and called again.
    pub(super) async fn ended(&self) -> Ended {
        // A pidfd is readable from the end of its process on; an error of epoll itself would be ours.
        if let Err(error) = self.descriptor.ready(Interest::READABLE).await {
            tracing::error!(pid = self.pid, %error, "cannot wait for a process");
        }
        match waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Ended::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ended::Signal(signal as i32),
            _ => Ended::Unknown,
        }
    }

    /// A copy of one of its descriptors.
    pub(super) fn take_descriptor(&self, number: RawFd) -> io::Result<OwnedFd> {
        let descriptor = self.descriptor.get_ref().as_raw_fd();
        // SAFETY: the call takes three numbers and returns a new descriptor or -1.
        let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, descriptor, number, 0) };
        if taken < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor for us; close-on-exec is set on it.
        Ok(unsafe { OwnedFd::from_raw_fd(taken as RawFd) })
    }
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and returns a new descriptor or -1.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; close-on-exec is set on it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened as RawFd) })
}

fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and the same for as long as the `AsyncFd` has it.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// Field 22 of /proc/PID/stat; None when there is no such process, or only its remains.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; what follows the last one is plain.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(start_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[expect(clippy::zombie_processes, reason = "what is tested reaps it")]
    fn sleeper() -> i32 {
        let child = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        child.id() as i32
    }

    #[tokio::test]
    async fn the_end_of_a_child_is_seen_and_told() {
        let process = Process::of_child(sleeper()).unwrap();
        let found = Process::find(process.pid, process.start_time).unwrap().unwrap();
        assert!(Process::find(process.pid, process.start_time + 1).unwrap().is_none());
        found.signal(Signal::SIGTERM);
        assert_eq!(process.ended().await, Ended::Signal(15));
        assert_eq!(process.ended().await, Ended::Unknown);
        assert!(Process::find(process.pid, process.start_time).unwrap().is_none());
        process.signal(Signal::SIGTERM);
        assert_eq!(Ended::Signal(15).to_string(), "was ended by SIGTERM");
    }

    #[tokio::test]
    #[expect(clippy::zombie_processes, reason = "what is tested reaps it")]
    async fn a_descriptor_of_another_process_can_be_taken() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().unwrap();
        let process = Process::of_child(child.id() as i32).unwrap();
        let taken = process.take_descriptor(0).unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"x").unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut fs::File::from(taken), &mut byte).unwrap();
        assert_eq!(&byte, b"x");
        assert!(process.take_descriptor(77).is_err());
        process.signal(Signal::SIGKILL);
        assert_eq!(process.ended().await, Ended::Signal(9));
    }
}
