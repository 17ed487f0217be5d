//! Child processes and their end: none outlives the one that waits for it, its deadline or a cancellation.
//!
//! A child is the leader of a process group of its own, dies with the thread that started it, has less
//! priority than the platform itself and is a better victim for the kernel when memory runs out. Somebody who
//! waits for it in another thread, or no longer waits at all, ends it by a `Cancel`.

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between the applications (0) and nothing else: what is lost here is begun again.
const OOM_SCORE_ADJ: &[u8] = b"500";
/// Steps of priority below the platform's own processes, which share a cgroup with these.
const NICE: libc::c_int = 10;

/// Tells work that it is no longer wanted. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<bool>,
    changed: Condvar,
}

impl Cancel {
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Ends the work and its processes; it answers with an error soon after.
    pub fn cancel(&self) {
        *self.state() = true;
        self.0.changed.notify_all();
    }

    pub fn is_cancelled(&self) -> bool {
        *self.state()
    }

    /// Cancels when it is dropped, for a future that may be dropped while a thread works for it.
    pub fn on_drop(&self) -> CancelOnDrop {
        CancelOnDrop(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, bool> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See `Cancel::on_drop`. To cancel work that has ended does nothing.
#[must_use = "it cancels when it is dropped"]
#[derive(Debug)]
pub struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Why a child was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Cancelled,
    Late,
}

/// A child that is being watched. Dropped, it is killed.
pub(crate) struct Watched {
    /// Its pipes are the caller's to take.
    pub(crate) child: Child,
    cancel: Cancel,
    watch: Arc<Mutex<Watch>>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Watch {
    /// The child is reaped from here on, so its number may be another's.
    ended: bool,
    cut: Option<Cut>,
}

impl Watched {
    /// Starts the command. Call `wait` in the same thread: the child dies with it.
    pub(crate) fn spawn(mut command: Command, cancel: &Cancel, time_max: Duration) -> io::Result<Watched> {
        let parent = std::process::id() as libc::pid_t;
        command.process_group(0);
        // SAFETY: between fork and exec only system calls on constants are made, no memory is allocated.
        unsafe { command.pre_exec(move || prepare(parent)) };
        let child = command.spawn()?;
        let group = Pid::from_raw(child.id() as i32);
        let watch = Arc::new(Mutex::new(Watch::default()));
        let deadline = Instant::now() + time_max;
        let watcher = {
            let (cancel, watch) = (cancel.clone(), watch.clone());
            std::thread::Builder::new()
                .name("child-watch".to_owned())
                .spawn(move || watch_over(group, &cancel, &watch, deadline))
        };
        let mut watched = Watched { child, cancel: cancel.clone(), watch, watcher: None };
        // Without a watcher nothing would bound it, so it is dropped.
        watched.watcher = Some(watcher?);
        Ok(watched)
    }

    /// Waits for its end; answers with its status, or why it was killed.
    pub(crate) fn wait(mut self) -> io::Result<Result<ExitStatus, Cut>> {
        // The child stays a zombie, and its number its own, until the watcher has gone.
        let pid = Pid::from_raw(self.child.id() as i32);
        while let Err(e) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            if e != nix::errno::Errno::EINTR {
                return Err(e.into());
            }
        }
        let cut = self.end();
        let status = self.child.wait()?;
        Ok(match cut {
            Some(cut) => Err(cut),
            None => Ok(status),
        })
    }

    /// Why it was killed, if it was.
    pub(crate) fn cut(&self) -> Option<Cut> {
        lock(&self.watch).cut
    }

    fn end(&mut self) -> Option<Cut> {
        {
            // In the lock that the watcher waits with, so that it cannot miss the call.
            let _state = self.cancel.state();
            lock(&self.watch).ended = true;
            self.cancel.0.changed.notify_all();
        }
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
        lock(&self.watch).cut
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !lock(&self.watch).ended {
            let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
            self.end();
            let _ = self.child.wait();
        }
    }
}

fn watch_over(group: Pid, cancel: &Cancel, watch: &Mutex<Watch>, deadline: Instant) {
    let mut state = cancel.state();
    loop {
        if lock(watch).ended {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if *state || left.is_zero() {
            break;
        }
        state = cancel.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    lock(watch).cut = Some(if *state { Cut::Cancelled } else { Cut::Late });
    // Not reaped yet, or `ended` would be set: the number is still the group's.
    let _ = killpg(group, Signal::SIGKILL);
}

/// In the child, before it executes.
fn prepare(parent: libc::pid_t) -> io::Result<()> {
    // SAFETY: system calls on constants; the buffer is as long as said.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::getppid() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, OOM_SCORE_ADJ.as_ptr().cast(), OOM_SCORE_ADJ.len());
            libc::close(file);
        }
    }
    Ok(())
}

/// In a child of this program, for a parent that has given up root: such a process may not write its score before it
/// has executed a program anew, so `prepare` could not.
pub(crate) fn go_first() {
    // Without it the child is only a worse choice for a kernel that has no memory left.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Stdio;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn gone(pid: &str) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        status.is_empty() || status.contains(") Z ")
    }

    fn check_gone(pid: &str) {
        let began = Instant::now();
        while !gone(pid) {
            assert!(began.elapsed() < Duration::from_secs(5), "{pid} lives");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_child_that_ends_by_itself() {
        let mut watched = Watched::spawn(
            shell("cat /proc/self/oom_score_adj; nice; exit 3"),
            &Cancel::new(),
            Duration::from_secs(60),
        )
        .unwrap();
        let mut said = String::new();
        watched.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "500\n10\n");
        assert_eq!(watched.wait().unwrap().unwrap().code(), Some(3));
    }

    /// What the child has started goes with it, whichever way it ends.
    #[test]
    fn a_child_that_has_to_be_ended() {
        let script = "sleep 600 & echo $!; wait";
        for how in ["cancelled", "late", "dropped", "cancelled before"] {
            let cancel = Cancel::new();
            let time_max = Duration::from_millis(if how == "late" { 200 } else { 60_000 });
            let mut watched = Watched::spawn(shell(script), &cancel, time_max).unwrap();
            let mut pid = String::new();
            io::BufRead::read_line(&mut io::BufReader::new(watched.child.stdout.take().unwrap()), &mut pid)
                .unwrap();
            match how {
                "dropped" => drop(watched),
                "late" => assert_eq!(watched.wait().unwrap(), Err(Cut::Late)),
                _ => {
                    let guard = cancel.on_drop();
                    let thread = std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(50));
                        drop(guard);
                    });
                    assert_eq!(watched.wait().unwrap(), Err(Cut::Cancelled));
                    thread.join().unwrap();
                }
            }
            check_gone(pid.trim());
        }
    }

    #[test]
    fn cancelled_before_it_began() {
        let cancel = Cancel::new();
        cancel.cancel();
        let watched = Watched::spawn(shell("sleep 600"), &cancel, Duration::from_secs(60)).unwrap();
        assert_eq!(watched.wait().unwrap(), Err(Cut::Cancelled));
        assert!(cancel.is_cancelled());
    }

    #[test]
    fn it_dies_with_the_thread_that_started_it() {
        let pid = std::thread::spawn(|| {
            let watched =
                Watched::spawn(shell("sleep 600"), &Cancel::new(), Duration::from_secs(600)).unwrap();
            let pid = watched.child.id();
            // As if the process had been killed: nothing is dropped.
            std::mem::forget(watched);
            pid
        })
        .join()
        .unwrap();
        check_gone(&pid.to_string());
    }
}
