//! What every instance of this machine shares: stores, network, pairs, cgroups, and where news of them goes.

use crate::driver::Hint;
use crate::local::container::cgroup::Cgroups;
use crate::local::container::launch::Launcher;
use crate::local::container::pair::Pairs;
use crate::local::instance::shim::{WatchId, Watcher};
use crate::local::instance::wanted::WantedList;
use crate::local::ladder::Ladder;
use crate::local::meter::Meter;
use crate::local::network::Network;
use apron_images::content::Content;
use apron_images::helper::Helper;
use apron_model::ids::{Digest, InstanceId};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, broadcast};

/// Hints that a slow listener may be behind; it then gets one hint for all that it missed.
const HINTS_KEPT: usize = 256;
/// Instances that are being created at once: more only make each of them slower.
const STARTS_MAX: usize = 8;
/// Images that are being unpacked at once: the disk and one core each are what limits them.
const UNPACKS_MAX: usize = 4;
/// After a failed read of file events, so that a lasting error does not spin.
const WATCH_ERROR_PAUSE: Duration = Duration::from_secs(1);

/// What a node keeps below its directory, for the node, which makes it, and for `purge`, which removes it.
pub(crate) const INSTANCES: &str = "instances";
pub(crate) const WANTED: &str = "wanted";
pub(crate) const BUILDS: &str = "builds";
pub(crate) const PAIRS: &str = "pairs";
pub(crate) const LAYERS: &str = "layers";
/// A file.
pub(crate) const METER: &str = "meter";

/// `<data>/node`.
pub(crate) fn node_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("node")
}

/// Made once by the node; everything in it may be used from several tasks.
pub(crate) struct Machine {
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
    pub ladder: Ladder,
    pub meter: Meter,
    pub pairs: Arc<Pairs>,
    pub network: Network,
    pub wanted: WantedList,
    pub news: News,
    pub starts: Semaphore,
    pub unpacks: Unpacks,
    /// What one instance may write to its file system.
    pub instance_disk_bytes_max: u64,
}

impl Machine {
    pub(crate) fn starts_limit() -> Semaphore {
        Semaphore::new(STARTS_MAX)
    }
    pub(crate) fn data_dir(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }
    pub(crate) fn instances_dir(&self) -> PathBuf {
        self.dir.join(INSTANCES)
    }
    pub(crate) fn instance_dir(&self, id: &str) -> PathBuf {
        self.instances_dir().join(id)
    }
    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.dir.join(LAYERS)
    }
    pub(crate) fn instance_cgroup(&self, id: &str) -> String {
        format!("{}/{id}", self.cgroup_parent())
    }
    pub(crate) fn shim_cgroup(&self) -> String {
        shim_cgroup(&self.platform)
    }
    pub(crate) fn cgroup_parent(&self) -> String {
        cgroup_parent(&self.platform)
    }
}

/// Whose turn it is to unpack an image: each image once at a time, and not too many of them.
pub(crate) struct Unpacks {
    room: Arc<Semaphore>,
    images: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

/// Dropped when the image is unpacked.
pub(crate) struct Turn {
    _image: OwnedMutexGuard<()>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Unpacks {
    pub(crate) fn new() -> Unpacks {
        Unpacks { room: Arc::new(Semaphore::new(UNPACKS_MAX)), images: Mutex::default() }
    }

    pub(crate) async fn turn(&self, image: &Digest) -> Turn {
        let lock = {
            let mut images = self.images.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            images.retain(|_, lock| lock.strong_count() > 0);
            let known = images.get(image).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                images.insert(image.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        let image = lock.lock_owned().await;
        // Never closed.
        let room = self.room.clone().acquire_owned().await.ok();
        Turn { _image: image, _room: room }
    }
}

/// The cgroup that holds all of a platform's containers.
pub(crate) fn cgroup_parent(platform: &str) -> String {
    format!("/apron-{platform}")
}

/// One cgroup for the shims of all instances: apart from the platform's own, which has a high weight.
pub(crate) fn shim_cgroup(platform: &str) -> String {
    format!("{}/shims", cgroup_parent(platform))
}

/// Tells whoever listens that something may have changed.
pub(crate) struct News {
    hints: broadcast::Sender<Hint>,
    watcher: Watcher,
    watched: Mutex<HashMap<WatchId, InstanceId>>,
}

impl News {
    pub(crate) fn new() -> io::Result<News> {
        let (hints, _) = broadcast::channel(HINTS_KEPT);
        Ok(News { hints, watcher: Watcher::new()?, watched: Mutex::new(HashMap::new()) })
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    pub(crate) fn tell(&self, hint: Hint) {
        // Nobody listening is no error.
        let _ = self.hints.send(hint);
    }

    /// From now on new output of this instance is told. Its directory must exist.
    pub(crate) fn watch_output(&self, id: &InstanceId, dir: &std::path::Path) -> io::Result<WatchId> {
        let watch = self.watcher.add(dir)?;
        self.watched().insert(watch, id.clone());
        Ok(watch)
    }

    pub(crate) fn forget_output(&self, watch: WatchId) {
        self.watcher.remove(watch);
        self.watched().remove(&watch);
    }

    /// Turns file events into hints, for ever.
    pub(crate) async fn run(&self) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use std::pin::pin;
    use std::task::Poll;

    #[tokio::test]
    async fn unpacks_take_turns_by_image() {
        let unpacks = Unpacks::new();
        let image = |name: &str| Digest::new(name);
        let first = unpacks.turn(&image("a")).await;
        let again = image("a");
        let mut second = pin!(unpacks.turn(&again));
        assert!(poll!(&mut second).is_pending());
        let others = [image("b"), image("c"), image("d")];
        let mut held = Vec::new();
        for other in &others {
            held.push(unpacks.turn(other).await);
        }
        let more = image("e");
        let mut fifth = pin!(unpacks.turn(&more));
        assert!(poll!(&mut fifth).is_pending(), "too many");
        drop(held.pop());
        assert!(matches!(poll!(&mut fifth), Poll::Ready(_)));
        drop(first);
        assert!(matches!(poll!(&mut second), Poll::Ready(_)));
        held.clear();
        drop(unpacks.turn(&image("f")).await);
        assert!(unpacks.images.lock().unwrap().len() <= 3, "nothing is kept of those that are done");
    }
}
