//! Memory of instances that have been frozen for a while: a thread gives it back, since that takes longer than the ladder has
//! time.

use crate::local::container::cgroup::Cgroups;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

/// Instances that wait for it. Of more the memory stays until they are frozen again.
const WAITING_MAX: usize = 1024;

pub(super) struct Reclaimer {
    /// None: this machine has no way to do it.
    frozen: Option<SyncSender<String>>,
    over: Arc<AtomicBool>,
}

impl Reclaimer {
    pub(super) fn start(cgroups: Cgroups) -> io::Result<Reclaimer> {
        let over = Arc::new(AtomicBool::new(false));
        if !cgroups.swaps_out() {
            return Ok(Reclaimer { frozen: None, over });
        }
        let (frozen, paths) = sync_channel::<String>(WAITING_MAX);
        let ends = over.clone();
        std::thread::Builder::new().name("reclaim".to_owned()).spawn(move || {
            let goes_on = || !ends.load(Ordering::Relaxed);
            for path in paths.iter().take_while(|_| goes_on()) {
                // It may have gone meanwhile.
                if let Err(error) = cgroups.swap_out(&path, goes_on) {
                    tracing::debug!(cgroup = path, %error, "its memory is not given back");
                }
            }
        })?;
        Ok(Reclaimer { frozen: Some(frozen), over })
    }

    pub(super) fn frozen(&self, cgroup: &str) {
        if let Some(frozen) = &self.frozen {
            let _ = frozen.try_send(cgroup.to_owned());
        }
    }
}

impl Drop for Reclaimer {
    /// Its thread ends behind the step that it is at. The next node sets the limits that it may leave lifted.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
