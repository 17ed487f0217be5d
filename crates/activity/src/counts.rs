//! How many requests each instance has in flight, as proxies count them.
//!
//! While one proxy takes over from another, both send requests to the same instances, and an instance that may have one
//! request at a time must not get two. So both count in the same memory.
//!
//! The top bit of a lane says that its process is ending and has requests in line for this instance. They came before those
//! of processes that started later, so these leave a free place to it, for as long as it says so again and again.

use crate::Wakefulness;
use crate::memory::{
    ASLEEP, AWAITED, COUNT, Cell, LANE_BITS, LANES, Mapped, THROTTLED, TOUCHED, User, WAITS, WAITS_ANY,
    WAKEFULNESS, counts_memory, key,
};
use apron_model::ids::InstanceId;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// A process that says that it has requests in line, and then nothing, was stopped: after this long others take what
/// they left to it. It says so every few milliseconds.
const WAITS_MS: u64 = 1_000;

/// This process's part in the shared counts.
pub struct Region {
    mapped: Mapped,
    lane: u32,
}

impl Region {
    /// Counts that nobody else has.
    ///
    /// # Errors
    /// The system's.
    pub fn create() -> io::Result<Region> {
        Region::from_fd(&counts_memory()?)
    }

    /// Joins the processes that have this memory file.
    ///
    /// # Errors
    /// It is none of `counts_memory`, or four processes have it already.
    pub fn from_fd(descriptor: &OwnedFd) -> io::Result<Region> {
        let mapped = Mapped::open(descriptor)?;
        let lane = mapped.take_lane()?;
        Ok(Region { mapped, lane })
    }

    /// Which memory file this is, among those of this machine.
    pub fn identity(&self) -> u64 {
        self.mapped.identity
    }

    /// Whether other processes have requests in flight, or may have.
    pub fn shared(&self) -> bool {
        self.mapped.memory().owners.load(SeqCst) & !(1 << self.lane) != 0
    }

    /// Forgets what processes that have died left. Does nothing when another one is at it.
    pub fn clear_dead(&self) {
        if self.shared() {
            self.mapped.clear_dead(Some(self.lane));
        }
    }

    /// The counts of an instance. To be asked for once per instance at a time.
    pub fn slots(self: &Arc<Region>, id: &InstanceId, address: SocketAddr) -> Slots {
        let place = match self.mapped.cell_for(key(id, address), User::Lane(self.lane)) {
            Some(place) => Place::Shared(place),
            None => {
                tracing::warn!(%id, "no shared count for this instance: its limit holds within this process");
                self.mapped.memory().alone.fetch_or(1 << self.lane, SeqCst);
                Place::Own(Box::default())
            }
        };
        Slots { region: self.clone(), place }
    }

    /// Whether one of the lanes that wait belongs to a process that came before this one.
    fn is_before_us(&self, lanes: u64) -> bool {
        let memory = self.mapped.memory();
        let own = memory.order[self.lane as usize].load(SeqCst);
        let now_ms = clock_ms();
        let is_before_us = |lane: usize| {
            memory.order[lane].load(SeqCst) < own && memory.waits_until_ms[lane].load(SeqCst) > now_ms
        };
        (0..LANES).any(|lane| lanes & WAITS << (lane * LANE_BITS) != 0 && is_before_us(lane as usize))
    }

    /// What this process says of requests in line counts from now on for a while.
    fn waits(&self) {
        self.mapped.memory().waits_until_ms[self.lane as usize].store(clock_ms() + WAITS_MS, SeqCst);
    }
}

#[cfg(test)]
impl Region {
    /// As a process that was stopped while it made a change.
    pub(crate) fn hold_changes(&self) -> crate::memory::Unlock<'_> {
        use crate::memory::{CHANGES, Unlock, lock};
        assert!(lock(&self.mapped.file, CHANGES).unwrap());
        Unlock { file: &self.mapped.file, number: CHANGES }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // The last `Slots` is gone, so the lane is empty; without this a successor would have to look.
        self.mapped.memory().clear(self.lane);
    }
}

/// An instance's counts, as seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen(u64);

impl Seen {
    /// Requests in flight of all processes.
    pub fn in_flight(self) -> u32 {
        (0..LANES).map(|lane| (self.0 >> (lane * LANE_BITS) & COUNT) as u32).sum()
    }
}

/// The counts of one instance, as this process uses them.
pub struct Slots {
    region: Arc<Region>,
    place: Place,
}

enum Place {
    Shared(usize),
    /// The file had no room for it.
    Own(Box<Cell>),
}

impl Slots {
    pub fn read(&self) -> Seen {
        Seen(self.cell().lanes.load(SeqCst))
    }

    /// Whether one more request would stay within `ceiling` and take no place from one that came before.
    pub fn has_room(&self, seen: Seen, ceiling: u32) -> bool {
        let own = seen.0 >> self.shift() & COUNT;
        seen.in_flight() < ceiling && own < COUNT && !self.yields(seen)
    }

    /// Whether requests are in line for this instance in a process that came before this one.
    pub fn yields(&self, seen: Seen) -> bool {
        let others = seen.0 & WAITS_ANY & !(WAITS << self.shift());
        others != 0 && self.region.is_before_us(others)
    }

    /// Counts one more request, if nothing has changed since `seen`, which had room, and the instance is not asleep.
    pub fn take(&self, seen: Seen) -> bool {
        let next = seen.0 + (1 << self.shift());
        if self.cell().lanes.compare_exchange(seen.0, next, SeqCst, SeqCst).is_err() {
            return false;
        }
        if self.wakefulness() == Wakefulness::Asleep {
            self.release();
            return false;
        }
        true
    }

    /// Counts one request less; it was counted by `take`.
    pub fn release(&self) {
        self.cell().lanes.fetch_sub(1 << self.shift(), SeqCst);
    }

    pub fn wakefulness(&self) -> Wakefulness {
        wakefulness(self.cell().state.load(SeqCst))
    }

    /// The instance has something to do.
    pub fn touch(&self) -> Wakefulness {
        let state = &self.cell().state;
        let seen = state.load(SeqCst);
        // Mostly it is known already, and the cell stays unwritten.
        if seen & TOUCHED != 0 { wakefulness(seen) } else { wakefulness(state.fetch_or(TOUCHED, SeqCst)) }
    }

    /// The instance has begun an answer. True for one alone: the first since a start, which the node awaits.
    pub fn answered(&self) -> bool {
        let state = &self.cell().state;
        // Mostly nobody awaits it, and the cell stays unwritten.
        state.load(SeqCst) & AWAITED != 0 && state.fetch_and(!AWAITED, SeqCst) & AWAITED != 0
    }

    /// A request that was counted is a tunnel from now on: only bytes are something to do. Likewise its end, which comes
    /// before the request's.
    pub fn tunnel(&self, is: bool) {
        let (tunnels, one) = (&self.cell().tunnels, 1 << self.shift());
        if is {
            tunnels.fetch_add(one, SeqCst)
        } else {
            tunnels.fetch_sub(one, SeqCst)
        };
    }

    /// Requests in flight of this process.
    pub fn own(&self) -> u32 {
        (self.read().0 >> self.shift() & COUNT) as u32
    }

    /// Says to the other processes whether requests are in line here that came before theirs. To be repeated while
    /// they are.
    pub fn mark(&self, waits: bool) {
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
            Place::Shared(place) => &self.region.mapped.memory().cells[*place],
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

fn wakefulness(state: u64) -> Wakefulness {
    match state & WAKEFULNESS {
        0 => Wakefulness::Awake,
        THROTTLED => Wakefulness::Throttled,
        ASLEEP.. => Wakefulness::Asleep,
    }
}

/// Milliseconds of the machine's own clock, which all its processes read alike.
fn clock_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a `timespec` to where there is one. It cannot fail for this clock; then it would stand still.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests;
