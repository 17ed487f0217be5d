//! What every instance of this machine shares: stores, network, pairs, cgroups, and where news of them goes.

use super::cgroup::Cgroups;
use super::launch::Launcher;
use super::network::Network;
use super::pair::Pairs;
use super::shim::{WatchId, Watcher};
use super::wanted::WantedList;
use crate::driver::Hint;
use apron_images::content::Content;
use apron_images::helper::Helper;
use apron_model::ids::InstanceId;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast};

/// Hints that a slow listener may be behind; it then gets one hint for all that it missed.
const HINTS_KEPT: usize = 256;
/// Instances that are being created at once: more only make each of them slower.
const STARTS_MAX: usize = 8;
/// After a failed read of file events, so that a lasting error does not spin.
const WATCH_ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Made once by the node; everything in it may be used from several tasks.
pub(super) struct Machine {
    /// `<data>/node`.
    pub dir: PathBuf,
    /// The data directory's id: part of every host-side name.
    pub platform: String,
    /// A start is refused when less than this would be left.
    pub free_memory_min_mib: u64,
    pub content: Content,
    pub helper: Helper,
    pub launcher: Launcher,
    pub cgroups: Cgroups,
    pub pairs: Arc<Pairs>,
    pub network: Network,
    pub wanted: WantedList,
    pub news: News,
    pub starts: Semaphore,
}

impl Machine {
    pub(super) fn starts_limit() -> Semaphore {
        Semaphore::new(STARTS_MAX)
    }
    pub(super) fn instance_dir(&self, id: &str) -> PathBuf {
        self.dir.join("instances").join(id)
    }
    pub(super) fn layers_dir(&self) -> PathBuf {
        self.dir.join("layers")
    }
    pub(super) fn instance_cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.cgroup_parent())
    }
    /// One cgroup for the shims of all instances: apart from the platform's own, which has a high weight.
    pub(super) fn shim_cgroup(&self) -> String {
        format!("{}/shims", self.cgroup_parent())
    }
    pub(super) fn cgroup_parent(&self) -> String {
        cgroup_parent(&self.platform)
    }
}

/// The cgroup that holds all of a platform's containers.
pub(super) fn cgroup_parent(platform: &str) -> String {
    format!("/apron-{platform}")
}

/// Tells whoever listens that something may have changed.
pub(super) struct News {
    hints: broadcast::Sender<Hint>,
    watcher: Watcher,
    watched: Mutex<HashMap<WatchId, InstanceId>>,
}

impl News {
    pub(super) fn new() -> io::Result<News> {
        let (hints, _) = broadcast::channel(HINTS_KEPT);
        Ok(News { hints, watcher: Watcher::new()?, watched: Mutex::new(HashMap::new()) })
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    pub(super) fn tell(&self, hint: Hint) {
        // Nobody listening is no error.
        let _ = self.hints.send(hint);
    }

    /// From now on new output of this instance is told. Its directory must exist.
    pub(super) fn watch_output(&self, id: &InstanceId, dir: &std::path::Path) -> io::Result<WatchId> {
        let watch = self.watcher.add(dir)?;
        self.watched().insert(watch, id.clone());
        Ok(watch)
    }

    pub(super) fn forget_output(&self, watch: WatchId) {
        self.watcher.remove(watch);
        self.watched().remove(&watch);
    }

    /// Turns file events into hints, for ever.
    pub(super) async fn run(&self) {
        loop {
            match self.watcher.next().await {
                Ok(grown) => {
                    let ids: Vec<InstanceId> = {
                        let watched = self.watched();
                        grown.iter().filter_map(|watch| watched.get(watch).cloned()).collect()
                    };
                    for id in ids {
                        self.tell(Hint::Output(id));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot watch the output of instances");
                    tokio::time::sleep(WATCH_ERROR_PAUSE).await;
                }
            }
        }
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<WatchId, InstanceId>> {
        self.watched.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
