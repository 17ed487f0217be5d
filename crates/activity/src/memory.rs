//! The memory file: its layout, who may change what of it, and its locks.
//!
//! An instance has one cell, found by a hash of its id and address. A cell has one lane per proxy process in one 64-bit
//! number: all of them are read, and one's own is changed, by one compare-and-swap. A lane belongs to the process that holds
//! the kernel's lock on it, which ends with the process. What a process that was killed left in its lane is cleared by
//! whoever takes the lane next, or by a living one that looks.
//!
//! Whoever starts proxies makes the file and keeps it. All processes that have it are equals and believe each other; what a
//! broken one can do is to hold up its neighbours, and to have an instance put to sleep or kept awake, until it is ended.

use apron_model::ids::InstanceId;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Proxies at the same time. A takeover needs two; one that drains a long stream may be left over from before.
pub(crate) const LANES: u32 = 4;
pub(crate) const LANE_BITS: u32 = 16;
/// The whole of the first lane.
const LANE: u64 = 0xffff;
/// The count in the first lane.
pub(crate) const COUNT: u64 = 0x7fff;
/// In the first lane: there are requests in line.
pub(crate) const WAITS: u64 = 0x8000;
pub(crate) const WAITS_ANY: u64 = 0x8000_8000_8000_8000;
/// Among the users of a cell: the node.
const NODE: u64 = 1 << 63;
/// Of a cell's state: how far the instance is to be had.
pub(crate) const WAKEFULNESS: u64 = 0b11;
pub(crate) const THROTTLED: u64 = 1;
pub(crate) const ASLEEP: u64 = 2;
/// There was a request since the node took this bit away.
pub(crate) const TOUCHED: u64 = 1 << 8;
/// The node awaits the first answer since a start.
pub(crate) const AWAITED: u64 = 1 << 9;
/// Instances of a machine at a time, and then some: a machine's memory ends long before.
pub(crate) const CELLS: usize = 65_536;
/// A cell is looked for in this many places. That it is not found there means that the file is nearly full.
const PLACES_MAX: usize = 256;

const MAGIC: u64 = u64::from_be_bytes(*b"apron-if");
/// Of the layout below. Another one is another file's: counts are then not shared with that process.
pub(crate) const VERSION: u64 = 2;
/// It keeps its size, and its seals.
pub(crate) const SEALS: SealFlag =
    SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);
/// The lock under which cells are given out and lanes change hands; those before it are the lanes' own.
pub(crate) const CHANGES: u32 = LANES;
/// What is done under that lock takes a millisecond at most. A process that was stopped while it had it is not
/// waited for.
pub(crate) const CHANGES_WAIT_MAX: Duration = Duration::from_millis(100);
const CHANGES_PAUSE: Duration = Duration::from_millis(1);

/// What the file holds. After its head, all zeros is a file that nobody has used.
#[repr(C)]
pub(crate) struct Memory {
    /// Which file it is, and of which layout.
    _head: [AtomicU64; 2],
    /// One bit per lane: it may hold counts.
    pub(crate) owners: AtomicU64,
    /// The last number that was given to a process.
    pub(crate) order_last: AtomicU64,
    /// The number of each lane's process: a lower one came earlier.
    pub(crate) order: [AtomicU64; LANES as usize],
    /// Until when what a lane says of requests in line counts, in milliseconds of the machine's own clock.
    pub(crate) waits_until_ms: [AtomicU64; LANES as usize],
    /// One bit per lane: its process counts some instances alone, for want of a cell.
    pub(crate) alone: AtomicU64,
    pub(crate) cells: [Cell; CELLS],
}

/// A cache line: what is asked of one instance does not slow down what is asked of another.
#[repr(C, align(64))]
#[derive(Default)]
pub(crate) struct Cell {
    /// 0: never used.
    pub(crate) key: AtomicU64,
    /// One bit per lane whose process knows the instance, and `NODE`. With none, the cell may be used for another one.
    pub(crate) users: AtomicU64,
    /// Requests in flight.
    pub(crate) lanes: AtomicU64,
    /// How many of them are tunnels: they hold a place, and are nothing to do unless bytes come.
    pub(crate) tunnels: AtomicU64,
    /// `WAKEFULNESS`, which the node writes, `TOUCHED`, and `AWAITED`, which the node sets and a proxy takes away.
    pub(crate) state: AtomicU64,
}

/// The file, mapped.
pub(crate) struct Map(pub(crate) NonNull<Memory>);

// SAFETY: it points to memory that stays mapped for as long as the value lives, of which only atomics are used.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// The file must be one that `check` lets pass.
    fn new(file: &File) -> io::Result<Map> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let length = size_of::<Memory>();
        // SAFETY: a new mapping at an address of the kernel's choice changes nothing that exists.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).map(Map).ok_or_else(|| io::Error::other("mapped at zero"))
    }

    fn memory(&self) -> &Memory {
        // SAFETY: the mapping is as long as a `Memory`, begins at a page, and lives as long as `self`. Every
        // pattern of bits is a valid `Memory`, and others change it through atomics only.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and no reference outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Memory>()) };
    }
}

/// A file that proxies and their node share. It can be neither cut, since access to a mapped file that was cut is a signal, nor
/// be sealed further by one of its holders, who would keep all later ones out.
pub fn counts_memory() -> io::Result<OwnedFd> {
    let file =
        File::from(memfd_create(c"apron-in-flight", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    file.set_len(size_of::<Memory>() as u64)?;
    file.write_all_at(&head(), 0)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(file.into())
}

/// Whether a descriptor that another process had is such a file, of the layout that this version counts in.
pub fn is_counts_memory(descriptor: &OwnedFd) -> bool {
    descriptor.try_clone().is_ok_and(|descriptor| check(&File::from(descriptor)).is_ok())
}

/// What a file of this layout begins with.
pub(crate) fn head() -> [u8; 16] {
    let mut head = [0; 16];
    head[..8].copy_from_slice(&MAGIC.to_ne_bytes());
    head[8..].copy_from_slice(&VERSION.to_ne_bytes());
    head
}

fn check(file: &File) -> io::Result<()> {
    // First of all: only memory files have seals, and reading anything else could wait.
    let seals = SealFlag::from_bits_retain(fcntl(file, FcntlArg::F_GET_SEALS)?);
    let closed = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_FUTURE_WRITE;
    if !seals.contains(SEALS)
        || seals.intersects(closed)
        || file.metadata()?.len() != size_of::<Memory>() as u64
    {
        return Err(io::Error::other("the memory of counts is another kind of file"));
    }
    let mut found = [0; 16];
    file.read_exact_at(&mut found, 0)?;
    if found != head() {
        return Err(io::Error::other("the memory of counts has another layout"));
    }
    Ok(())
}

/// The file as one process uses it.
pub(crate) struct Mapped {
    pub(crate) map: Map,
    /// An open file of its own: the locks belong to it, and not to whoever else has a copy of the descriptor.
    pub(crate) file: File,
    /// The file's locks are between processes; this one is between the threads of this one.
    changes: Mutex<()>,
    /// Somebody holds the lock of changes and does not let go.
    hindered: AtomicBool,
    /// Its number among the memory files of this machine.
    pub(crate) identity: u64,
}

impl Mapped {
    /// An error when it is none of `counts_memory`.
    pub(crate) fn open(descriptor: &OwnedFd) -> io::Result<Mapped> {
        // A descriptor that was inherited or received shares its locks with the sender's.
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        check(&File::from(descriptor.try_clone()?))?;
        let file = File::options().read(true).write(true).open(path)?;
        let map = Map::new(&file)?;
        let identity = file.metadata()?.ino();
        Ok(Mapped { map, file, changes: Mutex::default(), hindered: AtomicBool::new(false), identity })
    }

    pub(crate) fn memory(&self) -> &Memory {
        self.map.memory()
    }

    /// Takes a lane that nobody has.
    pub(crate) fn take_lane(&self) -> io::Result<u32> {
        let _locked = self.lock_changes(CHANGES_WAIT_MAX)?;
        let memory = self.memory();
        for lane in 0..LANES {
            if lock(&self.file, lane)? {
                memory.clear(lane);
                let order = memory.order_last.fetch_add(1, SeqCst).wrapping_add(1);
                memory.order[lane as usize].store(order, SeqCst);
                memory.owners.fetch_or(1 << lane, SeqCst);
                return Ok(lane);
            }
        }
        Err(io::Error::other("as many proxies as may share the counts do so already"))
    }

    /// Forgets what processes that have died left, other than in one's `own` lane. Does nothing when another one is at
    /// it.
    pub(crate) fn clear_dead(&self, own: Option<u32>) {
        let Ok(_changes) = self.changes.try_lock() else { return };
        if !matches!(lock(&self.file, CHANGES), Ok(true)) {
            return;
        }
        let _unlock = Unlock { file: &self.file, number: CHANGES };
        let memory = self.memory();
        for lane in (0..LANES).filter(|lane| Some(*lane) != own) {
            if memory.owners.load(SeqCst) & 1 << lane != 0 && matches!(lock(&self.file, lane), Ok(true)) {
                let _unlock = Unlock { file: &self.file, number: lane };
                memory.clear(lane);
            }
        }
    }

    /// The place of an instance's cell, which has a further user from now on. None: there is no room, or somebody holds
    /// the lock.
    pub(crate) fn cell_for(&self, key: u64, user: User) -> Option<usize> {
        // A table has thousands of instances, and they do not wait one after the other for who was stopped. The node waits
        // for no proxy: it looks again.
        let waits = user != User::Node && !self.hindered.load(SeqCst);
        let wait = if waits { CHANGES_WAIT_MAX } else { Duration::ZERO };
        let found = self.lock_changes(wait).map(|_locked| self.memory().cell_for(key, user));
        self.hindered.store(found.is_err(), SeqCst);
        found.ok().flatten()
    }

    fn lock_changes(&self, wait_max: Duration) -> io::Result<Changes<'_>> {
        let guard = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        while !lock(&self.file, CHANGES)? {
            if begun.elapsed() >= wait_max {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sleep(CHANGES_PAUSE);
        }
        let unlock = Unlock { file: &self.file, number: CHANGES };
        Ok(Changes { _unlock: unlock, _guard: guard })
    }
}

/// Who uses a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// The proxy of this lane.
    Lane(u32),
    Node,
}

impl User {
    fn bit(self) -> u64 {
        match self {
            User::Lane(lane) => 1 << lane,
            User::Node => NODE,
        }
    }
}

impl Memory {
    /// Empties a lane that nobody uses any more.
    pub(crate) fn clear(&self, lane: u32) {
        for cell in self.cells.iter().filter(|cell| cell.key.load(SeqCst) != 0) {
            cell.leave(lane);
        }
        self.alone.fetch_and(!(1 << lane), SeqCst);
        self.owners.fetch_and(!(1 << lane), SeqCst);
    }

    /// Forgets what a node before this one has said.
    pub(crate) fn clear_node(&self) {
        for cell in self.cells.iter().filter(|cell| cell.key.load(SeqCst) != 0) {
            cell.users.fetch_and(!NODE, SeqCst);
        }
    }

    /// To be called under the lock of changes.
    pub(crate) fn cell_for(&self, key: u64, user: User) -> Option<usize> {
        let mut free = None;
        for step in 0..PLACES_MAX {
            let place = (key as usize).wrapping_add(step) % CELLS;
            let cell = &self.cells[place];
            let known = cell.key.load(SeqCst);
            if known == key {
                cell.users.fetch_or(user.bit(), SeqCst);
                return Some(place);
            }
            if free.is_none() && cell.users.load(SeqCst) == 0 {
                free = Some(place);
            }
            if known == 0 {
                break;
            }
        }
        let cell = &self.cells[free?];
        for number in [&cell.lanes, &cell.tunnels, &cell.state] {
            number.store(0, SeqCst);
        }
        cell.key.store(key, SeqCst);
        cell.users.store(user.bit(), SeqCst);
        free
    }
}

impl Cell {
    pub(crate) fn leave(&self, lane: u32) {
        // In this order: without users the cell may become another instance's at any moment.
        let others = !(LANE << (lane * LANE_BITS));
        self.lanes.fetch_and(others, SeqCst);
        self.tunnels.fetch_and(others, SeqCst);
        self.users.fetch_and(!User::Lane(lane).bit(), SeqCst);
    }

    pub(crate) fn leave_as_node(&self) {
        self.users.fetch_and(!NODE, SeqCst);
    }
}

/// What an instance is known by in every process: FNV-1a, because two versions of the proxy must agree on it. Never 0.
pub fn key(id: &InstanceId, address: SocketAddr) -> u64 {
    let text = format!("{id} {address}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The low bits choose the cell, and FNV's high ones are better.
    (hash ^ hash >> 32).max(1)
}

/// The lock of changes, held.
struct Changes<'a> {
    _unlock: Unlock<'a>,
    _guard: MutexGuard<'a, ()>,
}

pub(crate) struct Unlock<'a> {
    pub(crate) file: &'a File,
    pub(crate) number: u32,
}

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        // Cannot fail for a lock that is held; the end of the process would end it too.
        let _ = fcntl(self.file, FcntlArg::F_OFD_SETLK(&range(self.number, libc::F_UNLCK)));
    }
}

/// False: another process has it.
pub(crate) fn lock(file: &File, number: u32) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range(number, libc::F_WRLCK))) {
        Ok(_) => Ok(true),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn range(number: u32, kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: libc::off_t::from(number),
        l_len: 1,
        l_pid: 0,
    }
}
