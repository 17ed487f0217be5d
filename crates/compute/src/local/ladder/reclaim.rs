//! Memory of instances that have just been frozen: a thread gives it back, since that takes longer than the ladder has time.

use crate::local::container::cgroup::Cgroups;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Instances that wait for it. Of more the memory stays until they are frozen again.
const WAITING_MAX: usize = 1024;

pub(super) struct Reclaimer {
    /// None: this machine has no way to do it.
    frozen: Option<SyncSender<String>>,
}

impl Reclaimer {
    /// Ends when it is dropped, behind the step that it is at.
    pub(super) fn start(cgroups: Cgroups) -> io::Result<Reclaimer> {
        if !cgroups.swaps_out() {
            return Ok(Reclaimer { frozen: None });
        }
        let (frozen, paths) = sync_channel::<String>(WAITING_MAX);
        std::thread::Builder::new().name("reclaim".to_owned()).spawn(move || {
            for path in paths {
                // It may have gone meanwhile.
                if let Err(error) = cgroups.swap_out(&path) {
                    tracing::debug!(cgroup = path, %error, "its memory is not given back");
                }
            }
        })?;
        Ok(Reclaimer { frozen: Some(frozen) })
    }

    pub(super) fn frozen(&self, cgroup: &str) {
        if let Some(frozen) = &self.frozen {
            let _ = frozen.try_send(cgroup.to_owned());
        }
    }
}
