//! Pairs: a user namespace with ids of its own and the network namespace that it owns.
//!
//! The network namespace has to be made inside the user namespace: one that the host made gives the container no
//! right over it. Both are made before an instance needs them, because a network namespace takes the kernel
//! some milliseconds, and kept by bind mounts on files, so that an instance's network outlives its processes.
//!
//! `<dir>/<first id>/user` and `/net` are those files; the directory's name is the range, so two pairs of one
//! platform cannot overlap. `<dir>` is a mount of its own that propagates nowhere. The mounts belong to the mount
//! namespace the node runs in, which is the host's: they are there for the next node. Should a node find itself
//! in another mount namespace (a service manager's private one), the pair of a running instance is taken from
//! its processes again. A file `ready` marks pairs that no instance ever had.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::statfs;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Ids of one pair; images use all 16 bits.
pub const IDS: u32 = 65_536;
/// Ready pairs to keep: a deployment of one instance and a build can start at once.
pub const READY_DEFAULT: usize = 2;
/// The range for all pairs of all platforms begins above what systemd-nspawn and useradd hand out and ends
/// below 2^31, because some programs keep ids in a signed number.
const FIRST_ID: u32 = 0x7000_0000;
const BLOCKS: u32 = 4096;
/// Pause before the pool is filled again after it could not be.
const REFILL_RETRY: Duration = Duration::from_secs(5);
const NSFS_MAGIC: i64 = 0x6e73_6673;

#[derive(Debug, thiserror::Error)]
pub enum PairError {
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The kernel refused: user namespaces are switched off, or a limit of them is reached.
    #[error("cannot make a user and a network namespace: {source}")]
    Namespace { source: io::Error },
    #[error("all {BLOCKS} ranges of user ids are in use")]
    NoIdsLeft,
}

/// A pair that could not be released: it is still in use.
#[derive(Debug)]
pub struct Unreleased {
    pub pair: Pair,
    pub error: PairError,
}

impl From<Unreleased> for PairError {
    fn from(unreleased: Unreleased) -> PairError {
        unreleased.error
    }
}

#[derive(Clone, Debug)]
pub struct PairConfig {
    /// `<data>/node/pairs`.
    pub dir: PathBuf,
    /// How many unused pairs to keep.
    pub ready: usize,
    /// The data directory's id. Platforms on one host begin to search for free ranges at different places.
    pub platform: String,
}

/// One pair: what an instance's launch needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Root of the container is this user and group on the host; the range has `IDS` of them.
    pub first_id: u32,
    pub dir: PathBuf,
}

impl Pair {
    /// The file that holds the user namespace.
    pub fn user(&self) -> PathBuf {
        self.dir.join("user")
    }

    /// The file that holds the network namespace.
    pub fn net(&self) -> PathBuf {
        self.dir.join("net")
    }

    pub fn open_net(&self) -> Result<OwnedFd, PairError> {
        let path = self.net();
        fs::File::open(&path).map(OwnedFd::from).map_err(|source| io_error("open", &path, source))
    }

    fn marker(&self) -> PathBuf {
        self.dir.join("ready")
    }

    /// Both files hold namespaces.
    fn is_whole(&self) -> bool {
        [self.user(), self.net()]
            .iter()
            .all(|path| statfs(path.as_path()).is_ok_and(|found| found.filesystem_type().0 == NSFS_MAGIC))
    }
}

/// All pairs of one platform.
pub struct Pairs {
    config: PairConfig,
    reserved: Vec<(u64, u64)>,
    inner: Mutex<Inner>,
    taken: tokio::sync::Notify,
}

#[derive(Default)]
struct Inner {
    ready: VecDeque<Pair>,
    /// First ids of all pairs that exist or are being made.
    used: BTreeSet<u32>,
    /// Those of them that an earlier node gave away, until an instance of this one claims them.
    unclaimed: BTreeSet<u32>,
}

impl Pairs {
    /// Makes the directory a private mount and finds what lives there. Ready pairs that lost their namespaces
    /// are removed.
    pub fn open(config: PairConfig) -> Result<Pairs, PairError> {
        let dir = &config.dir;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| io_error("make", dir, source))?;
        if !is_mount_point(dir) {
            bind(dir, dir)?;
        }
        mount(None::<&str>, dir, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)
            .map_err(|source| io_error("make private", dir, source.into()))?;

        let mut inner = Inner::default();
        for first_id in existing(dir)? {
            let pair = Pair { first_id, dir: dir.join(first_id.to_string()) };
            if !pair.marker().exists() {
                inner.used.insert(first_id);
                inner.unclaimed.insert(first_id);
            } else if pair.is_whole() {
                inner.used.insert(first_id);
                inner.ready.push_back(pair);
            } else {
                remove(&pair)?;
            }
        }
        let reserved = reserved_ranges();
        Ok(Pairs { config, reserved, inner: Mutex::new(inner), taken: tokio::sync::Notify::new() })
    }

    /// At the node's start: the pair of an instance that is wanted. When its mounts are lost and the
    /// container's init is known to live, they are made again from it. Nothing: the pair is gone.
    pub fn claim(&self, first_id: u32, init_pid: Option<i32>) -> Result<Option<Pair>, PairError> {
        let pair = self.pair(first_id);
        let is_free = self.lock().unclaimed.remove(&first_id);
        if pair.is_whole() {
            // What somebody else has claimed is not anybody else's.
            return Ok(is_free.then_some(pair));
        }
        let Some(pid) = init_pid else {
            self.release(pair)?;
            return Ok(None);
        };
        hold(&pair, pid)?;
        self.lock().used.insert(first_id);
        Ok(Some(pair))
    }

    /// Gives up what an earlier node left and nobody claimed: pairs of its builds, and one that it was making when
    /// it was killed. Call it when every instance has claimed its own. Answers with the number of pairs.
    pub fn release_unclaimed(&self) -> Result<usize, PairError> {
        let unclaimed = std::mem::take(&mut self.lock().unclaimed);
        for first_id in &unclaimed {
            self.release(self.pair(*first_id))?;
        }
        Ok(unclaimed.len())
    }

    /// First ids of the pairs that are not in the pool: those of instances and builds, and leftovers.
    pub fn in_use(&self) -> Vec<u32> {
        let inner = self.lock();
        let ready: BTreeSet<u32> = inner.ready.iter().map(|pair| pair.first_id).collect();
        inner.used.difference(&ready).copied().collect()
    }

    /// A pair that nobody had before: from the pool, or made now.
    pub fn take(&self) -> Result<Pair, PairError> {
        let pooled = self.lock().ready.pop_front();
        let pair = match pooled {
            Some(pair) => pair,
            None => self.make()?,
        };
        self.taken.notify_one();
        let marker = pair.marker();
        fs::remove_file(&marker).map_err(|source| io_error("remove", &marker, source))?;
        Ok(pair)
    }

    /// Gives a pair up for good; its ids are free again, and may be somebody else's at once. So it is moved here, and comes
    /// back only if it is still in use.
    pub fn release(&self, pair: Pair) -> Result<(), Unreleased> {
        if let Err(error) = remove(&pair) {
            return Err(Unreleased { pair, error });
        }
        self.lock().used.remove(&pair.first_id);
        Ok(())
    }

    /// Fills the pool and says how many were made.
    pub fn refill(&self) -> Result<usize, PairError> {
        let mut made = 0;
        while self.lock().ready.len() < self.config.ready {
            let pair = self.make()?;
            self.lock().ready.push_back(pair);
            made += 1;
        }
        Ok(made)
    }

    /// Keeps the pool filled for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        loop {
            let pairs = Arc::clone(&self);
            let filled = tokio::task::spawn_blocking(move || pairs.refill()).await;
            if let Ok(Err(error)) = filled {
                tracing::warn!(%error, "the pool of namespaces cannot be filled");
                tokio::time::sleep(REFILL_RETRY).await;
                continue;
            }
            self.taken.notified().await;
        }
    }

    /// Removes every pair below `dir` and the directory. For the end of a platform; a second call is a success.
    pub fn purge(dir: &Path) -> Result<(), PairError> {
        if !dir.exists() {
            return Ok(());
        }
        for first_id in existing(dir)? {
            remove(&Pair { first_id, dir: dir.join(first_id.to_string()) })?;
        }
        unmount(dir)?;
        fs::remove_dir_all(dir).map_err(|source| io_error("remove", dir, source))
    }

    fn pair(&self, first_id: u32) -> Pair {
        Pair { first_id, dir: self.config.dir.join(first_id.to_string()) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change of the sets is a single call, so a panic elsewhere cannot leave them half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self) -> Result<Pair, PairError> {
        let first_id = {
            let mut inner = self.lock();
            let free = free_range(&self.config.platform, &inner.used, &self.reserved);
            let first_id = free.ok_or(PairError::NoIdsLeft)?;
            inner.used.insert(first_id);
            first_id
        };
        let pair = self.pair(first_id);
        let made = make_namespaces(&pair);
        if made.is_err() {
            let _ = remove(&pair);
            self.lock().used.remove(&first_id);
        }
        made.map(|()| pair)
    }
}

/// The first free range, searched from a place that depends on the platform.
fn free_range(platform: &str, used: &BTreeSet<u32>, reserved: &[(u64, u64)]) -> Option<u32> {
    let offset = u32::from_str_radix(platform, 16).unwrap_or(0);
    (0..BLOCKS)
        .map(|step| FIRST_ID + (offset.wrapping_add(step) % BLOCKS) * IDS)
        .filter(|first| !used.contains(first))
        .find(|first| {
            let (first, end) = (u64::from(*first), u64::from(*first) + u64::from(IDS));
            !reserved.iter().any(|(start, stop)| first < *stop && *start < end)
        })
}

/// Ranges that the host's administrator gave to somebody else: start and end of each.
fn reserved_ranges() -> Vec<(u64, u64)> {
    let texts = ["/etc/subuid", "/etc/subgid"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.filter_map(reserved_range).collect()
}

fn reserved_range(line: &str) -> Option<(u64, u64)> {
    let mut parts = line.trim().split(':').skip(1);
    let start: u64 = parts.next()?.parse().ok()?;
    let count: u64 = parts.next()?.parse().ok()?;
    Some((start, start.saturating_add(count)))
}

fn existing(dir: &Path) -> Result<Vec<u32>, PairError> {
    let entries = fs::read_dir(dir).map_err(|source| io_error("list", dir, source))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// A child is in them while this process writes the id maps and holds them.
fn make_namespaces(pair: &Pair) -> Result<(), PairError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&pair.dir)
        .map_err(|source| io_error("make", &pair.dir, source))?;
    let child = NamespaceChild::start()?;
    for file in ["uid_map", "gid_map"] {
        let path = PathBuf::from(format!("/proc/{}/{file}", child.pid));
        let map = format!("0 {} {IDS}", pair.first_id);
        fs::write(&path, map).map_err(|source| io_error("write", &path, source))?;
    }
    hold(pair, child.pid)?;
    let marker = pair.marker();
    fs::write(&marker, "").map_err(|source| io_error("make", &marker, source))
}

/// Binds the namespaces of a process to the pair's files.
fn hold(pair: &Pair, pid: i32) -> Result<(), PairError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&pair.dir)
        .map_err(|source| io_error("make", &pair.dir, source))?;
    for (name, path) in [("user", pair.user()), ("net", pair.net())] {
        unmount(&path)?;
        fs::write(&path, "").map_err(|source| io_error("make", &path, source))?;
        bind(Path::new(&format!("/proc/{pid}/ns/{name}")), &path)?;
    }
    Ok(())
}

fn remove(pair: &Pair) -> Result<(), PairError> {
    unmount(&pair.user())?;
    unmount(&pair.net())?;
    match fs::remove_dir_all(&pair.dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &pair.dir, source)),
        _ => Ok(()),
    }
}

/// Takes off whatever is mounted there.
fn unmount(path: &Path) -> Result<(), PairError> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            // EINVAL: nothing is mounted there.
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(source) => return Err(io_error("unmount", path, source.into())),
        }
    }
}

fn bind(from: &Path, to: &Path) -> Result<(), PairError> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|source| io_error("mount on", to, source.into()))
}

fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: statx is plain data for which zeros are a value; the path ends with a zero byte and both outlive
    // the call.
    let found = unsafe {
        let mut found: libc::statx = std::mem::zeroed();
        let result =
            libc::statx(libc::AT_FDCWD, path.as_ptr(), libc::AT_NO_AUTOMOUNT, libc::STATX_INO, &mut found);
        (result == 0).then_some(found)
    };
    found.is_some_and(|found| found.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0)
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> PairError {
    PairError::Io { action, path: path.to_path_buf(), source }
}

/// A process in new namespaces, which does nothing. It is ended when this value goes.
///
/// It shares the node's memory, files and all: with a copy, the kernel copies the tables of a large process, and then each
/// page that the node writes to.
struct NamespaceChild {
    pid: i32,
    /// It lives on it, so it goes after the child.
    _stack: Stack,
}

impl NamespaceChild {
    fn start() -> Result<NamespaceChild, PairError> {
        let failed = |source: nix::Error| PairError::Namespace { source: source.into() };
        let stack = Stack::new().map_err(|source| PairError::Namespace { source })?;
        // The kernel makes the user namespace first, so that the network namespace belongs to it: clone(2).
        let flags =
            libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::SIGCHLD;
        let parent = std::process::id() as usize as *mut libc::c_void;
        // What is sent to the node's group is not for the child, which has the node's handlers.
        let all = nix::sys::signal::SigSet::all();
        let before = all.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).map_err(failed)?;
        // SAFETY: the stack is the child's alone, and outlives it. The child makes system calls only, by libc's `syscall`: no
        // allocation, no lock, and no errno, which would be this thread's, since none of them fails.
        let pid = unsafe { libc::clone(namespace_child, stack.top(), flags, parent) };
        let child = nix::Error::result(pid).map(|pid| NamespaceChild { pid, _stack: stack });
        // It cannot fail with a mask that the kernel gave.
        let _ = before.thread_set_mask();
        child.map_err(failed)
    }
}

impl Drop for NamespaceChild {
    fn drop(&mut self) {
        // SAFETY: the pid is our own child's, which nobody else reaps.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            while libc::waitpid(self.pid, std::ptr::null_mut(), 0) < 0
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
        }
    }
}

/// Waits to be ended, by its parent or with it.
extern "C" fn namespace_child(parent: *mut libc::c_void) -> i32 {
    // SAFETY: no memory is involved. `pause` of libc would be a cancellation point, and write to the thread's block.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        // As a number of the namespace that the process is in, which is the parent's. It may have ended before the call.
        if libc::syscall(libc::SYS_getppid) as usize == parent as usize {
            loop {
                libc::syscall(libc::SYS_ppoll, 0, 0, 0, 0, 0);
            }
        }
        libc::syscall(libc::SYS_exit_group, 1);
    }
    1
}

/// Memory for the calls of a child that shares all other, with a page below it that nobody may touch.
struct Stack {
    lowest: *mut libc::c_void,
}

impl Stack {
    const BYTES: usize = 16 * 1024;
    /// The largest page that a kernel has.
    const GUARD_BYTES: usize = 64 * 1024;

    fn new() -> io::Result<Stack> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: the kernel chooses where, so nothing that is there is touched; the guard is a part of what it gave.
        unsafe {
            let lowest = libc::mmap(
                std::ptr::null_mut(),
                Stack::GUARD_BYTES + Stack::BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            );
            if lowest == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = Stack { lowest };
            if libc::mprotect(lowest, Stack::GUARD_BYTES, libc::PROT_NONE) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(stack)
        }
    }

    /// Where it begins: it grows towards lower addresses.
    fn top(&self) -> *mut libc::c_void {
        self.lowest.wrapping_byte_add(Stack::GUARD_BYTES + Stack::BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, of this length; whoever lived on it has ended.
        unsafe { libc::munmap(self.lowest, Stack::GUARD_BYTES + Stack::BYTES) };
    }
}

#[cfg(test)]
mod tests;
