//! Shims made ahead: processes of `apron launch-ahead`, each of which has done what a launch does whatever its
//! container is, is in the shims' cgroup, and waits to be told a directory.
//!
//! It waits on a pipe whose other end this process alone has, so that it ends with this process, however that ends.
//! Nothing on the disk knows of it, and a later node makes its own.
//!
//! Another one is made as soon as one is taken, while the launch goes on. Before the kernel moves a process to another
//! cgroup it waits some milliseconds, unless it has just done so: what the new one waits for, the first process of the
//! container need not wait for again.

use crate::local::container::cgroup::Cgroups;
use crate::local::container::launch::{LaunchError, transient};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Pause before the pool is filled again after it could not be.
const REFILL_RETRY: Duration = Duration::from_secs(5);

/// What `ps` shows of one that waits, and of its launch.
pub(super) const NAME: &CStr = c"apron-ahead";

/// Whether the process waits to be told a directory, or launches one.
pub(crate) fn waits(pid: i32) -> bool {
    let name = std::fs::read(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim_ascii_end() == NAME.to_bytes())
}

/// The pool of one platform.
#[derive(Debug)]
pub struct Ahead {
    program: PathBuf,
    /// Where they wait, and stay as shims.
    cgroup: String,
    /// How many to keep.
    ready: usize,
    inner: Mutex<Inner>,
    taken: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    /// How many have ended while they waited.
    died: usize,
    is_closed: bool,
}

/// A launch that is under way.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) child: Child,
    /// Tells how far it has come.
    pub(super) status: PipeReader,
}

impl Ahead {
    pub(super) fn new(program: PathBuf, cgroup: String, ready: usize) -> Ahead {
        let (inner, taken) = (Mutex::default(), tokio::sync::Notify::new());
        Ahead { program, cgroup, ready, inner, taken }
    }

    /// Has the container of this directory launched by one that waits. None: there is none whose cgroup is this one.
    pub(super) fn begin(&self, dir: &Path, cgroup: &str) -> Option<Begun> {
        if cgroup != self.cgroup {
            return None;
        }
        let mut begun = None;
        while begun.is_none() {
            let Some(waiting) = self.lock().waiting.pop_front() else { break };
            begun = waiting.tell(dir);
        }
        self.taken.notify_one();
        begun
    }

    /// Fills the pool and says how many were made. An error also where they do not live.
    pub fn refill(&self) -> Result<usize, LaunchError> {
        let (mut made, died) = (0, self.lock().died);
        while self.is_lacking() {
            if self.lock().died - died > self.ready {
                return Err(LaunchError::Transient("shims that are made ahead end at once".to_owned()));
            }
            let waiting = self.make()?;
            let mut inner = self.lock();
            if inner.is_closed {
                drop(inner);
                waiting.end();
                break;
            }
            inner.waiting.push_back(waiting);
            made += 1;
        }
        Ok(made)
    }

    /// Keeps the pool filled for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        loop {
            let ahead = Arc::clone(&self);
            let filled = tokio::task::spawn_blocking(move || ahead.refill()).await;
            if let Ok(Err(error)) = filled {
                tracing::warn!(%error, "the pool of shims cannot be filled");
                tokio::time::sleep(REFILL_RETRY).await;
                continue;
            }
            self.taken.notified().await;
        }
    }

    /// Ends those that wait. None is made afterwards.
    pub fn close(&self) {
        let waiting = {
            let mut inner = self.lock();
            inner.is_closed = true;
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().for_each(Waiting::end);
    }

    /// Those that have ended meanwhile do not count.
    fn is_lacking(&self) -> bool {
        let mut inner = self.lock();
        let there = inner.waiting.len();
        inner.waiting.retain_mut(Waiting::is_alive);
        inner.died += there - inner.waiting.len();
        !inner.is_closed && inner.waiting.len() < self.ready
    }

    fn make(&self) -> Result<Waiting, LaunchError> {
        let action = "make a shim ahead";
        let (order, teller) = io::pipe().map_err(|error| transient(action, error))?;
        let (status, writer) = io::pipe().map_err(|error| transient(action, error))?;
        let child = Command::new(&self.program)
            .arg("launch-ahead")
            .current_dir("/")
            .env_clear()
            .stdin(order)
            .stdout(writer)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| transient(&format!("run {}", self.program.display()), error))?;
        let waiting = Waiting { child, order: teller, status };
        // By this process: one that has outlived it makes no cgroup again that was removed.
        let pid = waiting.child.id() as i32;
        match Cgroups::detect().and_then(|cgroups| cgroups.join(&self.cgroup, pid)) {
            Ok(()) => Ok(waiting),
            Err(error) => {
                waiting.end();
                Err(transient(action, error))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is a single call, so a panic elsewhere cannot leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
struct Waiting {
    child: Child,
    order: PipeWriter,
    status: PipeReader,
}

impl Waiting {
    /// One that has ended is reaped by this.
    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// None: it has ended meanwhile.
    fn tell(mut self, dir: &Path) -> Option<Begun> {
        // A pipe takes any path at once. Its end is the order's.
        if self.is_alive() && self.order.write_all(dir.as_os_str().as_bytes()).is_ok() {
            return Some(Begun { child: self.child, status: self.status });
        }
        self.end();
        None
    }

    fn end(mut self) {
        // One that was reaped is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Of a program that gives back what it is told.
    fn waiting() -> Waiting {
        let (order, teller) = io::pipe().unwrap();
        let (status, writer) = io::pipe().unwrap();
        let child = Command::new("cat").stdin(order).stdout(writer).spawn().unwrap();
        Waiting { child, order: teller, status }
    }

    fn pool(waiting: impl IntoIterator<Item = Waiting>) -> Ahead {
        let ahead = Ahead::new("/no/such/program".into(), "/shims".into(), 2);
        ahead.lock().waiting.extend(waiting);
        ahead
    }

    #[test]
    fn who_waits_is_told_once_and_who_has_ended_is_passed_over() {
        let mut dead = waiting();
        dead.child.kill().and_then(|()| dead.child.wait()).unwrap();
        let living = waiting();
        let pid = living.child.id();
        let ahead = pool([dead, living]);
        assert!(ahead.begin(Path::new("/one"), "/others").is_none());
        assert_eq!(ahead.lock().waiting.len(), 2);
        let mut begun = ahead.begin(Path::new("/one"), "/shims").unwrap();
        assert_eq!(begun.child.id(), pid);
        let mut told = String::new();
        begun.status.read_to_string(&mut told).unwrap();
        assert_eq!(told, "/one");
        assert!(begun.child.wait().unwrap().success(), "the order has an end");
        assert!(ahead.begin(Path::new("/two"), "/shims").is_none());
    }

    #[test]
    fn what_ends_at_once_is_not_made_for_ever() {
        let name = format!("/apron-ahead-{}", std::process::id());
        let ahead = Ahead::new("/bin/true".into(), name.clone(), 2);
        for _ in 0..10 {
            // Those count that are seen to have ended, which may be with the next call.
            let made = ahead.refill();
            assert!(made.as_ref().is_err() || made.as_ref().is_ok_and(|made| *made <= 4), "{made:?}");
        }
        ahead.close();
        Cgroups::detect().unwrap().remove(&name).unwrap();
    }

    #[test]
    fn what_is_closed_is_empty_and_stays_so() {
        let ahead = pool([waiting(), waiting()]);
        assert!(!ahead.is_lacking());
        let pids: Vec<u32> = ahead.lock().waiting.iter().map(|one| one.child.id()).collect();
        let mut one = ahead.lock().waiting.pop_front().unwrap();
        one.child.kill().and_then(|()| one.child.wait()).unwrap();
        ahead.lock().waiting.push_front(one);
        assert!(ahead.is_lacking(), "one is dead");
        assert!(ahead.refill().is_err(), "there is no such program");
        ahead.close();
        assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
        assert_eq!(ahead.refill(), Ok(0));
    }
}
