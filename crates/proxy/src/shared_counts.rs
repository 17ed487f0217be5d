//! How many requests each instance has in flight, in memory that the proxy processes of a machine share.
//!
//! While one proxy takes over from another, both send requests to the same instances, and an instance that may
//! have one request at a time must not get two. So the counts lie in a memory file that is handed from proxy to
//! proxy. An instance has one cell in it, found by a hash of its id and address, and a cell has one lane per
//! process in one 64-bit number: all of them are read, and one's own is changed, by one compare-and-swap.
//!
//! A lane belongs to the process that holds the kernel's lock on it, which ends with the process. What a process
//! that was killed left in its lane is cleared by whoever takes the lane next, or by a living one that looks.
//!
//! The top bit of a lane says that its process is ending and has requests in line for this instance. They came
//! before those of processes that started later, so these leave a free place to it, for as long as it says so again
//! and again.
//!
//! Whoever starts proxies makes the file and keeps it. All processes that have it are equals and believe each other;
//! what a broken one can do is to hold up its neighbours until it is ended.

use apron_model::ids::InstanceId;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Proxies at the same time. A takeover needs two; one that drains a long stream may be left over from before.
const LANES: u32 = 4;
const LANE_BITS: u32 = 16;
/// The whole of the first lane.
const LANE: u64 = 0xffff;
/// The count in the first lane.
const COUNT: u64 = 0x7fff;
/// In the first lane: there are requests in line.
const WAITS: u64 = 0x8000;
const WAITS_ANY: u64 = 0x8000_8000_8000_8000;
/// Instances of a machine at a time, and then some: a machine's memory ends long before.
const CELLS: usize = 65_536;
/// A cell is looked for in this many places. That it is not found there means that the file is nearly full.
const PLACES_MAX: usize = 256;

const MAGIC: u64 = u64::from_be_bytes(*b"apron-if");
/// Of the layout below. Another one is another file's: counts are then not shared with that process.
const VERSION: u64 = 1;
/// It keeps its size, and its seals.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);
/// The lock under which cells are given out and lanes change hands; those before it are the lanes' own.
const CHANGES: u32 = LANES;
/// What is done under that lock takes a millisecond at most. A process that was stopped while it had it is not
/// waited for.
const CHANGES_WAIT_MAX: Duration = Duration::from_millis(100);
const CHANGES_PAUSE: Duration = Duration::from_millis(1);

/// A process that says that it has requests in line, and then nothing, was stopped: after this long others take what
/// they left to it. It says so every few milliseconds.
const WAITS_MS: u64 = 1_000;

/// What the file holds. After its head, all zeros is a file that nobody has used.
#[repr(C)]
struct Memory {
    /// Which file it is, and of which layout.
    _head: [AtomicU64; 2],
    /// One bit per lane: it may hold counts.
    owners: AtomicU64,
    /// The last number that was given to a process.
    order_last: AtomicU64,
    /// The number of each lane's process: a lower one came earlier.
    order: [AtomicU64; LANES as usize],
    /// Until when what a lane says of requests in line counts, by `clock_ms`.
    waits_until_ms: [AtomicU64; LANES as usize],
    cells: [Cell; CELLS],
}

/// Half a cache line, so that a lane's neighbours are those of one other instance at most.
#[repr(C, align(32))]
#[derive(Default)]
struct Cell {
    /// 0: never used.
    key: AtomicU64,
    /// One bit per lane whose process knows the instance. With none, the cell may be used for another one.
    users: AtomicU64,
    lanes: AtomicU64,
}

/// The file, mapped.
struct Map(NonNull<Memory>);

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

/// A file for `Listeners::counts`. It can be neither cut, since access to a mapped file that was cut is a signal, nor
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
fn head() -> [u8; 16] {
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

/// This process's part in the shared counts.
pub(crate) struct Region {
    map: Map,
    /// An open file of its own: the locks belong to it, and not to whoever else has a copy of the descriptor.
    file: File,
    lane: u32,
    /// The file's locks are between processes; this one is between the threads of this one.
    changes: Mutex<()>,
    /// Somebody holds the lock of changes and does not let go.
    hindered: AtomicBool,
}

impl Region {
    /// Counts that nobody else has.
    pub(crate) fn create() -> io::Result<Region> {
        Region::join(File::from(counts_memory()?))
    }

    /// Joins the processes that have this memory file. An error when it is none of `counts_memory`, or when four
    /// processes have it already.
    pub(crate) fn from_fd(descriptor: &OwnedFd) -> io::Result<Region> {
        // A descriptor that was inherited or received shares its locks with the sender's.
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        Region::join(File::options().read(true).write(true).open(path)?)
    }

    fn join(file: File) -> io::Result<Region> {
        check(&file)?;
        let map = Map::new(&file)?;
        let changes = Mutex::default();
        let locked = lock_changes(&file, &changes, CHANGES_WAIT_MAX)?;
        let lane = take_lane(&file, map.memory())?;
        drop(locked);
        Ok(Region { map, file, lane, changes, hindered: AtomicBool::new(false) })
    }

    /// Whether other processes have requests in flight, or may have.
    pub(crate) fn shared(&self) -> bool {
        self.map.memory().owners.load(SeqCst) & !(1 << self.lane) != 0
    }

    /// Forgets what processes that have died left. Does nothing when another one is at it.
    pub(crate) fn clear_dead(&self) {
        if !self.shared() {
            return;
        }
        let Ok(_changes) = self.changes.try_lock() else { return };
        if !matches!(lock(&self.file, CHANGES), Ok(true)) {
            return;
        }
        let _unlock = Unlock { file: &self.file, number: CHANGES };
        let memory = self.map.memory();
        for lane in (0..LANES).filter(|lane| *lane != self.lane) {
            if memory.owners.load(SeqCst) & 1 << lane != 0 && matches!(lock(&self.file, lane), Ok(true)) {
                let _unlock = Unlock { file: &self.file, number: lane };
                memory.clear(lane);
            }
        }
    }

    /// The counts of an instance. To be asked for once per instance at a time.
    pub(crate) fn slots(self: &Arc<Region>, id: &InstanceId, address: SocketAddr) -> Slots {
        // A table has thousands of instances, and they do not wait one after the other for who was stopped.
        let wait = if self.hindered.load(SeqCst) { Duration::ZERO } else { CHANGES_WAIT_MAX };
        let found = lock_changes(&self.file, &self.changes, wait)
            .map(|_locked| self.map.memory().cell_for(key(id, address), self.lane));
        self.hindered.store(found.is_err(), SeqCst);
        let place = match found {
            Ok(Some(place)) => Place::Shared(place),
            Ok(None) | Err(_) => {
                tracing::warn!(%id, "no shared count for this instance: its limit holds within this process");
                Place::Own(Box::default())
            }
        };
        Slots { region: self.clone(), place }
    }

    /// Whether one of the lanes that wait belongs to a process that came before this one.
    fn is_before_us(&self, lanes: u64) -> bool {
        let memory = self.map.memory();
        let own = memory.order[self.lane as usize].load(SeqCst);
        let now_ms = clock_ms();
        let is_before_us = |lane: usize| {
            memory.order[lane].load(SeqCst) < own && memory.waits_until_ms[lane].load(SeqCst) > now_ms
        };
        (0..LANES).any(|lane| lanes & WAITS << (lane * LANE_BITS) != 0 && is_before_us(lane as usize))
    }

    /// What this process says of requests in line counts from now on for a while.
    fn waits(&self) {
        self.map.memory().waits_until_ms[self.lane as usize].store(clock_ms() + WAITS_MS, SeqCst);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // The last `Slots` is gone, so the lane is empty; without this a successor would have to look.
        self.map.memory().clear(self.lane);
    }
}

impl Memory {
    /// Empties a lane that nobody uses any more.
    fn clear(&self, lane: u32) {
        for cell in self.cells.iter().filter(|cell| cell.key.load(SeqCst) != 0) {
            cell.leave(lane);
        }
        self.owners.fetch_and(!(1 << lane), SeqCst);
    }

    /// To be called under the lock of changes.
    fn cell_for(&self, key: u64, lane: u32) -> Option<usize> {
        let mut free = None;
        for step in 0..PLACES_MAX {
            let place = (key as usize).wrapping_add(step) % CELLS;
            let cell = &self.cells[place];
            let known = cell.key.load(SeqCst);
            if known == key {
                cell.users.fetch_or(1 << lane, SeqCst);
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
        cell.lanes.store(0, SeqCst);
        cell.key.store(key, SeqCst);
        cell.users.store(1 << lane, SeqCst);
        free
    }
}

impl Cell {
    fn leave(&self, lane: u32) {
        // In this order: without users the cell may become another instance's at any moment.
        self.lanes.fetch_and(!(LANE << (lane * LANE_BITS)), SeqCst);
        self.users.fetch_and(!(1 << lane), SeqCst);
    }
}

/// To be called under the lock of changes.
fn take_lane(file: &File, memory: &Memory) -> io::Result<u32> {
    for lane in 0..LANES {
        if lock(file, lane)? {
            memory.clear(lane);
            let order = memory.order_last.fetch_add(1, SeqCst).wrapping_add(1);
            memory.order[lane as usize].store(order, SeqCst);
            memory.owners.fetch_or(1 << lane, SeqCst);
            return Ok(lane);
        }
    }
    Err(io::Error::other("as many proxies as may share the counts do so already"))
}

/// An instance's counts, as seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl Seen {
    /// Requests in flight of all processes.
    pub(crate) fn in_flight(self) -> u32 {
        (0..LANES).map(|lane| (self.0 >> (lane * LANE_BITS) & COUNT) as u32).sum()
    }
}

/// The counts of one instance, as this process uses them.
pub(crate) struct Slots {
    region: Arc<Region>,
    place: Place,
}

enum Place {
    Shared(usize),
    /// The file had no room for it.
    Own(Box<Cell>),
}

impl Slots {
    pub(crate) fn read(&self) -> Seen {
        Seen(self.cell().lanes.load(SeqCst))
    }

    /// Whether one more request would stay within `ceiling` and take no place from one that came before.
    pub(crate) fn has_room(&self, seen: Seen, ceiling: u32) -> bool {
        let own = seen.0 >> self.shift() & COUNT;
        seen.in_flight() < ceiling && own < COUNT && !self.yields(seen)
    }

    /// Whether requests are in line for this instance in a process that came before this one.
    pub(crate) fn yields(&self, seen: Seen) -> bool {
        let others = seen.0 & WAITS_ANY & !(WAITS << self.shift());
        others != 0 && self.region.is_before_us(others)
    }

    /// Counts one more request, if nothing has changed since `seen`, which had room.
    pub(crate) fn take(&self, seen: Seen) -> bool {
        let next = seen.0 + (1 << self.shift());
        self.cell().lanes.compare_exchange(seen.0, next, SeqCst, SeqCst).is_ok()
    }

    /// Counts one request less; it was counted by `take`.
    pub(crate) fn release(&self) {
        self.cell().lanes.fetch_sub(1 << self.shift(), SeqCst);
    }

    /// Requests in flight of this process.
    pub(crate) fn own(&self) -> u32 {
        (self.read().0 >> self.shift() & COUNT) as u32
    }

    /// Says to the other processes whether requests are in line here that came before theirs. To be repeated while
    /// they are.
    pub(crate) fn mark(&self, waits: bool) {
        let bit = WAITS << self.shift();
        if waits {
            self.region.waits();
            self.cell().lanes.fetch_or(bit, SeqCst);
        } else {
            self.cell().lanes.fetch_and(!bit, SeqCst);
        }
    }

    fn cell(&self) -> &Cell {
        match &self.place {
            Place::Shared(place) => &self.region.map.memory().cells[*place],
            Place::Own(cell) => cell,
        }
    }

    fn shift(&self) -> u32 {
        self.region.lane * LANE_BITS
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.cell().leave(self.region.lane);
    }
}

/// What an instance is known by in every process: FNV-1a, because two versions of the proxy must agree on it. Never 0.
pub(crate) fn key(id: &InstanceId, address: SocketAddr) -> u64 {
    let text = format!("{id} {address}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // The low bits choose the cell, and FNV's high ones are better.
    (hash ^ hash >> 32).max(1)
}

/// Milliseconds of the machine's own clock, which all its processes read alike.
fn clock_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a `timespec` to where there is one. It cannot fail for this clock; then it would stand still.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

/// The lock of changes, held.
struct Changes<'a> {
    _unlock: Unlock<'a>,
    _guard: MutexGuard<'a, ()>,
}

fn lock_changes<'a>(file: &'a File, changes: &'a Mutex<()>, wait_max: Duration) -> io::Result<Changes<'a>> {
    let guard = changes.lock().unwrap_or_else(PoisonError::into_inner);
    let begun = Instant::now();
    while !lock(file, CHANGES)? {
        if begun.elapsed() >= wait_max {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(CHANGES_PAUSE);
    }
    Ok(Changes { _unlock: Unlock { file, number: CHANGES }, _guard: guard })
}

struct Unlock<'a> {
    file: &'a File,
    number: u32,
}

impl Drop for Unlock<'_> {
    fn drop(&mut self) {
        // Cannot fail for a lock that is held; the end of the process would end it too.
        let _ = fcntl(self.file, FcntlArg::F_OFD_SETLK(&range(self.number, libc::F_UNLCK)));
    }
}

/// False: another process has it.
fn lock(file: &File, number: u32) -> io::Result<bool> {
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

#[cfg(test)]
mod tests;
