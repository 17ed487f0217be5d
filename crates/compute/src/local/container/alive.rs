//! A container that lives: finding it, speaking to its first process, waiting for its end, and ending it.

use crate::local::container::cgroup::Cgroups;
use crate::local::container::launch::{LaunchError, transient};
use crate::local::container::mounts;
use crate::local::instance::shim::{self, State};
use crate::local::network;
use apron_images::tree;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// A shim ends as soon as its container has.
const SHIM_END_WAIT: Duration = Duration::from_secs(10);
const SHIM_NAME: &str = "apron-shim";
/// Of the times in `/proc/PID/stat`, whatever the kernel's own clock does.
const TICKS_PER_SECOND: u64 = 100;

/// What a directory says of its container, checked against the processes that there are.
#[derive(Debug)]
pub enum Found {
    Alive(Alive),
    Exited(State),
    /// The shim was killed. Processes of the container may run; nobody would learn of their end, so they have to
    /// be ended with `stop_all`.
    Orphaned(State),
    /// Never started.
    Absent,
}

/// Finds the container of `dir` after a restart of the node.
pub fn adopt(dir: &Path) -> Found {
    let Ok(Some(state)) = shim::read_state(dir) else { return Found::Absent };
    if state.exit.is_some() {
        return Found::Exited(state);
    }
    if let Some(alive) = Alive::open(dir, &state) {
        return Found::Alive(alive);
    }
    // The shim may have ended since the state was read.
    match shim::read_state(dir) {
        Ok(Some(later)) if later.exit.is_some() => Found::Exited(later),
        _ => Found::Orphaned(state),
    }
}

/// A container with a living shim. When the shim ends, the container has ended.
#[derive(Debug)]
pub struct Alive {
    dir: PathBuf,
    state: State,
    /// Nothing: the shim had ended before anybody looked.
    shim: Option<OwnedFd>,
}

impl Alive {
    fn open(dir: &Path, state: &State) -> Option<Alive> {
        let shim = pidfd_open(state.shim_pid).ok()?;
        // The descriptor first: then what is read is about the process that it holds.
        let process = Process::read(state.shim_pid)?;
        let is_shim =
            process.start_time == state.shim_start_time && process.name == SHIM_NAME && !process.is_zombie;
        is_shim.then(|| Alive { dir: dir.to_path_buf(), state: state.clone(), shim: Some(shim) })
    }

    /// Of a container whose shim had ended before anybody looked.
    pub(super) fn ended_already(dir: &Path, state: State) -> Alive {
        Alive { dir: dir.to_path_buf(), state, shim: None }
    }

    /// The container's init, in the host's pid namespace.
    pub fn pid(&self) -> i32 {
        self.state.pid
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// For how long the container has run, also before this process began; nothing where that cannot be told.
    pub fn age(&self) -> Option<Duration> {
        let began_ms = self.state.start_time.checked_mul(1000 / TICKS_PER_SECOND)?;
        network::uptime_ms().ok()?.checked_sub(began_ms).map(Duration::from_millis)
    }

    /// Whether time after a signal is of use to somebody. The kernel drops what the init of a pid namespace neither
    /// handles nor blocks (to wait for it), whatever the default would be; yet other processes of the container may
    /// have work to finish. True when it cannot be told.
    pub fn hears(&self, signal: i32) -> bool {
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", self.state.pid)) else { return true };
        hears(&status, signal) || has_children(self.state.pid).unwrap_or(true)
    }

    /// Sends a signal to the container's init; one that is gone is a success. As pid 1 it only gets signals that
    /// it handles, besides SIGKILL and SIGSTOP.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let init = match pidfd_open(self.state.pid) {
            Ok(init) => init,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            Err(error) => return Err(error),
        };
        if Process::read(self.state.pid).is_none_or(|found| found.start_time != self.state.start_time) {
            return Ok(());
        }
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: no information goes with the signal.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, init.as_raw_fd(), signal, none, 0) };
        match sent {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Waits for the shim's end and reaps it when it is this process's child. Cancelling loses nothing. Needs a
    /// tokio runtime.
    pub async fn ended(&self) -> Found {
        if let Some(shim) = &self.shim
            && let Ok(shim) = shim.try_clone()
        {
            // SAFETY: an owned descriptor is open, and the same, until it is dropped.
            match unsafe { AsyncFd::register(shim) } {
                Ok(shim) => drop(shim.readable().await),
                // Without the event loop's help there is still the clock.
                Err(_) => {
                    while self.is_running() {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
            reap(self.state.shim_pid);
        }
        if self.shim.is_none() {
            return Found::Exited(self.state.clone());
        }
        match shim::read_state(&self.dir) {
            Ok(Some(state)) if state.exit.is_some() && self.is_same(&state) => Found::Exited(state),
            _ => Found::Orphaned(self.state.clone()),
        }
    }

    fn is_same(&self, later: &State) -> bool {
        (later.shim_pid, later.shim_start_time) == (self.state.shim_pid, self.state.shim_start_time)
    }

    fn is_running(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let Some(shim) = &self.shim else { return false };
        poll(&mut [PollFd::new(shim.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0)
    }
}

/// By the text of `/proc/PID/status`.
fn hears(status: &str, signal: i32) -> bool {
    let has = |name: &str| {
        let set = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(u64::from_str_radix(set.trim(), 16).ok()? >> (signal - 1) & 1 == 1)
    };
    match (has("SigCgt"), has("SigBlk")) {
        (Some(caught), Some(blocked)) => caught || blocked,
        _ => true,
    }
}

/// Of an init: whether there is any other process in its namespace, since those without a parent become its.
fn has_children(init: i32) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{init}/task"))? {
        if !fs::read_to_string(thread?.path().join("children"))?.trim().is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ends everything that runs in the container and its shim, and removes its cgroup. Output, state and what the
/// container wrote stay. Nothing running is a success.
pub fn stop_all(dir: &Path, cgroup: &str) -> Result<(), LaunchError> {
    let cgroups = Cgroups::detect().map_err(|error| transient("stop the container", error))?;
    let stopped = |error| transient("stop the container", error);
    cgroups.kill_all(cgroup).map_err(stopped)?;
    if let Found::Alive(alive) = adopt(dir) {
        let deadline = Instant::now() + SHIM_END_WAIT;
        // Its init may have been killed before it had joined the cgroup.
        let _ = alive.signal(libc::SIGKILL);
        while alive.is_running() {
            if Instant::now() > deadline {
                let reason = format!("the shim {} did not end", alive.state.shim_pid);
                return Err(LaunchError::Transient(reason));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        reap(alive.state.shim_pid);
    }
    cgroups.remove(cgroup).map_err(stopped)
}

/// `stop_all`, then removes what the container wrote to its file system; its output stays. Takes as long as the
/// disk needs for it, which a start has no time for.
pub(crate) fn clear(dir: &Path, cgroup: &str) -> Result<(), LaunchError> {
    stop_all(dir, cgroup)?;
    for name in [mounts::WORK, mounts::UPPER] {
        tree::remove(&dir.join(name))
            .map_err(|error| transient("remove what an earlier start wrote", error))?;
    }
    Ok(())
}

/// `stop_all`, then removes the directory. A second call is a success.
pub fn destroy(dir: &Path, cgroup: &str) -> Result<(), LaunchError> {
    stop_all(dir, cgroup)?;
    tree::remove(dir).map_err(|error| transient(&format!("remove {}", dir.display()), error))
}

/// What `/proc/PID/stat` says of a process.
pub(crate) struct Process {
    name: String,
    is_zombie: bool,
    /// Clock ticks since the host started.
    pub(crate) start_time: u64,
}

impl Process {
    pub(crate) fn read(pid: i32) -> Option<Process> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold blanks and parentheses.
        let (head, rest) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let mut fields = rest.split_whitespace();
        let is_zombie = matches!(fields.next()?, "Z" | "X");
        let start_time = fields.nth(18)?.parse().ok()?;
        Some(Process { name, is_zombie, start_time })
    }
}

fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave it to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Takes an ended child off the process table; a process that is not our child is left alone.
fn reap(pid: i32) {
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_container_is_that_of_its_first_process() {
        let five_seconds_ago = network::uptime_ms().unwrap() / 10 - 500;
        let state = State {
            version: 1,
            shim_pid: 0,
            shim_start_time: 0,
            pid: 0,
            start_time: five_seconds_ago,
            started_at_ms: 0,
            exit: None,
            out_of_memory: false,
        };
        let age = |state: &State| Alive::ended_already(Path::new("/"), state.clone()).age();
        let known = age(&state).unwrap();
        assert!(known >= Duration::from_secs(5) && known < Duration::from_secs(300), "{known:?}");
        for start_time in [u64::MAX, u64::MAX / 100] {
            assert_eq!(age(&State { start_time, ..state.clone() }), None);
        }
    }

    #[test]
    fn who_handles_or_awaits_a_signal_hears_it() {
        let status = |blocked: &str, caught: &str| {
            format!("Name:\tx\nShdPnd:\t0\nSigBlk:\t{blocked}\nSigIgn:\t4000\nSigCgt:\t{caught}\n")
        };
        let none = "0000000000000000";
        assert!(hears(&status(none, "0000000000004000"), libc::SIGTERM), "a handler");
        assert!(hears(&status("0000000000004000", none), libc::SIGTERM), "sigwait or a signalfd");
        assert!(!hears(&status(none, "0000000000000002"), libc::SIGTERM), "only SIGINT, as Python has it");
        assert!(hears("Name:\tx\n", libc::SIGTERM), "who knows");
    }

    #[test]
    fn children_are_seen() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(has_children(std::process::id() as i32).unwrap());
        assert!(!has_children(child.id() as i32).unwrap());
        child.kill().and_then(|()| child.wait()).unwrap();
        assert!(has_children(i32::MAX).is_err());
    }

    #[test]
    fn processes_are_told_apart_by_their_start() {
        let own = Process::read(std::process::id() as i32).unwrap();
        assert!(own.start_time > 0 && !own.is_zombie && own.name != SHIM_NAME);
        assert!(Process::read(i32::MAX).is_none());
    }
}
