//! Downloads of pip and npm that stay between the builds of one service: `<node>/caches/<service>/<base>/`.
//!
//! A cache has one build at a time: tools do not expect that somebody else's commands write below them, and a
//! second build of the same service begins with an empty one of its own. It is named by the service's id, which no later service has.

use super::{entries, written};
use crate::local::container::launch::HostMount;
use apron_images::runtimes::Base;
use apron_images::tree;
use apron_model::ids::ServiceId;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

const CACHE: &str = "/root/.cache";
const NPM_CACHE: &str = "/root/.npm";
/// Where caches are mounted in a build.
pub(super) const TARGETS: [&str; 2] = [CACHE, NPM_CACHE];
/// Caches that no build used for this long are removed at the node's start.
const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// All caches of a node.
pub struct Caches {
    dir: PathBuf,
    in_use: Mutex<BTreeMap<ServiceId, Then>>,
}

/// What happens to a cache when its build has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Keep,
    Remove,
}

impl Caches {
    /// Of the node whose directory this is.
    pub fn new(node_dir: &Path) -> Arc<Caches> {
        Arc::new(Caches { dir: node_dir.join("caches"), in_use: Mutex::default() })
    }

    /// The service's cache for one build. None: another build has it.
    pub(super) fn take(self: &Arc<Caches>, service: &ServiceId) -> Option<Cache> {
        let mut in_use = self.in_use();
        if in_use.contains_key(service) {
            return None;
        }
        in_use.insert(service.clone(), Then::Keep);
        Some(Cache { caches: self.clone(), service: service.clone() })
    }

    /// Removes the cache of a service that is gone, at the end of its build if it has one. Blocking.
    pub fn forget(&self, service: &ServiceId) -> io::Result<()> {
        // Held meanwhile, so that no build takes what is being removed.
        let mut in_use = self.in_use();
        match in_use.get_mut(service) {
            Some(then) => {
                *then = Then::Remove;
                Ok(())
            }
            None => tree::remove(&self.dir.join(service.as_str())),
        }
    }

    fn in_use(&self) -> MutexGuard<'_, BTreeMap<ServiceId, Then>> {
        // Every change is a single call.
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directories of a cache for builds on this base, made when they are missing. Blocking.
pub(super) fn mounts(cache: &Path, base: &Base) -> io::Result<Vec<HostMount>> {
    let mut mounts = Vec::new();
    for (name, target) in [("cache", CACHE), ("npm", NPM_CACHE)] {
        let source = cache.join(&base.name).join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&source)?;
        mounts.push(HostMount { source, target: target.to_owned(), read_only: false });
    }
    // Its age is the time since the last build.
    #[expect(clippy::disallowed_methods, reason = "times of files are wall time")]
    fs::File::open(cache)?.set_modified(SystemTime::now())?;
    Ok(mounts)
}

/// A cache that one build has until this value goes.
pub(super) struct Cache {
    caches: Arc<Caches>,
    service: ServiceId,
}

impl Cache {
    pub(super) fn dir(&self) -> PathBuf {
        self.caches.dir.join(self.service.as_str())
    }

    /// Gives the cache back; one that grew beyond `bytes_max` is removed. Blocking; nothing may write to it.
    pub(super) fn give_back(self, bytes_max: u64) -> io::Result<()> {
        let dir = self.dir();
        let mut in_use = self.caches.in_use();
        let forgotten = in_use.get(&self.service) == Some(&Then::Remove);
        // One that cannot be measured is none to keep.
        let keep = !forgotten && written::measure(&[&dir]).is_ok_and(|bytes| bytes <= bytes_max);
        let removed = if keep { Ok(()) } else { tree::remove(&dir) };
        in_use.remove(&self.service);
        removed
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.caches.in_use().remove(&self.service);
    }
}

/// Removes caches that nobody used for a month. An error of one is said and does not stop the others.
pub(super) fn remove_unused(node_dir: &Path) -> io::Result<()> {
    for entry in entries(&node_dir.join("caches"))? {
        let unused = entry.metadata().and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
        if unused.is_some_and(|age| age > AGE_MAX)
            && let Err(error) = tree::remove(&entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "an unused cache cannot be removed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = tree::remove(&self.0);
        }
    }

    fn base() -> Base {
        Base {
            name: "base".into(),
            suite: "none".into(),
            packages: Vec::new(),
            setup: "true".into(),
            path: Vec::new(),
            env: BTreeMap::new(),
        }
    }

    #[test]
    fn one_build_has_a_cache_and_gives_it_back() {
        let directory = Directory(std::env::temp_dir().join(format!("apron-caches-{}", std::process::id())));
        let caches = Caches::new(&directory.0);
        let (web, other) = (ServiceId::new("web"), ServiceId::new("other"));
        let cache = caches.take(&web).unwrap();
        assert!(caches.take(&web).is_none(), "another build has it");
        assert!(caches.take(&other).is_some());
        let mounts = mounts(&cache.dir(), &base()).unwrap();
        assert_eq!(mounts.iter().map(|m| m.target.as_str()).collect::<Vec<_>>(), TARGETS);
        fs::write(mounts[0].source.join("file"), vec![1; 100_000]).unwrap();
        let dir = cache.dir();
        cache.give_back(1_000_000).unwrap();
        assert!(mounts[0].source.join("file").exists());

        caches.take(&web).unwrap().give_back(50_000).unwrap();
        assert!(!dir.exists(), "it grew too large");

        let cache = caches.take(&web).unwrap();
        super::mounts(&dir, &base()).unwrap();
        caches.forget(&web).unwrap();
        assert!(dir.exists(), "a build has it");
        cache.give_back(1_000_000).unwrap();
        assert!(!dir.exists());
        super::mounts(&dir, &base()).unwrap();
        caches.forget(&web).unwrap();
        assert!(!dir.exists());
    }
}
